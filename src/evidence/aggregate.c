#include "evidence/aggregate.h"

void evidence_aggregate_free(struct evidence_aggregate *aggregate)
{
    sr_buf_free(&aggregate->reasons);
    sr_buf_free(&aggregate->mode);
}

static uint64_t number(struct evidence_aggregate *aggregate, struct sr_json_slice payload,
                       const char *name)
{
    int64_t value;
    if (!sr_json_integer(sr_json_get(payload, name), &value) || value < 0) {
        aggregate->lacking = true;
        return 0;
    }
    return (uint64_t)value;
}

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum = a + b; /* both at most 2^53 - 1 */
    return sum < SR_JSON_MAX_INTEGER ? sum : SR_JSON_MAX_INTEGER;
}

static void append_string(struct sr_buf *out, struct sr_json_slice payload, const char *name)
{
    struct sr_json_slice value = sr_json_get(payload, name);
    if (sr_json_is_string(value))
        sr_buf_append(out, value.text + 1, value.len - 2);
}

static void add_rejected(struct evidence_aggregate *aggregate, struct sr_json_slice payload)
{
    if (aggregate->rejected++ >= EVIDENCE_MAX_REASONS)
        return;
    struct sr_buf *out = &aggregate->reasons;
    /* Insides of canonical strings put together are the inside of a canonical string. */
    sr_buf_puts(out, aggregate->rejected == 1 ? "\"" : ",\"");
    append_string(out, payload, "errorCode");
    sr_buf_puts(out, ": ");
    append_string(out, payload, "message");
    sr_buf_putc(out, '"');
}

static void add_plan(struct evidence_aggregate *aggregate, struct sr_json_slice payload)
{
    struct sr_json_slice mode = sr_json_get(payload, "mode");
    aggregate->planned = true;
    aggregate->plan_rules = number(aggregate, payload, "rulesTotal");
    aggregate->mode.len = 0;
    if (sr_json_is_string(mode))
        sr_buf_append(&aggregate->mode, mode.text, mode.len);
    else
        aggregate->lacking = true;
}

const char *evidence_drop_name(enum evidence_drop drop)
{
    /* In the order of their names, as canonical objects have it. */
    static const char *const names[EVIDENCE_DROP_COUNT] = {
        [EVIDENCE_DROP_INVALID] = "invalid",         [EVIDENCE_DROP_NOT_IPV4] = "notIpv4",
        [EVIDENCE_DROP_SPOOFED] = "spoofed",         [EVIDENCE_DROP_TO_GATEWAY] = "toGateway",
        [EVIDENCE_DROP_UNACCOUNTED] = "unaccounted",
    };
    return names[drop];
}

static uint64_t count_at(struct sr_json_slice object, const char *name)
{
    int64_t value;
    return sr_json_integer(sr_json_get(object, name), &value) && value > 0 ? (uint64_t)value : 0;
}

void evidence_drops_read(struct sr_json_slice frames, uint64_t dropped[EVIDENCE_DROP_COUNT])
{
    for (int i = 0; i < EVIDENCE_DROP_COUNT; i++)
        dropped[i] = count_at(frames, evidence_drop_name((enum evidence_drop)i));
}

static void add_frames(struct evidence_aggregate *aggregate, struct sr_json_slice payload)
{
    struct sr_json_slice frames = sr_json_get(payload, "frames");
    if (!sr_json_is_object(frames))
        return;
    aggregate->framed = true;
    aggregate->frames_denied = count_at(frames, "denied");
    evidence_drops_read(frames, aggregate->dropped);
}

