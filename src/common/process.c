#include "common/process.h"

#include "common/clock.h"
#include "common/fs.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t sr_fork_into(int cgroup_fd, int *pidfd)
{
    struct clone_args how = {
        .flags = CLONE_PIDFD | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup_fd >= 0 ? (uint64_t)cgroup_fd : 0,
    };
    return (pid_t)syscall(SYS_clone3, &how, sizeof how);
}

bool sr_reap(pid_t pid, int pidfd, int msec, int *status)
{
    return sr_await(pidfd, sr_now() + (uint64_t)msec * SR_NSEC_PER_MSEC) &&
           waitpid(pid, status, WNOHANG) == pid;
}
