/*
 * An open archive, which only files of this room share.
 *
 *   archive.c     opening it, and what a writer that died left
 *   add.c         storing a run
 *   source.c      the run's directory, while it is stored
 *   search.c      finding runs: the index kept in step with the log
 *   verify.c      everything against the checkpoint
 *   prune.c       bundles whose retention is over
 *   transfer.c    export and import
 *   vouch.c       whose signature a run has
 *
 * Theory of operation. A run is stored in this order, each step durable before the next:
 *
 *   1. The bundle is made in root/tmp-*. After a crash the next writer removes that directory.
 *   2. Its entry is appended to the log. After a crash the next writer cuts off lines behind the
 *      checkpoint.
 *   3. The bundle is moved to its place. After a crash the next writer also sets it aside.
 *   4. A checkpoint signs the log. From here on the run is stored.
 *   5. The index is brought up to date. After a crash the next search does it.
 *
 * Pruning goes the other way round: entries, checkpoint, and only then the bundles. The next prune
 * removes bundles that are there although the log says that they were pruned.
 */
#ifndef SR_ARCHIVE_STORE_H
#define SR_ARCHIVE_STORE_H

#include "archive/bundle.h"
#include "archive/log.h"
#include "saferun/archive.h"

#define ARCHIVE_LOCK "lock"
#define ARCHIVE_ASIDE "aside" /* bundles that are not those that were signed */

struct archive_index;

struct sr_archive {
    char path[PATH_MAX]; /* absolute, without links */
    char retention[16];
    int root, lock;
    bool writable;
    struct sr_key *key;
    struct sr_key *host; /* signs this host's runs; NULL: it has none, or none that can be read */
    struct sr_key *required; /* must have signed what is stored; NULL: no key must */
    struct sr_hasher *hasher;
    struct archive_log log;
    struct archive_index *index; /* NULL until it is needed */
};

int archive_fail(struct sr_error *err, const char *what, int error, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Returns true when the bundle's directory is there. */
bool archive_has(int root, const char *id);

/* What the signed log says of a bundle; entry is the last that stored it. */
enum archive_state { ARCHIVE_UNKNOWN, ARCHIVE_STORED, ARCHIVE_PRUNED };
int archive_look_up(struct sr_archive *archive, const char *bundle, enum archive_state *state,
                    struct archive_log_entry *entry, struct sr_error *err) SR_MUST_CHECK;

/* Opens the directory of the run whose report is at path and keeps gc from it: shares the run's
 * lock (*lock; -1: there is none), waiting for it when the run is the caller's own. Returns a
 * descriptor, or -1 with err. */
int archive_open_source(const char *path, int *lock, struct sr_error *err) SR_MUST_CHECK;

/* Computes a digest of the metadata of a run's files with these names and of all below outputs/. */
int archive_see_source(int dir, const char *const *names, size_t count, struct sr_hasher *hasher,
                       char seen[SR_SHA256_TEXT], struct sr_error *err) SR_MUST_CHECK;

/* Moves what is in a bundle's place, durably, to ARCHIVE_ASIDE; its name there has time. */
int archive_set_aside(struct sr_archive *archive, const char *bundle, const char *time,
                      struct sr_error *err) SR_MUST_CHECK;

/* Verifies, seals and stores what was staged and closed; from has the origin for its entry. */
int archive_store(struct sr_archive *archive, struct archive_staging *staging,
                  const char *retention, const struct archive_log_entry *from,
                  struct sr_archive_added *added, struct sr_error *err) SR_MUST_CHECK;

/* Brings the index in step with the log, making it if need be. */
int archive_update_index(struct sr_archive *archive, char note[256],
                         struct sr_error *err) SR_MUST_CHECK;

/* Loads the public key of an archive, from key's .pub or from key itself. */
int archive_load_public(const struct sr_archive_place *place, struct sr_key **key,
                        struct sr_error *err) SR_MUST_CHECK;

#endif
