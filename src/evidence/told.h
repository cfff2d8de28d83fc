/*
 * What the events of a report have told when all of them are read, kept for the comparison with the
 * rest of the report.
 */
#ifndef SR_EVIDENCE_TOLD_H
#define SR_EVIDENCE_TOLD_H

#include "common/buf.h"
#include "common/json_text.h"

#include <stdbool.h>
#include <stdint.h>

struct verify;

/* Events whose payloads are kept; of several of a kind, the last one's. */
enum told_kind { TOLD_COMPILE, TOLD_STARTED, TOLD_EXITED, TOLD_FAILED, TOLD_COUNT };

struct verify_told {
    struct told_event {
        struct sr_buf payload; /* canonical */
        uint64_t index, count;
    } of[TOLD_COUNT];
    uint64_t observed;          /* number of events that say who saw them */
    uint64_t silent, silent_at; /* number of events that do not, index of the first */
    bool ended;                 /* run.cleaned or run.failed was there */
    /* Fields in events: how many events have one, the first one's index, and the field's name. */
    struct told_fields {
        uint64_t count, at;
        const char *field; /* static */
    } new_fields /* that only reports have whose fields say who saw them */,
        untrue /* that contradict who saw them */;
    uint64_t late, late_at; /* number of events after the end but run.failed, index of the first */
};

/* Keeps the payload of the event at hand, the index-th. */
void verify_told_keep(struct verify *v, enum told_kind kind, uint64_t index);
/* Returns the payload of the last event of a kind; empty when there is none. */
struct sr_json_slice verify_told(const struct verify *v, enum told_kind kind);
/* Whether the report promises that each of its fields says who saw it (observer.h). */
bool verify_is_fielded(const struct verify *v);
void verify_told_free(struct verify_told *told);

#endif
