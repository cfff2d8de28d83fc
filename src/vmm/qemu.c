/*
 * Theory of operation
 *
 * QEMU is given everything by descriptor, at numbers fixed below, so its command line is the same
 * for every run of a policy and names no path of the run. Between clone and exec the child, in this
 * order: leaves the terminal's session; moves the descriptors to their numbers and closes all
 * others; enters the jail (src/jail/jail.c), where kernel and initrd, whose descriptors they come
 * from, are files; executes. QEMU's own seccomp filter denies it to start processes, change its
 * identity or its scheduling.
 *
 * The machine and the boot arguments are what starts a guest soonest (docs/OPERATIONS.md,
 * "Figures"). With rtc=off the guest's kernel waits 2 s for a clock; with pit=off and pic=off it
 * hangs. Under TCG the guest's TSC is the host's, so calibrating it against an emulated timer only
 * costs time and precision: the frequency is measured on the host and handed over.
 */
#include "vmm/vmm.h"

#include "common/clock.h"
#include "common/fs.h"
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* Descriptor numbers in QEMU. */
enum {
    FD_QMP = 3,
    FD_CHANNEL,
    FD_CONSOLE,
    FD_KERNEL, /* of these two the jail makes files */
    FD_INITRD,
    FD_ROOTFS,
    FD_TAP, /* may be absent, and so may the inputs */
    FD_INPUTS,
    FD_END = FD_INPUTS + SR_VMM_INPUTS_MAX
};

const char *sr_accel_name(enum sr_accel accel)
{
    return accel == SR_ACCEL_KVM ? "kvm" : "tcg";
}

static void build_append(const struct sr_vmm_spec *spec, char *append, size_t size)
{
    /* reboot=t: the guest ends by a triple fault, which -no-reboot turns into QEMU's exit. */
    int len = snprintf(append, size,
                       "console=hvc0 reboot=t panic=-1 quiet no_timer_check random.trust_cpu=on "
                       "ipv6.disable=1 rcupdate.rcu_expedited=1");
    if (spec->accel == SR_ACCEL_TCG) {
        len += snprintf(append + len, size - (size_t)len, " nolapic_timer tsc=reliable");
        if (spec->tsc_khz > 0)
            len += snprintf(append + len, size - (size_t)len, " tsc_early_khz=%u", spec->tsc_khz);
    }
    if (spec->network != NULL)
        len += snprintf(append + len, size - (size_t)len, " %s", spec->network);
    if (spec->vcpu_count > 1)
        snprintf(append + len, size - (size_t)len, " noreplace-smp");
}

/* The arguments of one disk of the inputs behind argv[count]. */
static size_t add_disk(struct sr_qemu_args *args, size_t count, size_t i)
{
    char(*text)[96] = args->disks[i];
    snprintf(text[0], sizeof text[0], "fd=%zu,set=%zu", FD_INPUTS + i, 2 + i);
    snprintf(text[1], sizeof text[1],
             "driver=file,node-name=input%zu,filename=/dev/fdset/%zu,read-only=on,locking=off", i,
             2 + i);
    snprintf(text[2], sizeof text[2], "virtio-blk-device,drive=input%zu", i);
    const char *const argv[] = {"-add-fd", text[0], "-blockdev", text[1], "-device", text[2]};
    memcpy(args->argv + count, argv, sizeof argv);
    return count + sizeof argv / sizeof argv[0];
}

