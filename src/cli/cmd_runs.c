/* ps, stop and gc: the runs of a base directory. */
#include "cli/cli.h"
#include "cli/options.h"

#include "common/printable.h"
#include "common/timestamp.h"
#include "evidence/fact.h"
#include "saferun/runs.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Past the supervisor's own grace of 2 s, the guest's power off, and the report. */
#define STOP_TIMEOUT_SEC 10

struct runs_arguments {
    const char *base;
    bool json, kill, dry_run, all;
    uint32_t timeout_sec;
    int64_t older_than_sec;
};

static bool take_seconds(const char *value, void *field)
{
    uint64_t seconds = 0;
    bool good = cli_option_number(value, 0, 3600, &seconds);
    *(uint32_t *)field = (uint32_t)seconds;
    return good;
}

static bool take_age(const char *value, void *field)
{
    return sr_duration_parse(value, field);
}

#define AT(field) offsetof(struct runs_arguments, field)
#define BASE                                                                                       \
    {                                                                                              \
        .name = "workdir-base", .at = AT(base), .take = cli_option_text, .value = "D",             \
        .help = "where run directories are (or $SAFE_RUN_WORKDIR_BASE)"                            \
    }
static const struct cli_command ps_command = {
    .name = "ps",
    .about = "Lists the runs that live, oldest first.",
    .options =
        (const struct cli_option[]){
            {.name = "all",
             .letter = 'a',
             .at = AT(all),
             .help = "also those that have ended, newest first: why, how long ago they began, what "
                     "their directories take; 'safe-run report show RUN' says more"},
            {.name = "json", .at = AT(json), .help = "an array of objects"},
            BASE,
            {0}},
    .status = "0 good, 1 they cannot be listed (a D that is not there), 64 usage.",
    .example = "  safe-run ps -a",
};

static const struct cli_command stop_command = {
    .name = "stop",
    .operands = "RUN...",
    .about = "Ends runs. RUN is a run id or the end of one that no other live run has. The command "
             "gets SIGTERM and two seconds; the report is written.",
    .options =
        (const struct cli_option[]){
            {.name = "kill",
             .at = AT(kill),
             .help = "kill safe-run itself: the VM is gone at once, and the next safe-run closes "
                     "the evidence"},
            {.name = "timeout",
             .at = AT(timeout_sec),
             .take = take_seconds,
             .value = "S",
             .help = "how long to wait for the end (default 10)",
             .takes = "whole seconds up to 3600"},
            BASE,
            {0}},
    .status = "0 all ended, 1 one did not, 64 usage.",
    .example = "  safe-run stop sr-20260101T120000-abcdef\n"
               "  safe-run stop abcdef",
};

static const struct cli_command gc_command = {
    .name = "gc",
    .about = "Closes runs whose safe-run died: removes their cgroups, gives their evidence an end "
             "and a report. Every run does this when it starts, too. Live runs are not touched.",
    .options =
        (const struct cli_option[]){
            {.name = "dry-run", .at = AT(dry_run), .help = "say what would be done"},
            {.name = "older-than",
             .at = AT(older_than_sec),
             .take = take_age,
             .value = "T",
             .help = "also remove finished runs older than T (90s, 30m, 12h, 7d) that were not "
                     "made with run --keep, and packed mounts that were not used since",
             .takes = "90s, 30m, 12h or 7d"},
            BASE,
            {0}},
    .status = "0 good, 1 something could not be closed or removed, 64 usage.",
    .example = "  safe-run gc --older-than 30d",
};

#define RUNS_ARGUMENTS                                                                             \
    {                                                                                              \
        .timeout_sec = STOP_TIMEOUT_SEC, .older_than_sec = -1                                      \
    }

/* No runs there is an answer where the default may not have been made yet, and a mistake where a
 * place was named. */
static bool is_base_there(const struct runs_arguments *arguments)
{
    const char *base = arguments->base;
    if (base == NULL || base[0] == '\0' || access(base, F_OK) == 0)
        return true;
    struct sr_error err;
    sr_fail(&err, SR_RUN_001, "prepare.workdir", "%s cannot be opened: %s", base, strerror(errno));
    cli_print_error(stderr, &err);
    return false;
}

static int list(const struct runs_arguments *arguments, struct sr_live_run **runs, size_t *count)
{
    struct sr_error err;
    if (!is_base_there(arguments))
        return -1;
    if (sr_runs_list(arguments->base, runs, count, &err) == 0)
        return 0;
    cli_print_error(stderr, &err);
    return -1;
}

