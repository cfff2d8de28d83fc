#include "machine/machine_state.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* How long an accelerator that nobody has seen work may keep a guest silent, when TCG is tried
 * after it. A guest under working KVM says hello within 0.2 s. */
#define PROBE_NSEC (1500 * SR_NSEC_PER_MSEC)

static int choose_accel(struct machine *machine, enum vmm_accel *accel, const char **reason,
                        bool *fallback, struct sr_error *err)
{
    enum sr_accel_choice choice = machine->plan.accel;
    if (choice == SR_ACCEL_CHOICE_AUTO)
        choice = machine->plan.config->accel;
    bool required = machine->plan.policy->require_kvm;
    *fallback = false;
    *accel = VMM_ACCEL_KVM;
    *reason = required ? "required by the policy" : "chosen";
    if (choice == SR_ACCEL_CHOICE_TCG && !required) {
        *accel = VMM_ACCEL_TCG;
        return 0;
    }
    if (choice == SR_ACCEL_CHOICE_TCG)
        return sr_fail(err, SR_RUN_002, "require.accel",
                       "the policy requires KVM, the caller chose TCG");
    enum host_kvm_state state = host_kvm_state(machine->plan.config->qemu);
    if (required && (state == HOST_KVM_ABSENT || state == HOST_KVM_BROKEN))
        return sr_fail(err, SR_RUN_002, "require.accel", "the policy requires KVM, and %s",
                       state == HOST_KVM_ABSENT ? "/dev/kvm cannot be opened here"
                                                : "no guest came up under KVM on this host");
    if (required || choice == SR_ACCEL_CHOICE_KVM) {
        if (state == HOST_KVM_ABSENT)
            return sr_fail_vm(
                err, SR_RUN_002, "launch.vm",
                "/dev/kvm cannot be opened: %s; --accel auto uses it only where it works",
                strerror(errno));
        return 0;
    }
    switch (state) {
    case HOST_KVM_WORKS:
        *reason = "KVM has worked on this host";
        *fallback = true;
        break;
    case HOST_KVM_UNKNOWN:
        *reason = "KVM is tried for the first time on this boot of the host";
        *fallback = true;
        break;
    case HOST_KVM_BROKEN:
        *accel = VMM_ACCEL_TCG;
        *reason = "no guest came up under KVM on this host";
        break;
    case HOST_KVM_ABSENT:
        *accel = VMM_ACCEL_TCG;
        *reason = "/dev/kvm cannot be opened";
        break;
    }
    return 0;
}

int machine_make_jail(struct machine *machine, struct sr_error *err)
{
    const struct host_config *config = machine->plan.config;
    if (!config->jail)
        return 0;
    sr_cleanup_fd int cache = host_cache_open();
    if (jail_files_find(config->qemu, true, cache, &machine->jail.files, err) < 0)
        return -1;
    machine->jail.plan = (struct jail_plan){
        .files = &machine->jail.files,
        .new_user = !jail_has_uids(config->uids.first, config->uids.last),
        .uid = geteuid(),
        .gid = getegid(),
        .cgroup_fd = machine->limits.cgroup.v2_fd,
    };
    if (machine->jail.plan.new_user)
        return 0;
    machine->jail.uid_fd =
        jail_take_uid(config->uids.first, config->uids.last, &machine->jail.plan.uid, err);
    machine->jail.plan.gid = machine->jail.plan.uid;
    return machine->jail.uid_fd < 0 ? -1 : 0;
}

/* The run's files must be opened by now. */
static int start_vmm(struct machine *machine, struct sr_error *err)
{
    machine->jail.plan.device = machine->accel == VMM_ACCEL_KVM ? "/dev/kvm" : NULL;
    struct vmm_spec spec = {
        .cgroup = &machine->limits.cgroup,
        .jail = machine->plan.config->jail ? &machine->jail.plan : NULL,
        .program = machine->plan.config->qemu,
        .accel = machine->accel,
        .vcpu_count = machine->plan.bundle->vcpu_count,
        .mem_size_mib = machine->plan.bundle->mem_size_mib,
        .data_max = machine_data_max(machine),
        .tsc_khz = machine->accel == VMM_ACCEL_TCG ? host_tsc_khz(&machine->tsc_start) : 0,
        .kernel = machine->kernel.path,
        .initrd = machine->initrd.path,
        .kernel_fd = machine->kernel.fd,
        .initrd_fd = machine->initrd.fd,
        .rootfs_fd = machine->devices.rootfs->fd,
        .network = machine->devices.network,
        .mtu = machine->devices.mtu,
        .tap_fd = machine->devices.tap_fd,
        .input_count = machine->devices.disk_count,
    };
    for (size_t i = 0; i < spec.input_count; i++)
        spec.input_fds[i] = machine->devices.disks[i];
    if (machine->driver->start(&spec, &machine->vmm, err) < 0)
        return -1;
    channel_init(&machine->channel);
    machine->channel_fd = sr_take_fd(&machine->vmm.channel_fd);
    machine->console.in_fd = sr_take_fd(&machine->vmm.console_fd);
    machine->vmm_log.in_fd = sr_take_fd(&machine->vmm.log_fd);
    machine->console.last[0] = machine->vmm_log.last[0] = '\0';
    return 0;
}

