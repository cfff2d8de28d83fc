#include "cli/cli.h"
#include "cli/options.h"
#include "cli/policy_file.h"

#include "common/jcs.h"

#include <getopt.h>
#include <string.h>
#include <unistd.h>

struct arguments {
    struct cli_policy_grants grants;
    bool text, host;
};

static const struct cli_option options[] = {
    CLI_POLICY_GRANT_OPTIONS(struct arguments),
    {.name = "format",
     .at = offsetof(struct arguments, text),
     .take = cli_option_format,
     .value = "text|json",
     .help = "text for people (default on a terminal), one JSON object a file else",
     .takes = CLI_TAKES_FORMAT},
    {.name = "host",
     .at = offsetof(struct arguments, host),
     .help = "hold them to this host's ceilings too, as a run does (limits of its configuration)"},
    {0}};

static const struct cli_command validate_command = {
    .name = "validate",
    .operands = "POLICY...|-",
    .about = "Checks policies and reports every error at once, in document order, each with its "
             "code, field, line, column and a hint.",
    .options = options,
    .status = "0 all valid; 2 an error; 64 usage; 1 output error, or no host configuration that "
              "can be used.",
    .example = "  safe-run validate policies/*.yaml\n"
               "  generate-policy | safe-run validate - --format json | jq .errors",
};

static void answer_json(struct sr_buf *out, const struct cli_policy_file *file, bool name_it)
{
    sr_buf_puts(out, file->error_count == 0 ? "{\"valid\":true" : "{\"valid\":false");
    if (name_it) {
        sr_buf_puts(out, ",\"file\":");
        sr_jcs_text(out, file->name);
    }
    sr_buf_puts(out, ",\"errors\":");
    cli_error_items(out, file->errors, file->error_count);
    sr_buf_puts(out, ",\"warnings\":");
    cli_error_items(out, file->check.warnings, file->check.warning_count);
    sr_buf_puts(out, ",\"normalizedPolicy\":");
    if (file->check.policy != NULL)
        sr_buf_append(out, file->check.policy->json, file->check.policy->json_len);
    else
        sr_buf_puts(out, "null");
    sr_buf_puts(out, "}\n");
}

static void answer_text(struct sr_buf *out, const struct cli_policy_file *file, bool colour)
{
    cli_policy_file_errors(out, file, colour);
    for (size_t i = 0; i < file->check.warning_count; i++)
        cli_policy_file_finding(out, file, &file->check.warnings[i], "warning",
                                colour ? "\033[33m" : "");
    cli_buf_printable(out, file->name);
    if (file->error_count == 0)
        sr_buf_puts(out, ": valid\n");
    else
        sr_buf_printf(out, ": %zu error%s\n", file->error_count, file->error_count == 1 ? "" : "s");
}

static int validate(char **names, int count, const struct cli_policy_grants *grants,
                    const struct sr_ceilings *ceilings, bool text)
{
    int status = CLI_EXIT_OK;
    for (int i = 0; i < count; i++) {
        sr_cleanup_policy_file struct cli_policy_file file = {0};
        struct sr_error err;
        sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
        if (cli_policy_file_check(names[i], grants, ceilings, &file, &err) < 0) {
            cli_print_error(stderr, &err);
            return CLI_EXIT_IO;
        }
        if (text)
            answer_text(&out, &file, cli_may_colour(STDOUT_FILENO));
        else
            answer_json(&out, &file, count > 1);
        if (file.error_count > 0)
            status = CLI_EXIT_INVALID;
        if (!cli_emit(&out))
            return CLI_EXIT_IO;
    }
    return status;
}

int cli_cmd_validate(int argc, char **argv)
{
    struct arguments arguments = {.text = isatty(STDOUT_FILENO)};
    int status = cli_options(argc, argv, &validate_command, &arguments);
    if (status >= 0)
        return status;
    if (optind == argc)
        return cli_usage_error(&validate_command, "no policy named");
    if ((status = cli_one_stdin(&validate_command, argc - optind, argv + optind)) != CLI_EXIT_OK)
        return status;
    struct sr_ceilings ceilings;
    struct sr_error err;
    if (arguments.host && sr_host_ceilings(&ceilings, &err) < 0) {
        cli_print_error(stderr, &err);
        return CLI_EXIT_IO;
    }
    return validate(argv + optind, argc - optind, &arguments.grants,
                    arguments.host ? &ceilings : NULL, arguments.text);
}
