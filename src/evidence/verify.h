/*
 * The steps of a verification. Each takes what it looks at from the state (verify_state.h) and
 * records what is wrong (finding.h).
 *
 *   verify.c            the story: open, walk, decide
 *   verify_events.c     each event: schema, chain, events.jsonl
 *   verify_fields.c     everything else in the report: schema, hashes, sums
 *   verify_outcome.c    what else a sealed report says of its run, against its events
 *   verify_observers.c  who saw what, field by field
 *   verify_files.c      files on disk beside the report
 *   verify_outputs.c    outputs beside the report
 *   verify_secrets.c    values from outside of the policy
 *   verify_signature.c  the attestation
 *   statement.c         what an attestation says of a report
 *   attest.c            making one of a report that verifies
 */
#ifndef SR_EVIDENCE_VERIFY_H
#define SR_EVIDENCE_VERIFY_H

#include "evidence/verify_state.h"

/* Verifies as sr_report_verify_fd() does, and calls then (may be NULL) when the report is valid.
 * Returns -1 with err when then does. */
typedef int verify_then(void *context, const struct verify *v, struct sr_error *err);
int verify_report(int fd, const struct sr_verify_options *options,
                  struct sr_verification *verification, verify_then *then, void *context,
                  struct sr_error *err) SR_MUST_CHECK;

/* verify_events.c */
void verify_open_events(struct verify *v);
evidence_report_on_event verify_event;
void verify_events_end(struct verify *v); /* after the walk */

/* verify_fields.c, after the walk */
void verify_fields(struct verify *v);
void verify_aggregates(struct verify *v);

/* verify_outcome.c: takes an event as it is read; after the walk, compares what a sealed report
 * says with the events. */
void verify_told_take(struct verify *v, uint64_t index);
void verify_outcome(struct verify *v);

/* verify_observers.c: the same two steps for who saw what. closed: a later safe-run wrote the
 * report. */
void verify_observers_take(struct verify *v, uint64_t index);
void verify_observers(struct verify *v, bool closed);

/* verify_files.c */
void verify_files(struct verify *v);

/* verify_outputs.c: takes an event as it is read; after the walk, holds the manifest that events
 * name against the report, and looks for what the events told below dir. The latter returns how
 * many outputs were checked. */
void verify_outputs_take(struct verify *v, uint64_t index);
void verify_outputs_manifest(struct verify *v);
unsigned verify_outputs(struct verify *v, int dir);
void verify_outputs_free(struct verify *v);

/* verify_secrets.c: takes an event as it is read. */
void verify_secrets_take(struct verify *v, uint64_t index);

/* verify_signature.c */
void verify_signature(struct verify *v);

#endif
