/*
 * The end of a run: gathers the facts that decide.c judges, says in words what the verdict rests
 * on, and writes the closing events and the report.
 */
#include "runner/run_state.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/jcs.h"
#include "evidence/attest.h"
#include "evidence/contradiction.h"
#include "runs/runs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* The VM ended, and nobody asked it to. */
static void explain_lost_vm(struct run *run, const struct vmm_exit *how, struct sr_error *err)
{
    if (!how->known)
        sr_fail_vm(err, SR_RUN_001, "monitor.vm",
                   "the VMM ended, and how is not known: it cannot be waited for");
    else if (WIFSIGNALED(how->status))
        sr_fail_vm(err, SR_RUN_001, "monitor.vm", "the VMM was killed by signal %d",
                   WTERMSIG(how->status));
    else if (how->status != 0)
        sr_fail_vm(err, SR_RUN_001, "monitor.vm", "the VMM ended with status %d: %s",
                   WEXITSTATUS(how->status), run->vmm_log.last);
    else
        sr_fail_vm(err, SR_RUN_001, "run.exitCode",
                   "the guest ended without an exit status of the command (QEMU: %s)",
                   run->told.stopped[0] != '\0' ? run->told.stopped : "no reason given");
}

static void forget_failure(struct run *run)
{
    run->error = (struct sr_error){0};
    run->word = (struct run_word){0};
}

/* The guest did not start the command, and says why. */
static void explain_refusal(struct run *run)
{
    bool mount = run->refused_status == SR_REFUSED_MOUNT;
    const char *path = mount                                     ? "mount.apply"
                       : run->refused_status == SR_REFUSED_SETUP ? "prepare.guest"
                                                                 : "runtime.command";
    run->word = run->refusal;
    run->word.decides = true;
    run->word.outcome = "refused";
    run->word.status = run->refused_status;
    sr_fail(&run->error, mount ? SR_RUN_101 : SR_RUN_001, path, "%s", sr_refusal_sentence(path));
    if (run->refused_status == SR_REFUSED_NOT_FOUND &&
        strchr(run->options->policy->command, ' ') != NULL)
        snprintf(run->error.hint, sizeof run->error.hint,
                 "runtime.command is the program alone; its arguments belong in runtime.args");
}

/* Fills error and word with what the verdict's reason says. */
static void explain(struct run *run, const struct vmm_exit *how)
{
    switch (run->verdict.reason) {
    case RUN_REASON_HOST_OOM:
        forget_failure(run);
        sr_fail_vm(&run->error, SR_RUN_001, "monitor.vm",
                   "the VMM took more memory than its cgroup allows and was killed by the host");
        break;
    case RUN_REASON_TIMEOUT:
        sr_fail(&run->error, SR_RUN_003, "monitor.timeout", "timed out after %u s",
                run->timeout_sec);
        break;
    case RUN_REASON_SIGNAL:
        forget_failure(run);
        sr_fail(&run->error, SR_RUN_001, "monitor.interrupted", "ended by signal %d to safe-run",
                run->ended_by_signal);
        break;
    case RUN_REASON_REFUSED:
        explain_refusal(run);
        break;
    case RUN_REASON_LOST_VM:
        explain_lost_vm(run, how, &run->error);
        break;
    case RUN_REASON_OUTPUT:
        run->error = *run_outputs_failure(run, &run->word);
        break;
    case RUN_REASON_NONE:
    case RUN_REASON_FAILURE: /* error says it already */
    case RUN_REASON_NETWORK: /* judge_failure() takes the errors of these three */
    case RUN_REASON_RELEASE:
    case RUN_REASON_EVIDENCE:
        break;
    }
}

/* What is known when the VM is gone. */
static struct run_facts gather(const struct run *run, const struct vmm_exit *how)
{
    struct run_word word = {0};
    const struct sr_error *lost = run_outputs_failure(run, &word);
    return (struct run_facts){
        .failed = run->error.code != SR_OK,
        .fault = run->error.fault,
        .launched = run->times.launched != 0,
        .host_oom = run->last_usage.oom_kills > 0,
        .vmm_killed = WIFSIGNALED(how->status),
        .forced = run->forced,
        .timed_out = run->timed_out,
        .ended_by_signal = run->ended_by_signal,
        .interrupted = run->interrupts > 0,
        .refused = run->refused ? run->refused_status : 0,
        .exited = run->has_exit,
        .exit_code = run->exit.exit_code,
        .exit_signal = run->exit.signal,
        .guest_oom = run->exit.oom_kills > 0,
        .outputs = lost == NULL   ? RUN_OUTPUTS_THERE
                   : word.decides ? RUN_OUTPUT_LOST_BY_GUEST
                                  : RUN_OUTPUT_LOST,
    };
}

