#include "cli/cli.h"
#include "cli/options.h"
#include "cli/policy_file.h"

#include "saferun/bundle.h"

#include <getopt.h>
#include <stdbool.h>

struct arguments {
    const char *policy;
    struct cli_policy_grants grants;
    bool dry_run, host;
};

#define AT(field) offsetof(struct arguments, field)
static const struct cli_option options[] = {
    {.name = "dry-run",
     .at = AT(dry_run),
     .help = "required: nothing but a dry run exists",
     .required = true},
    CLI_POLICY_OPTION(struct arguments),
    CLI_POLICY_GRANT_OPTIONS(struct arguments),
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

int cli_cmd_compile(int argc, char **argv)
{
    struct arguments arguments = {0};
    int status = cli_options(argc, argv, &compile_command, &arguments);
    if (status >= 0)
        return status;
    if (optind < argc)
        return cli_usage_error(&compile_command, "unexpected argument '%s'", argv[optind]);
    if (arguments.policy == NULL)
        return cli_usage_error(&compile_command, "--policy is missing");
    struct sr_error err;
    if (!arguments.dry_run) {
        sr_fail(&err, SR_CMP_002, "compile.dryRun",
                "plans are only printed: give --dry-run; 'safe-run run' runs");
        cli_print_error(stderr, &err);
        return CLI_EXIT_INVALID;
    }
    sr_cleanup_policy_file struct cli_policy_file file = {0};
    struct sr_ceilings ceilings;
    if (arguments.host && sr_host_ceilings(&ceilings, &err) < 0) {
        cli_print_error(stderr, &err);
        return CLI_EXIT_IO;
    }
    status = cli_policy_file_require(arguments.policy, &arguments.grants,
                                     arguments.host ? &ceilings : NULL, &file);
    if (status != CLI_EXIT_OK)
        return status;
    sr_cleanup_bundle struct sr_bundle bundle = {0};
    if (sr_compile(file.check.policy, &bundle, &err) < 0) {
        cli_print_error(stderr, &err);
        return CLI_EXIT_INVALID;
    }
    bundle.json[bundle.json_len] = '\n'; /* in place of its NUL */
    return cli_emit_text(bundle.json, bundle.json_len + 1) ? CLI_EXIT_OK : CLI_EXIT_IO;
}
