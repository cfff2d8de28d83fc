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

/* What went wrong between fork and exec, written by the child. */
enum step { STEP_PRIVILEGES, STEP_STDIN, STEP_WORKDIR, STEP_EXEC };

struct failure {
    enum step step;
    int error;
};

/* glibc and musl take close_range() from different versions on; the number is the kernel's. */
static void close_above_stderr(void)
{
    const unsigned close_range_cloexec = 4;
    syscall(SYS_close_range, 3U, ~0U, close_range_cloexec);
}

/* A child born in the cgroup: moving it there afterwards would cost a grace period of RCU, some 20
 * ms. As with fork(), both sides return. */
static pid_t fork_into_cgroup(void)
{
    int cgroup = open("/sys/fs/cgroup/run", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cgroup < 0)
        return -1;
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP,
        .exit_signal = SIGCHLD,
        .cgroup = (uint64_t)cgroup,
    };
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    close(cgroup);
    return pid;
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

/* The child: nothing here may allocate or return. */
_Noreturn static void become_command(const struct spec *spec, const int fds[3], int report)
{
    struct failure failure = {STEP_PRIVILEGES, 0};
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    umask(022);
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    for (int i = 0; i < 3; i++)
        dup2(fds[i], i);
    close_above_stderr();
    if (drop_privileges(spec) < 0)
        goto failed;
    failure.step = STEP_STDIN;
    if (spec->stdin_path != NULL && open_stdin(spec) < 0)
        goto failed;
    failure.step = STEP_WORKDIR;
    if (chdir(spec->workdir) < 0)
        goto failed;
    failure.step = STEP_EXEC;
    execvp(spec->command, spec->argv);
failed:
    failure.error = errno;
    ssize_t put = write(report, &failure, sizeof failure);
    _exit(put == sizeof failure ? 125 : 124);
}

static bool explain(const struct spec *spec, const struct failure *failure, struct refusal *refusal)
{
    const char *why = strerror(failure->error);
    switch (failure->step) {
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
    if (failure->error == ENOENT || failure->error == ENOTDIR)
        return refuse(refusal, 127, "%.300s: not found in the image", spec->command);
    return refuse(refusal, 126, "%.200s: cannot be executed: %s", spec->command, why);
}

bool command_start(const struct spec *spec, struct command *command, struct refusal *refusal)
{
    int in[2] = {-1, -1}, out[2], err[2], report[2];
    if ((spec->with_stdin ? pipe2(in, O_CLOEXEC)
                          : (in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC))) < 0 ||
        pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || pipe2(report, O_CLOEXEC) < 0)
        return refuse(refusal, 125, "pipes for the command: %s", strerror(errno));
    /* execvp looks PATH up in our environment, which is the command's. */
    environ = spec->env;
    pid_t pid = fork_into_cgroup();
    if (pid < 0)
        return refuse(refusal, 125, "the command cannot be started in its cgroup: %s",
                      strerror(errno));
    if (pid == 0)
        become_command(spec, (const int[3]){in[0], out[1], err[1]}, report[1]);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    close(report[1]);
    struct failure failure;
    ssize_t got;
    do
        got = read(report[0], &failure, sizeof failure);
    while (got < 0 && errno == EINTR);
    close(report[0]);
    if (got == sizeof failure)
        return explain(spec, &failure, refusal);
    if (in[1] >= 0)
        fcntl(in[1], F_SETFL, O_NONBLOCK);
    *command = (struct command){.pid = pid, .in = in[1], .out = out[0], .err = err[0]};
    return true;
}
