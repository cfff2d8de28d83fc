/* What bounds a run on the host, and what is said of it: the cgroup where there is one, the VM
 * where not. */
#include "machine/machine_state.h"

#include "cgroup/scope.h"

#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
/* What QEMU needs beside the guest's memory: its own 40 MiB, TCG's 128 MiB of translated code, page
 * tables, page cache. */
#define VMM_MEMORY (256 * MIB)
/* And for each vCPU: a stack, an arena, and TCG's table of the pages that it uses, which grows with
 * them. */
#define VCPU_MEMORY (64 * MIB)
/* What of it is no memory of the process's own, which is what RLIMIT_DATA counts: its files, page
 * tables, the kernel's. */
#define VMM_SHARED (32 * MIB)
/* QEMU's threads: one for each vCPU, the main loop, RCU, and a pool for block I/O. */
#define VMM_THREADS 128
/* Linux's own limit (PID_MAX_LIMIT); pids.max of a cgroup takes no larger number. */
#define PIDS_MAX UINT64_C(4194304)

/* Memory of the VMM with the guest's RAM, in bytes. */
static uint64_t vmm_memory(const struct machine *machine)
{
    return machine->plan.bundle->mem_size_mib * MIB + VMM_MEMORY +
           machine->plan.bundle->vcpu_count * VCPU_MEMORY;
}

uint64_t machine_data_max(const struct machine *machine)
{
    return vmm_memory(machine) - VMM_SHARED;
}

/* Makes the run's cgroup and lists what no cgroup holds of what should be held. */
static int create(struct machine *machine, const struct cgroup_limits *limits, char missing[64],
                  struct sr_error *err)
{
    static const char *const names[] = {"cpu", "memory", "pids"};
    if (cgroup_create(&machine->limits.cgroup, record_id(machine->plan.record), limits,
                      record_entry(machine->plan.record), err) < 0)
        return -1;
    if (cgroup_join(&machine->limits.cgroup, 1, err) < 0)
        return -1;
    missing[0] = '\0';
    for (int c = CGROUP_CONTROLLER_CPU; c <= CGROUP_CONTROLLER_PIDS; c++) {
        machine->limits.holders[c] =
            cgroup_holder(&machine->limits.cgroup, (enum cgroup_controller)c);
        if (machine->limits.holders[c] == NULL &&
            (c != CGROUP_CONTROLLER_CPU || limits->cpu_quota_usec > 0))
            snprintf(missing + strlen(missing), 64 - strlen(missing), "%s%s",
                     missing[0] != '\0' ? ", " : "", names[c]);
    }
    machine->limits.helpers_held = cgroup_holds_helpers(&machine->limits.cgroup);
    if (machine->limits.holders[CGROUP_CONTROLLER_CPU] != NULL && limits->cpu_quota_usec > 0 &&
        !machine->limits.helpers_held)
        snprintf(missing + strlen(missing), 64 - strlen(missing), "%scpu of helpers",
                 missing[0] != '\0' ? ", " : "");
    return 0;
}

int machine_make_limits(struct machine *machine, char *why, size_t size, struct sr_error *err)
{
    const struct sr_policy *policy = machine->plan.policy;
    const uint64_t pids = policy->pids_max + VMM_THREADS;
    const struct cgroup_limits limits = {
        .cpu_quota_usec = policy->cpu_quota_usec,
        .cpu_period_usec = policy->cpu_period_usec,
        .memory_bytes = vmm_memory(machine),
        .pids = pids < PIDS_MAX ? pids : PIDS_MAX,
    };
    struct sr_error none = {0};
    char missing[64];
    if (create(machine, &limits, missing, err) < 0)
        return -1;
    if (missing[0] != '\0' && geteuid() != 0) {
        if (cgroup_enter_scope(record_id(machine->plan.record), &none) < 0) {
            sr_tell(&machine->plan.tell, "no cgroup from systemd: %s", none.message);
        } else {
            cgroup_remove(&machine->limits.cgroup);
            if (create(machine, &limits, missing, err) < 0)
                return -1;
        }
    }
    why[0] = '\0';
    if (missing[0] != '\0')
        snprintf(why, size,
                 "no cgroup of this host holds: %s; run it as root, or in a cgroup that is "
                 "delegated%s%s",
                 missing, none.code != SR_OK ? "; none came from systemd: " : "", none.message);
    if (policy->require_limits && missing[0] != '\0')
        return sr_fail(err, SR_RUN_002, "require.limits",
                       "the policy requires limits: enforced, and %s", why);
    return 0;
}

void machine_limits_text(const struct machine *machine, struct machine_limits_text *text)
{
    const char *const *by = machine->limits.holders;
    if (machine->plan.policy->cpu_quota_usec == 0)
        snprintf(text->cpu, sizeof text->cpu, "vm (%u vCPU)", machine->plan.bundle->vcpu_count);
    else if (by[CGROUP_CONTROLLER_CPU] != NULL)
        snprintf(text->cpu, sizeof text->cpu, "%s%s", by[CGROUP_CONTROLLER_CPU],
                 machine->limits.helpers_held ? "" : " (VMM only)");
    else
        snprintf(text->cpu, sizeof text->cpu, "vm (%u vCPU; quota not enforced)",
                 machine->plan.bundle->vcpu_count);
    snprintf(text->memory, sizeof text->memory, "vm (guest RAM), rlimit (QEMU: %ju MiB)%s%s",
             (uintmax_t)(machine_data_max(machine) / MIB) - machine->plan.bundle->mem_size_mib,
             by[CGROUP_CONTROLLER_MEMORY] != NULL ? ", " : "",
             by[CGROUP_CONTROLLER_MEMORY] != NULL ? by[CGROUP_CONTROLLER_MEMORY] : "");
    snprintf(text->pids, sizeof text->pids, "guest (cgroup v2 pids.max)%s%s",
             by[CGROUP_CONTROLLER_PIDS] != NULL ? ", " : "",
             by[CGROUP_CONTROLLER_PIDS] != NULL ? by[CGROUP_CONTROLLER_PIDS] : "");
}

int machine_usage(const struct machine *machine, struct cgroup_usage *usage, const char **source)
{
    const char *holder = cgroup_holder(&machine->limits.cgroup, CGROUP_CONTROLLER_MEMORY);
    if (cgroup_read(&machine->limits.cgroup, usage) == 0 && holder != NULL) {
        *source = holder;
        return 0;
    }
    *source = "vmm-process";
    return vmm_usage(&machine->vmm, &usage->cpu_usec, &usage->memory_bytes);
}

struct cgroup_usage machine_last_usage(struct machine *machine)
{
    struct cgroup_usage usage = {0};
    if (cgroup_read(&machine->limits.cgroup, &usage) < 0)
        usage.oom_kills = 0;
    return usage;
}

const char *machine_release(struct machine *machine)
{
    struct machine_limits *limits = &machine->limits;
    if (limits->cgroup.tree_count > 0) {
        limits->left = cgroup_remove(&limits->cgroup) < 0;
        limits->end = limits->left ? "left for safe-run gc" : "removed";
    }
    return limits->end != NULL ? limits->end : "none";
}
