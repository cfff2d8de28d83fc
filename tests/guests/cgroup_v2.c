/*
 * src/cgroup with real controllers of version 2, as init of a guest with the project's kernel: this
 * machine may have none. Prints "ok <what>" or "FAILED <what>" and ends the machine.
 */
#include "cgroup/cgroup.h"
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"

static void check(const char *what, int good)
{
    printf("%s %s\n", good ? "ok" : "FAILED", what);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A child in the cgroup. */
static pid_t born_in(const struct cgroup *cgroup)
{
    struct clone_args how = {.flags = CLONE_INTO_CGROUP,
                             .exit_signal = SIGCHLD,
                             .cgroup = (unsigned long long)cgroup->v2_fd};
    return (pid_t)syscall(SYS_clone3, &how, sizeof how);
}

static char recorded[PATH_MAX + 2]; /* by the last create() */

static struct cgroup create(const char *id, const char *what)
{
    const struct cgroup_limits limits = {
        .cpu_quota_usec = 50000, .cpu_period_usec = 100000, .memory_bytes = 32 << 20, .pids = 8};
    struct cgroup cgroup;
    struct sr_error err = {0};
    int record = memfd_create("record", MFD_CLOEXEC);
    int result = cgroup_create(&cgroup, id, &limits, record, &err);
    recorded[0] = '\0';
    check("its path is recorded", pread(record, recorded, sizeof recorded - 1, 0) > 0);
    close(record);
    check(what, result == 0);
    if (result < 0)
        printf("# %s: %s\n", err.path, err.message);
    for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++) {
        const char *holder = cgroup_holder(&cgroup, (enum cgroup_controller)c);
        check("every controller is of version 2",
              holder != NULL && strcmp(holder, "cgroup v2") == 0);
    }
    check("the limit on CPU time is set when it is asked for",
          cgroup_limit_cpu(&cgroup, &err) == 0 && cgroup.cpu_fd < 0);
    return cgroup;
}

