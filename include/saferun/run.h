/*
 * Running a policy: one untrusted command in one microVM.
 *
 *   prepare -> launch -> monitor -> cleanup -> report
 *
 * sr_run() blocks until the run is over and its report is written. It never prints: the guest's
 * output goes to the descriptors given, everything else into the result. While it runs it holds
 * SIGINT, SIGTERM, SIGHUP and SIGCHLD blocked and reads them itself; the caller's signal mask is
 * restored before it returns, and of the first three what came when the run was over is dropped.
 * SIGINT and SIGHUP that are ignored when it is called stay ignored.
 */
#ifndef SAFERUN_RUN_H
#define SAFERUN_RUN_H

#include "saferun/error.h"
#include "saferun/policy.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses of `safe-run run` that are not the command's own. */
enum {
    SR_EXIT_TIMEOUT = 124,   /* the policy's (or --timeout's) time was up */
    SR_EXIT_FAILED = 125,    /* could not run it, or could not keep its promises while running it */
    SR_EXIT_NOT_EXEC = 126,  /* the guest found the command but could not execute it */
    SR_EXIT_NOT_FOUND = 127, /* the guest did not find the command */
};

enum sr_accel_choice { SR_ACCEL_CHOICE_AUTO, SR_ACCEL_CHOICE_KVM, SR_ACCEL_CHOICE_TCG };

/* Why a run ended (exit.cause of the report). */
enum sr_cause {
    SR_CAUSE_WORKLOAD,
    SR_CAUSE_TIMEOUT,
    SR_CAUSE_INTERRUPTED,
    SR_CAUSE_GUEST_OOM,
    SR_CAUSE_HOST_OOM,
    SR_CAUSE_VMM,
    SR_CAUSE_SETUP,
    SR_CAUSE_CLEANUP,
};
const char *sr_cause_name(enum sr_cause cause); /* "guest-oom"; static */

struct sr_run_options {
    const struct sr_policy *policy;
    const char *workdir_base;     /* NULL: $SAFE_RUN_WORKDIR_BASE, else the default for this user */
    uint32_t timeout_sec;         /* 0: the policy's */
    enum sr_accel_choice accel;   /* auto: the host configuration's choice */
    const char *const *more_args; /* appended to runtime.args; NULL-terminated, or NULL */
    const char *output_dir;       /* where outputs are left; NULL: <run directory>/outputs */
    bool with_stdin;              /* the command's stdin is stdin_fd, not /dev/null */
    bool rehash;                  /* hash the artefacts again, whatever is remembered of them */
    bool keep;                    /* gc is not to remove the run directory */
    bool confine; /* the process gives up for ever what it does not need once the VM runs */
    int stdin_fd;
    int stdout_fd, stderr_fd; /* the command's output; -1: only into the run directory */
    /* Told about each step in a few words ("guest up after 412 ms"); may be NULL. */
    void (*progress)(void *context, const char *text);
    /* Told what the user should know although it is no error; may be NULL. */
    void (*warn)(void *context, const char *text);
    /* Told how far something that takes its time is, several times a second; done == total: it is
     * over. May be NULL. */
    void (*meter)(void *context, const char *what, uint64_t done, uint64_t total);
    void *progress_context;
};

struct sr_run_result {
    char run_id[32];           /* empty when preparation failed before there was one */
    char run_dir[PATH_MAX];    /* absolute; likewise */
    char output_dir[PATH_MAX]; /* where outputs are; absolute; empty when the policy has none */
    bool report_written;
    bool report_signed; /* the attestation lies beside it */
    bool finished;      /* state: finished, else failed */
    enum sr_cause cause;
    int exit_code; /* for the caller's shell: the command's, 128+n for signal n, or 124..127 */
    char
        limits_why[256]; /* why no cgroup holds a limit that one should hold; empty: each is held */
    struct sr_error error; /* code SR_OK when there is none */
};

/* Runs the policy. Always fills *result; result->exit_code is what to exit with. */
void sr_run(const struct sr_run_options *options, struct sr_run_result *result);

#endif
