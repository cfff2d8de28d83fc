#include "cli/cli.h"
#include "cli/options.h"
#include "cli/run_name.h"

#include "common/cleanup.h"
#include "saferun/report.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static const struct cli_option options[] = {{.name = "key",
                                             .take = cli_option_text,
                                             .value = "K",
                                             .help = "the private key (PEM); 'safe-run key "
                                                     "generate' makes one",
                                             .required = true},
                                            {0}};

static const struct cli_command attest_command = {
    .name = "report attest",
    .operands = "FILE",
    .about = "Signs a run's report: writes run_report.dsse.json beside it, an in-toto statement "
             "(what was asked, what was enforced, what came out, SHA-256 of the report and its "
             "files) in a DSSE envelope. The report must verify, with the files beside it as far "
             "as they are there. When the report is attested already, the signature is added.\n"
             "\n" RUN_NAME_HELP,
    .options = options,
    .status = "0 signed (the key's id is printed), 2 the report does not verify or is attested "
              "otherwise, 1 a file cannot be read or written, 64 usage.",
    .example = "  safe-run report attest --key ci run_report.json\n"
               "  safe-run report verify --key ci.pub run_report.json",
};

static int attest(const char *name, const char *key)
{
    char found[PATH_MAX], directory[PATH_MAX], key_id[65];
    const char *path;
    struct sr_error err;
    if (run_name_report(name, found, &path, &err) < 0) {
        cli_print_error(stderr, &err);
        return CLI_EXIT_IO;
    }
    const char *slash = strrchr(path, '/');
    int len = snprintf(directory, sizeof directory, "%.*s",
                       slash == NULL ? 1 : (int)(slash - path) + 1, slash == NULL ? "." : path);
    sr_cleanup_fd int dirfd =
        len < (int)sizeof directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dirfd < 0) {
        sr_fail(&err, SR_EVD_002, "report", "%s cannot be opened: %s", directory, strerror(errno));
        cli_print_error(stderr, &err);
        return CLI_EXIT_IO;
    }
    if (sr_report_attest(dirfd, slash == NULL ? path : slash + 1, key, key_id, &err) < 0) {
        cli_print_error(stderr, &err);
        return err.code >= SR_EVD_301 && err.code <= SR_EVD_304 ? CLI_EXIT_INVALID : CLI_EXIT_IO;
    }
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    sr_buf_printf(&out, "%s\n", key_id);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

int cli_cmd_report_attest(int argc, char **argv)
{
    const char *key = NULL;
    int status = cli_options(argc, argv, &attest_command, &key);
    if (status >= 0)
        return status;
    if (key == NULL)
        return cli_usage_error(&attest_command, "--key is missing");
    if (argc - optind != 1)
        return cli_usage_error(&attest_command,
                               argc == optind ? "no report named" : "more than one report named");
    return attest(argv[optind], key);
}
