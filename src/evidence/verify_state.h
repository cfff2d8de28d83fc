/*
 * The state of one verification, which only the files that verify (verify.h) share.
 */
#ifndef SR_EVIDENCE_VERIFY_STATE_H
#define SR_EVIDENCE_VERIFY_STATE_H

#include "common/timestamp.h"
#include "evidence/aggregate.h"
#include "evidence/event_file.h"
#include "evidence/finding.h"
#include "evidence/report_walk.h"
#include "evidence/told.h"
#include "saferun/report.h"

#include <fcntl.h>

struct verify {
    const struct sr_verify_options *options;
    struct sr_verification *out;
    struct sr_report_check checks[CHECK_COUNT];
    bool wanted[CHECK_COUNT]; /* the result lists this check */
    bool no_memory;

    struct evidence_report_walk walk;
    bool sealed; /* written by safe-run: says so, or has members that no other report has */

    /* Events. */
    struct sr_hasher *hasher;
    struct evidence_event event;
    struct evidence_aggregate aggregate;
    struct verify_told told;
    struct sr_buf run_id;      /* of the first event */
    char last[SR_SHA256_TEXT]; /* hashSelf of the last event */
    bool last_known;
    char first_time[SR_TIMESTAMP_TEXT], last_time[SR_TIMESTAMP_TEXT];
    bool time_known; /* an event had a timestamp of safe-run's; first_time and last_time are set */
    uint64_t odd_times, odd_time_at; /* number of events with another time, index of the first */
    bool out_of_order;
    uint64_t out_of_order_at; /* the first event whose time is before the one before it */
    char time_before[SR_TIMESTAMP_TEXT];
    bool secret_open; /* run.prepared has a secret without an HMAC */
    int events_fd;
    struct evidence_event_file events; /* events.jsonl, read in step with the report */
    bool comparing;                    /* no difference was found so far */

    /* For attestations: hashes of the files as they were read, empty when not (wholly) read. */
    struct sr_hasher *report_bytes, *events_bytes;
    char report_hash[SR_SHA256_TEXT], events_hash[SR_SHA256_TEXT];
    char initrd_hash[SR_SHA256_TEXT]; /* of the last vm.started */
    struct verify_outputs *collected; /* what verify_outputs.c looks for; NULL: nothing */
    char manifest[SR_SHA256_TEXT];    /* hash that output.collected names; empty: none does */
    struct sr_buf outputs; /* subjects of a statement, canonical, each with a comma before it */
    size_t outputs_at;     /* where the next of them is expected when a statement is compared */
};

/* The directory that the options' paths are relative to. */
static inline int verify_base(const struct verify *v)
{
    return v->options->dirfd != NULL ? *v->options->dirfd : AT_FDCWD;
}

#endif
