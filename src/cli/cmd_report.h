/* What the subcommands of `report` that read one share. */
#ifndef SR_CLI_CMD_REPORT_H
#define SR_CLI_CMD_REPORT_H

#include "cli/cli.h"
#include "cli/run_name.h"
#include "evidence/reading.h"

int cli_report_show(int argc, char **argv);
int cli_report_html(int argc, char **argv);
int cli_report_diff(int argc, char **argv);
int cli_report_export(int argc, char **argv);

struct report_request {
    const char *output, *artifacts, *format, *key;
    bool exit_code;
};

/* Entries of a table of options for a request. */
#define REPORT_OUTPUT                                                                              \
    {                                                                                              \
        .name = "output", .letter = 'o', .at = offsetof(struct report_request, output),            \
        .take = cli_option_text, .value = "OUT",                                                   \
        .help = "into a file, which is there whole or not at all; else stdout"                     \
    }
#define REPORT_ARTIFACTS                                                                           \
    {                                                                                              \
        .name = "artifacts", .at = offsetof(struct report_request, artifacts),                     \
        .take = cli_option_text, .value = "D",                                                     \
        .help = "the run directory, when the report is somewhere else"                             \
    }
#define REPORT_KEY                                                                                 \
    {                                                                                              \
        .name = "key", .at = offsetof(struct report_request, key), .take = cli_option_text,        \
        .value = "K", .help = "also check that the holder of this public key (PEM) has signed it"  \
    }

/* Takes options and this many operands, which begin at optind. Returns -1 to go on, else the exit
 * status. */
int report_options(int argc, char **argv, const struct cli_command *verb, int operands,
                   struct report_request *request);

/* A report that was opened, and where it was found. */
struct report_opened {
    struct evidence_reading reading;
    const char *path; /* the operand, or what it means */
    char found[PATH_MAX];
};

#define REPORT_OPENED_INIT                                                                         \
    (struct report_opened)                                                                         \
    {                                                                                              \
        .reading = EVIDENCE_READING_INIT                                                           \
    }

static inline void report_close(struct report_opened *opened)
{
    evidence_reading_close(&opened->reading);
}
#define cleanup_report __attribute__((cleanup(report_close)))

/* Opens a report by its name (run_name.h), or prints why it cannot. Returns the exit status. */
int report_open(const char *name, const struct report_request *request,
                struct report_opened *opened);

/* Does both for a verb with one operand. Returns -1 to go on, else the exit status. */
int report_begin(int argc, char **argv, const struct cli_command *verb,
                 struct report_request *request, struct report_opened *opened);

/* Warns on stderr about a report that does not verify. Returns the exit status. */
int report_verdict(const struct report_opened *opened);

#endif
