/*
 * Theory of operation
 *
 * The cell is PID 1 of a pid namespace: when it ends, however it ends, the kernel kills what it
 * started (pasta, nft). It asks to be killed when the supervisor dies, and sees the end of its
 * socket if that happened before it could ask. The network namespace lives by the cell, by pasta,
 * which has joined it, and by the TAP's descriptor in the VMM and the supervisor; when they are
 * gone, so are TAP, addresses, routes and rules. Nothing is made outside of it, other than the
 * host's end of the bridge uplink, which goes with its peer.
 *
 * Stages, in this order, each true before the next begins:
 *   1. own pid and mount namespace (and user namespace, when the caller is not root): nothing the
 *      cell mounts or starts is seen by the host;
 *   2. what is needed of the host's network namespace is in hand: by the uplink (a child, a
 *      socket), and a socket that tells of the host's addresses and can change nothing (local.c);
 *   3. own network namespace;
 *   4. lo, TAP with its address, forwarding, no IPv6;
 *   5. the room (room.c): no file of the host is seen any more but those of nft and pasta;
 *   6. the rules, in one transaction: from here on the TAP lets through what the rules allow and
 *      nothing else;
 *   7. only now the uplink, with its default route;
 *   8. CAP_NET_ADMIN is all the cell keeps, of files its root, of system calls a list; it answers
 *      requests.
 */
#include "net/cell.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"
#include "jail/jail.h"
#include "net/counters.h"
#include "net/local.h"
#include "net/pass.h"
#include "net/room.h"
#include "net/rtnl.h"
#include "net/tun.h"
#include "net/uplink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PATH "launch.network.apply"
/* 10,000 rules take nft 0.1 s. */
#define NFT_NSEC (8 * SR_NSEC_PER_SEC)

struct cell {
    const struct cell_plan *plan;
    int tap, signals;
    const struct uplink_kind *kind;
    struct uplink uplink;
    struct net_local *local; /* the host's addresses */
};

int cell_map_ids(const struct cell_plan *plan, pid_t pid, int socket, struct sr_error *err)
{
    const struct jail_ids root = {0, 0}, outside = {plan->uid, plan->gid};
    char process[16];
    snprintf(process, sizeof process, "%d", (int)pid);
    int result = jail_map_ids(process, &root, &outside);
    if (result == 0 && send(socket, "", 1, MSG_NOSIGNAL) != 1)
        result = -errno;
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH,
                       "the network's user namespace cannot be set up: %s; ordinary users need "
                       "unprivileged user namespaces",
                       strerror(-result));
    return 0;
}

/* Becomes root of the user namespace, which on the host is plan->uid. */
static int become_mapped(struct sr_error *err)
{
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) /* which a change of ids undoes */
        return sr_fail(err, SR_RUN_201, PATH, "the run's id cannot be taken: %s", strerror(errno));
    return 0;
}

/* Before anything is up. 0 or a negative errno. */
static int set_up_kernel(void)
{
    static const struct {
        const char *file, *value;
        bool may_lack;
    } settings[] = {
        {"/proc/sys/net/ipv6/conf/all/disable_ipv6", "1", true}, /* in a kernel without IPv6 */
        {"/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", true},
        /* The rules judge addresses; the kernel's check of the way back does not know that of UDP.
         * Interfaces to come copy the second. */
        {"/proc/sys/net/ipv4/conf/all/rp_filter", "0", false},
        {"/proc/sys/net/ipv4/conf/default/rp_filter", "0", false},
        /* An interface answers for its own address only: the guest is not told the uplink's, nor a
         * neighbour on a bridge the TAP's. */
        {"/proc/sys/net/ipv4/conf/all/arp_ignore", "1", false},
        {"/proc/sys/net/ipv4/ip_forward", "1", false},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        int result = sr_write_kernel_file(AT_FDCWD, settings[i].file, settings[i].value);
        if (result < 0 && !(settings[i].may_lack && result == -ENOENT))
            return result;
    }
    return 0;
}

static int set_up_links(struct cell *cell, struct sr_error *err)
{
    cell->tap = cell_open_tun(cell->plan->tap, IFF_TAP, err);
    if (cell->tap < 0)
        return -1;
    int result = set_up_kernel();
    if (result == 0)
        result = net_rtnl_link_up("lo", 0);
    if (result == 0)
        result = net_rtnl_address_add(cell->plan->tap, NET_GATEWAY, 30);
    if (result == 0)
        result = net_rtnl_link_up(cell->plan->tap, cell->plan->mtu);
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the run's interfaces cannot be set up: %s",
                       strerror(-result));
    return 0;
}

