/* The specification of the command, as the guest's init takes it (src/channel/protocol.h). */
#include "runner/run_state.h"

#include "common/clock.h"

#include <string.h>
#include <sys/random.h>

int run_send_spec(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    sr_cleanup_buf struct sr_buf spec = {.wipe = true};
    unsigned char entropy[64];
    if (getrandom(entropy, sizeof entropy, 0) != sizeof entropy)
        return sr_fail(err, SR_RUN_001, "launch.entropy", "the kernel gives no random bytes");
    channel_spec_text(&spec, CHANNEL_SPEC_COMMAND, policy->command);
    for (size_t i = 0; i < policy->arg_count; i++)
        channel_spec_text(&spec, CHANNEL_SPEC_ARG, policy->args[i]);
    for (const char *const *more = run->options->more_args; more != NULL && *more != NULL; more++)
        channel_spec_text(&spec, CHANNEL_SPEC_ARG, *more);
    const struct sr_image_config *config = &run->image.stored.config;
    bool has_path = false;
    for (size_t i = 0; i < config->env_count; i++)
        if (sr_policy_lets_env(policy, config->env[i])) {
            channel_spec_text(&spec, CHANNEL_SPEC_ENV, config->env[i]);
            has_path = has_path || strncmp(config->env[i], "PATH=", 5) == 0;
        }
    for (size_t i = 0; i < policy->env_count; i++) {
        sr_cleanup_buf struct sr_buf pair = SR_BUF_INIT;
        sr_buf_printf(&pair, "%s=%s", policy->env[i].key, policy->env[i].value);
        channel_spec_bytes(&spec, CHANNEL_SPEC_ENV, pair.data, pair.len);
        has_path = has_path || strcmp(policy->env[i].key, "PATH") == 0;
    }
    run_secrets_specify(run, &spec);
    for (size_t i = 0; i < policy->secret_count; i++)
        has_path = has_path || strcmp(policy->secrets[i].name, "PATH") == 0;
    if (!has_path)
        channel_spec_text(&spec, CHANNEL_SPEC_ENV,
                          "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    channel_spec_text(&spec, CHANNEL_SPEC_WORKDIR, run->image.effective.workdir);
    const uint32_t user[2] = {run->image.effective.uid, run->image.effective.gid};
    channel_spec_bytes(&spec, CHANNEL_SPEC_USER, user, sizeof user);
    channel_spec_bytes(&spec, CHANNEL_SPEC_PIDS, &policy->pids_max, sizeof policy->pids_max);
    channel_spec_bytes(&spec, CHANNEL_SPEC_DISK, &policy->disk_bytes, sizeof policy->disk_bytes);
    channel_spec_bytes(&spec, CHANNEL_SPEC_ENTROPY, entropy, sizeof entropy);
    channel_spec_text(&spec, CHANNEL_SPEC_HOSTNAME, "safe-run");
    if (run->network.net != NULL)
        channel_spec_text(&spec, CHANNEL_SPEC_HOSTS, run->network.net->hosts);
    if (run->options->with_stdin)
        channel_spec_bytes(&spec, CHANNEL_SPEC_STDIN, "", 0);
    if (policy->stdin_path != NULL)
        channel_spec_text(&spec, CHANNEL_SPEC_STDIN_FILE, policy->stdin_path);
    run_mounts_specify(run, &spec);
    for (size_t i = 0; i < policy->output_count; i++)
        channel_spec_text(&spec, CHANNEL_SPEC_OUTPUT, policy->outputs[i].path);
    const uint64_t clock = sr_clock_nsec(CLOCK_REALTIME);
    channel_spec_bytes(&spec, CHANNEL_SPEC_CLOCK, &clock, sizeof clock);
    if (!sr_buf_ok(&spec))
        return sr_fail(err, SR_RUN_001, "launch", "out of memory");
    if (spec.len > CHANNEL_SPEC_MAX)
        return sr_fail(err, SR_RUN_001, "prepare.runtime",
                       "command, arguments and environment are %zu bytes; %u are "
                       "the most that fits",
                       spec.len, CHANNEL_SPEC_MAX);
    session_start(run->session, spec.data, spec.len);
    run_secrets_drop(run);
    return 0;
}
