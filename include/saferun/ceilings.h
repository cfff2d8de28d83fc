/*
 * What a host lets a policy ask for. A policy is hostile input: what it may take of this machine
 * the machine's owner says, in `limits` of the host configuration, or the machine itself, by the
 * defaults.
 *
 *   sr_host_ceilings()    those of this host
 *   sr_policy_hold()      adds to what a check found each field that asks for more
 *
 * Runs are held to them always, documents only when somebody asks: a bundle is the same on every
 * machine.
 */
#ifndef SAFERUN_CEILINGS_H
#define SAFERUN_CEILINGS_H

#include "saferun/policy.h"

/* Names of env.allow, each with a blank behind it. */
#define SR_ENV_ALLOW_MAX 4096

struct sr_ceilings {
    uint64_t memory_bytes;   /* resources.memory.max */
    uint64_t milli_cpus;     /* resources.cpu.max, in thousandths of a CPU */
    uint64_t disk_bytes;     /* resources.disk.max */
    uint64_t time_sec;       /* runtime.timeoutSec, and the caller's --timeout */
    uint64_t output_bytes;   /* outputs[].max of all outputs together */
    uint64_t output_entries; /* files, directories and links of all outputs together */
    uint64_t event_bytes;    /* of events.jsonl */
    uint64_t rules;          /* network.egress */
    uint64_t processes;      /* resources.pids.max */
    /* The caller's variables that any policy's guest may have: "TOKEN CI_KEY ". A caller may grant
     * others (policy->allowed_env). */
    char env_allow[SR_ENV_ALLOW_MAX];
};

/* Told of each field that asks for more: its path, and a sentence with what is allowed. */
typedef void sr_breach_fn(void *context, const char *path, const char *message);
void sr_ceilings_check(const struct sr_policy *policy, const struct sr_ceilings *ceilings,
                       sr_breach_fn *tell, void *context);

/*
 * Adds to check an SR-POL-003 for each of them, at the field's path and place, in document order
 * with what is there; check->policy is NULL then. Returns 0 when that was done, -1 with err filled
 * when memory ran out.
 */
int sr_policy_hold(struct sr_check *check, const struct sr_ceilings *ceilings, struct sr_error *err)
    __attribute__((warn_unused_result));

/* The ceilings of this host, from its configuration. Errors: SR-RUN-001 at
 * prepare.config[.field]. */
int sr_host_ceilings(struct sr_ceilings *ceilings, struct sr_error *err)
    __attribute__((warn_unused_result));

/* A size as policies spell it, in the largest unit that is exact ("20993Mi"); bytes below a KiB are
 * cut. */
#define SR_SIZE_TEXT 32
char *sr_size_text(uint64_t bytes, char text[SR_SIZE_TEXT]);
/* Thousandths of a CPU as a number of CPUs ("1.5"). */
char *sr_cpus_text(uint64_t milli_cpus, char text[SR_SIZE_TEXT]);

#endif
