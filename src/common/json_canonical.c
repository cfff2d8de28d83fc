/*
 * Canonical form of scanned text. Everything here trusts that sr_json_scan() found the text good:
 * no bounds are checked that the scanner has checked, and the recursion is as deep as it allowed.
 *
 * Arrays are rewritten in one pass; only the members of the objects that are open at one time are
 * held, as slices, to be sorted. Finding the end of a member's value costs a pass over it, so a
 * text is read at most once per level of its nesting.
 */
#include "common/jcs.h"
#include "common/json_text.h"
#include "common/json_unit.h"
#include "common/printable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes the escape at text (on the backslash) to a code point; returns its length. */
static size_t decode_escape(const char *text, uint32_t *point)
{
    switch (text[1]) {
    case 'b':
        *point = '\b';
        return 2;
    case 'f':
        *point = '\f';
        return 2;
    case 'n':
        *point = '\n';
        return 2;
    case 'r':
        *point = '\r';
        return 2;
    case 't':
        *point = '\t';
        return 2;
    case 'u':
        break;
    default: /* the quote, the backslash, the slash */
        *point = (unsigned char)text[1];
        return 2;
    }
    uint32_t unit = (uint32_t)sr_json_hex4(text + 2);
    if (unit < 0xD800 || unit > 0xDBFF) {
        *point = unit;
        return 6;
    }
    uint32_t low = (uint32_t)sr_json_hex4(text + 8);
    *point = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    return 12;
}

static size_t encode_utf8(uint32_t point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xC0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xE0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}

/* Appends the body of a string as UTF-8. */
static void decode_body(const char *at, const char *end, struct sr_buf *out)
{
    while (at < end) {
        const char *slash = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((slash != NULL ? slash : end) - at);
        sr_buf_append(out, at, plain);
        at += plain;
        if (slash == NULL)
            break;
        uint32_t point;
        char utf8[4];
        at += decode_escape(at, &point);
        sr_buf_append(out, utf8, encode_utf8(point, utf8));
    }
}

void sr_json_string(struct sr_json_slice value, struct sr_buf *out)
{
    sr_buf_append(out, "", 0); /* an empty string is data too, not NULL */
    decode_body(value.text + 1, value.text + value.len - 1, out);
}

void sr_json_copy(struct sr_json_slice value, char *text, size_t size)
{
    sr_cleanup_buf struct sr_buf decoded = SR_BUF_INIT;
    if (!sr_json_is_string(value))
        return;
    sr_json_string(value, &decoded);
    if (sr_buf_ok(&decoded))
        snprintf(text, size, "%s", decoded.data);
}

bool sr_json_copy_plain(struct sr_json_slice value, char *text, size_t size)
{
    if (!sr_json_is_string(value) || value.len - 2 >= size ||
        memchr(value.text, '\\', value.len) != NULL)
        return false;
    memcpy(text, value.text + 1, value.len - 2);
    text[value.len - 2] = '\0';
    return true;
}

/* The UTF-16 code units of a string's body, one at a time. */
struct units {
    const char *at, *end;
    uint32_t low; /* second half of a pair, or 0 */
};

/* The next unit, or -1 after the last. */
static int next_unit(struct units *u)
{
    if (u->low != 0) {
        int low = (int)u->low;
        u->low = 0;
        return low;
    }
    if (u->at == u->end)
        return -1;
    uint32_t point = (unsigned char)*u->at;
    if (point == '\\') {
        u->at += decode_escape(u->at, &point);
    } else if (point < 0x80) {
        u->at++;
    } else {
        int n = sr_json_utf8(u->at, (size_t)(u->end - u->at));
        point &= 0x7Fu >> n;
        for (int i = 1; i < n; i++)
            point = point << 6 | ((unsigned char)u->at[i] & 0x3F);
        u->at += n;
    }
    if (point < 0x10000)
        return (int)point;
    u->low = 0xDC00 + (point & 0x3FF);
    return (int)(0xD800 + ((point - 0x10000) >> 10));
}

