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
#include "runner/runs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* The VM ended, and nobody asked it to. */
static void explain_lost_vm(struct run *run, const struct sr_vmm_exit *how, struct sr_error *err)
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
                   run->vmm.qmp.stopped[0] != '\0' ? run->vmm.qmp.stopped : "no reason given");
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
static void explain(struct run *run, const struct sr_vmm_exit *how)
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
static struct run_facts gather(const struct run *run, const struct sr_vmm_exit *how)
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

static json_t *stream_facts(const struct sr_sink *sink)
{
    return json_pack("{s:I,s:I,s:b}", "bytes", (json_int_t)sink->bytes, "logged",
                     (json_int_t)sink->logged, "truncated", sink->logged < sink->bytes);
}

static json_t *tail_facts(const struct run_tail *tail)
{
    return json_pack("{s:I,s:I,s:b}", "bytes", (json_int_t)tail->bytes, "logged",
                     (json_int_t)tail->logged, "truncated", tail->logged < tail->bytes);
}

static const char *observer(bool guest)
{
    return guest ? SR_OBSERVED_GUEST : SR_OBSERVED_HOST;
}

static json_t *guest_facts(const struct sr_frame_exit *said)
{
    return json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o}", SR_OBSERVED_BY, SR_OBSERVED_GUEST, "exitCode",
                     sr_event_count(said->exit_code), "signal", sr_event_count(said->signal),
                     "userUsec", sr_event_count(said->user_usec), "systemUsec",
                     sr_event_count(said->system_usec), "maxRssKib",
                     sr_event_count(said->max_rss_kib), "oomKills",
                     sr_event_count(said->oom_kills));
}

/* What of the guest's word cannot be, by what this payload says the host saw. */
static json_t *contradictions(const json_t *payload)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct sr_exit_facts facts;
    struct sr_contradiction found[SR_CONTRADICTIONS_MAX];
    sr_jcs_value(&text, payload);
    if (!sr_buf_ok(&text))
        return NULL;
    sr_exit_facts_read((struct sr_json_slice){text.data, text.len}, &facts);
    size_t count = sr_contradictions(&facts, found);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s,s:o,s:o,s:s}", "about", found[i].about,
                                              found[i].names[0], sr_event_count(found[i].values[0]),
                                              found[i].names[1], sr_event_count(found[i].values[1]),
                                              "message", found[i].message));
    return list;
}

/* Nothing is said of status and signal that are not known. */
static json_t *vmm_facts(const struct run *run, const struct sr_vmm_exit *how)
{
    const char *ended_by = run->ended_vm ? "safe-run" : "itself";
    bool killed = WIFSIGNALED(how->status);
    if (!how->known)
        return json_pack("{s:s,s:n,s:n}", "endedBy", ended_by, "status", "signal");
    return json_pack("{s:s,s:i,s:i}", "endedBy", ended_by, "status",
                     killed ? 0 : WEXITSTATUS(how->status), "signal",
                     killed ? WTERMSIG(how->status) : 0);
}

static json_t *usec(uint64_t nsec)
{
    return sr_event_count(nsec / 1000);
}

/* How long each phase took; together they are the life of the VM, but for a microsecond each. */
static json_t *duration_facts(const struct run_times *times)
{
    uint64_t began = times->started != 0 ? times->started : times->ended;
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o}", "bootUsec", usec(began - times->launched), "commandUsec",
        usec(times->ended - began), "collectUsec", usec(times->collected - times->ended), "endUsec",
        usec(times->gone - times->collected), "wallUsec", usec(times->gone - times->launched));
}

/* What they may take: boot and command together timeoutSec and the grace. */
static json_t *limit_facts(const struct run *run)
{
    return json_pack("{s:i,s:o,s:o,s:o}", "timeoutSec", (int)run->timeout_sec, "graceUsec",
                     usec(RUN_GRACE_NSEC * (run->outputs != NULL ? 2 : 1)), "collectUsec",
                     usec(run_outputs_limit_nsec(run)), "endUsec", usec(RUN_END_NSEC));
}

