/*
 * Theory of operation: the life of a run
 *
 *   prepare   Run directory, lock, evidence log, policy.json and bundle.json on disk; artefacts
 *             open and hashed.
 *   mounts    Sources packed, or found packed (mounts.c, inputs.c); the collector of outputs is
 *             started (outputs.c).
 *   network   Names resolved, the namespace with its TAP, rules and uplink (network.c, src/net).
 *   launch    "vm.accel.selected" and all before it durable, then the VM starts; "vm.started"
 *             durable.
 *   hello     The guest's init answers. Only now does it get the command: at that moment the
 *             evidence on disk already says what runs, under which policy, in which VM. A guest
 *             that stays silent under an accelerator nobody has seen work gets a second chance
 *             under TCG, with an event that says so.
 *   monitor   The event loop (monitor.c), until the VM is gone.
 *   conclude  Whatever happened: the VM is reaped, the closing events and the report are written
 *             (outcome.c).
 *
 * What a crash of the supervisor leaves: no process (the VMM dies by its parent-death signal), a
 * run directory whose lock is free and whose events end before run.cleaned or run.failed.
 */
#include "runner/run_state.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "runner/denials.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void run_progress(const struct run *run, const char *fmt, ...)
{
    if (run->options->progress == NULL)
        return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    run->options->progress(run->options->progress_context, text);
}

int run_event(struct run *run, enum sr_stage stage, enum sr_event_type type, json_t *payload,
              struct sr_error *err)
{
    return record_event(run->record, stage, type, payload, err);
}

/* The console is the guest's word, the VMM's log the host's. */
static int fail_silent_vm(struct run *run, struct sr_error *err)
{
    int killer = vmm_killed_by(&run->vmm);
    if (killer != 0)
        return sr_fail_vm(err, SR_RUN_002, "launch.vm",
                          "the VMM was killed by signal %d before the guest said hello", killer);
    if (run->vmm_log.last[0] == '\0')
        run_word_take(&run->word, run->console.last, strlen(run->console.last));
    bool said = run->word.text[0] != '\0';
    return sr_fail_vm(err, SR_RUN_002, "launch.vm", "the VMM ended before the guest said hello%s%s",
                      said ? "" : ": ",
                      said                           ? ""
                      : run->vmm_log.last[0] != '\0' ? run->vmm_log.last
                                                     : "it said nothing");
}

/* Starts one VM and waits for its hello. 0: it came. -1 with err: it did not, and *retry tells
 * whether that was the accelerator's fault for all we know. last: no other VM will be started. */
static int boot_once(struct run *run, enum vmm_accel accel, const char *reason, bool last,
                     bool *retry, struct sr_error *err)
{
    *retry = false;
    if (run_launch(run, accel, reason, last, err) < 0 || (last && run_confine(run, err) < 0))
        return -1;
    int result = run_monitor(run, false, err);
    if (result == 0 && run->phase == PHASE_STARTING)
        return 0;
    bool stopped = run->timed_out || run->ended_by_signal != 0;
    *retry = !stopped && (result == 0 || err->code == SR_RUN_002);
    if (stopped)
        return 0;
    return result < 0 ? -1 : fail_silent_vm(run, err);
}

static int boot(struct run *run, struct sr_error *err)
{
    enum vmm_accel accel;
    const char *reason;
    bool fallback, retry;
    if (run_choose_accel(run, &accel, &reason, &fallback, err) < 0)
        return -1;
    int result = boot_once(run, accel, reason, !fallback, &retry, err);
    bool up = result == 0 && run->phase == PHASE_STARTING;
    enum sr_kvm_state learnt = up                             ? SR_KVM_WORKS
                               : retry && run_blames_kvm(run) ? SR_KVM_BROKEN
                                                              : SR_KVM_UNKNOWN;
    if (accel == VMM_ACCEL_KVM && learnt != SR_KVM_UNKNOWN &&
        learnt != sr_kvm_state(run->config.qemu))
        sr_kvm_remember(run->config.qemu, learnt);
    if (result < 0 && retry && run->options->policy->require_kvm) {
        char why[300];
        snprintf(why, sizeof why, "%s", err->message);
        return sr_fail(err, SR_RUN_002, "require.accel",
                       "the policy requires KVM, and no guest came up under it: %s", why);
    }
    if (result == 0 || !fallback || !retry)
        return result;
    run_drop_vm(run);
    char why[300];
    snprintf(why, sizeof why, "no guest under KVM: %s", err->message);
    *err = (struct sr_error){0};
    return boot_once(run, VMM_ACCEL_TCG, why, true, &retry, err);
}

/* All that comes before the VM. A signal meanwhile ends the run, and is the reason for whatever was
 * given up (outcome.c). */
