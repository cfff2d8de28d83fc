/*
 * Values of a report for a person to read: texts are printable UTF-8 (common/printable.h), cut
 * where they are long, and numbers are within 2^53 - 1, whatever the report holds.
 */
#ifndef SR_EVIDENCE_TAKE_H
#define SR_EVIDENCE_TAKE_H

#include "common/json_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes a member of a canonical object as a printable text, cut; "" when it is no string. */
void evidence_take_text(struct sr_json_slice object, const char *name, char *text, size_t size);
/* Does the same with a value. */
void evidence_take_string(struct sr_json_slice value, char *text, size_t size);
/* Does the same with a member's key, as sr_json_next_member() gives it. */
void evidence_take_key(struct sr_json_slice key, char *text, size_t size);
/* Appends an item to a list, behind ", ". Appends "..." and returns false when there is no room. */
bool evidence_join_text(const char *item, char *text, size_t size);
/* Returns a member that is an integer, else -1. */
int64_t evidence_take_number(struct sr_json_slice object, const char *name);
/* Returns a member that is a timestamp of safe-run's, as nanoseconds since 1970, else 0. */
int64_t evidence_take_time(struct sr_json_slice object, const char *name);

#endif