/* Call after every change of facts. */
static void judge(struct run *run)
{
    run->verdict = run_decide(&run->facts);
    run->result->finished = run->verdict.finished;
    run->result->cause = run->verdict.cause;
    run->result->exit_code = run->verdict.exit_code;
}

/* The same for a fact with an error of its own, which is told when it is the first. */
static void judge_failure(struct run *run, const struct sr_error *failure)
{
    judge(run);
    if (!run->verdict.finished && run->result->error.code == SR_OK)
        run->result->error = run->error = *failure;
}

/* Of a stream or a console: what came, and what of it its log has. */
static json_t *log_facts(uint64_t bytes, uint64_t logged)
{
    struct facts facts = facts_new();
    fact_count(&facts, "bytes", bytes);
    fact_count(&facts, "logged", logged);
    fact_flag(&facts, "truncated", logged < bytes);
    return facts_end(&facts);
}

static const char *observer(bool guest)
{
    return guest ? SR_OBSERVED_GUEST : SR_OBSERVED_HOST;
}

static json_t *guest_facts(const struct sr_frame_exit *said)
{
    struct facts facts = facts_new();
    fact_text(&facts, SR_OBSERVED_BY, SR_OBSERVED_GUEST);
    fact_count(&facts, "exitCode", said->exit_code);
    fact_count(&facts, "signal", said->signal);
    fact_count(&facts, "userUsec", said->user_usec);
    fact_count(&facts, "systemUsec", said->system_usec);
    fact_count(&facts, "maxRssKib", said->max_rss_kib);
    fact_count(&facts, "oomKills", said->oom_kills);
    return facts_end(&facts);
}

/* Adds what of the guest's word cannot be, by what the payload says so far that the host saw. */
static void add_contradictions(struct facts *payload)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct sr_exit_facts facts;
    struct sr_contradiction found[SR_CONTRADICTIONS_MAX];
    if (payload->object == NULL)
        return;
    sr_jcs_value(&text, payload->object);
    fact_take(payload, "contradictions", sr_buf_ok(&text) ? json_array() : NULL);
    if (!sr_buf_ok(&text))
        return;
    sr_exit_facts_read((struct sr_json_slice){text.data, text.len}, &facts);
    size_t count = sr_contradictions(&facts, found);
    for (size_t i = 0; i < count; i++) {
        struct facts one = facts_new();
        fact_text(&one, "about", found[i].about);
        fact_count(&one, found[i].names[0], found[i].values[0]);
        fact_count(&one, found[i].names[1], found[i].values[1]);
        fact_text(&one, "message", found[i].message);
        fact_add(payload, "contradictions", facts_end(&one));
    }
}

/* Nothing is said of status and signal that are not known. */
static json_t *vmm_facts(const struct run *run, const struct vmm_exit *how)
{
    bool killed = WIFSIGNALED(how->status);
    struct facts facts = facts_new();
    fact_text(&facts, "endedBy", run->ended_vm ? "safe-run" : "itself");
    if (how->known) {
        fact_integer(&facts, "status", killed ? 0 : WEXITSTATUS(how->status));
        fact_integer(&facts, "signal", killed ? WTERMSIG(how->status) : 0);
    } else {
        fact_null(&facts, "status");
        fact_null(&facts, "signal");
    }
    return facts_end(&facts);
}

static uint64_t usec(uint64_t nsec)
{
    return nsec / 1000;
}

/* How long each phase took; together they are the life of the VM, but for a microsecond each. */
static json_t *duration_facts(const struct run_times *times)
{
    uint64_t began = times->started != 0 ? times->started : times->ended;
    struct facts facts = facts_new();
    fact_count(&facts, "bootUsec", usec(began - times->launched));
    fact_count(&facts, "commandUsec", usec(times->ended - began));
    fact_count(&facts, "collectUsec", usec(times->collected - times->ended));
    fact_count(&facts, "endUsec", usec(times->gone - times->collected));
    fact_count(&facts, "wallUsec", usec(times->gone - times->launched));
    return facts_end(&facts);
}

/* What they may take: boot and command together timeoutSec and the grace. */
static json_t *limit_facts(const struct run *run)
{
    struct facts facts = facts_new();
    fact_count(&facts, "timeoutSec", run->timeout_sec);
    fact_count(&facts, "graceUsec", usec(RUN_GRACE_NSEC * (run->outputs != NULL ? 2 : 1)));
    fact_count(&facts, "collectUsec", usec(run_outputs_limit_nsec(run)));
    fact_count(&facts, "endUsec", usec(RUN_END_NSEC));
    return facts_end(&facts);
}

