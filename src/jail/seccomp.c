/*
 * System calls. QEMU in its jail: it brings a filter of its own (-sandbox), which forbids what is
 * known to be harmful; this one allows what is known to be needed, from before its first
 * instruction, and answers EPERM to everything else. The supervisor once the VM runs: the same and
 * what writing evidence and ending the run take; it executes nothing any more, and starts and
 * connects to nothing. The net cell, with which nft runs; pasta, which isolates itself once it has
 * joined the run's namespace, with a shorter list then; the UDP relay; the resolver; workers: less
 * than any of them.
 */
#include "jail/jail.h"

#include <asm/sockios.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const int common[] = {
    /* files and descriptors */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwritev),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(close),
    SCMP_SYS(close_range),
    SCMP_SYS(fcntl), /* but forbid_requests() */
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(pipe2),
    SCMP_SYS(lseek),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(getcwd),
    SCMP_SYS(chdir),
    SCMP_SYS(fadvise64),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fsync),
    SCMP_SYS(memfd_create),
    SCMP_SYS(ioctl), /* but forbid_requests() */
    /* sockets that were handed in */
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    /* memory */
    SCMP_SYS(mmap), /* but, for the VMM, forbid_requests() */
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(msync),
    SCMP_SYS(get_mempolicy),
    SCMP_SYS(set_mempolicy),
    /* threads */
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(get_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(membarrier),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(getcpu),
    SCMP_SYS(gettid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
    /* signals */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigpending),
    SCMP_SYS(rt_sigsuspend),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(signalfd4),
    /* waiting and time */
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    SCMP_SYS(timer_create),
    SCMP_SYS(timer_settime),
    SCMP_SYS(timer_gettime),
    SCMP_SYS(timer_delete),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    /* what it is and where */
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getresuid),
    SCMP_SYS(getresgid),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrusage),
    SCMP_SYS(times),
    SCMP_SYS(getrlimit),
    SCMP_SYS(getrandom),
    SCMP_SYS(arch_prctl),
};

/* QEMU's own filter, and the start of QEMU itself, which that forbids later. */
static const int for_vmm[] = {SCMP_SYS(seccomp), SCMP_SYS(execve), SCMP_SYS(tgkill)};

/* nft, its end, and netlink for both. Processes it could signal are those of its own namespace. */
static const int for_net_cell[] = {
    SCMP_SYS(execve), SCMP_SYS(wait4), SCMP_SYS(kill), SCMP_SYS(tgkill), SCMP_SYS(bind),
};

/* Connections of the host's; before that, what pasta gives up its rights with and joins the run's
 * namespace by. */
static const int for_uplink[] = {
    SCMP_SYS(execve),    SCMP_SYS(waitid),   SCMP_SYS(bind),          SCMP_SYS(connect),
    SCMP_SYS(listen),    SCMP_SYS(accept4),  SCMP_SYS(splice),        SCMP_SYS(tee),
    SCMP_SYS(recvmmsg),  SCMP_SYS(sendmmsg), SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch),
    SCMP_SYS(setns),     SCMP_SYS(mount),    SCMP_SYS(umount2),       SCMP_SYS(pivot_root),
    SCMP_SYS(setgroups), SCMP_SYS(setuid),   SCMP_SYS(setgid),        SCMP_SYS(capget),
    SCMP_SYS(capset),    SCMP_SYS(prctl),    SCMP_SYS(seccomp),       SCMP_SYS(prlimit64),
};

/* Descriptors it has, UDP sockets it makes (add_for_relay()), its end. */
static const int for_relay[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(close),
    SCMP_SYS(connect),
    SCMP_SYS(recvfrom),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
};

/* Questions over sockets it makes; no file. */
static const int for_resolver[] = {
    SCMP_SYS(read),          SCMP_SYS(write),        SCMP_SYS(readv),
    SCMP_SYS(writev),        SCMP_SYS(close),        SCMP_SYS(connect),
    SCMP_SYS(bind),          SCMP_SYS(sendto),       SCMP_SYS(sendmsg),
    SCMP_SYS(sendmmsg),      SCMP_SYS(recvfrom),     SCMP_SYS(recvmsg),
    SCMP_SYS(getsockname),   SCMP_SYS(getpeername),  SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),    SCMP_SYS(fcntl),        SCMP_SYS(select),
    SCMP_SYS(pselect6),      SCMP_SYS(poll),         SCMP_SYS(ppoll),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(getrandom),     SCMP_SYS(brk),          SCMP_SYS(mmap),
    SCMP_SYS(munmap),        SCMP_SYS(mremap),       SCMP_SYS(mprotect),
    SCMP_SYS(madvise),       SCMP_SYS(futex),        SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),  SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall),
    SCMP_SYS(getpid),        SCMP_SYS(gettid),       SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* Files of the run, and the ends of its processes. Signals only to those it has a descriptor of. */
