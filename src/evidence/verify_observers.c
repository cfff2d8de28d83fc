/*
 * Who saw what, field by field (observer.h), in a report that promises it: by its compile event for
 * the events, by integrity for the rest. A run that a later safe-run closed may have a report that
 * promises it of events that do not.
 *
 * Whoever takes a promise out has to take out everything that only such reports have, and what is
 * left is a report of the generation before.
 */
#include "evidence/verify.h"

#include "evidence/event.h"

#include <string.h>

enum { PATH_SIZE = 96 };

static bool begins(struct sr_json_slice string, const char *with)
{
    size_t len = strlen(with);
    return sr_json_is_string(string) && string.len >= len + 2 &&
           memcmp(string.text + 1, with, len) == 0;
}

/* Whether a string is the opening and a string behind it. Both are canonical. */
static bool is_joined(struct sr_json_slice string, const char *opening, struct sr_json_slice end)
{
    size_t len = strlen(opening);
    return begins(string, opening) && sr_json_is_string(end) && string.len == len + end.len &&
           memcmp(string.text + 1 + len, end.text + 1, end.len - 1) == 0;
}

/* What the host says of an output is its own sentence; of what the guest said of it, the one for
 * that. */
static const char *output_fault(struct sr_json_slice payload)
{
    struct sr_json_slice guest = sr_json_get(payload, "guest"),
                         outcome = sr_json_get(guest, "outcome"),
                         message = sr_json_get(payload, "message"),
                         path = sr_json_get(payload, "path");
    if (guest.len == 0)
        return begins(message, EVIDENCE_GUEST_SAYS) ? "guest" : NULL;
    bool missing = sr_json_is(outcome, "missing"), unreadable = sr_json_is(outcome, "unreadable");
    if (!missing && !unreadable)
        return "guest.outcome";
    if (sr_json_is_true(sr_json_get(payload, "collected")))
        return "collected";
    return is_joined(message,
                     missing ? EVIDENCE_GUEST_SAYS_MISSING : EVIDENCE_GUEST_SAYS_UNREADABLE, path)
               ? NULL
               : "message";
}

static const char *failure_fault(struct sr_json_slice payload)
{
    struct sr_json_slice guest = sr_json_get(payload, "guest"),
                         outcome = sr_json_get(guest, "outcome"),
                         message = sr_json_get(payload, "message"),
                         path = sr_json_get(payload, "path");
    bool guests = sr_json_is(sr_json_get(payload, EVIDENCE_OBSERVED_BY), EVIDENCE_OBSERVED_GUEST);
    char plain[64] = "";
    if (!sr_json_is(sr_json_get(payload, EVIDENCE_MESSAGE_OBSERVED_BY), EVIDENCE_OBSERVED_HOST))
        return EVIDENCE_MESSAGE_OBSERVED_BY;
    if (sr_json_get(payload, EVIDENCE_REASON_OBSERVED_BY).len == 0)
        return EVIDENCE_REASON_OBSERVED_BY;
    if (guests != (outcome.len > 0)) /* what the guest said besides decides nothing */
        return guests ? "guest" : EVIDENCE_OBSERVED_BY;
    if (!guests)
        return begins(message, EVIDENCE_GUEST_SAYS) ? EVIDENCE_OBSERVED_BY : NULL;
    if (sr_json_is_string(path) && path.len - 2 < sizeof plain)
        memcpy(plain, path.text + 1, path.len - 2);
    const char *refusal = evidence_refusal_sentence(plain);
    if (refusal != NULL || sr_json_is(outcome, "refused"))
        return refusal != NULL && sr_json_is(message, refusal) ? NULL : "message";
    return begins(message, EVIDENCE_GUEST_SAYS_MISSING) ||
                   begins(message, EVIDENCE_GUEST_SAYS_UNREADABLE)
               ? NULL
               : "message";
}

static void note(struct told_fields *fields, uint64_t index, const char *field)
{
    if (field == NULL || fields->count++ > 0)
        return;
    fields->at = index;
    fields->field = field;
}

void verify_observers_take(struct verify *v, uint64_t index)
{
    static const char *const members[] = {"guest", EVIDENCE_REASON_OBSERVED_BY,
                                          EVIDENCE_MESSAGE_OBSERVED_BY};
    struct sr_json_slice payload = v->event.payload;
    enum sr_event_type kind = v->event.kind;
    bool output = kind == SR_EVENT_OUTPUT_COLLECTED, failure = kind == SR_EVENT_RUN_FAILED;
    for (size_t i = 0; (output || failure || kind == SR_EVENT_VM_ACCEL_SELECTED) && i < 3; i++)
        if (sr_json_get(payload, members[i]).len > 0)
            note(&v->told.new_fields, index, members[i]);
    const char *fault = evidence_observer_fault(payload, failure);
    if (fault == NULL)
        fault = output ? output_fault(payload) : failure ? failure_fault(payload) : NULL;
    note(&v->told.untrue, index, fault);
}