int evidence_aggregate_add(struct evidence_aggregate *aggregate, const struct evidence_event *event)
{
    aggregate->event_count++;
    aggregate->last = event->kind;
    struct sr_json_slice payload = event->payload;
    switch (event->kind) {
    case SR_EVENT_MOUNT_VALIDATED:
        aggregate->validated++;
        return 0;
    case SR_EVENT_NETWORK_RULE_APPLIED:
        aggregate->applied_rules++;
        return 0;
    case SR_EVENT_MOUNT_REJECTED:
        add_rejected(aggregate, payload);
        break;
    case SR_EVENT_NETWORK_PLAN_GENERATED:
        add_plan(aggregate, payload);
        break;
    case SR_EVENT_NETWORK_RULE_HIT:
        aggregate->hits_seen++;
        aggregate->allowed_hits =
            add(aggregate->allowed_hits, number(aggregate, payload, "allowedHits"));
        aggregate->blocked_hits =
            add(aggregate->blocked_hits, number(aggregate, payload, "blockedHits"));
        return 0;
    case SR_EVENT_NETWORK_FLOW_DENIED:
        aggregate->denied = add(aggregate->denied, count_at(payload, "packets"));
        return 0;
    case SR_EVENT_NETWORK_RULE_RELEASED:
    case SR_EVENT_NETWORK_RULE_CLEANUP_FAILED:
        add_frames(aggregate, payload);
        return 0;
    case SR_EVENT_RESOURCE_SAMPLED:
        aggregate->samples++;
        aggregate->cpu_usec = number(aggregate, payload, "cpuUsageUsec");
        aggregate->memory_bytes = number(aggregate, payload, "memoryCurrentBytes");
        return 0;
    default:
        return 0;
    }
    return sr_buf_ok(&aggregate->reasons) && sr_buf_ok(&aggregate->mode) ? 0 : -1;
}

static void put_number(struct sr_buf *out, const char *before, uint64_t value)
{
    sr_buf_puts(out, before);
    sr_buf_u64(out, value);
}

void evidence_aggregate_mounts(const struct evidence_aggregate *aggregate, struct sr_buf *out)
{
    put_number(out, "{\"accepted\":", aggregate->validated);
    sr_buf_puts(out, ",\"reasons\":[");
    sr_buf_append(out, aggregate->reasons.data, aggregate->reasons.len);
    put_number(out, "],\"rejected\":", aggregate->rejected);
    put_number(out, ",\"requested\":", aggregate->validated + aggregate->rejected);
    sr_buf_putc(out, '}');
}

void evidence_aggregate_network(const struct evidence_aggregate *aggregate,
                                const char *fallback_mode, uint64_t fallback_rules,
                                struct sr_buf *out)
{
    uint64_t rules = aggregate->planned             ? aggregate->plan_rules
                     : aggregate->applied_rules > 0 ? aggregate->applied_rules
                                                    : fallback_rules;
    put_number(out, "{\"allowedHits\":", aggregate->allowed_hits);
    put_number(out, ",\"blockedHits\":", aggregate->blocked_hits);
    put_number(out, ",\"denied\":", aggregate->denied);
    for (int i = 0; aggregate->framed && i < EVIDENCE_DROP_COUNT; i++) {
        sr_buf_printf(out, "%s\"%s\":", i == 0 ? ",\"dropped\":{" : ",",
                      evidence_drop_name((enum evidence_drop)i));
        sr_buf_u64(out, aggregate->dropped[i]);
    }
    sr_buf_puts(out, aggregate->framed ? "},\"mode\":" : ",\"mode\":");
    if (aggregate->planned && aggregate->mode.len > 0) {
        sr_buf_append(out, aggregate->mode.data, aggregate->mode.len);
    } else {
        sr_buf_putc(out, '"');
        sr_buf_puts(out, fallback_mode);
        sr_buf_putc(out, '"');
    }
    put_number(out, ",\"rulesTotal\":", rules);
    sr_buf_putc(out, '}');
}

void evidence_aggregate_resources(const struct evidence_aggregate *aggregate, struct sr_buf *out)
{
    put_number(out, "{\"cpu\":\"cpuUsageUsec=", aggregate->cpu_usec);
    put_number(out, "\",\"memory\":\"memoryCurrentBytes=", aggregate->memory_bytes);
    sr_buf_puts(out, "\"}");
}
