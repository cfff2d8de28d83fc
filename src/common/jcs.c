#include "common/jcs.h"

#include "common/json_unit.h"
#include "common/printable.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sr_jcs_string(struct sr_buf *buf, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};

    sr_buf_putc(buf, '"');
    size_t plain = 0; /* start of the run of bytes that go out as they are */
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        sr_buf_append(buf, text + plain, i - plain);
        plain = i + 1;
        if (c >= 0x20 || shorts[c] != 0) {
            char escape[2] = {'\\', c >= 0x20 ? (char)c : shorts[c]};
            sr_buf_append(buf, escape, sizeof escape);
        } else {
            char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            sr_buf_append(buf, escape, sizeof escape);
        }
    }
    sr_buf_append(buf, text + plain, len - plain);
    sr_buf_putc(buf, '"');
}

/* Length of the character at text, or -1 when it is none. */
static int character(const char *text, size_t len)
{
    int n = (unsigned char)*text < 0x80 ? 1 : sr_json_utf8(text, len);
    return n > 0 ? n : -1;
}

bool sr_is_utf8(const char *text)
{
    size_t len = strlen(text), at = 0;
    while (at < len) {
        int n = character(text + at, len - at);
        if (n < 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

void sr_jcs_text(struct sr_buf *buf, const char *text)
{
    sr_cleanup_buf struct sr_buf clean = SR_BUF_INIT;
    size_t len = strlen(text), at = 0;
    while (at < len) {
        int n = character(text + at, len - at);
        if (n > 0)
            sr_buf_append(&clean, text + at, (size_t)n);
        else
            sr_buf_puts(&clean, "\xef\xbf\xbd");
        at += n > 0 ? (size_t)n : 1;
    }
    sr_jcs_string(buf, clean.data, clean.len);
    buf->failed = buf->failed || clean.failed;
}

void sr_jcs_double(struct sr_buf *buf, double value)
{
    if (!isfinite(value)) {
        buf->failed = true;
        return;
    }
    if (value == 0) { /* -0 too */
        sr_buf_putc(buf, '0');
        return;
    }
    /* The fewest digits that read back as the same value; glibc rounds exactly, so the closest
     * comes out. */
    char text[40];
    for (int digits = 0; digits <= 16; digits++) {
        snprintf(text, sizeof text, "%.*e", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    char digits[24] = "";
    int n = 0; /* digits d1..dn, value = 0.d1..dn * 10^point, as in ECMAScript's description */
    const char *at = text;
    if (*at == '-') {
        sr_buf_putc(buf, '-');
        at++;
    }
    for (; *at != 'e'; at++)
        if (*at != '.')
            digits[n++] = *at;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    int point = (int)strtol(at + 1, NULL, 10) + 1;
    if (n <= point && point <= 21) {
        sr_buf_append(buf, digits, (size_t)n);
        for (int i = n; i < point; i++)
            sr_buf_putc(buf, '0');
    } else if (0 < point && point <= 21) {
        sr_buf_append(buf, digits, (size_t)point);
        sr_buf_putc(buf, '.');
        sr_buf_append(buf, digits + point, (size_t)(n - point));
    } else if (-6 < point && point <= 0) {
        sr_buf_puts(buf, "0.");
        for (int i = point; i < 0; i++)
            sr_buf_putc(buf, '0');
        sr_buf_append(buf, digits, (size_t)n);
    } else {
        sr_buf_putc(buf, digits[0]);
        if (n > 1) {
            sr_buf_putc(buf, '.');
            sr_buf_append(buf, digits + 1, (size_t)n - 1);
        }
        sr_buf_printf(buf, "e%+d", point - 1);
    }
}

/* Compares two UTF-8 strings by their UTF-16 code units. UTF-8 orders by code point, which differs
 * from UTF-16's order only where a character beyond the BMP (surrogates, 0xD800..) meets one in
 * U+E000..U+FFFF: the former sorts first there, and its UTF-8 lead byte (0xF0..) is the greater
 * one. */
int sr_jcs_compare(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    unsigned char x = (unsigned char)*a, y = (unsigned char)*b;
    if (x >= 0xF0 && (y == 0xEE || y == 0xEF))
        return -1;
    if (y >= 0xF0 && (x == 0xEE || x == 0xEF))
        return 1;
    return x - y;
}

struct member {
    const char *key;
    const json_t *value;
};

static int member_compare(const void *a, const void *b)
{
    return sr_jcs_compare(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static void write_object(struct sr_buf *buf, const json_t *object)
{
    size_t count = json_object_size(object), at = 0;
    struct member small[16];
    struct member *members = count <= 16 ? small : calloc(count, sizeof *members);
    if (members == NULL) {
        buf->failed = true;
        return;
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) /* NOLINT: the macro reads only */
        members[at++] = (struct member){key, value};
    qsort(members, count, sizeof *members, member_compare);
    sr_buf_putc(buf, '{');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            sr_buf_putc(buf, ',');
        sr_jcs_string(buf, members[i].key, strlen(members[i].key));
        sr_buf_putc(buf, ':');
        sr_jcs_value(buf, members[i].value);
    }
    sr_buf_putc(buf, '}');
    if (members != small)
        free(members);
}

void sr_jcs_value(struct sr_buf *buf, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        write_object(buf, value);
        break;
    case JSON_ARRAY:
        sr_buf_putc(buf, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i > 0)
                sr_buf_putc(buf, ',');
            sr_jcs_value(buf, json_array_get(value, i));
        }
        sr_buf_putc(buf, ']');
        break;
    case JSON_STRING:
        sr_jcs_string(buf, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        sr_buf_i64(buf, json_integer_value(value));
        break;
    case JSON_REAL:
        sr_jcs_double(buf, json_real_value(value));
        break;
    case JSON_TRUE:
        sr_buf_puts(buf, "true");
        break;
    case JSON_FALSE:
        sr_buf_puts(buf, "false");
        break;
    case JSON_NULL:
        sr_buf_puts(buf, "null");
        break;
    }
}

/* The code point of a valid sequence of at most three bytes. */
static unsigned code_point(const unsigned char *text, int n)
{
    unsigned point = n == 1 ? text[0] : text[0] & (n == 2 ? 0x1Fu : 0x0Fu);
    for (int i = 1; i < n; i++)
        point = point << 6 | (text[i] & 0x3Fu);
    return point;
}

void sr_json_printable(const char *json, size_t len, struct sr_buf *out)
{
    size_t plain = 0; /* start of the run of bytes that go out as they are */
    for (size_t at = 0; at < len;) {
        const unsigned char *text = (const unsigned char *)json + at;
        int n = text[0] < 0x80 ? 1 : sr_json_utf8(json + at, len - at);
        if (n <= 0)
            n = 1; /* JSON is UTF-8 */
        else if (text[0] >= 0x7f && sr_is_harmful(json + at, n)) {
            sr_buf_append(out, json + plain, at - plain);
            sr_buf_printf(out, "\\u%04x", code_point(text, n));
            plain = at + (size_t)n;
        }
        at += (size_t)n;
    }
    sr_buf_append(out, json + plain, len - plain);
}
