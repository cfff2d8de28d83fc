/* Wall-clock time as evidence writes it: RFC 3339, UTC, nanoseconds. Such texts sort as time does.
 */
#ifndef SR_COMMON_TIMESTAMP_H
#define SR_COMMON_TIMESTAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SR_TIMESTAMP_TEXT sizeof "2026-01-01T00:00:00.000000000Z"

/* Writes nanoseconds since 1970 (int64 ends in 2262); negative is 0. */
void sr_timestamp_format(int64_t nsec, char text[SR_TIMESTAMP_TEXT]);

/* Reads what sr_timestamp_format() wrote; false for anything else. */
bool sr_timestamp_parse(const char *text, size_t len, int64_t *nsec);

/* Reads a span of time, "90s", "30m", "12h" or "7d", as seconds; false for anything else. */
bool sr_duration_parse(const char *text, int64_t *seconds);

/* The wall clock's time now, written. */
void sr_timestamp_now(char text[SR_TIMESTAMP_TEXT]);

#endif
