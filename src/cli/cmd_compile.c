#include "cli.h"
#include "policy_file.h"

#include "saferun/bundle.h"

#include <getopt.h>
#include <stdbool.h>

static const char usage[] = "usage: safe-run compile --dry-run --policy P [--mount-allowlist F]";

static const char help[] =
    "\n"
    "Prints the plans that a run of the policy would follow, as one line of canonical JSON. The "
    "same\n"
    "policy gives the same bytes on every machine.\n"
    "\n"
    "  --policy P            the policy (YAML or JSON), - for stdin\n"
    "  --mount-allowlist F   what of the host may be mounted (or $SAFE_RUN_MOUNT_ALLOWLIST)\n"
    "  --dry-run             required: nothing but a dry run exists\n"
    "\n"
    "Exit status: 0; 2 the policy is invalid or cannot be compiled; 64 usage; 1 output error.\n"
    "\n"
    "Example:\n"
    "  safe-run compile --dry-run --policy examples/hello.yaml | jq .firecrackerConfig";

int sr_cmd_compile(int argc, char **argv)
{
    static const struct option options[] = {
        {"policy", required_argument, NULL, 'p'},
        {"mount-allowlist", required_argument, NULL, 'm'},
        {"dry-run", no_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *policy = NULL, *allowlist = sr_policy_file_allowlist();
    bool dry_run = false;
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:h", options, NULL)) >= 0) {
        switch (option) {
        case 'p':
            policy = optarg;
            break;
        case 'm':
            allowlist = optarg;
            break;
        case 'n':
            dry_run = true;
            break;
        case 'h':
            puts(usage);
            puts(help);
            return SR_EXIT_OK;
        case ':':
            return sr_usage_error(usage, "%s needs a value", argv[optind - 1]);
        default:
            return sr_usage_error(usage, "unknown option %s", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return sr_usage_error(usage, "unexpected argument '%s'", argv[optind]);
    if (policy == NULL)
        return sr_usage_error(usage, "--policy is missing");
    struct sr_error err;
    if (!dry_run) {
        sr_fail(&err, SR_CMP_002, "compile.dryRun",
                "plans are only printed: give --dry-run; 'safe-run run' runs");
        sr_print_error(stderr, &err);
        return SR_EXIT_INVALID;
    }
    sr_cleanup_policy_file struct sr_policy_file file = {0};
    int status = sr_policy_file_require(policy, allowlist, &file);
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