void sr_qemu_arguments(const struct sr_vmm_spec *spec, struct sr_qemu_args *args)
{
    snprintf(args->memory, sizeof args->memory, "%uM", spec->mem_size_mib);
    snprintf(args->smp, sizeof args->smp, "%u", spec->vcpu_count);
    snprintf(args->nic, sizeof args->nic, "virtio-net-device,netdev=network,host_mtu=%u",
             spec->mtu);
    build_append(spec, args->append, sizeof args->append);
    const char *const argv[] = {
        spec->program,
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-M",
        "microvm,acpi=off,rtc=on,isa-serial=off",
        "-accel",
        /* Translated code may fill an eighth of the host's memory unless told otherwise. */
        spec->accel == SR_ACCEL_TCG ? "tcg,tb-size=128" : "kvm",
        "-cpu",
        /* Nothing that a guest could run guests or watch its host with. TCG interprets "rep movsb"
         * byte by byte: without erms and fsrm the guest's kernel copies in larger steps, and bulk
         * output is more than twice as fast. */
        spec->accel == SR_ACCEL_TCG ? "max,svm=off,vmx=off,pmu=off,erms=off,fsrm=off"
                                    : "max,svm=off,vmx=off,pmu=off",
        "-smp",
        args->smp,
        "-m",
        args->memory,
        /* Threads of block I/O: reads of what the host has in memory need few, and each has a
         * stack. */
        "-object",
        "main-loop,id=main,thread-pool-max=8",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-kernel",
        spec->jail != NULL ? "/kernel" : "/proc/self/fd/6",
        "-initrd",
        spec->jail != NULL ? "/initrd" : "/proc/self/fd/7",
        "-append",
        args->append,
        "-add-fd",
        "fd=8,set=1",
        "-blockdev",
        "driver=file,node-name=rootfs,filename=/dev/fdset/1,read-only=on,locking=off",
        "-device",
        "virtio-blk-device,drive=rootfs",
        "-device",
        "virtio-serial-device,max_ports=2",
        "-chardev",
        "socket,id=console,fd=5",
        "-device",
        "virtconsole,chardev=console,nr=0",
        "-chardev",
        "socket,id=channel,fd=4",
        "-device",
        "virtserialport,chardev=channel,nr=1,name=safe-run.channel",
        "-chardev",
        "socket,id=qmp,fd=3",
        "-mon",
        "chardev=qmp,mode=control",
    };
    const char *const network[] = {"-netdev", "tap,id=network,fd=9", "-device", args->nic};
    size_t count = sizeof argv / sizeof argv[0];
    _Static_assert((sizeof argv + sizeof network) / sizeof argv[0] + 6 * SR_VMM_INPUTS_MAX <
                       SR_QEMU_MAX_ARGS,
                   "SR_QEMU_MAX_ARGS is too small");
    _Static_assert(FD_CHANNEL == 4 && FD_CONSOLE == 5 && FD_KERNEL == 6 && FD_INITRD == 7 &&
                       FD_ROOTFS == 8 && FD_TAP == 9,
                   "the arguments name these numbers");
    memcpy(args->argv, argv, sizeof argv);
    if (spec->network != NULL) {
        memcpy(args->argv + count, network, sizeof network);
        count += sizeof network / sizeof network[0];
    }
    for (size_t i = 0; i < spec->input_count; i++)
        count = add_disk(args, count, i);
    args->argv[count] = NULL;
}

/* Puts the descriptors at 0..FD_END-1. First all out of the way, so that none is overwritten by
 * another. */
static int place_descriptors(const struct sr_vmm_spec *spec, int qmp_fd)
{
    int wanted[FD_END] = {
        [0] = open("/dev/null", O_RDONLY),
        [1] = spec->log_fd,
        [2] = spec->log_fd,
        [FD_QMP] = qmp_fd,
        [FD_CHANNEL] = spec->channel_fd,
        [FD_CONSOLE] = spec->console_fd,
        [FD_KERNEL] = spec->kernel_fd,
        [FD_INITRD] = spec->initrd_fd,
        [FD_ROOTFS] = spec->rootfs_fd,
        [FD_TAP] = spec->network != NULL ? spec->tap_fd : spec->log_fd,
    };
    for (size_t i = 0; i < SR_VMM_INPUTS_MAX; i++)
        wanted[FD_INPUTS + i] = i < spec->input_count ? spec->input_fds[i] : spec->log_fd;
    for (int i = 0; i < FD_END; i++)
        if (wanted[i] < 0 || (wanted[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, FD_END)) < 0)
            return -1;
    for (int i = 0; i < FD_END; i++)
        if (dup2(wanted[i], i) < 0)
            return -1;
    if (spec->network == NULL)
        close(FD_TAP);
    return close_range(FD_INPUTS + (unsigned)spec->input_count, ~0u, 0);
}

/* The stack of each of its threads, what QEMU gets with musl. */
#define STACK_MAX (UINT64_C(1) << 20)

static int limit_stacks(void)
{
    const struct sr_jail_limit limit = {RLIMIT_STACK, STACK_MAX};
    return sr_jail_limit(&limit, 1);
}

/* The last thing before the program: what starts it may have more memory than it is to get. */
static int limit_memory(const struct sr_vmm_spec *spec)
{
    const struct sr_jail_limit limit = {RLIMIT_DATA, spec->data_max};
    return spec->data_max == 0 ? 0 : sr_jail_limit(&limit, 1);
}

