/*
 * A bundle: everything a run left, in one directory with a manifest.
 *
 *   manifest.json     names, sizes and SHA-256 of what is in files/; canonical JSON without a
 *                     newline
 *   files/            the run's own files, byte for byte: run_report.json, events.jsonl, ...
 *   run_report.json   the report again, with `archive` and `verification`, sealed anew (seal.h)
 *
 * The bundle's id is the SHA-256 of manifest.json, so the same run has the same id in every
 * archive, and an attestation of the run's own report verifies against files/run_report.json.
 *
 * A bundle is made in a temporary directory of the archive's root and is durable before anything
 * refers to it. Errors are SR-OPS-301.
 */
#ifndef SR_ARCHIVE_BUNDLE_H
#define SR_ARCHIVE_BUNDLE_H

#include "common/buf.h"
#include "evidence/chain.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stdint.h>

#define ARCHIVE_BUNDLE_SCHEMA "safe-run.bundle/v1"
#define ARCHIVE_BUNDLE_MANIFEST "manifest.json"
#define ARCHIVE_BUNDLE_FILES_DIR "files"
#define ARCHIVE_BUNDLE_REPORT "run_report.json"
#define ARCHIVE_BUNDLE_OUTPUTS "outputs.json"
/* A run has a dozen files of its own; the rest is for what its report may name. */
#define ARCHIVE_BUNDLE_MAX_FILES 64
/* Size of a file: the limit of a report. */
#define ARCHIVE_BUNDLE_MAX_FILE (UINT64_C(4) << 30)
#define ARCHIVE_BUNDLE_NAME 65
/* Size of a manifest: 64 files of 200 bytes. */
#define ARCHIVE_BUNDLE_MAX_MANIFEST ((size_t)16 * 1024)
/* Size of outputs.json: 100,000 files with paths of 200 bytes. It lists no more, and says so. */
#define ARCHIVE_BUNDLE_MAX_OUTPUTS ((size_t)32 * 1024 * 1024)
#define ARCHIVE_BUNDLE_TEMPORARY "tmp-" /* beginning of a temporary directory's name */

struct archive_manifest_file {
    char name[ARCHIVE_BUNDLE_NAME];
    char hash[SR_SHA256_TEXT];
    uint64_t size;
};

struct archive_manifest {
    struct archive_manifest_file files[ARCHIVE_BUNDLE_MAX_FILES]; /* sorted by name (bytes) */
    size_t count;
    char id[SR_SHA256_TEXT];
};

/* Returns true for the name of a file in a bundle: 1 to 64 letters, digits, '.', '_' or '-', the
 * first a letter or digit. */
bool archive_manifest_is_name(const char *name) SR_MUST_CHECK;
const struct archive_manifest_file *archive_manifest_find(const struct archive_manifest *manifest,
                                                          const char *name);

/* Appends the manifest. */
void archive_manifest_write(const struct archive_manifest *manifest, struct sr_buf *out);
/* Reads what archive_manifest_write() wrote, and computes the id. Returns false for anything
 * else. */
bool archive_manifest_parse(const char *text, size_t len, struct sr_hasher *hasher,
                            struct archive_manifest *manifest);

/* Writes where a bundle is below the root: "bundles/ab/abcd...". */
#define ARCHIVE_BUNDLE_PATH (sizeof "bundles/ab/" + SR_SHA256_HEX)
#define ARCHIVE_BUNDLE_REPORT_PATH (ARCHIVE_BUNDLE_PATH + sizeof "/" ARCHIVE_BUNDLE_REPORT)
void archive_bundle_path(const char *id, char path[ARCHIVE_BUNDLE_PATH]);

/* Reads the manifest of the bundle in dir; false when that is not the bundle of this id. Its bytes
 * are appended to text unless that is NULL. */
bool archive_bundle_read(int dir, const char *id, struct sr_hasher *hasher,
                         struct archive_manifest *manifest, struct sr_buf *text);

/* Writes where the archived report of a bundle is below the root. */
void archive_bundle_report_path(const char *id, char path[ARCHIVE_BUNDLE_REPORT_PATH]);

/* Returns true when name below dir is a file with this hash. */
bool archive_bundle_has_hash(int dir, const char *name, const char *hash,
                             struct sr_hasher *hasher) SR_MUST_CHECK;

/* Returns true when the bundle is as it was stored: it has all of its files, and its report has
 * this hash. */
bool archive_bundle_is_whole(int root, const char *id, const char *report,
                             struct sr_hasher *hasher) SR_MUST_CHECK;

/* Returns true for a name that archive_staging_begin() or archive_bundle_remove() gives a
 * directory. */
bool archive_bundle_is_temporary(const char *name) SR_MUST_CHECK;

/* A bundle in the making. */
struct archive_staging {
    int root;      /* not owned */
    char name[24]; /* of the temporary directory; empty when there is none */
    int dir, files;
    int run;    /* directory whose outputs were listed, for as long as the bundle is made; or -1 */
    int source; /* directory of the run, or -1: the bundle comes from elsewhere */
    char seen[SR_SHA256_TEXT]; /* what was there when it was locked: sr_source_seen() */
    struct sr_hasher *hasher;  /* not owned */
    struct archive_manifest manifest;
};

#define ARCHIVE_STAGING_INIT                                                                       \
    (struct archive_staging)                                                                       \
    {                                                                                              \
        .dir = -1, .files = -1, .run = -1, .source = -1                                            \
    }

int archive_staging_begin(struct archive_staging *stage, int root, struct sr_hasher *hasher,
                          struct sr_error *err) SR_MUST_CHECK;
/* Copies what is behind fd, from its start to its end, as files/name. */
int archive_staging_copy(struct archive_staging *stage, const char *name, int fd,
                         struct sr_error *err) SR_MUST_CHECK;
/* Copies the next size bytes of a stream as files/name. */
int archive_staging_receive(struct archive_staging *stage, const char *name, int fd, uint64_t size,
                            struct sr_error *err) SR_MUST_CHECK;
/* Writes a small text as files/name. */
int archive_staging_text(struct archive_staging *stage, const char *name, const struct sr_buf *text,
                         struct sr_error *err) SR_MUST_CHECK;
/* Lists the regular files below dirfd/outputs, if that is there, in files/outputs.json. */
int archive_staging_outputs(struct archive_staging *stage, int dirfd,
                            struct sr_error *err) SR_MUST_CHECK;
/* Writes the manifest, which ends the list of files; stage->manifest.id is known then. */
int archive_staging_close(struct archive_staging *stage, struct sr_error *err) SR_MUST_CHECK;
/* Moves the bundle, durably, to where it belongs. Nothing may be there. */
int archive_staging_place(struct archive_staging *stage, struct sr_error *err) SR_MUST_CHECK;
/* Removes the temporary directory if there is one. */
void archive_staging_free(struct archive_staging *stage);
#define sr_cleanup_staging __attribute__((cleanup(archive_staging_free)))

/* Removes a bundle: renames it in one step, then removes file by file. */
int archive_bundle_remove(int root, const char *id, struct sr_error *err) SR_MUST_CHECK;

#endif
