#include "cli/cli.h"
#include "cli/help.h"
#include "saferun/run.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct cli_subcommand commands[] = {
    {"validate", cli_cmd_validate, "check policies; every error at once"},
    {"compile", cli_cmd_compile, "print the plans made of a policy"},
    {"policy", cli_cmd_policy, "write, understand and compare policies"},
    {"run", cli_cmd_run, "run a policy's command in a microVM"},
    {"report", cli_cmd_report, "look at the evidence of a run"},
    {"archive", cli_cmd_archive, "keep, find and check the evidence of many runs"},
    {"key", cli_cmd_key, "make a key that signs reports"},
    {"ps", cli_cmd_ps, "list the runs that live"},
    {"stop", cli_cmd_stop, "end runs"},
    {"gc", cli_cmd_gc, "close what died, remove what is old"},
    {"image", cli_cmd_image, "make and keep the images that guests boot from"},
    {"doctor", cli_cmd_doctor, "say what this host can do for runs"},
    {"version", cli_cmd_version, "print the version"},
    {NULL, NULL, NULL},
};

static const struct cli_command top = {
    .name = "", .operands = "COMMAND [OPTIONS]", .options = cli_no_options};

static const struct cli_command version_command = {.name = "version",
                                                   .about = "Prints the version.",
                                                   .options = cli_no_options,
                                                   .example = "  safe-run version"};

int cli_cmd_version(int argc, char **argv)
{
    int status = cli_options(argc, argv, &version_command, NULL);
    if (status >= 0)
        return status;
    if (optind < argc)
        return cli_usage_error(&version_command, "unexpected argument '%s'", argv[optind]);
    puts("safe-run " SR_VERSION);
    return CLI_EXIT_OK;
}

static int help(void)
{
    puts("safe-run runs one untrusted command in a microVM under a policy that denies by\n"
         "default, and leaves evidence that anyone can check offline.\n");
    cli_print_usage(stdout, &top);
    puts("\nCommands:");
    for (const struct cli_subcommand *one = commands; one->name != NULL; one++)
        printf("  %-10s %s\n", one->name, one->summary);
    puts("  help       explain a command\n\n'safe-run COMMAND --help' explains a command.\n\n"
         "Example:\n  safe-run run --policy examples/hello.yaml");
    return CLI_EXIT_OK;
}

/* Descriptors 0 to 2 that the caller has closed become /dev/null, lest a file of ours is taken for
 * them. */
static bool fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO;
         fd++) /* the lowest free one is what open() takes */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return false;
    return true;
}

/*
 * The least stack that everything of ours and of the libraries gets by with, and what is asked for:
 * what distributions give. The kernel looks at the limit whenever the stack grows, so that raising
 * it helps this process too, and its children start with it.
 */
#define STACK_MIN (UINT64_C(1) << 20)
#define STACK_WANTED (UINT64_C(8) << 20)

/* Raises a small stack limit as far as that is allowed; false when it stays too small. */
static bool raise_stack_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) < 0 || limit.rlim_cur >= STACK_WANTED)
        return true;
    struct rlimit raised = {STACK_WANTED,
                            limit.rlim_max < STACK_WANTED ? STACK_WANTED : limit.rlim_max};
    if (setrlimit(RLIMIT_STACK, &raised) == 0)
        return true; /* also above the hard limit, for whoever may */
    raised = (struct rlimit){limit.rlim_max, limit.rlim_max};
    if (limit.rlim_max < STACK_WANTED && setrlimit(RLIMIT_STACK, &raised) == 0)
        limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_cur >= STACK_MIN)
        return true;
    fprintf(stderr,
            "safe-run: the stack limit is %llu KiB and may not be raised, and %llu KiB are needed; "
            "raise the hard limit ('ulimit -Hs', limits.conf, LimitSTACK=)\n",
            (unsigned long long)limit.rlim_cur >> 10, (unsigned long long)STACK_MIN >> 10);
    return false;
}

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* `help COMMAND [SUBCOMMAND]` is `COMMAND [SUBCOMMAND] --help`, and `help --help` is `help`. */
static int dispatch(int argc, char **argv)
{
    static char asks_help[] = "--help";
    bool asked = is_help(argv[0]);
    for (; asked && argc > 1 && is_help(argv[1]); argc--)
        argv++;
    if (asked && argc == 1)
        return help();
    char *asking[4] = {argv[1], argc > 2 ? argv[2] : asks_help, argc > 2 ? asks_help : NULL, NULL};
    if (asked) {
        argc = argc > 2 ? 3 : 2;
        argv = asking;
    }
    const char *name = argv[0];
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (const struct cli_subcommand *one = commands; one->name != NULL; one++)
        if (strcmp(name, one->name) == 0)
            return one->run(argc, argv);
    return cli_unknown(&top, "command", name, commands, "safe-run help");
}

/* Whether nobody reads stdout any more. */
static bool reader_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int main(int argc, char **argv)
{
    /* A caller may have it ignored: then no child could be waited for, and how it ended not be
     * known. */
    signal(SIGCHLD, SIG_DFL);
    /* What `run` cannot even begin is no exit status of a command. */
    if (!fill_standard_descriptors() || !raise_stack_limit())
        return argc > 1 && strcmp(argv[1], "run") == 0 ? SR_EXIT_FAILED : CLI_EXIT_IO;
    /* A closed pipe is an error to report, not a reason to die with evidence unsealed. */
    bool by_signal = signal(SIGPIPE, SIG_IGN) == SIG_DFL;
    signal(SIGXFSZ, SIG_IGN); /* likewise a file that reached its size limit */
    if (argc < 2)
        return cli_usage_error(&top, "no command; 'safe-run help' lists them");
    int status = dispatch(argc - 1, argv + 1);
    bool lost = (fflush(stdout) != 0) | ferror(stdout);
    if (lost && by_signal &&
        reader_gone()) { /* `| head` has seen enough: end as every filter does */
        signal(SIGPIPE, SIG_DFL);
        if (status == CLI_EXIT_OK || status == CLI_EXIT_IO)
            raise(SIGPIPE);
        return status;
    }
    if (lost)
        fputs("safe-run: the answer cannot be written\n", stderr);
    return lost && status == CLI_EXIT_OK ? CLI_EXIT_IO : status;
}