int sr_json_compare_keys(struct sr_json_slice a, struct sr_json_slice b)
{
    struct units x = {a.text, a.text + a.len, 0}, y = {b.text, b.text + b.len, 0};
    for (;;) {
        int left = next_unit(&x), right = next_unit(&y);
        if (left != right)
            return left < right ? -1 : 1;
        if (left < 0)
            return 0;
    }
}

static const char *skip_space(const char *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
        at++;
    return at;
}

static const char *skip_string(const char *at)
{
    for (at++; *at != '"'; at++)
        if (*at == '\\')
            at++;
    return at + 1;
}

/* The end of the value at the cursor; end bounds a number that nothing follows. */
static const char *skip_value(const char *at, const char *end)
{
    unsigned depth = 0;
    do {
        switch (*at) {
        case '"':
            at = skip_string(at);
            break;
        case '{':
        case '[':
            depth++;
            at++;
            break;
        case '}':
        case ']':
            depth--;
            at++;
            break;
        case ',':
        case ':':
        case ' ':
        case '\n':
        case '\t':
        case '\r':
            at++;
            break;
        default: /* number or word */
            while (at < end && *at != ',' && *at != ']' && *at != '}' && *at > ' ')
                at++;
        }
    } while (depth > 0);
    return at;
}

bool sr_json_next(struct sr_json_slice array, size_t *at, struct sr_json_slice *element)
{
    const char *end = array.text + array.len, *p = array.text + *at;
    if (*at == 0 || *p == ',')
        p++;
    p = skip_space(p);
    if (*p == ']')
        return false;
    const char *after = skip_value(p, end);
    *element = (struct sr_json_slice){p, (size_t)(after - p)};
    *at = (size_t)(skip_space(after) - array.text);
    return true;
}

bool sr_json_next_member(struct sr_json_slice object, size_t *at, struct sr_json_member *member)
{
    const char *end = object.text + object.len, *p = object.text + *at;
    if (*at == 0 || *p == ',')
        p++;
    p = skip_space(p);
    if (*p == '}')
        return false;
    const char *after = skip_string(p);
    member->key = (struct sr_json_slice){p + 1, (size_t)(after - p) - 2};
    p = skip_space(skip_space(after) + 1);
    after = skip_value(p, end);
    member->value = (struct sr_json_slice){p, (size_t)(after - p)};
    *at = (size_t)(skip_space(after) - object.text);
    return true;
}

/* 24 bytes: a hostile object of 1 MiB has 150,000 members. */
struct member {
    const char *key, *value;
    uint32_t key_len, value_len;
};

struct canoniser {
    struct sr_buf *out;
    struct member *members; /* of all open objects, the innermost last */
    size_t count, cap;
    char *path; /* of the repeated key */
    size_t path_size;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return sr_json_compare_keys((struct sr_json_slice){x->key, x->key_len},
                                (struct sr_json_slice){y->key, y->key_len});
}

static int push_member(struct canoniser *c, struct member member)
{
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 64 : c->cap * 2;
        struct member *members = reallocarray(c->members, cap, sizeof *members);
        if (members == NULL) {
            c->out->failed = true;
            return -1;
        }
        c->members = members;
        c->cap = cap;
    }
    c->members[c->count++] = member;
    return 0;
}

static void write_string(struct canoniser *c, const char *body, size_t len)
{
    if (memchr(body, '\\', len) == NULL) { /* raw text has no bare control character or quote */
        sr_buf_putc(c->out, '"');
        sr_buf_append(c->out, body, len);
        sr_buf_putc(c->out, '"');
        return;
    }
    sr_cleanup_buf struct sr_buf plain = SR_BUF_INIT;
    decode_body(body, body + len, &plain);
    sr_jcs_string(c->out, plain.data, plain.len);
    c->out->failed = c->out->failed || plain.failed;
}

