/*
 * The file of an attestation, as it lies beside a report.
 */
#ifndef SR_EVIDENCE_ATTESTATION_H
#define SR_EVIDENCE_ATTESTATION_H

#include "common/buf.h"
#include "common/cleanup.h"
#include "saferun/error.h"

/* Appends the text of the attestation in path (regular file, at most EVIDENCE_ENVELOPE_MAX).
 * SR-EVD-002 at `attestation`. */
int attestation_read(int dirfd, const char *path, struct sr_buf *text,
                     struct sr_error *err) SR_MUST_CHECK;

#endif