/* What comes from fd until its end, cut off at size; false when the end does not come in time. */
static bool read_to_end(int fd, char *text, size_t size)
{
    uint64_t deadline = sr_now() + NFT_NSEC;
    size_t have = 0;
    for (;;) {
        text[have] = '\0';
        if (!sr_await(fd, deadline) || sr_now() >= deadline)
            return false;
        char piece[1024];
        ssize_t got = read(fd, piece, sizeof piece);
        if (got == 0 || (got < 0 && errno != EINTR))
            return true;
        size_t room = size - 1 - have, take = got < 0 ? 0 : (size_t)got < room ? (size_t)got : room;
        memcpy(text + have, piece, take);
        have += take;
    }
}

/* One nft transaction; what nft says against it becomes the message. */
static int run_nft(const struct cell *cell, const char *text, size_t len, struct sr_error *err)
{
    sr_cleanup_fd int input = memfd_create("ruleset", MFD_CLOEXEC);
    int said[2];
    if (input < 0 || sr_write_all(input, text, len) < 0 || lseek(input, 0, SEEK_SET) < 0 ||
        pipe2(said, O_CLOEXEC) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the rules cannot be handed to nft: %s",
                       strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        char *const argv[] = {(char *)cell->plan->nft, "-f", "-", NULL}, *const environment[] = {
                                                                             NULL};
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (dup2(input, STDIN_FILENO) == STDIN_FILENO &&
            dup2(said[1], STDERR_FILENO) == STDERR_FILENO &&
            dup2(said[1], STDOUT_FILENO) == STDOUT_FILENO)
            execve(argv[0], argv, environment);
        dprintf(STDERR_FILENO, "cannot execute %s: %s", argv[0], strerror(errno));
        _exit(127);
    }
    close(said[1]);
    sr_cleanup_fd int output = said[0];
    char answer[400];
    bool late = !read_to_end(output, answer, sizeof answer);
    if (late && pid > 0)
        kill(pid, SIGKILL);
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (late)
        return sr_fail(err, SR_RUN_201, PATH, "nft did not take the rules in %d s",
                       (int)(NFT_NSEC / SR_NSEC_PER_SEC));
    if (pid > 0 && status != 0 && answer[0] == '\0')
        snprintf(answer, sizeof answer, "it ended with %s %d and said nothing",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (pid < 0 || status != 0)
        return sr_fail(err, SR_RUN_201, PATH,
                       "nft does not take the rules (they are in ruleset.nft): %s",
                       pid < 0 ? strerror(errno) : answer);
    return 0;
}

/* Closes the addresses that the host has to wide rules, in one transaction with this text. */
static int close_host(const struct cell *cell, const char *text, size_t len, struct sr_error *err)
{
    sr_cleanup_buf struct sr_buf whole = SR_BUF_INIT;
    sr_buf_append(&whole, text, len);
    net_local_text(&cell->local->own, &whole);
    if (!sr_buf_ok(&whole))
        return sr_fail(err, SR_RUN_201, PATH, "out of memory for the rules");
    return run_nft(cell, whole.data, whole.len, err);
}

/* The host's routes have changed. False, and then nothing is open any more, when its addresses
 * cannot be closed. */
static bool follow_host(struct cell *cell, struct sr_error *err)
{
    struct sr_error error = {0};
    int result = net_local_read(cell->local);
    if (result == 0 || (result > 0 && close_host(cell, "", 0, &error) == 0))
        return true;
    int shut = net_rtnl_link_down(cell->plan->tap);
    (void)shut; /* the supervisor ends the run */
    sr_close_fd(&cell->local->fd);
    if (result == -E2BIG)
        sr_fail(err, SR_RUN_001, "monitor.network", NET_LOCAL_TOO_MANY);
    else
        sr_fail(err, SR_RUN_001, "monitor.network",
                "addresses that became the host's own could not be closed: %s",
                result < 0 ? strerror(-result) : error.message);
    return false;
}

/* For steps that report for themselves. */
static int fail_at(const char *failpoint, struct sr_error *err)
{
    (void)failpoint;
    return SR_FAILPOINT(failpoint) ? sr_fail(err, SR_RUN_201, PATH, "told to fail: %s", failpoint)
                                   : 0;
}

static int apply(struct cell *cell, struct sr_error *err)
{
    const struct cell_plan *plan = cell->plan;
    char go;
    if (plan->new_user && recv(plan->socket, &go, 1, 0) != 1)
        return sr_fail(err, SR_RUN_201, PATH, "the supervisor has ended early");
    if (jail_raise_oom_score() < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the OOM score cannot be set: %s", strerror(errno));
    if (cell->kind->prepare(&cell->uplink, err) < 0)
        return -1;
    int result = SR_FAILPOINT("net.local") ? -errno : net_local_open(cell->local);
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the host's addresses cannot be followed: %s",
                       strerror(-result));
    if (SR_FAILPOINT("net.namespace") || unshare(CLONE_NEWNET) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "no network namespace: %s", strerror(errno));
    /* The TAP's device node may be root's only; nothing after it needs root's id. */
    if (set_up_links(cell, err) < 0 || (plan->new_user && become_mapped(err) < 0) ||
        room_enter(plan, err) < 0 || fail_at("net.rules", err) < 0 ||
        close_host(cell, plan->ruleset, plan->ruleset_len, err) < 0 ||
        fail_at("net.uplink", err) < 0 || cell->kind->connect(&cell->uplink, err) < 0 ||
        fail_at("net.connected", err) < 0)
        return -1;
    return room_confine_cell(err);
}

/* Takes the rules down although the namespace's end would: what was removed is evidence too. The
 * uplink is told to die. For its end and the TAP's nobody waits here: the kernel takes some 40 ms
 * (grace periods of RCU) to unregister a device, and the cell is not gone before they are, so that
 * the supervisor, which waits for it last, can write its report meanwhile. */
static int take_down(struct cell *cell, struct sr_error *err)
{
    int disconnected = cell->kind->disconnect(&cell->uplink, err);
    int result = SR_FAILPOINT("net.release") ? -errno : net_tables_delete();
    if (result < 0)
        return sr_fail(err, SR_RUN_202, "cleanup.network.release",
                       "the rules cannot be deleted: %s", strerror(-result));
    return disconnected;
}

static int sample(struct cell *cell, struct sr_error *err)
{
    struct net_sample *into = cell->plan->sample;
    int result = SR_FAILPOINT("net.sample") ? -errno : net_counters_read(into);
    struct rtnl_link_stats64 stats;
    if (result == 0)
        result = net_rtnl_stats(cell->plan->tap, &stats);
    if (result == 0) {
        into->tap_received = stats.rx_packets;
        into->tap_sent = stats.tx_packets;
    }
    into->own = cell->local->own;
    if (cell->plan->relay)
        relay_read(&cell->uplink.relay, &into->udp);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, "monitor.network",
                       "the network's counters cannot be read: %s", strerror(-result));
    return 0;
}

