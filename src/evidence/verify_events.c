#include "evidence/verify.h"

#include "evidence/statement.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_SIZE = 64 };

static const char *place(char path[PATH_SIZE], uint64_t index, const char *field)
{
    snprintf(path, PATH_SIZE, "events[%llu]%s%s", (unsigned long long)index,
             field[0] != '\0' ? "." : "", field);
    return path;
}

static bool same(struct sr_json_slice a, const char *text, size_t len)
{
    return a.len == len && memcmp(a.text, text, len) == 0;
}

void verify_open_events(struct verify *v)
{
    const char *path = v->options->events_path;
    if (path == NULL)
        return;
    struct stat st;
    v->events_fd = openat(verify_base(v), path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (v->events_fd < 0 || fstat(v->events_fd, &st) < 0) {
        verify_error(v, CHECK_EVENTS_FILE, SR_EVD_002, "events", "cannot be opened: %s",
                     strerror(errno));
        return;
    }
    int result = S_ISREG(st.st_mode) ? 0 : -EINVAL;
    if (result == 0)
        result = evidence_event_file_open(&v->events, v->events_fd, EVIDENCE_REPORT_MAX_BYTES);
    if (result < 0)
        verify_error(v, CHECK_EVENTS_FILE, SR_EVD_002, "events",
                     result == -EINVAL ? "is not a regular file" : "out of memory");
    v->events.reader.bytes = v->events_bytes;
    v->comparing = result == 0;
}

/* Why the next line of events.jsonl cannot be had. */
static void events_fault(struct verify *v, uint64_t index)
{
    const struct sr_json_reader *reader = &v->events.reader;
    char path[PATH_SIZE];
    v->comparing = false;
    if (reader->io_error != 0)
        verify_error(v, CHECK_EVENTS_FILE, SR_EVD_002, "events", "cannot be read: %s",
                     strerror(reader->io_error));
    else
        verify_error(v, CHECK_EVENTS_FILE, SR_EVD_303, place(path, index, ""),
                     "events.jsonl: %s (byte %llu)", reader->error,
                     (unsigned long long)reader->error_at);
}

/* The first member in which two events differ, and its values in both; "" when it is none that both
 * have. */
static const char *differing_field(const struct sr_json_scan *a, const struct sr_json_scan *b,
                                   struct sr_json_slice *in_a, struct sr_json_slice *in_b)
{
    static const char *const fields[] = {"hashPrev", "hashSelf",  "payload", "runId",
                                         "stage",    "timestamp", "type"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct sr_json_member *x = sr_json_find(a, fields[i]),
                                    *y = sr_json_find(b, fields[i]);
        if (x == NULL || y == NULL || same(x->value, y->value.text, y->value.len))
            continue;
        *in_a = x->value;
        *in_b = y->value;
        return fields[i];
    }
    return "";
}

static void compare_with_file(struct verify *v, uint64_t index, const struct sr_json_scan *scan,
                              const char *text)
{
    const char *line;
    char path[PATH_SIZE];
    int result = evidence_event_file_next(&v->events, &line);
    if (result < 0) {
        events_fault(v, index);
        return;
    }
    if (result == 1 && same((struct sr_json_slice){line, v->events.scan.len}, text, scan->len))
        return;
    v->comparing = false;
    if (result == 0) {
        verify_error(v, CHECK_EVENTS_FILE, SR_EVD_303, place(path, index, ""),
                     "the report has this event, events.jsonl ends before it");
        return;
    }
    struct sr_json_slice ours = {text, scan->len}, theirs = {line, v->events.scan.len};
    const char *field = differing_field(scan, &v->events.scan, &ours, &theirs);
    char expected[SHOWN_SIZE], found[SHOWN_SIZE];
    verify_error(v, CHECK_EVENTS_FILE, SR_EVD_303, place(path, index, field),
                 "differs from events.jsonl, here for the first time: the report has %s, the file "
                 "%s",
                 verify_show(ours, expected), verify_show(theirs, found));
}

/* Fields that the chain's hash covers only as text: same run, time that does not run backwards. */
static void check_continuity(struct verify *v, uint64_t index)
{
    const struct evidence_event *event = &v->event;
    char path[PATH_SIZE], expected[SHOWN_SIZE], found[SHOWN_SIZE];
    if (index == 0) {
        sr_buf_append(&v->run_id, event->run_id.text, event->run_id.len);
    } else if (v->run_id.len > 0 && !same(event->run_id, v->run_id.data, v->run_id.len)) {
        verify_error(v, CHECK_EVENT_CHAIN, SR_EVD_303, place(path, index, "runId"),
                     "an event of another run: expected %s, found %s",
                     verify_show((struct sr_json_slice){v->run_id.data, v->run_id.len}, expected),
                     verify_show(event->run_id, found));
    }
    int64_t nsec;
    bool ours = sr_timestamp_parse(event->timestamp.text, event->timestamp.len, &nsec);
    if (ours && v->time_known && !v->out_of_order &&
        memcmp(event->timestamp.text, v->last_time, event->timestamp.len) < 0) {
        v->out_of_order = true; /* whether that counts is known when the report's end is */
        v->out_of_order_at = index;
        memcpy(v->time_before, v->last_time, sizeof v->time_before);
    }
    if (!ours && v->odd_times++ == 0)
        v->odd_time_at = index;
    if (ours && !v->time_known)
        memcpy(v->first_time, event->timestamp.text, event->timestamp.len);
    if (ours) {
        memcpy(v->last_time, event->timestamp.text, event->timestamp.len);
        v->time_known = true;
    }
}

/* Whether it is a time as our events have it. */
static bool is_time(struct sr_json_slice value)
{
    int64_t nsec;
    return sr_json_is_string(value) && sr_timestamp_parse(value.text + 1, value.len - 2, &nsec);
}

/* When packets were stopped, where an event says so: in the run, and before it was told. */
static void check_denial(struct verify *v, uint64_t index)
{
    const struct evidence_event *event = &v->event;
    struct sr_json_slice first = sr_json_get(event->payload, "firstAt"),
                         last = sr_json_get(event->payload, "lastAt");
    const size_t len = SR_TIMESTAMP_TEXT - 1;
    char path[PATH_SIZE], found[SHOWN_SIZE];
    if (!v->time_known || (first.len == 0 && last.len == 0))
        return;
    if (!is_time(first) || memcmp(first.text + 1, v->first_time, len) < 0)
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, place(path, index, "payload.firstAt"),
                     "expected a time not before the run, found %s", verify_show(first, found));
    else if (!is_time(last) || memcmp(last.text, first.text, len + 1) < 0 ||
             memcmp(last.text + 1, v->last_time, len) > 0)
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, place(path, index, "payload.lastAt"),
                     "expected a time not before firstAt and not after the event, found %s",
                     verify_show(last, found));
}

