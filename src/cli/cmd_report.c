#include "cli/cmd_report.h"
#include "cli/options.h"
#include "saferun/report.h"

#include "common/jcs.h"

#include <getopt.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* note: about the whole; may be NULL. */
static void verify_json(struct sr_buf *out, const struct sr_verification *result, const char *note)
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
    cli_error_items(out, result->errors, result->error_count);
    if (result->more_errors > 0) {
        sr_buf_puts(out, ",\"moreErrors\":");
        sr_buf_u64(out, result->more_errors);
    }
    if (note != NULL) {
        sr_buf_puts(out, ",\"note\":");
        sr_jcs_text(out, note);
    }
    sr_buf_puts(out, "}\n");
}

static void verify_text(struct sr_buf *out, const struct sr_verification *result, const char *note,
                        bool colour)
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
    if (note != NULL)
        sr_buf_printf(out, "note: %s\n", note);
    sr_buf_printf(out, "%s%s%s %s, %llu events\n", result->valid ? good : bad,
                  result->valid ? "valid" : "INVALID", plain,
                  result->run_id[0] != '\0' ? result->run_id : "(no run id)",
                  (unsigned long long)result->event_count);
}

/* Public keys that one verification takes: as many as an attestation has signatures. */
enum { MAX_KEYS = 16 };

struct verify_arguments {
    struct sr_verify_options material;
    const char *keys[MAX_KEYS];
    const char *report;
    char found[PATH_MAX]; /* the report that a directory or a run means */
    bool text, as_text, as_json;
    char beside[PATH_MAX]; /* where the report's attestation is by default; empty: nowhere */
};

/* The attestation in the directory of the report, and whether there is one. */
static bool find_beside(struct verify_arguments *arguments)
{
    const char *report = arguments->report, *slash = strrchr(report, '/');
    if (strcmp(report, "-") == 0)
        return false;
    int len = snprintf(arguments->beside, sizeof arguments->beside, "%.*s" SR_ATTESTATION_FILE,
                       slash != NULL ? (int)(slash - report) + 1 : 0, report);
    return len < (int)sizeof arguments->beside && access(arguments->beside, F_OK) == 0;
}

static bool take_key(const char *value, void *all)
{
    struct verify_arguments *arguments = all;
    if (arguments->material.key_count == MAX_KEYS)
        return false;
    arguments->keys[arguments->material.key_count++] = value;
    return true;
}

#define AT(field) offsetof(struct verify_arguments, field)
static const struct cli_option verify_options[] = {
    {.name = "events",
     .at = AT(material.events_path),
     .take = cli_option_text,
     .value = "F",
     .help = "also compare the events with events.jsonl"},
    {.name = "artifacts",
     .at = AT(material.artifacts_dir),
     .take = cli_option_text,
     .value = "D",
     .help = "also hash the files in D that the report names (policy.json, vmlinux, rootfs.img, "
             "those of artifacts.files, and outputs/), e.g. the run directory"},
    {.name = "outputs",
     .at = AT(material.outputs_dir),
     .take = cli_option_text,
     .value = "D",
     .help = "also hash the outputs in D, which was --output-dir of the run"},
    {.name = "key",
     .take = take_key,
     .value = "K",
     .help = "also check that the holder of this public key (PEM) has signed the report; several: "
             "that each has",
     .takes = "a few keys, no more",
     .repeats = true},
    {.name = "attestation",
     .at = AT(material.attestation_path),
     .take = cli_option_text,
     .value = "F",
     .help = "where the signatures are; run_report.dsse.json beside the report otherwise"},
    {.name = "format",
     .at = AT(text),
     .take = cli_option_format,
     .value = "text|json",
     .help = "how to answer; text on a terminal, else JSON",
     .takes = CLI_TAKES_FORMAT},
    {.name = "text", .at = AT(as_text), .help = "the same as --format text"},
    {.name = "json", .at = AT(as_json), .help = "the same as --format json"},
    {0}};

static const struct cli_command verify_command = {
    .name = "report verify",
    .operands = "FILE|-",
    .about = "Checks a run's report offline: its form, its hashes, the chain of its events, and "
             "that its sums follow from them. '-' reads the report from standard input.\n"
             "\n" RUN_NAME_HELP,
    .options = verify_options,
    .status = "0 valid, 2 invalid or unreadable, 64 usage, 1 the answer cannot be written.",
    .example = "  safe-run report verify --artifacts . --key ci.pub run_report.json",
};

/* Sets arguments->report when there is something to verify; else returns the exit status. */
static int parse_verify(int argc, char **argv, struct verify_arguments *arguments)
{
    struct sr_verify_options *material = &arguments->material;
    int status = cli_options(argc, argv, &verify_command, arguments);
    if (status >= 0)
        return status;
    arguments->text = (arguments->text && !arguments->as_json) || arguments->as_text;
    if (argc - optind != 1)
        return cli_usage_error(&verify_command,
                               argc == optind ? "no report named" : "more than one report named");
    struct sr_error err;
    const char *report;
    if (run_name_report(argv[optind], arguments->found, &report, &err) < 0) {
        cli_print_error(stderr, &err);
        return CLI_EXIT_INVALID;
    }
    arguments->report = report;
    material->key_paths = arguments->keys;
    return CLI_EXIT_OK;
}

static int report_verify(int argc, char **argv)
{
    struct verify_arguments arguments = {.text = isatty(STDOUT_FILENO)};
    struct sr_verify_options *material = &arguments.material;
    int status = parse_verify(argc, argv, &arguments);
    if (arguments.report == NULL)
        return status;
    bool unused = false; /* there is an attestation, and nothing to check it with */
    if (material->attestation_path != NULL && material->key_count == 0)
        return cli_usage_error(&verify_command,
                               "--attestation needs --key: whose signature is it?");
    if (material->attestation_path == NULL) {
        bool found = find_beside(&arguments);
        unused = found && material->key_count == 0;
        if (material->key_count > 0 && arguments.beside[0] == '\0')
            return cli_usage_error(&verify_command,
                                   "--key needs --attestation when the report has no directory");
        if (material->key_count > 0)
            material->attestation_path = arguments.beside;
    }

    sr_cleanup_verification struct sr_verification result = {0};
    struct sr_error err;
    if (sr_report_verify(arguments.report, material, &result, &err) < 0) {
        cli_print_error(stderr, &err);
        return CLI_EXIT_IO;
    }
    const char *note = unused ? SR_ATTESTATION_FILE " lies beside the report and was not checked: "
                                                    "--key names the public key of who signed it"
                              : NULL;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    if (arguments.text)
        verify_text(&out, &result, note, cli_may_colour(STDOUT_FILENO));
    else
        verify_json(&out, &result, note);
    if (!cli_emit(&out))
        return CLI_EXIT_IO;
    return result.valid ? CLI_EXIT_OK : CLI_EXIT_INVALID;
}

static const struct cli_subcommand subcommands[] = {
    {"verify", report_verify, "check a report offline"},
    {"show", cli_report_show, "what ran, where it went, what was stopped"},
    {"html", cli_report_html, "the same as a page for a browser"},
    {"diff", cli_report_diff, "what differs between two runs"},
    {"export", cli_report_export, "events as OCSF records for log systems"},
    {"attest", cli_cmd_report_attest, "sign a report"},
    {"archive", cli_cmd_report_archive, "keep a run in the archive"},
    {NULL, NULL, NULL},
};

int cli_cmd_report(int argc, char **argv)
{
    return cli_dispatch("report", subcommands, "safe-run report verify last", argc, argv);
}