/* exit{}: the command's end is the guest's word, and stands in its object. */
static void check_exit(struct verify *v, bool closed)
{
    static const char *const observers[] = {EVIDENCE_CODE_OBSERVED_BY, EVIDENCE_SIGNAL_OBSERVED_BY};
    static const char *const numbers[] = {"code", "signal"};
    struct sr_json_slice guest = verify_field(v, "exit", "guest");
    bool spoke = !closed && sr_json_get(verify_told(v, TOLD_EXITED), "guest").len > 0;
    char path[PATH_SIZE], shown[SHOWN_SIZE];
    if (spoke != (guest.len > 0)) {
        verify_differs(v, "exit.guest", spoke ? "what the guest said" : "nothing", guest);
        return;
    }
    if (spoke && !sr_json_is(sr_json_get(guest, EVIDENCE_OBSERVED_BY), EVIDENCE_OBSERVED_GUEST))
        verify_missing(v, "exit.guest." EVIDENCE_OBSERVED_BY, "it is the guest's word");
    for (size_t i = 0; i < 2; i++) {
        struct sr_json_slice number = verify_field(v, "exit", numbers[i]),
                             said = sr_json_get(guest, numbers[i]),
                             by = verify_field(v, "exit", observers[i]);
        snprintf(path, sizeof path, "exit.guest.%s", numbers[i]);
        if (spoke && (said.len != number.len || memcmp(said.text, number.text, said.len) != 0))
            verify_differs(v, path, verify_show(number, shown), said);
        snprintf(path, sizeof path, "exit.%s", observers[i]);
        if (spoke ? !sr_json_is(by, EVIDENCE_OBSERVED_GUEST) : by.len > 0)
            verify_differs(v, path, spoke ? "\"" EVIDENCE_OBSERVED_GUEST "\"" : "nothing", by);
    }
}

void verify_observers(struct verify *v, bool closed)
{
    static const char *const of_report[][2] = {{"", EVIDENCE_EXIT_CODE_OBSERVED_BY},
                                               {"exit", "guest"},
                                               {"exit", EVIDENCE_CODE_OBSERVED_BY},
                                               {"networkAudit", "denied"},
                                               {"exit", EVIDENCE_SIGNAL_OBSERVED_BY}};
    static const char mark[] = "integrity." EVIDENCE_OBSERVERS;
    const struct verify_told *told = &v->told;
    struct sr_json_slice promise = verify_field(v, "integrity", EVIDENCE_OBSERVERS),
                         of_events = sr_json_get(verify_told(v, TOLD_COMPILE), EVIDENCE_OBSERVERS);
    bool report = sr_json_is(promise, EVIDENCE_OBSERVERS_FIELD), needed = false,
         /* A run that failed before its policy was compiled has no such event. */
        events = told->of[TOLD_COMPILE].count > 0 ? sr_json_is(of_events, EVIDENCE_OBSERVERS_FIELD)
                                                  : report && !closed;
    char path[PATH_SIZE];
    for (size_t i = 0; i < sizeof of_report / sizeof of_report[0]; i++)
        needed = needed || verify_field(v, of_report[i][0], of_report[i][1]).len > 0;
    if (!report && (promise.len > 0 || needed || (events && !closed)))
        verify_missing(v, mark, "the report says field by field who saw it");
    if (!events && (of_events.len > 0 || told->new_fields.count > 0 || (report && !closed))) {
        snprintf(path, sizeof path, "events[%llu].payload." EVIDENCE_OBSERVERS,
                 (unsigned long long)told->of[TOLD_COMPILE].index);
        verify_missing(v, path, "the events say field by field who saw them");
    }
    if (events && told->untrue.count > 0) {
        snprintf(path, sizeof path, "events[%llu].payload.%s", (unsigned long long)told->untrue.at,
                 told->untrue.field);
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, path,
                     "is not what a report says whose fields say who saw them (%llu such event%s)",
                     (unsigned long long)told->untrue.count, told->untrue.count == 1 ? "" : "s");
    }
    if (report)
        check_exit(v, closed);
}
