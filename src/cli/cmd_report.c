#include "cli.h"
#include "saferun/report.h"

#include "jcs.h"

#include <getopt.h>
#include <string.h>
#include <unistd.h>

static const char verify_usage[] =
    "usage: safe-run report verify [--events F] [--artifacts D] [--format text|json] FILE|-";

static const char verify_help[] =
    "\n"
    "Checks a run's report offline: its form, its hashes, the chain of its events, and that its\n"
    "sums follow from them. '-' reads the report from standard input.\n"
    "\n"
    "  --events F        also compare the events with events.jsonl\n"
    "  --artifacts D     also hash the files in D that the report names (policy.json, vmlinux,\n"
    "                    rootfs.img, and those of artifacts.files), e.g. the run directory\n"
    "  --format text|json  how to answer; text on a terminal, else JSON\n"
    "  -h, --help        this text\n"
    "\n"
    "Exit status: 0 valid, 2 invalid or unreadable, 64 usage, 1 the answer cannot be written.\n"
    "\n"
    "Example:\n"
    "  safe-run report verify --events events.jsonl --artifacts . run_report.json";

static void verify_json(struct sr_buf *out, const struct sr_verification *result)
{
    sr_buf_puts(out, result->valid ? "{\"valid\":true" : "{\"valid\":false");
    sr_buf_puts(out, ",\"checks\":[");
    for (size_t i = 0; i < result->check_count; i++) {
        const struct sr_report_check *check = &result->checks[i];
        sr_buf_puts(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        sr_jcs_text(out, check->name);
        sr_buf_puts(out, check->ok ? ",\"ok\":true" : ",\"ok\":false");
        if (check->note[0] != '\0') {
            sr_buf_puts(out, ",\"note\":");
            sr_jcs_text(out, check->note);
        }
        sr_buf_putc(out, '}');
    }
    sr_buf_puts(out, "],\"errors\":");
    sr_error_items(out, result->errors, result->error_count);
    if (result->more_errors > 0) {
        sr_buf_puts(out, ",\"moreErrors\":");
        sr_buf_u64(out, result->more_errors);
    }
    sr_buf_puts(out, "}\n");
}

static void verify_text(struct sr_buf *out, const struct sr_verification *result, bool colour)
{
    const char *good = colour ? "\033[32m" : "", *bad = colour ? "\033[31m" : "";
    const char *plain = colour ? "\033[0m" : "";
    for (size_t i = 0; i < result->check_count; i++) {
        const struct sr_report_check *check = &result->checks[i];
        sr_buf_printf(out, "%s%-6s%s %s%s%s%s\n", check->ok ? good : bad,
                      check->ok ? "ok" : "FAILED", plain, check->name,
                      check->note[0] != '\0' ? " (" : "", check->note,
                      check->note[0] != '\0' ? ")" : "");
    }
    for (size_t i = 0; i < result->error_count; i++) {
        const struct sr_error *error = &result->errors[i];
        sr_buf_printf(out, "%s %s", sr_code_name(error->code), error->path);
        if (error->line > 0)
            sr_buf_printf(out, " (line %u, column %u)", error->line, error->column);
        sr_buf_printf(out, ": %s\n", error->message);
    }
    if (result->more_errors > 0)
        sr_buf_printf(out, "and %llu more errors\n", (unsigned long long)result->more_errors);
    sr_buf_printf(out, "%s%s%s %s, %llu events\n", result->valid ? good : bad,
                  result->valid ? "valid" : "INVALID", plain,
                  result->run_id[0] != '\0' ? result->run_id : "(no run id)",
                  (unsigned long long)result->event_count);
}

static int report_verify(int argc, char **argv)
{
    static const struct option options[] = {
        {"events", required_argument, NULL, 'e'},
        {"artifacts", required_argument, NULL, 'a'},
        {"format", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct sr_verify_options material = {0};
    bool text = isatty(STDOUT_FILENO);
    int c;
    opterr = 0;
    optind = 1;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (c) {
        case 'e':
            material.events_path = optarg;
            break;
        case 'a':
            material.artifacts_dir = optarg;
            break;
        case 'f':
            if (strcmp(optarg, "text") != 0 && strcmp(optarg, "json") != 0)
                return sr_usage_error(verify_usage, "--format is text or json, not '%s'", optarg);
            text = optarg[0] == 't';
            break;
        case 'h':
            puts(verify_usage);
            puts(verify_help);
            return SR_EXIT_OK;
        case ':':
            return sr_usage_error(verify_usage, "%s needs a value", argv[optind - 1]);
        default:
            return sr_usage_error(verify_usage, "unknown option '%s'", argv[optind - 1]);
        }
    }
    if (argc - optind != 1)
        return sr_usage_error(verify_usage,
                              argc == optind ? "no report named" : "more than one report named");

    sr_cleanup_verification struct sr_verification result = {0};
    struct sr_error err;
    if (sr_report_verify(argv[optind], &material, &result, &err) < 0) {
        sr_print_error(stderr, &err);
        return SR_EXIT_IO;
    }
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    if (text)
        verify_text(&out, &result, sr_may_colour(STDOUT_FILENO));
    else
        verify_json(&out, &result);
    if (!sr_emit(&out))
        return SR_EXIT_IO;
    return result.valid ? SR_EXIT_OK : SR_EXIT_INVALID;
}

static const struct sr_subcommand subcommands[] = {
    {"verify", report_verify, "check a report offline"},
    {NULL, NULL, NULL},
};

int sr_cmd_report(int argc, char **argv)
{
    return sr_dispatch("report", subcommands, "safe-run report verify run_report.json", argc, argv);
}
