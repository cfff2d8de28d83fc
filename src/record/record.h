/*
 * The record of a run: its directory, its entry in the register of unfinished runs, its lock, its
 * event log, and the report that seals it.
 *
 *   1. record_new(), record_open(): from here on ps and gc know of the run, and close it should its
 *      supervisor die.
 *   2. record_begin(): the event log. record_event(), and record_barrier() where something must not
 *      happen before what was said of it is on disk. record_file() and record_stream() for all else
 *      that lies in the directory. record_owe() holds room on the disk for what is still to come.
 *   3. record_spend() gives that room back, for the closing events; record_seal() writes the
 *      report, record_sign() signs it, record_close() takes the run out of the register.
 *   4. record_free() at any time. A record that was not closed stays in the register: gc closes it.
 *      record_abandon() removes one that was not begun.
 *
 * Formats: docs/CONTRACT.md, "Files of a run", "Events", "Report".
 */
#ifndef SR_RECORD_RECORD_H
#define SR_RECORD_RECORD_H

#include "common/cleanup.h"
#include "common/sha256.h"
#include "evidence/event.h"
#include "evidence/report.h"
#include "saferun/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record;

/* NULL: memory is out, or libcrypto has no SHA-256. */
struct record *record_new(void);
void record_free(struct record *record);

/*
 * Makes the run's directory below base (sr_runs_base()), enters the run in the register and takes
 * its lock. Runs of base whose supervisor is dead are closed first; *unclosed counts those that
 * could not be. Errors: SR-RUN-001 at prepare.workdir or prepare.lock. record_abandon() then.
 */
int record_open(struct record *record, const char *base, int *unclosed,
                struct sr_error *err) SR_MUST_CHECK;

/* Removes what is there of a run that has no event log. */
void record_abandon(struct record *record);

/* Empty before record_open(). The record's. */
const char *record_id(const struct record *record);
const char *record_path(const struct record *record); /* absolute, without links */

/* The run's directory; the register; the run's entry in it, which is locked. -1: not there. The
 * record's. */
int record_directory(const struct record *record);
int record_register(const struct record *record);
int record_entry(const struct record *record);

/* For whoever hashes on behalf of the run, one at a time. */
struct sr_hasher *record_hasher(struct record *record);

/* Begins the event log, with these types (bits by enum sr_event_type). Errors:
 * evidence_event_log_create()'s. */
int record_begin(struct record *record, uint32_t types, struct sr_error *err) SR_MUST_CHECK;
bool record_has_begun(const struct record *record);

/* Appends an event; takes payload, NULL being one for which memory was out. Errors: SR-EVD-001. */
int record_event(struct record *record, enum evidence_stage stage, enum sr_event_type type,
                 json_t *payload, struct sr_error *err) SR_MUST_CHECK;

/* Returns when all events so far are on disk. Errors: SR-EVD-001. */
int record_barrier(struct record *record, struct sr_error *err) SR_MUST_CHECK;

/* The time by the log's clock, in nanoseconds since 1970. */
int64_t record_now(const struct record *record);

/* Bytes of the events so far. */
uint64_t record_event_bytes(const struct record *record);

/* Creates a file in the directory and makes its content durable. hash: of the content; NULL: not
 * asked for. Errors: SR-RUN-001 at prepare.workdir. */
int record_file(struct record *record, const char *name, const void *data, size_t len,
                char hash[SR_SHA256_TEXT], struct sr_error *err) SR_MUST_CHECK;

/* Creates a file in the directory for writing: its descriptor, the caller's, or -1 with err. */
int record_stream(struct record *record, const char *name, struct sr_error *err) SR_MUST_CHECK;

/*
 * Holds room on the disk for so many bytes beside a copy of the events, which it follows as they
 * grow: a disk that fills up meanwhile costs no evidence. Again with another number at any time;
 * room once held is kept until record_spend(). A file system without fallocate(2) holds nothing.
 * Errors: SR-EVD-001 at events.reserve.
 */
int record_owe(struct record *record, uint64_t bytes, struct sr_error *err) SR_MUST_CHECK;
void record_spend(struct record *record);

/* Loads the private key that signs the report. Errors: evidence_key_load_private()'s. */
int record_load_key(struct record *record, const char *path, struct sr_error *err) SR_MUST_CHECK;

/* Writes the report; of facts the record fills run_id and files. Errors:
 * evidence_report_write()'s. */
int record_seal(struct record *record, const struct evidence_report_facts *facts,
                struct sr_error *err) SR_MUST_CHECK;

/* Signs the report. 1: signed; 0: there is no key; -1 with evidence_attest()'s errors. */
int record_sign(struct record *record, struct sr_error *err) SR_MUST_CHECK;
/* Of the key that was loaded; the record's. */
const char *record_key_id(const struct record *record);

/* Takes the run out of the register: nothing of it is left for gc. */
void record_close(struct record *record);

#endif
