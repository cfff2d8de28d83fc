/*
 * Theory of operation
 *
 * The cell holds CAP_NET_ADMIN in the run's network namespace and reads what the supervisor and
 * netlink say; pasta reads packets. In their order:
 *
 *   1. room_enter(): a root directory with the files that nft and pasta open (found by the
 *      supervisor, as for QEMU), /dev/net/tun and the namespace for pasta to join. No /proc: pasta
 *      asks it only for its own name, which a link tells, and (from 2024 on) for the ids of its
 *      user namespace, of which there is a copy.
 *   2. pasta, in mount, ipc and uts namespaces of its own: no capability but the five that it
 *      starts with, none to be gained; limits; system calls by a list. What it still has it gives
 *      up by itself (passt's isolation.c), before its first packet: its root is an empty directory
 *      then, and of capabilities it keeps CAP_NET_BIND_SERVICE and CAP_SYS_ADMIN. It has no
 *      Landlock, because that forbids the mounts it isolates itself by.
 *   3. The UDP relay (relay.c says what it does): an empty root directory, no capability, Landlock
 *      with nothing allowed, limits, and the shortest list of system calls.
 *   4. The cell, once everything is in place: of capabilities CAP_NET_ADMIN, for itself and for
 *      nft; limits; not dumpable; Landlock leaves reading and executing below its root; system
 *      calls by a list, which nft inherits.
 *
 * Sanitized builds leave out Landlock, system calls and the limit of memory, and see the
 * failpoints' log.
 */
#include "net/room.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "jail/jail.h"
#include "jail/landlock.h"
#include "jail/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH "launch.network.apply"
/* 10,000 rules take nft some 50 MiB. */
#define MEMORY_MAX (UINT64_C(512) << 20)
/* What is said in net.log, and a ruleset on its way to nft. */
#define FILE_MAX (UINT64_C(1) << 20)
#define TUN "/dev/net/tun"
#define NOBODY 65534u
/* What pasta opens beside connections. */
#define PASTA_FILES 64
#define CAP(name) (1u << (name))
#define IDS "/proc/self/uid_map"

/* What is needed of /proc, which a root directory of one's own hides. */
struct origin {
    int netns;      /* a detached mount */
    char ids[4096]; /* of IDS */
    ssize_t ids_len;
};

static int furnish_for_pasta(const struct cell_plan *plan, int root, const struct origin *origin)
{
    if (jail_root_place(root, &ROOM_NETNS[1]) < 0 ||
        jail_root_put(root, origin->netns, &ROOM_NETNS[1], MOUNT_ATTR_NOEXEC) < 0 ||
        jail_root_place(root, &TUN[1]) < 0 || mkdirat(root, "proc", 0755) < 0 ||
        mkdirat(root, "proc/self", 0755) < 0)
        return -1;
    int result = sr_write_new_file(root, &IDS[1], origin->ids, (size_t)origin->ids_len);
    errno = -result;
    return result < 0 ? -1 : symlinkat(plan->pasta_program, root, "proc/self/exe");
}

