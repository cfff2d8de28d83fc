#include "cli/archive_options.h"

#include "cli/cli.h"
#include "cli/run_name.h"

#include <getopt.h>
#include <stdlib.h>

enum { LIMIT = 100 };

static bool take_limit(const char *value, void *field)
{
    uint64_t number = 0;
    bool good = cli_option_number(value, 0, 1000000000, &number);
    *(unsigned *)field = (unsigned)number;
    return good;
}

/* The query points to it. */
static bool take_exit_code(const char *value, void *all)
{
    struct archive_arguments *arguments = all;
    uint64_t number = 0;
    bool good = cli_option_number(value, 0, 255, &number);
    arguments->exit_code = (int)number;
    arguments->query.exit_code = &arguments->exit_code;
    return good;
}

static bool take_label(const char *value, void *all)
{
    struct archive_arguments *arguments = all;
    if (arguments->query.label_count == ARCHIVE_MAX_LABELS)
        return false;
    arguments->labels[arguments->query.label_count++] = value;
    return true;
}

#define AT(field) offsetof(struct archive_arguments, field)
#define ROOT                                                                                       \
    {                                                                                              \
        .name = "root", .at = AT(root), .take = cli_option_text, .value = "D",                     \
        .help = "the archive; otherwise the host configuration's archive.root, else "              \
                "/var/lib/safe-run/archive for root and $XDG_STATE_HOME/safe-run/archive for "     \
                "others"                                                                           \
    }
#define COMMON                                                                                     \
    ROOT, {.name = "json", .at = AT(json), .help = "answer for programs"},                         \
    {                                                                                              \
        0                                                                                          \
    }
#define OUT(text)                                                                                  \
    {                                                                                              \
        .name = "out", .letter = 'o', .at = AT(out), .take = cli_option_text, .value = "F",        \
        .help = (text)                                                                             \
    }
#define LIST                                                                                       \
    {.name = "limit",                                                                              \
     .at = AT(query.limit),                                                                        \
     .take = take_limit,                                                                           \
     .value = "N",                                                                                 \
     .help = "not more than N (default 100; 0: all)",                                              \
     .takes = "a number"},                                                                         \
    {                                                                                              \
        .name = "pruned", .at = AT(query.with_pruned),                                             \
        .help = "also those whose bundle was removed when its retention was over"                  \
    }
#define RETENTION                                                                                  \
    {                                                                                              \
        .name = "retention", .at = AT(retention), .take = cli_option_text, .value = "T",           \
        .help = "for how long they are kept: 90s, 30m, 12h, 180d or forever (default 180d)"        \
    }
#define REQUIRE_KEY(text)                                                                          \
    {                                                                                              \
        .name = "require-key", .at = AT(require_key), .take = cli_option_text, .value = "K",       \
        .help = (text)                                                                             \
    }
#define CRITERION(called, field, what, text)                                                       \
    {                                                                                              \
        .name = (called), .at = AT(query.field), .take = cli_option_text, .value = (what),         \
        .help = (text)                                                                             \
    }

const struct cli_command archive_add_command = {
    .name = "report archive",
    .operands = "FILE",
    .about = "Keeps a finished run: FILE is its run_report.json, and what lies beside it "
             "(events.jsonl, attestation, policy, bundle, command, logs, the files it names; of "
             "outputs a list with hashes) goes along. The report is verified, and says in the "
             "archive what that found.\n"
             "\n" RUN_NAME_HELP,
    .options =
        (const struct cli_option[]){
            REQUIRE_KEY("only if the holder of this public key (PEM) has signed the run"),
            RETENTION, COMMON},
    .status = "0 stored, or it was there already; 2 stored, but the report does not verify; 1 "
              "nothing was stored (SR-OPS-301); 64 usage.",
    .example = "  safe-run report archive --retention 365d last",
};

const struct cli_command archive_ls_command = {
    .name = "archive ls",
    .about = "Lists the archived runs, newest first. VERDICT is what verification found when the "
             "run was stored, who vouches for it, and whether it came from another archive.",
    .options = (const struct cli_option[]){LIST, COMMON},
    .example = "  safe-run archive ls --limit 20",
};

static const struct cli_option search_options[] = {
    CRITERION("run", run_id, "ID", "run id"),
    CRITERION("bundle", bundle, "ID", "bundle id, or the beginning of one"),
    CRITERION("policy", policy, "NAME", "metadata.name of the policy"),
    {.name = "label",
     .take = take_label,
     .value = "K[=V]",
     .help = "label of the policy; may be repeated",
     .takes = "at most 16 labels",
     .repeats = true},
    CRITERION("command", command, "C",
              "the command: its path, the last part of that, or the whole line"),
    {.name = "exit-code",
     .take = take_exit_code,
     .value = "N",
     .help = "exit code of the run",
     .takes = "a number up to 255"},
    CRITERION("cause", cause, "C", "why it ended: workload, timeout, guest-oom, ..."),
    CRITERION("result", result, "R", "what verification found: pass or fail"),
    CRITERION("since", since, "T",
              "it started then or later: 2026-01-31, 2026-01-31T12:00, ... (UTC)"),
    CRITERION("until", until, "T", "it started then or earlier"),
    CRITERION("reached", reached, "A[:PORT]", "address or name that it reached"),
    CRITERION("denied", denied, "A[:PORT]",
              "address or name that it tried to reach, and was not let"),
    CRITERION("hash", hash, "H", "SHA-256 of policy, command, kernel, image, output or bundle"),
    LIST,
    COMMON};

