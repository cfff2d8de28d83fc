#include "runner/run_state.h"

#include "common/fs.h"
#include "common/jcs.h"
#include "evidence/report.h"
#include "saferun/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int open_record(struct run *run, struct sr_error *err)
{
    char base[PATH_MAX];
    int unclosed = 0;
    if (sr_runs_base(run->options->workdir_base, base, err) < 0)
        return -1;
    int result = record_open(run->record, base, &unclosed, err);
    if (unclosed > 0)
        sr_tell(&run->tell, "%d dead runs could not be closed; safe-run gc says why", unclosed);
    snprintf(run->result->run_id, sizeof run->result->run_id, "%s", record_id(run->record));
    snprintf(run->result->run_dir, sizeof run->result->run_dir, "%s", record_path(run->record));
    return result;
}

static int write_documents(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    if (record_file(run->record, "policy.json", policy->json, policy->json_len, NULL, err) < 0 ||
        record_file(run->record, "bundle.json", run->bundle.json, run->bundle.json_len, NULL, err) <
            0)
        return -1;
    return run->options->keep ? record_file(run->record, "keep", "", 0, NULL, err) : 0;
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
    if (!sr_buf_ok(&text))
        return sr_fail(err, SR_RUN_001, "prepare", "the command cannot be hashed: out of memory");
    return record_file(run->record, "command.json", text.data, text.len, run->command_hash, err);
}

static int refuse_two_stdins(const struct run *run, struct sr_error *err)
{
    if (run->options->policy->stdin_path != NULL && run->options->with_stdin)
        return sr_fail(err, SR_RUN_001, "runtime.stdin",
                       "the policy names what the command reads; --stdin would be something else");
    return 0;
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
    if ((required || run->config.sign) && record_load_key(run->record, path, &why) < 0)
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
    fact_text(&facts, EVIDENCE_OBSERVERS, EVIDENCE_OBSERVERS_FIELD);
    return facts_end(&facts);
}

int run_prepare(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    if (host_config_load(&run->config, err) < 0 || hold_to_ceilings(run, err) < 0 ||
        sr_compile(policy, &run->bundle, err) < 0)
        return -1;
    if (open_record(run, err) < 0 || record_begin(run->record, run->bundle.events, err) < 0 ||
        run_owe(run, err) < 0 || write_documents(run, err) < 0 || record_command(run, err) < 0)
        return -1;
    if (evidence_policy_hash(record_hasher(run->record), policy->json, policy->json_len,
                             run->policy_hash) < 0)
        return sr_fail(err, SR_RUN_001, "prepare", "the policy cannot be hashed: out of memory");
    struct sr_error missing = {0}; /* said after what the run asked for is recorded */
    bool found = run_choose_image(run, &missing) == 0 && run_secrets_take(run, &missing) == 0;
    if (record_event(run->record, EVIDENCE_STAGE_COMPILE, SR_EVENT_COMPILE, compile_facts(run),
                     err) < 0 ||
        record_event(run->record, EVIDENCE_STAGE_PREPARE, SR_EVENT_RUN_PREPARED,
                     prepared_facts(run), err) < 0)
        return -1;
    if (!found) {
        *err = missing;
        return -1;
    }
    const struct host_artifact_context artifacts = run_artifact_context(run);
    if (refuse_two_stdins(run, err) < 0 || load_key(run, err) < 0 ||
        machine_check(run->machine, &artifacts, err) < 0 || run_open_image(run, err) < 0 ||
        machine_prepare(run->machine, run->result->limits_why, sizeof run->result->limits_why,
                        err) < 0)
        return -1;
    return session_open_streams(run->session, err) < 0 ? -1 : machine_open_logs(run->machine, err);
}