static int furnish(const struct cell_plan *plan, int root, const struct origin *origin)
{
    bool pasta = plan->bridge == NULL;
    for (size_t i = 0; i < plan->files->count; i++)
        if (jail_root_add(root, plan->files->paths[i]) < 0)
            return -1;
#ifdef SR_WITH_FAILPOINTS
    const char *log = getenv("SAFE_RUN_FAILPOINT_LOG");
    if (log != NULL && jail_root_place(root, log + 1) < 0)
        return -1;
#endif
    if ((pasta && furnish_for_pasta(plan, root, origin) < 0) || jail_root_seal(root) < 0)
        return -1;
#ifdef SR_WITH_FAILPOINTS
    if (log != NULL && jail_root_bind(root, -1, log, log + 1, 0) < 0)
        return -1;
#endif
    return pasta ? jail_root_bind(root, -1, TUN, &TUN[1], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
                 : 0;
}

int room_enter(const struct cell_plan *plan, struct sr_error *err)
{
    struct origin origin = {.netns = -1};
    sr_cleanup_fd int netns =
        (int)syscall(SYS_open_tree, -1, "/proc/self/ns/net", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    origin.netns = netns;
    origin.ids_len = sr_read_small_file(AT_FDCWD, IDS, origin.ids, sizeof origin.ids);
    if (origin.ids_len < 0) /* a negative errno */
        errno = (int)-origin.ids_len;
    sr_cleanup_fd int root =
        netns < 0 || origin.ids_len < 0 || SR_FAILPOINT("net.room") ? -1 : jail_root_make();
    if (root < 0 || furnish(plan, root, &origin) < 0 || jail_root_enter(root) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the net cell's root directory cannot be made: %s",
                       strerror(errno));
    return 0;
}

static int bound_capabilities(uint32_t kept)
{
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if ((capability >= 32 || (kept & CAP(capability)) == 0) &&
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            return -1;
    return 0;
}

static int set_capabilities(uint32_t kept, uint32_t inheritable)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct data[2] = {
        {.effective = kept, .permitted = kept, .inheritable = inheritable}};
    if (syscall(SYS_capset, &header, data) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int keep_capabilities(uint32_t kept, uint32_t inheritable)
{
    return bound_capabilities(kept) < 0 ? -1 : set_capabilities(kept, inheritable);
}

static int set_limits(void)
{
    const struct jail_limit limits[] = {
        {RLIMIT_CORE, 0},          {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},      {RLIMIT_FSIZE, FILE_MAX},
#ifndef SR_WITH_FAILPOINTS
        {RLIMIT_DATA, MEMORY_MAX},
#endif
    };
    signal(SIGXFSZ, SIG_IGN); /* a log that is full is no reason to die */
    return jail_limit(limits, sizeof limits / sizeof limits[0]);
}

static int filter(enum jail_role role)
{
#ifndef SR_WITH_FAILPOINTS
    int result = jail_filter(role);
    errno = -result;
    return result < 0 ? -1 : 0;
#else
    (void)role;
    return 0;
#endif
}

static int restrict_files(const struct jail_access *places, size_t count)
{
#ifndef SR_WITH_FAILPOINTS
    return jail_landlock(places, count, true);
#else
    (void)places;
    (void)count;
    return 0;
#endif
}

/* pasta's connections are descriptors, and so its share of the host's ports is limited, too. */
static int limit_files(uint64_t files)
{
    const struct jail_limit limit = {RLIMIT_NOFILE, files};
    return jail_limit(&limit, 1);
}

int room_confine_uplink(const struct cell_plan *plan)
{
    static const char host[] = "vm";
    const uint32_t kept = CAP(CAP_NET_ADMIN) | CAP(CAP_NET_BIND_SERVICE) | CAP(CAP_SYS_ADMIN) |
                          CAP(CAP_SETUID) | CAP(CAP_SETGID);
    if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0 ||
        sethostname(host, sizeof host - 1) < 0 || keep_capabilities(kept, 0) < 0 ||
        set_limits() < 0 || limit_files(plan->flows_max + PASTA_FILES) < 0)
        return -1;
    return filter(JAIL_UPLINK);
}

static int enter_empty_root(void)
{
    sr_cleanup_fd int root = jail_root_make();
    return root < 0 || jail_root_seal(root) < 0 ? -1 : jail_root_enter(root);
}

/* In a user namespace it is that one's root, who has nothing there; else nobody, if there is
 * one. */
static int give_up_root(const struct cell_plan *plan, bool has_nobody)
{
    if (bound_capabilities(0) < 0)
        return -1;
    if (plan->new_user && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
        return -1;
    if (!plan->new_user && has_nobody && jail_become(NOBODY, NOBODY) < 0)
        return -1;
    return set_capabilities(0, 0);
}

int room_confine_relay(const struct cell_plan *plan, uint64_t files, const char **step)
{
    bool has_nobody = jail_has_uids(NOBODY, NOBODY); /* which /proc says */
    *step = "namespaces";
    if (SR_FAILPOINT("net.relay") || unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return -1;
    *step = "root directory";
    if (enter_empty_root() < 0)
        return -1;
    *step = "id and capabilities"; /* whose change undoes the death with the parent */
    if (give_up_root(plan, has_nobody) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -1;
    *step = "resource limits";
    if (set_limits() < 0 || limit_files(files) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -1;
    *step = "landlock";
    return restrict_files(NULL, 0);
}

int room_filter_relay(void)
{
    return filter(JAIL_RELAY);
}

/* CAP_NET_ADMIN is ambient, too, so that nft has it. */
static int confine(const char **step)
{
    const uint32_t kept = CAP(CAP_NET_ADMIN);
    *step = "capabilities";
    if (keep_capabilities(kept, kept) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) < 0)
        return -1;
    *step = "resource limits";
    if (set_limits() < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -1;
    *step = "landlock";
    sr_cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const struct jail_access readable = {root, JAIL_READ_FILE | JAIL_EXECUTE};
    if (root < 0 || restrict_files(&readable, 1) < 0)
        return -1;
    *step = "seccomp";
    return filter(JAIL_NET_CELL);
}

int room_confine_cell(struct sr_error *err)
{
    const char *step;
    return confine(&step) < 0
               ? sr_fail(err, SR_RUN_201, PATH, "the net cell cannot be confined: %s: %s", step,
                         strerror(errno))
               : 0;
}
