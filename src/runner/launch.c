#include "runner/run_state.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

/* How long an accelerator that nobody has seen work may keep a guest silent, when TCG is tried
 * after it. A guest under working KVM says hello within 0.2 s. */
#define PROBE_NSEC (1500 * SR_NSEC_PER_MSEC)

int run_choose_accel(struct run *run, enum vmm_accel *accel, const char **reason, bool *fallback,
                     struct sr_error *err)
{
    enum sr_accel_choice choice = run->options->accel;
    if (choice == SR_ACCEL_CHOICE_AUTO)
        choice = run->config.accel;
    bool required = run->options->policy->require_kvm;
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
    enum sr_kvm_state state = sr_kvm_state(run->config.qemu);
    if (required && (state == SR_KVM_ABSENT || state == SR_KVM_BROKEN))
        return sr_fail(err, SR_RUN_002, "require.accel", "the policy requires KVM, and %s",
                       state == SR_KVM_ABSENT ? "/dev/kvm cannot be opened here"
                                              : "no guest came up under KVM on this host");
    if (required || choice == SR_ACCEL_CHOICE_KVM) {
        if (state == SR_KVM_ABSENT)
            return sr_fail_vm(
                err, SR_RUN_002, "launch.vm",
                "/dev/kvm cannot be opened: %s; --accel auto uses it only where it works",
                strerror(errno));
        return 0;
    }
    switch (state) {
    case SR_KVM_WORKS:
        *reason = "KVM has worked on this host";
        *fallback = true;
        break;
    case SR_KVM_UNKNOWN:
        *reason = "KVM is tried for the first time on this boot of the host";
        *fallback = true;
        break;
    case SR_KVM_BROKEN:
        *accel = VMM_ACCEL_TCG;
        *reason = "no guest came up under KVM on this host";
        break;
    case SR_KVM_ABSENT:
        *accel = VMM_ACCEL_TCG;
        *reason = "/dev/kvm cannot be opened";
        break;
    }
    return 0;
}

int run_prepare_jail(struct run *run, struct sr_error *err)
{
    const struct sr_host_config *config = &run->config;
    if (!config->jail)
        return 0;
    sr_cleanup_fd int cache = sr_cache_open();
    if (sr_jail_files_find(config->qemu, true, cache, &run->jail_files, err) < 0)
        return -1;
    run->jail = (struct sr_jail_plan){
        .files = &run->jail_files,
        .new_user = !sr_jail_has_uids(config->uids.first, config->uids.last),
        .uid = geteuid(),
        .gid = getegid(),
        .cgroup_fd = run->cgroup.v2_fd,
    };
    if (run->jail.new_user)
        return 0;
    run->uid_fd = sr_jail_take_uid(config->uids.first, config->uids.last, &run->jail.uid, err);
    run->jail.gid = run->jail.uid;
    return run->uid_fd < 0 ? -1 : 0;
}

/* The run's files must be opened by now. */
static int start_vmm(struct run *run, struct sr_error *err)
{
    run->jail.device = run->accel == VMM_ACCEL_KVM ? "/dev/kvm" : NULL;
    struct vmm_spec spec = {
        .cgroup = &run->cgroup,
        .jail = run->config.jail ? &run->jail : NULL,
        .program = run->config.qemu,
        .accel = run->accel,
        .vcpu_count = run->bundle.vcpu_count,
        .mem_size_mib = run->bundle.mem_size_mib,
        .data_max = run_vmm_data_max(run),
        .tsc_khz = run->accel == VMM_ACCEL_TCG ? sr_tsc_khz(&run->tsc_start) : 0,
        .kernel = run->kernel.path,
        .initrd = run->initrd.path,
        .kernel_fd = run->kernel.fd,
        .initrd_fd = run->initrd.fd,
        .rootfs_fd = run->rootfs.fd,
        .network = run->net != NULL ? SR_NET_BOOT_ARGUMENT : NULL,
        .mtu = run->net != NULL ? run->net->mtu : 0,
        .tap_fd = run->net != NULL ? run->net->tap_fd : -1,
        .input_count = run->disk_count,
    };
    memcpy(spec.input_fds, run->disks, sizeof spec.input_fds);
    if (run->driver->start(&spec, &run->vmm, err) < 0)
        return -1;
    sr_channel_init(&run->channel);
    run->channel_fd = sr_take_fd(&run->vmm.channel_fd);
    run->console.in_fd = sr_take_fd(&run->vmm.console_fd);
    run->vmm_log.in_fd = sr_take_fd(&run->vmm.log_fd);
    run->console.last[0] = run->vmm_log.last[0] = '\0';
    return 0;
}

