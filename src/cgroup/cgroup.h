/*
 * The run's cgroup: limits on what a run may take of the host, and what it takes. Version 2 where
 * its controllers are there or delegated, version 1 on hybrid hosts, each controller where it is.
 * Limits that no controller enforces are reported as such. (Linux
 * Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/.)
 *
 *   1. cgroup_create() makes "safe-run-<run id>" and writes the limits but that of the CPU.
 *      cgroup_join(1) at once.
 *   2. The VMM starts in its part of it: version 2 by cgroup->v2_fd and CLONE_INTO_CGROUP, version
 *      1 by cgroup_enter() in the child. Its helpers start in the other part: version 2 by
 *      cgroup->v2_helpers_fd, version 1 by inheriting their parent's.
 *   3. cgroup_join(2) when nobody waits for the caller: it takes 12 ms.
 *   4. cgroup_limit_cpu() before the guest is told what to run. Until then the machine boots: a
 *      run cannot make that longer, and the limit would only slow it down.
 *   5. cgroup_read() at any time.
 *   6. cgroup_remove() when the VMM and all helpers but the caller are reaped. cgroup_sweep()
 *      finds what a dead supervisor leaves, by paths that are recorded before directories are made.
 */
#ifndef SR_CGROUP_CGROUP_H
#define SR_CGROUP_CGROUP_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum cgroup_controller {
    CGROUP_CONTROLLER_CPU,
    CGROUP_CONTROLLER_MEMORY,
    CGROUP_CONTROLLER_PIDS,
    CGROUP_CONTROLLER_ACCOUNT,
    CGROUP_CONTROLLER_COUNT
};

struct cgroup_limits {
    uint64_t cpu_quota_usec, cpu_period_usec; /* quota 0: none */
    uint64_t memory_bytes;
    uint64_t pids;
};

/* The run's directories in one hierarchy (cgroup.c says which there are). */
struct cgroup_tree {
    int version;
    bool counts;            /* counts helpers apart from the VMM */
    bool joined;            /* the caller is in it */
    int fd;                 /* of the run's directory */
    int vmm_fd, helpers_fd; /* of directories in it, or of itself; -1: no place for helpers */
    int enter_fd, leave_fd; /* files that move the caller in and out; -1: it stays outside */
    char path[PATH_MAX];
};

/* Where a controller is. */
struct cgroup_place {
    int version; /* 1 or 2; 0: this host does not have the controller */
    size_t tree;
};

#define CGROUP_TREES (CGROUP_CONTROLLER_COUNT + 1)

struct cgroup {
    struct cgroup_tree trees[CGROUP_TREES];
    size_t tree_count;
    struct cgroup_place places[CGROUP_CONTROLLER_COUNT];
    int v2_fd, v2_helpers_fd; /* for CLONE_INTO_CGROUP; -1: there is none. Owned by a tree */
    int record;               /* file for paths, owned by the caller; -1: not used any more */
    int record_error;         /* 0, or a negative errno: a path could not be recorded */
    int cpu_fd;               /* file that takes the CPU limit; -1: there is none to set */
    char cpu_max[48];         /* text to write there */
};

#define CGROUP_TREE_INIT                                                                           \
    {                                                                                              \
        .fd = -1, .vmm_fd = -1, .helpers_fd = -1, .enter_fd = -1, .leave_fd = -1                   \
    }
#define CGROUP_INIT                                                                                \
    {                                                                                              \
        .v2_fd = -1, .v2_helpers_fd = -1, .record = -1, .cpu_fd = -1                               \
    }

struct cgroup_usage {
    uint64_t cpu_usec, memory_bytes, oom_kills; /* of the VMM */
    bool helpers_counted;
    uint64_t helper_cpu_usec; /* of the caller since it joined, and of the other helpers */
};

/*
 * Makes the run's cgroup with its limits; that of the CPU waits for cgroup_limit_cpu(). A
 * controller that this host does not offer to the caller has version 0 afterwards; that is no
 * error. record: a file to which the path of each directory is written, a line each, before it is
 * made. Errors: SR-RUN-002 at launch.cgroup, when a limit is refused or a path cannot be recorded.
 */
int cgroup_create(struct cgroup *cgroup, const char *run_id, const struct cgroup_limits *limits,
                  int record, struct sr_error *err) SR_MUST_CHECK;

/* Sets the CPU limit, once, by the descriptor that was opened for it: a caller that has given up
 * its rights can still do it. Without one to set it does nothing. Errors: SR-RUN-002 at
 * launch.cgroup. */
int cgroup_limit_cpu(struct cgroup *cgroup, struct sr_error *err) SR_MUST_CHECK;

/* Moves the caller from its cgroup of version 2, which must have this name, into a new one below
 * it, "supervisor": a cgroup with processes in it cannot hand controllers down. Returns 0; -ENOENT
 * when the caller's cgroup has another name; or another negative errno. */
int cgroup_make_room(const char *name) SR_MUST_CHECK;

/* Moves the calling process, which becomes the VMM, into its places of version 1. Returns 0 or a
 * negative errno. */
int cgroup_enter(const struct cgroup *cgroup) SR_MUST_CHECK;

/* Moves the caller, which has one thread, among the helpers in hierarchies of version 1 or 2. Call
 * it once for each version. Does nothing where the caller could not leave again. Errors: SR-RUN-002
 * at launch.cgroup. */
int cgroup_join(struct cgroup *cgroup, int version, struct sr_error *err) SR_MUST_CHECK;

/* Whether the limit on CPU time holds helpers too, once they have joined. */
bool cgroup_holds_helpers(const struct cgroup *cgroup);

/* Reads what the controllers have counted; 0 for those that are not there. Returns 0, or a negative
 * errno when there is no accounting at all. */
int cgroup_read(const struct cgroup *cgroup, struct cgroup_usage *usage) SR_MUST_CHECK;

/* Returns what enforces a limit: "cgroup v2", "cgroup v1", or NULL: no cgroup does. */
const char *cgroup_holder(const struct cgroup *cgroup, enum cgroup_controller controller);

/* Removes the run's directories, after moving the caller out. Other processes must have ended.
 * Returns 0 or a negative errno; directories that are gone already are no error. */
int cgroup_remove(struct cgroup *cgroup);

/* Removes the cgroups of a dead run and kills what still runs in them. It looks only at the
 * recorded paths that end in the run's name, and only at cgroups of the caller: elsewhere any user
 * may give a cgroup that name. paths: what cgroup_create() recorded, changed here. Returns the
 * number of directories removed, or a negative errno. */
int cgroup_sweep(const char *run_id, char *paths);

/* Removes cgroups of any run that are empty, at least min_age_sec old and not locked by a
 * supervisor: those of run directories that were deleted by hand. Returns the number of directories
 * removed. */
int cgroup_sweep_empty(int64_t min_age_sec);

#endif