/* Without a jail: dies with its parent all the same, and gains no privileges. */
static int go_unjailed(const char **step)
{
    const struct rlimit no_core = {0, 0};
    *step = "process";
    if (setrlimit(RLIMIT_CORE, &no_core) < 0 || jail_raise_oom_score() < 0 ||
        sr_jail_die_with_parent(FD_QMP) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int go_to_jail(const struct sr_vmm_spec *spec, const char **step)
{
    struct sr_jail_plan plan = *spec->jail;
    plan.binds[0] = (struct sr_jail_bind){FD_KERNEL, spec->kernel, "kernel"};
    plan.binds[1] = (struct sr_jail_bind){FD_INITRD, spec->initrd, "initrd"};
    plan.bind_count = 2;
    plan.parent = FD_QMP;
    if (sr_jail_enter(&plan, step) < 0)
        return -1;
    close(FD_KERNEL);
    close(FD_INITRD);
    return 0;
}

_Noreturn static void become_qemu(const struct sr_vmm_spec *spec, char *const *argv, int qmp_fd)
{
    const char *step = "descriptors";
    sigset_t none;
    sigemptyset(&none);
    setsid();
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (sr_cgroup_enter(spec->cgroup) == 0 && chdir("/") == 0 && limit_stacks() == 0 &&
        place_descriptors(spec, qmp_fd) == 0 &&
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

int sr_vmm_start(const struct sr_vmm_spec *spec, const struct sr_qemu_args *args,
                 struct sr_vmm *vmm, struct sr_error *err)
{
    int pair[2], pidfd = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return sr_fail_vm(err, SR_RUN_002, "launch.vm", "no socket for QMP: %s", strerror(errno));
    sr_cleanup_fd int ours = pair[0], theirs = pair[1];
    pid_t pid = spec->jail != NULL ? sr_jail_clone(spec->jail, &pidfd)
                                   : sr_fork_into(spec->cgroup->v2_fd, &pidfd);
    if (pid < 0)
        return sr_fail_vm(
            err, SR_RUN_002, "launch.vm", "the VMM cannot be started: %s%s",
            spec->jail == NULL ? strerror(errno) : sr_jail_clone_fault(errno, spec->jail->new_user),
            spec->jail == NULL ? "" : "; jail.mode: none in the host configuration forgoes them");
    if (pid == 0)
        become_qemu(spec, (char *const *)args->argv, theirs);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    *vmm =
        (struct sr_vmm){.pid = pid, .pidfd = pidfd, .statm_fd = open(path, O_RDONLY | O_CLOEXEC)};
    sr_qmp_start(&vmm->qmp, sr_take_fd(&ours));
    return 0;
}

void sr_vmm_kill(struct sr_vmm *vmm)
{
    if (vmm->pidfd >= 0)
        pidfd_send_signal(vmm->pidfd, SIGKILL, NULL, 0);
}

int sr_vmm_killed_by(const struct sr_vmm *vmm)
{
    siginfo_t end = {0};
    if (vmm->pidfd < 0 ||
        waitid(P_PIDFD, (id_t)vmm->pidfd, &end, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        (end.si_code != CLD_KILLED && end.si_code != CLD_DUMPED))
        return 0;
    return end.si_status;
}

bool sr_vmm_is_stopped(const struct sr_vmm *vmm)
{
    siginfo_t state = {0};
    return vmm->pidfd >= 0 &&
           waitid(P_PIDFD, (id_t)vmm->pidfd, &state, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
           state.si_pid != 0;
}

/* One that the kernel does not let go is left behind: whoever waits for it would wait with it. */
void sr_vmm_reap(struct sr_vmm *vmm, struct sr_vmm_exit *how)
{
    if (vmm->pid < 0)
        return;
    struct rusage usage = {0};
    int status = 0;
    (void)sr_await(vmm->pidfd, sr_now() + SR_REAP_MSEC * SR_NSEC_PER_MSEC);
    pid_t got = wait4(vmm->pid, &status, WNOHANG, &usage);
    *how = (struct sr_vmm_exit){0};
    if (got == vmm->pid)
        *how = (struct sr_vmm_exit){
            .known = true,
            .status = status,
            .cpu_usec = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
                        (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
        };
    vmm->pid = -1;
    sr_close_fd(&vmm->pidfd);
    sr_close_fd(&vmm->statm_fd);
    sr_qmp_close(&vmm->qmp);
}

int sr_vmm_usage(const struct sr_vmm *vmm, uint64_t *cpu_usec, uint64_t *memory_bytes)
{
    clockid_t clock;
    struct timespec used;
    if (vmm->pid < 0 || clock_getcpuclockid(vmm->pid, &clock) != 0 ||
        clock_gettime(clock, &used) < 0)
        return -1;
    char text[128];
    ssize_t len = pread(vmm->statm_fd, text, sizeof text - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    unsigned long long pages;
    if (sscanf(text, "%*u %llu", &pages) != 1) /* NOLINT(cert-err34-c): the kernel's own number */
        return -1;
    *cpu_usec = (uint64_t)used.tv_sec * 1000000u + (uint64_t)used.tv_nsec / 1000u;
    *memory_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

void sr_vmm_drop(struct sr_vmm *vmm)
{
    struct sr_vmm_exit how;
    sr_vmm_kill(vmm);
    sr_vmm_reap(vmm, &how);
}
