#include "common/json_text.h"

#include "common/jcs.h"
#include "common/json_unit.h"
#include "common/printable.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One open object or array. */
struct level {
    struct sr_json_slice key; /* object: the key read last */
    uint64_t index;           /* array: of the current element */
    bool object, has_key, escaped;
};

struct scanner {
    const char *start, *at, *end;
    bool last, repeats;
    struct sr_json_scan *scan;
    unsigned depth;
    struct level levels[SR_JSON_MAX_DEPTH];
};

/* Writes where the scanner stands: ".payload.rules[3].port". Keys are shown as they are written,
 * with anything but plain ASCII as '?', and cut. */
static void write_path(const struct scanner *s, char *path, size_t size)
{
    size_t len = 0;
    path[0] = '\0';
    for (unsigned i = 0; i < s->depth && len + 1 < size; i++) {
        const struct level *level = &s->levels[i];
        int more = 0;
        if (!level->object) {
            more = snprintf(path + len, size - len, "[%llu]", (unsigned long long)level->index);
        } else if (level->has_key) {
            char key[48];
            size_t n = level->key.len < sizeof key - 1 ? level->key.len : sizeof key - 1;
            for (size_t k = 0; k < n; k++)
                key[k] = sr_ascii(level->key.text[k]);
            key[n] = '\0';
            more = snprintf(path + len, size - len, ".%s", key);
        }
        len += (size_t)(more > 0 ? more : 0);
    }
}

static enum sr_json_result bad(struct scanner *s, const char *at, const char *error)
{
    s->scan->error_at = (size_t)(at - s->start);
    s->scan->error = error;
    write_path(s, s->scan->error_path, sizeof s->scan->error_path);
    return SR_JSON_BAD;
}