static int prepare(struct run *run, struct sr_error *err)
{
    if (run->record == NULL)
        return sr_fail(err, SR_RUN_001, "prepare", "libcrypto has no SHA-256 or memory is out");
    if (run_monitor_open(run, err) < 0)
        return -1;
    bool ready = run_prepare(run, err) == 0 && run_mounts_apply(run, err) == 0 &&
                 run_outputs_prepare(run, err) == 0 && run_network_apply(run, err) == 0;
    if (run_interrupted(run) && ready)
        return sr_fail(err, SR_RUN_001, "monitor.interrupted", "ended by signal %d to safe-run",
                       run->ended_by_signal);
    return ready ? 0 : -1;
}

static int execute(struct run *run, struct sr_error *err)
{
    if (prepare(run, err) < 0 || boot(run, err) < 0)
        return -1;
    if (run->phase == PHASE_STARTING) {
        run_progress(run, "guest up after %u ms",
                     (unsigned)((sr_now() - run->times.launched) / SR_NSEC_PER_MSEC));
        if (SR_FAILPOINT("launch.hello"))
            return sr_fail(err, SR_RUN_001, "launch.spec", "told to fail");
        if (run_confine(run, err) < 0 || sr_cgroup_join(&run->cgroup, 2, err) < 0 ||
            sr_cgroup_limit_cpu(&run->cgroup, err) < 0 || run_send_spec(run, err) < 0)
            return -1;
    }
    return run_monitor(run, true, err);
}

static void release(struct run *run)
{
    run_monitor_close(run);
    run_outputs_release(run);
    run_mounts_release(run);
    sr_net_free(run->net);
    free(run->hits);
    denials_free(run->denials);
    sr_sink_close(&run->out);
    sr_sink_close(&run->err);
    sr_close_fd(&run->console.log_fd);
    sr_close_fd(&run->vmm_log.log_fd);
    sr_close_fd(&run->kernel.fd);
    sr_close_fd(&run->initrd.fd);
    sr_close_fd(&run->rootfs.fd);
    sr_image_free(&run->image.stored);
    run_secrets_drop(run);
    free(run->secrets);
    free(run->places);
    sr_close_fd(&run->uid_fd);
    sr_jail_files_free(&run->jail_files);
    sr_bundle_free(&run->bundle);
    record_free(run->record);
    free(run);
}

static bool is_ignored(int number)
{
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

/* Blocks the signals that the run reads, and SIGCHLD. Hangup and interrupt the caller may ignore
 * (nohup, a shell's background), and they stay so; SIGTERM is how `safe-run stop` asks. */
static sigset_t hold_signals(sigset_t *before)
{
    sigset_t ours, held;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    if (!is_ignored(SIGINT))
        sigaddset(&ours, SIGINT);
    if (!is_ignored(SIGHUP))
        sigaddset(&ours, SIGHUP);
    held = ours;
    sigaddset(&held, SIGCHLD);
    sigprocmask(SIG_BLOCK, &held, before);
    return ours;
}

/* Those that came when the run was over are forgotten: they would end the caller, who has yet to
 * tell how the run ended. */
static void release_signals(const sigset_t *ours, const sigset_t *before)
{
    const struct timespec at_once = {0};
    while (sigtimedwait(ours, NULL, &at_once) > 0)
        ;
    sigprocmask(SIG_SETMASK, before, NULL);
}

void sr_run(const struct sr_run_options *options, struct sr_run_result *result)
{
    *result = (struct sr_run_result){.exit_code = SR_EXIT_FAILED, .cause = SR_CAUSE_SETUP};
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        sr_fail(&result->error, SR_RUN_001, "prepare", "out of memory");
        return;
    }
    run->options = options;
    run->result = result;
    run->tsc_start = sr_tsc_sample();
    run->record = record_new();
    run->driver = &vmm_qemu;
    run->told.kvm = -1;
    run->vmm = (struct vmm)VMM_INIT;
    run->cgroup = (struct sr_cgroup)SR_CGROUP_INIT;
    run->uid_fd = run->channel_fd = run->joined_fd = -1;
    run->kernel.fd = run->initrd.fd = run->rootfs.fd = -1;
    run->console.in_fd = run->console.log_fd = run->vmm_log.in_fd = run->vmm_log.log_fd = -1;
    run->loop.epoll_fd = run->signal_fd = -1;
    run->out.user_fd = run->out.log_fd = run->err.user_fd = run->err.log_fd = -1;

    sigset_t before;
    const sigset_t ours = run->signals = hold_signals(&before);
    if (execute(run, &run->error) < 0 && run->error.code == SR_OK)
        sr_fail(&run->error, SR_RUN_001, "run",
                "failed without saying why"); /* a bug, but never a success */
    run_conclude(run);
    release(run);
    release_signals(&ours, &before);
}