static json_t *started_facts(const struct run *run)
{
    struct vmm_description vmm;
    run->driver->describe(&run->vmm, &vmm);
    struct facts facts = facts_new();
    fact_integer(&facts, "pid", run->vmm.pid);
    fact_text(&facts, "launcher", run->driver->name);
    fact_text(&facts, "accel", vmm_accel_name(run->accel));
    for (size_t i = 0; vmm.argv[i] != NULL; i++)
        fact_add_text(&facts, "argv", vmm.argv[i]);
    fact_text(&facts, "kernelHash", run->kernel.hash);
    fact_text(&facts, "initrdHash", run->initrd.hash);
    fact_text(&facts, "rootfsHash", run->rootfs.hash);
    return facts_end(&facts);
}

/* What the guest of the VM before this one said is a part of the reason. */
static json_t *selected_facts(const struct run *run, const char *reason)
{
    struct facts facts = facts_new();
    fact_text(&facts, "accel", vmm_accel_name(run->accel));
    fact_text(&facts, "reason", reason);
    run_word_record(&run->word, &facts);
    return facts_end(&facts);
}

int run_launch(struct run *run, enum vmm_accel accel, const char *reason, bool last,
               struct sr_error *err)
{
    run->accel = accel;
    if (run_event(run, SR_STAGE_LAUNCH, SR_EVENT_VM_ACCEL_SELECTED, selected_facts(run, reason),
                  err) < 0 ||
        record_barrier(run->record, err) < 0)
        return -1;
    run->word = (struct run_word){0};
    run_progress(run, "starting the VM under %s: %s", vmm_accel_name(accel), reason);
    if (SR_FAILPOINT("launch.before"))
        return sr_fail_vm(err, SR_RUN_002, "launch.vm", "told to fail");
    if (start_vmm(run, err) < 0)
        return -1;
    if (SR_FAILPOINT("launch.after"))
        return sr_fail_vm(err, SR_RUN_002, "launch.vm", "told to fail");
    uint64_t now = sr_now();
    if (run->times.launched == 0) {
        run->times.launched = now;
        run->timeout_deadline = now + run->timeout_sec * SR_NSEC_PER_SEC;
    }
    run->times.ended = run->times.collected = run->times.gone =
        0; /* of the first VM, if there was one */
    bool probing = accel == VMM_ACCEL_KVM && sr_kvm_state(run->config.qemu) == SR_KVM_UNKNOWN;
    run->boot_deadline =
        now + (probing && !last ? PROBE_NSEC : run->config.boot_timeout_sec * SR_NSEC_PER_SEC);
    run->boot_cpus = probing ? sr_cpu_times() : (struct sr_cpu_times){0};
    run->silent = false;
    run->phase = PHASE_BOOT;
    if (run_event(run, SR_STAGE_LAUNCH, SR_EVENT_VM_STARTED, started_facts(run), err) < 0 ||
        record_barrier(run->record, err) < 0)
        return -1;
    run_monitor_watch_vm(run);
    return 0;
}

void run_note_silence(struct run *run)
{
    uint64_t cpu, memory;
    const struct sr_cpu_times now = run->boot_cpus.known ? sr_cpu_times() : run->boot_cpus;
    run->silent = !vmm_is_stopped(&run->vmm) && vmm_usage(&run->vmm, &cpu, &memory) == 0 &&
                  sr_cpu_was_free(&run->boot_cpus, &now, cpu);
}

bool run_blames_kvm(const struct run *run)
{
    char log[16384]; /* what a VMM says of KVM, it says before anything else */
    if (run->silent)
        return true;
    if (!run->ended_vm && vmm_killed_by(&run->vmm) != 0)
        return false;
    ssize_t len = sr_read_small_file(record_directory(run->record), "vmm.log", log, sizeof log);
    return len > 0 && run->driver->blames_kvm(log, (size_t)len);
}

void run_drop_vm(struct run *run)
{
    vmm_drop(&run->vmm);
    sr_close_fd(&run->channel_fd);
    sr_close_fd(&run->console.in_fd);
    sr_close_fd(&run->vmm_log.in_fd);
    sr_channel_free(&run->channel);
}

