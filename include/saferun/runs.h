/*
 * The runs of a base directory: which live, how to stop one, and what to do about the remains of
 * those whose supervisor died.
 *
 * A run that lives holds a lock on its directory's "lock". Until its report is written there is a
 * file of its name in "<base>/.open", so that finding unfinished runs costs nothing when there are
 * none, however many have finished.
 */
#ifndef SAFERUN_RUNS_H
#define SAFERUN_RUNS_H

#include "saferun/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where run directories are: base, else $SAFE_RUN_WORKDIR_BASE, else the default for this user.
 * SR-RUN-001 at prepare.workdir. */
int sr_runs_base(const char *base, char path[PATH_MAX], struct sr_error *err)
    __attribute__((warn_unused_result));

/* A run that lives. */
struct sr_live_run {
    char id[32];
    pid_t pid;        /* of its supervisor */
    int64_t started;  /* seconds since 1970 */
    char name[64];    /* of its policy; empty when not known yet */
    char command[64]; /* the beginning of its command */
};

/* Lists them, oldest first; free() *runs. A base that is not there has none. SR-RUN-001 at
 * prepare.workdir. */
int sr_runs_list(const char *base, struct sr_live_run **runs, size_t *count, struct sr_error *err)
    __attribute__((warn_unused_result));

/* A run of any state. */
enum sr_run_state {
    SR_RUN_LIVES,
    SR_RUN_FINISHED, /* its report is there */
    SR_RUN_DEAD,     /* its safe-run died, and nobody has closed it yet */
};

struct sr_any_run {
    char id[32];
    enum sr_run_state state;
    int64_t started;  /* seconds since 1970 */
    int64_t finished; /* nanoseconds since 1970, when its report was written; 0: it has none */
    uint64_t bytes;   /* of the files in its directory */
    bool more_bytes;  /* at least that: there are more files than are looked at */
    bool has_exit_code;
    int exit_code;
    char cause[32]; /* why it ended; empty when that is not known */
    char name[64], command[64];
    pid_t pid; /* of its supervisor; 0 unless it lives */
};

/* Lists all runs of base, the newest first; free() *runs. Of each a bounded part of a few files is
 * read. Fails as sr_runs_list(). */
int sr_runs_list_all(const char *base, struct sr_any_run **runs, size_t *count,
                     struct sr_error *err) __attribute__((warn_unused_result));

/*
 * Finds the run that a name means: a run id, the end of one that no other run of base has (3
 * characters at least), or "last", the run whose report was written last. Puts its directory into
 * path. Returns 1, or 0 for what can be no such name or means no run, or -1 with err (SR-RUN-001 at
 * run): several runs are meant, the run that is has no report, or base cannot be read.
 */
int sr_runs_find(const char *base, const char *name, char path[PATH_MAX], struct sr_error *err)
    __attribute__((warn_unused_result));

/* The end of a run id that people write: what comes behind its last dash. */
const char *sr_run_suffix(const char *id);

/* Ends a run: SIGTERM to its supervisor, or SIGKILL, and waits up to timeout_sec for it to be gone.
 * SR-RUN-001 at stop. */
int sr_run_stop(const struct sr_live_run *run, const char *base, bool kill, uint32_t timeout_sec,
                struct sr_error *err) __attribute__((warn_unused_result));

/* What gc did to a run, for its callback. */
enum sr_gc_action {
    SR_GC_CLOSED,  /* a dead run: its cgroup is gone, its evidence has an end, it has a report */
    SR_GC_REMOVED, /* its directory is gone */
    SR_GC_FAILED,  /* neither could be done: error says why */
};

struct sr_gc_options {
    int64_t older_than_sec; /* finished runs older than this are removed, unless kept; negative:
                               none are */
    bool dry_run;           /* only tell */
    void (*tell)(void *context, const char *id, enum sr_gc_action action,
                 const struct sr_error *error); /* may be NULL */
    void *context;
};

/* Closes dead runs and removes old ones; live ones are not touched. Returns how many could not be
 * handled, or -1 with err (SR-RUN-001 at prepare.workdir). */
int sr_runs_gc(const char *base, const struct sr_gc_options *options, struct sr_error *err)
    __attribute__((warn_unused_result));

#endif
