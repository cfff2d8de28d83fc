/*
 * The hash over an output's content, which anybody can compute again from the files (docs/EVIDENCE.md): SHA-256 over one record for
 * each entry, a directory before what is in it, names in the order of their bytes:
 *
 *     d <path> NUL                          a directory
 *     f <path> NUL <size> NUL <content>     a file; x when its owner may execute it
 *     l <path> NUL <target> NUL             a symbolic link
 *
 * without the spaces; paths are relative to the output, which itself has no record; of a file that is an output the path is empty.
 * Times, owners and other permissions do not count: they do not survive a copy.
 */
#ifndef SR_EVIDENCE_OUTPUT_DIGEST_H
#define SR_EVIDENCE_OUTPUT_DIGEST_H

#include "cleanup.h"
#include "saferun/error.h"
#include "sha256.h"

#include <stdint.h>

/* Entries of one output: a directory of a million files is no result, and would cost its reader more than its writer. */
#define SR_OUTPUT_ENTRIES_MAX 100000u

struct sr_output_digest {
    char hash[SR_SHA256_TEXT];
    uint64_t files, directories, links; /* below the output, or 1 file */
    uint64_t bytes;                     /* of the contents */
};

/* Hashes directory/name, following no link. -1 with err (SR-RUN-001 at path): it cannot be read, something is there that is none of
 * the three, or its contents are more than bytes_max. */
int sr_output_digest(int directory, const char *name, const char *path, uint64_t bytes_max,
                     struct sr_hasher *hasher, struct sr_output_digest *digest,
                     struct sr_error *err) SR_MUST_CHECK;

#endif
