#include "cli.h"

#include "jcs.h"
#include "saferun/policy.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: safe-run validate [--mount-allowlist F] [--format text|json] POLICY...|-";

static const char help[] =
    "\n"
    "Checks policies and reports every error at once, in document order, each with its code, "
    "field,\n"
    "line, column and a hint.\n"
    "\n"
    "  --mount-allowlist F   what of the host may be mounted (or $SAFE_RUN_MOUNT_ALLOWLIST)\n"
    "  --format text|json    text for people (default on a terminal), one JSON object a file else\n"
    "\n"
    "Exit status: 0 all valid; 2 an error; 64 usage; 1 output error.\n"
    "\n"
    "Example:\n"
    "  safe-run validate policies/*.yaml\n"
    "  generate-policy | safe-run validate - --format json | jq .errors";

struct document {
    const char *name;
    const char *allowlist; /* NULL: the built-in one */
    char *text;            /* NULL when it could not be read */
    size_t len;
    struct sr_check check;
    struct sr_error unreadable;
    const struct sr_error *errors;
    size_t error_count;
};

static void answer_json(struct sr_buf *out, const struct document *document, bool name_it)
{
    sr_buf_puts(out, document->error_count == 0 ? "{\"valid\":true" : "{\"valid\":false");
    if (name_it) {
        sr_buf_puts(out, ",\"file\":");
        sr_jcs_text(out, document->name);
    }
    sr_buf_puts(out, ",\"errors\":");
    sr_error_items(out, document->errors, document->error_count);
    sr_buf_puts(out, ",\"warnings\":");
    sr_error_items(out, document->check.warnings, document->check.warning_count);
    sr_buf_puts(out, ",\"normalizedPolicy\":");
    if (document->check.policy != NULL)
        sr_buf_append(out, document->check.policy->json, document->check.policy->json_len);
    else
        sr_buf_puts(out, "null");
    sr_buf_puts(out, "}\n");
}

/* The line of the document and a caret under the column (which counts characters). Control
 * characters are not passed on to the terminal. */
static void quote_line(struct sr_buf *out, const struct document *document,
                       const struct sr_error *err, const char *mark)
{
    const char *at = document->text, *end = at + document->len;
    for (unsigned line = 1; line < err->line && at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline == NULL ? end : newline + 1;
    }
    sr_buf_puts(out, "    ");
    unsigned column = 1, before = 0;
    size_t shown = 0;
    for (; at < end && *at != '\n' && shown < 160; at++, shown++) {
        bool control = (unsigned char)*at < ' ' || *at == 0x7f;
        sr_buf_putc(out, *at == '\t' || control ? ' ' : *at);
        if (((unsigned char)*at & 0xC0) != 0x80 && column++ < err->column)
            before++;
    }
    sr_buf_puts(out, "\n    ");
    for (unsigned i = 0; i < before; i++)
        sr_buf_putc(out, ' ');
    sr_buf_printf(out, "%s^\n", mark);
}

static void finding_text(struct sr_buf *out, const struct document *document,
                         const struct sr_error *err, const char *kind, const char *colour)
{
    const char *plain = colour[0] != '\0' ? "\033[0m" : "";
    bool elsewhere = strncmp(err->path, SR_ALLOWLIST_PATH, strlen(SR_ALLOWLIST_PATH)) == 0;
    sr_buf_puts(out, elsewhere ? document->allowlist : document->name);
    if (err->line > 0)
        sr_buf_printf(out, ":%u:%u", err->line, err->column);
    sr_buf_printf(out, ": %s%s%s: %s: %s [%s]\n", colour, kind, plain, err->path, err->message,
                  sr_code_name(err->code));
    if (err->line > 0 && document->text != NULL && !elsewhere) {
        quote_line(out, document, err, colour);
        sr_buf_puts(out, plain);
    }
    if (err->hint[0] != '\0')
        sr_buf_printf(out, "    hint: %s\n", err->hint);
}

static void answer_text(struct sr_buf *out, const struct document *document, bool colour)
{
    for (size_t i = 0; i < document->error_count; i++)
        finding_text(out, document, &document->errors[i], "error", colour ? "\033[31m" : "");
    for (size_t i = 0; i < document->check.warning_count; i++)
        finding_text(out, document, &document->check.warnings[i], "warning",
                     colour ? "\033[33m" : "");
    if (document->error_count == 0)
        sr_buf_printf(out, "%s: valid\n", document->name);
    else
        sr_buf_printf(out, "%s: %zu error%s\n", document->name, document->error_count,
                      document->error_count == 1 ? "" : "s");
}

/* False when memory is out. */
static bool check(struct document *document, struct sr_error *err)
{
    if (sr_policy_read(document->name, &document->text, &document->len, &document->unreadable) <
        0) {
        document->errors = &document->unreadable;
        document->error_count = 1;
        return true;
    }
    if (sr_policy_check(document->text, document->len, document->allowlist, &document->check, err) <
        0)
        return false;
    document->errors = document->check.errors;
    document->error_count = document->check.error_count;
    return true;
}

static int validate(char **names, int count, const char *allowlist, bool text)
{
    int status = SR_EXIT_OK;
    for (int i = 0; i < count; i++) {
        struct document document = {.name = names[i], .allowlist = allowlist};
        struct sr_error err;
        sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
        bool done = check(&document, &err);
        if (!done)
            sr_print_error(stderr, &err);
        else if (text)
            answer_text(&out, &document, sr_may_colour(STDOUT_FILENO));
        else
            answer_json(&out, &document, count > 1);
        if (document.error_count > 0 && status == SR_EXIT_OK)
            status = SR_EXIT_INVALID;
        free(document.text);
        sr_check_free(&document.check);
        if (!done || !sr_emit(&out))
            return SR_EXIT_IO;
    }
    return status;
}

int sr_cmd_validate(int argc, char **argv)
{
    static const struct option options[] = {
        {"mount-allowlist", required_argument, NULL, 'm'},
        {"format", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *allowlist = getenv("SAFE_RUN_MOUNT_ALLOWLIST");
    bool text = isatty(STDOUT_FILENO);
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) >= 0) {
        switch (option) {
        case 'm':
            allowlist = optarg;
            break;
        case 'f':
            if (strcmp(optarg, "text") != 0 && strcmp(optarg, "json") != 0)
                return sr_usage_error(usage, "--format is text or json, not '%s'", optarg);
            text = optarg[0] == 't';
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
    if (optind == argc)
        return sr_usage_error(usage, "no policy named");
    return validate(argv + optind, argc - optind, allowlist, text);
}