static void check_hashes(struct verify *v, uint64_t index)
{
    struct evidence_event *event = &v->event;
    char path[PATH_SIZE], self[SR_SHA256_TEXT], found[SHOWN_SIZE];
    const size_t len = SR_SHA256_TEXT - 1;
    if (evidence_event_hash(v->hasher, event, self) < 0) {
        v->no_memory = true;
        return;
    }
    if (v->last_known && !same(event->prev, v->last, len))
        verify_error(v, CHECK_EVENT_CHAIN, SR_EVD_303, place(path, index, "hashPrev"),
                     "expected %s (%s), found %s", v->last,
                     index == 0 ? "the first event's" : "hashSelf of the event before",
                     verify_show(event->prev, found));
    if (!same(event->self, self, len))
        verify_error(v, CHECK_EVENT_CHAIN, SR_EVD_303, place(path, index, "hashSelf"),
                     "expected %s, found %s", self, verify_show(event->self, found));
    /* Go on from what the event says, so that one changed event is one error. */
    v->last_known = event->self.len == len;
    if (v->last_known)
        memcpy(v->last, event->self.text, len);
}

int verify_event(void *context, uint64_t index, const struct sr_json_scan *scan, const char *text,
                 struct sr_error *err)
{
    struct verify *v = context;
    struct evidence_event_fault fault;
    (void)err;
    if (v->comparing)
        compare_with_file(v, index, scan, text);
    if (evidence_event_parse(scan, text, &v->event, &fault) < 0) {
        char path[PATH_SIZE], found[SHOWN_SIZE];
        const struct sr_json_member *member = sr_json_find(scan, fault.field);
        struct sr_json_slice value = {text, scan->len};
        if (fault.field[0] != '\0')
            value = member != NULL ? member->value : (struct sr_json_slice){"", 0};
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, place(path, index, fault.field), "%s, found %s",
                     fault.what, verify_show(value, found));
        if (v->checks[CHECK_EVENT_CHAIN].ok)
            verify_note(v, CHECK_EVENT_CHAIN, "not decided from event %llu on",
                        (unsigned long long)index);
        v->checks[CHECK_EVENT_CHAIN].ok = false;
        v->last_known = false;
        return 0;
    }
    check_continuity(v, index);
    check_hashes(v, index);
    if (v->report_bytes != NULL)
        statement_take_event(v);
    if (v->event.kind == SR_EVENT_OUTPUT_COLLECTED)
        verify_outputs_take(v, index);
    if (v->event.kind == SR_EVENT_NETWORK_FLOW_DENIED)
        check_denial(v, index);
    verify_secrets_take(v, index);
    verify_told_take(v, index);
    if (evidence_aggregate_add(&v->aggregate, &v->event) < 0)
        v->no_memory = true;
    return 0;
}

