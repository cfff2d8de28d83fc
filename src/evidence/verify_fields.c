#include "evidence/verify.h"

#include "evidence/report.h"

#include <stdio.h>
#include <string.h>

enum kind {
    KIND_SCHEMA_VERSION,
    KIND_TEXT, /* a string that says something */
    KIND_STRING,
    KIND_HASH,
    KIND_INTEGER,
    KIND_COUNT, /* an integer, not negative */
    KIND_INTEGER_OR_NULL,
    KIND_CAUSE,
    KIND_OBSERVER, /* "host" or "guest" */
    KIND_OBJECT,
    KIND_HASHES, /* an object of hashes */
    KIND_EVENTS,
    KIND_TEXTS, /* an array of strings */
};

/* The fields of a report. An optional one may be absent, with all below it. */
static const struct field {
    const char *parent, *name; /* parent "" is the report */
    enum kind kind;
    bool optional;
} fields[] = {
    {"", "schemaVersion", KIND_SCHEMA_VERSION, false},
    {"", "runId", KIND_TEXT, false},
    {"", "startedAt", KIND_TEXT, false},
    {"", "finishedAt", KIND_TEXT, false},
    {"", "exitCode", KIND_INTEGER, false},
    {"", "artifacts", KIND_OBJECT, false},
    {"artifacts", "kernelHash", KIND_HASH, false},
    {"artifacts", "rootfsHash", KIND_HASH, false},
    {"artifacts", "policyHash", KIND_HASH, false},
    {"artifacts", "commandHash", KIND_HASH, false},
    {"artifacts", "files", KIND_HASHES, true},
    {"", "policySummary", KIND_OBJECT, false},
    {"policySummary", "name", KIND_TEXT, true},
    {"policySummary", "network", KIND_TEXT, false},
    {"policySummary", "mounts", KIND_COUNT, false},
    {"", "resourceUsage", KIND_OBJECT, false},
    {"resourceUsage", "cpu", KIND_TEXT, false},
    {"resourceUsage", "memory", KIND_TEXT, false},
    {"", "events", KIND_EVENTS, false},
    {"", "mountAudit", KIND_OBJECT, false},
    {"mountAudit", "requested", KIND_COUNT, false},
    {"mountAudit", "accepted", KIND_COUNT, false},
    {"mountAudit", "rejected", KIND_COUNT, false},
    {"mountAudit", "reasons", KIND_TEXTS, false},
    {"", "networkAudit", KIND_OBJECT, false},
    {"networkAudit", "mode", KIND_TEXT, false},
    {"networkAudit", "rulesTotal", KIND_COUNT, false},
    {"networkAudit", "allowedHits", KIND_COUNT, false},
    {"networkAudit", "blockedHits", KIND_COUNT, false},
    {"networkAudit", "denied", KIND_COUNT, true},
    {"networkAudit", "dropped", KIND_OBJECT, true},
    {"", "integrity", KIND_OBJECT, false},
    {"integrity", "digest", KIND_HASH, false},
    {"integrity", "canonicalization", KIND_TEXT, true},
    {"integrity", EVIDENCE_OBSERVERS, KIND_TEXT, true},
    {"", "exit", KIND_OBJECT, true},
    {"exit", "cause", KIND_CAUSE, false},
    {"exit", "code", KIND_INTEGER_OR_NULL, true},
    {"exit", "signal", KIND_INTEGER_OR_NULL, true},
    {"exit", EVIDENCE_OBSERVED_BY, KIND_OBSERVER, true},
    {"exit", EVIDENCE_CODE_OBSERVED_BY, KIND_OBSERVER, true},
    {"exit", EVIDENCE_SIGNAL_OBSERVED_BY, KIND_OBSERVER, true},
    {"exit", "guest", KIND_OBJECT, true},
    {"", EVIDENCE_EXIT_CODE_OBSERVED_BY, KIND_OBSERVER, true},
    {"", EVIDENCE_OBSERVED_BY, KIND_OBSERVER, true},
    {"", "assurance", KIND_OBJECT, true},
    {"assurance", "vmm", KIND_STRING, true},
    {"assurance", "vmmVersion", KIND_STRING, true},
    {"assurance", "accel", KIND_STRING, true},
    {"assurance", "jail", KIND_STRING, true},
    {"assurance", "uplink", KIND_STRING, true},
    {"assurance", "limits", KIND_OBJECT, true},
    {"assurance", "safeRunVersion", KIND_STRING, true},
    {"", "archive", KIND_OBJECT, true},
    {"archive", "bundleId", KIND_TEXT, true},
    {"archive", "storedAt", KIND_TEXT, true},
    {"archive", "retention", KIND_TEXT, true},
    {"", "verification", KIND_OBJECT, true},
    {"verification", "algorithm", KIND_TEXT, true},
    {"verification", "verifiedAt", KIND_TEXT, true},
    {"verification", "result", KIND_TEXT, true},
};
enum { FIELD_COUNT = sizeof fields / sizeof fields[0] };

