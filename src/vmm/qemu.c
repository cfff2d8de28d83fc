/*
 * Theory of operation
 *
 * QEMU is given everything by descriptor, at numbers fixed in qemu.h, so its command line is the
 * same for every run of a policy and names no path of the run. Between clone and exec the child, in
 * this order: leaves the terminal's session; moves the descriptors to their numbers and closes all
 * others; enters the jail (src/jail/jail.c), where kernel and initrd, whose descriptors they come
 * from, are files; executes. QEMU's own seccomp filter denies it to start processes, change its
 * identity or its scheduling.
 */
#include "vmm/qemu.h"

#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct qemu {
    struct vmm_qemu_args args;
    struct vmm_qmp qmp;
};

/* QEMU's ends of the streams to it. */
struct ends {
    int qmp, channel, console, log;
};

/* Puts the descriptors at 0..VMM_QEMU_FD_END-1. First all out of the way, so that none is
 * overwritten by another. */
static int place_descriptors(const struct vmm_spec *spec, const struct ends *ends)
{
    int wanted[VMM_QEMU_FD_END] = {
        [0] = open("/dev/null", O_RDONLY),
        [1] = ends->log,
        [2] = ends->log,
        [VMM_QEMU_FD_QMP] = ends->qmp,
        [VMM_QEMU_FD_CHANNEL] = ends->channel,
        [VMM_QEMU_FD_CONSOLE] = ends->console,
        [VMM_QEMU_FD_KERNEL] = spec->kernel_fd,
        [VMM_QEMU_FD_INITRD] = spec->initrd_fd,
        [VMM_QEMU_FD_ROOTFS] = spec->rootfs_fd,
        [VMM_QEMU_FD_TAP] = spec->network != NULL ? spec->tap_fd : ends->log,
    };
    for (size_t i = 0; i < VMM_INPUTS_MAX; i++)
        wanted[VMM_QEMU_FD_INPUTS + i] = i < spec->input_count ? spec->input_fds[i] : ends->log;
    for (int i = 0; i < VMM_QEMU_FD_END; i++)
        if (wanted[i] < 0 || (wanted[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, VMM_QEMU_FD_END)) < 0)
            return -1;
    for (int i = 0; i < VMM_QEMU_FD_END; i++)
        if (dup2(wanted[i], i) < 0)
            return -1;
    if (spec->network == NULL)
        close(VMM_QEMU_FD_TAP);
    return close_range(VMM_QEMU_FD_INPUTS + (unsigned)spec->input_count, ~0u, 0);
}

/* The stack of each of its threads, what QEMU gets with musl. */
#define STACK_MAX (UINT64_C(1) << 20)

static int limit_stacks(void)
{
    const struct jail_limit limit = {RLIMIT_STACK, STACK_MAX};
    return jail_limit(&limit, 1);
}

/* The last thing before the program: what starts it may have more memory than it is to get. */
static int limit_memory(const struct vmm_spec *spec)
{
    const struct jail_limit limit = {RLIMIT_DATA, spec->data_max};
    return spec->data_max == 0 ? 0 : jail_limit(&limit, 1);
}