static enum sr_json_result more(struct scanner *s)
{
    return s->last ? bad(s, s->end, "the text ends in the middle of a value") : SR_JSON_MORE;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Goes over plain bytes of a string, eight at a time: up to the first that is a quote, a backslash,
 * a control character or beyond ASCII, or to end. */
static const char *skip_plain(const char *at, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    while (end - at >= 8) {
        uint64_t w;
        memcpy(&w, at, 8);
        /* (x - n) & ~x & 0x80 marks bytes below n (n <= 0x80); a borrow can only mark bytes above
         * one that is marked rightly. */
        uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
        uint64_t found =
            ((w - ones * 0x20) & ~w) | w | ((quote - ones) & ~quote) | ((slash - ones) & ~slash);
        found &= tops;
        if (found != 0)
            break;
        at += 8;
    }
    while (at < end && (unsigned char)(*at - 0x20) < 0x60 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* An escape, at on the backslash. */
static enum sr_json_result scan_escape(struct scanner *s)
{
    const char *at = s->at;
    if (s->end - at < 2)
        return more(s);
    switch (at[1]) {
    case '"':
    case '\\':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        s->at += 2;
        return SR_JSON_OK;
    case '/':
        s->scan->canonical = false;
        s->at += 2;
        return SR_JSON_OK;
    case 'u':
        break;
    default:
        return bad(s, at, "no such escape");
    }
    if (s->end - at < 6)
        return more(s);
    int unit = sr_json_hex4(at + 2);
    if (unit < 0)
        return bad(s, at, "\\u needs four hexadecimal digits");
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return bad(s, at, "a low surrogate without a high one before it");
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        if (s->end - at < 12 && (s->end - at < 8 || (at[6] == '\\' && at[7] == 'u')))
            return more(s);
        int low = at[6] == '\\' && at[7] == 'u' ? sr_json_hex4(at + 8) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return bad(s, at, "a high surrogate without a low one after it");
        s->at += 6;
    }
    s->at += 6;
    /* Canonical is \u00xx in lower case, for the control characters that have no short form. */
    bool has_short = unit == '\b' || unit == '\t' || unit == '\n' || unit == '\f' || unit == '\r';
    bool lower = (at[4] == '0' || at[4] == '1') && !(at[5] >= 'A' && at[5] <= 'F');
    if (unit >= 0x20 || has_short || !lower)
        s->scan->canonical = false;
    return SR_JSON_OK;
}

/* A string, at on its opening quote; *escaped tells whether it has escapes. */
static enum sr_json_result scan_string(struct scanner *s, bool *escaped)
{
    *escaped = false;
    s->at++;
    for (;;) {
        s->at = skip_plain(s->at, s->end);
        if (s->at == s->end)
            return more(s);
        unsigned char c = (unsigned char)*s->at;
        if (c == '"') {
            s->at++;
            return SR_JSON_OK;
        }
        if (c == '\\') {
            *escaped = true;
            enum sr_json_result result = scan_escape(s);
            if (result != SR_JSON_OK)
                return result;
        } else if (c >= 0x80) {
            int n = sr_json_utf8(s->at, (size_t)(s->end - s->at));
            if (n == 0)
                return more(s);
            if (n < 0)
                return bad(s, s->at, "not UTF-8");
            s->at += n;
        } else {
            return bad(s, s->at, "a control character inside a string");
        }
    }
}

static void note_odd_number(struct scanner *s)
{
    if (!s->scan->odd_number)
        write_path(s, s->scan->odd_path, sizeof s->scan->odd_path);
    s->scan->odd_number = true;
}

static enum sr_json_result scan_number(struct scanner *s)
{
    const char *start = s->at, *at = start + (*start == '-'), *end = s->end;
    const char *digits = at;
    while (at < end && is_digit(*at))
        at++;
    size_t count = (size_t)(at - digits);
    bool integer = true;
    if (at == end && !s->last)
        return at - start > SR_JSON_MAX_NUMBER ? bad(s, start, "the number is too long")
                                               : SR_JSON_MORE;
    if (count == 0)
        return bad(s, start, "a number needs digits");
    if (count > 1 && *digits == '0')
        return bad(s, start, "a number with a leading zero");
    if (at < end && *at == '.') {
        integer = false;
        const char *fraction = ++at;
        while (at < end && is_digit(*at))
            at++;
        if (at == end && !s->last)
            return at - start > SR_JSON_MAX_NUMBER ? bad(s, start, "the number is too long")
                                                   : SR_JSON_MORE;
        if (at == fraction)
            return bad(s, start, "a number needs digits after its point");
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        integer = false;
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        const char *exponent = at;
        while (at < end && is_digit(*at))
            at++;
        if (at == end && !s->last)
            return at - start > SR_JSON_MAX_NUMBER ? bad(s, start, "the number is too long")
                                                   : SR_JSON_MORE;
        if (at == exponent)
            return bad(s, start, "a number needs digits in its exponent");
    }
    size_t len = (size_t)(at - start);
    if (len > SR_JSON_MAX_NUMBER)
        return bad(s, start, "the number is too long");
    s->at = at;
    if (integer && count <= 15) { /* below 2^53 whatever the digits */
        if (*start == '-' && *digits == '0')
            s->scan->canonical = false;
        return SR_JSON_OK;
    }
    char text[SR_JSON_MAX_NUMBER + 1];
    memcpy(text, start, len);
    text[len] = '\0';
    double value = strtod(text, NULL);
    if (!isfinite(value))
        return bad(s, start, "a number beyond the range of a double");
    /* An integer is judged by its digits: 2^53 and 2^53 + 1 are one double. */
    bool small = integer ? count == 16 && llabs(strtoll(text, NULL, 10)) <= SR_JSON_MAX_INTEGER
                         : fabs(value) <= (double)SR_JSON_MAX_INTEGER && trunc(value) == value;
    if (!small)
        note_odd_number(s);
    if (s->scan->canonical) {
        sr_cleanup_buf struct sr_buf spelled = SR_BUF_INIT;
        sr_jcs_double(&spelled, value);
        s->scan->canonical =
            sr_buf_ok(&spelled) && spelled.len == len && memcmp(spelled.data, start, len) == 0;
    }
    return SR_JSON_OK;
}

static enum sr_json_result scan_word(struct scanner *s, const char *word, size_t len)
{
    size_t have = (size_t)(s->end - s->at);
    if (memcmp(s->at, word, have < len ? have : len) != 0)
        return bad(s, s->at, "not a JSON value");
    if (have < len)
        return more(s);
    s->at += len;
    return SR_JSON_OK;
}

/* Skips white space; true when there is a byte after it. */
static bool skip_space(struct scanner *s)
{
    while (s->at < s->end && is_space(*s->at)) {
        s->scan->canonical = false;
        s->at++;
    }
    return s->at < s->end;
}

/* A key and its colon; at on the key's opening quote. */
static enum sr_json_result scan_key(struct scanner *s)
{
    struct level *level = &s->levels[s->depth - 1];
    if (*s->at != '"')
        return bad(s, s->at, "a member begins with a string");
    const char *start = s->at;
    bool escaped;
    enum sr_json_result result = scan_string(s, &escaped);
    if (result != SR_JSON_OK)
        return result;
    struct sr_json_slice key = {start + 1, (size_t)(s->at - start) - 2};
    if (level->has_key) {
        int order = level->escaped || escaped ? sr_json_compare_keys(level->key, key)
                                              : sr_json_compare_plain(level->key, key);
        if (order == 0 && !s->repeats)
            return bad(s, start, "the key is there twice");
        if (order > 0)
            s->scan->canonical = false;
    }
    level->key = key;
    level->has_key = true;
    level->escaped = escaped;
    if (!skip_space(s))
        return more(s);
    if (*s->at != ':')
        return bad(s, s->at, "a colon is missing");
    s->at++;
    if (!skip_space(s))
        return more(s);
    if (s->depth == 1) {
        size_t count = s->scan->member_count++;
        if (count < SR_JSON_MAX_MEMBERS)
            s->scan->members[count] = (struct sr_json_member){key, {s->at, 0}};
    }
    return SR_JSON_OK;
}

enum step { STEP_VALUE, STEP_AFTER };

/* Enters the object or array at the cursor. */
static enum sr_json_result scan_open(struct scanner *s, enum step *next)
{
    if (s->depth == SR_JSON_MAX_DEPTH)
        return bad(s, s->at, "nested too deeply");
    bool object = *s->at == '{';
    s->levels[s->depth++] = (struct level){.object = object};
    s->at++;
    if (!skip_space(s))
        return more(s);
    if (*s->at == (object ? '}' : ']')) {
        s->at++;
        s->depth--;
        *next = STEP_AFTER;
        return SR_JSON_OK;
    }
    *next = STEP_VALUE;
    return object ? scan_key(s) : SR_JSON_OK;
}

/* After a value inside an object or array: a comma or the end of it. */
static enum sr_json_result scan_separator(struct scanner *s, enum step *next)
{
    struct level *level = &s->levels[s->depth - 1];
    if (s->depth == 1 && level->object && s->scan->member_count <= SR_JSON_MAX_MEMBERS) {
        struct sr_json_member *member = &s->scan->members[s->scan->member_count - 1];
        member->value.len = (size_t)(s->at - member->value.text);
    }
    if (!skip_space(s))
        return more(s);
    if (*s->at == (level->object ? '}' : ']')) {
        s->at++;
        s->depth--;
        *next = STEP_AFTER;
        return SR_JSON_OK;
    }
    if (*s->at != ',')
        return bad(s, s->at, "a comma or the end is missing");
    s->at++;
    level->index++;
    if (!skip_space(s))
        return more(s);
    *next = STEP_VALUE;
    return level->object ? scan_key(s) : SR_JSON_OK;
}

enum sr_json_result sr_json_scan(const char *text, size_t len, unsigned how,
                                 struct sr_json_scan *scan)
{
    struct scanner s; /* its levels are filled as they are opened */
    s.start = s.at = text;
    s.end = text + len;
    s.last = (how & SR_JSON_LAST) != 0;
    s.repeats = (how & SR_JSON_REPEATS) != 0;
    s.scan = scan;
    s.depth = 0;
    scan->canonical = true;
    scan->odd_number = false;
    scan->member_count = 0;
    enum step next = STEP_VALUE;
    if (len == 0)
        return more(&s);
    for (;;) {
        enum sr_json_result result;
        bool escaped;
        if (next == STEP_AFTER) {
            if (s.depth == 0)
                break;
            result = scan_separator(&s, &next);
        } else {
            next = STEP_AFTER;
            switch (*s.at) {
            case '"':
                result = scan_string(&s, &escaped);
                break;
            case '{':
            case '[':
                result = scan_open(&s, &next);
                break;
            case 't':
                result = scan_word(&s, "true", 4);
                break;
            case 'f':
                result = scan_word(&s, "false", 5);
                break;
            case 'n':
                result = scan_word(&s, "null", 4);
                break;
            default:
                if (*s.at != '-' && !is_digit(*s.at))
                    return bad(&s, s.at, "not a JSON value");
                result = scan_number(&s);
            }
        }
        if (result != SR_JSON_OK)
            return result;
    }
    scan->len = (size_t)(s.at - text);
    return SR_JSON_OK;
}

const struct sr_json_member *sr_json_find(const struct sr_json_scan *scan, const char *name)
{
    size_t len = strlen(name);
    size_t count =
        scan->member_count < SR_JSON_MAX_MEMBERS ? scan->member_count : SR_JSON_MAX_MEMBERS;
    for (size_t i = 0; i < count; i++)
        if (scan->members[i].key.len == len && memcmp(scan->members[i].key.text, name, len) == 0)
            return &scan->members[i];
    return NULL;
}

struct sr_json_slice sr_json_get(struct sr_json_slice object, const char *name)
{
    struct sr_json_member member;
    size_t len = strlen(name);
    if (sr_json_is_object(object))
        for (size_t at = 0; sr_json_next_member(object, &at, &member);)
            if (member.key.len == len && memcmp(member.key.text, name, len) == 0)
                return member.value;
    return (struct sr_json_slice){"", 0};
}

bool sr_json_integer(struct sr_json_slice value, int64_t *number)
{
    if (value.len == 0 || value.len > 17)
        return false;
    int64_t sum = 0;
    size_t i = value.text[0] == '-';
    if (i == value.len)
        return false;
    for (; i < value.len; i++) {
        if (!is_digit(value.text[i]))
            return false;
        sum = sum * 10 + (value.text[i] - '0');
    }
    if (sum > SR_JSON_MAX_INTEGER)
        return false;
    *number = value.text[0] == '-' ? -sum : sum;
    return true;
}

bool sr_json_is(struct sr_json_slice value, const char *text)
{
    size_t len = strlen(text);
    return value.len == len + 2 && value.text[0] == '"' && memcmp(value.text + 1, text, len) == 0;
}
