#include "common/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void sr_base64_encode(struct sr_buf *out, const void *data, size_t len)
{
    const unsigned char *at = data;
    for (; len > 0; at += 3) {
        size_t n = len < 3 ? len : 3;
        uint32_t bits = (uint32_t)at[0] << 16;
        if (n > 1)
            bits |= (uint32_t)at[1] << 8;
        if (n > 2)
            bits |= at[2];
        char four[4];
        for (size_t i = 0; i < 4; i++)
            four[i] = i <= n ? alphabet[(bits >> (18 - 6 * i)) & 63] : '=';
        sr_buf_append(out, four, sizeof four);
        len -= n;
    }
}

static int value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Four characters; n of them encode something (2..4). The bytes' number, or -1. */
static int decode_four(const char *text, size_t n, unsigned char bytes[3])
{
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i < n ? value_of(text[i]) : 0;
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
    }
    for (size_t i = 0; i < 3; i++)
        bytes[i] = (unsigned char)(bits >> (16 - 8 * i));
    for (size_t i = n - 1; i < 3; i++)
        if (bytes[i] != 0)
            return -1;
    return (int)n - 1;
}

int sr_base64_decode(struct sr_buf *out, const char *text, size_t len)
{
    const size_t start = out->len;
    if (len % 4 != 0)
        return -1;
    for (size_t at = 0; at < len; at += 4) {
        size_t n = 4;
        while (at + 4 == len && n > 2 && text[at + n - 1] == '=')
            n--;
        unsigned char bytes[3];
        int count = decode_four(text + at, n, bytes);
        if (count < 0) {
            if (out->data != NULL)
                out->data[start] = '\0';
            out->len = start;
            return -1;
        }
        sr_buf_append(out, bytes, (size_t)count);
    }
    return 0;
}
