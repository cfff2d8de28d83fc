#include "archive_options.h"

#include "cli.h"

#include <errno.h>
#include <stdlib.h>

enum { LIMIT = 100 };

enum {
    OPT_ROOT = 256,
    OPT_JSON,
    OPT_RETENTION,
    OPT_LIMIT,
    OPT_PRUNED,
    OPT_RUN,
    OPT_BUNDLE,
    OPT_POLICY,
    OPT_LABEL,
    OPT_COMMAND,
    OPT_EXIT,
    OPT_CAUSE,
    OPT_RESULT,
    OPT_SINCE,
    OPT_UNTIL,
    OPT_REACHED,
    OPT_DENIED,
    OPT_HASH,
    OPT_CHECKPOINT,
    OPT_PROOF,
    OPT_KEY,
    OPT_REPORT,
    OPT_DRY,
    OPT_ALL,
};

#define COMMON                                                                                     \
    {"root", required_argument, NULL, OPT_ROOT}, {"json", no_argument, NULL, OPT_JSON},            \
        {"help", no_argument, NULL, 'h'},                                                          \
    {                                                                                              \
        NULL, 0, NULL, 0                                                                           \
    }

const struct option archive_common_options[] = {COMMON};
const struct option archive_add_options[] = {{"retention", required_argument, NULL, OPT_RETENTION},
                                             COMMON};
const struct option archive_ls_options[] = {{"limit", required_argument, NULL, OPT_LIMIT},
                                            {"pruned", no_argument, NULL, OPT_PRUNED},
                                            COMMON};
const struct option archive_search_options[] = {{"limit", required_argument, NULL, OPT_LIMIT},
                                                {"pruned", no_argument, NULL, OPT_PRUNED},
                                                {"run", required_argument, NULL, OPT_RUN},
                                                {"bundle", required_argument, NULL, OPT_BUNDLE},
                                                {"policy", required_argument, NULL, OPT_POLICY},
                                                {"label", required_argument, NULL, OPT_LABEL},
                                                {"command", required_argument, NULL, OPT_COMMAND},
                                                {"exit-code", required_argument, NULL, OPT_EXIT},
                                                {"cause", required_argument, NULL, OPT_CAUSE},
                                                {"result", required_argument, NULL, OPT_RESULT},
                                                {"since", required_argument, NULL, OPT_SINCE},
                                                {"until", required_argument, NULL, OPT_UNTIL},
                                                {"reached", required_argument, NULL, OPT_REACHED},
                                                {"denied", required_argument, NULL, OPT_DENIED},
                                                {"hash", required_argument, NULL, OPT_HASH},
                                                COMMON};
const struct option archive_verify_options[] = {
    {"checkpoint", required_argument, NULL, OPT_CHECKPOINT},
    {"proof", required_argument, NULL, OPT_PROOF},
    {"key", required_argument, NULL, OPT_KEY},
    {"report", required_argument, NULL, OPT_REPORT},
    COMMON};
const struct option archive_prove_options[] = {{"out", required_argument, NULL, 'o'}, COMMON};
const struct option archive_prune_options[] = {{"dry-run", no_argument, NULL, OPT_DRY}, COMMON};
const struct option archive_export_options[] = {
    {"all", no_argument, NULL, OPT_ALL}, {"out", required_argument, NULL, 'o'}, COMMON};

static bool take_number(const char *text, long max, long *number)
{
    char *end;
    errno = 0;
    *number = strtol(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *number <= max;
}

/* Where the text of a criterion goes. */
static const char **text_of(struct sr_archive_query *query, int option)
{
    switch (option) {
    case OPT_RUN:
        return &query->run_id;
    case OPT_BUNDLE:
        return &query->bundle;
    case OPT_POLICY:
        return &query->policy;
    case OPT_COMMAND:
        return &query->command;
    case OPT_CAUSE:
        return &query->cause;
    case OPT_RESULT:
        return &query->result;
    case OPT_SINCE:
        return &query->since;
    case OPT_UNTIL:
        return &query->until;
    case OPT_REACHED:
        return &query->reached;
    case OPT_DENIED:
        return &query->denied;
    default:
        return &query->hash;
    }
}

/* An option of search and ls. False: the value cannot be used. */
static bool take_criterion(struct archive_arguments *arguments, int option)
{
    struct sr_archive_query *query = &arguments->query;
    long number;
    switch (option) {
    case OPT_LIMIT:
        if (!take_number(optarg, 1000000000, &number))
            return false;
        query->limit = (unsigned)number;
        return true;
    case OPT_PRUNED:
        query->with_pruned = true;
        return true;
    case OPT_EXIT:
        if (!take_number(optarg, 255, &number))
            return false;
        arguments->exit_code = (int)number;
        query->exit_code = &arguments->exit_code;
        return true;
    case OPT_LABEL:
        if (query->label_count == ARCHIVE_MAX_LABELS)
            return false;
        arguments->labels[query->label_count++] = optarg;
        return true;
    default:
        *text_of(query, option) = optarg;
        return true;
    }
}

int archive_parse(int argc, char **argv, const struct option *options, const char *usage,
                  const char *help, struct archive_arguments *arguments)
{
    *arguments = (struct archive_arguments){.query = {.limit = LIMIT}};
    arguments->query.labels = arguments->labels;
    const struct option *out = options;
    while (out->name != NULL && out->val != 'o')
        out++;
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, out->name != NULL ? ":ho:" : ":h", options, NULL)) >=
           0) {
        switch (option) {
        case OPT_ROOT:
            arguments->root = optarg;
            break;
        case OPT_JSON:
            arguments->json = true;
            break;
        case OPT_RETENTION:
            arguments->retention = optarg;
            break;
        case OPT_CHECKPOINT:
            arguments->checkpoint = optarg;
            break;
        case OPT_PROOF:
            arguments->proof = optarg;
            break;
        case OPT_KEY:
            arguments->key = optarg;
            break;
        case OPT_REPORT:
            arguments->report = optarg;
            break;
        case OPT_DRY:
            arguments->dry_run = true;
            break;
        case OPT_ALL:
            arguments->all = true;
            break;
        case 'o':
            arguments->out = optarg;
            break;
        case 'h':
            puts(usage);
            puts(help);
            return SR_EXIT_OK;
        case ':':
            return sr_usage_error(usage, "%s needs a value", argv[optind - 1]);
        case '?':
            return sr_usage_error(usage, "unknown option '%s'", argv[optind - 1]);
        default:
            if (!take_criterion(arguments, option))
                return sr_usage_error(usage, "'%s' cannot be used here", optarg);
        }
    }
    arguments->count = argc - optind;
    arguments->names = argv + optind;
    return -1;
}
