/*
 * The state of a machine, shared by the files of this room and by nothing else.
 *
 *   machine.c  a machine's beginning and end
 *   limits.c   the cgroup
 *   boot.c     accelerator, start, fallback, confinement
 *   watch.c    what the loop serves
 */
#ifndef SR_MACHINE_MACHINE_STATE_H
#define SR_MACHINE_MACHINE_STATE_H

#include "machine/machine.h"

#include "jail/jail.h"

/* A copy of a stream into a file, bounded; the last bytes are kept for error messages. */
struct machine_tail {
    int in_fd, log_fd;
    uint64_t bytes, logged;
    char last[200];
};

struct machine_limits {
    struct cgroup cgroup;
    const char *holders[CGROUP_CONTROLLER_COUNT]; /* of the limits, from the cgroup's creation on */
    bool helpers_held;                            /* by the limit on CPU time, too */
    const char *end;                              /* what became of it; NULL: not yet known */
    bool left;                                    /* it could not be removed */
};

struct machine_jail {
    struct jail_files files; /* empty: no jail */
    struct jail_plan plan;
    int uid_fd;    /* holds plan.uid for this run */
    bool confined; /* the supervisor */
};

enum { MACHINE_SOURCES = 5, MACHINE_TIMERS = 2 };

struct machine {
    struct machine_plan plan;
    struct machine_devices devices;
    enum machine_phase phase;
    struct host_artifact kernel, initrd;
    struct machine_limits limits;
    struct machine_jail jail;
    struct host_tsc_sample tsc_start;

    const struct vmm_driver *driver;
    struct vmm vmm;
    enum vmm_accel accel;
    struct channel channel;
    int channel_fd;
    struct machine_tail console, vmm_log;
    struct machine_times times;
    struct machine_word word; /* of the guest that did not come up */

    bool heard; /* its hello */
    bool ended_by_us, forced;
    bool asked; /* by machine_end(), to end */
    /* When a VM was started under an accelerator on trial; else not known. */
    struct host_cpu_times boot_cpus;
    bool silent; /* its guest said nothing although it could have */
    uint64_t boot_deadline, end_deadline;
    struct loop_source sources[MACHINE_SOURCES];
    struct loop_timer timers[MACHINE_TIMERS];
};

/* limits.c */
int machine_make_limits(struct machine *machine, char *why, size_t size,
                        struct sr_error *err) SR_MUST_CHECK;
/* Bytes of private memory that the VMM may have, with the guest's RAM. Its cgroup has more, so that
 * TCG bounds its tables before the kernel looks for a process to kill. */
uint64_t machine_data_max(const struct machine *machine);

/* boot.c */
int machine_make_jail(struct machine *machine, struct sr_error *err) SR_MUST_CHECK;
/* Kills what is left of the VM and forgets it. */
void machine_drop(struct machine *machine);

/* watch.c: a VM was started; the VMM is gone, or as good as that. */
void machine_begin(struct machine *machine);
void machine_leave(struct machine *machine);

#endif
