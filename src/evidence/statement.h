/*
 * What an attestation says of a report: an in-toto Statement v1.
 *
 *   {"_type":"https://in-toto.io/Statement/v1",
 *    "predicate":{"asked":{...},"enforced":{...},"result":{...},"run":{...},"versions":{...}},
 *    "predicateType":"https://safe-run.dev/attestation/run/v1",
 *    "subject":[{"digest":{"sha256":"<hex>"},"name":"run_report.json"},...]}
 *
 * It is canonical JSON and follows from the report alone, but for the events file's hash: a report
 * has one statement, whoever signs it and whenever. Everything in the predicate is a member of the
 * report, word for word. Subjects: the report; events.jsonl if it was there; all of
 * artifacts.files; every output, with the hash that output.collected has (which is not of a file,
 * so it is not called "sha256"), followed by the files that the event lists.
 */
#ifndef SR_EVIDENCE_STATEMENT_H
#define SR_EVIDENCE_STATEMENT_H

#include "evidence/verify_state.h"

/* Takes from the event at hand what only events tell, when there is an attestation to make or to
 * check. */
void statement_take_event(struct verify *v);

/* Appends the statement on a report that verifies. When memory is out, out fails. */
void statement_write(const struct verify *v, struct sr_buf *out);

/* Holds a statement (foreign bytes, but signed) against the report; what does not agree becomes an
 * error of CHECK_SIGNATURE. */
void statement_compare(struct verify *v, const struct sr_buf *statement);

#endif
