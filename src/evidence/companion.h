/*
 * What lies beside a report in its run directory and helps to read it: policy.json, command.json,
 * the ends of stdout.log and stderr.log. Each is shown only when its bytes have the hash that the
 * report names, so that a page never mixes one run's report with another run's files.
 */
#ifndef SR_EVIDENCE_COMPANION_H
#define SR_EVIDENCE_COMPANION_H

#include "evidence/summary.h"

#include "common/cleanup.h"

/* Bytes of an output's end that are shown. */
#define EVIDENCE_COMPANION_TAIL 4096

enum evidence_companion_state {
    EVIDENCE_COMPANION_ABSENT,
    EVIDENCE_COMPANION_OTHER, /* it does not have the report's hash, or cannot be read */
    EVIDENCE_COMPANION_KNOWN,
};

struct evidence_companion_output {
    enum evidence_companion_state state;
    uint64_t size;
    char *tail; /* whole characters, lines by '\n', printable otherwise; owned, NULL unless known */
};

/* A rule of the policy, as it was written. */
struct evidence_companion_rule {
    char where[256], protocol[16], port[64];
};
#define EVIDENCE_COMPANION_RULES 200

struct evidence_companions {
    enum evidence_companion_state policy, command;
    char name[128], labels[256], image[128], user[32], workdir[128], env[512], env_from[512],
        audit[16]; /* env_from: names and sources of values that the policy does not have */
    char cpu_max[64], memory_max[32], disk_max[32];
    int64_t pids_max, timeout_sec;
    struct evidence_companion_rule *rules; /* owned; NULL: none, or the policy is not known */
    size_t rule_count, more_rules;
    char *command_line; /* as a shell would take it, printable; owned */
    struct evidence_companion_output out, err;
};

/* Reads the files of the directory. A file that cannot be read is left out. Returns 0, or -1 when
 * memory is out. */
int evidence_companions_read(struct evidence_companions *companions, int dirfd,
                             const struct evidence_summary *summary) SR_MUST_CHECK;
void evidence_companions_free(struct evidence_companions *companions);

#endif
