/* Children: where they are born, and an end that nobody waits for without bound. */
#ifndef SR_COMMON_PROCESS_H
#define SR_COMMON_PROCESS_H

#include "common/cleanup.h"

#include <stdbool.h>
#include <sys/types.h>

/* fork(2) by a caller of one thread, into a cgroup of version 2 (a descriptor of its directory; -1:
 * the caller's own). *pidfd is the child's. Returns 0 in the child, its pid in the caller, -1 with
 * errno. */
pid_t sr_fork_into(int cgroup_fd, int *pidfd) SR_MUST_CHECK;

/* Waits for a child's end, msec milliseconds at the most. True: it is reaped, and *status (which
 * may be NULL) is as from wait(2). */
bool sr_reap(pid_t pid, int pidfd, int msec, int *status);

/* For one that was killed: one that the kernel does not let go even then is left behind. */
#define SR_REAP_MSEC 10000

#endif
