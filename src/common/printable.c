#include "printable.h"

#include "json_unit.h"

#include <stdbool.h>
#include <string.h>

/* text begins with a valid sequence of n bytes. */
static bool is_harmful(const unsigned char *text, int n)
{
    if (n == 1)
        return text[0] < ' ' || text[0] == 0x7f;
    if (n == 2) /* U+0080 to U+009F */
        return text[0] == 0xC2 && text[1] < 0xA0;
    /* U+2028 to U+202E and U+2066 to U+2069: line ends, and directions (UAX #9) */
    return n == 3 && text[0] == 0xE2 &&
           ((text[1] == 0x80 && text[2] >= 0xA8 && text[2] <= 0xAE) ||
            (text[1] == 0x81 && text[2] >= 0xA6 && text[2] <= 0xA9));
}

void sr_make_printable(char *text)
{
    size_t len = strlen(text), at = 0, kept = 0;
    while (at < len) {
        int n = (unsigned char)text[at] < 0x80 ? 1 : sr_json_utf8(text + at, len - at);
        if (n == 0)
            break;
        if (n < 0 || is_harmful((const unsigned char *)text + at, n)) {
            text[kept++] = '?';
            at += n > 0 ? (size_t)n : 1;
        } else {
            memmove(text + kept, text + at, (size_t)n);
            kept += (size_t)n;
            at += (size_t)n;
        }
    }
    text[kept] = '\0';
}
