/* The options of `archive` and `report archive`, and what people read about them. */
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

extern const struct cli_command archive_add_command, archive_ls_command, archive_search_command,
    archive_show_command, archive_verify_command, archive_prove_command, archive_prune_command,
    archive_export_command, archive_import_command, archive_reindex_command;

/* Returns -1 to go on, or the exit status. */
int archive_parse(int argc, char **argv, const struct cli_command *command,
                  struct archive_arguments *arguments);

#endif
