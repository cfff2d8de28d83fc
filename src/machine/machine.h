/*
 * The machine of a run: one microVM, what confines it, what limits it, and the channel to its init.
 *
 *   1. machine_new() with a plan. machine_check() finds the VMM and what it boots,
 *      machine_prepare() makes the run's cgroup and what the jail needs.
 *   2. machine_boot() starts the VMM and serves the loop until the guest's init says hello (READY),
 *      under another accelerator if the first does not work.
 *   3. machine_confine(), machine_join(): the supervisor gives up what it does not need any more,
 *      and comes under the run's limits.
 *   4. While the loop is served: what the guest sends comes to plan->frame(), what goes to it is
 *      put into machine_channel() and leaves by machine_flush(). machine_end() ends the VM; the
 *      loop goes on until machine_is_over(), for what the guest said last is not lost.
 *   5. machine_conclude() in any case: the VM is reaped. machine_release() removes the cgroup, once
 *      every process of the run is gone. machine_free().
 *
 * Phases: OFF, BOOTING, READY, GONE.
 */
#ifndef SR_MACHINE_MACHINE_H
#define SR_MACHINE_MACHINE_H

#include "cgroup/cgroup.h"
#include "channel/channel.h"
#include "common/clock.h"
#include "common/tell.h"
#include "host/host.h"
#include "loop/loop.h"
#include "machine/word.h"
#include "record/record.h"
#include "saferun/bundle.h"
#include "saferun/policy.h"
#include "vmm/driver.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum machine_phase {
    MACHINE_OFF,     /* no VM yet */
    MACHINE_BOOTING, /* the VM was started; init has not said hello */
    MACHINE_READY,   /* init listens */
    MACHINE_GONE,    /* the VMM has ended */
};

/* All of it is the caller's and lives as long as the machine. */
struct machine_plan {
    const struct host_config *config;
    const struct sr_policy *policy;
    const struct sr_bundle *bundle;
    struct record *record;
    struct loop *loop;
    struct sr_tell tell;
    enum sr_accel_choice accel;
    bool confine; /* machine_confine() does something */
    /* Takes what init sends, its hello excepted. */
    int (*frame)(void *context, const struct channel_event *event, struct sr_error *err);
    void *context;
};

/* What a VM is given beside kernel and initrd; the caller's, until machine_conclude(). */
struct machine_devices {
    const struct host_artifact *rootfs;
    const int *disks; /* read-only, VMM_INPUTS_MAX of them at most */
    size_t disk_count;
    const char *network; /* the kernel's ip= argument; NULL: no network */
    int tap_fd;
    uint16_t mtu;
};

struct machine;

/* NULL: memory is out. Begins to measure the TSC. */
struct machine *machine_new(const struct machine_plan *plan);
void machine_free(struct machine *machine);

/* Opens kernel and initrd, in this way. Errors: SR-RUN-002 at launch.preflight.*. */
int machine_check(struct machine *machine, const struct host_artifact_context *artifacts,
                  struct sr_error *err) SR_MUST_CHECK;

/* Makes the cgroup and finds what the jail needs. why (of size bytes) is why no cgroup holds a
 * limit that one should hold; empty: each is held. Errors: SR-RUN-002 at launch.cgroup,
 * launch.jail, require.limits. */
int machine_prepare(struct machine *machine, char *why, size_t size,
                    struct sr_error *err) SR_MUST_CHECK;

/* Opens the files that console and VMM write to. SR-RUN-001 at prepare.workdir. */
int machine_open_logs(struct machine *machine, struct sr_error *err) SR_MUST_CHECK;

/* Adds the machine's descriptors and deadlines to the loop. */
void machine_watch(struct machine *machine);

/* Until READY, or until machine_end() was called meanwhile: 0. -1 with SR-RUN-002 at launch.vm or
 * require.accel, or an error of whatever the loop serves. tree: of machine_confine(). */
int machine_boot(struct machine *machine, const struct machine_devices *devices, int tree,
                 struct sr_error *err) SR_MUST_CHECK;

/* Gives up, for ever, what the supervisor does not need any more; nothing the second time. tree: a
 * directory in which it still makes and renames files, -1: none. SR-RUN-002 at launch.confine. */
int machine_confine(struct machine *machine, int tree, struct sr_error *err) SR_MUST_CHECK;

/* Moves the supervisor into the cgroup, and limits CPU time from here on. SR-RUN-002 at
 * launch.cgroup. */
int machine_join(struct machine *machine, struct sr_error *err) SR_MUST_CHECK;

enum machine_phase machine_phase(const struct machine *machine);
struct channel *machine_channel(struct machine *machine);
/* Whether init can still be heard. */
bool machine_listens(const struct machine *machine);
/* Sends what is in the channel, as far as the VM takes it: before each loop_step(). SR-RUN-001 at
 * monitor.channel. */
int machine_flush(struct machine *machine, struct sr_error *err) SR_MUST_CHECK;
/* Takes what came right behind hello. */
int machine_hear(struct machine *machine, struct sr_error *err) SR_MUST_CHECK;

/* Ends the VM now. forced: without waiting for what it still owes. */
void machine_end(struct machine *machine, bool forced);
/* The VMM has ended and its streams are read to their end. */
bool machine_is_over(const struct machine *machine);
bool machine_was_forced(const struct machine *machine);

/* When the first VM was started, and nothing more was wanted of one, and the VMM was gone:
 * CLOCK_MONOTONIC; 0: not yet. */
struct machine_times {
    uint64_t launched, ended, gone;
};
struct machine_times machine_times(const struct machine *machine);

/* CPU time and memory of the VMM, what else is known of the run, and who says so. -1: not known. */
int machine_usage(const struct machine *machine, struct cgroup_usage *usage,
                  const char **source) SR_MUST_CHECK;

/* What a VMM that was killed has to be gone. */
#define MACHINE_END_NSEC (10 * SR_NSEC_PER_SEC)

struct machine_log {
    uint64_t bytes, logged;
};

/* What came of it. Texts are the machine's. */
struct machine_outcome {
    struct vmm_exit how;
    struct vmm_description told; /* without argv */
    bool ended_by_us;            /* before it ended by itself */
    const char *vmm;             /* the driver's name; "none" when no VM was started */
    const char *accel;           /* by the VMM's own word, if it gave one; or "none" */
    const char *jail;            /* "none", or what it is made of */
    const char *kernel_hash, *log_end;
    struct machine_log console, vmm_log;
};

/* Kills what is left of the VM and reaps it. */
void machine_conclude(struct machine *machine, struct machine_outcome *outcome);

/* The last counters of the cgroup: once the VMM is reaped and outputs are concluded. */
struct cgroup_usage machine_last_usage(struct machine *machine);

/* Which cgroup helpers are born in; -1: none. */
int machine_helpers_cgroup(const struct machine *machine);
/* The uid that root's runs have; 0: the caller's. */
uint32_t machine_uid(const struct machine *machine);

struct machine_limits_text {
    char cpu[64], memory[96], pids[64];
};
void machine_limits_text(const struct machine *machine, struct machine_limits_text *text);

/* Removes the cgroup, once the VMM, the network's processes and the collector are reaped. Says what
 * became of it, again the same: "removed", "none", "left for safe-run gc". */
const char *machine_release(struct machine *machine);
bool machine_left_something(const struct machine *machine);

/* What the guest said, when machine_boot() failed. */
const struct machine_word *machine_last_word(const struct machine *machine);

#endif
