/* Verifying the run's own report in a bundle's files/, with whatever lies beside it. */
#ifndef SR_ARCHIVE_CHECK_H
#define SR_ARCHIVE_CHECK_H

#include "archive/bundle.h"
#include "saferun/report.h"

/* The check of the outputs themselves. It needs them, so it is made when a run is stored. */
#define ARCHIVE_BUNDLE_OUTPUTS_CHECK "outputs"

/*
 * Runs every check of sr_report_verify() that files/ (a directory's descriptor) has material for,
 * and one more when the report names outputs: `outputs_manifest` (SR-EVD-302), their hashes are
 * those of outputs.json. With run, the directory of the run itself (NULL: not at hand), its
 * outputs/ is verified, too, and `outputs` says whether it agrees with the events. Returns 0 with
 * an answer, -1 when memory is out.
 */
int archive_bundle_verify(int files, const struct archive_manifest *manifest, const int *run,
                          struct sr_verification *verification, struct sr_error *err) SR_MUST_CHECK;

/* Takes each file that the report names: its name (as written, without quotes) and its hash. False
 * ends it. */
typedef bool archive_on_named_file(void *context, const struct sr_json_member *file);

/* Goes through artifacts.files of the report behind fd, in canonical order. -1: it is no report. */
int archive_named_files(int fd, archive_on_named_file *on_file, void *context,
                        struct sr_error *err) SR_MUST_CHECK;

#endif
