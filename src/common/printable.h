/*
 * Texts that quote documents, guests and archives, and end on terminals.
 */
#ifndef SR_COMMON_PRINTABLE_H
#define SR_COMMON_PRINTABLE_H

#include <stdbool.h>

/* c, or '?' where c is not printable ASCII. */
static inline char sr_ascii(char c)
{
    return c >= ' ' && c <= '~' ? c : '?';
}

/* sr_ascii() of each byte of a text, in place. */
void sr_make_ascii(char *text);

/* Makes a text harmless, in place: control characters (C0, DEL, C1), characters that change the
 * direction of writing, byte order marks, and bytes that are not UTF-8 become one '?' each. A
 * character cut in half at the end goes altogether. */
void sr_make_printable(char *text);

/* Whether the valid UTF-8 sequence of n bytes at text is one of those characters. */
bool sr_is_harmful(const char *text, int n);

#endif