static bool is_cause(struct sr_json_slice value)
{
    static const char *const causes[] = {"workload", "timeout", "interrupted", "guest-oom",
                                         "host-oom", "vmm",     "setup",       "cleanup"};
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++)
        if (sr_json_is(value, causes[i]))
            return true;
    return false;
}

static bool all_strings(struct sr_json_slice array)
{
    struct sr_json_slice element;
    for (size_t at = 0; sr_json_next(array, &at, &element);)
        if (!sr_json_is_string(element))
            return false;
    return true;
}

/* What the field should be, or NULL when it is that. */
static const char *expected_kind(enum kind kind, struct sr_json_slice value)
{
    int64_t number;
    bool integer = sr_json_integer(value, &number);
    switch (kind) {
    case KIND_SCHEMA_VERSION:
        return sr_json_is(value, EVIDENCE_REPORT_SCHEMA) ? NULL : "\"" EVIDENCE_REPORT_SCHEMA "\"";
    case KIND_TEXT:
        return sr_json_is_string(value) && value.len > 2 ? NULL : "a string that is not empty";
    case KIND_STRING:
    case KIND_HASH:
        return sr_json_is_string(value) ? NULL : "a string";
    case KIND_INTEGER:
        return integer ? NULL : "an integer";
    case KIND_COUNT:
        return integer && number >= 0 ? NULL : "an integer, not negative";
    case KIND_INTEGER_OR_NULL:
        return integer || sr_json_is_null(value) ? NULL : "an integer or null";
    case KIND_CAUSE:
        return is_cause(value) ? NULL : "a cause of the contract";
    case KIND_OBSERVER:
        return sr_json_is(value, EVIDENCE_OBSERVED_HOST) ||
                       sr_json_is(value, EVIDENCE_OBSERVED_GUEST)
                   ? NULL
                   : "\"host\" or \"guest\"";
    case KIND_OBJECT:
    case KIND_HASHES:
        return sr_json_is_object(value) ? NULL : "an object";
    case KIND_EVENTS:
        return "an array";
    case KIND_TEXTS:
        return sr_json_is_array(value) && all_strings(value) ? NULL : "an array of strings";
    }
    return NULL;
}

static void check_hash(struct verify *v, const char *path, struct sr_json_slice value)
{
    char found[SHOWN_SIZE];
    if (!evidence_is_hash(value))
        verify_error(v, CHECK_ARTIFACT_HASH, SR_EVD_302, path,
                     "expected sha256: and 64 lower-case hexadecimal digits, found %s",
                     verify_show(value, found));
}

/* Every member of an object is a hash. */
static void check_hashes(struct verify *v, const char *path, struct sr_json_slice object)
{
    struct sr_json_member member;
    char below[200], shown[SHOWN_SIZE];
    for (size_t at = 0; sr_json_next_member(object, &at, &member);) {
        snprintf(below, sizeof below, "%s[\"%s\"]", path, verify_show(member.key, shown));
        if (sr_json_is_string(member.value))
            check_hash(v, below, member.value);
        else
            verify_error(v, CHECK_SCHEMA, SR_EVD_301, below, "expected a string");
    }
}

static void check_field(struct verify *v, const struct field *field)
{
    if (field->kind == KIND_EVENTS && v->walk.has_events)
        return; /* an array: the walk has been through it */
    if (field->parent[0] != '\0' &&
        !sr_json_is_object(evidence_report_member(&v->walk, field->parent)))
        return; /* the parent has its own error, or is optional */
    struct sr_json_slice value = verify_field(v, field->parent, field->name);
    char path[64], found[SHOWN_SIZE];
    snprintf(path, sizeof path, "%s%s%s", field->parent, field->parent[0] != '\0' ? "." : "",
             field->name);
    if (value.len == 0) {
        if (!field->optional)
            verify_error(v, CHECK_SCHEMA, SR_EVD_301, path, "is missing");
        return;
    }
    const char *expected = expected_kind(field->kind, value);
    if (expected != NULL)
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, path, "expected %s, found %s", expected,
                     verify_show(value, found));
    else if (field->kind == KIND_HASH)
        check_hash(v, path, value);
    else if (field->kind == KIND_HASHES)
        check_hashes(v, path, value);
}

void verify_fields(struct verify *v)
{
    for (int i = 0; i < FIELD_COUNT; i++)
        check_field(v, &fields[i]);
    if (v->walk.odd_number[0] != '\0')
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, v->walk.odd_number,
                     "a number that is not an integer within 2^53 - 1");
    struct sr_json_slice digest = verify_field(v, "integrity", "digest");
    char found[SHOWN_SIZE];
    if (!sr_json_is(digest, v->walk.digest))
        verify_error(v, CHECK_ARTIFACT_HASH, SR_EVD_302, "integrity.digest",
                     "expected %s, found %s", v->walk.digest, verify_show(digest, found));
}

/* ---- sums ---- */

