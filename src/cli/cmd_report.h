/* What the subcommands of `report` that read one share. */
#ifndef SR_CLI_CMD_REPORT_H
#define SR_CLI_CMD_REPORT_H

#include "cli.h"
#include "reading.h"

int sr_report_show(int argc, char **argv);
int sr_report_html(int argc, char **argv);
int sr_report_diff(int argc, char **argv);
int sr_report_export(int argc, char **argv);

struct report_verb {
    const char *usage, *help;
    /* The letters of those it takes: o(utput) a(rtifacts) f(ormat) e(xit-code) k(ey). */
    const char *options;
    int operands;
};

struct report_request {
    const char *output, *artifacts, *format, *key;
    bool exit_code;
};

/* Options up to the operands, which begin at optind. Returns -1 to go on, else the exit status. */
int report_options(int argc, char **argv, const struct report_verb *verb,
                   struct report_request *request);

/* Opens a report, or says why not. Returns SR_EXIT_OK or the exit status. */
int report_open(const char *path, const struct report_request *request, struct sr_reading *reading);

/* Both, for a verb with one operand. Returns -1 to go on, else the exit status. */
int report_begin(int argc, char **argv, const struct report_verb *verb,
                 struct report_request *request, struct sr_reading *reading);

/* Says so, where nobody overlooks it, of a report that does not verify; the exit status. */
int report_verdict(const char *path, const struct sr_reading *reading);

#endif
