#include "evidence/chain.h"

#include "common/timestamp.h"

#include <string.h>

static const char *const stage_names[EVIDENCE_STAGE_COUNT] = {
    [EVIDENCE_STAGE_COMPILE] = "compile", [EVIDENCE_STAGE_PREPARE] = "prepare",
    [EVIDENCE_STAGE_MOUNT] = "mount",     [EVIDENCE_STAGE_NETWORK] = "network",
    [EVIDENCE_STAGE_LAUNCH] = "launch",   [EVIDENCE_STAGE_MONITOR] = "monitor",
    [EVIDENCE_STAGE_CLEANUP] = "cleanup",
};

const char *evidence_stage_name(enum evidence_stage stage)
{
    return stage_names[stage];
}

static void append_part(struct sr_buf *buf, struct sr_json_slice part)
{
    sr_buf_append(buf, part.text, part.len);
    sr_buf_putc(buf, '|');
}

int evidence_chain_hash(struct sr_hasher *hasher, const struct evidence_chain_parts *parts,
                        struct sr_buf *scratch, char text[SR_SHA256_TEXT])
{
    scratch->len = 0;
    append_part(scratch, parts->prev);
    append_part(scratch, parts->timestamp);
    append_part(scratch, parts->run_id);
    append_part(scratch, parts->stage);
    append_part(scratch, parts->type);
    sr_buf_append(scratch, parts->payload.text, parts->payload.len);
    if (!sr_buf_ok(scratch))
        return -1;
    return sr_sha256(hasher, scratch->data, scratch->len, text);
}

bool evidence_is_hash(struct sr_json_slice value)
{
    char text[SR_SHA256_TEXT];
    return sr_json_copy_plain(value, text, sizeof text) && sr_is_sha256(text);
}

void evidence_event_free(struct evidence_event *event)
{
    for (size_t i = 0; i < sizeof event->decoded / sizeof event->decoded[0]; i++)
        sr_buf_free(&event->decoded[i]);
}

static int fault_at(struct evidence_event_fault *fault, const char *field, const char *what)
{
    *fault = (struct evidence_event_fault){field, what};
    return -1;
}

/* A member that must be a string that says something; its inside goes to *out, decoded with the
 * help of scratch when it has escapes. */
static int take_string(const struct sr_json_scan *scan, const char *field, struct sr_buf *scratch,
                       struct sr_json_slice *out, struct evidence_event_fault *fault)
{
    const struct sr_json_member *member = sr_json_find(scan, field);
    if (member == NULL)
        return fault_at(fault, field, "is missing");
    if (!sr_json_is_string(member->value))
        return fault_at(fault, field, "expected a string");
    struct sr_json_slice inside = sr_json_inside(member->value);
    if (inside.len == 0)
        return fault_at(fault, field, "expected a string that is not empty");
    if (memchr(inside.text, '\\', inside.len) != NULL) {
        if (scratch == NULL) /* hashes and members of closed sets have no character to escape */
            return fault_at(fault, field, "expected a string without escapes");
        scratch->len = 0;
        sr_json_string(member->value, scratch);
        if (!sr_buf_ok(scratch))
            return fault_at(fault, field, "cannot be held: out of memory");
        inside = (struct sr_json_slice){scratch->data, scratch->len};
    }
    if (memchr(inside.text, '|', inside.len) != NULL)
        return fault_at(fault, field, "expected a string without '|'");
    *out = inside;
    return 0;
}

static bool equals(struct sr_json_slice slice, const char *name)
{
    size_t len = strlen(name);
    return slice.len == len && memcmp(slice.text, name, len) == 0;
}

static bool parse_type(struct sr_json_slice text, enum sr_event_type *type)
{
    for (int i = 0; i < SR_EVENT_TYPE_COUNT; i++) {
        if (equals(text, sr_event_type_name((enum sr_event_type)i))) {
            *type = (enum sr_event_type)i;
            return true;
        }
    }
    return false;
}

static bool is_stage(struct sr_json_slice text)
{
    for (int i = 0; i < EVIDENCE_STAGE_COUNT; i++)
        if (equals(text, stage_names[i]))
            return true;
    return false;
}

int evidence_event_parse(const struct sr_json_scan *scan, const char *text,
                         struct evidence_event *event, struct evidence_event_fault *fault)
{
    event->text = (struct sr_json_slice){text, scan->len};
    if (!sr_json_is_object(event->text))
        return fault_at(fault, "", "expected an object");
    if (scan->member_count > SR_JSON_MAX_MEMBERS)
        return fault_at(fault, "", "expected at most 24 members");
    if (take_string(scan, "timestamp", &event->decoded[0], &event->timestamp, fault) < 0 ||
        take_string(scan, "runId", &event->decoded[1], &event->run_id, fault) < 0 ||
        take_string(scan, "stage", NULL, &event->stage, fault) < 0 ||
        take_string(scan, "type", NULL, &event->type, fault) < 0 ||
        take_string(scan, "hashPrev", NULL, &event->prev, fault) < 0 ||
        take_string(scan, "hashSelf", NULL, &event->self, fault) < 0)
        return -1;
    const struct sr_json_member *payload = sr_json_find(scan, "payload");
    if (payload == NULL)
        return fault_at(fault, "payload", "is missing");
    if (!sr_json_is_object(payload->value))
        return fault_at(fault, "payload", "expected an object");
    event->payload = payload->value;
    if (!is_stage(event->stage))
        return fault_at(fault, "stage", "expected a stage of a run (compile, ..., cleanup)");
    if (!parse_type(event->type, &event->kind))
        return fault_at(fault, "type", "expected a type of event (compile, ..., run.failed)");
    return 0;
}

int64_t evidence_event_nsec(const struct evidence_event *event)
{
    static const char unix_time[] = "unix:";
    enum { PREFIX = sizeof unix_time - 1, FRACTION = 9, MOST = PREFIX + 10 + 1 + FRACTION };
    struct sr_json_slice text = event->timestamp;
    int64_t nsec = 0;
    if (sr_timestamp_parse(text.text, text.len, &nsec))
        return nsec;
    if (text.len <= PREFIX + 1 + FRACTION || text.len > MOST ||
        memcmp(text.text, unix_time, PREFIX) != 0)
        return 0;
    for (size_t i = PREFIX; i < text.len; i++) {
        bool point = i == text.len - FRACTION - 1;
        if (point ? text.text[i] != '.' : text.text[i] < '0' || text.text[i] > '9')
            return 0;
        if (!point && (__builtin_mul_overflow(nsec, 10, &nsec) ||
                       __builtin_add_overflow(nsec, text.text[i] - '0', &nsec)))
            return 0;
    }
    return nsec;
}

int evidence_event_hash(struct sr_hasher *hasher, struct evidence_event *event,
                        char text[SR_SHA256_TEXT])
{
    struct evidence_chain_parts parts = {event->prev,  event->timestamp, event->run_id,
                                         event->stage, event->type,      event->payload};
    return evidence_chain_hash(hasher, &parts, &event->decoded[2], text);
}