static const int for_supervisor[] = {
    SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    SCMP_SYS(rmdir),    SCMP_SYS(wait4),     SCMP_SYS(waitid), SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(flock),    SCMP_SYS(openat2),
};

/* A worker (worker.c): descriptors it was given, memory, threads. */
static const int for_worker[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(flistxattr),
    SCMP_SYS(fgetxattr),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fadvise64),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrandom),
    SCMP_SYS(sysinfo),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(restart_syscall),
};

/* One that reads a directory, and what writing another takes beside that. Landlock says which. */
static const int for_reading[] = {
    SCMP_SYS(openat),     SCMP_SYS(openat2),    SCMP_SYS(newfstatat), SCMP_SYS(statx),
    SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(fcntl),
};
static const int for_writing[] = {
    SCMP_SYS(mkdirat), SCMP_SYS(symlinkat), SCMP_SYS(linkat),    SCMP_SYS(unlinkat),
    SCMP_SYS(fchmod),  SCMP_SYS(utimensat), SCMP_SYS(renameat2), SCMP_SYS(fchmodat),
};

/* Options of prctl(2) that do not undo what the jail has set (death with the parent, above all). */
static const int prctl_allowed[] = {PR_SET_NAME,         PR_GET_NAME,    PR_SET_TIMERSLACK,
                                    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAPBSET_READ,
                                    PR_SET_VMA};

/* New namespaces for nobody. glibc takes clone when clone3, whose flags no filter can see, is not
 * there. */
static int add_clone(scmp_filter_ctx filter, scmp_datum_t needed)
{
    const scmp_datum_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
    int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, needed | namespaces, needed));
    return result < 0 ? result
                      : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int add_list(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return result;
}

/*
 * Nothing typed into a terminal, and no signal by way of a descriptor: its owner, whom the kernel
 * signals when something happens to it, may be any process, and the signal any. A filter of its
 * own: a list of what is allowed cannot say "all but these" of the 32 bits that the kernel looks
 * at, and a comparison of all 64 lets the same request pass with a bit set above them.
 */
static int forbid_requests(bool shared_memory)
{
    static const struct {
        int call;
        scmp_datum_t request;
    } forbidden[] = {
        {SCMP_SYS(ioctl), TIOCSTI},   {SCMP_SYS(ioctl), TIOCLINUX}, {SCMP_SYS(ioctl), FIOSETOWN},
        {SCMP_SYS(ioctl), SIOCSPGRP}, {SCMP_SYS(fcntl), F_SETOWN},  {SCMP_SYS(fcntl), F_SETOWN_EX},
        {SCMP_SYS(fcntl), F_SETSIG},
    };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL)
        return -ENOMEM;
    int result = 0;
    for (size_t i = 0; result == 0 && i < sizeof forbidden / sizeof forbidden[0]; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), forbidden[i].call, 1,
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, forbidden[i].request));
    /* Memory of nobody's, which RLIMIT_DATA does not count. */
    const scmp_datum_t shared = MAP_SHARED | MAP_ANONYMOUS;
    if (result == 0 && shared_memory)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mmap), 1,
                                  SCMP_A3(SCMP_CMP_MASKED_EQ, shared, shared));
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}

/* One that takes a number as its first argument, of which the kernel looks at 32 bits. */
static int allow_first(scmp_filter_ctx filter, int call, scmp_datum_t number)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
                            SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, number));
}

/* abort(3), and no signal to anybody else. */
static int add_abort(scmp_filter_ctx filter)
{
    return allow_first(filter, SCMP_SYS(tgkill), (scmp_datum_t)getpid());
}

static int add_for_vmm(scmp_filter_ctx filter)
{
    int result = add_clone(filter, CLONE_THREAD);
    /* Its own limits may be read. */
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
                                  SCMP_A2(SCMP_CMP_EQ, 0, 0));
    /* And that of its memory lowered: the caller does that last (qemu.c), and what may not be
     * raised hurts nobody else. */
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, 0),
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, RLIMIT_DATA));
    for (size_t i = 0; result == 0 && i < sizeof prctl_allowed / sizeof prctl_allowed[0]; i++)
        result = allow_first(filter, SCMP_SYS(prctl), (scmp_datum_t)prctl_allowed[i]);
    return result;
}

