/* Names that people give a report: a file, a directory that has one, or a run of theirs. */
#ifndef SR_CLI_RUN_NAME_H
#define SR_CLI_RUN_NAME_H

#include "saferun/error.h"

#include <limits.h>

/* In the help of every command that takes one. */
#define RUN_NAME_HELP                                                                              \
    "FILE is a report, a directory that has one, a run id or the end of one, or 'last': the run "  \
    "that ended last. Runs are those of $SAFE_RUN_WORKDIR_BASE, or else of the default place."

/*
 * Finds the path of the report that name means. "-" and a file that exists mean themselves, a
 * directory means the run_report.json in it; else name is a run id, the end of one that no other
 * run has, or "last". Any other name means itself, so that opening it says what is wrong; but a
 * name that can only be a run's is an error (SR-RUN-001 at run), as is one that several runs have.
 * *report is in path or is name.
 */
int run_name_report(const char *name, char path[PATH_MAX], const char **report,
                    struct sr_error *err) __attribute__((warn_unused_result));

/* Does the same for a run in the archive: "last" means the id of the run that ended last,
 * everything else means itself. */
int run_name_id(const char *name, char id[32], const char **run, struct sr_error *err)
    __attribute__((warn_unused_result));

#endif