static bool answer(const struct cell *cell, enum cell_operation operation,
                   const struct sr_error *error, int fd)
{
    struct cell_message message = {
        .operation = operation, .uplink_address = cell->uplink.address, .error = *error};
    return pass_send(cell->plan->socket, &message, sizeof message, fd) == (ssize_t)sizeof message;
}

/* With the TAP shut no counter moves any more: what is read then is the whole of it. */
static int release(struct cell *cell, struct sr_error *err)
{
    struct sr_error counting = {0}, failure = {0};
    int shut = SR_FAILPOINT("net.shut") ? -errno : net_rtnl_link_down(cell->plan->tap);
    int counted = sample(cell, &counting);
    (void)counted; /* counting says it */
    bool told = answer(cell, CELL_SAMPLE, &counting, -1);
    int result = take_down(cell, &failure);
    if (result == 0 && shut < 0)
        result = sr_fail(&failure, SR_RUN_202, "cleanup.network.release",
                         "the TAP cannot be shut: %s", strerror(-shut));
    *err = failure;
    return told ? result : -1;
}

/* The uplink's end, or that of something it left behind. */
static bool reap(struct cell *cell)
{
    bool lost = false;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        pid_t *part = pid == cell->uplink.child         ? &cell->uplink.child
                      : pid == cell->uplink.relay.child ? &cell->uplink.relay.child
                                                        : NULL;
        if (part == NULL)
            continue;
        lost = true;
        dprintf(STDERR_FILENO, "%s has ended with %s %d\n",
                part == &cell->uplink.child ? "pasta" : "the UDP relay",
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        *part = -1;
    }
    return lost;
}

