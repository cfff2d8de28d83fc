/*
 * Canonical JSON: RFC 8785 (JSON Canonicalization Scheme, JCS). The text that hashes are taken
 * over.
 *
 * Two ways in: the primitives write straight into a buffer, for writers that know their keys in
 * order; sr_jcs_value() writes a whole jansson value, sorting members by UTF-16 code units as the
 * RFC says.
 */
#ifndef SR_COMMON_JCS_H
#define SR_COMMON_JCS_H

#include "common/buf.h"

#include <jansson.h>

/* Appends text (valid UTF-8, len bytes) as a JSON string with its quotes. */
void sr_jcs_string(struct sr_buf *buf, const char *text, size_t len);

/* The same for text from anywhere: what is not UTF-8 becomes U+FFFD, byte by byte. */
void sr_jcs_text(struct sr_buf *buf, const char *text);

bool sr_is_utf8(const char *text);

/* Appends a double as ECMAScript's Number::toString does (RFC 8785, 3.2.2.3). NaN and infinities
 * have no JSON form: the buffer fails. */
void sr_jcs_double(struct sr_buf *buf, double value);

/* Compares two keys by UTF-16 code units, the order of members in canonical form. */
int sr_jcs_compare(const char *a, const char *b);

/* Appends a whole value. Integers beyond 2^53 are written exactly, as jansson holds them; nesting
 * is bounded by what the parser let in. */
void sr_jcs_value(struct sr_buf *buf, const json_t *value);

/* Appends JSON text with the characters of printable.h, which can only be inside its strings, as \u
 * escapes: another spelling of the same value. C0 is escaped in any JSON. */
void sr_json_printable(const char *json, size_t len, struct sr_buf *out);

#endif
