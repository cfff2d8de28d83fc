/*
 * The event log of one run: events.jsonl, one canonical JSON object a line, chained by hashes.
 *
 *   evidence_event_log_create()  evidence_event_append()...  evidence_event_log_sync()
 *   evidence_event_log_close()
 *
 * Theory of operation
 *
 * An append hashes the event and holds its line in memory. evidence_event_log_sync() is the
 * durability barrier: it writes all held lines with one write and one fdatasync, and only when both
 * succeeded are they acknowledged. When either fails the file is cut back to what was acknowledged
 * and the lines stay held, so that the next barrier writes them again: the file never has a torn
 * line in front of a good one, and a page that the kernel gave up on is dirtied anew. What a crash
 * can lose is therefore what was appended after the last barrier, and what it can leave is one torn
 * tail, which evidence_event_log_reopen() removes.
 *
 * One writer: the log holds an exclusive OFD lock on events.jsonl, which ends with the last copy of
 * the descriptor (a forked child that does not exec keeps one).
 *
 * Time: the wall clock is read once, when the log is opened; from then on time is that plus what
 * CLOCK_BOOTTIME says has passed. Timestamps in a log always rise, whatever the wall clock does.
 */
#ifndef SR_EVIDENCE_EVENT_H
#define SR_EVIDENCE_EVENT_H

#include "common/timestamp.h"
#include "evidence/chain.h"
#include "evidence/observer.h"
#include "saferun/error.h"

#include <jansson.h>

#define EVIDENCE_EVENTS_FILE "events.jsonl"
/* Lines held in memory before an append becomes a barrier by itself. */
#define EVIDENCE_EVENT_LOG_HOLD ((size_t)256 * 1024)
/* Lines held at most, while barriers fail; appends beyond that fail, too. */
#define EVIDENCE_EVENT_LOG_MAX_HELD ((size_t)4 * 1024 * 1024)

struct evidence_event_log;

/*
 * Creates events.jsonl (0600, must not exist) in run_dirfd and makes its name durable. types has a
 * bit 1 << sr_event_type for each type that is to be written (sr_bundle.events). run_id is copied:
 * printable ASCII without quote, backslash and '|'. SR-EVD-001 at `events`.
 */
int evidence_event_log_create(int run_dirfd, const char *run_id, uint32_t types,
                              struct evidence_event_log **log, struct sr_error *err) SR_MUST_CHECK;

/*
 * Opens the log of a run that has died, checks its chain, removes a torn tail and goes on behind
 * the last whole event. *dropped (may be NULL) is how many bytes the tail had. Fails with
 * SR-EVD-001 when somebody still writes the log (path `events.lock`) or when it is damaged
 * otherwise (path `events[<line>]`): a torn tail has no newline, or a hole of NUL bytes; anything
 * else is no crash.
 */
int evidence_event_log_reopen(int run_dirfd, const char *run_id, uint32_t types,
                              struct evidence_event_log **log, uint64_t *dropped,
                              struct sr_error *err) SR_MUST_CHECK;

/*
 * Appends an event; takes payload (an object whose numbers are integers within +-(2^53 - 1); NULL
 * is an error, so that facts_end() can be called in place). A payload without observedBy gets the
 * host as the one who saw it. A type that is not in `types` is not written. SR-EVD-001 at `events`;
 * the log is as before then.
 */
int evidence_event_append(struct evidence_event_log *log, enum evidence_stage stage,
                          enum sr_event_type type, json_t *payload,
                          struct sr_error *err) SR_MUST_CHECK;

/* The barrier: when it returns 0, all events appended so far are on disk. SR-EVD-001 at `events`;
 * it may be called again then. */
int evidence_event_log_sync(struct evidence_event_log *log, struct sr_error *err) SR_MUST_CHECK;

/* Writes the log's own time, which agrees with its timestamps. */
void evidence_event_log_now(const struct evidence_event_log *log, char text[SR_TIMESTAMP_TEXT]);

/* What a report needs of the log; valid until it is closed. */
struct evidence_event_log_state {
    int fd;         /* events.jsonl, readable with pread */
    uint64_t size;  /* acknowledged bytes */
    uint64_t count; /* acknowledged events */
    const char *run_id;
    const char *last;   /* hashSelf of the last one */
    const char *opened; /* timestamp of create or reopen */
};
struct evidence_event_log_state evidence_event_log_state(const struct evidence_event_log *log);

/* Returns the size of the log with all that was appended, acknowledged or not. */
uint64_t evidence_event_log_bytes(const struct evidence_event_log *log);

/* Closes the log without a barrier: lines that are still held are lost. log may be NULL. */
void evidence_event_log_close(struct evidence_event_log *log);

#endif