/* What the host saw of the VM's end, and apart from it what the guest said of the command's. */
static json_t *exit_facts(const struct run *run, const struct vmm_exit *how)
{
    const char *stopped = run->told.stopped;
    struct facts facts = facts_new();
    fact_integer(&facts, "exitCode", run->result->exit_code);
    fact_text(&facts, SR_EXIT_OBSERVED_BY, observer(run->verdict.status_by_guest));
    fact_flag(&facts, "timedOut", run->timed_out);
    fact_count(&facts, "sampleCount", run->samples);
    if (how->known)
        fact_count(&facts, "vmmCpuUsec", how->cpu_usec);
    else
        fact_null(&facts, "vmmCpuUsec");
    if (run->last_usage.helpers_counted)
        fact_count(&facts, "helperCpuUsec", run->last_usage.helper_cpu_usec);
    fact_text_or_null(&facts, "stopReason", stopped[0] != '\0' ? stopped : NULL);
    fact_take(&facts, "stdout", log_facts(run->out.bytes, run->out.logged));
    fact_take(&facts, "stderr", log_facts(run->err.bytes, run->err.logged));
    fact_take(&facts, "console", log_facts(run->console.bytes, run->console.logged));
    fact_take(&facts, "vmmLog", log_facts(run->vmm_log.bytes, run->vmm_log.logged));
    fact_count(&facts, "wallUsec", usec(run->times.gone - run->times.launched));
    fact_count(&facts, "vcpus", run->bundle.vcpu_count);
    fact_count(&facts, "guestRamBytes", (uint64_t)run->bundle.mem_size_mib << 20);
    fact_count(&facts, "hostOomKills", run->last_usage.oom_kills);
    fact_take(&facts, "vmm", vmm_facts(run, how));
    fact_count(&facts, "eventsOmitted", run->events_omitted);
    fact_take(&facts, "durations", duration_facts(&run->times));
    fact_take(&facts, "limits", limit_facts(run));
    if (run->has_exit)
        fact_take(&facts, "guest", guest_facts(&run->exit));
    add_contradictions(&facts);
    return facts_end(&facts);
}

/* Closes the network before vm.exited is written, which says how the run ended. */
static int close_network(struct run *run, struct sr_error *err)
{
    if (run_network_settle(run, err) < 0)
        return -1;
    struct sr_error failure = run->net_failure;
    bool lost = run->net != NULL && run->net->lost && sr_net_lost(run->net, &failure) < 0;
    run->facts.network_failed =
        lost || (failure.code != SR_OK && failure.code != SR_RUN_202); /* that is for the end */
    judge_failure(run, &failure);
    return 0;
}

/* vm.exited is written by now. That the network could not be released is a failure of its own. */
static int end_network(struct run *run, struct sr_error *err)
{
    if (run_network_end(run, err) < 0)
        return -1;
    run->facts.release_failed = run->net_failure.code == SR_RUN_202;
    judge_failure(run, &run->net_failure);
    return 0;
}

/* Who saw the failure, whose word the reason is, and the host's own sentence, beside the guest's
 * words if there are any. */
static json_t *failure_facts(const struct run *run)
{
    const struct sr_error *failure = &run->error;
    struct facts facts = facts_new();
    fact_text(&facts, "reason", sr_cause_name(run->result->cause));
    fact_text(&facts, SR_REASON_OBSERVED_BY, observer(run->verdict.cause_by_guest));
    fact_text(&facts, "errorCode", sr_code_name(failure->code));
    fact_text(&facts, "path", failure->path);
    fact_text(&facts, "message", failure->message);
    fact_text(&facts, SR_MESSAGE_OBSERVED_BY, SR_OBSERVED_HOST);
    fact_text(&facts, SR_OBSERVED_BY, observer(run->word.decides));
    run_word_record(&run->word, &facts);
    return facts_end(&facts);
}

static json_t *cleaned_facts(struct run *run)
{
    struct facts facts = facts_new();
    fact_text(&facts, "cgroup", run_release_limits(run));
    if (run->net != NULL)
        fact_text(&facts, "network", run->net_left ? "left for safe-run gc" : "ended");
    return facts_end(&facts);
}

static int write_closing_events(struct run *run, const struct vmm_exit *how, struct sr_error *err)
{
    if (close_network(run, err) < 0)
        return -1;
    if (run_outputs_record(run, err) < 0)
        return -1;
    if (run->times.launched != 0 &&
        run_event(run, SR_STAGE_MONITOR, SR_EVENT_VM_EXITED, exit_facts(run, how), err) < 0)
        return -1;
    if (end_network(run, err) < 0)
        return -1;
    if (run_event(run, SR_STAGE_CLEANUP, SR_EVENT_RUN_CLEANED, cleaned_facts(run), err) < 0)
        return -1;
    if (run->error.code != SR_OK &&
        run_event(run, SR_STAGE_CLEANUP, SR_EVENT_RUN_FAILED, failure_facts(run), err) < 0)
        return -1;
    return record_barrier(run->record, err);
}

