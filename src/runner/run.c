/*
 * Theory of operation: the life of a run
 *
 *   prepare   Run directory, lock, evidence log, policy.json and bundle.json on disk; artefacts
 *             open and hashed.
 *   mounts    Sources packed, or found packed (mounts.c); the collector of outputs is started.
 *   network   Names resolved, the namespace with its TAP, rules and uplink (network.c, src/net).
 *   boot      "vm.accel.selected" and all before it durable, then the VM starts; "vm.started"
 *             durable; the guest's init says hello (src/machine).
 *   start     Only now does init get the command (src/session): at that moment the evidence on disk
 *             already says what runs, under which policy, in which VM.
 *   monitor   The loop is served (monitor.c), until the VM is gone.
 *   conclude  Whatever happened: the VM is reaped, the closing events and the report are written
 *             (outcome.c).
 *
 * What a crash of the supervisor leaves: no process (the VMM dies by its parent-death signal), a
 * run directory whose lock is free and whose events end before run.cleaned or run.failed.
 */
#include "runner/run_state.h"

#include "common/clock.h"
#include "common/failpoint.h"

/* Until init has said hello; the VM may have been told to end before that. */
static int boot(struct run *run, struct sr_error *err)
{
    const struct net *net = run->network.net;
    const struct machine_devices devices = {
        .rootfs = &run->image.rootfs,
        .disks = run->mounts.disks,
        .disk_count = run->mounts.disk_count,
        .network = net != NULL ? NET_BOOT_ARGUMENT : NULL,
        .tap_fd = net != NULL ? net->tap_fd : -1,
        .mtu = net != NULL ? net->mtu : 0,
    };
    int outputs = session_outputs_directory(run->session);
    if (machine_boot(run->machine, &devices, outputs, err) < 0) {
        run->word = *machine_last_word(run->machine);
        return -1;
    }
    if (machine_phase(run->machine) != MACHINE_READY)
        return 0;
    sr_tell(&run->tell, "guest up after %u ms",
            (unsigned)((sr_now() - machine_times(run->machine).launched) / SR_NSEC_PER_MSEC));
    if (SR_FAILPOINT("launch.hello"))
        return sr_fail(err, SR_RUN_001, "launch.spec", "told to fail");
    if (machine_confine(run->machine, outputs, err) < 0 || machine_join(run->machine, err) < 0)
        return -1;
    return run_send_spec(run, err);
}

/* All that comes before the VM. A signal meanwhile ends the run, and overrides any error that it
 * caused (outcome.c). */
static int prepare(struct run *run, struct sr_error *err)
{
    if (run_monitor_open(run, err) < 0)
        return -1;
    bool ready = run_prepare(run, err) == 0 && run_mounts_apply(run, err) == 0 &&
                 session_prepare_outputs(run->session, err) == 0 &&
                 run_network_apply(run, err) == 0;
    if (run_interrupted(run) && ready)
        return sr_fail(err, SR_RUN_001, "monitor.interrupted", "ended by signal %d to safe-run",
                       run->signals.ended_by);
    return ready ? 0 : -1;
}

static int execute(struct run *run, struct sr_error *err)
{
    if (prepare(run, err) < 0 || boot(run, err) < 0)
        return -1;
    return run_monitor(run, err);
}

static void release(struct run *run)
{
    run_monitor_close(run);
    session_free(run->session);
    run_mounts_release(run);
    run_network_release(run);
    machine_free(run->machine);
    sr_close_fd(&run->image.rootfs.fd);
    sr_image_free(&run->image.stored);
    run_secrets_drop(run);
    free(run->secrets.values);
    free(run->mounts.places);
    sr_bundle_free(&run->bundle);
    record_free(run->record);
    free(run);
}

/* A run of which nothing has happened yet; NULL: memory is out. */
static struct run *make(const struct sr_run_options *options, struct sr_run_result *result)
{
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return NULL;
    run->options = options;
    run->result = result;
    run->tell = (struct sr_tell){options->progress, options->progress_context};
    run->timeout_sec =
        options->timeout_sec > 0 ? options->timeout_sec : options->policy->timeout_sec;
    run->loop.epoll_fd = run->signals.fd = run->image.rootfs.fd = run->mounts.joined_fd = -1;
    run->record = record_new();
    const struct machine_plan machine = {
        .config = &run->config,
        .policy = options->policy,
        .bundle = &run->bundle,
        .record = run->record,
        .loop = &run->loop,
        .tell = run->tell,
        .accel = options->accel,
        .confine = options->confine,
        .frame = run_frame,
        .context = run,
    };
    run->machine = run->record != NULL ? machine_new(&machine) : NULL;
    const struct session_plan session = {
        .config = &run->config,
        .policy = options->policy,
        .options = options,
        .output_dir = result->output_dir,
        .record = run->record,
        .machine = run->machine,
        .loop = &run->loop,
        .tell = run->tell,
        .timeout_sec = run->timeout_sec,
        .started = run_started,
        .exited = run_exited,
        .silenced = run_silenced,
        .over = run_over,
        .owe = run_owe,
        .context = run,
    };
    run->session = run->machine != NULL ? session_new(&session) : NULL;
    if (run->session == NULL) {
        release(run);
        return NULL;
    }
    return run;
}

void sr_run(const struct sr_run_options *options, struct sr_run_result *result)
{
    *result = (struct sr_run_result){.exit_code = SR_EXIT_FAILED, .cause = SR_CAUSE_SETUP};
    struct run *run = make(options, result);
    if (run == NULL) {
        sr_fail(&result->error, SR_RUN_001, "prepare",
                "memory is out, or libcrypto has no SHA-256");
        return;
    }
    sigset_t before;
    const sigset_t ours = run->signals.set = run_hold_signals(&before);
    if (execute(run, &run->error) < 0 && run->error.code == SR_OK)
        sr_fail(&run->error, SR_RUN_001, "run",
                "failed without saying why"); /* a bug, but never a success */
    run_conclude(run);
    release(run);
    run_release_signals(&ours, &before);
}
