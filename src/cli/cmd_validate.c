#include "cli.h"

#include "jcs.h"
#include "printable.h"
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

/* Bytes of the first count characters of a text. */
static size_t characters(const char *text, size_t len, size_t count)
{
    size_t at = 0;
    while (at < len && (((unsigned char)text[at] & 0xC0) == 0x80 || count-- > 0))
        at++;
    return at;
}

/* The line of the document and a caret under the column (which counts characters). Of a long line only what is around
 * the column is shown; nothing harmful is passed on to the terminal. */
static void quote_line(struct sr_buf *out, const struct document *document,
                       const struct sr_error *err, const char *mark)
{
    enum { BEFORE = 70, SHOWN = 110 };
    const char *at = document->text, *end = at + document->len;
    for (unsigned line = 1; line < err->line && at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline == NULL ? end : newline + 1;
    }
    if (err->line == 1 && end - at >= 3 && memcmp(at, "\xEF\xBB\xBF", 3) == 0)
        at += 3;
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    size_t len = (size_t)((newline == NULL ? end : newline) - at);
    if (len > 0 && at[len - 1] == '\r')
        len--;
    bool cut = err->column > BEFORE + 20;
    unsigned column = cut ? BEFORE : err->column;
    if (cut) {
        size_t skipped = characters(at, len, err->column - BEFORE);
        at += skipped;
        len -= skipped;
    }
    char shown[4 * SHOWN + 1];
    size_t bytes = characters(at, len, SHOWN);
    bytes = bytes < sizeof shown ? bytes : sizeof shown - 1;
    memcpy(shown, at, bytes);
    shown[bytes] = '\0';
    for (size_t i = 0; i < bytes; i++)
        if (shown[i] == '\t' || shown[i] == '\0')
            shown[i] = ' ';
    sr_make_printable(shown);
    sr_buf_printf(out, "    %s%s%s\n    %*s%s^\n", cut ? "..." : "", shown,
                  bytes < len ? "..." : "", (int)column - 1 + (cut ? 3 : 0), "", mark);
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
