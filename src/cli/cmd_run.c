#include "cli/cli.h"
#include "cli/options.h"
#include "cli/policy_file.h"

#include "saferun/report.h"
#include "saferun/run.h"
#include "saferun/runs.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run_arguments {
    const char *policy;
    struct cli_policy_grants grants;
    struct sr_run_options options;
    bool json, verbose;
};

static bool take_timeout(const char *value, void *field)
{
    uint64_t seconds = 0;
    bool good = cli_option_number(value, 1, 604800, &seconds);
    *(uint32_t *)field = (uint32_t)seconds;
    return good;
}

static bool take_accel(const char *value, void *field)
{
    static const char *const names[] = {[SR_ACCEL_CHOICE_AUTO] = "auto",
                                        [SR_ACCEL_CHOICE_KVM] = "kvm",
                                        [SR_ACCEL_CHOICE_TCG] = "tcg"};
    for (int i = 0; i < 3; i++)
        if (strcmp(value, names[i]) == 0) {
            *(enum sr_accel_choice *)field = (enum sr_accel_choice)i;
            return true;
        }
    return false;
}

static bool take_directory(const char *value, void *field)
{
    return cli_option_text(value, field) && value[0] != '\0';
}

static bool take_vmm(const char *value, void *field)
{
    (void)field;
    return strcmp(value, "qemu") == 0;
}

#define AT(field) offsetof(struct run_arguments, field)
static const struct cli_option run_options[] = {
    CLI_POLICY_OPTION(struct run_arguments),
    CLI_POLICY_GRANT_OPTIONS(struct run_arguments),
    {.name = "stdin",
     .at = AT(options.with_stdin),
     .help = "pass this standard input on to the command (default: /dev/null)"},
    {.name = "timeout",
     .at = AT(options.timeout_sec),
     .take = take_timeout,
     .value = "S",
     .help = "end the command after S seconds instead of the policy's timeoutSec",
     .takes = "whole seconds from 1 to 604800"},
    {.name = "json",
     .at = AT(json),
     .help = "print one JSON object about the run instead of the command's output, which is left "
             "in the run directory"},
    {.name = "accel",
     .at = AT(options.accel),
     .take = take_accel,
     .value = "auto|kvm|tcg",
     .help = "what runs the guest's instructions (default auto: KVM where it works)",
     .takes = "auto, kvm or tcg"},
    {.name = "vmm",
     .take = take_vmm,
     .value = "qemu",
     .help = "the virtual machine monitor",
     .takes = "qemu (this version has no other)"},
    {.name = "output-dir",
     .at = AT(options.output_dir),
     .take = take_directory,
     .value = "D",
     .help = "leave the policy's outputs in D, not in the run directory",
     .takes = "the name of a directory"},
    {.name = "workdir-base",
     .at = AT(options.workdir_base),
     .take = cli_option_text,
     .value = "D",
     .help = "where run directories are made (or $SAFE_RUN_WORKDIR_BASE)"},
    {.name = "rehash",
     .at = AT(options.rehash),
     .help = "make hashes, copies and packed mounts again, whatever is kept"},
    {.name = "keep", .at = AT(options.keep), .help = "gc is not to remove the run directory"},
    {.name = "verbose",
     .letter = 'v',
     .at = AT(verbose),
     .help = "say on stderr what is being done"},
    {0}};

static const struct cli_command run_command = {
    .name = "run",
    .operands = "[-- ARGS...]",
    .about =
        "Runs the policy's command in a microVM. Its output comes out on stdout and stderr as it "
        "is produced, and its exit status is the exit status (128+n for signal n). ARGS are "
        "appended to the policy's runtime.args.\n"
        "\n"
        "Ctrl-C is passed on to the command; a second one ends the VM. SIGTERM and SIGHUP end it "
        "in an orderly way.",
    .options = run_options,
    .status = "the command's; 124 timed out; 125 safe-run could not run it or could not keep its "
              "promises; 126 not executable, 127 not found in the guest; 64 usage.",
    .example = "  safe-run run --policy examples/hello.yaml\n"
               "  tar c src | safe-run run --policy build.yaml --stdin --timeout 60 > out.log",
};

/* Returns -1 to go on, or the exit status. */
static int parse_arguments(int argc, char **argv, struct run_arguments *arguments)
{
    struct sr_run_options *options = &arguments->options;
    int status = cli_options_first(argc, argv, &run_command, arguments);
    if (status >= 0)
        return status;
    bool separated = optind > 1 && strcmp(argv[optind - 1], "--") == 0;
    if (optind < argc && !separated)
        return cli_usage_error(&run_command,
                               "unexpected argument '%s'; arguments for the command come after --",
                               argv[optind]);
    if (arguments->policy == NULL)
        return cli_usage_error(&run_command, "--policy is missing");
    if (options->with_stdin && strcmp(arguments->policy, "-") == 0)
        return cli_usage_error(&run_command, "the policy and the command cannot both have stdin");
    options->more_args = (const char *const *)argv + optind;
    return -1;
}

