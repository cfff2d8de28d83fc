#include "runner/run_state.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "common/jcs.h"
#include "evidence/report.h"
#include "runs/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

/* sr-<UTC yyyymmddThhmmss>-<6 random base32>: sorts by time, tells two runs of a second apart. */
static int make_run_id(char id[32])
{
    static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char random[6];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return -EIO;
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    size_t len = strftime(id, 32, "sr-%Y%m%dT%H%M%S-", &utc);
    for (size_t i = 0; i < sizeof random; i++)
        id[len++] = base32[random[i] % 32];
    id[len] = '\0';
    return 0;
}

/* Before there is anything else of the run: whoever starts next finds what is not finished. The
 * entry is locked as long as the run lives: unlike its directory it lies where nobody has anything
 * to move or remove. */
static int enter_register(struct run *run, const char *id)
{
    sr_close_fd(&run->entry_fd);
    run->entry_fd = SR_FAILPOINT("prepare.register")
                        ? -1
                        : openat(run->register_fd, id, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return run->entry_fd < 0 || flock(run->entry_fd, LOCK_EX) < 0 ? -1 : fsync(run->register_fd);
}

/* The path of the run directory is in the evidence, which is UTF-8. */
static int check_text(const char *path, struct sr_error *err)
{
    return sr_is_utf8(path)
               ? 0
               : sr_fail(err, SR_RUN_001, "prepare.workdir",
                         "the path %s is not UTF-8; --workdir-base names another", path);
}

static int make_run_dir(struct run *run, struct sr_error *err)
{
    char base[PATH_MAX], path[PATH_MAX], id[32];
    if (sr_runs_base(run->options->workdir_base, base, err) < 0 || check_text(base, err) < 0)
        return -1;
    int result = sr_mkdir_all(base, 0700);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, "prepare.workdir",
                       "%s cannot be created: %s; --workdir-base names another", base,
                       strerror(-result));
    sr_cleanup_fd int base_fd = runs_open_place(base, err);
    if (base_fd < 0 && base_fd != -ENOENT)
        return -1;
    if (base_fd < 0 || realpath(base, path) == NULL)
        return sr_fail(err, SR_RUN_001, "prepare.workdir", "%s cannot be opened: %s", base,
                       strerror(errno));
    if (check_text(path, err) < 0)
        return -1;
    if (strlen(path) + 1 + sizeof id > PATH_MAX)
        return sr_fail(err, SR_RUN_001, "prepare.workdir",
                       "the path of the run directory is too long");
    const struct sr_gc_options quietly = {.older_than_sec = -1};
    int failures = runs_close_dead(base_fd, &quietly);
    if (failures > 0)
        run_progress(run, "%d dead runs could not be closed; safe-run gc says why", failures);
    run->register_fd = runs_open_register(base_fd, base, err);
    if (run->register_fd < 0)
        return -1;
    do { /* a second run of this second may have drawn the same letters */
        if (make_run_id(id) < 0)
            return sr_fail(err, SR_RUN_001, "prepare.workdir", "the kernel gives no random bytes");
        result = enter_register(run, id);
        if (result == 0)
            memcpy(run->result->run_id, id, sizeof id);
        if (result == 0)
            result = SR_FAILPOINT("prepare.directory") ? -1 : mkdirat(base_fd, id, 0700);
    } while (result < 0 && errno == EEXIST);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, "prepare.workdir",
                       "a run directory cannot be made in %s: %s", base, strerror(errno));
    snprintf(run->result->run_dir, sizeof run->result->run_dir, "%s/%s", path, id);
    run->dirfd = openat(base_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (run->dirfd < 0 || fsync(base_fd) < 0)
        return sr_fail(err, SR_RUN_001, "prepare.workdir",
                       "the run directory %s/%s cannot be used: %s", base, id, strerror(errno));
    return 0;
}

/* Held as long as the run lives: how ps and gc tell a live run from a dead one's remains. They take
 * it for a moment to see, so it is waited for. Its text says who holds it. */
static int take_lock(struct run *run, struct sr_error *err)
{
    run->lock_fd = SR_FAILPOINT("prepare.lock")
                       ? -1
                       : openat(run->dirfd, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (run->lock_fd < 0 || flock(run->lock_fd, LOCK_EX) < 0)
        return sr_fail(err, SR_RUN_001, "prepare.lock", "the run's lock cannot be taken: %s",
                       strerror(errno));
    char text[48];
    int len =
        snprintf(text, sizeof text, "%d %" PRIu64 "\n", (int)getpid(), runs_birth_of(getpid()));
    int result = sr_write_all(run->lock_fd, text, (size_t)len);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, "prepare.lock", "the run's lock cannot be written: %s",
                       strerror(-result));
    return 0;
}

