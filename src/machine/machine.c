#include "machine/machine_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct machine *machine_new(const struct machine_plan *plan)
{
    struct machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL)
        return NULL;
    machine->plan = *plan;
    machine->tsc_start = host_tsc_sample();
    machine->driver = &vmm_qemu;
    machine->vmm = (struct vmm)VMM_INIT;
    machine->limits.cgroup = (struct cgroup)CGROUP_INIT;
    machine->kernel.fd = machine->initrd.fd = machine->jail.uid_fd = machine->channel_fd = -1;
    machine->console.in_fd = machine->console.log_fd = -1;
    machine->vmm_log.in_fd = machine->vmm_log.log_fd = -1;
    machine->boot_deadline = machine->end_deadline = LOOP_NEVER;
    return machine;
}

void machine_free(struct machine *machine)
{
    if (machine == NULL)
        return;
    machine_drop(machine);
    sr_close_fd(&machine->console.log_fd);
    sr_close_fd(&machine->vmm_log.log_fd);
    sr_close_fd(&machine->kernel.fd);
    sr_close_fd(&machine->initrd.fd);
    sr_close_fd(&machine->jail.uid_fd);
    jail_files_free(&machine->jail.files);
    free(machine);
}

int machine_check(struct machine *machine, const struct host_artifact_context *artifacts,
                  struct sr_error *err)
{
    const struct host_config *config = machine->plan.config;
    const struct host_artifact_plan kernel = {
        .path = config->kernel, .what = "kernel", .advice = HOST_ARTIFACT_ADVICE, .by_path = true};
    const struct host_artifact_plan initrd = {
        .path = config->initrd, .what = "initrd", .advice = HOST_ARTIFACT_ADVICE, .by_path = true};
    if (machine->driver->check(config->qemu, err) < 0 ||
        host_artifact_open(&machine->kernel, &kernel, artifacts, err) < 0)
        return -1;
    return host_artifact_open(&machine->initrd, &initrd, artifacts, err);
}

int machine_prepare(struct machine *machine, char *why, size_t size, struct sr_error *err)
{
    return machine_make_limits(machine, why, size, err) < 0 ? -1 : machine_make_jail(machine, err);
}

int machine_open_logs(struct machine *machine, struct sr_error *err)
{
    machine->console.log_fd = record_stream(machine->plan.record, "console.log", err);
    if (machine->console.log_fd < 0)
        return -1;
    machine->vmm_log.log_fd = record_stream(machine->plan.record, "vmm.log", err);
    return machine->vmm_log.log_fd < 0 ? -1 : 0;
}

int machine_join(struct machine *machine, struct sr_error *err)
{
    return cgroup_join(&machine->limits.cgroup, 2, err) < 0
               ? -1
               : cgroup_limit_cpu(&machine->limits.cgroup, err);
}

enum machine_phase machine_phase(const struct machine *machine)
{
    return machine->phase;
}

struct channel *machine_channel(struct machine *machine)
{
    return &machine->channel;
}

bool machine_listens(const struct machine *machine)
{
    return machine->channel_fd >= 0;
}

bool machine_was_forced(const struct machine *machine)
{
    return machine->forced;
}

struct machine_times machine_times(const struct machine *machine)
{
    return machine->times;
}

int machine_helpers_cgroup(const struct machine *machine)
{
    return machine->limits.cgroup.v2_helpers_fd;
}

uint32_t machine_uid(const struct machine *machine)
{
    return machine->jail.uid_fd >= 0 ? machine->jail.plan.uid : 0;
}

bool machine_left_something(const struct machine *machine)
{
    return machine->limits.left;
}

const struct machine_word *machine_last_word(const struct machine *machine)
{
    return &machine->word;
}

static const char *jail_text(const struct machine *machine)
{
    if (machine->times.launched == 0 || !machine->plan.config->jail)
        return "none";
    return machine->jail.plan.new_user ? "namespaces (user), seccomp, landlock"
                                       : "namespaces, uid, seccomp, landlock";
}

/* What ran the guest: the VMM's own answer where it gave one, else what it was told. */
static const char *accel_text(const struct machine *machine, int kvm)
{
    if (machine->times.launched == 0)
        return "none";
    return kvm < 0 ? vmm_accel_name(machine->accel) : kvm > 0 ? "kvm" : "tcg";
}

void machine_conclude(struct machine *machine, struct machine_outcome *outcome)
{
    *outcome = (struct machine_outcome){
        .told.kvm = -1,
        .ended_by_us = machine->ended_by_us || machine->phase != MACHINE_GONE,
    };
    vmm_kill(&machine->vmm);
    vmm_reap(&machine->vmm, &outcome->how);
    if (machine->vmm.driver != NULL)
        machine->driver->describe(&machine->vmm, &outcome->told);
    outcome->told.argv = NULL;
    if (machine->times.gone == 0) /* the loop was left before */
        machine_leave(machine);
    outcome->vmm = machine->times.launched != 0 ? machine->driver->name : "none";
    outcome->accel = accel_text(machine, outcome->told.kvm);
    outcome->jail = jail_text(machine);
    outcome->kernel_hash = machine->kernel.hash;
    outcome->log_end = machine->vmm_log.last;
    outcome->console = (struct machine_log){machine->console.bytes, machine->console.logged};
    outcome->vmm_log = (struct machine_log){machine->vmm_log.bytes, machine->vmm_log.logged};
    machine_drop(machine);
}
