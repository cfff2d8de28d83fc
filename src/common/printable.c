#include "common/printable.h"

#include "common/json_unit.h"

#include <string.h>

bool sr_is_harmful(const char *chars, int n)
{
    const unsigned char *text = (const unsigned char *)chars;
    if (n == 1)
        return text[0] < ' ' || text[0] == 0x7f;
    if (n == 2) /* U+0080 to U+009F, and U+061C: a direction (UAX #9) */
        return (text[0] == 0xC2 && text[1] < 0xA0) || (text[0] == 0xD8 && text[1] == 0x9C);
    if (n == 3 && text[0] == 0xEF) /* U+FEFF: nothing to be seen, a byte order mark to some */
        return text[1] == 0xBB && text[2] == 0xBF;
    /* U+200E, U+200F, U+2028 to U+202E and U+2066 to U+2069: line ends, and directions */
    return n == 3 && text[0] == 0xE2 &&
           ((text[1] == 0x80 && (text[2] == 0x8E || text[2] == 0x8F)) ||
            (text[1] == 0x80 && text[2] >= 0xA8 && text[2] <= 0xAE) ||
            (text[1] == 0x81 && text[2] >= 0xA6 && text[2] <= 0xA9));
}

void sr_make_printable(char *text)
{
    size_t len = strlen(text), at = 0, kept = 0;
    while (at < len) {
        int n = (unsigned char)text[at] < 0x80 ? 1 : sr_json_utf8(text + at, len - at);
        if (n == 0)
            break;
        if (n < 0 || sr_is_harmful(text + at, n)) {
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

void sr_make_ascii(char *text)
{
    for (; *text != '\0'; text++)
        *text = sr_ascii(*text);
}
