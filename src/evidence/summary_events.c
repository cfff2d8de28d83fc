#include "evidence/summary_state.h"

#include "evidence/event.h"
#include "evidence/take.h"

#include <stdio.h>
#include <string.h>

/* Both at most 2^53 - 1, or -1 for what is no number. */
static void add_to(uint64_t *sum, int64_t value)
{
    if (value > 0)
        *sum = *sum + (uint64_t)value < SR_JSON_MAX_INTEGER ? *sum + (uint64_t)value
                                                            : SR_JSON_MAX_INTEGER;
}

/* FNV-1a: only to compare fewer texts. */
static uint32_t hash_of(const char *protocol, const char *where, int64_t port)
{
    uint32_t hash = 2166136261u ^ (uint32_t)port;
    for (const char *c = protocol; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    for (const char *c = where; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash;
}

/* The same destination; names that lead there may be several. */
static bool same_target(const struct evidence_summary_target *a,
                        const struct evidence_summary_target *b)
{
    return a->hash == b->hash && a->port == b->port && strcmp(a->target, b->target) == 0 &&
           strcmp(a->protocol, b->protocol) == 0;
}

static struct evidence_summary_target target_of(struct sr_json_slice payload)
{
    struct evidence_summary_target target = {.port = evidence_take_number(payload, "port")};
    evidence_take_text(payload, "protocol", target.protocol, sizeof target.protocol);
    evidence_take_text(payload, "target", target.target, sizeof target.target);
    evidence_take_text(payload, "host", target.host, sizeof target.host);
    target.hash = hash_of(target.protocol, target.target, target.port);
    return target;
}

/* A rule that was applied: each name of a destination has its own. */
static void add_rule(struct evidence_summary *s, struct sr_json_slice payload)
{
    const struct evidence_summary_target rule = target_of(payload);
    for (size_t i = 0; i < s->target_count; i++)
        if (same_target(&s->targets[i], &rule) && strcmp(s->targets[i].host, rule.host) == 0)
            return;
    if (s->target_count < EVIDENCE_SUMMARY_TARGETS / 2)
        s->targets[s->target_count++] = rule;
    else
        s->more_targets++;
}

/* A hit belongs to every rule at its destination. The sums are networkAudit's, which counts it
 * once. */
static void add_hit(struct evidence_summary *s, struct sr_json_slice payload)
{
    const struct evidence_summary_target hit = target_of(payload);
    int64_t allowed = evidence_take_number(payload, "allowedHits"),
            blocked = evidence_take_number(payload, "blockedHits");
    bool found = false;
    for (size_t i = 0; i < s->target_count; i++) {
        struct evidence_summary_target *target = &s->targets[i];
        if (!same_target(target, &hit))
            continue;
        found = true;
        add_to(&target->allowed, allowed);
        add_to(&target->blocked, blocked);
    }
    if (!found && s->target_count < EVIDENCE_SUMMARY_TARGETS) {
        struct evidence_summary_target *target = &s->targets[s->target_count++];
        *target = hit;
        add_to(&target->allowed, allowed);
        add_to(&target->blocked, blocked);
    } else if (!found) {
        add_to(&s->more_allowed, allowed);
        add_to(&s->more_blocked, blocked);
    }
}

static struct evidence_summary_flow *find_flow(struct evidence_summary *s,
                                               const struct evidence_summary_flow *flow)
{
    for (size_t i = 0; i < s->flow_count; i++) {
        struct evidence_summary_flow *known = &s->flows[i];
        if (known->hash == flow->hash && known->port == flow->port &&
            strcmp(known->destination, flow->destination) == 0 &&
            strcmp(known->protocol, flow->protocol) == 0)
            return known;
    }
    return NULL;
}

/* Adds up what is said of a destination, and keeps the largest. */
static void add_flow(struct evidence_summary *s, struct sr_json_slice payload)
{
    struct evidence_summary_flow flow = {.port = evidence_take_number(payload, "port"),
                                         .first_nsec = evidence_take_time(payload, "firstAt"),
                                         .last_nsec = evidence_take_time(payload, "lastAt")};
    evidence_take_text(payload, "protocol", flow.protocol, sizeof flow.protocol);
    evidence_take_text(payload, "destination", flow.destination, sizeof flow.destination);
    flow.hash = hash_of(flow.protocol, flow.destination, flow.port);
    add_to(&flow.packets, evidence_take_number(payload, "packets"));
    add_to(&s->flow_packets, (int64_t)flow.packets);
    struct evidence_summary_flow *known = find_flow(s, &flow);
    if (known != NULL) {
        add_to(&known->packets, (int64_t)flow.packets);
        if (flow.last_nsec > known->last_nsec)
            known->last_nsec = flow.last_nsec;
        return;
    }
    if (s->flow_count < EVIDENCE_SUMMARY_FLOWS) {
        s->flows[s->flow_count++] = flow;
        return;
    }
    struct evidence_summary_flow *least = &s->flows[0];
    for (size_t i = 1; i < EVIDENCE_SUMMARY_FLOWS; i++)
        if (s->flows[i].packets < least->packets)
            least = &s->flows[i];
    s->more_flows++;
    if (flow.packets <= least->packets) {
        add_to(&s->more_flow_packets, (int64_t)flow.packets);
    } else {
        add_to(&s->more_flow_packets, (int64_t)least->packets);
        *least = flow;
    }
}

static void add_frames(struct evidence_summary *s, struct sr_json_slice frames)
{
    if (!sr_json_is_object(frames))
        return;
    s->framed = true;
    s->frames_denied = 0;
    add_to(&s->frames_denied, evidence_take_number(frames, "denied"));
    evidence_drops_read(frames, s->dropped);
}

/* When there is no more room each two points become one, and from then on twice as many samples. */
static void merge_points(struct evidence_summary *s)
{
    for (size_t i = 0; i < EVIDENCE_SUMMARY_POINTS / 2; i++) {
        const struct evidence_summary_point a = s->points[2 * i], b = s->points[2 * i + 1];
        s->points[i] = b;
        if (a.memory_bytes > b.memory_bytes)
            s->points[i].memory_bytes = a.memory_bytes;
    }
    s->point_count = EVIDENCE_SUMMARY_POINTS / 2;
    s->points_each *= 2;
    s->points_held = s->points_each;
}

static void add_sample(struct evidence_summary *s, struct sr_json_slice payload, int64_t nsec)
{
    struct evidence_summary_point point = {.nsec = nsec};
    add_to(&point.cpu_usec, evidence_take_number(payload, "cpuUsageUsec"));
    add_to(&point.memory_bytes, evidence_take_number(payload, "memoryCurrentBytes"));
    evidence_take_text(payload, "source", s->sample_source, sizeof s->sample_source);
    s->cpu_usec = point.cpu_usec;
    if (point.memory_bytes > s->peak_memory_bytes)
        s->peak_memory_bytes = point.memory_bytes;
    if (nsec == 0)
        return; /* a time that nobody can read has no place on a chart */
    if (s->point_count > 0 && s->points_held < s->points_each) {
        struct evidence_summary_point *last = &s->points[s->point_count - 1];
        uint64_t most = last->memory_bytes;
        *last = point;
        if (most > last->memory_bytes)
            last->memory_bytes = most;
        s->points_held++;
        return;
    }
    if (s->point_count == EVIDENCE_SUMMARY_POINTS)
        merge_points(s);
    s->points[s->point_count++] = point;
    s->points_held = 1;
}

static void add_contradiction(struct evidence_summary *s, const char *about, const char *message)
{
    if (message[0] == '\0')
        return;
    for (size_t i = 0; i < s->contradiction_count; i++)
        if (strcmp(s->contradictions[i].about, about) == 0)
            return;
    if (s->contradiction_count == sizeof s->contradictions / sizeof s->contradictions[0])
        return;
    struct evidence_summary_contradiction *one = &s->contradictions[s->contradiction_count++];
    snprintf(one->about, sizeof one->about, "%s", about);
    snprintf(one->message, sizeof one->message, "%s", message);
}

static void add_exit(struct evidence_summary *s, struct sr_json_slice payload)
{
    struct sr_json_slice guest = sr_json_get(payload, "guest"), element,
                         list = sr_json_get(payload, "contradictions");
    s->vm_exited = true;
    s->timed_out = sr_json_is_true(sr_json_get(payload, "timedOut"));
    evidence_exit_facts_read(payload, &s->exit);
    s->vmm_cpu_usec = evidence_take_number(payload, "vmmCpuUsec");
    s->stdout_bytes = evidence_take_number(sr_json_get(payload, "stdout"), "bytes");
    s->stderr_bytes = evidence_take_number(sr_json_get(payload, "stderr"), "bytes");
    s->guest_exit_code = evidence_take_number(guest, "exitCode");
    s->guest_signal = evidence_take_number(guest, "signal");
    s->guest_oom_kills = evidence_take_number(guest, "oomKills");
    /* What follows from the numbers comes first, in its own words, and cannot be crowded out. */
    struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX];
    size_t count = evidence_contradictions(&s->exit, found);
    for (size_t i = 0; i < count; i++)
        add_contradiction(s, found[i].about, found[i].message);
    for (size_t at = 0; sr_json_is_array(list) && sr_json_next(list, &at, &element);) {
        struct evidence_summary_contradiction one;
        evidence_take_text(element, "about", one.about, sizeof one.about);
        evidence_take_text(element, "message", one.message, sizeof one.message);
        add_contradiction(s, one.about, one.message);
    }
}

static void add_step(struct evidence_summary *s, const struct evidence_event *event, int64_t nsec)
{
    struct evidence_summary_step *step =
        s->step_count < EVIDENCE_SUMMARY_FIRST_STEPS
            ? &s->first[s->step_count]
            : &s->last[(s->step_count - EVIDENCE_SUMMARY_FIRST_STEPS) %
                       EVIDENCE_SUMMARY_LAST_STEPS];
    s->step_count++;
    *step = (struct evidence_summary_step){.kind = event->kind, .nsec = nsec, .timed = nsec != 0};
    step->guest =
        sr_json_is(sr_json_get(event->payload, EVIDENCE_OBSERVED_BY), EVIDENCE_OBSERVED_GUEST);
    snprintf(step->stage, sizeof step->stage, "%.*s", (int)event->stage.len, event->stage.text);
    evidence_event_sentence(event->kind, event->payload, step->text, sizeof step->text);
}

static void add_prepared(struct evidence_summary *s, struct sr_json_slice payload)
{
    struct sr_json_slice runtime = sr_json_get(payload, "runtime"), element,
                         env = sr_json_get(runtime, "imageEnv");
    char pair[128];
    s->timeout_sec = evidence_take_number(payload, "timeoutSec");
    evidence_take_text(runtime, "user", s->ran_user, sizeof s->ran_user);
    evidence_take_text(runtime, "userFrom", s->ran_user_from, sizeof s->ran_user_from);
    evidence_take_text(runtime, "workdir", s->ran_workdir, sizeof s->ran_workdir);
    evidence_take_text(runtime, "workdirFrom", s->ran_workdir_from, sizeof s->ran_workdir_from);
    s->ran_image_env[0] = '\0';
    for (size_t at = 0; sr_json_is_array(env) && sr_json_next(env, &at, &element);) {
        evidence_take_string(element, pair, sizeof pair);
        if (!evidence_join_text(pair, s->ran_image_env, sizeof s->ran_image_env))
            break;
    }
    struct sr_json_slice secrets = sr_json_get(runtime, "envFrom");
    s->secret_count = 0;
    for (size_t at = 0; sr_json_is_array(secrets) && s->secret_count < SR_SECRETS_MAX &&
                        sr_json_next(secrets, &at, &element);) {
        struct evidence_summary_secret *secret = &s->secrets[s->secret_count++];
        evidence_take_text(element, "name", secret->name, sizeof secret->name);
        evidence_take_text(element, "from", secret->from, sizeof secret->from);
        evidence_take_text(element, "path", secret->path, sizeof secret->path);
        evidence_take_text(element, "hmac", secret->hmac, sizeof secret->hmac);
    }
}

int summary_event(void *context, uint64_t index, const struct sr_json_scan *scan, const char *text,
                  struct sr_error *err)
{
    struct summary_reader *reader = context;
    struct evidence_summary *s = reader->summary;
    struct evidence_event *event = &reader->event;
    struct evidence_event_fault fault;
    (void)index;
    (void)err;
    s->event_count++;
    if (evidence_event_parse(scan, text, event, &fault) < 0) {
        s->odd_events++;
        return 0;
    }
    int64_t nsec = evidence_event_nsec(event);
    s->counts[event->kind]++;
    if (s->first_nsec == 0)
        s->first_nsec = nsec;
    if (nsec > s->last_nsec)
        s->last_nsec = nsec;
    switch (event->kind) {
    case SR_EVENT_NETWORK_RULE_APPLIED:
        add_rule(s, event->payload);
        return 0;
    case SR_EVENT_NETWORK_RULE_HIT:
        add_hit(s, event->payload);
        return 0;
    case SR_EVENT_NETWORK_FLOW_DENIED:
        add_flow(s, event->payload);
        return 0;
    case SR_EVENT_RESOURCE_SAMPLED:
        add_sample(s, event->payload, nsec);
        return 0;
    case SR_EVENT_RUN_PREPARED:
        add_prepared(s, event->payload);
        break;
    case SR_EVENT_OUTPUT_COLLECTED:
        summary_take_output(s, event->payload);
        break;
    case SR_EVENT_NETWORK_RULE_RELEASED:
    case SR_EVENT_NETWORK_RULE_CLEANUP_FAILED:
        add_frames(s, sr_json_get(event->payload, "frames"));
        break;
    case SR_EVENT_VM_STARTED:
        s->vm_started_nsec = nsec;
        break;
    case SR_EVENT_VM_EXITED:
        s->vm_exited_nsec = nsec;
        add_exit(s, event->payload);
        break;
    case SR_EVENT_RUN_FAILED:
        evidence_take_text(event->payload, "errorCode", s->failure_code, sizeof s->failure_code);
        evidence_take_text(event->payload, "path", s->failure_path, sizeof s->failure_path);
        evidence_take_message(event->payload, s->failure, sizeof s->failure);
        break;
    default:
        break;
    }
    add_step(s, event, nsec);
    return 0;
}

static int by_packets(const void *a, const void *b)
{
    const struct evidence_summary_flow *x = a, *y = b;
    if (x->packets != y->packets)
        return x->packets < y->packets ? 1 : -1;
    int order = strcmp(x->destination, y->destination);
    return order != 0 ? order : (x->port > y->port) - (x->port < y->port);
}

void summary_events_end(struct evidence_summary *s)
{
    qsort(s->flows, s->flow_count, sizeof s->flows[0], by_packets);
}
