#include "cli/cli.h"
#include "cli/options.h"

#include "common/jcs.h"
#include "common/printable.h"
#include "saferun/doctor.h"

#include <getopt.h>
#include <jansson.h>
#include <unistd.h>

static const char *const results[] = {
    [SR_DOCTOR_OK] = "ok", [SR_DOCTOR_WARNING] = "warning", [SR_DOCTOR_FAILURE] = "failed"};

static void print_line(void *context, const struct sr_doctor_check *check)
{
    static const char *const colours[] = {
        [SR_DOCTOR_OK] = "32", [SR_DOCTOR_WARNING] = "33", [SR_DOCTOR_FAILURE] = "31"};
    const bool *colour = context;
    struct sr_doctor_check shown = *check;
    sr_make_printable(shown.text);
    if (*colour)
        printf("\033[%sm%-8s\033[0m", colours[shown.result], results[shown.result]);
    else
        printf("%-8s", results[shown.result]);
    printf(" %-9s %s\n", shown.name, shown.text);
    fflush(stdout); /* the next one may take a second */
}

static void add_object(void *context, const struct sr_doctor_check *check)
{
    json_array_append_new(context, json_pack("{s:s,s:s,s:s}", "name", check->name, "result",
                                             results[check->result], "text", check->text));
}

struct arguments {
    const char *base;
    bool json;
};

static const struct cli_option options[] = {
    {.name = "json",
     .at = offsetof(struct arguments, json),
     .help = "one object: {\"checks\": [{\"name\", \"result\", \"text\"}], \"ready\"}"},
    {.name = "workdir-base",
     .at = offsetof(struct arguments, base),
     .take = cli_option_text,
     .value = "D",
     .help = "where run directories are (or $SAFE_RUN_WORKDIR_BASE)"},
    {0}};

static const struct cli_command doctor_command = {
    .name = "doctor",
    .about = "Says what this host can do for runs, and what to do about what it cannot: boots a "
             "guest under each accelerator, sets up a network with its rules, and looks at what "
             "held.",
    .options = options,
    .status = "0 runs can run (with warnings: not all kinds), 1 none can, 64 usage.",
    .example = "  safe-run doctor",
};

static int print_json(const char *base)
{
    json_t *checks = json_array();
    bool ready = sr_doctor(base, add_object, checks);
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    json_t *answer = json_pack("{s:o,s:b}", "checks", checks, "ready", ready);
    sr_jcs_value(&out, answer);
    json_decref(answer);
    sr_buf_putc(&out, '\n');
    return !cli_emit(&out) || !ready ? CLI_EXIT_IO : CLI_EXIT_OK;
}

int cli_cmd_doctor(int argc, char **argv)
{
    struct arguments arguments = {0};
    int status = cli_options(argc, argv, &doctor_command, &arguments);
    if (status >= 0)
        return status;
    if (optind < argc)
        return cli_usage_error(&doctor_command, "unexpected argument '%s'", argv[optind]);
    if (arguments.json)
        return print_json(arguments.base);
    bool colour = cli_may_colour(STDOUT_FILENO);
    return sr_doctor(arguments.base, print_line, &colour) ? CLI_EXIT_OK : CLI_EXIT_IO;
}
