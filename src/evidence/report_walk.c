#include "evidence/report_walk.h"

#include "common/printable.h"

#include <errno.h>
#include <string.h>

#define EVENTS_KEY "\"events\""

static struct sr_json_slice slice(const struct sr_buf *buf)
{
    return (struct sr_json_slice){buf->data, buf->len};
}

/* The inside of a key that is kept with its quotes. */
static struct sr_json_slice inside(const struct sr_buf *key)
{
    return (struct sr_json_slice){key->data + 1, key->len - 2};
}

struct sr_json_slice evidence_report_member(const struct evidence_report_walk *walk,
                                            const char *name)
{
    for (unsigned i = 0; i < walk->member_count; i++)
        if (sr_json_is(slice(&walk->keys[i]), name))
            return slice(&walk->values[i]);
    return (struct sr_json_slice){"", 0};
}

void evidence_report_walk_free(struct evidence_report_walk *walk)
{
    sr_json_reader_close(&walk->reader);
    sr_hasher_free(walk->hasher);
    walk->hasher = NULL;
    sr_buf_free(&walk->text);
    for (unsigned i = 0; i < EVIDENCE_REPORT_MAX_MEMBERS; i++) {
        sr_buf_free(&walk->keys[i]);
        sr_buf_free(&walk->values[i]);
    }
}

static int unreadable(struct sr_error *err, int error)
{
    return sr_fail(err, SR_EVD_002, "report", "cannot be read: %s",
                   error == EFBIG ? "it is larger than 4 GiB" : strerror(error));
}

/* The reader's fault, below base ("events[3]", or "" for the report itself). */
static int fault(const struct sr_json_reader *reader, struct sr_error *err, const char *base)
{
    if (reader->io_error != 0)
        return unreadable(err, reader->io_error);
    char path[256];
    const char *inner = reader->error_path;
    if (base[0] == '\0' && inner[0] == '.')
        inner++;
    snprintf(path, sizeof path, "%s%s", base, inner);
    sr_fail(err, SR_EVD_301, path[0] != '\0' ? path : "report", "%s (byte %llu)", reader->error,
            (unsigned long long)reader->error_at);
    if (err != NULL)
        sr_json_reader_place(reader, reader->error_at, &err->line, &err->column);
    return -1;
}

static int fault_here(struct evidence_report_walk *walk, struct sr_error *err, const char *base,
                      const char *what)
{
    sr_json_reader_fault(&walk->reader, what);
    return fault(&walk->reader, err, base);
}

static int out_of_memory(struct sr_error *err)
{
    return unreadable(err, ENOMEM);
}

/* The file is not in canonical form, which shows at this offset. */
static void spelled_otherwise(struct evidence_report_walk *walk, uint64_t at)
{
    if (walk->canonical || at < walk->odd_at)
        walk->odd_at = at;
    walk->canonical = false;
}

/* Brings a value that was just read into canonical form: itself, or rewritten into out (unless keep
 * asks for a copy in any case). walk->scan is of the canonical text afterwards. */
static int canonicalise(struct evidence_report_walk *walk, struct sr_buf *out, bool keep,
                        const char **text, const char *base, struct sr_error *err)
{
    struct sr_json_scan *scan = &walk->scan;
    out->len = 0;
    if (scan->canonical && !keep)
        return 0;
    if (scan->canonical) {
        sr_buf_append(out, *text, scan->len);
    } else {
        spelled_otherwise(walk, sr_json_tell(&walk->reader) - scan->len);
        char path[200];
        struct sr_json_slice value = {*text, scan->len};
        if (sr_json_canonical(value, out, path, sizeof path) < 0) {
            sr_json_reader_fault(&walk->reader, "the key is there twice");
            memcpy(walk->reader.error_path, path, sizeof path);
            return fault(&walk->reader, err, base);
        }
    }
    if (!sr_buf_ok(out) || sr_json_scan(out->data, out->len, SR_JSON_LAST, scan) != SR_JSON_OK)
        return out_of_memory(err);
    *text = out->data;
    return 0;
}

static void note_odd_number(struct evidence_report_walk *walk, const char *base)
{
    if (walk->scan.odd_number && walk->odd_number[0] == '\0')
        snprintf(walk->odd_number, sizeof walk->odd_number, "%s%s", base, walk->scan.odd_path);
}

