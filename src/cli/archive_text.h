/* How the answers of `archive` look, for people and as JSON. Texts from runs are made printable. */
#ifndef SR_CLI_ARCHIVE_TEXT_H
#define SR_CLI_ARCHIVE_TEXT_H

#include "common/buf.h"
#include "saferun/archive.h"

/* A list in the making. */
struct archive_table {
    struct sr_buf *out;
    bool json, dry_run;
    size_t rows;
    size_t failures; /* imported: reports that do not verify */
};

void archive_begin_runs(struct archive_table *table);
sr_archive_on_run archive_add_run;
void archive_end_runs(struct archive_table *table);

void archive_begin_list(struct archive_table *table);
sr_archive_on_prune archive_add_pruned;
sr_archive_on_import archive_add_imported;
void archive_end_list(struct archive_table *table);

int archive_describe(struct sr_archive *archive, const char *bundle, bool json, struct sr_buf *out,
                     struct sr_error *err) __attribute__((warn_unused_result));

/* These write to standard output; false when that fails. */
bool archive_print_added(const struct sr_archive_added *added, bool json);
bool archive_print_verification(const struct sr_archive_verification *found, bool json);
/* Prints a proof that was made (its text) or checked (what it proves). */
bool archive_print_proof(const struct sr_archive_proof *proof, bool json, bool checked);
bool archive_print_bad_proof(const struct sr_error *error);

#endif
