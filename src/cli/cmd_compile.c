#include "cli/cli.h"
#include "cli/options.h"
#include "cli/policy_file.h"

#include "saferun/bundle.h"

#include <getopt.h>
#include <stdbool.h>

static const char usage[] = "usage: safe-run compile --dry-run --policy P [--mount-allowlist F] "
                            "[--allow-mount DIR]... [--allow-env NAME]... [--host]";

static const char help[] =
    "\n"
    "Prints the plans that a run of the policy would follow, as one line of canonical JSON. The "
    "same\n"
    "policy gives the same bytes on every machine.\n"
    "\n"
    "  --policy P            the policy (YAML or JSON), - for stdin\n" SR_POLICY_GRANT_HELP
    "  --dry-run             required: nothing but a dry run exists\n"
    "  --host                refuse what this host's ceilings do not allow, as a run does (limits\n"
    "                        of its configuration)\n"
    "\n"
    "Exit status: 0; 2 the policy is invalid or cannot be compiled; 64 usage; 1 output error.\n"
    "\n"
    "Example:\n"
    "  safe-run compile --dry-run --policy examples/hello.yaml | jq .firecrackerConfig";

struct arguments {
    const char *policy;
    struct sr_policy_grants grants;
    bool dry_run, host;
};

static const struct sr_option options[] = {
    {"policy", 0, offsetof(struct arguments, policy), sr_option_text, NULL},
    SR_POLICY_GRANT_OPTIONS(struct arguments),
    {"dry-run", 0, offsetof(struct arguments, dry_run), NULL, NULL},
    {"host", 0, offsetof(struct arguments, host), NULL, NULL},
    {0}};

int sr_cmd_compile(int argc, char **argv)
{
    struct arguments arguments = {0};
    int status = sr_options(argc, argv, options, usage, help, &arguments);
    if (status >= 0)
        return status;
    if (optind < argc)
        return sr_usage_error(usage, "unexpected argument '%s'", argv[optind]);
    if (arguments.policy == NULL)
        return sr_usage_error(usage, "--policy is missing");
    struct sr_error err;
    if (!arguments.dry_run) {
        sr_fail(&err, SR_CMP_002, "compile.dryRun",
                "plans are only printed: give --dry-run; 'safe-run run' runs");
        sr_print_error(stderr, &err);
        return SR_EXIT_INVALID;
    }
    sr_cleanup_policy_file struct sr_policy_file file = {0};
    struct sr_ceilings ceilings;
    if (arguments.host && sr_host_ceilings(&ceilings, &err) < 0) {
        sr_print_error(stderr, &err);
        return SR_EXIT_IO;
    }
    status = sr_policy_file_require(arguments.policy, &arguments.grants,
                                    arguments.host ? &ceilings : NULL, &file);
    if (status != SR_EXIT_OK)
        return status;
    sr_cleanup_bundle struct sr_bundle bundle = {0};
    if (sr_compile(file.check.policy, &bundle, &err) < 0) {
        sr_print_error(stderr, &err);
        return SR_EXIT_INVALID;
    }
    bundle.json[bundle.json_len] = '\n'; /* in place of its NUL */
    return sr_emit_text(bundle.json, bundle.json_len + 1) ? SR_EXIT_OK : SR_EXIT_IO;
}
