/*
 * The end of a run: gathers the facts that decide.c judges, says in words what the verdict rests
 * on, and writes the closing events and the report.
 */
#include "runner/run_state.h"

#include "common/failpoint.h"
#include "common/jcs.h"
#include "evidence/attest.h"
#include "evidence/contradiction.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* What there is to say of, when the VM is gone. */
struct ending {
    struct machine_outcome vm;
    struct machine_times times;
    struct cgroup_usage usage;
    struct session_outcome command;
};

/* The VM ended, and nobody asked it to. */
static void explain_lost_vm(const struct ending *end, struct sr_error *err)
{
    const struct vmm_exit *how = &end->vm.how;
    if (!how->known)
        sr_fail_vm(err, SR_RUN_001, "monitor.vm",
                   "the VMM ended, and how is not known: it cannot be waited for");
    else if (WIFSIGNALED(how->status))
        sr_fail_vm(err, SR_RUN_001, "monitor.vm", "the VMM was killed by signal %d",
                   WTERMSIG(how->status));
    else if (how->status != 0)
        sr_fail_vm(err, SR_RUN_001, "monitor.vm", "the VMM ended with status %d: %s",
                   WEXITSTATUS(how->status), end->vm.log_end);
    else
        sr_fail_vm(err, SR_RUN_001, "run.exitCode",
                   "the guest ended without an exit status of the command (QEMU: %s)",
                   end->vm.told.stopped[0] != '\0' ? end->vm.told.stopped : "no reason given");
}

static void forget_failure(struct run *run)
{
    run->error = (struct sr_error){0};
    run->word = (struct machine_word){0};
}

/* The guest did not start the command, and says why. */
static void explain_refusal(struct run *run, const struct session_outcome *command)
{
    bool mount = command->refused == CHANNEL_REFUSED_MOUNT;
    const char *path = mount                                       ? "mount.apply"
                       : command->refused == CHANNEL_REFUSED_SETUP ? "prepare.guest"
                                                                   : "runtime.command";
    run->word = command->refusal;
    run->word.decides = true;
    run->word.outcome = "refused";
    run->word.status = command->refused;
    sr_fail(&run->error, mount ? SR_RUN_101 : SR_RUN_001, path, "%s",
            evidence_refusal_sentence(path));
    if (command->refused == CHANNEL_REFUSED_NOT_FOUND &&
        strchr(run->options->policy->command, ' ') != NULL)
        snprintf(run->error.hint, sizeof run->error.hint,
                 "runtime.command is the program alone; its arguments belong in runtime.args");
}

