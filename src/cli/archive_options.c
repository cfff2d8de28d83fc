#include "cli/archive_options.h"

#include "cli/cli.h"

#include <getopt.h>
#include <stdlib.h>

enum { LIMIT = 100 };

static bool take_limit(const char *value, void *field)
{
    uint64_t number = 0;
    bool good = sr_option_number(value, 0, 1000000000, &number);
    *(unsigned *)field = (unsigned)number;
    return good;
}

/* The query points to it. */
static bool take_exit_code(const char *value, void *all)
{
    struct archive_arguments *arguments = all;
    uint64_t number = 0;
    bool good = sr_option_number(value, 0, 255, &number);
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
#define TEXT(name, field)                                                                          \
    {                                                                                              \
        name, 0, AT(field), sr_option_text, NULL                                                   \
    }
#define FLAG(name, field)                                                                          \
    {                                                                                              \
        name, 0, AT(field), NULL, NULL                                                             \
    }
#define ROOT TEXT("root", root)
#define COMMON                                                                                     \
    ROOT, FLAG("json", json),                                                                      \
    {                                                                                              \
        0                                                                                          \
    }
#define OUT                                                                                        \
    {                                                                                              \
        "out", 'o', AT(out), sr_option_text, NULL                                                  \
    }
#define LIST                                                                                       \
    {"limit", 0, AT(query.limit), take_limit, "a number"}, FLAG("pruned", query.with_pruned)

const struct sr_option archive_common_options[] = {COMMON};
const struct sr_option archive_add_options[] = {TEXT("retention", retention),
                                                TEXT("require-key", require_key), COMMON};
const struct sr_option archive_import_options[] = {
    TEXT("retention", retention), TEXT("require-key", require_key), TEXT("from", from), COMMON};
const struct sr_option archive_ls_options[] = {LIST, COMMON};
const struct sr_option archive_search_options[] = {
    LIST,
    TEXT("run", query.run_id),
    TEXT("bundle", query.bundle),
    TEXT("policy", query.policy),
    {"label", 0, 0, take_label, "at most 16 labels"},
    TEXT("command", query.command),
    {"exit-code", 0, 0, take_exit_code, "a number up to 255"},
    TEXT("cause", query.cause),
    TEXT("result", query.result),
    TEXT("since", query.since),
    TEXT("until", query.until),
    TEXT("reached", query.reached),
    TEXT("denied", query.denied),
    TEXT("hash", query.hash),
    COMMON};
const struct sr_option archive_verify_options[] = {TEXT("checkpoint", checkpoint),
                                                   TEXT("proof", proof),
                                                   TEXT("key", key),
                                                   TEXT("report", report),
                                                   TEXT("require-key", require_key),
                                                   COMMON};
const struct sr_option archive_prove_options[] = {OUT, COMMON};
const struct sr_option archive_prune_options[] = {FLAG("dry-run", dry_run),
                                                  FLAG("trust-clock", trust_clock), COMMON};
const struct sr_option archive_export_options[] = {FLAG("all", all), OUT, ROOT, {0}};

int archive_parse(int argc, char **argv, const struct sr_option *options, const char *usage,
                  const char *help, struct archive_arguments *arguments)
{
    *arguments = (struct archive_arguments){.query = {.limit = LIMIT}};
    arguments->query.labels = arguments->labels;
    int status = sr_options(argc, argv, options, usage, help, arguments);
    arguments->count = argc - optind;
    arguments->names = argv + optind;
    return status;
}
