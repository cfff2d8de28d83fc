/*
 * Attesting a report: sr_report_attest() with a key that is in memory already.
 */
#ifndef SR_EVIDENCE_ATTEST_H
#define SR_EVIDENCE_ATTEST_H

#include "evidence/envelope.h"
#include "saferun/report.h"

/* As sr_report_attest(). Needs no file but those in dirfd. */
int sr_attest(int dirfd, const char *name, const struct sr_key *key,
              struct sr_error *err) SR_MUST_CHECK;

#endif