static int print_table(struct sr_live_run *runs, size_t count)
{
    printf("%-26s %8s %9s  %-20s %s\n", "RUN", "PID", "AGE", "POLICY", "COMMAND");
    int64_t now = (int64_t)time(NULL);
    for (size_t i = 0; i < count; i++) {
        sr_make_printable(runs[i].name);
        sr_make_printable(runs[i].command);
        char age[32];
        snprintf(age, sizeof age, "%" PRId64 "s", now - runs[i].started);
        printf("%-26s %8d %9s  %-20s %s\n", runs[i].id, (int)runs[i].pid, age, runs[i].name,
               runs[i].command);
    }
    return fflush(stdout) != 0 ? CLI_EXIT_IO : CLI_EXIT_OK;
}

static int print_json(json_t *array)
{
    int failed = json_dumpf(array, stdout, JSON_COMPACT);
    json_decref(array);
    putchar('\n');
    return failed != 0 || fflush(stdout) != 0 ? CLI_EXIT_IO : CLI_EXIT_OK;
}

static int print_array(struct sr_live_run *runs, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        sr_make_printable(runs[i].name); /* which may have been cut within a character */
        sr_make_printable(runs[i].command);
        json_array_append_new(array,
                              json_pack("{s:s,s:i,s:I,s:s,s:s}", "runId", runs[i].id, "pid",
                                        (int)runs[i].pid, "startedAt", (json_int_t)runs[i].started,
                                        "policy", runs[i].name, "command", runs[i].command));
    }
    return print_json(array);
}

/* ---- ps -a ---- */

static const char *state_of(const struct sr_any_run *run)
{
    static const char *const names[] = {
        [SR_RUN_LIVES] = "running", [SR_RUN_FINISHED] = "finished", [SR_RUN_DEAD] = "dead"};
    return names[run->state];
}

/* In the largest unit of which there are two. */
static const char *age_text(int64_t seconds, char text[32])
{
    static const struct {
        int64_t seconds;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;
    while (units[i].seconds > 1 && seconds < 2 * units[i].seconds)
        i++;
    snprintf(text, 32, "%" PRId64 "%c", seconds / units[i].seconds, units[i].unit);
    return text;
}

static const char *size_text(const struct sr_any_run *run, char text[32])
{
    static const char units[] = "KMGTPE";
    size_t unit = 0;
    double size = (double)run->bytes / 1024;
    for (; size >= 1000 && unit + 2 < sizeof units; unit++)
        size /= 1024;
    snprintf(text, 32, size < 10 ? "%s%.1f%c" : "%s%.0f%c", run->more_bytes ? ">" : "", size,
             units[unit]);
    return text;
}

static void make_printable(struct sr_any_run *run)
{
    sr_make_printable(run->cause);
    sr_make_printable(run->name);
    sr_make_printable(run->command);
}

static int print_all_table(struct sr_any_run *runs, size_t count)
{
    printf("%-26s %-11s %4s %6s %7s  %-20s %s\n", "RUN", "STATE", "EXIT", "AGE", "SIZE", "POLICY",
           "COMMAND");
    int64_t now = (int64_t)time(NULL);
    for (size_t i = 0; i < count; i++) {
        struct sr_any_run *run = &runs[i];
        char age[32], size[32], exit_code[16] = "-";
        make_printable(run);
        if (run->has_exit_code)
            snprintf(exit_code, sizeof exit_code, "%d", run->exit_code);
        printf("%-26s %-11s %4s %6s %7s  %-20s %s\n", run->id,
               run->cause[0] != '\0' ? run->cause : state_of(run), exit_code,
               age_text(now - run->started, age), size_text(run, size), run->name, run->command);
    }
    return fflush(stdout) != 0 ? CLI_EXIT_IO : CLI_EXIT_OK;
}

static void add_number(struct facts *facts, const char *name, bool known, int64_t number)
{
    if (known)
        fact_integer(facts, name, number);
    else
        fact_null(facts, name);
}

static json_t *describe(const struct sr_any_run *run)
{
    struct facts facts = facts_new();
    fact_text(&facts, "runId", run->id);
    fact_text(&facts, "state", state_of(run));
    add_number(&facts, "pid", run->pid > 0, run->pid);
    fact_integer(&facts, "startedAt", run->started);
    add_number(&facts, "finishedAt", run->finished != 0, run->finished / 1000000000);
    fact_text_or_null(&facts, "cause", run->cause[0] != '\0' ? run->cause : NULL);
    add_number(&facts, "exitCode", run->has_exit_code, run->exit_code);
    fact_count(&facts, "bytes", run->bytes);
    fact_text(&facts, "policy", run->name);
    fact_text(&facts, "command", run->command);
    if (run->more_bytes)
        fact_flag(&facts, "moreBytes", true);
    return facts_end(&facts);
}

static int print_all_array(struct sr_any_run *runs, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        make_printable(&runs[i]);
        json_array_append_new(array, describe(&runs[i]));
    }
    return print_json(array);
}

