/*
 * The VMM: one microVM as a child process. QEMU is the driver (qemu.c); what a second one must
 * offer is this header.
 *
 *   1. Fill struct sr_vmm_spec; every descriptor stays the caller's. sr_qemu_arguments() makes
 *      the command line of it.
 *   2. sr_vmm_start() forks, into the jail if there is one, and executes the VMM. It inherits those
 *      descriptors and nothing else, dies with its parent (parent-death signal), and leads a
 *      session of its own, so that a terminal's Ctrl-C does not reach it.
 *   3. Watch vmm.pidfd for its end and vmm.qmp.fd for what it says (sr_qmp_read()).
 *   4. sr_vmm_kill() at any time, then sr_vmm_reap(). The cleanup attribute does both.
 */
#ifndef SR_VMM_VMM_H
#define SR_VMM_VMM_H

#include "cgroup/cgroup.h"
#include "common/cleanup.h"
#include "jail/jail.h"
#include "saferun/error.h"
#include "vmm/qmp.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum sr_accel { SR_ACCEL_TCG, SR_ACCEL_KVM };

/* "tcg", "kvm"; static. */
const char *sr_accel_name(enum sr_accel accel);

/* A microvm without ACPI has places for eight devices; root image, channel and network take
 * three. */
#define SR_VMM_INPUTS_MAX 5

struct sr_vmm_spec {
    const char *program; /* path of qemu-system-x86_64 */
    enum sr_accel accel;
    unsigned vcpu_count, mem_size_mib;
    uint64_t data_max; /* RLIMIT_DATA, in bytes, with the guest's RAM; 0: the caller's */
    uint32_t tsc_khz;  /* the host's, for TCG guests, whose TSC is the host's; 0: unknown */
    int kernel_fd, initrd_fd, rootfs_fd;
    int input_fds[SR_VMM_INPUTS_MAX]; /* more disks, read-only, behind the root image's */
    size_t input_count;
    const char *kernel, *initrd;     /* their paths, for the jail */
    const char *network;             /* the kernel's ip= argument; NULL: no network */
    int tap_fd;                      /* with it: a TAP without IFF_VNET_HDR */
    uint16_t mtu;                    /* of both ends */
    int channel_fd;                  /* guest's end of the channel (stream socket) */
    int console_fd;                  /* guest's end of its console (stream socket) */
    int log_fd;                      /* the VMM's own stdout and stderr */
    const struct sr_jail_plan *jail; /* without its binds; NULL: none */
    const struct sr_cgroup *cgroup;
};

struct sr_vmm {
    pid_t pid; /* -1: none */
    int pidfd;
    int statm_fd; /* its memory, opened before the caller gives up the right to */
    struct sr_qmp qmp;
};

#define SR_VMM_INIT                                                                                \
    {                                                                                              \
        .pid = -1, .pidfd = -1, .statm_fd = -1, .qmp = {.fd = -1 }                                 \
    }

/* How the VMM ended. */
struct sr_vmm_exit {
    bool known; /* else somebody else has waited for it, or it is not gone, and the rest is 0 */
    int status; /* as from wait(2) */
    uint64_t cpu_usec;
};

/* The most arguments QEMU is ever given, and the longest of those that are built. */
#define SR_QEMU_MAX_ARGS 96
struct sr_qemu_args {
    const char *argv[SR_QEMU_MAX_ARGS];
    char memory[32], smp[32], nic[64], append[448];
    char disks[SR_VMM_INPUTS_MAX][3][96];
};

/* QEMU's command line for spec, pure: descriptors are named by the fixed numbers the child gives
 * them. args must outlive its use and not be moved. */
void sr_qemu_arguments(const struct sr_vmm_spec *spec, struct sr_qemu_args *args);

/* Starts the VMM with these arguments (sr_qemu_arguments()). Errors: SR-RUN-002 launch.vm. *vmm is
 * untouched on failure. */
int sr_vmm_start(const struct sr_vmm_spec *spec, const struct sr_qemu_args *args,
                 struct sr_vmm *vmm, struct sr_error *err) SR_MUST_CHECK;

/* Kills it at once; nothing when it is gone already. */
void sr_vmm_kill(struct sr_vmm *vmm);

/* The signal that killed it; 0: none did, or it lives. It is still to be reaped. */
int sr_vmm_killed_by(const struct sr_vmm *vmm);

/* Whether it is stopped (SIGSTOP, a debugger). */
bool sr_vmm_is_stopped(const struct sr_vmm *vmm);

/* Whether a VMM says in its log that KVM does not work, and not for lack of something that may be
 * there the next time (memory, descriptors, the device itself). */
bool sr_vmm_blames_kvm(const char *log, size_t len);

/* Waits for its end, 10 s at the most (kill first, or know from pidfd that it has ended), and
 * releases everything. */
void sr_vmm_reap(struct sr_vmm *vmm, struct sr_vmm_exit *how);

/* CPU time and resident memory of the running VMM, from the kernel's accounting of the process. */
int sr_vmm_usage(const struct sr_vmm *vmm, uint64_t *cpu_usec,
                 uint64_t *memory_bytes) SR_MUST_CHECK;

/* Kills and reaps: for the cleanup attribute. */
void sr_vmm_drop(struct sr_vmm *vmm);
#define sr_cleanup_vmm __attribute__((cleanup(sr_vmm_drop)))

#endif
