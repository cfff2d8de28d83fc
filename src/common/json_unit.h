/* Characters of JSON text, shared by the files of this module that read or write it. */
#ifndef SR_COMMON_JSON_UNIT_H
#define SR_COMMON_JSON_UNIT_H

#include "common/json_text.h"

static inline int sr_json_hex4(const char *text)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The length (2..4) of the UTF-8 sequence beyond ASCII that text begins with; 0 when it is cut off,
 * -1 when it is not UTF-8 (RFC 3629: shortest form, no surrogates, at most U+10FFFF). */
static inline int sr_json_utf8(const char *text, size_t len)
{
    const unsigned char *u = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xBF; /* of the second byte */
    int n;
    if (u[0] >= 0xC2 && u[0] <= 0xDF) {
        n = 2;
    } else if (u[0] >= 0xE0 && u[0] <= 0xEF) {
        n = 3;
        low = u[0] == 0xE0 ? 0xA0 : 0x80;
        high = u[0] == 0xED ? 0x9F : 0xBF;
    } else if (u[0] >= 0xF0 && u[0] <= 0xF4) {
        n = 4;
        low = u[0] == 0xF0 ? 0x90 : 0x80;
        high = u[0] == 0xF4 ? 0x8F : 0xBF;
    } else {
        return -1;
    }
    for (int i = 1; i < n; i++) {
        if ((size_t)i == len)
            return 0;
        if (u[i] < low || u[i] > high)
            return -1;
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

/* sr_json_compare_keys() for keys without escapes. UTF-8 sorts by code point, which differs from
 * UTF-16's order only where a character beyond the BMP (lead byte 0xF0..) meets one in
 * U+E000..U+FFFF (lead byte 0xEE, 0xEF). */
static inline int sr_json_compare_plain(struct sr_json_slice a, struct sr_json_slice b)
{
    size_t i = 0, n = a.len < b.len ? a.len : b.len;
    while (i < n && a.text[i] == b.text[i])
        i++;
    if (i == n)
        return a.len < b.len ? -1 : a.len > b.len;
    unsigned char x = (unsigned char)a.text[i], y = (unsigned char)b.text[i];
    if (x >= 0xF0 && (y == 0xEE || y == 0xEF))
        return -1;
    if (y >= 0xF0 && (x == 0xEE || x == 0xEF))
        return 1;
    return x - y;
}

#endif
