/*
 * What a sealed report says of its run beside the sums, against its events: how the run ended and
 * who saw it, when it was, of which policy and artefacts. src/runner/outcome.c and close.c write
 * it; what follows from their rules is recomputed here.
 *
 * Three ends of a chain are told apart:
 *   run.cleaned  the command's end was the run's: cause workload, guest-oom, or interrupted by a
 *                signal that was passed on to it
 *   run.failed   its reason is the cause
 *   run.failed at monitor.supervisor  safe-run died and a later one closed the run: what the events
 *   before tell of an end is not
 *                in the report
 *
 * The first sealed reports do not say who saw what; what they do not tell is not asked for.
 * Those since ("observed") say it in every event, so that a fact that was taken out is missed.
 */
#include "evidence/verify.h"

#include "evidence/contradiction.h"
#include "evidence/event.h"
#include "saferun/run.h"

#include <string.h>

enum { PATH_SIZE = 96 };

void verify_told_take(struct verify *v, uint64_t index)
{
    struct verify_told *told = &v->told;
    enum sr_event_type kind = v->event.kind;
    bool closer = kind == SR_EVENT_RUN_FAILED &&
                  sr_json_is(sr_json_get(v->event.payload, "path"), "monitor.supervisor");
    if (closer)
        ; /* who closed the run, perhaps one of a later generation */
    else if (sr_json_get(v->event.payload, EVIDENCE_OBSERVED_BY).len > 0)
        told->observed++;
    else if (told->silent++ == 0)
        told->silent_at = index;
    if (!closer)
        verify_observers_take(v, index);
    if (told->ended && kind != SR_EVENT_RUN_FAILED && told->late++ == 0)
        told->late_at = index;
    told->ended = told->ended || kind == SR_EVENT_RUN_CLEANED || kind == SR_EVENT_RUN_FAILED;
    if (kind == SR_EVENT_COMPILE)
        verify_told_keep(v, TOLD_COMPILE, index);
    else if (kind == SR_EVENT_VM_STARTED)
        verify_told_keep(v, TOLD_STARTED, index);
    else if (kind == SR_EVENT_VM_EXITED)
        verify_told_keep(v, TOLD_EXITED, index);
    else if (kind == SR_EVENT_RUN_FAILED)
        verify_told_keep(v, TOLD_FAILED, index);
}

static const char *place(char path[PATH_SIZE], const struct verify *v, enum told_kind kind,
                         const char *field)
{
    snprintf(path, PATH_SIZE, "events[%llu].payload.%s", (unsigned long long)v->told.of[kind].index,
             field);
    return path;
}

static bool same(struct sr_json_slice a, struct sr_json_slice b)
{
    return a.len == b.len && memcmp(a.text, b.text, a.len) == 0;
}

/* A count; -1 when it is none. */
static int64_t count(struct sr_json_slice object, const char *name)
{
    int64_t number;
    return sr_json_integer(sr_json_get(object, name), &number) && number >= 0 ? number : -1;
}

/* ---- what a report of its generation does not lack ---- */

static void check_exited_members(struct verify *v)
{
    static const char *const counts[] = {"hostOomKills", "guestRamBytes", "sampleCount", "vcpus",
                                         "wallUsec"};
    static const char *const of_vmm[] = {"signal", "status"};
    static const char *const of_guest[] = {"exitCode", "maxRssKib",  "oomKills",
                                           "signal",   "systemUsec", "userUsec"};
    static const char why[] = "a vm.exited of an observed report has it";
    struct sr_json_slice exited = verify_told(v, TOLD_EXITED), guest = sr_json_get(exited, "guest"),
                         vmm = sr_json_get(exited, "vmm"),
                         timed_out = sr_json_get(exited, "timedOut");
    char path[PATH_SIZE], field[32];
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (count(exited, counts[i]) < 0)
            verify_missing(v, place(path, v, TOLD_EXITED, counts[i]), why);
    /* A VMM that could not be waited for: all three are null. */
    bool unknown = sr_json_is_null(sr_json_get(exited, "vmmCpuUsec")) &&
                   sr_json_is_null(sr_json_get(vmm, "status")) &&
                   sr_json_is_null(sr_json_get(vmm, "signal"));
    for (size_t i = 0; !unknown && i < sizeof of_vmm / sizeof of_vmm[0]; i++) {
        snprintf(field, sizeof field, "vmm.%s", of_vmm[i]);
        if (count(vmm, of_vmm[i]) < 0)
            verify_missing(v, place(path, v, TOLD_EXITED, field), why);
    }
    for (size_t i = 0; guest.len > 0 && i < sizeof of_guest / sizeof of_guest[0]; i++) {
        snprintf(field, sizeof field, "guest.%s", of_guest[i]);
        if (count(guest, of_guest[i]) < 0)
            verify_missing(v, place(path, v, TOLD_EXITED, field), why);
    }
    if (!sr_json_is_string(sr_json_get(vmm, "endedBy")))
        verify_missing(v, place(path, v, TOLD_EXITED, "vmm.endedBy"), why);
    if (!sr_json_is_true(timed_out) && timed_out.len != sizeof "false" - 1)
        verify_missing(v, place(path, v, TOLD_EXITED, "timedOut"), why);
    if (!sr_json_is_array(sr_json_get(exited, "contradictions")))
        verify_missing(v, place(path, v, TOLD_EXITED, "contradictions"), why);
}

