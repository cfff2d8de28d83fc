/* The VMM as a process, whatever its driver. */
#include "vmm/driver.h"

#include "common/clock.h"
#include "common/fs.h"
#include "common/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *vmm_accel_name(enum vmm_accel accel)
{
    return accel == VMM_ACCEL_KVM ? "kvm" : "tcg";
}

void vmm_adopt(struct vmm *vmm, pid_t pid, int pidfd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    vmm->pid = pid;
    vmm->pidfd = pidfd;
    vmm->statm_fd = open(path, O_RDONLY | O_CLOEXEC);
}

void vmm_kill(struct vmm *vmm)
{
    if (vmm->pidfd >= 0)
        pidfd_send_signal(vmm->pidfd, SIGKILL, NULL, 0);
}

int vmm_killed_by(const struct vmm *vmm)
{
    siginfo_t end = {0};
    if (vmm->pidfd < 0 ||
        waitid(P_PIDFD, (id_t)vmm->pidfd, &end, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        (end.si_code != CLD_KILLED && end.si_code != CLD_DUMPED))
        return 0;
    return end.si_status;
}

bool vmm_is_stopped(const struct vmm *vmm)
{
    siginfo_t state = {0};
    return vmm->pidfd >= 0 &&
           waitid(P_PIDFD, (id_t)vmm->pidfd, &state, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
           state.si_pid != 0;
}

/* One that the kernel does not let go is left behind: whoever waits for it would wait with it. */
void vmm_reap(struct vmm *vmm, struct vmm_exit *how)
{
    if (vmm->pid < 0)
        return;
    struct rusage usage = {0};
    int status = 0;
    (void)sr_await(vmm->pidfd, sr_now() + SR_REAP_MSEC * SR_NSEC_PER_MSEC);
    pid_t got = wait4(vmm->pid, &status, WNOHANG, &usage);
    *how = (struct vmm_exit){0};
    if (got == vmm->pid)
        *how = (struct vmm_exit){
            .known = true,
            .status = status,
            .cpu_usec = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
                        (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
        };
    vmm->pid = -1;
    sr_close_fd(&vmm->pidfd);
    sr_close_fd(&vmm->statm_fd);
}

int vmm_usage(const struct vmm *vmm, uint64_t *cpu_usec, uint64_t *memory_bytes)
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

void vmm_drop(struct vmm *vmm)
{
    struct vmm_exit how;
    vmm_kill(vmm);
    vmm_reap(vmm, &how);
    if (vmm->driver != NULL)
        vmm->driver->release(vmm);
    sr_close_fd(&vmm->channel_fd);
    sr_close_fd(&vmm->console_fd);
    sr_close_fd(&vmm->log_fd);
    vmm->driver = NULL;
}
