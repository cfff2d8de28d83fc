/*
 * Texts that quote documents, guests and archives, and end on terminals.
 */
#ifndef SR_COMMON_PRINTABLE_H
#define SR_COMMON_PRINTABLE_H

/* Makes a text harmless, in place: control characters (C0, DEL, C1), characters that change the direction of writing, and
 * bytes that are not UTF-8 become one '?' each. A character cut in half at the end goes altogether. */
void sr_make_printable(char *text);

#endif