static const char *const duration_names[] = {"bootUsec", "commandUsec", "collectUsec", "endUsec",
                                             "wallUsec"};
enum { DURATIONS = sizeof duration_names / sizeof duration_names[0] };

/* Durations and limits came together. */
static void check_timed_members(struct verify *v)
{
    static const char *const limits[] = {"timeoutSec", "graceUsec", "collectUsec", "endUsec"};
    static const char why[] = "a vm.exited with durations or limits has it";
    struct sr_json_slice took = sr_json_get(verify_told(v, TOLD_EXITED), "durations"),
                         may = sr_json_get(verify_told(v, TOLD_EXITED), "limits");
    char path[PATH_SIZE], field[32];
    for (size_t i = 0; (took.len > 0 || may.len > 0) && i < DURATIONS; i++) {
        snprintf(field, sizeof field, "durations.%s", duration_names[i]);
        if (count(took, duration_names[i]) < 0)
            verify_missing(v, place(path, v, TOLD_EXITED, field), why);
    }
    for (size_t i = 0; (took.len > 0 || may.len > 0) && i < sizeof limits / sizeof limits[0]; i++) {
        snprintf(field, sizeof field, "limits.%s", limits[i]);
        if (count(may, limits[i]) < 0)
            verify_missing(v, place(path, v, TOLD_EXITED, field), why);
    }
}

static void check_generation(struct verify *v, bool observed)
{
    static const char *const sealed[] = {"assurance", "exit"};
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof sealed / sizeof sealed[0]; i++)
        if (verify_field(v, "", sealed[i]).len == 0)
            verify_missing(v, sealed[i], "a sealed report has it");
    if (!observed)
        return;
    if (verify_field(v, "", EVIDENCE_OBSERVED_BY).len == 0)
        verify_missing(v, EVIDENCE_OBSERVED_BY, "the report's events say who saw them");
    if (v->told.silent > 0) {
        snprintf(path, sizeof path, "events[%llu].payload." EVIDENCE_OBSERVED_BY,
                 (unsigned long long)v->told.silent_at);
        verify_missing(v, path, "every event of an observed report has it");
    }
    if (v->told.of[TOLD_EXITED].count > 0) {
        check_exited_members(v);
        check_timed_members(v);
    }
}

/* ---- the chain's order, times ---- */

static void check_order(struct verify *v)
{
    const struct told_event *of = v->told.of;
    char path[PATH_SIZE];
    if (v->told.late > 0) {
        snprintf(path, sizeof path, "events[%llu].type", (unsigned long long)v->told.late_at);
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, path,
                     "expected nothing but run.failed behind run.cleaned or run.failed");
    }
    if (of[TOLD_EXITED].count > 1) {
        snprintf(path, sizeof path, "events[%llu].type", (unsigned long long)of[TOLD_EXITED].index);
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, path, "expected one vm.exited, found %llu",
                     (unsigned long long)of[TOLD_EXITED].count);
    }
    if (of[TOLD_EXITED].count > 0 && of[TOLD_STARTED].count == 0)
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, "events",
                     "expected vm.started, as there is vm.exited");
    if (of[TOLD_STARTED].count > 0 && of[TOLD_COMPILE].count == 0)
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, "events",
                     "expected compile, as there is vm.started");
}

