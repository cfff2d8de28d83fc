/*
 * The hash over an output's content, which anybody can compute again from the files
 * (docs/EVIDENCE.md): SHA-256 over one record for each entry, a directory before what is in it,
 * names in the order of their bytes:
 *
 *     d <path> NUL                          a directory
 *     f <path> NUL <size> NUL <content>     a file; x when its owner may execute it
 *     l <path> NUL <target> NUL             a symbolic link
 *
 * without the spaces. Paths are relative to the output, which has no record itself; when the output
 * is a file, its path is empty. Times, owners and other permissions do not count: they do not
 * survive a copy.
 */
#ifndef SR_EVIDENCE_OUTPUT_DIGEST_H
#define SR_EVIDENCE_OUTPUT_DIGEST_H

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/sha256.h"
#include "saferun/error.h"

#include <stdint.h>

/* Entries of one output: a directory of a million files is no result, and would cost its reader
 * more than its writer. */
#define EVIDENCE_OUTPUT_ENTRIES_MAX 100000u

/* Files that a run's events list one by one, and the bytes of their entries as canonical JSON: an
 * event has 1 MiB at most, and all of a run's files may be in one output. A run with more has
 * EVIDENCE_OUTPUT_MANIFEST. */
#define EVIDENCE_OUTPUT_LISTED_MAX 1000u
#define EVIDENCE_OUTPUT_LISTED_TEXT ((size_t)512 * 1024)

/* The files of all outputs of a run, in the run directory: what `sha256sum -c` takes in the
 * directory of the outputs. */
#define EVIDENCE_OUTPUT_MANIFEST "outputs.manifest"

struct evidence_output_file {
    const char *path; /* relative to the output; empty when the output is this file */
    char hash[SR_SHA256_TEXT];
    uint64_t size;
};

/* Takes each regular file, in the order of the digest. Returns 0, or -1 with err to end it. */
typedef int evidence_on_output_file(void *context, const struct evidence_output_file *file,
                                    struct sr_error *err);

/* Appends the file's line of EVIDENCE_OUTPUT_MANIFEST: 64 hexadecimal digits, two spaces,
 * <output>/<path>, newline. A name with a newline or a backslash has these as \n and \\, and its
 * line begins with a backslash. */
void evidence_output_manifest_line(struct sr_buf *out, const char *output,
                                   const struct evidence_output_file *file);

struct evidence_output_digest {
    char hash[SR_SHA256_TEXT];
    uint64_t files, directories, links; /* below the output, or 1 file */
    uint64_t bytes;                     /* of the contents */
};

/* Who gets the files' own hashes, which are made in the same reading then; on_file may be NULL. */
struct evidence_output_listener {
    evidence_on_output_file *on_file;
    void *context;
};

/* Hashes directory/name, following no link; listener may be NULL. Returns 0, or -1 with err
 * (SR-RUN-001 at path): it cannot be read, it has an entry that is none of the three, its contents
 * exceed bytes_max, or on_file ended it. */
int evidence_output_digest(int directory, const char *name, const char *path, uint64_t bytes_max,
                           struct sr_hasher *hasher,
                           const struct evidence_output_listener *listener,
                           struct evidence_output_digest *digest,
                           struct sr_error *err) SR_MUST_CHECK;

#endif
