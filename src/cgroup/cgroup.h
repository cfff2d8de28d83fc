/*
 * The run's cgroup: limits on what a run may take of the host, and what it takes. Version 2 where
 * its controllers are there or delegated, version 1 on hybrid hosts, each controller where it is;
 * what no controller holds is said, not assumed. (Linux Documentation/admin-guide/cgroup-v2.rst,
 * cgroup-v1/.)
 *
 *   1. sr_cgroup_create() makes "safe-run-<run id>" and writes the limits but that of the CPU.
 *      sr_cgroup_join(1) at once.
 *   2. The VMM is born in its part of it: version 2 by cgroup->v2_fd and CLONE_INTO_CGROUP, version
 *      1 by sr_cgroup_enter() in the child. Who helps it is born in the other: version 2 by
 *      cgroup->v2_helpers_fd, version 1 as its parent's child.
 *   3. sr_cgroup_join(2) when nobody waits for the caller: it takes 12 ms.
 *   4. sr_cgroup_limit_cpu() before the guest is told what to run: what a machine does before that
 *      is its start, which nothing of the run's can make longer and which a share of a core would
 *      draw out.
 *   5. sr_cgroup_read() at any time.
 *   6. sr_cgroup_remove() when the VMM and all helpers but the caller are reaped. What a dead
 *      supervisor leaves is found by sr_cgroup_sweep(), by the paths that were recorded before
 *      anything was made there.
 */
#ifndef SR_CGROUP_CGROUP_H
#define SR_CGROUP_CGROUP_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum sr_controller {
    SR_CONTROLLER_CPU,
    SR_CONTROLLER_MEMORY,
    SR_CONTROLLER_PIDS,
    SR_CONTROLLER_ACCOUNT,
    SR_CONTROLLER_COUNT
};

struct sr_cgroup_limits {
    uint64_t cpu_quota_usec, cpu_period_usec; /* quota 0: none */
    uint64_t memory_bytes;
    uint64_t pids;
};

/* The run's directories in one hierarchy (cgroup.c says which there are). */
struct sr_cgroup_tree {
    int version;
    bool counts;            /* helpers apart from the VMM */
    bool joined;            /* by the caller */
    int fd;                 /* of the run's directory */
    int vmm_fd, helpers_fd; /* where they are: in it, or it itself; -1: no place for helpers */
    int enter_fd, leave_fd; /* take the caller there and back; -1: it stays where it is */
    char path[PATH_MAX];
};

/* Where a controller is. */
struct sr_cgroup_place {
    int version; /* 1 or 2; 0: this controller is nowhere */
    size_t tree;
};

#define SR_CGROUP_TREES (SR_CONTROLLER_COUNT + 1)

struct sr_cgroup {
    struct sr_cgroup_tree trees[SR_CGROUP_TREES];
    size_t tree_count;
    struct sr_cgroup_place places[SR_CONTROLLER_COUNT];
    int v2_fd, v2_helpers_fd; /* to be born in; -1: there is none. The tree's */
    int record;               /* of paths; the caller's. -1: not used any more */
    int record_error;         /* 0, or a negative errno: a path could not be recorded */
    int cpu_fd;               /* the file that takes the CPU limit; -1: there is none to set */
    char cpu_max[48];         /* what it is to take */
};

#define SR_CGROUP_TREE_INIT                                                                        \
    {                                                                                              \
        .fd = -1, .vmm_fd = -1, .helpers_fd = -1, .enter_fd = -1, .leave_fd = -1                   \
    }
#define SR_CGROUP_INIT                                                                             \
    {                                                                                              \
        .v2_fd = -1, .v2_helpers_fd = -1, .record = -1, .cpu_fd = -1                               \
    }

struct sr_cgroup_usage {
    uint64_t cpu_usec, memory_bytes, oom_kills; /* of the VMM */
    bool helpers_counted;
    uint64_t helper_cpu_usec; /* of the caller since it joined, and of the other helpers */
};

/*
 * Makes the run's cgroup with its limits; that of the CPU waits for sr_cgroup_limit_cpu(). A
 * controller that this host does not offer to the caller has version 0 afterwards; that is no
 * error. record: a file to which the path of each directory is written, a line each, before it is
 * made. Errors: SR-RUN-002 at launch.cgroup, when a limit is refused or a path cannot be recorded.
 */
int sr_cgroup_create(struct sr_cgroup *cgroup, const char *run_id,
                     const struct sr_cgroup_limits *limits, int record,
                     struct sr_error *err) SR_MUST_CHECK;

/* Sets the CPU limit, once, by the descriptor that was opened for it: a caller that has given up
 * its rights can still do it. Without one to set it does nothing. Errors: SR-RUN-002 at
 * launch.cgroup. */
int sr_cgroup_limit_cpu(struct sr_cgroup *cgroup, struct sr_error *err) SR_MUST_CHECK;

/* Moves the caller from its own cgroup of version 2, whose name it must be, into a new one
 * "supervisor" below: one with processes in it cannot hand controllers down. -ENOENT: the caller is
 * not in one of that name; or another negative errno. */
int sr_cgroup_make_room(const char *name) SR_MUST_CHECK;

/* Moves the calling process, the VMM to be, into its places of version 1: 0 or a negative errno. */
int sr_cgroup_enter(const struct sr_cgroup *cgroup) SR_MUST_CHECK;

/* Moves the caller, of one thread, among the helpers of its hierarchies of version 1 or 2, once.
 * Nothing where it could not get out again. Errors: SR-RUN-002 at launch.cgroup. */
int sr_cgroup_join(struct sr_cgroup *cgroup, int version, struct sr_error *err) SR_MUST_CHECK;

/* Whether the limit on CPU time holds helpers too, once they have joined. */
bool sr_cgroup_holds_helpers(const struct sr_cgroup *cgroup);

/* What controllers there are have counted; 0 where there is none. Negative errno when there is no
 * accounting at all. */
int sr_cgroup_read(const struct sr_cgroup *cgroup, struct sr_cgroup_usage *usage) SR_MUST_CHECK;

/* "cgroup v2", "cgroup v1", or NULL: not held by a cgroup. */
const char *sr_cgroup_holder(const struct sr_cgroup *cgroup, enum sr_controller controller);

/* Removes it; the caller leaves it, other processes must be gone. 0 or a negative errno; what is
 * gone already is no error. */
int sr_cgroup_remove(struct sr_cgroup *cgroup);

/* Removes the cgroups of a run that is dead, with what still runs in them: the caller's own at the
 * paths that sr_cgroup_create() recorded, which end in the run's name; elsewhere any user may give
 * that name. paths: lines, which are changed. The number of directories removed, or a negative
 * errno. */
int sr_cgroup_sweep(const char *run_id, char *paths);

/* Removes cgroups of any run that are empty, there for min_age_sec, and in nobody's hands (a lock
 * tells): nobody knows their runs any more (a run directory that was deleted by hand). The number
 * of directories removed. */
int sr_cgroup_sweep_empty(int64_t min_age_sec);

#endif