static void serve(struct cell *cell)
{
    static struct {
        struct cell_message message;
        char text[NET_ADD_MAX];
    } request;
    for (;;) {
        struct pollfd wait[] = {{.fd = cell->plan->socket, .events = POLLIN},
                                {.fd = cell->signals, .events = POLLIN},
                                {.fd = cell->uplink.links, .events = POLLIN},
                                {.fd = cell->local->fd, .events = POLLIN}};
        if (poll(wait, 4, -1) < 0 && errno != EINTR)
            return;
        struct signalfd_siginfo info;
        struct sr_error error = {0};
        bool lost =
            (wait[1].revents != 0 && read(cell->signals, &info, sizeof info) > 0 && reap(cell)) ||
            (wait[2].revents != 0 && uplink_bridge_lost(&cell->uplink)) ||
            (wait[3].revents != 0 && !follow_host(cell, &error));
        if (lost) {
            sr_close_fd(&cell->uplink.links);
            if (!answer(cell, CELL_LOST, &error, -1))
                return;
            error = (struct sr_error){0};
        }
        if (wait[0].revents == 0)
            continue;
        ssize_t got = recv(cell->plan->socket, &request, sizeof request, 0);
        if (got < (ssize_t)sizeof request.message)
            return; /* the supervisor is gone */
        enum cell_operation operation = request.message.operation;
        int result = 0;
        if (operation == CELL_SAMPLE)
            result = sample(cell, &error);
        else if (operation == CELL_ADD)
            result = run_nft(cell, request.text, (size_t)got - sizeof request.message, &error);
        else if (operation == CELL_RELEASE)
            result = release(cell, &error);
        (void)result; /* error says it */
        if (!answer(cell, operation, &error, -1) || operation == CELL_RELEASE)
            return;
    }
}

_Noreturn static void live(const struct cell_plan *plan)
{
    static struct net_local local = {.fd = -1};
    struct cell cell = {
        .plan = plan,
        .local = &local,
        .tap = -1,
        .kind = plan->bridge != NULL ? &uplink_bridge : &uplink_pasta,
        .uplink = {.plan = plan,
                   .child = -1,
                   .gate = -1,
                   .links = -1,
                   .relay = {.child = -1, .socket = -1}},
    };
    struct sr_error error = {0};
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "safe-run-net");
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_SETMASK, &children, NULL);
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    cell.signals = cell.uplink.signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    /* Of the supervisor's descriptors only these stay: its lock and its evidence must end with
     * it. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool good = cell.signals >= 0 && null >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
                dup2(plan->log_fd, STDOUT_FILENO) >= 0 && dup2(plan->log_fd, STDERR_FILENO) >= 0 &&
                chdir("/") == 0;
    int first = plan->socket < cell.signals ? plan->socket : cell.signals,
        second = plan->socket < cell.signals ? cell.signals : plan->socket;
    if ((first > 3 && close_range(3, (unsigned)first - 1, 0) < 0) ||
        (second > first + 1 && close_range((unsigned)first + 1, (unsigned)second - 1, 0) < 0) ||
        close_range((unsigned)second + 1, ~0u, 0) < 0)
        good = false;
    if (!good)
        sr_fail(&error, SR_RUN_201, PATH, "the net cell cannot start: %s", strerror(errno));
    else if (apply(&cell, &error) == 0 && answer(&cell, CELL_READY, &error, cell.tap)) {
        serve(&cell);
        _exit(0);
    }
    answer(&cell, CELL_READY, &error, -1);
    _exit(1);
}

int cell_start(const struct cell_plan *plan, pid_t *pid, struct sr_error *err)
{
    int pidfd = -1;
    struct clone_args how = {
        .flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS | (plan->new_user ? CLONE_NEWUSER : 0) |
                 (plan->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = plan->cgroup_fd >= 0 ? (uint64_t)plan->cgroup_fd : 0,
    };
    long child = SR_FAILPOINT("net.clone") ? -1 : syscall(SYS_clone3, &how, sizeof how);
    if (child < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the net cell cannot be started: %s",
                       jail_clone_fault(errno, plan->new_user));
    if (child == 0)
        live(plan);
    *pid = (pid_t)child;
    return pidfd;
}