static json_t *started_facts(const struct machine *machine)
{
    struct vmm_description vmm;
    machine->driver->describe(&machine->vmm, &vmm);
    struct facts facts = facts_new();
    fact_integer(&facts, "pid", machine->vmm.pid);
    fact_text(&facts, "launcher", machine->driver->name);
    fact_text(&facts, "accel", vmm_accel_name(machine->accel));
    for (size_t i = 0; vmm.argv[i] != NULL; i++)
        fact_add_text(&facts, "argv", vmm.argv[i]);
    fact_text(&facts, "kernelHash", machine->kernel.hash);
    fact_text(&facts, "initrdHash", machine->initrd.hash);
    fact_text(&facts, "rootfsHash", machine->devices.rootfs->hash);
    return facts_end(&facts);
}

/* What the guest of the VM before this one said is a part of the reason. */
static json_t *selected_facts(const struct machine *machine, const char *reason)
{
    struct facts facts = facts_new();
    fact_text(&facts, "accel", vmm_accel_name(machine->accel));
    fact_text(&facts, "reason", reason);
    machine_word_record(&machine->word, &facts);
    return facts_end(&facts);
}

static int launch(struct machine *machine, enum vmm_accel accel, const char *reason, bool last,
                  struct sr_error *err)
{
    machine->accel = accel;
    if (record_event(machine->plan.record, EVIDENCE_STAGE_LAUNCH, SR_EVENT_VM_ACCEL_SELECTED,
                     selected_facts(machine, reason), err) < 0 ||
        record_barrier(machine->plan.record, err) < 0)
        return -1;
    machine->word = (struct machine_word){0};
    sr_tell(&machine->plan.tell, "starting the VM under %s: %s", vmm_accel_name(accel), reason);
    if (SR_FAILPOINT("launch.before"))
        return sr_fail_vm(err, SR_RUN_002, "launch.vm", "told to fail");
    if (start_vmm(machine, err) < 0)
        return -1;
    if (SR_FAILPOINT("launch.after"))
        return sr_fail_vm(err, SR_RUN_002, "launch.vm", "told to fail");
    machine_begin(machine);
    uint64_t now = sr_now();
    bool probing =
        accel == VMM_ACCEL_KVM && host_kvm_state(machine->plan.config->qemu) == HOST_KVM_UNKNOWN;
    machine->boot_deadline =
        now +
        (probing && !last ? PROBE_NSEC : machine->plan.config->boot_timeout_sec * SR_NSEC_PER_SEC);
    machine->boot_cpus = probing ? host_cpu_times() : (struct host_cpu_times){0};
    return record_event(machine->plan.record, EVIDENCE_STAGE_LAUNCH, SR_EVENT_VM_STARTED,
                        started_facts(machine), err) < 0
               ? -1
               : record_barrier(machine->plan.record, err);
}

static bool blames_kvm(const struct machine *machine)
{
    char log[16384]; /* what a VMM says of KVM, it says before anything else */
    if (machine->silent)
        return true;
    if (!machine->ended_by_us && vmm_killed_by(&machine->vmm) != 0)
        return false;
    ssize_t len =
        sr_read_small_file(record_directory(machine->plan.record), "vmm.log", log, sizeof log);
    return len > 0 && machine->driver->blames_kvm(log, (size_t)len);
}

void machine_drop(struct machine *machine)
{
    vmm_drop(&machine->vmm);
    sr_close_fd(&machine->channel_fd);
    sr_close_fd(&machine->console.in_fd);
    sr_close_fd(&machine->vmm_log.in_fd);
    channel_free(&machine->channel);
}

