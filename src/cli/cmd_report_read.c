/* `report show`, `html`, `diff`: a report for people. */
#include "cli/cmd_report.h"
#include "cli/options.h"

#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int report_options(int argc, char **argv, const struct cli_command *verb, int operands,
                   struct report_request *request)
{
    *request = (struct report_request){0};
    int status = cli_options(argc, argv, verb, request);
    if (status >= 0)
        return status;
    if (argc - optind != operands)
        return cli_usage_error(verb, argc - optind < operands ? "no report named"
                                                              : "too many reports named");
    return -1;
}

int report_open(const char *name, const struct report_request *request,
                struct report_opened *opened)
{
    struct sr_error err;
    if (run_name_report(name, opened->found, &opened->path, &err) == 0) {
        if (evidence_reading_open(opened->path, request->artifacts, request->key, &opened->reading,
                                  &err) == 0)
            return CLI_EXIT_OK;
        sr_wrap(&err, "%s", opened->path);
    }
    cli_print_error(stderr, &err);
    return CLI_EXIT_INVALID;
}

int report_begin(int argc, char **argv, const struct cli_command *verb,
                 struct report_request *request, struct report_opened *opened)
{
    int status = report_options(argc, argv, verb, 1, request);
    if (status >= 0)
        return status;
    status = report_open(argv[optind], request, opened);
    return status == CLI_EXIT_OK ? -1 : status;
}

int report_verdict(const struct report_opened *opened)
{
    if (opened->reading.verification.valid)
        return CLI_EXIT_OK;
    fprintf(stderr, "safe-run: %s is NOT VALID; 'safe-run report verify' says why\n", opened->path);
    return CLI_EXIT_INVALID;
}

/* Writes to a file, whole or not at all, or to stdout. */
static bool deliver(const char *path, const struct sr_buf *out)
{
    if (path == NULL || strcmp(path, "-") == 0)
        return cli_emit(out);
    sr_cleanup_free char *directory = strdup(path), *name = strdup(path);
    int result = -ENOMEM;
    if (sr_buf_ok(out) && directory != NULL && name != NULL) {
        sr_cleanup_fd int dirfd = open(dirname(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        result = dirfd < 0 ? -errno : sr_replace_file(dirfd, basename(name), out->data, out->len);
    }
    if (result == 0)
        return true;
    fprintf(stderr, "safe-run: %s cannot be written: %s\n", path, strerror(-result));
    return false;
}

static unsigned terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 80;
    return size.ws_col < 40 ? 40 : size.ws_col > 120 ? 120 : size.ws_col;
}

int cli_report_show(int argc, char **argv)
{
    static const struct cli_option taken[] = {REPORT_ARTIFACTS, REPORT_KEY, {0}};
    static const struct cli_command verb = {
        .name = "report show",
        .operands = "FILE|-",
        .about = "Says what ran, where it could go and went, what was stopped, what it used, and "
                 "whether the evidence holds: the report and the files beside it are verified "
                 "first.\n"
                 "\n" RUN_NAME_HELP,
        .options = taken,
        .status = "0 good, 2 not valid (it is shown all the same) or unreadable, 64 usage, 1 the "
                  "answer cannot be written.",
        .example = "  safe-run report show last",
    };
    struct report_request request;
    cleanup_report struct report_opened opened = REPORT_OPENED_INIT;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    int status = report_begin(argc, argv, &verb, &request, &opened);
    if (status >= 0)
        return status;
    const struct evidence_show_options options = {terminal_width(), cli_may_colour(STDOUT_FILENO)};
    evidence_show(&opened.reading, &options, &out);
    return cli_emit(&out) ? report_verdict(&opened) : CLI_EXIT_IO;
}

int cli_report_html(int argc, char **argv)
{
    static const struct cli_option taken[] = {REPORT_OUTPUT, REPORT_ARTIFACTS, REPORT_KEY, {0}};
    static const struct cli_command verb = {
        .name = "report html",
        .operands = "FILE|-",
        .about = "Writes a page about the run that needs nothing else: no script, nothing loaded "
                 "from anywhere. The report and the files beside it are verified, and the page "
                 "says so.\n"
                 "\n" RUN_NAME_HELP,
        .options = taken,
        .status = "0 good, 2 not valid (the page is written all the same, and says so) or "
                  "unreadable, 64 usage, 1 the page cannot be written.",
        .example = "  safe-run report html -o report.html last",
    };
    struct report_request request;
    cleanup_report struct report_opened opened = REPORT_OPENED_INIT;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    int status = report_begin(argc, argv, &verb, &request, &opened);
    if (status >= 0)
        return status;
    if (evidence_html(&opened.reading, SR_VERSION, &out) < 0 || !deliver(request.output, &out))
        return CLI_EXIT_IO;
    return report_verdict(&opened);
}

struct listing {
    struct sr_buf out;
    const char *topic;
    bool colour;
};

static void list_difference(void *context, const char *topic, const char *sentence)
{
    struct listing *listing = context;
    if (listing->topic == NULL || strcmp(listing->topic, topic) != 0)
        sr_buf_printf(&listing->out, "%s%s%s:%s\n", listing->topic != NULL ? "\n" : "",
                      listing->colour ? "\033[1m" : "", topic, listing->colour ? "\033[0m" : "");
    sr_buf_printf(&listing->out, "  %s\n", sentence);
    listing->topic = topic;
}

int cli_report_diff(int argc, char **argv)
{
    static const struct cli_option taken[] = {
        {.name = "exit-code",
         .at = offsetof(struct report_request, exit_code),
         .help = "exit with 2 when they differ in anything but run id, times and what was used"},
        {0}};
    static const struct cli_command verb = {
        .name = "report diff",
        .operands = "A B",
        .about = "Says what differs between two runs: what was asked, what enforced it, how they "
                 "ended, what they reached, what was stopped, what they used. A and B are named "
                 "as FILE of 'report show'.",
        .options = taken,
        .status = "0 good, 2 a report is not valid or unreadable, 64 usage, 1 the answer cannot "
                  "be written.",
        .example = "  safe-run report diff monday/run_report.json tuesday/run_report.json",
    };
    struct report_request request;
    cleanup_report struct report_opened a = REPORT_OPENED_INIT, b = REPORT_OPENED_INIT;
    struct listing listing = {.out = SR_BUF_INIT, .colour = cli_may_colour(STDOUT_FILENO)};
    bool differs = false;
    int status = report_options(argc, argv, &verb, 2, &request);
    if (status >= 0)
        return status;
    if ((status = cli_one_stdin(&verb, 2, argv + optind)) != CLI_EXIT_OK ||
        (status = report_open(argv[optind], &request, &a)) != CLI_EXIT_OK ||
        (status = report_open(argv[optind + 1], &request, &b)) != CLI_EXIT_OK)
        return status;
    evidence_diff(&a.reading, &b.reading, list_difference, &listing, &differs);
    bool written = cli_emit(&listing.out);
    sr_buf_free(&listing.out);
    if (!written)
        return CLI_EXIT_IO;
    status = report_verdict(&a);
    int other = report_verdict(&b);
    if (status == CLI_EXIT_OK)
        status = other;
    return status == CLI_EXIT_OK && request.exit_code && differs ? CLI_EXIT_INVALID : status;
}
