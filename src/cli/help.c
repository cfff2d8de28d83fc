#include "cli/help.h"

#include "cli/cli.h"

#include <stdarg.h>
#include <string.h>

enum {
    WIDTH = 80,
    SYNOPSIS_MAX = 10, /* more options than these are "[OPTIONS]" in a synopsis */
};

/* Words that are put into lines of at most WIDTH columns. */
struct lines {
    FILE *out;
    int indent; /* of every line but the first */
    int at;     /* columns that the line has */
};

static void put_word(struct lines *lines, const char *word, int len)
{
    if (lines->at > lines->indent && lines->at + 1 + len > WIDTH) {
        fprintf(lines->out, "\n%*s", lines->indent, "");
        lines->at = lines->indent;
    } else if (lines->at != lines->indent) {
        lines->at += fprintf(lines->out, " ");
    }
    lines->at += fprintf(lines->out, "%.*s", len, word);
}

static void put_words(struct lines *lines, const char *text, size_t len)
{
    for (const char *end = text + len; text < end;) {
        size_t word = strcspn(text, " \n");
        if (word > (size_t)(end - text))
            word = (size_t)(end - text);
        if (word > 0)
            put_word(lines, text, (int)word);
        text += word + 1;
    }
}

/* Lines as they are when they begin with a space, and wrapped otherwise. */
static void print_text(const char *text)
{
    for (;;) {
        size_t len = strcspn(text, "\n");
        struct lines lines = {.out = stdout};
        if (text[0] == ' ')
            printf("%.*s", (int)len, text);
        else
            put_words(&lines, text, len);
        putchar('\n');
        if (text[len] == '\0')
            return;
        text += len + 1;
    }
}

void cli_print_usage(FILE *out, const struct cli_command *command)
{
    struct lines lines = {.out = out};
    lines.at =
        fprintf(out, "usage: safe-run%s%s", command->name[0] != '\0' ? " " : "", command->name);
    lines.indent = lines.at + 1;
    size_t count = 0;
    while (command->options[count].name != NULL)
        count++;
    for (const struct cli_option *one = command->options; one->name != NULL; one++) {
        char word[96];
        const char letter[] = {one->letter, '\0'};
        int len = snprintf(word, sizeof word, "%s-%s%s%s%s%s%s", one->required ? "" : "[",
                           one->letter == 0 ? "-" : "", one->letter == 0 ? one->name : letter,
                           one->value != NULL ? " " : "", one->value != NULL ? one->value : "",
                           one->required ? "" : "]", one->repeats ? "..." : "");
        if (one->required || count <= SYNOPSIS_MAX)
            put_word(&lines, word, len);
    }
    if (count > SYNOPSIS_MAX)
        put_words(&lines, "[OPTIONS]", strlen("[OPTIONS]"));
    if (command->operands != NULL)
        put_words(&lines, command->operands, strlen(command->operands));
    fputc('\n', out);
}

/* "  -o, --output OUT"; returns its length. */
static int option_head(const struct cli_option *option, char head[64])
{
    char letter[8] = "";
    if (option->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    return snprintf(head, 64, "  %s--%s%s%s", letter, option->name,
                    option->value != NULL ? " " : "", option->value != NULL ? option->value : "");
}

static void print_option(const struct cli_option *option, int column)
{
    char head[64];
    int len = option_head(option, head);
    struct lines lines = {.out = stdout, .indent = column, .at = column};
    printf("%s%*s", head, column - len, "");
    put_words(&lines, option->help, strlen(option->help));
    putchar('\n');
}

void cli_print_help(const struct cli_command *command)
{
    static const struct cli_option help = {
        .name = "help", .letter = 'h', .help = "print this text"};
    char head[64];
    int column = option_head(&help, head);
    for (const struct cli_option *one = command->options; one->name != NULL; one++) {
        int len = option_head(one, head);
        column = len > column ? len : column;
    }
    column += 2;
    cli_print_usage(stdout, command);
    putchar('\n');
    print_text(command->about);
    fputs("\nOptions:\n", stdout);
    for (const struct cli_option *one = command->options; one->name != NULL; one++)
        print_option(one, column);
    print_option(&help, column);
    if (command->status != NULL) {
        struct lines lines = {.out = stdout};
        putchar('\n');
        put_words(&lines, "Exit status:", strlen("Exit status:"));
        put_words(&lines, command->status, strlen(command->status));
        putchar('\n');
    }
    fputs("\nExample:\n", stdout);
    print_text(command->example);
}

int cli_usage_error(const struct cli_command *command, const char *fmt, ...)
{
    fputs("safe-run: ", stderr);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    cli_print_usage(stderr, command);
    return CLI_EXIT_USAGE;
}