static int open_log_file(struct run *run, const char *name, int *fd, struct sr_error *err)
{
    *fd = openat(run->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return *fd >= 0 ? 0
                    : sr_fail(err, SR_RUN_001, "prepare.workdir", "%s cannot be created: %s", name,
                              strerror(errno));
}

static int write_documents(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    int result = sr_write_new_file(run->dirfd, "policy.json", policy->json, policy->json_len);
    if (result == 0)
        result =
            sr_write_new_file(run->dirfd, "bundle.json", run->bundle.json, run->bundle.json_len);
    if (result == 0 && run->options->keep)
        result = sr_write_new_file(run->dirfd, "keep", "", 0);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, "prepare.workdir",
                       "the run directory cannot be written: %s", strerror(-result));
    return 0;
}

static int open_sinks(struct run *run, struct sr_error *err)
{
    int out, error;
    if (open_log_file(run, "stdout.log", &out, err) < 0)
        return -1;
    sr_sink_open(&run->out, "stdout", run->options->stdout_fd, out, run->config.logs_max);
    if (open_log_file(run, "stderr.log", &error, err) < 0)
        return -1;
    sr_sink_open(&run->err, "stderr", run->options->stderr_fd, error, run->config.logs_max);
    if (open_log_file(run, "console.log", &run->console.log_fd, err) < 0)
        return -1;
    return open_log_file(run, "vmm.log", &run->vmm_log.log_fd, err);
}

/* The command as it is run, with what the caller appended: command.json, and the hash of its bytes.
 */
static int record_command(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    const char *const *more = run->options->more_args;
    struct facts facts = facts_new();
    fact_text(&facts, "command", policy->command);
    fact_list(&facts, "args");
    for (size_t i = 0; i < policy->arg_count; i++)
        fact_add_text(&facts, "args", policy->args[i]);
    for (; more != NULL && *more != NULL; more++)
        fact_add_text(&facts, "args", *more);
    json_t *command = facts_end(&facts);
    if (command == NULL)
        return sr_fail(err, SR_RUN_001, "prepare.runtime",
                       "the command and its arguments must be UTF-8");
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_jcs_value(&text, command);
    json_decref(command);
    if (!sr_buf_ok(&text) || sr_sha256(run->hasher, text.data, text.len, run->command_hash) < 0)
        return sr_fail(err, SR_RUN_001, "prepare", "the command cannot be hashed: out of memory");
    int result = sr_write_new_file(run->dirfd, "command.json", text.data, text.len);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, "prepare.workdir",
                       "the run directory cannot be written: %s", strerror(-result));
    return 0;
}

static int refuse_two_stdins(const struct run *run, struct sr_error *err)
{
    if (run->options->policy->stdin_path != NULL && run->options->with_stdin)
        return sr_fail(err, SR_RUN_001, "runtime.stdin",
                       "the policy names what the command reads; --stdin would be something else");
    return 0;
}

int run_open_artifact(struct run *run, const struct sr_artifact_plan *plan,
                      struct sr_artifact *artifact, struct sr_error *err)
{
    const struct sr_artifact_context context = {
        .config = &run->config,
        .hasher = run->hasher,
        .scratch_fd = run->dirfd,
        .rehash = run->options->rehash,
        .progress = run_tell_progress,
        .context = run,
    };
    return sr_artifact_open(artifact, plan, &context, err);
}

static int open_artifacts(struct run *run, struct sr_error *err)
{
    if (access(run->config.qemu, X_OK) < 0)
        return sr_fail(err, SR_RUN_002, "launch.preflight.qemu-system-x86_64",
                       "%s cannot be executed: %s; install the package qemu-system-x86",
                       run->config.qemu, strerror(errno));
    const struct sr_artifact_plan kernel = {.path = run->config.kernel,
                                            .what = "kernel",
                                            .advice = SR_ARTIFACT_ADVICE,
                                            .by_path = true};
    const struct sr_artifact_plan initrd = {.path = run->config.initrd,
                                            .what = "initrd",
                                            .advice = SR_ARTIFACT_ADVICE,
                                            .by_path = true};
    if (run_open_artifact(run, &kernel, &run->kernel, err) < 0 ||
        run_open_artifact(run, &initrd, &run->initrd, err) < 0)
        return -1;
    return run_open_image(run, err);
}

/* The key is taken into memory before anything is given up or started: later no file is needed. */
static int load_key(struct run *run, struct sr_error *err)
{
    bool required = run->options->policy->require_signature;
    const char *path = run->config.sign_key;
    if (required && path[0] == '\0')
        return sr_fail(err, SR_RUN_002, "require.signature",
                       "the policy requires a signed report, and the host configuration names no "
                       "key (signKey)");
    struct sr_error why;
    if ((required || run->config.sign) && sr_key_load_private(path, &run->key, &why) < 0)
        return sr_fail(err, required ? SR_RUN_002 : SR_RUN_001,
                       required ? "require.signature" : "prepare.config.signKey",
                       "the report cannot be signed: %s", why.message);
    return 0;
}