/* startedAt is not after the first event, finishedAt not before the last. Times of sealed events
 * are known to be ours and to rise. */
static void check_times(struct verify *v)
{
    struct sr_json_slice started = verify_field(v, "", "startedAt"),
                         finished = verify_field(v, "", "finishedAt");
    const size_t len = SR_TIMESTAMP_TEXT - 1;
    char expected[64];
    int64_t nsec;
    if (!v->time_known)
        return;
    snprintf(expected, sizeof expected, "a time not after %s", v->first_time);
    if (sr_json_is_string(started) &&
        (!sr_timestamp_parse(started.text + 1, started.len - 2, &nsec) ||
         memcmp(started.text + 1, v->first_time, len) > 0))
        verify_differs(v, "startedAt", expected, started);
    snprintf(expected, sizeof expected, "a time not before %s", v->last_time);
    if (sr_json_is_string(finished) &&
        (!sr_timestamp_parse(finished.text + 1, finished.len - 2, &nsec) ||
         memcmp(finished.text + 1, v->last_time, len) < 0))
        verify_differs(v, "finishedAt", expected, finished);
}

/* ---- policy and artefacts ---- */

static void check_hash(struct verify *v, enum told_kind kind, const char *name)
{
    struct sr_json_slice expected = sr_json_get(verify_told(v, kind), name),
                         found = verify_field(v, "artifacts", name);
    char path[PATH_SIZE], shown[SHOWN_SIZE];
    snprintf(path, sizeof path, "artifacts.%s", name);
    if (expected.len > 0 && !same(expected, found))
        verify_differs(v, path, verify_show(expected, shown), found);
}

static void check_policy(struct verify *v, bool closed)
{
    const struct evidence_aggregate *events = &v->aggregate;
    struct sr_json_slice mode = verify_field(v, "policySummary", "network"),
                         plan = {events->mode.data, events->mode.len},
                         mounts = verify_field(v, "policySummary", "mounts");
    char expected[64], shown[SHOWN_SIZE];
    check_hash(v, TOLD_COMPILE, "policyHash");
    check_hash(v, TOLD_COMPILE, "commandHash");
    check_hash(v, TOLD_STARTED, "kernelHash");
    check_hash(v, TOLD_STARTED, "rootfsHash");
    /* Who closed a run may not have had its policy any more. */
    if (closed && sr_json_get(verify_field(v, "artifacts", "files"), "policy.json").len == 0)
        return;
    if (plan.len > 0 && !same(mode, plan))
        verify_differs(v, "policySummary.network", verify_show(plan, shown), mode);
    uint64_t seen = events->validated + events->rejected;
    int64_t number;
    bool all = v->told.of[TOLD_STARTED].count > 0; /* no VM starts before the last was looked at */
    if (!sr_json_integer(mounts, &number) || number < 0)
        return; /* the schema has said so */
    snprintf(expected, sizeof expected, "%s%llu", all ? "" : "at least ", (unsigned long long)seen);
    if ((uint64_t)number < seen || (all && (uint64_t)number > seen))
        verify_differs(v, "policySummary.mounts", expected, mounts);
}

/* ---- the end ---- */

struct outcome {
    bool observed, fielded, failed, closed;
    struct sr_json_slice cause, exited, failure, guest;
    bool of_command;      /* the cause is that the command ended */
    int64_t code, signal; /* of the command, -1: none */
    bool known;           /* the events say so */
};

static bool is_cause(const struct outcome *o, const char *cause)
{
    return sr_json_is(o->cause, cause);
}

/* What the events tell of the command's end. Before the guest's word was kept apart, it was in exit
 * alone. */
static void take_status(const struct verify *v, struct outcome *o)
{
    o->known = o->observed || o->closed || o->exited.len == 0;
    o->code = o->signal = -1;
    if (o->closed)
        return;
    if (!o->known) {
        o->code = count(verify_field(v, "", "exit"), "code");
        o->signal = count(verify_field(v, "", "exit"), "signal");
    } else if (o->guest.len > 0) {
        o->signal = count(o->guest, "signal") > 0 ? count(o->guest, "signal") : -1;
        o->code = o->signal < 0 ? count(o->guest, "exitCode") : -1;
    }
}

