/*
 * Theory of operation
 *
 * Steps, and what is true after each:
 *   1. clone: new pid, mount, network, ipc and uts namespaces (and a user namespace, when the
 *      caller is not root), born in the run's cgroup: no process, socket or interface of the host
 *      can be named any more; the network has only a loopback device that is down.
 *   2. An ordinary user's id is mapped to itself, and only it. The OOM killer takes this process
 *      before others.
 *   3. A tmpfs with a bind mount for each file of the plan (root.c), all of it read-only, nosuid,
 *      nodev, but for the one device of the plan.
 *   4. pivot_root, and the old root detached: no path leads to a file of the host but to those.
 *      There is no /proc and no /dev.
 *   5. Resource limits: no core dump, no file may grow, no locked memory, few descriptors.
 *   6. A uid and gid of its own, no groups; no capability in any set, none to be gained by execve.
 *   7. Death with the parent, which is looked after in case it has died before. After 6, which
 *      would undo it.
 *   8. Landlock: only reading and executing below the root, whatever mounts there might be; no TCP,
 *      where the kernel has it.
 *   9. seccomp: a list of system calls.
 * Then the caller executes the program. A step that fails ends the start: nothing runs in half a
 * jail.
 */
#include "jail/jail.h"
#include "common/failpoint.h"
#include "common/fs.h"
#include "jail/landlock.h"
#include "jail/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534u
#define OOM_SCORE "500"
/* Files that QEMU keeps open are some twenty. */
#define FILES_MAX 256

const char *jail_clone_fault(int error, bool new_user)
{
    switch (error) { /* clone(2), user_namespaces(7) */
    case ENOSPC:
    case EUSERS:
        return new_user ? "this host lets its users make no more user namespaces (sysctl "
                          "user.max_user_namespaces)"
                        : "this host has no more namespaces to give (sysctls "
                          "user.max_*_namespaces)";
    case EPERM:
    case EACCES:
        return new_user ? "this host does not let ordinary users make user namespaces (sysctl "
                          "kernel.unprivileged_userns_clone, or AppArmor)"
                        : "namespaces need CAP_SYS_ADMIN, which this process does not have";
    default:
        return strerror(error);
    }
}

