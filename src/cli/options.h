/*
 * A command as tables: its options (what they are called, what they take, where it goes), and what
 * people read about it. Parsing follows GNU's rules (getopt_long(3)); usage and --help are made
 * from the same tables (help.c).
 */
#ifndef SR_CLI_OPTIONS_H
#define SR_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_option {
    const char *name; /* without "--"; NULL ends a table */
    char letter;      /* of its short form, or 0 */
    size_t at;        /* offset of its field in the command's arguments */
    /* Puts a value into the field; false when it is none. NULL: the option has no value and sets a
     * bool. */
    bool (*take)(const char *value, void *field);
    const char *value; /* what its value is called; NULL without one */
    const char *help;  /* what it is for: plain text without line ends */
    const char *takes; /* "--NAME takes <this>"; NULL when every text will do */
    bool required;
    bool repeats; /* may be given several times */
};

/* Texts are wrapped where they are printed, but for lines that begin with a space; '\n' ends a
 * line. */
struct cli_command {
    const char *name;     /* behind "safe-run": "archive ls" */
    const char *operands; /* "RUN..."; NULL for none */
    const char *about;    /* what it does: paragraphs, with an empty line between them */
    const struct cli_option *options;
    const char *status;  /* what its exit statuses mean: "0 good, ..."; NULL for nothing special */
    const char *example; /* lines of it */
};

bool cli_option_text(const char *value, void *field); /* const char *, not copied */
/* struct cli_option_texts: one more of an option that may be given several times, not copied; false
 * when there are too many. */
bool cli_option_texts(const char *value, void *field);
#define CLI_OPTION_TEXTS_MAX 64
struct cli_option_texts {
    const char *items[CLI_OPTION_TEXTS_MAX];
    size_t count;
};
/* A whole number in decimal digits, min to max; false when value is none, and number is as it
 * was. */
bool cli_option_number(const char *value, uint64_t min, uint64_t max, uint64_t *number);
bool cli_option_format(const char *value, void *field); /* bool: text, or else json */
#define CLI_TAKES_FORMAT "text or json"

extern const struct cli_option cli_no_options[];

/* Takes the options, --help among them, up to the operands, which begin at optind. Returns -1 to go
 * on, else the exit status. */
int cli_options(int argc, char **argv, const struct cli_command *command, void *arguments);

/* The same for a command whose operands are another's command line: options end at the first of
 * them. */
int cli_options_first(int argc, char **argv, const struct cli_command *command, void *arguments);

#endif