/* What events.jsonl has beyond the report's events, and how it is written. */
static void finish_comparison(struct verify *v)
{
    const char *line;
    char path[PATH_SIZE];
    int result = evidence_event_file_next(&v->events, &line);
    if (result < 0) {
        events_fault(v, v->walk.event_count);
    } else if (result == 1) {
        verify_error(v, CHECK_EVENTS_FILE, SR_EVD_303, place(path, v->walk.event_count, ""),
                     "events.jsonl has this event, the report ends before it");
    } else if (v->sealed && !v->events.canonical) {
        verify_error(v, CHECK_EVENTS_FILE, SR_EVD_303, "events",
                     "events.jsonl has the report's events, but not in the bytes they were written "
                     "in: it was changed");
    } else if (v->events_bytes != NULL && sr_hasher_final(v->events_bytes, v->events_hash) < 0) {
        v->no_memory = true;
    }
}

void verify_events_end(struct verify *v)
{
    char path[PATH_SIZE], expected[SHOWN_SIZE], found[SHOWN_SIZE];
    struct sr_json_slice run_id = evidence_report_member(&v->walk, "runId");
    if (v->run_id.len > 0 && sr_json_is_string(run_id)) {
        sr_cleanup_buf struct sr_buf plain = SR_BUF_INIT;
        sr_json_string(run_id, &plain);
        struct sr_json_slice first = {v->run_id.data, v->run_id.len};
        if (!sr_buf_ok(&plain))
            v->no_memory = true;
        else if (!same(first, plain.data, plain.len))
            verify_error(v, CHECK_EVENT_CHAIN, SR_EVD_303, place(path, 0, "runId"),
                         "an event of another run: expected %s, found %s",
                         verify_show((struct sr_json_slice){plain.data, plain.len}, expected),
                         verify_show(first, found));
    }
    if (v->sealed && v->out_of_order)
        verify_error(v, CHECK_EVENT_CHAIN, SR_EVD_303, place(path, v->out_of_order_at, "timestamp"),
                     "expected a time not before the event before it (%s)", v->time_before);
    if (v->sealed && v->odd_times > 0)
        verify_error(v, CHECK_EVENT_CHAIN, SR_EVD_303, place(path, v->odd_time_at, "timestamp"),
                     "expected a time as 2026-01-02T03:04:05.000000000Z");
    if (v->comparing)
        finish_comparison(v);

    /* Only our own writer is known to end every chain so. */
    bool ended =
        v->aggregate.event_count > 0 && v->aggregate.event_count == v->walk.event_count &&
        (v->aggregate.last == SR_EVENT_RUN_CLEANED || v->aggregate.last == SR_EVENT_RUN_FAILED);
    v->wanted[CHECK_TERMINAL_EVENT] = true;
    if (ended)
        return;
    if (v->sealed && v->walk.event_count > 0)
        verify_error(v, CHECK_TERMINAL_EVENT, SR_EVD_303,
                     place(path, v->walk.event_count - 1, "type"),
                     "expected run.cleaned or run.failed as the last event: the chain was cut "
                     "short");
    else if (v->sealed)
        verify_error(v, CHECK_TERMINAL_EVENT, SR_EVD_303, "events",
                     "expected run.cleaned or run.failed as the last event, found no event");
    else
        verify_note(v, CHECK_TERMINAL_EVENT,
                    "the last event is neither run.cleaned nor run.failed; this report's writer "
                    "may not have written them");
}
