/*
 * Writing the report of a run: run_report.json (docs/CONTRACT.md, "Report").
 *
 * struct evidence_report_facts has what only the runner knows; events and sums come from the event
 * log. The report is canonical JSON (RFC 8785) and one newline, says so in
 * integrity.canonicalization, and is written in one pass in bounded memory: to a temporary file
 * that is made durable and renamed, so that run_report.json is there whole or not at all.
 */
#ifndef SR_EVIDENCE_REPORT_H
#define SR_EVIDENCE_REPORT_H

#include "evidence/event.h"
#include "saferun/policy.h"

#include <stddef.h>

#define EVIDENCE_REPORT_FILE "run_report.json"
#define EVIDENCE_REPORT_SCHEMA "safe-run.report/v1"
#define EVIDENCE_REPORT_CANONICALIZATION "RFC8785"

/* A file of the run directory that the report vouches for. */
struct evidence_report_file {
    const char *name; /* relative to the run directory: "stdout.log", "outputs/a" */
    const char *hash; /* "sha256:..." */
};

/* Texts may be NULL: a hash that is not known (NULL or "") is written as EVIDENCE_HASH_ZERO, any
 * other text as "unknown". */
struct evidence_report_facts {
    const char *run_id;      /* the log's; NULL is fine */
    const char *started_at;  /* RFC 3339; NULL: when the log was opened */
    const char *finished_at; /* NULL: now, by the log's clock */
    int exit_code;           /* what `safe-run run` exits with */
    const char *kernel_hash, *rootfs_hash, *policy_hash, *command_hash;
    const struct evidence_report_file *files; /* optional; sorted by name (bytes), no name twice */
    size_t file_count;
    enum sr_network_mode network_mode; /* the policy's */
    uint64_t rules_total;    /* the policy's, for a run that ended before its network was made */
    uint64_t mount_count;    /* the policy's */
    const char *policy_name; /* NULL: not known, and left out */
    /* exit{} */
    const char *cause;                    /* sr_cause_name() */
    int code;                             /* of the command; negative: it has none */
    int signal;                           /* that ended the command; 0: none */
    bool guest_spoke;                     /* and said what code and signal are */
    bool cause_by_guest, status_by_guest; /* cause, exit_code: follow from the guest's word alone */
    /* assurance{} */
    const char *vmm, *vmm_version, *accel, *jail, *uplink;
    const char *limit_cpu, *limit_memory, *limit_pids, *limit_disk; /* what enforced each */
};

/*
 * Makes the log durable and writes the report beside it. On failure there is no report and no
 * temporary file, and an older report is as it was. SR-EVD-001 when the log cannot be written,
 * SR-EVD-002 at `report` otherwise, also when events.jsonl is not what the log wrote.
 */
int evidence_report_write(int run_dirfd, const struct evidence_report_facts *facts,
                          struct evidence_event_log *log, struct sr_error *err) SR_MUST_CHECK;

/* policyHash: over the normalized policy's canonical JSON. */
int evidence_policy_hash(struct sr_hasher *hasher, const char *json, size_t len,
                         char text[SR_SHA256_TEXT]) SR_MUST_CHECK;

#endif
