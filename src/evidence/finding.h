/*
 * What a verification finds: errors and notes, each against one of its checks, and the fields of
 * the report that they are about.
 */
#ifndef SR_EVIDENCE_FINDING_H
#define SR_EVIDENCE_FINDING_H

#include "common/json_text.h"
#include "saferun/error.h"

struct verify;

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

/* Records an error against a check, which fails with it. path is copied. */
void verify_error(struct verify *v, enum check check, enum sr_code code, const char *path,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Records that the field at path is not what follows from the events, which is expected. */
void verify_differs(struct verify *v, const char *path, const char *expected,
                    struct sr_json_slice found);
/* Records that the field at path is missing, or of another type; why says who asks for it. */
void verify_missing(struct verify *v, const char *path, const char *why);
/* Records that the report could not be read to its end: nothing else can be decided. */
void verify_give_up(struct verify *v, const struct sr_error *fault);
/* Adds a sentence to a check that does not fail with it. */
void verify_note(struct verify *v, enum check check, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

enum { SHOWN_SIZE = 100 };
/* Writes a value for a message: printable ASCII, cut. Returns out, or "nothing" for an empty
 * value. */
const char *verify_show(struct sr_json_slice value, char out[SHOWN_SIZE]);

/* Returns a member of a member of the report ("" is the report itself), canonical; empty when there
 * is none. Call only after the walk. */
struct sr_json_slice verify_field(const struct verify *v, const char *parent, const char *name);

#endif
