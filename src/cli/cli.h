/*
 * The command line: one file a command (cmd_<name>.c), dispatched by the table in main.c.
 *
 * A command gets its own arguments (argv[0] is the command's name), prints its result on stdout and
 * its errors on stderr, and returns the exit status: 0 good, 1 I/O, 2 invalid document or failed
 * verification, 64 usage; `run` returns the guest command's status or 124-127.
 */
#ifndef SR_CLI_H
#define SR_CLI_H

#include "cli/options.h"
#include "common/buf.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stdio.h>

enum {
    CLI_EXIT_OK = 0,
    CLI_EXIT_IO = 1,
    CLI_EXIT_INVALID = 2,
    CLI_EXIT_USAGE = 64,
};

int cli_cmd_validate(int argc, char **argv);
int cli_cmd_compile(int argc, char **argv);
int cli_cmd_policy(int argc, char **argv);
int cli_cmd_report(int argc, char **argv);
int cli_cmd_report_attest(int argc, char **argv);
int cli_cmd_report_archive(int argc, char **argv);
int cli_cmd_archive(int argc, char **argv);
int cli_cmd_key(int argc, char **argv);
int cli_cmd_run(int argc, char **argv);
int cli_cmd_ps(int argc, char **argv);
int cli_cmd_stop(int argc, char **argv);
int cli_cmd_gc(int argc, char **argv);
int cli_cmd_image(int argc, char **argv);
int cli_cmd_doctor(int argc, char **argv);
int cli_cmd_version(int argc, char **argv);

/* The subcommands of a command, ended by one without a name. */
struct cli_subcommand {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};
/* Runs the subcommand of name that argv[1] names, or --help; anything else is a usage error. */
int cli_dispatch(const char *name, const struct cli_subcommand *subcommands, const char *example,
                 int argc, char **argv);

/* Reports a name that is none of the known ones as a usage error, with the nearest of them, or else
 * with the command that lists them. */
int cli_unknown(const struct cli_command *command, const char *what, const char *given,
                const struct cli_subcommand *known, const char *lister);

/* help.c: prints "safe-run: <text>" and the usage on stderr; returns CLI_EXIT_USAGE. */
int cli_usage_error(const struct cli_command *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Reports a usage error when several operands are "-", because each would read standard input to
 * its end. Returns the exit status. */
int cli_one_stdin(const struct cli_command *command, int count, char **operands);

/* True when what goes to fd may be coloured: a terminal, and no NO_COLOR. */
bool cli_may_colour(int fd);

/* Appends an ErrorItem as JSON: code, path, message, and line, column and hint if it has them. */
void cli_error_item(struct sr_buf *out, const struct sr_error *err);
/* Appends several as a JSON array. */
void cli_error_items(struct sr_buf *out, const struct sr_error *errors, size_t count);

/* Writes out to stdout; false when that fails, which main() says, or out has failed. */
bool cli_emit(const struct sr_buf *out);
bool cli_emit_text(const char *text, size_t len);

/* A progress line on stderr, which is a terminal. Zero-initialise the meter; done == total ends the
 * line. */
struct cli_meter {
    uint64_t started_nsec;
    bool shown;
};
void cli_meter_show(void *meter, const char *what, uint64_t done, uint64_t total);

/* Prints an error for a person: "safe-run: SR-RUN-002 launch.vm: message" and its hint. */
void cli_print_error(FILE *out, const struct sr_error *err);

#endif
