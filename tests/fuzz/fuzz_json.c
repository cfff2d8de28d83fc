/*
 * The scanner against jansson: what both take has one canonical form, and what the scanner takes
 * jansson takes, apart from what it is known not to hold (NUL in keys, integers beyond 64 bits).
 * Any prefix is scanned too, so that a window's end is never overrun.
 */
#include "common/jcs.h"
#include "common/json_text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
    if (!ok)
        abort();
}

/* Has value an integer that jansson holds exactly and RFC 8785 as a double? */
/* NOLINTNEXTLINE(misc-no-recursion): the scanner has bounded the depth */
static int has_large_integer(const json_t *value)
{
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_integer(value))
        return llabs(json_integer_value(value) / 2) > SR_JSON_MAX_INTEGER / 2;
    json_array_foreach(value, i, member) if (has_large_integer(member)) return 1;
    json_object_foreach((json_t *)value, key, member) if (has_large_integer(member)) return 1;
    return 0;
}

static void compare_with_jansson(const char *text, size_t len, const struct sr_buf *canonical)
{
    json_error_t error;
    json_t *value =
        json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (value == NULL) {
        enum json_error_code code = json_error_code(&error);
        must(code == json_error_null_byte_in_key || code == json_error_numeric_overflow);
        return;
    }
    if (!has_large_integer(value)) {
        sr_cleanup_buf struct sr_buf other = SR_BUF_INIT;
        sr_jcs_value(&other, value);
        must(sr_buf_ok(&other) && other.len == canonical->len &&
             memcmp(other.data, canonical->data, other.len) == 0);
    }
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct sr_json_scan scan, part;
    char path[64] = "";
    if (size > 0) {
        /* A copy that ends where the prefix does. */
        size_t cut = size / 2;
        char *prefix = malloc(cut + 1);
        must(prefix != NULL);
        memcpy(prefix, text, cut);
        (void)sr_json_scan(prefix, cut, 0, &part);
        free(prefix);
    }
    if (sr_json_scan(text, size, SR_JSON_LAST, &scan) != SR_JSON_OK)
        return 0;
    must(scan.len <= size);
    sr_cleanup_buf struct sr_buf canonical = SR_BUF_INIT;
    struct sr_json_slice value = {text, scan.len};
    if (sr_json_canonical(value, &canonical, path, sizeof path) < 0) {
        must(!scan.canonical);
        return 0;
    }
    must(sr_buf_ok(&canonical));
    must(scan.canonical ==
         (canonical.len == scan.len && memcmp(canonical.data, text, scan.len) == 0));
    must(sr_json_scan(canonical.data, canonical.len, SR_JSON_LAST, &part) == SR_JSON_OK);
    must(part.canonical && part.len == canonical.len);
    compare_with_jansson(text, scan.len, &canonical);
    return 0;
}
