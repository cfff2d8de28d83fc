#include "cli/policy_file.h"

#include "cli/cli.h"
#include "common/printable.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The mount allowlist that is in force; NULL: the built-in one. */
static const char *find_allowlist(const struct cli_policy_grants *grants)
{
    if (grants->allowlist != NULL)
        return grants->allowlist; /* an empty name too: it cannot be read, and that is said */
    const char *path = getenv("SAFE_RUN_MOUNT_ALLOWLIST");
    return path != NULL && path[0] != '\0' ? path : NULL;
}

/* The directory part of a name; NULL when memory is out. */
static char *directory_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    if (slash == NULL)
        return strdup(".");
    return slash == name ? strdup("/") : strndup(name, (size_t)(slash - name));
}

int cli_policy_file_check(const char *name, const struct cli_policy_grants *grants,
                          const struct sr_ceilings *ceilings, struct cli_policy_file *file,
                          struct sr_error *err)
{
    *file = (struct cli_policy_file){.name = name, .allowlist = find_allowlist(grants)};
    if (strcmp(name, "-") != 0 && (file->directory = directory_of(name)) == NULL)
        return sr_fail(err, SR_POL_001, "policy", "out of memory");
    if (sr_policy_read(name, &file->text, &file->len, &file->unreadable) < 0) {
        file->errors = &file->unreadable;
        file->error_count = 1;
        return 0;
    }
    const struct sr_policy_sources sources = {.allowlist = file->allowlist,
                                              .directory = file->directory,
                                              .allow = grants->allow_mount.items,
                                              .allow_count = grants->allow_mount.count,
                                              .allow_env = grants->allow_env.items,
                                              .allow_env_count = grants->allow_env.count};
    if (sr_policy_check(file->text, file->len, &sources, &file->check, err) < 0 ||
        (ceilings != NULL && sr_policy_hold(&file->check, ceilings, err) < 0))
        return -1;
    file->errors = file->check.errors;
    file->error_count = file->check.error_count;
    return 0;
}

void cli_policy_file_free(struct cli_policy_file *file)
{
    free(file->text);
    free(file->directory);
    sr_check_free(&file->check);
}

/* Bytes of the first count characters of a text. */
static size_t characters(const char *text, size_t len, size_t count)
{
    size_t at = 0;
    while (at < len && (((unsigned char)text[at] & 0xC0) == 0x80 || count-- > 0))
        at++;
    return at;
}

/* Code points that take two columns of a terminal, and none: the wide blocks of East Asian Width
 * (UAX #11) and emoji, and what is set on the character before. */
static const struct {
    uint32_t first, last;
    unsigned columns;
} odd_widths[] = {
    {0x0300, 0x036F, 0},   {0x1100, 0x115F, 2},   {0x200B, 0x200F, 0},   {0x20D0, 0x20FF, 0},
    {0x2E80, 0x303E, 2},   {0x3041, 0x4DBF, 2},   {0x4E00, 0xA4CF, 2},   {0xA960, 0xA97F, 2},
    {0xAC00, 0xD7A3, 2},   {0xF900, 0xFAFF, 2},   {0xFE00, 0xFE0F, 0},   {0xFE20, 0xFE2F, 0},
    {0xFE30, 0xFE6F, 2},   {0xFF01, 0xFF60, 2},   {0xFFE0, 0xFFE6, 2},   {0x1F300, 0x1F64F, 2},
    {0x1F680, 0x1F6FF, 2}, {0x1F900, 0x1F9FF, 2}, {0x20000, 0x3FFFD, 2},
};

/* Columns of a terminal that valid UTF-8 takes. */
static unsigned columns(const char *text, size_t bytes)
{
    unsigned sum = 0;
    for (size_t i = 0; i < bytes;) {
        unsigned char lead = (unsigned char)text[i++];
        uint32_t point = lead < 0x80 ? lead
                                     : lead & (lead >= 0xF0   ? 0x07
                                               : lead >= 0xE0 ? 0x0F
                                                              : 0x1F);
        for (; i < bytes && ((unsigned char)text[i] & 0xC0) == 0x80; i++)
            point = point << 6 | ((unsigned char)text[i] & 0x3F);
        unsigned width = 1;
        for (size_t w = 0; w < sizeof odd_widths / sizeof odd_widths[0]; w++)
            if (point >= odd_widths[w].first && point <= odd_widths[w].last)
                width = odd_widths[w].columns;
        sum += width;
    }
    return sum;
}

/* The line of the file and a caret under the column (which counts characters). Of a long line only
 * what is around the column is shown; nothing harmful is passed on to the terminal. */
static void quote_line(struct sr_buf *out, const struct cli_policy_file *file,
                       const struct sr_error *err, const char *mark)
{
    enum { BEFORE = 70, SHOWN = 110 };
    const char *at = file->text, *end = at + file->len;
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
    size_t end_of_shown = strlen(shown), before = characters(shown, end_of_shown, column - 1);
    unsigned indent = columns(shown, before) + (cut ? 3 : 0);
    sr_buf_printf(out, "    %s%s%s\n    %*s%s^\n", cut ? "..." : "", shown,
                  bytes < len ? "..." : "", (int)indent, "", mark);
}

void cli_buf_printable(struct sr_buf *out, const char *text)
{
    size_t start = out->len;
    sr_buf_puts(out, text);
    if (!sr_buf_ok(out))
        return;
    sr_make_printable(out->data + start);
    out->len = start + strlen(out->data + start);
}

void cli_policy_file_finding(struct sr_buf *out, const struct cli_policy_file *file,
                             const struct sr_error *err, const char *kind, const char *colour)
{
    const char *plain = colour[0] != '\0' ? "\033[0m" : "";
    bool elsewhere = sr_error_is_allowlists(err);
    cli_buf_printable(out, elsewhere ? file->allowlist : file->name);
    if (err->line > 0)
        sr_buf_printf(out, ":%u:%u", err->line, err->column);
    sr_buf_printf(out, ": %s%s%s: %s: %s [%s]\n", colour, kind, plain, err->path, err->message,
                  sr_code_name(err->code));
    if (err->line > 0 && file->text != NULL && !elsewhere) {
        quote_line(out, file, err, colour);
        sr_buf_puts(out, plain);
    }
    if (err->hint[0] != '\0')
        sr_buf_printf(out, "    hint: %s\n", err->hint);
}

void cli_policy_file_errors(struct sr_buf *out, const struct cli_policy_file *file, bool colour)
{
    for (size_t i = 0; i < file->error_count; i++)
        cli_policy_file_finding(out, file, &file->errors[i], "error", colour ? "\033[31m" : "");
}

int cli_policy_file_require(const char *name, const struct cli_policy_grants *grants,
                            const struct sr_ceilings *ceilings, struct cli_policy_file *file)
{
    struct sr_error err;
    if (cli_policy_file_check(name, grants, ceilings, file, &err) < 0) {
        cli_print_error(stderr, &err);
        file->unreadable = err;
        file->errors = &file->unreadable;
        file->error_count = 1;
        return CLI_EXIT_IO;
    }
    if (file->error_count == 0)
        return CLI_EXIT_OK;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    cli_policy_file_errors(&out, file, cli_may_colour(STDERR_FILENO));
    sr_buf_puts(&out, "safe-run: ");
    cli_buf_printable(&out, name);
    sr_buf_puts(&out, " is not a valid policy\n");
    if (sr_buf_ok(&out))
        fwrite(out.data, 1, out.len, stderr);
    return CLI_EXIT_INVALID;
}
