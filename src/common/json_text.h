/*
 * JSON text in memory: strict scanning and canonical form without a tree.
 *
 * For documents that somebody else wrote and that are too large to be held as values (jansson needs
 * about ten times the text). The scanner reads one value, and in the same pass says whether its
 * bytes are already in the canonical form of RFC 8785: then the text itself is what hashes are
 * taken over, and nothing is copied. Otherwise sr_json_canonical() rewrites it.
 *
 * Strict means RFC 8259 and I-JSON (RFC 7493): valid UTF-8, no lone surrogates, no duplicate keys,
 * nesting at most SR_JSON_MAX_DEPTH. Nothing here does I/O. The fuzz target is
 * tests/fuzz/fuzz_json.c.
 */
#ifndef SR_COMMON_JSON_TEXT_H
#define SR_COMMON_JSON_TEXT_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Evidence nests 6 deep; the rest is room for payloads. Bounds the scanner's stack. */
#define SR_JSON_MAX_DEPTH 64
/* The greatest integer that every JSON reader agrees on (I-JSON): 2^53 - 1. */
#define SR_JSON_MAX_INTEGER INT64_C(9007199254740991)
/* A double written in full has 309 digits before the point; evidence holds integers. */
#define SR_JSON_MAX_NUMBER 400
/* Members of the outermost object that a scan keeps: an event has 7, and one with more than this is
 * refused. Of objects that may have any number, such as payloads, members are taken by
 * sr_json_get(). */
#define SR_JSON_MAX_MEMBERS 24

struct sr_json_slice {
    const char *text;
    size_t len;
};

struct sr_json_member {
    struct sr_json_slice key; /* as written, without its quotes */
    struct sr_json_slice value;
};

enum sr_json_result {
    SR_JSON_OK,
    SR_JSON_MORE, /* the text ends before the value does */
    SR_JSON_BAD,  /* not JSON, or not strict */
};

/* What one scan found. Pointers are into the text that was scanned. */
struct sr_json_scan {
    size_t len;          /* OK: of the value */
    bool canonical;      /* OK: the text is its own canonical form */
    bool odd_number;     /* OK: some number is not an integer within +-(2^53 - 1) */
    char odd_path[200];  /* where the first of those is: ".payload.cpu[3]" */
    size_t member_count; /* OK, of an object: may exceed SR_JSON_MAX_MEMBERS, then the rest is not
                            kept */
    struct sr_json_member members[SR_JSON_MAX_MEMBERS];
    size_t error_at;   /* BAD: offset of the fault */
    const char *error; /* BAD: what is wrong; static */
    char error_path[200];
};

enum {
    SR_JSON_LAST = 1, /* nothing follows the text in the input; else a number that reaches its end
                         is incomplete */
    SR_JSON_REPEATS = 2, /* keys may repeat: the caller finds them */
};

/*
 * Scans the value that text begins with (no white space before it). Keys that repeat are found here
 * only when they are neighbours; a text with others is never canonical, and sr_json_canonical()
 * finds them.
 */
enum sr_json_result sr_json_scan(const char *text, size_t len, unsigned how,
                                 struct sr_json_scan *scan);

/* Returns the member with this name (plain ASCII) of the object that was scanned, or NULL. Call
 * only after rejecting objects with more than SR_JSON_MAX_MEMBERS members. Exact for text in
 * canonical form; a key spelled with escapes is not found. */
const struct sr_json_member *sr_json_find(const struct sr_json_scan *scan, const char *name);

/* Returns the value of that member, however many members there are; an empty slice when object is
 * not an object or has no such member. object is a value that a scan found OK. Exact for canonical
 * form. */
struct sr_json_slice sr_json_get(struct sr_json_slice object, const char *name);

/*
 * Appends the canonical form of a value that a scan found OK. Returns 0, or -1 with the place of a
 * repeated key in path (and nothing of use in out). When memory is out, out fails.
 */
int sr_json_canonical(struct sr_json_slice value, struct sr_buf *out, char *path, size_t path_size);

/* Appends what a scanned string (value slice, with its quotes) says, as UTF-8; may contain NUL. */
void sr_json_string(struct sr_json_slice value, struct sr_buf *out);

/* The same as a text, cut to size and at the first NUL; text stays as it was when value is no
 * string. */
void sr_json_copy(struct sr_json_slice value, char *text, size_t size);

/* Copies a string that has no escapes and fits; false for anything else, and text is as it was. */
bool sr_json_copy_plain(struct sr_json_slice value, char *text, size_t size);

/* Compares two scanned keys by UTF-16 code units, as RFC 8785 sorts them. */
int sr_json_compare_keys(struct sr_json_slice a, struct sr_json_slice b);

/* True when value is an integer of at most 2^53 - 1 either way, in canonical form; then *number is
 * it. */
bool sr_json_integer(struct sr_json_slice value, int64_t *number);

/* True when value is this string of plain ASCII. */
bool sr_json_is(struct sr_json_slice value, const char *text);

static inline bool sr_json_is_object(struct sr_json_slice value)
{
    return value.len > 0 && value.text[0] == '{';
}

static inline bool sr_json_is_null(struct sr_json_slice value)
{
    return value.len == 4 && memcmp(value.text, "null", 4) == 0;
}

static inline bool sr_json_is_true(struct sr_json_slice value)
{
    return value.len == 4 && memcmp(value.text, "true", 4) == 0;
}

static inline bool sr_json_is_array(struct sr_json_slice value)
{
    return value.len > 0 && value.text[0] == '[';
}

static inline bool sr_json_is_string(struct sr_json_slice value)
{
    return value.len > 0 && value.text[0] == '"';
}

/* What stands between the quotes of a string, as written. */
static inline struct sr_json_slice sr_json_inside(struct sr_json_slice string)
{
    return (struct sr_json_slice){string.text + 1, string.len - 2};
}

/* A scanned key as the string that it is, with its quotes. */
static inline struct sr_json_slice sr_json_quoted(struct sr_json_slice key)
{
    return (struct sr_json_slice){key.text - 1, key.len + 2};
}

/*
 * The elements of a scanned array: start with *at = 0; each call returns the next one, false after
 * the last.
 */
bool sr_json_next(struct sr_json_slice array, size_t *at, struct sr_json_slice *element);

/* The members of a scanned object, in the same way. */
bool sr_json_next_member(struct sr_json_slice object, size_t *at, struct sr_json_member *member);

#endif
