#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What went wrong between clone and exec, written by the child into memory that both have. */
enum step { STEP_PRIVILEGES, STEP_STDIN, STEP_WORKDIR, STEP_EXEC };

struct start {
    const struct spec *spec;
    int fds[3];
    enum step step;
    int error; /* 0: the command runs */
};

/* glibc and musl take close_range() from different versions on; the number is the kernel's. */
static void close_above_stderr(void)
{
    const unsigned close_range_cloexec = 4;
    syscall(SYS_close_range, 3U, ~0U, close_range_cloexec);
}

/* A child born in the cgroup, on a stack of its own and, until it execs or exits, in our memory,
 * while we wait: moving it into the cgroup afterwards would cost a grace period of RCU, some 20 ms,
 * and copying our page tables some 5 ms under emulation. The C library has no call for both. child
 * does not return. */
static pid_t start_in_cgroup(void (*child)(struct start *), struct start *start)
{
    static _Alignas(16) char stack[64 * 1024]; /* execvp() puts a path together on it */
    int cgroup = open("/sys/fs/cgroup/run", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cgroup < 0)
        return -1;
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP | CLONE_VM | CLONE_VFORK,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)stack,
        .stack_size = sizeof stack,
        .cgroup = (uint64_t)cgroup,
    };
    long pid;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "mov %[start], %%rdi\n\t"
                     "call *%[child]\n\t"
                     "ud2\n"
                     "1:"
                     : "=a"(pid)
                     : "a"((long)SYS_clone3), "D"(&args),
                       "S"(sizeof args), [child] "r"(child), [start] "r"(start)
                     : "rcx", "r11", "memory");
    close(cgroup);
    if (pid < 0) {
        errno = (int)-pid;
        return -1;
    }
    return (pid_t)pid;
}

static int drop_privileges(const struct spec *spec)
{
    if (setgroups(0, NULL) < 0 || setresgid(spec->gid, spec->gid, spec->gid) < 0 ||
        setresuid(spec->uid, spec->uid, spec->uid) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* With the command's rights: it reads what it could open itself. */
static int open_stdin(const struct spec *spec)
{
    int fd = open(spec->stdin_path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || dup2(fd, STDIN_FILENO) < 0)
        return -1;
    return close(fd);
}

/* The child: nothing here may allocate, return, or change memory of ours but what start says. */
static void become_command(struct start *start)
{
    const struct spec *spec = start->spec;
    start->step = STEP_PRIVILEGES;
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    umask(022);
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    for (int i = 0; i < 3; i++)
        dup2(start->fds[i], i);
    close_above_stderr();
    if (drop_privileges(spec) < 0)
        goto failed;
    start->step = STEP_STDIN;
    if (spec->stdin_path != NULL && open_stdin(spec) < 0)
        goto failed;
    start->step = STEP_WORKDIR;
    if (chdir(spec->workdir) < 0)
        goto failed;
    start->step = STEP_EXEC;
    execvp(spec->command, spec->argv);
failed:
    start->error = errno;
    _exit(125);
}

static bool explain(const struct start *start, struct refusal *refusal)
{
    const struct spec *spec = start->spec;
    const char *why = strerror(start->error);
    switch (start->step) {
    case STEP_PRIVILEGES:
        return refuse(refusal, 125, "cannot become user %u:%u: %s", spec->uid, spec->gid, why);
    case STEP_STDIN:
        return refuse(refusal, 125, "runtime.stdin: %.200s cannot be opened in the guest: %s",
                      spec->stdin_path, why);
    case STEP_WORKDIR:
        return refuse(refusal, 126, "cannot enter the working directory %.200s: %s", spec->workdir,
                      why);
    case STEP_EXEC:
        break;
    }
    if (start->error == ENOENT || start->error == ENOTDIR)
        return refuse(refusal, 127, "%.300s: not found in the image", spec->command);
    return refuse(refusal, 126, "%.200s: cannot be executed: %s", spec->command, why);
}

bool command_start(const struct spec *spec, struct command *command, struct refusal *refusal)
{
    int in[2] = {-1, -1}, out[2], err[2];
    if ((spec->with_stdin ? pipe2(in, O_CLOEXEC)
                          : (in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC))) < 0 ||
        pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return refuse(refusal, 125, "pipes for the command: %s", strerror(errno));
    /* execvp looks PATH up in our environment, which is the command's. */
    environ = spec->env;
    struct start start = {.spec = spec, .fds = {in[0], out[1], err[1]}};
    pid_t pid = start_in_cgroup(become_command, &start);
    if (pid < 0)
        return refuse(refusal, 125, "the command cannot be started in its cgroup: %s",
                      strerror(errno));
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (start.error != 0)
        return explain(&start, refusal);
    if (in[1] >= 0)
        fcntl(in[1], F_SETFL, O_NONBLOCK);
    *command = (struct command){.pid = pid, .in = in[1], .out = out[0], .err = err[0]};
    return true;
}