/* The first breach; the others a caller learns of from sr_policy_hold(), before there is a run. */
static void take_breach(void *context, const char *path, const char *message)
{
    struct sr_error *err = context;
    if (err->code == SR_OK)
        sr_fail(err, SR_POL_003, path, "%s", message);
}

static int hold_to_ceilings(const struct run *run, struct sr_error *err)
{
    struct sr_policy asked = *run->options->policy;
    asked.timeout_sec = run->timeout_sec > asked.timeout_sec ? run->timeout_sec : asked.timeout_sec;
    struct sr_error breach = {0};
    sr_ceilings_check(&asked, &run->config.ceilings, take_breach, &breach);
    if (breach.code == SR_OK)
        return 0;
    *err = breach;
    return -1;
}

static json_t *ceiling_facts(const struct sr_ceilings *ceilings)
{
    struct facts facts = facts_new();
    fact_count(&facts, "memoryBytes", ceilings->memory_bytes);
    fact_count(&facts, "milliCpus", ceilings->milli_cpus);
    fact_count(&facts, "diskBytes", ceilings->disk_bytes);
    fact_count(&facts, "timeSec", ceilings->time_sec);
    fact_count(&facts, "outputBytes", ceilings->output_bytes);
    fact_count(&facts, "outputEntries", ceilings->output_entries);
    fact_count(&facts, "eventBytes", ceilings->event_bytes);
    fact_count(&facts, "rules", ceilings->rules);
    fact_count(&facts, "processes", ceilings->processes);
    return facts_end(&facts);
}

static json_t *runtime_facts(const struct run *run)
{
    struct facts facts = facts_new();
    run_runtime_record(run, &facts);
    run_secrets_record(run, &facts);
    return facts_end(&facts);
}

/* What run.prepared says. */
static json_t *prepared_facts(const struct run *run)
{
    const struct sr_policy *policy = run->options->policy;
    struct facts facts = facts_new();
    fact_text(&facts, "workdir", run->result->run_dir);
    fact_count(&facts, "timeoutSec", run->timeout_sec);
    fact_take(&facts, "image", run_image_facts(run));
    fact_take(&facts, "runtime", runtime_facts(run));
    fact_take(&facts, "ceilings", ceiling_facts(&run->config.ceilings));
    fact_text_if_any(&facts, "policyDir", policy->directory);
    for (size_t i = 0; i < policy->granted_count; i++)
        fact_add_text(&facts, "allowMounts", policy->granted[i]);
    for (size_t i = 0; i < policy->allowed_env_count; i++)
        fact_add_text(&facts, "allowEnv", policy->allowed_env[i]);
    return facts_end(&facts);
}

static json_t *compile_facts(const struct run *run)
{
    struct facts facts = facts_new();
    fact_text(&facts, "policyHash", run->policy_hash);
    fact_text(&facts, "commandHash", run->command_hash);
    fact_text(&facts, SR_OBSERVERS, SR_OBSERVERS_FIELD);
    return facts_end(&facts);
}

int run_prepare(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    run->timeout_sec =
        run->options->timeout_sec > 0 ? run->options->timeout_sec : policy->timeout_sec;
    if (sr_host_config_load(&run->config, err) < 0 || hold_to_ceilings(run, err) < 0 ||
        sr_compile(policy, &run->bundle, err) < 0)
        return -1;
    if (make_run_dir(run, err) < 0 || take_lock(run, err) < 0)
        return -1;
    if (sr_event_log_create(run->dirfd, run->result->run_id, run->bundle.events, &run->log, err) <
        0)
        return -1;
    if (run_reserve_take(run, err) < 0 || write_documents(run, err) < 0 ||
        record_command(run, err) < 0)
        return -1;
    if (sr_policy_hash(run->hasher, policy->json, policy->json_len, run->policy_hash) < 0)
        return sr_fail(err, SR_RUN_001, "prepare", "the policy cannot be hashed: out of memory");
    struct sr_error missing = {0}; /* said after what the run asked for is recorded */
    bool found = run_choose_image(run, &missing) == 0 && run_secrets_take(run, &missing) == 0;
    if (run_event(run, SR_STAGE_COMPILE, SR_EVENT_COMPILE, compile_facts(run), err) < 0 ||
        run_event(run, SR_STAGE_PREPARE, SR_EVENT_RUN_PREPARED, prepared_facts(run), err) < 0)
        return -1;
    if (!found) {
        *err = missing;
        return -1;
    }
    if (refuse_two_stdins(run, err) < 0 || load_key(run, err) < 0 || open_artifacts(run, err) < 0 ||
        run_prepare_limits(run, err) < 0 || run_prepare_jail(run, err) < 0)
        return -1;
    return open_sinks(run, err);
}
