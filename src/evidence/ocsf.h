/*
 * Events as records of the Open Cybersecurity Schema Framework (OCSF) 1.3, for log systems: one
 * JSON object a line, in the order of the events.
 *
 * Pure translation, in bounded memory: the mapping is the table in ocsf.c (and docs/EVIDENCE.md);
 * "unmapped" has the whole payload, so that nothing is lost for which OCSF has no attribute.
 * Nothing is verified here.
 */
#ifndef SR_EVIDENCE_OCSF_H
#define SR_EVIDENCE_OCSF_H

#include "saferun/error.h"

#include <stddef.h>

#define EVIDENCE_OCSF_VERSION "1.3.0"

/* Takes a record with its newline. Returns 0, or -1 with err to end the export. */
typedef int evidence_ocsf_emit(void *context, const char *line, size_t len, struct sr_error *err);

/* Exports the report behind fd (regular file, from its start); version is safe-run's. -1 as
 * evidence_report_walk(), as emit, or SR-EVD-301 at `events[n]` for an event that is none. */
int evidence_ocsf_export(int fd, const char *version, evidence_ocsf_emit *emit, void *context,
                         struct sr_error *err) __attribute__((warn_unused_result));

#endif