/* Fills error and word with what the verdict's reason says. */
static void explain(struct run *run, const struct ending *end)
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
                run->signals.ended_by);
        break;
    case RUN_REASON_REFUSED:
        explain_refusal(run, &end->command);
        break;
    case RUN_REASON_LOST_VM:
        explain_lost_vm(end, &run->error);
        break;
    case RUN_REASON_OUTPUT:
        run->error = *end->command.lost;
        run->word = end->command.lost_word;
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
static struct run_facts gather(const struct run *run, const struct ending *end)
{
    const struct session_outcome *command = &end->command;
    return (struct run_facts){
        .failed = run->error.code != SR_OK,
        .fault = run->error.fault,
        .launched = end->times.launched != 0,
        .host_oom = end->usage.oom_kills > 0,
        .vmm_killed = WIFSIGNALED(end->vm.how.status),
        .forced = machine_was_forced(run->machine) && end->vm.ended_by_us,
        .timed_out = command->timed_out,
        .ended_by_signal = run->signals.ended_by,
        .interrupted = run->signals.interrupts > 0,
        .refused = command->refused,
        .exited = command->exited,
        .exit_code = command->exit.exit_code,
        .exit_signal = command->exit.signal,
        .guest_oom = command->exit.oom_kills > 0,
        .outputs = command->lost == NULL        ? RUN_OUTPUTS_THERE
                   : command->lost_word.decides ? RUN_OUTPUT_LOST_BY_GUEST
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
static json_t *log_facts(const struct machine_log *log)
{
    struct facts facts = facts_new();
    fact_count(&facts, "bytes", log->bytes);
    fact_count(&facts, "logged", log->logged);
    fact_flag(&facts, "truncated", log->logged < log->bytes);
    return facts_end(&facts);
}

static const char *observer(bool guest)
{
    return guest ? EVIDENCE_OBSERVED_GUEST : EVIDENCE_OBSERVED_HOST;
}

static json_t *guest_facts(const struct channel_frame_exit *said)
{
    struct facts facts = facts_new();
    fact_text(&facts, EVIDENCE_OBSERVED_BY, EVIDENCE_OBSERVED_GUEST);
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
    struct evidence_exit_facts facts;
    struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX];
    if (payload->object == NULL)
        return;
    sr_jcs_value(&text, payload->object);
    fact_take(payload, "contradictions", sr_buf_ok(&text) ? json_array() : NULL);
    if (!sr_buf_ok(&text))
        return;
    evidence_exit_facts_read((struct sr_json_slice){text.data, text.len}, &facts);
    size_t count = evidence_contradictions(&facts, found);
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
static json_t *vmm_facts(const struct machine_outcome *vm)
{
    const struct vmm_exit *how = &vm->how;
    bool killed = WIFSIGNALED(how->status);
    struct facts facts = facts_new();
    fact_text(&facts, "endedBy", vm->ended_by_us ? "safe-run" : "itself");
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
static json_t *duration_facts(const struct ending *end)
{
    const struct machine_times *vm = &end->times;
    /* What init says when its VM is ending already does not make that longer. */
    uint64_t ended = vm->ended, began;
    if (end->command.ended != 0 && end->command.ended < ended)
        ended = end->command.ended;
    began = ended;
    if (end->command.started != 0 && end->command.started < ended)
        began = end->command.started;
    struct facts facts = facts_new();
    fact_count(&facts, "bootUsec", usec(began - vm->launched));
    fact_count(&facts, "commandUsec", usec(ended - began));
    fact_count(&facts, "collectUsec", usec(vm->ended - ended));
    fact_count(&facts, "endUsec", usec(vm->gone - vm->ended));
    fact_count(&facts, "wallUsec", usec(vm->gone - vm->launched));
    return facts_end(&facts);
}

/* What they may take: boot and command together timeoutSec and the grace. */
static json_t *limit_facts(const struct run *run, const struct session_outcome *command)
{
    struct facts facts = facts_new();
    fact_count(&facts, "timeoutSec", run->timeout_sec);
    fact_count(&facts, "graceUsec", usec(command->grace_nsec));
    fact_count(&facts, "collectUsec", usec(command->collect_nsec));
    fact_count(&facts, "endUsec", usec(MACHINE_END_NSEC));
    return facts_end(&facts);
}

/* What the host saw of the VM's end, and apart from it what the guest said of the command's. */
static json_t *exit_facts(const struct run *run, const struct ending *end)
{
    const struct session_outcome *command = &end->command;
    const struct vmm_exit *how = &end->vm.how;
    const char *stopped = end->vm.told.stopped;
    struct facts facts = facts_new();
    fact_integer(&facts, "exitCode", run->result->exit_code);
    fact_text(&facts, EVIDENCE_EXIT_OBSERVED_BY, observer(run->verdict.status_by_guest));
    fact_flag(&facts, "timedOut", command->timed_out);
    fact_count(&facts, "sampleCount", run->samples.count);
    if (how->known)
        fact_count(&facts, "vmmCpuUsec", how->cpu_usec);
    else
        fact_null(&facts, "vmmCpuUsec");
    if (end->usage.helpers_counted)
        fact_count(&facts, "helperCpuUsec", end->usage.helper_cpu_usec);
    fact_text_or_null(&facts, "stopReason", stopped[0] != '\0' ? stopped : NULL);
    fact_take(&facts, "stdout", log_facts(&command->out));
    fact_take(&facts, "stderr", log_facts(&command->err));
    fact_take(&facts, "console", log_facts(&end->vm.console));
    fact_take(&facts, "vmmLog", log_facts(&end->vm.vmm_log));
    fact_count(&facts, "wallUsec", usec(end->times.gone - end->times.launched));
    fact_count(&facts, "vcpus", run->bundle.vcpu_count);
    fact_count(&facts, "guestRamBytes", (uint64_t)run->bundle.mem_size_mib << 20);
    fact_count(&facts, "hostOomKills", end->usage.oom_kills);
    fact_take(&facts, "vmm", vmm_facts(&end->vm));
    fact_count(&facts, "eventsOmitted", run->samples.omitted);
    fact_take(&facts, "durations", duration_facts(end));
    fact_take(&facts, "limits", limit_facts(run, command));
    if (command->exited)
        fact_take(&facts, "guest", guest_facts(&command->exit));
    add_contradictions(&facts);
    return facts_end(&facts);
}

/* Closes the network before vm.exited is written, which says how the run ended. */
static int close_network(struct run *run, struct sr_error *err)
{
    if (run_network_settle(run, err) < 0)
        return -1;
    struct sr_error failure = run->network.failure;
    bool lost = run->network.net != NULL && run->network.net->lost &&
                net_lost(run->network.net, &failure) < 0;
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
    run->facts.release_failed = run->network.failure.code == SR_RUN_202;
    judge_failure(run, &run->network.failure);
    return 0;
}

/* Who saw the failure, whose word the reason is, and the host's own sentence, beside the guest's
 * words if there are any. */
static json_t *failure_facts(const struct run *run)
{
    const struct sr_error *failure = &run->error;
    struct facts facts = facts_new();
    fact_text(&facts, "reason", sr_cause_name(run->result->cause));
    fact_text(&facts, EVIDENCE_REASON_OBSERVED_BY, observer(run->verdict.cause_by_guest));
    fact_text(&facts, "errorCode", sr_code_name(failure->code));
    fact_text(&facts, "path", failure->path);
    fact_text(&facts, "message", failure->message);
    fact_text(&facts, EVIDENCE_MESSAGE_OBSERVED_BY, EVIDENCE_OBSERVED_HOST);
    fact_text(&facts, EVIDENCE_OBSERVED_BY, observer(run->word.decides));
    machine_word_record(&run->word, &facts);
    return facts_end(&facts);
}

static json_t *cleaned_facts(struct run *run)
{
    struct facts facts = facts_new();
    fact_text(&facts, "cgroup", machine_release(run->machine));
    if (run->network.net != NULL)
        fact_text(&facts, "network", run->network.left ? "left for safe-run gc" : "ended");
    return facts_end(&facts);
}

static int write_closing_events(struct run *run, const struct ending *end, struct sr_error *err)
{
    if (close_network(run, err) < 0)
        return -1;
    if (session_record(run->session, err) < 0)
        return -1;
    if (end->times.launched != 0 && record_event(run->record, EVIDENCE_STAGE_MONITOR,
                                                 SR_EVENT_VM_EXITED, exit_facts(run, end), err) < 0)
        return -1;
    if (end_network(run, err) < 0)
        return -1;
    if (record_event(run->record, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_CLEANED, cleaned_facts(run),
                     err) < 0)
        return -1;
    if (run->error.code != SR_OK && record_event(run->record, EVIDENCE_STAGE_CLEANUP,
                                                 SR_EVENT_RUN_FAILED, failure_facts(run), err) < 0)
        return -1;
    return record_barrier(run->record, err);
}

static int write_report(struct run *run, const struct ending *end, struct sr_error *err)
{
    const struct channel_frame_exit *exit = end->command.exited ? &end->command.exit : NULL;
    const struct sr_policy *policy = run->options->policy;
    const struct sr_run_result *result = run->result;
    struct machine_limits_text limits;
    machine_limits_text(run->machine, &limits);
    char uplink[RUNNER_UPLINK_TEXT_MAX];
    const struct evidence_report_facts facts = {
        .exit_code = result->exit_code,
        .kernel_hash = end->vm.kernel_hash,
        .rootfs_hash = run->image.rootfs.hash,
        .policy_hash = run->policy_hash,
        .command_hash = run->command_hash,
        .network_mode = policy->network_mode,
        .mount_count = policy->mount_count,
        .policy_name = policy->name,
        .rules_total = policy->egress_count,
        .cause = sr_cause_name(result->cause),
        .code = exit != NULL && exit->signal == 0 ? (int)exit->exit_code : -1,
        .signal = exit != NULL ? (int)exit->signal : 0,
        .guest_spoke = exit != NULL,
        .cause_by_guest = run->verdict.cause_by_guest,
        .status_by_guest = run->verdict.status_by_guest,
        .vmm = end->vm.vmm,
        .vmm_version = end->vm.told.version,
        .accel = end->vm.accel,
        .jail = end->vm.jail,
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
    sr_tell(&run->tell, "report signed by key %s", record_key_id(run->record));
}

/* Without evidence of it. */
static void leave_host(struct run *run)
{
    struct sr_error ignored;
    if (run->network.net != NULL)
        (void)!net_end(run->network.net, &ignored);
    machine_release(run->machine);
}

/* Said whatever the command made of it: its own end may tell nobody why a part of it is missing. */
static void warn_of_memory(const struct run *run, const struct session_outcome *command)
{
    uint64_t kills = command->exited ? command->exit.oom_kills : 0;
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
    struct ending end;
    struct sr_error err = {0};
    machine_conclude(run->machine, &end.vm);
    session_conclude(run->session);
    end.times = machine_times(run->machine);
    end.usage = machine_last_usage(run->machine);
    session_outcome(run->session, &end.command);
    run->facts = gather(run, &end);
    judge(run);
    explain(run, &end);
    run->result->error = machine_word_error(&run->word, &run->error);
    warn_of_memory(run, &end.command);
    if (!record_has_begun(run->record)) {
        leave_host(run);
        forget_directory(run);
        return;
    }
    record_spend(run->record);
    if (SR_FAILPOINT("conclude.before"))
        sr_fail(&err, SR_EVD_002, "report", "told to fail");
    if (err.code != SR_OK || write_closing_events(run, &end, &err) < 0 ||
        write_report(run, &end, &err) < 0) {
        leave_host(run);
        fail_evidence(run, &err);
        return;
    }
    run->result->report_written = true;
    sign_report(run);
    if (!machine_left_something(run->machine) && !run->network.left)
        record_close(run->record);
}
