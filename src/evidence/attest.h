/*
 * Attesting a report with a key that has been loaded.
 */
#ifndef SR_EVIDENCE_ATTEST_H
#define SR_EVIDENCE_ATTEST_H

#include "evidence/envelope.h"
#include "saferun/report.h"

/* Does what sr_report_attest() does. Opens no file but those in dirfd. */
int evidence_attest(int dirfd, const char *name, const struct sr_key *key,
                    struct sr_error *err) SR_MUST_CHECK;

#endif
