/* `report export`: a report for log systems. */
#include "cli/cmd_report.h"
#include "evidence/ocsf.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

/* Records on their way to a stream: a file that becomes OUT when all are there, or stdout. */
static int write_record(void *context, const char *line, size_t len, struct sr_error *err)
{
    FILE *out = context;
    return fwrite(line, 1, len, out) == len
               ? 0
               : sr_fail(err, SR_EVD_002, "export", "cannot be written: %s", strerror(errno));
}

static int export_to(const char *path, int fd, struct sr_error *err)
{
    char temporary[4096];
    if (path == NULL || strcmp(path, "-") == 0) {
        int result = evidence_ocsf_export(fd, SR_VERSION, write_record, stdout, err);
        return result == 0 && fflush(stdout) != 0
                   ? sr_fail(err, SR_EVD_002, "export", "cannot be written: %s", strerror(errno))
                   : result;
    }
    if (snprintf(temporary, sizeof temporary, "%s.%d.tmp", path, (int)getpid()) >=
        (int)sizeof temporary)
        return sr_fail(err, SR_EVD_002, "export", "the path is too long");
    int private = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *out = private < 0 ? NULL : fdopen(private, "w");
    if (out == NULL)
        return sr_fail(err, SR_EVD_002, "export", "%s cannot be created: %s", temporary,
                       strerror(errno));
    int result = evidence_ocsf_export(fd, SR_VERSION, write_record, out, err);
    bool closed = fclose(out) == 0;
    if (result == 0 && (!closed || rename(temporary, path) < 0))
        result =
            sr_fail(err, SR_EVD_002, "export", "%s cannot be written: %s", path, strerror(errno));
    if (result < 0)
        unlink(temporary);
    return result;
}

int cli_report_export(int argc, char **argv)
{
    static const struct cli_option taken[] = {{.name = "format",
                                               .at = offsetof(struct report_request, format),
                                               .take = cli_option_text,
                                               .value = "ocsf",
                                               .help = "the only one so far",
                                               .required = true},
                                              REPORT_OUTPUT,
                                              REPORT_ARTIFACTS,
                                              {0}};
    static const struct cli_command verb = {
        .name = "report export",
        .operands = "FILE|-",
        .about = "Writes every event as a record of OCSF 1.3, one JSON object a line, for log "
                 "systems. A report that does not verify is not exported.\n"
                 "\n" RUN_NAME_HELP,
        .options = taken,
        .status = "0 good, 2 not valid or unreadable, 64 usage, 1 it cannot be written.",
        .example = "  safe-run report export --format ocsf run_report.json >> events.ocsf.jsonl",
    };
    struct report_request request;
    struct sr_error err;
    cleanup_report struct report_opened opened = REPORT_OPENED_INIT;
    int status = report_options(argc, argv, &verb, 1, &request);
    if (status >= 0)
        return status;
    if (request.format == NULL || strcmp(request.format, "ocsf") != 0)
        return cli_usage_error(&verb, "--format ocsf is what there is");
    if ((status = report_open(argv[optind], &request, &opened)) != CLI_EXIT_OK ||
        (status = report_verdict(&opened)) != CLI_EXIT_OK)
        return status;
    if (export_to(request.output, opened.reading.fd, &err) == 0)
        return CLI_EXIT_OK;
    cli_print_error(stderr, &err);
    return CLI_EXIT_IO;
}