/* What ran the guest: QEMU's own answer where it gave one, else what it was told. */
static const char *accel_in_fact(const struct run *run)
{
    if (run->times.launched == 0)
        return "none";
    return run->told.kvm < 0 ? vmm_accel_name(run->accel) : run->told.kvm > 0 ? "kvm" : "tcg";
}

static int write_report(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    const struct sr_run_result *result = run->result;
    struct run_limits_text limits;
    run_limits_text(run, &limits);
    char uplink[SR_UPLINK_TEXT_MAX];
    const struct sr_report_facts facts = {
        .exit_code = result->exit_code,
        .kernel_hash = run->kernel.hash,
        .rootfs_hash = run->rootfs.hash,
        .policy_hash = run->policy_hash,
        .command_hash = run->command_hash,
        .network_mode = policy->network_mode,
        .mount_count = policy->mount_count,
        .policy_name = policy->name,
        .rules_total = policy->egress_count,
        .cause = sr_cause_name(result->cause),
        .code = run->has_exit && run->exit.signal == 0 ? (int)run->exit.exit_code : -1,
        .signal = run->has_exit ? (int)run->exit.signal : 0,
        .guest_spoke = run->has_exit,
        .cause_by_guest = run->verdict.cause_by_guest,
        .status_by_guest = run->verdict.status_by_guest,
        .vmm = run->times.launched != 0 ? run->driver->name : "none",
        .vmm_version = run->told.version,
        .accel = accel_in_fact(run),
        .jail = run->times.launched == 0 || !run->config.jail ? "none"
                : run->jail.new_user ? "namespaces (user), seccomp, landlock"
                                     : "namespaces, uid, seccomp, landlock",
        .uplink = run_uplink(run, uplink),
        .limit_cpu = limits.cpu,
        .limit_memory = limits.memory,
        .limit_pids = limits.pids,
        .limit_disk = "guest (tmpfs size)",
    };
    return record_seal(run->record, &facts, err);
}

/* Preparation failed before there was a place for evidence. */
static void forget_directory(struct run *run)
{
    if (run->record == NULL)
        return;
    record_abandon(run->record);
    if (record_id(run->record)[0] == '\0')
        run->result->run_id[0] = run->result->run_dir[0] = '\0';
}

static void fail_evidence(struct run *run, const struct sr_error *failure)
{
    run->facts.evidence_failed = true;
    judge_failure(run, failure);
}

static void sign_report(struct run *run)
{
    struct sr_error err;
    int result = record_sign(run->record, &err);
    if (result < 0)
        fail_evidence(run, &err);
    if (result <= 0)
        return;
    run->result->report_signed = true;
    run_progress(run, "report signed by key %s", record_key_id(run->record));
}

/* Without evidence of it. */
static void leave_host(struct run *run)
{
    struct sr_error ignored;
    if (run->net != NULL)
        (void)!sr_net_end(run->net, &ignored);
    run_release_limits(run);
}

/* Said whatever the command made of it: its own end may tell nobody why a part of it is missing. */
static void warn_of_memory(const struct run *run)
{
    uint64_t kills = run->has_exit ? run->exit.oom_kills : 0;
    char text[200];
    if (kills == 0 || run->options->warn == NULL)
        return;
    snprintf(text, sizeof text,
             "the guest ran out of memory: it says that its kernel killed %llu process%s; "
             "resources.memory.max is %s",
             (unsigned long long)kills, kills == 1 ? "" : "es", run->options->policy->memory_max);
    run->options->warn(run->options->progress_context, text);
}

void run_conclude(struct run *run)
{
    struct vmm_exit how = {0};
    struct sr_error err = {0};
    run->ended_vm = run->ended_vm || !run->vm_gone;
    vmm_kill(&run->vmm);
    vmm_reap(&run->vmm, &how);
    if (run->vmm.driver != NULL)
        run->driver->describe(&run->vmm, &run->told);
    run_monitor_end(run);
    run_outputs_conclude(run);
    run_note_usage(run);
    run->facts = gather(run, &how);
    judge(run);
    explain(run, &how);
    run->result->error = run_word_error(&run->word, &run->error);
    warn_of_memory(run);
    run_drop_vm(run);
    if (run->record == NULL || !record_has_begun(run->record)) {
        leave_host(run);
        forget_directory(run);
        return;
    }
    record_spend(run->record);
    if (SR_FAILPOINT("conclude.before"))
        sr_fail(&err, SR_EVD_002, "report", "told to fail");
    if (err.code != SR_OK || write_closing_events(run, &how, &err) < 0 ||
        write_report(run, &err) < 0) {
        leave_host(run);
        fail_evidence(run, &err);
        return;
    }
    run->result->report_written = true;
    sign_report(run);
    if (!run->cgroup_left && !run->net_left)
        record_close(run->record);
}