/* The members' order in the canonical form. */
static unsigned sort_members(const struct evidence_report_walk *walk, unsigned order[])
{
    for (unsigned i = 0; i < walk->member_count; i++) {
        unsigned at = i;
        for (; at > 0; at--) {
            if (sr_json_compare_keys(inside(&walk->keys[order[at - 1]]), inside(&walk->keys[i])) <=
                0)
                break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    return walk->member_count;
}

static bool sorts_before_events(const struct sr_buf *key)
{
    static const struct sr_json_slice events = {"events", 6};
    return sr_json_compare_keys(inside(key), events) < 0;
}

/* A member's value as the digest sees it. */
static void hash_value(struct evidence_report_walk *walk, const struct sr_buf *key,
                       const struct sr_buf *value)
{
    struct sr_json_slice digest = {"", 0};
    if (sr_json_is(slice(key), "integrity"))
        digest = sr_json_get(slice(value), "digest");
    if (digest.len == 0) {
        sr_hasher_update(walk->hasher, value->data, value->len);
        return;
    }
    size_t before = (size_t)(digest.text - value->data);
    size_t after = before + digest.len;
    sr_hasher_update(walk->hasher, value->data, before);
    sr_hasher_update(walk->hasher, "\"\"", 2);
    sr_hasher_update(walk->hasher, value->data + after, value->len - after);
}

static bool any_before_events(const struct evidence_report_walk *walk)
{
    for (unsigned i = 0; i < walk->member_count; i++)
        if (sorts_before_events(&walk->keys[i]))
            return true;
    return false;
}

/* Feeds the members that sort before events, or those behind, to the digest. */
static void hash_members(struct evidence_report_walk *walk, bool before)
{
    unsigned order[EVIDENCE_REPORT_MAX_MEMBERS];
    unsigned count = sort_members(walk, order);
    bool first = before || (!walk->has_events && !any_before_events(walk));
    for (unsigned i = 0; i < count; i++) {
        const struct sr_buf *key = &walk->keys[order[i]];
        if (sorts_before_events(key) != before)
            continue;
        if (!first)
            sr_hasher_update(walk->hasher, ",", 1);
        first = false;
        sr_hasher_update(walk->hasher, key->data, key->len);
        sr_hasher_update(walk->hasher, ":", 1);
        hash_value(walk, key, &walk->values[order[i]]);
    }
}

/* From the opening brace to the events' opening bracket. */
static void hash_beginning(struct evidence_report_walk *walk)
{
    sr_hasher_reset(walk->hasher);
    sr_hasher_update(walk->hasher, "{", 1);
    hash_members(walk, true);
    if (walk->has_events) {
        if (any_before_events(walk))
            sr_hasher_update(walk->hasher, ",", 1);
        sr_hasher_update(walk->hasher, EVENTS_KEY ":[", sizeof EVENTS_KEY ":[" - 1);
    }
}

/* The array of events, with reader on its opening bracket: each one to the digest and, unless it is
 * NULL, to on_event. */
static int walk_events(struct evidence_report_walk *walk, struct sr_json_reader *reader,
                       evidence_report_on_event *on_event, void *context, struct sr_error *err)
{
    sr_json_take(reader);
    int c = sr_json_peek(reader);
    for (uint64_t index = 0; c != ']'; index++) {
        char base[40];
        const char *text;
        snprintf(base, sizeof base, "events[%llu]", (unsigned long long)index);
        if (sr_json_read_value(reader, &walk->scan, &text) < 0)
            return fault(reader, err, base);
        if (canonicalise(walk, &walk->text, false, &text, base, err) < 0)
            return -1;
        if (index > 0)
            sr_hasher_update(walk->hasher, ",", 1);
        sr_hasher_update(walk->hasher, text, walk->scan.len);
        if (on_event != NULL) {
            note_odd_number(walk, base);
            walk->event_count++;
            if (on_event(context, index, &walk->scan, text, err) < 0)
                return -1;
        }
        c = sr_json_peek(reader);
        if (c == ',') {
            sr_json_take(reader);
            c = sr_json_peek(reader);
            if (c != ']')
                continue;
        } else if (c == ']') {
            break;
        }
        if (c != SR_JSON_FAULT)
            sr_json_reader_fault(reader, c == SR_JSON_EOF ? "the text ends in the middle of events"
                                         : c == ']'       ? "a comma with nothing after it"
                                                          : "a comma or the end is missing");
        return fault(reader, err, base);
    }
    sr_json_take(reader);
    return 0;
}

static int read_events(struct evidence_report_walk *walk, evidence_report_on_event *on_event,
                       void *context, struct sr_error *err)
{
    walk->has_events = true;
    walk->before_events = walk->member_count;
    walk->events_at = sr_json_tell(&walk->reader);
    hash_beginning(walk);
    return walk_events(walk, &walk->reader, on_event, context, err);
}

/* A member's key, with the reader on its opening quote; kept in the next free place. */
static int read_key(struct evidence_report_walk *walk, struct sr_error *err)
{
    const char *text;
    if (walk->member_count == EVIDENCE_REPORT_MAX_MEMBERS)
        return fault_here(walk, err, "", "a report has no more than 64 members");
    struct sr_buf *key = &walk->keys[walk->member_count];
    if (sr_json_read_value(&walk->reader, &walk->scan, &text) < 0)
        return fault(&walk->reader, err, "");
    if (canonicalise(walk, key, true, &text, "", err) < 0)
        return -1;
    walk->rest_bytes += key->len;
    bool again = walk->has_events && sr_json_is(slice(key), "events");
    for (unsigned i = 0; i < walk->member_count; i++)
        again = again || sr_json_compare_keys(inside(&walk->keys[i]), inside(key)) == 0;
    if (again)
        return fault_here(walk, err, "", "the key is there twice");
    return 0;
}

static int read_rest(struct evidence_report_walk *walk, struct sr_error *err)
{
    struct sr_buf *key = &walk->keys[walk->member_count];
    struct sr_buf *value = &walk->values[walk->member_count];
    char base[64];
    size_t n = key->len - 2 < sizeof base - 1 ? key->len - 2 : sizeof base - 1;
    for (size_t i = 0; i < n; i++)
        base[i] = sr_ascii(key->data[i + 1]);
    base[n] = '\0';
    const char *text;
    if (sr_json_read_value(&walk->reader, &walk->scan, &text) < 0)
        return fault(&walk->reader, err, base);
    if (canonicalise(walk, value, true, &text, base, err) < 0)
        return -1;
    note_odd_number(walk, base);
    walk->rest_bytes += value->len;
    if (walk->rest_bytes > EVIDENCE_REPORT_MAX_REST)
        return fault_here(walk, err, base, "what is not events is larger than 2 MiB");
    walk->member_count++;
    return 0;
}

static int read_members(struct evidence_report_walk *walk, evidence_report_on_event *on_event,
                        void *context, struct sr_error *err)
{
    struct sr_json_reader *reader = &walk->reader;
    struct sr_json_slice previous = {"", 0};
    bool first = true;
    sr_json_take(reader);
    int c = sr_json_peek(reader);
    if (c == '}') {
        sr_json_take(reader);
        return 0;
    }
    for (;;) {
        if (c == SR_JSON_FAULT)
            return fault(reader, err, "");
        if (c != '"')
            return fault_here(walk, err, "", "a member begins with a string");
        if (read_key(walk, err) < 0)
            return -1;
        struct sr_buf *key = &walk->keys[walk->member_count];
        bool events = sr_json_is(slice(key), "events");
        if (!first && sr_json_compare_keys(previous, inside(key)) >= 0)
            spelled_otherwise(walk, sr_json_tell(reader) - key->len);
        first = false;
        /* The place of an events key is used again for the next one. */
        previous = events ? (struct sr_json_slice){"events", 6} : inside(key);
        if ((c = sr_json_peek(reader)) != ':')
            return c == SR_JSON_FAULT ? fault(reader, err, "")
                                      : fault_here(walk, err, "", "a colon is missing");
        sr_json_take(reader);
        if ((c = sr_json_peek(reader)) == SR_JSON_FAULT)
            return fault(reader, err, "");
        if (events && c == '[' ? read_events(walk, on_event, context, err) < 0
                               : read_rest(walk, err) < 0)
            return -1;
        c = sr_json_peek(reader);
        if (c == '}') {
            sr_json_take(reader);
            return 0;
        }
        if (c == SR_JSON_FAULT)
            return fault(reader, err, "");
        if (c != ',')
            return fault_here(walk, err, "",
                              c == SR_JSON_EOF ? "the text ends in the middle of the report"
                                               : "a comma or the end is missing");
        sr_json_take(reader);
        c = sr_json_peek(reader);
    }
}

/* After the closing brace: one newline is canonical, white space is allowed. */
static int read_end(struct evidence_report_walk *walk, struct sr_error *err)
{
    struct sr_json_reader *reader = &walk->reader;
    int c = sr_json_peek_byte(reader);
    if (c == '\n')
        sr_json_take(reader);
    else
        spelled_otherwise(walk, sr_json_tell(reader));
    c = sr_json_peek(reader);
    if (!reader->canonical)
        spelled_otherwise(walk, reader->space_at);
    walk->size = sr_json_tell(reader);
    if (c == SR_JSON_FAULT)
        return fault(reader, err, "");
    return c == SR_JSON_EOF ? 0 : fault_here(walk, err, "", "something follows the report");
}

/* The digest once more from the start, when a member came too late for the first time. */
static int hash_again(struct evidence_report_walk *walk, struct sr_error *err)
{
    int fd = sr_json_reader_again(&walk->reader);
    if (fd < 0)
        return sr_fail(err, SR_EVD_002, "report",
                       "a report whose members are in this order is read twice, and there is no "
                       "room for a temporary copy of standard input; name a file");
    sr_cleanup_json_reader struct sr_json_reader reader;
    uint64_t at = walk->events_at;
    int result = sr_json_reader_open(&reader, fd, at, EVIDENCE_REPORT_MAX_BYTES, false);
    if (result < 0)
        return unreadable(err, -result);
    hash_beginning(walk);
    if (sr_json_peek(&reader) != '[')
        return sr_fail(err, SR_EVD_002, "report", "it changed while it was read");
    return walk_events(walk, &reader, NULL, NULL, err);
}

static int finish_digest(struct evidence_report_walk *walk, struct sr_error *err)
{
    bool late = false;
    for (unsigned i = walk->before_events; walk->has_events && i < walk->member_count; i++)
        late = late || sorts_before_events(&walk->keys[i]);
    if (late && hash_again(walk, err) < 0)
        return -1;
    if (walk->has_events)
        sr_hasher_update(walk->hasher, "]", 1);
    else
        hash_beginning(walk);
    hash_members(walk, false);
    sr_hasher_update(walk->hasher, "}", 1);
    return sr_hasher_final(walk->hasher, walk->digest) == 0 ? 0 : out_of_memory(err);
}

int evidence_report_walk_bytes(struct evidence_report_walk *walk, int fd, uint64_t offset,
                               struct sr_hasher *bytes, evidence_report_on_event *on_event,
                               void *context, struct sr_error *err)
{
    memset(walk, 0, sizeof *walk);
    walk->canonical = true;
    walk->reader.copy_fd = -1;
    walk->hasher = sr_hasher_new();
    if (walk->hasher == NULL)
        return out_of_memory(err);
    int result = sr_json_reader_open(&walk->reader, fd, offset, EVIDENCE_REPORT_MAX_BYTES, true);
    if (result < 0)
        return unreadable(err, -result);
    walk->reader.bytes = bytes;
    int c = sr_json_peek(&walk->reader);
    if (c == SR_JSON_FAULT)
        return fault(&walk->reader, err, "");
    if (c != '{')
        return fault_here(walk, err, "",
                          c == SR_JSON_EOF ? "the report is empty" : "the report is not an object");
    if (read_members(walk, on_event, context, err) < 0 || read_end(walk, err) < 0)
        return -1;
    return finish_digest(walk, err);
}

int evidence_report_walk(struct evidence_report_walk *walk, int fd, uint64_t offset,
                         evidence_report_on_event *on_event, void *context, struct sr_error *err)
{
    return evidence_report_walk_bytes(walk, fd, offset, NULL, on_event, context, err);
}
