#include "cli/cli.h"
#include "cli/options.h"
#include "cli/policy_file.h"

#include "saferun/bundle.h"

#include <getopt.h>
#include <stdbool.h>

struct arguments {
    const char *policy;
    struct sr_policy_grants grants;
    bool dry_run, host;
};

#define AT(field) offsetof(struct arguments, field)
static const struct sr_option options[] = {
    {.name = "dry-run",
     .at = AT(dry_run),
     .help = "required: nothing but a dry run exists",
     .required = true},
    {.name = "policy",
     .at = AT(policy),
     .take = sr_option_text,
     .value = "P",
     .help = "the policy (YAML or JSON), - for standard input",
     .required = true},
    SR_POLICY_GRANT_OPTIONS(struct arguments),
    {.name = "host",
     .at = AT(host),
     .help = "refuse what this host's ceilings do not allow, as a run does (limits of its "
             "configuration)"},
    {0}};

static const struct cli_command compile_command = {
    .name = "compile",
    .about = "Prints the plans that a run of the policy would follow, as one line of canonical "
             "JSON. The same policy gives the same bytes on every machine.",
    .options = options,
    .status = "0; 2 the policy is invalid or cannot be compiled; 64 usage; 1 output error.",
    .example = "  safe-run compile --dry-run --policy examples/hello.yaml | jq .firecrackerConfig",
};

int sr_cmd_compile(int argc, char **argv)
{
    struct arguments arguments = {0};
    int status = sr_options(argc, argv, &compile_command, &arguments);
    if (status >= 0)
        return status;
    if (optind < argc)
        return sr_usage_error(&compile_command, "unexpected argument '%s'", argv[optind]);
    if (arguments.policy == NULL)
        return sr_usage_error(&compile_command, "--policy is missing");
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
