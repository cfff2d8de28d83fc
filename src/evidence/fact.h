/*
 * The object of an event, or of an answer of --json, made one member a line:
 *
 *   struct facts facts = facts_new();
 *   fact_text(&facts, "accel", accel);
 *   fact_count(&facts, "bytes", bytes);
 *   return facts_end(&facts);
 *
 * Nothing needs a check in between. When memory is out, or a text is not UTF-8, the object is gone
 * and stays gone, further calls do nothing, and facts_end() returns NULL, which
 * evidence_event_append() refuses. Every call sets a member; a member that is there already is
 * replaced. Texts are copied.
 */
#ifndef SR_EVIDENCE_FACT_H
#define SR_EVIDENCE_FACT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct facts {
    json_t *object; /* owned; NULL: it could not be made */
};

struct facts facts_new(void);

/* Hands the object over to the caller, who frees it; NULL: it could not be made. */
json_t *facts_end(struct facts *facts);

void fact_text(struct facts *facts, const char *name, const char *text);
/* For a text that there may not be, NULL: no member then. */
void fact_text_if_any(struct facts *facts, const char *name, const char *text);
/* The same, and null is the member's value then. */
void fact_text_or_null(struct facts *facts, const char *name, const char *text);

/* A counter of 64 bits; one that no JSON number can hold becomes 2^53 - 1. */
void fact_count(struct facts *facts, const char *name, uint64_t value);
/* A number within +-(2^53 - 1). */
void fact_integer(struct facts *facts, const char *name, int64_t value);
void fact_flag(struct facts *facts, const char *name, bool value);
void fact_null(struct facts *facts, const char *name);

/* Takes a value that was made elsewhere; NULL: memory was out there. */
void fact_take(struct facts *facts, const char *name, json_t *value);

/* An empty list. */
void fact_list(struct facts *facts, const char *name);
/* Appends to a list, which is made if it is not there yet. */
void fact_add_text(struct facts *facts, const char *name, const char *text);
/* The same with a value, which is taken. */
void fact_add(struct facts *facts, const char *name, json_t *value);

#endif
