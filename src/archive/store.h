/*
 * An open archive, shared by the files that make it up and by nothing else.
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
 *   1  the bundle is made in root/tmp-*       a crash leaves a directory that the next writer
 *      removes
 *   2  its entry is appended to the log       a line behind the checkpoint, without a bundle: cut
 *      off
 *   3  the bundle is moved to its place       the same with a bundle, which is set aside
 *   4  a checkpoint signs the log             from here on it is stored
 *   5  the index is brought up to date        whoever searches next does it
 *
 * Pruning goes the other way round: entries, checkpoint, and only then the bundles; one that is
 * still there although its entry says it was pruned is removed by the next prune.
 */
#ifndef SR_ARCHIVE_STORE_H
#define SR_ARCHIVE_STORE_H

#include "archive/bundle.h"
#include "archive/log.h"
#include "saferun/archive.h"

#define SR_ARCHIVE_LOCK "lock"
#define SR_ARCHIVE_ASIDE "aside" /* bundles that are not those that were signed */

struct sr_index;

struct sr_archive {
    char path[PATH_MAX]; /* absolute, without links */
    char retention[16];
    int root, lock;
    bool writable;
    struct sr_key *key;
    struct sr_key *host; /* signs this host's runs; NULL: it has none, or none that can be read */
    struct sr_key *required; /* must have signed what is stored; NULL: nobody must */
    struct sr_hasher *hasher;
    struct sr_log log;
    struct sr_index *index; /* NULL until it is asked for */
};

int archive_fail(struct sr_error *err, const char *what, int error, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* True when the bundle's directory is there. */
bool archive_has(int root, const char *id);

/* What the signed log says of a bundle; entry is the last that stored it. */
enum archive_state { ARCHIVE_UNKNOWN, ARCHIVE_STORED, ARCHIVE_PRUNED };
int archive_look_up(struct sr_archive *archive, const char *bundle, enum archive_state *state,
                    struct sr_log_entry *entry, struct sr_error *err) SR_MUST_CHECK;

/* Opens the directory of the run whose report is at path, and keeps gc from it: shares the run's
 * lock (*lock; -1: there is none), for which the caller's own runs are waited for. A descriptor, or
 * -1. */
int archive_open_source(const char *path, int *lock, struct sr_error *err) SR_MUST_CHECK;

/* What of a run is there: a digest of what the kernel tells of the files that these names mean, and
 * of all below outputs/. */
int archive_see_source(int dir, const char *const *names, size_t count, struct sr_hasher *hasher,
                       char seen[SR_SHA256_TEXT], struct sr_error *err) SR_MUST_CHECK;

/* Moves what lies in a bundle's place, durably, out of the archive; time is for its name there. */
int archive_set_aside(struct sr_archive *archive, const char *bundle, const char *time,
                      struct sr_error *err) SR_MUST_CHECK;

/* Verifies, seals and stores what was staged and closed; from is what its entry says of where it
 * came from. */
int archive_store(struct sr_archive *archive, struct sr_staging *staging, const char *retention,
                  const struct sr_log_entry *from, struct sr_archive_added *added,
                  struct sr_error *err) SR_MUST_CHECK;

/* Brings the index in step with the log, making it if need be. */
int archive_update_index(struct sr_archive *archive, char note[256],
                         struct sr_error *err) SR_MUST_CHECK;

/* The public key of an archive, from key's .pub or from key itself. */
int archive_load_public(const struct sr_archive_place *place, struct sr_key **key,
                        struct sr_error *err) SR_MUST_CHECK;

#endif