pid_t jail_clone(const struct jail_plan *plan, int *pidfd)
{
    struct clone_args how = {
        .flags = CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
                 CLONE_NEWUTS | (plan->new_user ? CLONE_NEWUSER : 0) |
                 (plan->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = plan->cgroup_fd >= 0 ? (uint64_t)plan->cgroup_fd : 0,
    };
    if (SR_FAILPOINT("jail.clone"))
        return -1;
    return (pid_t)syscall(SYS_clone3, &how, sizeof how);
}

int jail_raise_oom_score(void)
{
    errno = -sr_write_kernel_file(AT_FDCWD, "/proc/self/oom_score_adj", OOM_SCORE);
    return errno == 0 ? 0 : -1;
}

int jail_map_ids(const char *process, const struct jail_ids *inside, const struct jail_ids *outside)
{
    const struct {
        const char *file;
        unsigned in, out;
    } maps[] = {{"uid_map", inside->uid, outside->uid}, {"gid_map", inside->gid, outside->gid}};
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%s/setgroups", process);
    int result = sr_write_kernel_file(AT_FDCWD, path, "deny");
    for (size_t i = 0; i < 2 && result == 0; i++) {
        snprintf(path, sizeof path, "/proc/%s/%s", process, maps[i].file);
        snprintf(text, sizeof text, "%u %u 1\n", maps[i].in, maps[i].out);
        result = sr_write_kernel_file(AT_FDCWD, path, text);
    }
    return result;
}

/* Never 0 inside, whose execve would bring capabilities. */
static int map_own_ids(const struct jail_plan *plan)
{
    const struct jail_ids outside = {plan->uid, plan->gid};
    const struct jail_ids inside = {plan->uid != 0 ? plan->uid : NOBODY,
                                    plan->gid != 0 ? plan->gid : NOBODY};
    return jail_map_ids("self", &inside, &outside);
}

/* Descriptors from before the clone are of another mount namespace and cannot be bound. */
static int open_same(const struct jail_bind *bind)
{
    struct stat given, found;
    sr_cleanup_fd int file = open(bind->path, O_PATH | O_CLOEXEC);
    if (file < 0 || fstat(bind->fd, &given) < 0 || fstat(file, &found) < 0)
        return -1;
    if (given.st_dev != found.st_dev || given.st_ino != found.st_ino) {
        errno = ESTALE;
        return -1;
    }
    return sr_take_fd(&file);
}

/* The device, as a mount to put into the sealed root: an ordinary user's right to it is the host's
 * to say; the uid of a run of root's gets a node of its own. -1 with errno. */
static int open_device(const struct jail_plan *plan, int root)
{
    static const char node[] = "device";
    const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    struct stat st;
    if (plan->new_user)
        return (int)syscall(SYS_open_tree, -1, plan->device, flags);
    if (stat(plan->device, &st) < 0 || mknodat(root, node, S_IFCHR | 0600, st.st_rdev) < 0 ||
        fchownat(root, node, plan->uid, plan->gid, 0) < 0)
        return -1;
    return (int)syscall(SYS_open_tree, root, node, flags);
}

static int furnish(const struct jail_plan *plan, int root)
{
    for (size_t i = 0; i < plan->files->count; i++)
        if (jail_root_add(root, plan->files->paths[i]) < 0)
            return -1;
    for (size_t i = 0; i < plan->bind_count; i++) {
        const struct jail_bind *bind = &plan->binds[i];
        sr_cleanup_fd int file = open_same(bind);
        if (file < 0 || jail_root_place(root, bind->name) < 0 ||
            jail_root_bind(root, file, "", bind->name, MOUNT_ATTR_NOEXEC) < 0)
            return -1;
    }
    if (plan->device == NULL)
        return jail_root_seal(root);
    const char *place = plan->device + 1;
    sr_cleanup_fd int device = open_device(plan, root);
    if (device < 0 || jail_root_place(root, place) < 0 || jail_root_seal(root) < 0)
        return -1;
    return jail_root_put(root, device, place, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

static int enter_root(const struct jail_plan *plan)
{
    sr_cleanup_fd int root = SR_FAILPOINT("jail.mounts") ? -1 : jail_root_make();
    if (root < 0 || furnish(plan, root) < 0 || SR_FAILPOINT("jail.root"))
        return -1;
    return jail_root_enter(root);
}

int jail_limit(const struct jail_limit *limits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct rlimit now;
        if (getrlimit((unsigned)limits[i].resource, &now) < 0)
            return -1;
        if (limits[i].value < now.rlim_max)
            now.rlim_max = limits[i].value;
        now.rlim_cur = now.rlim_max;
        if (setrlimit((unsigned)limits[i].resource, &now) < 0)
            return -1;
    }
    return 0;
}

static int set_limits(const struct jail_plan *plan)
{
    const struct jail_limit limits[] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_FSIZE, 0},
        {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_NOFILE, FILES_MAX},
        {RLIMIT_NPROC, FILES_MAX}, /* threads; an ordinary user's are counted over all its processes
                                    */
    };
    return jail_limit(limits, sizeof limits / sizeof limits[0] - plan->new_user);
}

static int drop_privileges(const struct jail_plan *plan)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {0};
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            return -1;
    if (!plan->new_user && jail_become(plan->uid, plan->gid) < 0)
        return -1;
    if (syscall(SYS_capset, &header, none) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int jail_die_with_parent(int socket)
{
    struct pollfd end = {.fd = socket};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -1;
    /* A process that dies closes its descriptors before it signals its children, so what came too
     * late is seen here. */
    if (poll(&end, 1, 0) != 0) {
        errno = ESRCH;
        return -1;
    }
    return 0;
}

/* Only reading and executing; the device, when there is one. */
static int restrict_files(const struct jail_plan *plan)
{
    sr_cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    sr_cleanup_fd int device = plan->device != NULL ? open(plan->device, O_PATH | O_CLOEXEC) : -1;
    const struct jail_access places[] = {{root, JAIL_READ_FILE | JAIL_EXECUTE},
                                         {device, JAIL_USE_DEVICE}};
    return jail_landlock(places, plan->device != NULL ? 2 : 1, true);
}

int jail_enter(const struct jail_plan *plan, const char **step)
{
    static const char host[] = "vm";
    *step = "user namespace";
    if (plan->new_user && (errno = -map_own_ids(plan)) != 0)
        return -1;
    *step = "OOM score";
    if (jail_raise_oom_score() < 0)
        return -1;
    *step = "cgroup namespace";
    if (unshare(CLONE_NEWCGROUP) < 0)
        return -1;
    *step = "host name";
    if (sethostname(host, sizeof host - 1) < 0)
        return -1;
    *step = "root directory";
    if (enter_root(plan) < 0)
        return -1;
    *step = "resource limits";
    if (set_limits(plan) < 0)
        return -1;
    *step = "privileges";
    if (drop_privileges(plan) < 0)
        return -1;
    *step = "parent";
    if (jail_die_with_parent(plan->parent) < 0)
        return -1;
    *step = "landlock";
    if (restrict_files(plan) < 0)
        return -1;
    *step = "seccomp";
    int result = jail_filter(JAIL_VMM);
    errno = -result;
    return result < 0 ? -1 : 0;
}
