#include "cli/cli.h"
#include "cli/help.h"

#include "common/jcs.h"
#include "common/nearest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_one_stdin(const struct cli_command *command, int count, char **operands)
{
    int readers = 0;
    for (int i = 0; i < count; i++)
        readers += strcmp(operands[i], "-") == 0;
    return readers > 1 ? cli_usage_error(command, "only one can be standard input") : CLI_EXIT_OK;
}

int cli_unknown(const struct cli_command *command, const char *what, const char *given,
                const struct cli_subcommand *known, const char *lister)
{
    const char *names[32];
    size_t count = 0;
    for (; count < sizeof names / sizeof names[0] - 1 && known[count].name != NULL; count++)
        names[count] = known[count].name;
    names[count] = NULL;
    const char *nearest = sr_nearest_name(given, names);
    return nearest != NULL
               ? cli_usage_error(command, "unknown %s '%s'; did you mean '%s'?", what, given,
                                 nearest)
               : cli_usage_error(command, "unknown %s '%s'; '%s' lists them", what, given, lister);
}

int cli_dispatch(const char *name, const struct cli_subcommand *subcommands, const char *example,
                 int argc, char **argv)
{
    const struct cli_command command = {
        .name = name, .operands = "SUBCOMMAND [OPTIONS]", .options = cli_no_options};
    char lister[64];
    snprintf(lister, sizeof lister, "safe-run %s --help", name);
    if (argc < 2)
        return cli_usage_error(&command, "no subcommand; '%s' lists them", lister);
    bool help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
    if (help) {
        cli_print_usage(stdout, &command);
        puts("\nSubcommands:");
    }
    for (const struct cli_subcommand *one = subcommands; one->name != NULL; one++) {
        if (help)
            printf("  %-10s %s\n", one->name, one->summary);
        else if (strcmp(argv[1], one->name) == 0)
            return one->run(argc - 1, argv + 1);
    }
    if (!help)
        return cli_unknown(&command, "subcommand", argv[1], subcommands, lister);
    printf("\n'safe-run %s SUBCOMMAND --help' explains one.\n\nExample:\n  %s\n", name, example);
    return CLI_EXIT_OK;
}

void cli_print_error(FILE *out, const struct sr_error *err)
{
    fprintf(out, "safe-run: %s %s: %s\n", sr_code_name(err->code), err->path, err->message);
    if (err->hint[0] != '\0')
        fprintf(out, "safe-run: hint: %s\n", err->hint);
}

bool cli_may_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR");
    return isatty(fd) && (no_color == NULL || no_color[0] == '\0');
}

void cli_error_item(struct sr_buf *out, const struct sr_error *err)
{
    sr_buf_puts(out, "{\"code\":");
    sr_jcs_text(out, sr_code_name(err->code));
    sr_buf_puts(out, ",\"path\":");
    sr_jcs_text(out, err->path);
    sr_buf_puts(out, ",\"message\":");
    sr_jcs_text(out, err->message);
    if (err->line > 0)
        sr_buf_printf(out, ",\"line\":%u,\"column\":%u", err->line, err->column);
    if (err->hint[0] != '\0') {
        sr_buf_puts(out, ",\"hint\":");
        sr_jcs_text(out, err->hint);
    }
    sr_buf_putc(out, '}');
}

void cli_error_items(struct sr_buf *out, const struct sr_error *errors, size_t count)
{
    sr_buf_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            sr_buf_putc(out, ',');
        cli_error_item(out, &errors[i]);
    }
    sr_buf_putc(out, ']');
}

bool cli_emit_text(const char *text, size_t len)
{
    return fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0; /* main() says so */
}

bool cli_emit(const struct sr_buf *out)
{
    if (sr_buf_ok(out))
        return cli_emit_text(out->data != NULL ? out->data : "", out->len);
    fputs("safe-run: the answer cannot be written: out of memory\n", stderr);
    return false;
}