/* The value of a sum in the report must be what follows from the events. */
static void check_sum(struct verify *v, const char *parent, const char *name,
                      struct sr_json_slice computed)
{
    struct sr_json_slice expected = sr_json_get(computed, name);
    struct sr_json_slice found = verify_field(v, parent, name);
    if (found.len == 0 || /* the schema has said so */
        (found.len == expected.len && memcmp(found.text, expected.text, found.len) == 0))
        return;
    char path[64], should[SHOWN_SIZE], is[SHOWN_SIZE];
    snprintf(path, sizeof path, "%s.%s", parent, name);
    verify_error(v, CHECK_AGGREGATES, SR_EVD_303, path, "expected %s by the events, found %s",
                 verify_show(expected, should), verify_show(found, is));
}

static struct sr_json_slice slice_of(const struct sr_buf *buf)
{
    return (struct sr_json_slice){buf->data, buf->len};
}

static void check_mounts(struct verify *v)
{
    sr_cleanup_buf struct sr_buf mounts = SR_BUF_INIT;
    evidence_aggregate_mounts(&v->aggregate, &mounts);
    if (!sr_buf_ok(&mounts)) {
        v->no_memory = true;
        return;
    }
    check_sum(v, "mountAudit", "requested", slice_of(&mounts));
    check_sum(v, "mountAudit", "accepted", slice_of(&mounts));
    check_sum(v, "mountAudit", "rejected", slice_of(&mounts));
    check_sum(v, "mountAudit", "reasons", slice_of(&mounts));
}

/* What was stopped, in a report that has it: by the events that name destinations, and by the
 * counters behind those. */
static void check_denied(struct verify *v, struct sr_json_slice computed)
{
    static const char *const names[] = {"denied", "dropped"};
    const struct evidence_aggregate *events = &v->aggregate;
    char path[64];
    for (size_t i = 0; i < 2; i++) {
        check_sum(v, "networkAudit", names[i], computed);
        snprintf(path, sizeof path, "networkAudit.%s", names[i]);
        if (verify_is_fielded(v) && verify_field(v, "networkAudit", names[i]).len == 0 &&
            sr_json_get(computed, names[i]).len > 0)
            verify_error(v, CHECK_SCHEMA, SR_EVD_301, path, "is missing");
    }
    if (verify_is_fielded(v) && events->framed && events->denied != events->frames_denied)
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, "events",
                     "the counters say that %llu packets were denied, network.flow.denied tells "
                     "of %llu",
                     (unsigned long long)events->frames_denied, (unsigned long long)events->denied);
}

static void check_network(struct verify *v)
{
    const struct evidence_aggregate *events = &v->aggregate;
    /* Where no event says otherwise the policy does, of which the report has the mode. */
    bool allowlist = sr_json_is(verify_field(v, "policySummary", "network"), "allowlist");
    int64_t rules = 0;
    if (allowlist)
        (void)sr_json_integer(verify_field(v, "networkAudit", "rulesTotal"), &rules);
    sr_cleanup_buf struct sr_buf network = SR_BUF_INIT;
    evidence_aggregate_network(events, allowlist ? "allowlist" : "none",
                               (uint64_t)(rules > 0 ? rules : 0), &network);
    if (!sr_buf_ok(&network)) {
        v->no_memory = true;
        return;
    }
    if (v->sealed || events->hits_seen > 0) {
        check_sum(v, "networkAudit", "allowedHits", slice_of(&network));
        check_sum(v, "networkAudit", "blockedHits", slice_of(&network));
    }
    check_denied(v, slice_of(&network));
    if (v->sealed || events->planned) {
        check_sum(v, "networkAudit", "mode", slice_of(&network));
        check_sum(v, "networkAudit", "rulesTotal", slice_of(&network));
    }
}

static void check_resources(struct verify *v)
{
    sr_cleanup_buf struct sr_buf resources = SR_BUF_INIT;
    evidence_aggregate_resources(&v->aggregate, &resources);
    if (!sr_buf_ok(&resources)) {
        v->no_memory = true;
        return;
    }
    check_sum(v, "resourceUsage", "cpu", slice_of(&resources));
    check_sum(v, "resourceUsage", "memory", slice_of(&resources));
}

void verify_aggregates(struct verify *v)
{
    const struct evidence_aggregate *events = &v->aggregate;
    v->wanted[CHECK_AGGREGATES] = true;
    if (events->event_count != v->walk.event_count) {
        verify_note(v, CHECK_AGGREGATES, "not decided: some events could not be read");
        v->checks[CHECK_AGGREGATES].ok = false;
        return;
    }
    /* What an older writer's events do not tell is not held against it. */
    if (!v->sealed && events->lacking) {
        verify_note(v, CHECK_AGGREGATES, "events lack fields that the sums follow from");
        return;
    }
    if (v->sealed)
        check_mounts(v);
    check_network(v);
    if (v->sealed || events->samples > 0)
        check_resources(v);
    if (v->sealed)
        verify_outcome(v);
}
