/* The options of `archive` and `report archive`. */
#ifndef SR_CLI_ARCHIVE_OPTIONS_H
#define SR_CLI_ARCHIVE_OPTIONS_H

#include "cli/options.h"
#include "saferun/archive.h"

#define ARCHIVE_MAX_LABELS 16

struct archive_arguments {
    const char *root, *retention, *out, *checkpoint, *proof, *key, *report, *require_key, *from;
    struct sr_archive_query query;
    const char *labels[ARCHIVE_MAX_LABELS];
    int exit_code;
    bool json, dry_run, trust_clock, all;
    int count; /* of what is not an option */
    char **names;
};

/* Which options a verb has. */
extern const struct sr_option archive_common_options[], archive_add_options[],
    archive_import_options[], archive_ls_options[], archive_search_options[],
    archive_verify_options[], archive_prove_options[], archive_prune_options[],
    archive_export_options[];

/* Returns -1 to go on, or the exit status. */
int archive_parse(int argc, char **argv, const struct sr_option *options, const char *usage,
                  const char *help, struct archive_arguments *arguments);

#endif