static void write_number(struct canoniser *c, const char *text, size_t len)
{
    size_t digits = 0;
    while (digits < len && text[digits] >= '0' && text[digits] <= '9')
        digits++;
    if (digits == len && len <= 15) {
        sr_buf_append(c->out, text, len);
        return;
    }
    char copy[SR_JSON_MAX_NUMBER + 1];
    memcpy(copy, text, len);
    copy[len] = '\0';
    sr_jcs_double(c->out, strtod(copy, NULL));
}

/* Puts one more step before a path that is being handed up. */
static void prepend(struct canoniser *c, const char *format, const char *text, int len)
{
    char step[64], rest[200];
    snprintf(rest, sizeof rest, "%s", c->path);
    snprintf(step, sizeof step, format, len, text);
    sr_make_ascii(step);
    snprintf(c->path, c->path_size, "%s%s", step, rest);
}

static int write_value(struct canoniser *c, const char *at, const char *end);

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the scanner allows */
static int write_object(struct canoniser *c, const char *at, const char *end)
{
    size_t base = c->count;
    for (at = skip_space(at + 1); *at != '}'; at = skip_space(at + (*at == ','))) {
        const char *key = at + 1;
        at = skip_string(at);
        size_t key_len = (size_t)(at - 1 - key);
        at = skip_space(skip_space(at) + 1);
        const char *value = at;
        at = skip_value(at, end);
        struct member member = {key, value, (uint32_t)key_len, (uint32_t)(at - value)};
        if (push_member(c, member) < 0)
            return 0;
        at = skip_space(at);
    }
    size_t count = c->count - base;
    if (count > 1)
        qsort(c->members + base, count, sizeof *c->members, compare_members);
    sr_buf_putc(c->out, '{');
    for (size_t i = 0; i < count; i++) {
        struct member member = c->members[base + i]; /* the array moves when it grows */
        if (i + 1 < count && compare_members(&member, &c->members[base + i + 1]) == 0) {
            c->path[0] = '\0';
            prepend(c, ".%.*s", member.key, member.key_len < 48 ? (int)member.key_len : 48);
            return -1;
        }
        if (i > 0)
            sr_buf_putc(c->out, ',');
        write_string(c, member.key, member.key_len);
        sr_buf_putc(c->out, ':');
        if (write_value(c, member.value, member.value + member.value_len) < 0) {
            prepend(c, ".%.*s", member.key, member.key_len < 48 ? (int)member.key_len : 48);
            return -1;
        }
    }
    sr_buf_putc(c->out, '}');
    c->count = base;
    return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the scanner allows */
static int write_array(struct canoniser *c, const char *at, const char *end)
{
    struct sr_json_slice array = {at, (size_t)(end - at)}, element;
    size_t cursor = 0, index = 0;
    sr_buf_putc(c->out, '[');
    for (; sr_json_next(array, &cursor, &element); index++) {
        if (index > 0)
            sr_buf_putc(c->out, ',');
        if (write_value(c, element.text, element.text + element.len) < 0) {
            char text[24];
            int len = snprintf(text, sizeof text, "%zu", index);
            prepend(c, "[%.*s]", text, len);
            return -1;
        }
    }
    sr_buf_putc(c->out, ']');
    return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the scanner allows */
static int write_value(struct canoniser *c, const char *at, const char *end)
{
    switch (*at) {
    case '{':
        return write_object(c, at, end);
    case '[':
        return write_array(c, at, end);
    case '"':
        write_string(c, at + 1, (size_t)(end - at) - 2);
        return 0;
    case 't':
    case 'f':
    case 'n':
        sr_buf_append(c->out, at, (size_t)(end - at));
        return 0;
    default:
        write_number(c, at, (size_t)(end - at));
        return 0;
    }
}

int sr_json_canonical(struct sr_json_slice value, struct sr_buf *out, char *path, size_t path_size)
{
    struct canoniser c = {.out = out, .path = path, .path_size = path_size};
    if (value.len >= UINT32_MAX) {
        out->failed = true;
        return 0;
    }
    int result = write_value(&c, value.text, value.text + value.len);
    free(c.members);
    return result;
}