/* Its supervisor died, and a later one wrote the end. */
static bool is_closed(const struct verify *v)
{
    struct sr_json_slice failure = verify_told(v, TOLD_FAILED);
    return v->aggregate.last == SR_EVENT_RUN_FAILED &&
           sr_json_is(sr_json_get(failure, "reason"), "interrupted") &&
           sr_json_is(sr_json_get(failure, "path"), "monitor.supervisor");
}

static struct outcome read_outcome(const struct verify *v, bool observed)
{
    struct outcome o = {.observed = observed,
                        .fielded = verify_is_fielded(v),
                        .failed = v->aggregate.last == SR_EVENT_RUN_FAILED,
                        .cause = verify_field(v, "exit", "cause"),
                        .exited = verify_told(v, TOLD_EXITED),
                        .failure = verify_told(v, TOLD_FAILED)};
    o.closed = is_closed(v);
    o.guest = sr_json_get(o.exited, "guest");
    o.of_command = is_cause(&o, "workload") || is_cause(&o, "guest-oom") ||
                   (is_cause(&o, "interrupted") && !o.failed);
    take_status(v, &o);
    return o;
}

/* Why the cause cannot be, by the events; NULL: it can. */
static const char *cause_fault(const struct verify *v, const struct outcome *o)
{
    bool timeout = is_cause(o, "timeout"), host_oom = is_cause(o, "host-oom"),
         timed_out = sr_json_is_true(sr_json_get(o->exited, "timedOut"));
    if (o->failed && !same(o->cause, sr_json_get(o->failure, "reason")))
        return "run.failed has another reason";
    if (!o->failed && !o->of_command)
        return "a run that ended so ends with run.failed";
    if (o->closed)
        return NULL;
    if (o->exited.len == 0)
        return o->of_command || timeout || host_oom || v->told.of[TOLD_STARTED].count > 0
                   ? "there is no vm.exited"
                   : NULL;
    if (timeout && !timed_out)
        return "vm.exited.timedOut is false";
    if (o->of_command && timed_out)
        return "vm.exited.timedOut is true";
    if (host_oom && count(o->exited, "hostOomKills") == 0)
        return "vm.exited.hostOomKills is 0";
    if (o->of_command && o->observed && o->guest.len == 0)
        return "vm.exited has no word of the guest";
    bool oom = o->guest.len > 0 && o->signal == 9 && count(o->guest, "oomKills") > 0;
    if (o->guest.len > 0 && is_cause(o, oom ? "workload" : "guest-oom"))
        return oom ? "the guest reports that the command was killed for memory"
                   : "the guest does not report that the command was killed for memory";
    return NULL;
}

static void check_number(struct verify *v, const char *name, int64_t expected)
{
    struct sr_json_slice found = verify_field(v, "exit", name);
    char path[PATH_SIZE], text[24] = "null";
    int64_t number;
    if (expected >= 0)
        snprintf(text, sizeof text, "%lld", (long long)expected);
    snprintf(path, sizeof path, "exit.%s", name);
    if (expected < 0 ? !sr_json_is_null(found)
                     : !sr_json_integer(found, &number) || number != expected)
        verify_differs(v, path, text, found);
}

/* The exit statuses that safe-run can have ended with: from *low to *high. */
static void status_range(const struct outcome *o, bool guests_word, int64_t *low, int64_t *high)
{
    *low = *high = SR_EXIT_FAILED;
    if (o->closed)
        return;
    if (o->of_command) {
        *low = *high = o->signal > 0 ? 128 + o->signal : o->code;
        if (o->failed && *low == 0) /* its outputs could not be had */
            *low = *high = SR_EXIT_FAILED;
    } else if (is_cause(o, "timeout")) {
        *low = *high = SR_EXIT_TIMEOUT;
    } else if (is_cause(o, "interrupted")) { /* by a signal to safe-run */
        *low = 129;
        *high = 128 + 64;
    } else if (is_cause(o, "setup") && guests_word) {
        *high = SR_EXIT_NOT_FOUND;
    }
}

static void check_status(struct verify *v, const char *path, struct sr_json_slice found,
                         int64_t low, int64_t high)
{
    char expected[48];
    int64_t number;
    snprintf(expected, sizeof expected, low == high ? "%lld" : "%lld to %lld", (long long)low,
             (long long)high);
    if (!sr_json_integer(found, &number) || number < low || number > high)
        verify_differs(v, path, expected, found);
}