static void print_progress(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "safe-run: %s\n", text);
}

static void print_warning(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "safe-run: warning: %s\n", text);
}

/* An error as the object that the contract has for it (ErrorItem). */
static json_t *error_item(const struct sr_error *error)
{
    json_t *item =
        json_pack("{s:s,s:s,s:s,s:s*}", "code", sr_code_name(error->code), "path", error->path,
                  "message", error->message, "hint", error->hint[0] != '\0' ? error->hint : NULL);
    if (error->line > 0)
        json_object_update_new(
            item, json_pack("{s:i,s:i}", "line", (int)error->line, "column", (int)error->column));
    return item;
}

/* {"runId","state","exitCode","report","artifacts"}, and the error when there is one; file's errors
 * when it has some. */
static int print_json(const struct sr_run_result *result, const struct cli_policy_file *file)
{
    const char *dir = result->run_dir;
    json_t *object =
        json_pack("{s:s?,s:s,s:i,s:s}", "runId", result->run_id[0] != '\0' ? result->run_id : NULL,
                  "state", result->finished ? "finished" : "failed", "exitCode", result->exit_code,
                  "cause", sr_cause_name(result->cause));
    json_object_set_new(object, "report",
                        result->report_written ? json_sprintf("%s/run_report.json", dir)
                                               : json_null());
    if (result->report_signed)
        json_object_set_new(object, "attestation", json_sprintf("%s/" SR_ATTESTATION_FILE, dir));
    json_object_set_new(object, "artifacts",
                        dir[0] == '\0' ? json_object()
                                       : json_pack("{s:s,s:o,s:o,s:o,s:o}", "runDir", dir, "stdout",
                                                   json_sprintf("%s/stdout.log", dir), "stderr",
                                                   json_sprintf("%s/stderr.log", dir), "console",
                                                   json_sprintf("%s/console.log", dir), "events",
                                                   json_sprintf("%s/events.jsonl", dir)));
    if (result->output_dir[0] != '\0')
        json_object_set_new(json_object_get(object, "artifacts"), "outputs",
                            json_string(result->output_dir));
    if (result->error.code != SR_OK)
        json_object_set_new(object, "error", error_item(&result->error));
    if (file->error_count > 0) {
        json_t *errors = json_array();
        for (size_t i = 0; i < file->error_count; i++)
            json_array_append_new(errors, error_item(&file->errors[i]));
        json_object_set_new(object, "errors", errors);
    }
    int failed = json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
    putchar('\n');
    return failed != 0 || fflush(stdout) != 0 ? SR_EXIT_FAILED : result->exit_code;
}

/* Of a run that safe-run could not bring to the command's own end: where to look. */
static void print_where(const struct sr_run_result *result, const char *base)
{
    if (result->run_id[0] == '\0' || !result->report_written)
        return;
    /* With a base of its own the run is found by its directory. */
    fprintf(stderr, "safe-run: run %s: safe-run report show %s\n", result->run_id,
            base != NULL ? result->run_dir : sr_run_suffix(result->run_id));
}

int cli_cmd_run(int argc, char **argv)
{
    struct run_arguments arguments = {0};
    int status = parse_arguments(argc, argv, &arguments);
    if (status >= 0)
        return status;

    sr_cleanup_policy_file struct cli_policy_file file = {0};
    struct sr_run_result result = {.exit_code = SR_EXIT_FAILED, .cause = SR_CAUSE_SETUP};
    struct sr_ceilings ceilings;
    if (sr_host_ceilings(&ceilings, &result.error) < 0) {
        cli_print_error(stderr, &result.error);
        return arguments.json ? print_json(&result, &file) : SR_EXIT_FAILED;
    }
    if (cli_policy_file_require(arguments.policy, &arguments.grants, &ceilings, &file) !=
        CLI_EXIT_OK) {
        result.error = file.errors[0];
        return arguments.json ? print_json(&result, &file) : SR_EXIT_FAILED;
    }

    struct sr_run_options *options = &arguments.options;
    options->policy = file.check.policy;
    options->confine = true;
    options->stdin_fd = STDIN_FILENO;
    options->stdout_fd = arguments.json ? -1 : STDOUT_FILENO;
    options->stderr_fd = arguments.json ? -1 : STDERR_FILENO;
    options->progress = arguments.verbose ? print_progress : NULL;
    options->warn = print_warning;
    struct cli_meter meter = {0};
    options->meter = !arguments.json && isatty(STDERR_FILENO) ? cli_meter_show : NULL;
    options->progress_context = &meter;
    sr_run(options, &result);

    if (result.error.code != SR_OK)
        cli_print_error(stderr, &result.error);
    if (result.error.code != SR_OK || result.cause != SR_CAUSE_WORKLOAD)
        print_where(&result, options->workdir_base);
    if (arguments.verbose && result.run_dir[0] != '\0')
        fprintf(stderr, "safe-run: evidence is in %s\n", result.run_dir);
    return arguments.json ? print_json(&result, &file) : result.exit_code;
}