const struct cli_command archive_search_command = {
    .name = "archive search",
    .about = "Finds runs for which every criterion holds, newest first.",
    .options = search_options,
    .example = "  safe-run archive search --command wget --since 2026-01-01 --denied 192.0.2.1:443",
};

const struct cli_command archive_show_command = {
    .name = "archive show",
    .operands = "BUNDLE",
    .about = "Says what a bundle holds and where. BUNDLE is a bundle id, the beginning of one (6 "
             "digits at least), a run id, the end of one, or 'last': the run of yours that ended "
             "last.",
    .options = (const struct cli_option[]){COMMON},
    .example = "  safe-run archive show last",
};

const struct cli_command archive_verify_command = {
    .name = "archive verify",
    .operands = "[BUNDLE]...",
    .about = "Checks the archive against its signed checkpoint: every bundle (or those named) is "
             "there unchanged or was pruned when its retention was over, nothing was added, the "
             "log was not rolled back. With --proof: checks a proof of inclusion, without any "
             "archive; that takes --key, and perhaps --report.",
    .options =
        (const struct cli_option[]){
            {.name = "key",
             .at = AT(key),
             .take = cli_option_text,
             .value = "K",
             .help = "the archive's public key (PEM) as you know it; otherwise the archive's own "
                     "word for it, archive.key.pub. --proof needs it"},
            REQUIRE_KEY("the holder of this public key (PEM) must have signed every run"),
            {.name = "checkpoint",
             .at = AT(checkpoint),
             .take = cli_option_text,
             .value = "F",
             .help = "an older checkpoint that was kept elsewhere: the log must go on from it"},
            {.name = "proof",
             .at = AT(proof),
             .take = cli_option_text,
             .value = "F",
             .help = "what 'archive prove' wrote"},
            {.name = "report",
             .at = AT(report),
             .take = cli_option_text,
             .value = "F",
             .help = "with --proof: F must be the report that is proved"},
            COMMON},
    .status = "0 valid, 2 not, 1 it cannot be checked, 64 usage.",
    .example = "  safe-run archive verify --checkpoint /mnt/safe/checkpoint-of-january",
};

const struct cli_command archive_prove_command = {
    .name = "archive prove",
    .operands = "BUNDLE",
    .about = "Proves that a bundle is in the archive that the checkpoint signs, to somebody who "
             "has only the archive's public key: prints a C2SP tlog-proof. BUNDLE is named as for "
             "'archive show'.",
    .options = (const struct cli_option[]){OUT("write it to F, which must not exist"), COMMON},
    .example = "  safe-run archive prove -o run.tlog-proof sr-20260101T120000-abcdef\n"
               "  safe-run archive verify --proof run.tlog-proof --key archive.key.pub",
};

const struct cli_command archive_prune_command = {
    .name = "archive prune",
    .about = "Removes the bundles whose retention is over. The log says so, so that 'archive "
             "verify' can tell them from bundles that were taken away. Nothing is removed when "
             "the log has times that are still to come, or when only a gap of more than a month "
             "in it makes a bundle's retention over: the clock may be wrong, and has to be "
             "vouched for.",
    .options =
        (const struct cli_option[]){
            {.name = "dry-run", .at = AT(dry_run), .help = "only say which"},
            {.name = "trust-clock",
             .at = AT(trust_clock),
             .help = "the clock is right, whatever the log says"},
            COMMON},
    .example = "  safe-run archive prune --dry-run",
};

const struct cli_command archive_export_command = {
    .name = "archive export",
    .operands = "[BUNDLE]...",
    .about = "Writes bundles, each with a proof of inclusion, as one tar archive, the same bytes "
             "each time. BUNDLE is named as for 'archive show'.",
    .options =
        (const struct cli_option[]){
            {.name = "all", .at = AT(all), .help = "all bundles"},
            OUT("write it to F, which must not exist; otherwise to standard output"),
            ROOT,
            {0}},
    .example = "  safe-run archive export -o january.tar --all",
};

const struct cli_command archive_import_command = {
    .name = "archive import",
    .operands = "FILE|-",
    .about = "Takes the bundles of an archive that 'archive export' wrote. Each is verified, and "
             "listed as imported; one that was changed on the way is refused, and with it what "
             "follows. That a report verifies says that it is whole, not that it is true: only a "
             "signature says whose it is.",
    .options =
        (const struct cli_option[]){
            {.name = "from",
             .at = AT(from),
             .take = cli_option_text,
             .value = "K",
             .help = "the public key (PEM) of the archive that they come from: the proof of each "
                     "must hold by it"},
            REQUIRE_KEY("only runs that the holder of this public key (PEM) has signed"),
            RETENTION,
            COMMON},
    .status = "0 taken, 2 taken, but a report does not verify, 1 refused, 64 usage.",
    .example = "  safe-run archive import --from theirs.pub --require-key host.pub january.tar",
};

const struct cli_command archive_reindex_command = {
    .name = "archive reindex",
    .about = "Makes the index of the archive anew from its bundles.",
    .options = (const struct cli_option[]){COMMON},
    .example = "  safe-run archive reindex",
};

int archive_parse(int argc, char **argv, const struct cli_command *command,
                  struct archive_arguments *arguments)
{
    *arguments = (struct archive_arguments){.query = {.limit = LIMIT}};
    arguments->query.labels = arguments->labels;
    int status = cli_options(argc, argv, command, arguments);
    arguments->count = argc - optind;
    arguments->names = argv + optind;
    return status;
}