static const char *named(bool guest)
{
    return guest ? EVIDENCE_OBSERVED_GUEST : EVIDENCE_OBSERVED_HOST;
}

static bool failure_is_guests(const struct outcome *o, const char *field)
{
    return sr_json_is(sr_json_get(o->failure, field), EVIDENCE_OBSERVED_GUEST);
}

/* Who saw how the run ended; a set-up may have failed on either side, and run.failed says on
 * which. */
static const char *observer(const struct outcome *o)
{
    const char *field =
        o->fielded && !o->closed ? EVIDENCE_REASON_OBSERVED_BY : EVIDENCE_OBSERVED_BY;
    return named(is_cause(o, "setup") ? failure_is_guests(o, field) : o->of_command);
}

/* Whose word the exit status is. When the command's own was 0, it was an output that could not be
 * had. */
static const char *status_observer(const struct outcome *o)
{
    if (o->of_command && o->failed && o->signal <= 0 && o->code == 0)
        return named(failure_is_guests(o, EVIDENCE_OBSERVED_BY));
    return o->closed ? EVIDENCE_OBSERVED_HOST : observer(o);
}

static void check_observer(struct verify *v, const char *path, const char *expected,
                           struct sr_json_slice found)
{
    if (!sr_json_is(found, expected))
        verify_differs(v, path, expected, found);
}

/* Older reports say of run.failed, and of the exit status, what they say of the cause. */
static void check_observers(struct verify *v, const struct outcome *o, bool carried)
{
    const char *who = observer(o), *whose = o->fielded ? status_observer(o) : who,
               *failed_by =
                   o->fielded && !o->closed ? EVIDENCE_REASON_OBSERVED_BY : EVIDENCE_OBSERVED_BY;
    char path[PATH_SIZE];
    check_observer(v, "exit." EVIDENCE_OBSERVED_BY, who,
                   verify_field(v, "exit", EVIDENCE_OBSERVED_BY));
    if (o->fielded)
        check_observer(v, EVIDENCE_EXIT_CODE_OBSERVED_BY, whose,
                       verify_field(v, "", EVIDENCE_EXIT_CODE_OBSERVED_BY));
    if (o->failed)
        check_observer(v, place(path, v, TOLD_FAILED, failed_by), who,
                       sr_json_get(o->failure, failed_by));
    if (carried)
        check_observer(v, place(path, v, TOLD_EXITED, EVIDENCE_EXIT_OBSERVED_BY), whose,
                       sr_json_get(o->exited, EVIDENCE_EXIT_OBSERVED_BY));
}

static void check_exit(struct verify *v, const struct outcome *o)
{
    const char *fault = cause_fault(v, o);
    char path[PATH_SIZE], shown[SHOWN_SIZE];
    if (fault != NULL) { /* what else would follow from it is of no use */
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, "exit.cause",
                     "cannot be %s by the events: %s", verify_show(o->cause, shown), fault);
        return;
    }
    /* What ended a run whose network could not be released then, or that was closed, is only in
     * vm.exited. */
    bool carried = o->exited.len > 0 && !o->closed && !is_cause(o, "cleanup");
    bool guests_word = !o->observed || strcmp(observer(o), EVIDENCE_OBSERVED_GUEST) == 0;
    int64_t low, high;
    if (o->known) {
        check_number(v, "code", o->code);
        check_number(v, "signal", o->signal);
    }
    status_range(o, guests_word, &low, &high);
    struct sr_json_slice status = verify_field(v, "", "exitCode"),
                         in_event = sr_json_get(o->exited, "exitCode");
    check_status(v, "exitCode", status, low, high);
    if (carried) {
        place(path, v, TOLD_EXITED, "exitCode");
        check_status(v, path, in_event, low, high);
        if (low < high && !same(status, in_event))
            verify_differs(v, "exitCode", verify_show(in_event, shown), status);
    }
    if (o->observed)
        check_observers(v, o, carried);
}

static void check_samples(struct verify *v)
{
    struct sr_json_slice found = sr_json_get(verify_told(v, TOLD_EXITED), "sampleCount");
    char path[PATH_SIZE], expected[24];
    int64_t number;
    snprintf(expected, sizeof expected, "%llu", (unsigned long long)v->aggregate.samples);
    if (sr_json_integer(found, &number) && number != (int64_t)v->aggregate.samples)
        verify_differs(v, place(path, v, TOLD_EXITED, "sampleCount"), expected, found);
}