static int add_for_supervisor(scmp_filter_ctx filter)
{
    int result = add_abort(filter);
    return result < 0 ? result : allow_first(filter, SCMP_SYS(prlimit64), 0);
}

/* Netlink of routes and of nftables; AF_UNIX is what if_nametoindex(3) asks by, and in this network
 * namespace there is none to connect to. */
static int add_for_net_cell(scmp_filter_ctx filter)
{
    const int netlinks[] = {NETLINK_ROUTE, NETLINK_NETFILTER};
    int result = add_clone(filter, 0);
    if (result == 0)
        result = allow_first(filter, SCMP_SYS(prlimit64), 0);
    if (result == 0)
        result = allow_first(filter, SCMP_SYS(socket), AF_UNIX);
    for (size_t i = 0; result == 0 && i < sizeof netlinks / sizeof netlinks[0]; i++)
        result =
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_NETLINK),
                             SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)netlinks[i]));
    return result;
}

/* Namespaces but of users. No AF_UNIX socket: it is in the host's network namespace, where abstract
 * ones of services are. */
static int add_for_uplink(scmp_filter_ctx filter)
{
    int result = add_clone(filter, 0);
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, 0));
    if (result == 0)
        result = allow_first(filter, SCMP_SYS(socket), AF_INET);
    return result < 0 ? result
                      : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                                         SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_NETLINK),
                                         SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, NETLINK_ROUTE));
}

/* UDP by IPv4, to the address that the socket is connected to: sendto(2) without one. */
static int add_for_relay(scmp_filter_ctx filter)
{
    const scmp_datum_t type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int result = add_abort(filter);
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_INET),
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, type),
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, 0));
    return result < 0 ? result
                      : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1,
                                         SCMP_A4(SCMP_CMP_EQ, 0, 0));
}

/* Name servers, by IPv4 or IPv6. */
static int add_for_resolver(scmp_filter_ctx filter)
{
    int result = add_abort(filter);
    if (result == 0)
        result = allow_first(filter, SCMP_SYS(socket), AF_INET);
    return result < 0 ? result : allow_first(filter, SCMP_SYS(socket), AF_INET6);
}

static int add_for_worker(scmp_filter_ctx filter)
{
    int result = add_abort(filter);
    return result < 0 ? result : add_clone(filter, CLONE_THREAD);
}

#define LIST(calls)                                                                                \
    {                                                                                              \
        calls, sizeof(calls) / sizeof(calls)[0]                                                    \
    }

/* What each role may call: lists, and what depends on arguments. */
static const struct role {
    bool common;
    struct {
        const int *calls;
        size_t count;
    } lists[3];
    int (*add)(scmp_filter_ctx filter);
} roles[] = {
    [JAIL_VMM] = {true, {LIST(for_vmm)}, add_for_vmm},
    [JAIL_SUPERVISOR] = {true, {LIST(for_supervisor)}, add_for_supervisor},
    [JAIL_WORKER] = {false, {LIST(for_worker)}, add_for_worker},
    [JAIL_READER] = {false, {LIST(for_worker), LIST(for_reading)}, add_for_worker},
    [JAIL_WRITER] = {false,
                     {LIST(for_worker), LIST(for_reading), LIST(for_writing)},
                     add_for_worker},
    [JAIL_NET_CELL] = {true, {LIST(for_net_cell)}, add_for_net_cell},
    [JAIL_UPLINK] = {true, {LIST(for_uplink)}, add_for_uplink},
    [JAIL_RELAY] = {false, {LIST(for_relay)}, add_for_relay},
    [JAIL_RESOLVER] = {false, {LIST(for_resolver)}, add_for_resolver},
};

int jail_filter(enum jail_role role)
{
    const struct role *list = &roles[role];
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return -ENOMEM;
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (result == 0 && list->common)
        result = add_list(filter, common, sizeof common / sizeof common[0]);
    for (size_t i = 0; result == 0 && i < sizeof list->lists / sizeof list->lists[0]; i++)
        result = add_list(filter, list->lists[i].calls, list->lists[i].count);
    if (result == 0)
        result = list->add(filter);
    if (result == 0)
        result = forbid_requests(role == JAIL_VMM);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}