/* What the host saw of the VM's end, and apart from it what the guest said of the command's. */
static json_t *exit_facts(const struct run *run, const struct sr_vmm_exit *how)
{
    json_t *payload = json_pack(
        "{s:i,s:s,s:b,s:i,s:o,s:s?,s:o,s:o,s:o,s:o,s:o,s:i,s:o,s:o,s:o}", "exitCode",
        run->result->exit_code, SR_EXIT_OBSERVED_BY, observer(run->verdict.status_by_guest),
        "timedOut", run->timed_out, "sampleCount", (int)run->samples, "vmmCpuUsec",
        how->known ? sr_event_count(how->cpu_usec) : json_null(), "stopReason",
        run->vmm.qmp.stopped[0] != '\0' ? run->vmm.qmp.stopped : NULL, "stdout",
        stream_facts(&run->out), "stderr", stream_facts(&run->err), "console",
        tail_facts(&run->console), "vmmLog", tail_facts(&run->vmm_log), "wallUsec",
        usec(run->times.gone - run->times.launched), "vcpus", (int)run->bundle.vcpu_count,
        "guestRamBytes", sr_event_count((uint64_t)run->bundle.mem_size_mib << 20), "hostOomKills",
        sr_event_count(run->last_usage.oom_kills), "vmm", vmm_facts(run, how));
    if (run->last_usage.helpers_counted)
        json_object_set_new(payload, "helperCpuUsec",
                            sr_event_count(run->last_usage.helper_cpu_usec));
    json_object_set_new(payload, "eventsOmitted", sr_event_count(run->events_omitted));
    json_object_set_new(payload, "durations", duration_facts(&run->times));
    json_object_set_new(payload, "limits", limit_facts(run));
    if (run->has_exit)
        json_object_set_new(payload, "guest", guest_facts(&run->exit));
    json_object_set_new(payload, "contradictions", contradictions(payload));
    return payload;
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
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o*}", "reason",
                     sr_cause_name(run->result->cause), SR_REASON_OBSERVED_BY,
                     observer(run->verdict.cause_by_guest), "errorCode",
                     sr_code_name(failure->code), "path", failure->path, "message",
                     failure->message, SR_MESSAGE_OBSERVED_BY, SR_OBSERVED_HOST, SR_OBSERVED_BY,
                     observer(run->word.decides), "guest", run_word_facts(&run->word));
}

static int write_closing_events(struct run *run, const struct sr_vmm_exit *how,
                                struct sr_error *err)
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
    json_t *cleaned = json_pack("{s:s}", "cgroup", run_release_limits(run));
    if (run->net != NULL)
        json_object_set_new(cleaned, "network",
                            json_string(run->net_left ? "left for safe-run gc" : "ended"));
    if (run_event(run, SR_STAGE_CLEANUP, SR_EVENT_RUN_CLEANED, cleaned, err) < 0)
        return -1;
    if (run->error.code != SR_OK &&
        run_event(run, SR_STAGE_CLEANUP, SR_EVENT_RUN_FAILED, failure_facts(run), err) < 0)
        return -1;
    return sr_event_log_sync(run->log, err);
}

/* What ran the guest: QEMU's own answer where it gave one, else what it was told. */
static const char *accel_in_fact(const struct run *run)
{
    if (run->times.launched == 0)
        return "none";
    return run->vmm.qmp.kvm < 0 ? sr_accel_name(run->accel) : run->vmm.qmp.kvm > 0 ? "kvm" : "tcg";
}

static int write_report(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    const struct sr_run_result *result = run->result;
    struct run_limits_text limits;
    run_limits_text(run, &limits);
    char uplink[SR_UPLINK_TEXT_MAX];
    struct sr_report_file files[RUNS_VOUCHED];
    char hashes[RUNS_VOUCHED][SR_SHA256_TEXT];
    const struct sr_report_facts facts = {
        .files = files,
        .file_count = runs_hash_files(run->dirfd, run->hasher, files, hashes),
        .run_id = result->run_id,
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
        .vmm = run->times.launched != 0 ? "qemu" : "none",
        .vmm_version = run->vmm_version,
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
    return sr_report_write(run->dirfd, &facts, run->log, err);
}

/* Preparation failed before there was a place for evidence. */
static void forget_directory(struct run *run)
{
    struct sr_run_result *result = run->result;
    if (run->register_fd < 0 || result->run_id[0] == '\0')
        return;
    if (run->dirfd >= 0)
        unlinkat(run->dirfd, "lock", 0);
    if (result->run_dir[0] != '\0' && rmdir(result->run_dir) < 0)
        return; /* gc finds it */
    unlinkat(run->register_fd, result->run_id, 0);
    result->run_id[0] = result->run_dir[0] = '\0';
}

static void fail_evidence(struct run *run, const struct sr_error *failure)
{
    run->facts.evidence_failed = true;
    judge_failure(run, failure);
}

static void sign_report(struct run *run)
{
    struct sr_error err;
    if (run->key == NULL)
        return;
    if (sr_attest(run->dirfd, SR_REPORT_FILE, run->key, &err) < 0) {
        fail_evidence(run, &err);
        return;
    }
    run->result->report_signed = true;
    run_progress(run, "report signed by key %s", sr_key_id(run->key));
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
    struct sr_vmm_exit how = {0};
    struct sr_error err = {0};
    run->ended_vm = run->ended_vm || !run->vm_gone;
    sr_vmm_kill(&run->vmm);
    sr_vmm_reap(&run->vmm, &how);
    run_monitor_end(run);
    run_outputs_conclude(run);
    snprintf(run->vmm_version, sizeof run->vmm_version, "%s", run->vmm.qmp.version);
    run_note_usage(run);
    run->facts = gather(run, &how);
    judge(run);
    explain(run, &how);
    run->result->error = run_word_error(&run->word, &run->error);
    warn_of_memory(run);
    run_drop_vm(run);
    if (run->log == NULL) {
        leave_host(run);
        forget_directory(run);
        return;
    }
    run_reserve_give_back(run);
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
        unlinkat(run->register_fd, run->result->run_id, 0);
}
