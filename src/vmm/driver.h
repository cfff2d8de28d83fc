/*
 * A VMM: one microVM as a child process, started and spoken to by a driver. Nothing outside of a
 * driver's files knows its arguments or its protocol.
 *
 *   1. Fill struct vmm_spec; every descriptor in it stays the caller's.
 *   2. driver->start() forks, into the jail if there is one, and executes the VMM. It inherits
 *      those descriptors and nothing else, dies with its parent (parent-death signal), and leads a
 *      session of its own, so that a terminal's Ctrl-C does not reach it.
 *   3. vmm->channel_fd, console_fd and log_fd are connected byte streams, and the caller's to take.
 *      Watch vmm->pidfd for the end, and vmm->control_fd for what driver->on_control() reads.
 *   4. vmm_kill() at any time, then vmm_reap(); driver->describe() tells what is known of it until
 *      vmm_drop() releases everything.
 */
#ifndef SR_VMM_DRIVER_H
#define SR_VMM_DRIVER_H

#include "cgroup/cgroup.h"
#include "common/cleanup.h"
#include "jail/jail.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum vmm_accel { VMM_ACCEL_TCG, VMM_ACCEL_KVM };

/* "tcg", "kvm"; static. */
const char *vmm_accel_name(enum vmm_accel accel);

/* The most disks beside the root image's that any driver takes. */
#define VMM_INPUTS_MAX 5

struct vmm_spec {
    const char *program; /* path of the VMM */
    enum vmm_accel accel;
    unsigned vcpu_count, mem_size_mib;
    uint64_t data_max; /* RLIMIT_DATA, in bytes, with the guest's RAM; 0: the caller's */
    uint32_t tsc_khz;  /* the host's, for TCG guests, whose TSC is the host's; 0: unknown */
    int kernel_fd, initrd_fd, rootfs_fd;
    int input_fds[VMM_INPUTS_MAX]; /* more disks, read-only, behind the root image's */
    size_t input_count;
    const char *kernel, *initrd;  /* their paths, for the jail */
    const char *network;          /* the kernel's ip= argument; NULL: no network */
    int tap_fd;                   /* with it: a TAP without IFF_VNET_HDR */
    uint16_t mtu;                 /* of both ends */
    const struct jail_plan *jail; /* without its binds; NULL: none */
    const struct cgroup *cgroup;
};

struct vmm_driver;

struct vmm {
    const struct vmm_driver *driver; /* NULL: none was started */
    pid_t pid;                       /* -1: none, or it is reaped */
    int pidfd;
    int statm_fd;   /* its memory, opened before the caller gives up the right to */
    int channel_fd; /* to the guest's init */
    int console_fd; /* the guest's console */
    int log_fd;     /* the VMM's own stdout and stderr */
    int control_fd; /* -1: the VMM says nothing, or no more */
    void *state;    /* the driver's */
};

#define VMM_INIT                                                                                   \
    {                                                                                              \
        .pid = -1, .pidfd = -1, .statm_fd = -1, .channel_fd = -1, .console_fd = -1, .log_fd = -1,  \
        .control_fd = -1                                                                           \
    }

/* What a VMM says of itself. */
struct vmm_description {
    char version[32]; /* "7.2.22"; empty: it did not say */
    char stopped[32]; /* why the guest's machine stopped, in the VMM's word; empty: unknown */
    int kvm;          /* 1: KVM runs the guest, 0: it does not, -1: not known */
    const char *const *argv; /* how it was started, NULL-terminated; the VMM's until vmm_drop() */
};

struct vmm_driver {
    const char *name; /* "qemu": vm.started's launcher, assurance.vmm */
    struct {
        unsigned inputs; /* disks beside the root image's */
    } limits;
    struct {
        bool tcg, kvm;
    } offers;

    /* Whether program can be started here. SR-RUN-002 at launch.preflight.<program>. */
    int (*check)(const char *program, struct sr_error *err);

    /* Starts the VMM. Fills *vmm, which was VMM_INIT, and stays so on failure: SR-RUN-002 at
     * launch.vm. */
    int (*start)(const struct vmm_spec *spec, struct vmm *vmm, struct sr_error *err);

    /* Reads what the VMM says, without blocking; control_fd is -1 when that is over. */
    void (*on_control)(struct vmm *vmm);

    /* Fills *what by what is known so far. */
    void (*describe)(const struct vmm *vmm, struct vmm_description *what);

    /* Whether a VMM of this kind says in its log that KVM does not work, and not for lack of
     * something that may be there the next time (memory, descriptors, the device itself). */
    bool (*blames_kvm)(const char *log, size_t len);

    /* Frees the driver's state, once the process is reaped. */
    void (*release)(struct vmm *vmm);
};

extern const struct vmm_driver vmm_qemu;

/* How the VMM ended. */
struct vmm_exit {
    bool known; /* else somebody else has waited for it, or it is not gone, and the rest is 0 */
    int status; /* as from wait(2) */
    uint64_t cpu_usec;
};

/* Takes over a child that was forked to become the VMM: opens what is needed to watch it. */
void vmm_adopt(struct vmm *vmm, pid_t pid, int pidfd);

/* Kills it at once; nothing when it is gone already. */
void vmm_kill(struct vmm *vmm);

/* The signal that killed it; 0: none did, or it lives. It is still to be reaped. */
int vmm_killed_by(const struct vmm *vmm);

/* Whether it is stopped (SIGSTOP, a debugger). */
bool vmm_is_stopped(const struct vmm *vmm);

/* Waits for its end, 10 s at the most (kill first, or know from pidfd that it has ended). */
void vmm_reap(struct vmm *vmm, struct vmm_exit *how);

/* CPU time and resident memory of the running VMM, from the kernel's accounting of the process. */
int vmm_usage(const struct vmm *vmm, uint64_t *cpu_usec, uint64_t *memory_bytes) SR_MUST_CHECK;

/* Kills, reaps and releases everything, the streams that were not taken too. */
void vmm_drop(struct vmm *vmm);

#endif
