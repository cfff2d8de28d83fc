/*
 * The state of one verification, shared by the files that make it up and by nothing else.
 *
 *   verify.c         the story: open, walk, decide
 *   verify_events.c  each event: schema, chain, events.jsonl
 *   verify_fields.c  everything else in the report: schema, hashes, sums
 *   verify_files.c   files on disk beside the report
 */
#ifndef SR_EVIDENCE_VERIFY_H
#define SR_EVIDENCE_VERIFY_H

#include "aggregate.h"
#include "event_file.h"
#include "report_walk.h"
#include "saferun/report.h"
#include "timestamp.h"

enum check {
    CHECK_SCHEMA,
    CHECK_ARTIFACT_HASH,
    CHECK_EVENT_CHAIN,
    CHECK_CANONICAL_FORM,
    CHECK_TERMINAL_EVENT,
    CHECK_AGGREGATES,
    CHECK_EVENTS_FILE,
    CHECK_ARTIFACT_FILES,
    CHECK_COUNT
};

struct verify {
    const struct sr_verify_options *options;
    struct sr_verification *out;
    struct sr_report_check checks[CHECK_COUNT];
    bool wanted[CHECK_COUNT]; /* is to be told of */
    bool no_memory;

    struct sr_report_walk walk;
    bool sealed; /* integrity.canonicalization says RFC8785: written by us */

    /* Events. */
    struct sr_hasher *hasher;
    struct sr_event event;
    struct sr_aggregate aggregate;
    struct sr_buf run_id;      /* of the first event */
    char last[SR_SHA256_TEXT]; /* hashSelf of the last event */
    bool last_known;
    char last_time[SR_TIMESTAMP_TEXT];
    bool time_known; /* the event before had one of our timestamps */
    bool out_of_order;
    uint64_t out_of_order_at; /* the first event whose time is before the one before it */
    int events_fd;
    struct sr_event_file events; /* events.jsonl, read in step with the report */
    bool comparing;              /* no difference so far */
};

/* Records an error against a check. */
void verify_error(struct verify *v, enum check check, enum sr_code code, const char *path,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void verify_note(struct verify *v, enum check check, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* What was found, for a message: printable ASCII, cut. Returns out. */
enum { SHOWN_SIZE = 100 };
const char *verify_show(struct sr_json_slice value, char out[SHOWN_SIZE]);

/* verify_events.c */
void verify_open_events(struct verify *v);
sr_report_on_event verify_event;
void verify_events_end(struct verify *v); /* after the walk */

/* verify_fields.c, after the walk */
void verify_fields(struct verify *v);
void verify_aggregates(struct verify *v);

/* verify_files.c */
void verify_files(struct verify *v);

#endif
