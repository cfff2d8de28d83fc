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

/* Appends the text of the attestation in path (regular file, at most SR_ENVELOPE_MAX). SR-EVD-002
 * at `attestation`. */
int attestation_read(int dirfd, const char *path, struct sr_buf *text,
                     struct sr_error *err) SR_MUST_CHECK;

#endif
