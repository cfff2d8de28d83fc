/* What the supervisor can still do once it has given up what it does not need, as root and as an
 * ordinary user. */
#include "jail/jail.h"

#include <arpa/inet.h>
#include <asm/sockios.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netlink.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define USER 12345

/* A directory with "run" and "other" in it, and a child process to end. */
struct place {
    char dir[32];
    int run, other;
    pid_t child;
    int pidfd;
};

static void set_up(struct place *place, uid_t user)
{
    snprintf(place->dir, sizeof place->dir, "/tmp/sr-confine-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    int base = open(place->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(base, "run", 0700), 0);
    assert_int_equal(mkdirat(base, "other", 0700), 0);
    place->run = openat(base, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    place->other = openat(base, "other", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(openat(place->other, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    if (geteuid() == 0) {
        assert_int_equal(fchown(place->run, user, user), 0);
        assert_int_equal(fchown(place->other, user, user), 0);
        assert_int_equal(fchownat(place->other, "file", user, user, 0), 0);
    }
    close(base);
}

static void tear_down(struct place *place)
{
    char path[64];
    unlinkat(place->run, "made", 0);
    unlinkat(place->other, "file", 0);
    close(place->run);
    close(place->other);
    snprintf(path, sizeof path, "%s/run", place->dir);
    rmdir(path);
    snprintf(path, sizeof path, "%s/other", place->dir);
    rmdir(path);
    assert_int_equal(rmdir(place->dir), 0);
}

/* Exits with the number of the first line that does not hold: asserts would need what is given
 * up. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            _exit(__LINE__ % 250 + 1);                                                             \
    } while (0)

#ifndef SR_WITH_FAILPOINTS
static int socket_errno(int domain, int type)
{
    return socket(domain, type, 0) < 0 ? errno : 0;
}

/* The kernel looks at the low 32 bits of a request: every bit above them names the same one. */
static void expect_forbidden(long call, unsigned long request, void *argument)
{
    MUST(syscall(call, -1, request, argument) < 0 && errno == EPERM);
    for (int bit = 32; bit < 64; bit++)
        MUST(syscall(call, -1, request | 1UL << bit, argument) < 0 && errno == EPERM);
}

static void expect_no_typing(void)
{
    char byte = 3;
    expect_forbidden(SYS_ioctl, TIOCSTI, &byte);
    expect_forbidden(SYS_ioctl, TIOCLINUX, &byte);
    MUST(syscall(SYS_ioctl, -1, FIONREAD, &byte) < 0 && errno == EBADF);
}

/* What the kernel does for the owner of a descriptor, who may be anybody: a signal of any
 * number. */
static void expect_no_signal_by_descriptor(void)
{
    struct f_owner_ex owner = {F_OWNER_PID, getppid()};
    int pid = getppid();
    expect_forbidden(SYS_fcntl, F_SETOWN, (void *)(uintptr_t)pid);
    expect_forbidden(SYS_fcntl, F_SETOWN_EX, &owner);
    expect_forbidden(SYS_fcntl, F_SETSIG, (void *)(uintptr_t)SIGKILL);
    expect_forbidden(SYS_ioctl, FIOSETOWN, &pid);
    expect_forbidden(SYS_ioctl, SIOCSPGRP, &pid);
}
#endif

_Noreturn static void be_supervisor(struct place *place, uid_t user)
{
    const char *step;
    if (geteuid() == 0 && user != 0)
        MUST(setgroups(0, NULL) == 0 && setresgid(user, user, user) == 0 &&
             setresuid(user, user, user) == 0);
    place->child = fork();
    if (place->child == 0)
        for (;;)
            pause();
    place->pidfd = pidfd_open(place->child, 0);
    const struct jail_self self = {
        .write = {place->run},
        .write_count = 1,
        .tree = -1,
    };
    MUST(jail_confine_self(&self, &step) == 0);

    MUST(openat(place->run, "made", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600) >= 0);
    MUST(syscall(SYS_setns, place->pidfd, CLONE_NEWNS) < 0);
    MUST(chroot("/") < 0 && errno == EPERM);
#ifndef SR_WITH_FAILPOINTS
    expect_no_typing();
    expect_no_signal_by_descriptor();
    MUST(open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
    MUST(open("/proc/self/status", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
    MUST(open("/dev/null", O_RDWR | O_CLOEXEC) < 0 && errno == EACCES);
    MUST(openat(place->other, "file", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
    MUST(openat(place->other, "new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0 && errno == EACCES);
    MUST(unlinkat(place->other, "file", 0) < 0 && errno == EACCES);
    MUST(mkdirat(place->run, "directory", 0700) < 0 && errno == EPERM);
    MUST(symlinkat("/", place->run, "link") < 0 && errno == EPERM);
    MUST(fchmodat(place->run, "made", 04755, 0) < 0 && errno == EPERM);
    MUST(kill(getpid(), 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_tgkill, getppid(), getppid(), 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) == 0);
    MUST(pidfd_open(getppid(), 0) < 0 && errno == EPERM);
    MUST(socket_errno(AF_INET, SOCK_DGRAM) == EPERM);
    MUST(socket_errno(AF_UNIX, SOCK_STREAM) == EPERM);
    MUST(socket_errno(AF_NETLINK, SOCK_RAW) == EPERM);
    MUST(socket_errno(AF_PACKET, SOCK_RAW) == EPERM);
    MUST(fork() < 0 && errno == EPERM);
    MUST(setresuid(12345, 12345, 12345) < 0 && errno == EPERM);
    MUST(execl("/bin/true", "true", NULL) < 0 && errno == EPERM);
#endif
    MUST(pidfd_send_signal(place->pidfd, SIGKILL, NULL, 0) == 0);
    MUST(waitpid(place->child, NULL, 0) == place->child);
    _exit(0);
}

static void attempt(uid_t user)
{
    struct place place;
    int status;
    set_up(&place, user);
    pid_t pid = fork();
    if (pid == 0)
        be_supervisor(&place, user);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    tear_down(&place);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0)
        fail_msg("the check whose line modulo 250 is %d does not hold", WEXITSTATUS(status) - 1);
}

static void test_a_supervisor_keeps_its_run_directory_and_its_children(void **state)
{
    (void)state;
    attempt(geteuid());
}

static void test_an_ordinary_users_does_too(void **state)
{
    (void)state;
    attempt(geteuid() == 0 ? USER : geteuid());
}

#ifndef SR_WITH_FAILPOINTS
/* Ways out that no process of the network's has, whatever its filter is for. */
static void expect_shut_in(void)
{
    char byte = 0;
    struct iovec piece = {&byte, 1};
    expect_no_signal_by_descriptor();
    MUST(syscall(SYS_ptrace, PTRACE_ATTACH, getppid(), 0, 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_process_vm_readv, getppid(), &piece, 1, &piece, 1, 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_pidfd_open, getppid(), 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_bpf, 0, &byte, 1) < 0 && errno == EPERM);
    MUST(syscall(SYS_io_uring_setup, 1, &byte) < 0 && errno == EPERM);
    MUST(syscall(SYS_userfaultfd, 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_perf_event_open, &byte, 0, -1, -1, 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_keyctl, 0, 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_init_module, &byte, 0, "") < 0 && errno == EPERM);
    MUST(syscall(SYS_open_by_handle_at, AT_FDCWD, &byte, 0) < 0 && errno == EPERM);
    MUST(unshare(CLONE_NEWUSER) < 0 && errno == EPERM);
    MUST(mkdirat(AT_FDCWD, "/tmp/sr-confine-made", 0700) < 0 && errno == EPERM);
    MUST(chroot("/") < 0 && errno == EPERM);
    MUST(mknodat(AT_FDCWD, "/tmp/sr-confine-made", S_IFREG | 0600, 0) < 0 && errno == EPERM);
    MUST(socket_errno(AF_PACKET, SOCK_RAW) == EPERM);
    MUST(socket_errno(AF_VSOCK, SOCK_STREAM) == EPERM);
    MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT) < 0 && errno == EPERM);
}

static void be_net_cell(void)
{
    expect_no_typing();
    expect_shut_in();
    MUST(socket_errno(AF_NETLINK, SOCK_RAW) == 0);
    MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) >= 0);
    MUST(socket_errno(AF_INET, SOCK_DGRAM) == EPERM);
    MUST(mount("none", "/tmp", "tmpfs", 0, "") < 0 && errno == EPERM);
    MUST(setns(0, 0) < 0 && errno == EPERM);
    MUST(setresuid(0, 0, 0) < 0 && errno == EPERM);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    MUST(child > 0 && waitpid(child, NULL, 0) == child);
}

static void be_uplink(void)
{
    expect_no_typing();
    expect_shut_in();
    MUST(socket_errno(AF_INET, SOCK_STREAM) == 0);
    MUST(socket_errno(AF_INET6, SOCK_STREAM) == EPERM);
    MUST(socket_errno(AF_UNIX, SOCK_DGRAM) == EPERM);
    MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER) < 0 && errno == EPERM);
    MUST(kill(getppid(), 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_tgkill, getppid(), getppid(), 0) < 0 && errno == EPERM);
}

static void be_resolver(void)
{
    expect_shut_in();
    MUST(socket_errno(AF_INET, SOCK_DGRAM) == 0);
    MUST(socket_errno(AF_INET6, SOCK_STREAM) == 0);
    MUST(socket_errno(AF_UNIX, SOCK_STREAM) == EPERM);
    MUST(socket_errno(AF_NETLINK, SOCK_RAW) == EPERM);
    MUST(openat(AT_FDCWD, "/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EPERM);
    MUST(fork() < 0 && errno == EPERM);
    MUST(execl("/bin/true", "true", NULL) < 0 && errno == EPERM);
    MUST(kill(getppid(), 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_tgkill, getppid(), getppid(), 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) == 0);
}

static void be_relay(void)
{
    const int type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    struct sockaddr_in peer = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr *to = (const struct sockaddr *)&peer;
    int fd = socket(AF_INET, type, 0), on = 1;
    expect_shut_in();
    MUST(fd >= 0 && connect(fd, to, sizeof peer) == 0);
    MUST(send(fd, "x", 1, MSG_NOSIGNAL) == 1);
    MUST(sendto(fd, "x", 1, 0, to, sizeof peer) < 0 && errno == EPERM);
    MUST(bind(fd, to, sizeof peer) < 0 && errno == EPERM);
    MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 && errno == EPERM);
    MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) < 0 && errno == EPERM);
    MUST(socket(AF_INET, type, IPPROTO_ICMP) < 0 && errno == EPERM);
    MUST(socket(AF_INET6, type, 0) < 0 && errno == EPERM);
    MUST(socket(AF_UNIX, type, 0) < 0 && errno == EPERM);
    MUST(openat(AT_FDCWD, "/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EPERM);
    MUST(fork() < 0 && errno == EPERM);
    MUST(execl("/bin/true", "true", NULL) < 0 && errno == EPERM);
    MUST(kill(getppid(), 0) < 0 && errno == EPERM);
    MUST(ioctl(fd, FIONREAD, &on) < 0 && errno == EPERM);
}

static void be_worker(void)
{
    expect_shut_in();
    MUST(socket_errno(AF_INET, SOCK_DGRAM) == EPERM);
    MUST(openat(AT_FDCWD, "/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EPERM);
    MUST(syscall(SYS_tgkill, getppid(), getppid(), 0) < 0 && errno == EPERM);
    MUST(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) == 0);
}

/* Or a writer; which files, Landlock says. */
static void be_reader(void)
{
    expect_no_signal_by_descriptor();
    MUST(fcntl(STDERR_FILENO, F_GETFD) >= 0);
    MUST(socket_errno(AF_INET, SOCK_DGRAM) == EPERM);
    MUST(syscall(SYS_tgkill, getppid(), getppid(), 0) < 0 && errno == EPERM);
}

static void be_vmm(void)
{
    expect_no_typing();
    expect_no_signal_by_descriptor();
}

static void test_other_roles_can_do_what_they_are_for(void **state)
{
    static const struct {
        enum jail_role role;
        void (*be)(void);
    } roles[] = {
        {JAIL_NET_CELL, be_net_cell}, {JAIL_UPLINK, be_uplink}, {JAIL_RELAY, be_relay},
        {JAIL_RESOLVER, be_resolver}, {JAIL_WORKER, be_worker}, {JAIL_READER, be_reader},
        {JAIL_WRITER, be_reader},     {JAIL_VMM, be_vmm},
    };
    (void)state;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && jail_filter(roles[i].role) == 0);
            roles[i].be();
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) != 0)
            fail_msg("role %d: the check whose line modulo 250 is %d does not hold", roles[i].role,
                     WEXITSTATUS(status) - 1);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_supervisor_keeps_its_run_directory_and_its_children),
        cmocka_unit_test(test_an_ordinary_users_does_too),
#ifndef SR_WITH_FAILPOINTS
        cmocka_unit_test(test_other_roles_can_do_what_they_are_for),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
