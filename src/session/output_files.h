/*
 * What files the outputs of a run have, each with its own SHA-256: in the events of the outputs
 * while they are few, else in EVIDENCE_OUTPUT_MANIFEST in the run directory (output_digest.h). A
 * path that is no UTF-8 cannot be in an event either.
 *
 *   for each output: output_files_begin(), listen to evidence_output_digest(), output_files_drop()
 *   if it is not kept after all output_files_end() output_files_entries() or
 *   output_files_manifest()
 */
#ifndef SR_SESSION_OUTPUT_FILES_H
#define SR_SESSION_OUTPUT_FILES_H

#include "evidence/output_digest.h"
#include "saferun/policy.h"

#include <jansson.h>

struct output_files {
    int dirfd;                         /* of the run; not owned */
    int fd;                            /* of the manifest; -1: there is none */
    uint32_t at;                       /* the output at hand */
    const char *names[SR_OUTPUTS_MAX]; /* of outputs; not owned */
    json_t *entries[SR_OUTPUTS_MAX];   /* of each output; NULL where nothing is listed so */
    size_t listed, text;               /* files in entries, and bytes of their canonical JSON */
    size_t begun_listed, begun_text;
    struct sr_buf lines;     /* of the manifest, not written yet */
    uint64_t written, begun; /* its length so far, and where the lines of output at begin */
    char hash[SR_SHA256_TEXT];
};

void output_files_init(struct output_files *files, int run_dirfd);
void output_files_begin(struct output_files *files, uint32_t index, const char *name);
evidence_on_output_file
    output_files_add; /* context is files; SR-EVD-001 when the manifest cannot be written */
/* Forgets what was added since output_files_begin(). */
void output_files_drop(struct output_files *files);
/* Makes the manifest durable, if there is one. SR-EVD-001. */
int output_files_end(struct output_files *files, struct sr_hasher *hasher,
                     struct sr_error *err) SR_MUST_CHECK;
/* Of the entries that events are going to have. */
uint64_t output_files_entry_bytes(const struct output_files *files);
/* A new reference to the array of an output; NULL when the manifest has it. */
json_t *output_files_entries(const struct output_files *files, uint32_t index);
/* The manifest's hash; NULL when there is none. */
const char *output_files_manifest(const struct output_files *files);
void output_files_free(struct output_files *files);

#endif