/* Without a jail: dies with its parent all the same, and gains no privileges. */
static int go_unjailed(const char **step)
{
    const struct rlimit no_core = {0, 0};
    *step = "process";
    if (setrlimit(RLIMIT_CORE, &no_core) < 0 || jail_raise_oom_score() < 0 ||
        jail_die_with_parent(VMM_QEMU_FD_QMP) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int go_to_jail(const struct vmm_spec *spec, const char **step)
{
    struct jail_plan plan = *spec->jail;
    plan.binds[0] = (struct jail_bind){VMM_QEMU_FD_KERNEL, spec->kernel, "kernel"};
    plan.binds[1] = (struct jail_bind){VMM_QEMU_FD_INITRD, spec->initrd, "initrd"};
    plan.bind_count = 2;
    plan.parent = VMM_QEMU_FD_QMP;
    if (jail_enter(&plan, step) < 0)
        return -1;
    close(VMM_QEMU_FD_KERNEL);
    close(VMM_QEMU_FD_INITRD);
    return 0;
}

_Noreturn static void become_qemu(const struct vmm_spec *spec, char *const *argv,
                                  const struct ends *ends)
{
    const char *step = "descriptors";
    sigset_t none;
    sigemptyset(&none);
    setsid();
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (cgroup_enter(spec->cgroup) == 0 && chdir("/") == 0 && limit_stacks() == 0 &&
        place_descriptors(spec, ends) == 0 &&
        (spec->jail != NULL ? go_to_jail(spec, &step) : go_unjailed(&step)) == 0 &&
        limit_memory(spec) == 0) {
        char *const no_environment[] = {NULL};
        execve(argv[0], argv, no_environment);
        dprintf(STDERR_FILENO, "cannot execute %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    dprintf(STDERR_FILENO, "the VMM's jail cannot be set up (%s): %s\n", step, strerror(errno));
    _exit(127);
}

static int check(const char *program, struct sr_error *err)
{
    return access(program, X_OK) == 0
               ? 0
               : sr_fail(err, SR_RUN_002, "launch.preflight.qemu-system-x86_64",
                         "%s cannot be executed: %s; install the package qemu-system-x86", program,
                         strerror(errno));
}

static int make_pair(int *ours, int *theirs, struct sr_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return sr_fail_vm(err, SR_RUN_002, "launch.vm", "no socket for the VM: %s",
                          strerror(errno));
    *ours = pair[0];
    *theirs = pair[1];
    return 0;
}

/* Forks, with QEMU's ends of the streams. */
static int launch(const struct vmm_spec *spec, const struct qemu *qemu, const struct ends *ends,
                  struct vmm *vmm, struct sr_error *err)
{
    int pidfd = -1;
    pid_t pid = spec->jail != NULL ? jail_clone(spec->jail, &pidfd)
                                   : sr_fork_into(spec->cgroup->v2_fd, &pidfd);
    if (pid < 0)
        return sr_fail_vm(
            err, SR_RUN_002, "launch.vm", "the VMM cannot be started: %s%s",
            spec->jail == NULL ? strerror(errno) : jail_clone_fault(errno, spec->jail->new_user),
            spec->jail == NULL ? "" : "; jail.mode: none in the host configuration forgoes them");
    if (pid == 0)
        become_qemu(spec, (char *const *)qemu->args.argv, ends);
    vmm_adopt(vmm, pid, pidfd);
    return 0;
}

static int start(const struct vmm_spec *spec, struct vmm *vmm, struct sr_error *err)
{
    struct vmm made = VMM_INIT;
    struct qemu *qemu = calloc(1, sizeof *qemu);
    if (qemu == NULL)
        return sr_fail_vm(err, SR_RUN_002, "launch.vm", "out of memory");
    sr_cleanup_fd int qmp = -1, channel = -1, console = -1, log = -1;
    vmm_qemu_arguments(spec, &qemu->args);
    made.driver = &vmm_qemu;
    made.state = qemu;
    if (make_pair(&made.control_fd, &qmp, err) < 0 ||
        make_pair(&made.channel_fd, &channel, err) < 0 ||
        make_pair(&made.console_fd, &console, err) < 0 || make_pair(&made.log_fd, &log, err) < 0 ||
        launch(spec, qemu, &(struct ends){qmp, channel, console, log}, &made, err) < 0) {
        sr_close_fd(&made.control_fd);
        vmm_drop(&made);
        return -1;
    }
    vmm_qmp_start(&qemu->qmp, made.control_fd);
    made.control_fd = qemu->qmp.fd;
    *vmm = made;
    return 0;
}

static void on_control(struct vmm *vmm)
{
    struct qemu *qemu = vmm->state;
    vmm_qmp_read(&qemu->qmp);
    vmm->control_fd = qemu->qmp.fd;
}

static void describe(const struct vmm *vmm, struct vmm_description *what)
{
    const struct qemu *qemu = vmm->state;
    *what = (struct vmm_description){.kvm = qemu->qmp.kvm, .argv = qemu->args.argv};
    snprintf(what->version, sizeof what->version, "%s", qemu->qmp.version);
    snprintf(what->stopped, sizeof what->stopped, "%s", qemu->qmp.stopped);
}

static void release(struct vmm *vmm)
{
    struct qemu *qemu = vmm->state;
    if (vmm->control_fd >= 0)
        vmm_qmp_close(&qemu->qmp);
    vmm->control_fd = -1;
    free(qemu);
    vmm->state = NULL;
}

const struct vmm_driver vmm_qemu = {
    .name = "qemu",
    /* A microvm without ACPI has places for eight devices; root image, channel and network take
     * three. */
    .limits = {.inputs = VMM_INPUTS_MAX},
    .offers = {.tcg = true, .kvm = true},
    .check = check,
    .start = start,
    .on_control = on_control,
    .describe = describe,
    .blames_kvm = vmm_qemu_blames_kvm,
    .release = release,
};