/* The counters of the run's cgroup, and its removal. */
static int keep_cgroup(const struct cgroup *cgroup, struct jail_self *self)
{
    for (size_t i = 0; i < cgroup->tree_count; i++) {
        const struct cgroup_tree *tree = &cgroup->trees[i];
        int own = fcntl(tree->fd, F_DUPFD_CLOEXEC, 0),
            parent = openat(tree->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (own >= 0)
            self->read[self->read_count++] = own;
        if (parent >= 0)
            self->remove[self->remove_count++] = parent;
        if (own < 0 || parent < 0)
            return -1;
    }
    return 0;
}

int machine_confine(struct machine *machine, int tree, struct sr_error *err)
{
    struct jail_self self = {
        .write = {record_directory(machine->plan.record), record_register(machine->plan.record)},
        .write_count = 2,
        .tree = tree,
    };
    const char *step = "directories";
    if (machine->jail.confined || !machine->plan.confine)
        return 0;
    int result = keep_cgroup(&machine->limits.cgroup, &self);
    if (result == 0)
        result = jail_confine_self(&self, &step);
    int failure = errno;
    for (size_t i = 0; i < self.remove_count; i++)
        close(self.remove[i]);
    for (size_t i = 0; i < self.read_count; i++)
        close(self.read[i]);
    if (result < 0)
        return sr_fail(err, SR_RUN_002, "launch.confine",
                       "safe-run cannot give up its privileges (%s): %s", step, strerror(failure));
    machine->jail.confined = true;
    return 0;
}

/* The console is the guest's word, the VMM's log the host's. */
static int fail_silent_vm(struct machine *machine, struct sr_error *err)
{
    int killer = vmm_killed_by(&machine->vmm);
    if (killer != 0)
        return sr_fail_vm(err, SR_RUN_002, "launch.vm",
                          "the VMM was killed by signal %d before the guest said hello", killer);
    const char *log = machine->vmm_log.last, *console = machine->console.last;
    if (log[0] == '\0')
        machine_word_take(&machine->word, console, strlen(console));
    if (machine->word.text[0] != '\0')
        return sr_fail_vm(err, SR_RUN_002, "launch.vm",
                          "the VMM ended before the guest said hello");
    return sr_fail_vm(err, SR_RUN_002, "launch.vm", "the VMM ended before the guest said hello: %s",
                      log[0] != '\0' ? log : "it said nothing");
}

/* Until hello, or until all that the VM said before its end is read. */
static int await_hello(struct machine *machine, struct sr_error *err)
{
    while (!machine->heard && !machine_is_over(machine))
        if (machine_flush(machine, err) < 0 || loop_step(machine->plan.loop, err) < 0)
            return -1;
    return 0;
}

/* Starts one VM and waits for its hello. 0: it came, or was not wanted any more. -1 with err: it
 * did not, and *retry tells whether that was the accelerator's fault for all we know. last: no
 * other VM will be started. */
static int boot_once(struct machine *machine, enum vmm_accel accel, const char *reason, bool last,
                     int tree, bool *retry, struct sr_error *err)
{
    *retry = false;
    if (launch(machine, accel, reason, last, err) < 0 ||
        (last && machine_confine(machine, tree, err) < 0))
        return -1;
    int result = await_hello(machine, err);
    if (result == 0 && machine->heard)
        return 0;
    *retry = !machine->asked && (result == 0 || err->code == SR_RUN_002);
    if (machine->asked || result < 0)
        return result;
    return fail_silent_vm(machine, err);
}

/* Remembers what a boot under KVM has shown. */
static void learn(const struct machine *machine, bool up, bool retry)
{
    const char *qemu = machine->plan.config->qemu;
    enum host_kvm_state learnt = up                             ? HOST_KVM_WORKS
                                 : retry && blames_kvm(machine) ? HOST_KVM_BROKEN
                                                                : HOST_KVM_UNKNOWN;
    if (learnt != HOST_KVM_UNKNOWN && learnt != host_kvm_state(qemu))
        host_kvm_remember(qemu, learnt);
}

int machine_boot(struct machine *machine, const struct machine_devices *devices, int tree,
                 struct sr_error *err)
{
    enum vmm_accel accel;
    const char *reason;
    bool fallback, retry;
    machine->devices = *devices;
    if (choose_accel(machine, &accel, &reason, &fallback, err) < 0)
        return -1;
    int result = boot_once(machine, accel, reason, !fallback, tree, &retry, err);
    if (accel == VMM_ACCEL_KVM)
        learn(machine, result == 0 && machine->heard, retry);
    char why[300];
    if (result < 0 && retry && machine->plan.policy->require_kvm) {
        snprintf(why, sizeof why, "%s", err->message);
        return sr_fail(err, SR_RUN_002, "require.accel",
                       "the policy requires KVM, and no guest came up under it: %s", why);
    }
    if (result == 0 || !fallback || !retry)
        return result;
    machine_drop(machine);
    snprintf(why, sizeof why, "no guest under KVM: %s", err->message);
    *err = (struct sr_error){0};
    return boot_once(machine, VMM_ACCEL_TCG, why, true, tree, &retry, err);
}
