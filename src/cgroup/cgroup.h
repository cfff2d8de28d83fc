/*
 * The run's cgroup: limits on what the VMM may take of the host, and what it takes. Version 2 where its controllers are there
 * or delegated, version 1 on hybrid hosts, each controller where it is; what no controller holds is said, not assumed.
 * (Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/.)
 *
 *   1. sr_cgroup_create() makes "safe-run-<run id>" and writes the limits but that of the CPU.
 *   2. The VMM is born in it: version 2 by cgroup->v2_fd and CLONE_INTO_CGROUP, version 1 by sr_cgroup_enter() in the child.
 *   3. sr_cgroup_limit_cpu() before the guest is told what to run: what a machine does before that is its start, which nothing of
 *      the run's can make longer and which a share of a core would draw out.
 *   4. sr_cgroup_read() at any time.
 *   5. sr_cgroup_remove() when the VMM is reaped. What a dead supervisor leaves is found by sr_cgroup_sweep().
 */
#ifndef SR_CGROUP_CGROUP_H
#define SR_CGROUP_CGROUP_H

#include "cleanup.h"
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

/* A directory of the run's, for one controller or several. */
struct sr_cgroup_place {
    int version; /* 1 or 2; 0: this controller is nowhere */
    int fd;      /* O_PATH or O_RDONLY of the directory */
    char path[PATH_MAX];
};

struct sr_cgroup {
    struct sr_cgroup_place
        places[SR_CONTROLLER_COUNT]; /* by controller; those of version 2 are the same directory */
    int v2_fd;                       /* to be born in; -1: there is none */
    int cpu_fd;       /* the file that takes the CPU limit; -1: there is none to set */
    char cpu_max[48]; /* what it is to take */
};

#define SR_CGROUP_INIT                                                                             \
    {                                                                                              \
        .places = {{.fd = -1}, {.fd = -1}, {.fd = -1}, {.fd = -1}}, .v2_fd = -1, .cpu_fd = -1      \
    }

struct sr_cgroup_usage {
    uint64_t cpu_usec, memory_bytes, oom_kills;
};

/*
 * Makes the run's cgroup with its limits; that of the CPU waits for sr_cgroup_limit_cpu(). A controller that this host does not offer to the caller has version 0 afterwards; that is
 * no error. Errors: SR-RUN-002 at launch.cgroup, when a limit is refused.
 */
int sr_cgroup_create(struct sr_cgroup *cgroup, const char *run_id,
                     const struct sr_cgroup_limits *limits, struct sr_error *err) SR_MUST_CHECK;

/* Sets the CPU limit, once, by the descriptor that was opened for it: a caller that has given up its rights can still do it. Without one
 * to set it does nothing. Errors: SR-RUN-002 at launch.cgroup. */
int sr_cgroup_limit_cpu(struct sr_cgroup *cgroup, struct sr_error *err) SR_MUST_CHECK;

/* Moves the caller from its own cgroup of version 2, whose name it must be, into a new one "supervisor" below: one with processes in
 * it cannot hand controllers down. -ENOENT: the caller is not in one of that name; or another negative errno. */
int sr_cgroup_make_room(const char *name) SR_MUST_CHECK;

/* Moves the calling process into the places of version 1: 0 or a negative errno. */
int sr_cgroup_enter(const struct sr_cgroup *cgroup) SR_MUST_CHECK;

/* What controllers there are have counted; 0 where there is none. Negative errno when there is no accounting at all. */
int sr_cgroup_read(const struct sr_cgroup *cgroup, struct sr_cgroup_usage *usage) SR_MUST_CHECK;

/* "cgroup v2", "cgroup v1", or NULL: not held by a cgroup. */
const char *sr_cgroup_holder(const struct sr_cgroup *cgroup, enum sr_controller controller);

/* Removes it; processes must be gone. 0 or a negative errno; what is gone already is no error. */
int sr_cgroup_remove(struct sr_cgroup *cgroup);

/* Removes the cgroups of a run that is dead, wherever they are, with what still runs in them: the number of directories removed,
 * or a negative errno. */
int sr_cgroup_sweep(const char *run_id);

/* Removes cgroups of any run that are empty, there for min_age_sec, and in nobody's hands (a lock tells): nobody knows their runs any
 * more (a run directory that was deleted by hand). The number of directories removed. */
int sr_cgroup_sweep_empty(int64_t min_age_sec);

#endif