/* The phases make up the life of the VM; each is rounded down. */
static void check_durations(struct verify *v)
{
    struct sr_json_slice took = sr_json_get(verify_told(v, TOLD_EXITED), "durations");
    char path[PATH_SIZE], expected[48];
    int64_t sum = 0, wall = count(took, duration_names[DURATIONS - 1]);
    for (size_t i = 0; i + 1 < DURATIONS; i++) {
        int64_t part = count(took, duration_names[i]);
        if (part < 0 || wall < 0) /* the schema has said so, or there are none */
            return;
        sum += part; /* four of at most 2^53 */
    }
    snprintf(expected, sizeof expected, "%lld to %lld", (long long)sum, (long long)sum + 4);
    if (wall < sum || wall > sum + 4)
        verify_differs(v, place(path, v, TOLD_EXITED, "durations.wallUsec"), expected,
                       sr_json_get(took, "wallUsec"));
}

/* ---- contradictions ---- */

static int64_t written(uint64_t number)
{
    return number > SR_JSON_MAX_INTEGER ? SR_JSON_MAX_INTEGER : (int64_t)number;
}

/* Whether an element of the list records this contradiction, in the words of contradiction.c. */
static bool records(struct sr_json_slice element, const struct evidence_contradiction *found)
{
    return sr_json_is(sr_json_get(element, "about"), found->about) &&
           count(element, found->names[0]) == written(found->values[0]) &&
           count(element, found->names[1]) == written(found->values[1]) &&
           sr_json_is(sr_json_get(element, "message"), found->message);
}

/* The list must record every contradiction that follows from the event's numbers. It may have more,
 * of a later writer that finds more. */
static void check_contradictions(struct verify *v)
{
    struct evidence_exit_facts facts = {0};
    struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX];
    struct sr_json_slice element, list = sr_json_get(verify_told(v, TOLD_EXITED), "contradictions");
    char path[PATH_SIZE];
    evidence_exit_facts_read(verify_told(v, TOLD_EXITED), &facts);
    for (size_t i = evidence_contradictions(&facts, found); i-- > 0;) {
        bool recorded = false;
        for (size_t at = 0; sr_json_is_array(list) && sr_json_next(list, &at, &element);)
            recorded = recorded || records(element, &found[i]);
        if (!recorded)
            verify_error(v, CHECK_AGGREGATES, SR_EVD_303,
                         place(path, v, TOLD_EXITED, "contradictions"), "leaves out \"%s\": %s",
                         found[i].about, found[i].message);
    }
}

/* Does anything in what the run wrote say who saw it? */
static bool is_observed(const struct verify *v)
{
    /* What no vm.exited of the first sealed reports has. */
    static const char *const members[] = {"contradictions", "exitObservedBy", "guestRamBytes",
                                          "hostOomKills",   "vcpus",          "wallUsec"};
    struct sr_json_slice exited = verify_told(v, TOLD_EXITED);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (sr_json_get(exited, members[i]).len > 0)
            return true;
    if (v->told.observed > 0 ||
        sr_json_get(sr_json_get(exited, "guest"), EVIDENCE_OBSERVED_BY).len > 0)
        return true;
    /* Who closes a run of an older safe-run speaks for itself only. */
    return !is_closed(v) && (verify_field(v, "", EVIDENCE_OBSERVED_BY).len > 0 ||
                             verify_field(v, "exit", EVIDENCE_OBSERVED_BY).len > 0);
}

void verify_outcome(struct verify *v)
{
    bool observed = is_observed(v);
    struct outcome outcome = read_outcome(v, observed);
    check_generation(v, observed);
    verify_observers(v, outcome.closed);
    check_order(v);
    check_times(v);
    check_policy(v, outcome.closed);
    check_samples(v);
    check_durations(v);
    if (observed && outcome.exited.len > 0)
        check_contradictions(v);
    /* A chain that was cut has no end, and what the schema finds fault with is not judged again. */
    if (v->checks[CHECK_TERMINAL_EVENT].ok && sr_json_is_string(outcome.cause))
        check_exit(v, &outcome);
}