static int list_all(const struct runs_arguments *arguments)
{
    struct sr_any_run *runs;
    size_t count;
    struct sr_error err;
    if (!is_base_there(arguments))
        return CLI_EXIT_IO;
    if (sr_runs_list_all(arguments->base, &runs, &count, &err) < 0) {
        cli_print_error(stderr, &err);
        return CLI_EXIT_IO;
    }
    int status = arguments->json ? print_all_array(runs, count) : print_all_table(runs, count);
    free(runs);
    return status;
}

int cli_cmd_ps(int argc, char **argv)
{
    struct runs_arguments arguments = RUNS_ARGUMENTS;
    int status = cli_options(argc, argv, &ps_command, &arguments);
    if (status >= 0)
        return status;
    if (optind < argc)
        return cli_usage_error(&ps_command, "unexpected argument '%s'", argv[optind]);
    if (arguments.all)
        return list_all(&arguments);
    struct sr_live_run *runs;
    size_t count;
    if (list(&arguments, &runs, &count) < 0)
        return CLI_EXIT_IO;
    status = arguments.json ? print_array(runs, count) : print_table(runs, count);
    free(runs);
    return status;
}

/* The run that a whole id or the end of one means; NULL with a word on stderr. */
static const struct sr_live_run *find(const struct sr_live_run *runs, size_t count,
                                      const char *name)
{
    const struct sr_live_run *found = NULL;
    size_t len = strlen(name);
    for (size_t i = 0; i < count; i++) {
        size_t id_len = strlen(runs[i].id);
        if (len < 3 || len > id_len || strcmp(runs[i].id + id_len - len, name) != 0)
            continue;
        if (found != NULL) {
            fprintf(stderr, "safe-run: several live runs end in '%s'\n", name);
            return NULL;
        }
        found = &runs[i];
    }
    if (found == NULL)
        fprintf(stderr, "safe-run: no live run is '%s'; 'safe-run ps' lists them\n", name);
    return found;
}

int cli_cmd_stop(int argc, char **argv)
{
    struct runs_arguments arguments = RUNS_ARGUMENTS;
    int status = cli_options(argc, argv, &stop_command, &arguments);
    if (status >= 0)
        return status;
    if (optind == argc)
        return cli_usage_error(&stop_command, "which run?");
    struct sr_live_run *runs;
    size_t count;
    if (list(&arguments, &runs, &count) < 0)
        return CLI_EXIT_IO;
    status = CLI_EXIT_OK;
    for (int i = optind; i < argc; i++) {
        const struct sr_live_run *run = find(runs, count, argv[i]);
        struct sr_error err;
        if (run == NULL) {
            status = CLI_EXIT_IO;
        } else if (sr_run_stop(run, arguments.base, arguments.kill, arguments.timeout_sec, &err) <
                   0) {
            cli_print_error(stderr, &err);
            status = CLI_EXIT_IO;
        } else {
            puts(run->id);
        }
    }
    free(runs);
    return status;
}

static void print_action(void *context, const char *id, enum sr_gc_action action,
                         const struct sr_error *error)
{
    bool dry_run = *(const bool *)context;
    if (action == SR_GC_FAILED)
        cli_print_error(stderr, error);
    else
        printf("%s%s %s\n", dry_run ? "would have " : "",
               action == SR_GC_CLOSED ? "closed" : "removed", id);
}

int cli_cmd_gc(int argc, char **argv)
{
    struct runs_arguments arguments = RUNS_ARGUMENTS;
    int status = cli_options(argc, argv, &gc_command, &arguments);
    if (status >= 0)
        return status;
    if (optind < argc)
        return cli_usage_error(&gc_command, "unexpected argument '%s'", argv[optind]);
    const struct sr_gc_options gc = {.older_than_sec = arguments.older_than_sec,
                                     .dry_run = arguments.dry_run,
                                     .tell = print_action,
                                     .context = &arguments.dry_run};
    if (!is_base_there(&arguments))
        return CLI_EXIT_IO;
    struct sr_error err;
    int failures = sr_runs_gc(arguments.base, &gc, &err);
    if (failures < 0)
        cli_print_error(stderr, &err);
    return failures != 0 ? CLI_EXIT_IO : CLI_EXIT_OK;
}
