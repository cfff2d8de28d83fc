/*
 * The state of one verification, shared by the files that make it up and by nothing else.
 *
 *   verify.c         the story: open, walk, decide
 *   verify_events.c  each event: schema, chain, events.jsonl
 *   verify_fields.c  everything else in the report: schema, hashes, sums
 *   verify_outcome.c what else a sealed report says of its run, against its events
 *   verify_observers.c  who saw what, field by field
 *   verify_files.c   files on disk beside the report
 *   verify_outputs.c outputs beside the report
 *   verify_signature.c  the attestation
 *   statement.c      what an attestation says of a report
 *   attest.c         making one of a report that verifies
 */
#ifndef SR_EVIDENCE_VERIFY_H
#define SR_EVIDENCE_VERIFY_H

#include "common/timestamp.h"
#include "evidence/aggregate.h"
#include "evidence/event_file.h"
#include "evidence/report_walk.h"
#include "saferun/report.h"

#include <fcntl.h>

enum check {
    CHECK_SCHEMA,
    CHECK_ARTIFACT_HASH,
    CHECK_EVENT_CHAIN,
    CHECK_CANONICAL_FORM,
    CHECK_TERMINAL_EVENT,
    CHECK_AGGREGATES,
    CHECK_EVENTS_FILE,
    CHECK_ARTIFACT_FILES,
    CHECK_SIGNATURE,
    CHECK_COUNT
};

/* Payloads that the rest of a report is held against; of several events of a kind the last
 * one's. */
enum told_kind { TOLD_COMPILE, TOLD_STARTED, TOLD_EXITED, TOLD_FAILED, TOLD_COUNT };

struct verify_told {
    struct told_event {
        struct sr_buf payload; /* canonical */
        uint64_t index, count;
    } of[TOLD_COUNT];
    uint64_t observed;          /* events that say who saw them */
    uint64_t silent, silent_at; /* events that do not, the first of them */
    bool ended;                 /* run.cleaned or run.failed was there */
    /* Fields that no report has whose fields do not say who saw them, and fields that do not keep
     * to what they say: how many, the first one's event, and its name. */
    struct told_fields {
        uint64_t count, at;
        const char *field; /* static */
    } new_fields, untrue;
    uint64_t late, late_at; /* events behind it that are no run.failed, the first of them */
};

struct verify {
    const struct sr_verify_options *options;
    struct sr_verification *out;
    struct sr_report_check checks[CHECK_COUNT];
    bool wanted[CHECK_COUNT]; /* is to be told of */
    bool no_memory;

    struct sr_report_walk walk;
    bool sealed; /* written by us: says so, or has what no other report has */

    /* Events. */
    struct sr_hasher *hasher;
    struct sr_event event;
    struct sr_aggregate aggregate;
    struct verify_told told;
    struct sr_buf run_id;      /* of the first event */
    char last[SR_SHA256_TEXT]; /* hashSelf of the last event */
    bool last_known;
    char first_time[SR_TIMESTAMP_TEXT], last_time[SR_TIMESTAMP_TEXT];
    bool time_known; /* some event before had one of our timestamps; those are the first and the
                        last */
    uint64_t odd_times, odd_time_at; /* events with another time, the first of them */
    bool out_of_order;
    uint64_t out_of_order_at; /* the first event whose time is before the one before it */
    char time_before[SR_TIMESTAMP_TEXT];
    bool secret_open; /* run.prepared has a secret without an HMAC */
    int events_fd;
    struct sr_event_file events; /* events.jsonl, read in step with the report */
    bool comparing;              /* no difference so far */

    /* For attestations: hashes of the files as they were read, empty when not (wholly) read. */
    struct sr_hasher *report_bytes, *events_bytes;
    char report_hash[SR_SHA256_TEXT], events_hash[SR_SHA256_TEXT];
    char initrd_hash[SR_SHA256_TEXT]; /* of the last vm.started */
    struct verify_outputs *collected; /* what verify_outputs.c is to look for; NULL: nothing */
    char manifest[SR_SHA256_TEXT];    /* that output.collected names; empty: none does */
    struct sr_buf outputs; /* subjects of a statement, canonical, each with a comma before it */
    size_t outputs_at;     /* where the next of them is expected when a statement is compared */
};

/* Verifies as sr_report_verify_fd(), and when the report is valid calls then (may be NULL), which
 * fails the whole with err. */
typedef int verify_then(void *context, const struct verify *v, struct sr_error *err);
int verify_report(int fd, const struct sr_verify_options *options,
                  struct sr_verification *verification, verify_then *then, void *context,
                  struct sr_error *err) SR_MUST_CHECK;

/* A member of a member of the report ("" is the report itself), canonical; empty: there is none. */
struct sr_json_slice verify_field(const struct verify *v, const char *parent, const char *name);

/* The directory that the options' paths are relative to. */
static inline int verify_base(const struct verify *v)
{
    return v->options->dirfd != NULL ? *v->options->dirfd : AT_FDCWD;
}

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

/* verify_outcome.c: takes an event as it is read; what a sealed report says against those, after
 * the walk. */
void verify_told_take(struct verify *v, uint64_t index);
void verify_outcome(struct verify *v);
void verify_told_free(struct verify_told *told);
/* The last event of a kind: its payload, empty when there is none. */
struct sr_json_slice verify_told(const struct verify *v, enum told_kind kind);
/* Errors: a field is not what follows from the events; a field is not there, or of another type. */
void verify_differs(struct verify *v, const char *path, const char *expected,
                    struct sr_json_slice found);
void verify_missing(struct verify *v, const char *path, const char *why);

/* verify_observers.c: the same two steps for who saw what. closed: a later safe-run wrote the
 * report. */
void verify_observers_take(struct verify *v, uint64_t index);
void verify_observers(struct verify *v, bool closed);
/* Whether the report says it field by field. */
bool verify_is_fielded(const struct verify *v);

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

/* statement.c: takes what only an event tells, when there is an attestation to make or to check. */
void statement_take_event(struct verify *v);

#endif