/* The counters of the run's cgroup, and its removal. */
static int keep_cgroup(const struct sr_cgroup *cgroup, struct sr_jail_self *self)
{
    for (size_t i = 0; i < cgroup->tree_count; i++) {
        const struct sr_cgroup_tree *tree = &cgroup->trees[i];
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

int run_confine(struct run *run, struct sr_error *err)
{
    struct sr_jail_self self = {
        .write = {record_directory(run->record), record_register(run->record)},
        .write_count = 2,
        .tree = run_outputs_directory(run),
    };
    const char *step = "directories";
    if (run->confined || !run->options->confine)
        return 0;
    int result = keep_cgroup(&run->cgroup, &self);
    if (result == 0)
        result = sr_jail_confine_self(&self, &step);
    int failure = errno;
    for (size_t i = 0; i < self.remove_count; i++)
        close(self.remove[i]);
    for (size_t i = 0; i < self.read_count; i++)
        close(self.read[i]);
    if (result < 0)
        return sr_fail(err, SR_RUN_002, "launch.confine",
                       "safe-run cannot give up its privileges (%s): %s", step, strerror(failure));
    run->confined = true;
    return 0;
}

int run_send_spec(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    sr_cleanup_buf struct sr_buf spec = {.wipe = true};
    unsigned char entropy[64];
    if (getrandom(entropy, sizeof entropy, 0) != sizeof entropy)
        return sr_fail(err, SR_RUN_001, "launch.entropy", "the kernel gives no random bytes");
    sr_spec_text(&spec, SR_SPEC_COMMAND, policy->command);
    for (size_t i = 0; i < policy->arg_count; i++)
        sr_spec_text(&spec, SR_SPEC_ARG, policy->args[i]);
    for (const char *const *more = run->options->more_args; more != NULL && *more != NULL; more++)
        sr_spec_text(&spec, SR_SPEC_ARG, *more);
    const struct sr_image_config *config = &run->image.stored.config;
    bool has_path = false;
    for (size_t i = 0; i < config->env_count; i++)
        if (sr_policy_lets_env(policy, config->env[i])) {
            sr_spec_text(&spec, SR_SPEC_ENV, config->env[i]);
            has_path = has_path || strncmp(config->env[i], "PATH=", 5) == 0;
        }
    for (size_t i = 0; i < policy->env_count; i++) {
        sr_cleanup_buf struct sr_buf pair = SR_BUF_INIT;
        sr_buf_printf(&pair, "%s=%s", policy->env[i].key, policy->env[i].value);
        sr_spec_bytes(&spec, SR_SPEC_ENV, pair.data, pair.len);
        has_path = has_path || strcmp(policy->env[i].key, "PATH") == 0;
    }
    run_secrets_specify(run, &spec);
    for (size_t i = 0; i < policy->secret_count; i++)
        has_path = has_path || strcmp(policy->secrets[i].name, "PATH") == 0;
    if (!has_path)
        sr_spec_text(&spec, SR_SPEC_ENV,
                     "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    sr_spec_text(&spec, SR_SPEC_WORKDIR, run->image.effective.workdir);
    const uint32_t user[2] = {run->image.effective.uid, run->image.effective.gid};
    sr_spec_bytes(&spec, SR_SPEC_USER, user, sizeof user);
    sr_spec_bytes(&spec, SR_SPEC_PIDS, &policy->pids_max, sizeof policy->pids_max);
    sr_spec_bytes(&spec, SR_SPEC_DISK, &policy->disk_bytes, sizeof policy->disk_bytes);
    sr_spec_bytes(&spec, SR_SPEC_ENTROPY, entropy, sizeof entropy);
    sr_spec_text(&spec, SR_SPEC_HOSTNAME, "safe-run");
    if (run->net != NULL)
        sr_spec_text(&spec, SR_SPEC_HOSTS, run->net->hosts);
    if (run->options->with_stdin)
        sr_spec_bytes(&spec, SR_SPEC_STDIN, "", 0);
    if (policy->stdin_path != NULL)
        sr_spec_text(&spec, SR_SPEC_STDIN_FILE, policy->stdin_path);
    run_mounts_specify(run, &spec);
    for (size_t i = 0; i < policy->output_count; i++)
        sr_spec_text(&spec, SR_SPEC_OUTPUT, policy->outputs[i].path);
    const uint64_t clock = sr_clock_nsec(CLOCK_REALTIME);
    sr_spec_bytes(&spec, SR_SPEC_CLOCK, &clock, sizeof clock);
    if (!sr_buf_ok(&spec))
        return sr_fail(err, SR_RUN_001, "launch", "out of memory");
    if (spec.len > SR_SPEC_MAX)
        return sr_fail(err, SR_RUN_001, "prepare.runtime",
                       "command, arguments and environment are %zu bytes; %u are "
                       "the most that fits",
                       spec.len, SR_SPEC_MAX);
    sr_channel_send_start(&run->channel, spec.data, spec.len, (uint32_t)policy->output_count);
    run_secrets_drop(run);
    return 0;
}