static void limits_hold(void)
{
    struct cgroup cgroup = create("limits", "create");
    struct cgroup_usage usage;
    pid_t busy = born_in(&cgroup);
    if (busy == 0)
        for (;;)
            ;
    double start = now();
    sleep(3);
    double took = now() - start;
    check("read", cgroup_read(&cgroup, &usage) == 0);
    double share = (double)usage.cpu_usec / 1e6 / took;
    printf("# half a core: %.3f\n", share);
    check("cpu.max of half a core", share > 0.45 && share < 0.55);
    kill(busy, SIGKILL);
    waitpid(busy, NULL, 0);

    pid_t hungry = born_in(&cgroup);
    if (hungry == 0)
        for (;;)
            memset(malloc(1 << 20), 1, 1 << 20);
    int status = 0;
    waitpid(hungry, &status, 0);
    check("memory.max kills", WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check("and is counted", cgroup_read(&cgroup, &usage) == 0 && usage.oom_kills >= 1);

    pid_t bomb = born_in(&cgroup);
    if (bomb == 0) {
        int children = 0;
        for (int i = 0; i < 50; i++) {
            pid_t pid = fork();
            if (pid == 0)
                for (;;)
                    pause();
            children += pid > 0;
        }
        _exit(children);
    }
    waitpid(bomb, &status, 0);
    printf("# children: %d\n", WEXITSTATUS(status));
    check("pids.max", WIFEXITED(status) && WEXITSTATUS(status) == 7);
    char other[] = ROOT "/safe-run-limits/vmm\n" ROOT "\n/tmp/safe-run-limits\n";
    mkdir("/tmp", 0755);
    mkdir("/tmp/safe-run-limits", 0755);
    check("a sweep elsewhere finds nothing", cgroup_sweep("limits", other) == 0);
    check("and removes nothing",
          access("/tmp/safe-run-limits", F_OK) == 0 && access(ROOT "/safe-run-limits", F_OK) == 0);
    chown(ROOT "/safe-run-limits", 1000, 1000);
    char own[sizeof recorded];
    memcpy(own, recorded, sizeof own);
    check("nor somebody else's", cgroup_sweep("limits", own) == 0);
    chown(ROOT "/safe-run-limits", 0, 0);
    check("a sweep that kills what is left", cgroup_sweep("limits", recorded) == 1);
    check("and leaves nothing", access(ROOT "/safe-run-limits", F_OK) < 0);
    check("remove what is gone", cgroup_remove(&cgroup) == 0);
}

/* Helpers share the VMM's time, not its memory, and can be left behind. */
static void helpers_hold(void)
{
    struct cgroup cgroup = create("helpers", "create for helpers");
    struct cgroup_usage usage;
    struct sr_error err = {0};
    int pidfd = -1, in_vmm;
    check("helpers are held", cgroup_holds_helpers(&cgroup));
    double start = now();
    check("the caller joins", cgroup_join(&cgroup, 2, &err) == 0);
    printf("# joining took %.1f ms\n", (now() - start) * 1000);
    check("once", cgroup_join(&cgroup, 2, &err) == 0);
    check("it is there",
          access(ROOT "/safe-run-helpers/helpers", F_OK) == 0 && cgroup.trees[0].joined);
    pid_t busy = born_in(&cgroup);
    if (busy == 0)
        for (;;)
            ;
    pid_t helper = sr_fork_into(cgroup.v2_helpers_fd, &pidfd);
    if (helper == 0)
        for (;;)
            ;
    start = now();
    while (now() - start < 3)
        ; /* so does the caller */
    double took = now() - start;
    check("read with helpers", cgroup_read(&cgroup, &usage) == 0 && usage.helpers_counted);
    double share = (double)(usage.cpu_usec + usage.helper_cpu_usec) / 1e6 / took;
    printf("# all of them: %.3f\n", share);
    check("cpu.max holds all of them", share > 0.40 && share < 0.60 && usage.helper_cpu_usec > 0);
    kill(busy, SIGKILL);
    waitpid(busy, NULL, 0);
    kill(helper, SIGKILL);
    check("a helper is reaped", sr_reap(helper, pidfd, 1000, NULL));
    char *memory = malloc(48 << 20); /* more than memory.max */
    memset(memory, 1, 48 << 20);
    free(memory);
    check("memory.max is the VMM's alone",
          cgroup_read(&cgroup, &usage) == 0 && usage.oom_kills == 0);
    in_vmm = access(ROOT "/safe-run-helpers/vmm/memory.max", F_OK) == 0;
    check("which has one", in_vmm);
    start = now();
    check("remove with the caller in it", cgroup_remove(&cgroup) == 0);
    printf("# leaving took %.1f ms\n", (now() - start) * 1000);
    check("nothing of it is left", access(ROOT "/safe-run-helpers", F_OK) < 0);
}

static void forgotten_ones(void)
{
    struct cgroup cgroup = create("sr-known", "create one that stays empty");
    check("an empty one that somebody holds stays", cgroup_sweep_empty(0) == 0);
    sr_close_fd(&cgroup.trees[0].fd); /* as by the death of its run */
    check("one that nobody holds goes", cgroup_sweep_empty(0) == 1);
}

/* An ordinary user's session below a directory that is the user's. */
static void delegation(void)
{
    static const char *const mine[] = {"", "/cgroup.procs", "/cgroup.subtree_control"};
    mkdir(ROOT "/user", 0755);
    mkdir(ROOT "/user/session", 0755);
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, ROOT "/user%s", mine[i]);
        chown(path, 1000, 1000);
        snprintf(path, sizeof path, ROOT "/user/session%s", mine[i]);
        chown(path, 1000, 1000);
    }
    pid_t pid = fork();
    if (pid == 0) {
        FILE *procs = fopen(ROOT "/user/session/cgroup.procs", "w");
        fprintf(procs, "%d\n", getpid());
        fclose(procs);
        setgid(1000);
        setuid(1000);
        struct cgroup cgroup = create("delegated", "create as a user");
        check("below what is delegated", access(ROOT "/user/safe-run-delegated", F_OK) == 0);
        pid_t child = born_in(&cgroup);
        if (child == 0)
            _exit(0);
        int status;
        check("a child in it", child > 0 && waitpid(child, &status, 0) == child && status == 0);
        check("remove as a user", cgroup_remove(&cgroup) == 0);
        /* As in a scope that systemd gave: the process is in it, and nothing above is handed
         * down. */
        check("make room", cgroup_make_room("session") == 0);
        check("in one that is not there", cgroup_make_room("session") == -ENOENT);
        cgroup = create("scoped", "create where there is room");
        check("in the scope", access(ROOT "/user/session/safe-run-scoped", F_OK) == 0);
        check("remove from the scope", cgroup_remove(&cgroup) == 0);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    pid = fork();
    if (pid == 0) {
        setgid(1001);
        setuid(1001);
        struct cgroup cgroup;
        const struct cgroup_limits limits = {.memory_bytes = 32 << 20, .pids = 8};
        struct sr_error err = {0};
        check("a user without delegation has none, and that is no error",
              cgroup_create(&cgroup, "none", &limits, -1, &err) == 0 &&
                  cgroup_holder(&cgroup, CGROUP_CONTROLLER_MEMORY) == NULL && cgroup.v2_fd < 0);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

/* The console is a virtio port, whose driver may still be busy with it when init starts: what was
 * printed before would be lost. */
static void open_console(void)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int console;
    mkdir("/dev", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    while ((console = open("/dev/hvc0", O_RDWR)) < 0)
        nanosleep(&pause, NULL);
    dup2(console, STDOUT_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

int main(void)
{
    open_console();
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL) < 0 ||
        mount("sysfs", "/sys", "sysfs", 0, NULL) < 0 ||
        mount("cgroup2", ROOT, "cgroup2", 0, NULL) < 0)
        printf("FAILED mounts: %s\n", strerror(errno));
    limits_hold();
    helpers_hold();
    forgotten_ones();
    delegation();
    puts("end");
    fflush(stdout);
    sleep(1);
    reboot(RB_AUTOBOOT);
    return 0;
}
