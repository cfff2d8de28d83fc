/*
 * A program to run in QEMU's place: tries what a VMM that was taken over would try, and says on
 * stderr, a line each, what came of it: "<attempt>: denied (<errno>)", "<attempt>: ALLOWED", or a
 * fact.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static const char *error_name(int error)
{
    static char number[16];
    switch (error) {
    case EPERM:
        return "EPERM";
    case EACCES:
        return "EACCES";
    case ENOENT:
        return "ENOENT";
    case EROFS:
        return "EROFS";
    case EFBIG:
        return "EFBIG";
    case ENOSYS:
        return "ENOSYS";
    default:
        snprintf(number, sizeof number, "%d", error);
        return number;
    }
}

static void attempt(const char *what, long result)
{
    if (result >= 0)
        printf("%s: ALLOWED\n", what);
    else
        printf("%s: denied (%s)\n", what, error_name(errno));
}

static void files(void)
{
    static const char *const places[] = {"/etc/passwd",  "/etc/shadow",    "/proc/1/environ",
                                         "/proc/self",   "/dev/null",      "/dev/kvm",
                                         "/dev/net/tun", "/sys/class/net", "/var/lib/safe-run",
                                         "/boot",        "/run",           "/bin/sh"};
    char what[64];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(what, sizeof what, "read %s", places[i]);
        attempt(what, open(places[i], O_RDONLY));
    }
    attempt("create a file", open("/new", O_CREAT | O_WRONLY, 0600));
    attempt("create a directory", mkdir("/new", 0700));
    attempt("create a device", mknod("/mem", S_IFCHR | 0600, 1 << 8 | 1));
    attempt("write to the kernel's file", open("/kernel", O_WRONLY));
    attempt("remove the kernel's file", unlink("/kernel"));
    attempt("make the kernel's file writable", chmod("/kernel", 0777));
    attempt("link a file", link("/kernel", "/kernel2"));
    attempt("list the root directory", open("/", O_RDONLY | O_DIRECTORY));
}

static void processes(void)
{
    int found = 0;
    for (int pid = 2; pid < 70000; pid++)
        found += syscall(SYS_tgkill, pid, pid, 0) == 0;
    printf("other processes that can be signalled: %d\n", found);
    printf("own pid: %d, parent's: %d\n", getpid(), getppid());
    attempt("signal all processes", kill(-1, 0));
    attempt("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    attempt("process_vm_readv", syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0));
    attempt("pidfd_open", syscall(SYS_pidfd_open, 1, 0));
    attempt("fork", syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
    attempt("clone3", syscall(SYS_clone3, NULL, 0));
    attempt("execute a shell", execve("/bin/sh", (char *[]){"sh", NULL}, (char *[]){NULL}));
    attempt("outlive the supervisor", prctl(PR_SET_PDEATHSIG, 0));
}

static void namespaces(void)
{
    attempt("new user namespace", unshare(CLONE_NEWUSER));
    attempt("new mount namespace", unshare(CLONE_NEWNS));
    attempt("new network namespace", unshare(CLONE_NEWNET));
    attempt("join a namespace", setns(0, 0));
    attempt("mount", mount("none", "/", "tmpfs", 0, NULL));
    attempt("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    attempt("unmount", umount2("/", MNT_DETACH));
    attempt("pivot_root", syscall(SYS_pivot_root, "/", "/"));
    attempt("chroot", chroot("/"));
    attempt("sethostname", sethostname("x", 1));
}

static void network(void)
{
    attempt("TCP socket", socket(AF_INET, SOCK_STREAM, 0));
    attempt("UDP socket", socket(AF_INET, SOCK_DGRAM, 0));
    attempt("raw socket", socket(AF_INET, SOCK_RAW, 1));
    attempt("packet socket", socket(AF_PACKET, SOCK_RAW, 0));
    attempt("unix socket", socket(AF_UNIX, SOCK_STREAM, 0));
    attempt("netlink socket", socket(AF_NETLINK, SOCK_RAW, 0));
    attempt("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
}

static void privileges(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    int bounding = 0;
    for (int capability = 0; capability <= 63; capability++)
        bounding += prctl(PR_CAPBSET_READ, capability) == 1;
    printf("capabilities that execve could bring: %d\n", bounding);
    attempt("capset", syscall(SYS_capset, &header, data));
    attempt("setuid(0)", setuid(0));
    attempt("setgid(0)", setgid(0));
    attempt("setgroups", syscall(SYS_setgroups, 0, NULL));
    struct rlimit core, size;
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_FSIZE, &size);
    printf("core dump limit: %ld, file size limit: %ld\n", (long)core.rlim_max,
           (long)size.rlim_max);
    attempt("raise a limit", setrlimit(RLIMIT_CORE, &(struct rlimit){1, RLIM_INFINITY}));
    attempt("shared memory", syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    signal(SIGXFSZ, SIG_IGN);
    int memory = memfd_create("memory", 0);
    attempt("memory in a file", ftruncate(memory, 4096));
}

static void kernel(void)
{
    static const struct {
        const char *name;
        long number;
    } calls[] = {
        {"bpf", SYS_bpf},
        {"perf_event_open", SYS_perf_event_open},
        {"io_uring_setup", SYS_io_uring_setup},
        {"userfaultfd", SYS_userfaultfd},
        {"keyctl", SYS_keyctl},
        {"add_key", SYS_add_key},
        {"init_module", SYS_init_module},
        {"kexec_load", SYS_kexec_load},
        {"reboot", SYS_reboot},
        {"swapon", SYS_swapon},
        {"settimeofday", SYS_settimeofday},
        {"syslog", SYS_syslog},
        {"quotactl", SYS_quotactl},
        {"open_by_handle_at", SYS_open_by_handle_at},
        {"name_to_handle_at", SYS_name_to_handle_at},
        {"move_pages", SYS_move_pages},
        {"mbind", SYS_mbind},
        {"personality", SYS_personality},
        {"ioperm", SYS_ioperm},
        {"iopl", SYS_iopl},
        {"acct", SYS_acct},
        {"fanotify_init", SYS_fanotify_init},
        {"memfd_secret", 447},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        attempt(calls[i].name, syscall(calls[i].number, 0, 0, 0, 0, 0, 0));
    attempt("type into a terminal (TIOCSTI)", ioctl(0, TIOCSTI, "x"));
    attempt("type into a terminal (TIOCSTI and a bit above 32)",
            syscall(SYS_ioctl, 0, TIOCSTI | 1UL << 32, "x"));
    attempt("paste into a terminal (TIOCLINUX)", ioctl(0, TIOCLINUX, "\3"));
}

static void inventory(char *const *environment)
{
    int variables = 0;
    while (environment[variables] != NULL)
        variables++;
    printf("environment variables: %d\n", variables);
    printf("descriptors:");
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf(" %d", fd);
    struct utsname names;
    uname(&names);
    printf("\nhost name: %s\n", names.nodename);
    printf("uid %s, gid %s\n", getuid() == 0 ? "0" : "not 0", getgid() == 0 ? "0" : "not 0");
}

int main(int argc, char **argv, char **environment)
{
    (void)argc;
    (void)argv;
    setvbuf(stdout, NULL, _IOLBF, 0);
    inventory(environment);
    files();
    processes();
    namespaces();
    network();
    privileges();
    kernel();
    puts("end");
    return 0;
}
