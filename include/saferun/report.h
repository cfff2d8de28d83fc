/*
 * Verifying the report of a run (docs/CONTRACT.md, "Verification"), offline and without trust in
 * whoever wrote it.
 *
 *   1. sr_report_verify() reads the report once, in bounded memory, and runs every check it has the
 *      material for.
 *   2. verification->valid is the answer; checks say what was looked at, errors where it failed.
 *   3. sr_verification_free().
 *
 * Checks, in this order; those after the third only when there is something to check:
 *   schema          SR-EVD-301  strict JSON (RFC 8259, I-JSON) with the fields of a report
 *   artifact_hash   SR-EVD-302  hashes are well formed and integrity.digest recomputes
 *   event_chain     SR-EVD-303  every event's hash recomputes and names the one before it
 *   canonical_form  SR-EVD-302  the file is byte for byte what was sealed (reports that say
 *                               integrity.canonicalization RFC8785)
 *   terminal_event  SR-EVD-303  the chain ends as a run ends
 *   aggregates      SR-EVD-303  mountAudit, networkAudit and resourceUsage follow from the events
 *   events_file     SR-EVD-303  events.jsonl holds the same events
 *   artifact_files  SR-EVD-302  files have the hashes that the report names
 *   signature       SR-EVD-304  an attestation of exactly this report, signed by every key that was
 *                   given
 * An unreadable file is SR-EVD-002 at `report`, `events`, `artifacts` or `attestation`, an unusable
 * key SR-EVD-003 at `key`.
 */
#ifndef SAFERUN_REPORT_H
#define SAFERUN_REPORT_H

#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SR_REPORT_MAX_CHECKS 12
/* Errors kept of one verification; of more, only the number is. */
#define SR_REPORT_MAX_ERRORS 50

struct sr_key; /* key.h; for safe-run itself */

struct sr_verify_options {
    const char *events_path;   /* events.jsonl of the run, or NULL */
    const char *artifacts_dir; /* directory with policy.json, vmlinux, ..., or NULL */
    bool files_may_lack; /* there: what artifacts.files names is checked as far as it is there */
    const char
        *elsewhere; /* files named with this beginning ("outputs/") are not in artifacts_dir, and
                              not missed there; or NULL */
    const int
        *outputs_dirfd; /* directory whose outputs/ is verified; NULL: that of artifacts_dir, unless
                                 elsewhere is set */
    const char
        *outputs_dir; /* where outputs are that a run left elsewhere (--output-dir), or NULL */
    const char *attestation_path; /* DSSE envelope, or NULL; then one key at least */
    const char *const *key_paths; /* public keys (PEM), each of which must have signed */
    size_t key_count;
    const struct sr_key *key; /* one more that must have signed; NULL: none */
    const int *dirfd; /* directory that these paths are relative to; NULL: the current one */
};

struct sr_report_check {
    const char *name; /* static */
    bool ok;
    char note[160]; /* what could not be decided, or empty */
};

/* Zero-initialise before use; one verification each. */
struct sr_verification {
    bool valid;
    struct sr_report_check checks[SR_REPORT_MAX_CHECKS];
    size_t check_count;
    struct sr_error *errors; /* in the order of the report; owned */
    size_t error_count;
    uint64_t more_errors; /* beyond SR_REPORT_MAX_ERRORS */
    uint64_t event_count;
    bool outputs_differ; /* an error is of outputs/ */
    char run_id[129];    /* of the report, printable ASCII; empty when it has none */
};

/*
 * Verifies the report in path ("-" is standard input; symbolic links are followed; anything but a
 * regular file is an error). options may be NULL. Returns 0 when there is an answer, whatever it
 * is; -1 with err filled when memory ran out.
 */
int sr_report_verify(const char *path, const struct sr_verify_options *options,
                     struct sr_verification *verification, struct sr_error *err)
    __attribute__((warn_unused_result));

/* The same for an open descriptor (regular file from its position on, or a stream). */
int sr_report_verify_fd(int fd, const struct sr_verify_options *options,
                        struct sr_verification *verification, struct sr_error *err)
    __attribute__((warn_unused_result));

/* Where the attestation of a report is: in its directory. */
#define SR_ATTESTATION_FILE "run_report.dsse.json"

/*
 * Signs the report `name` in dirfd with the private key in key_path: writes SR_ATTESTATION_FILE
 * beside it, an in-toto statement in a DSSE envelope, whole or not at all and durable. The report
 * must verify, with events.jsonl and the files it names as far as they are there. A signature is
 * added to those of an attestation of the same statement; one of another is an error. Writes the
 * key's id (hex) into key_id. Errors: SR-EVD-003 at `key`, SR-EVD-002 at `report` or `attestation`
 * for what cannot be read or written, SR-EVD-301 to -304 for what does not verify.
 */
int sr_report_attest(int dirfd, const char *name, const char *key_path, char key_id[65],
                     struct sr_error *err) __attribute__((warn_unused_result));

void sr_verification_free(struct sr_verification *verification);
#define sr_cleanup_verification __attribute__((cleanup(sr_verification_free)))

#endif
