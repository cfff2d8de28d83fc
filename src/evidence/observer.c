#include "evidence/observer.h"

#include <string.h>

const char *evidence_refusal_sentence(const char *path)
{
    static const struct {
        const char *path, *sentence;
    } refusals[] = {
        {"mount.apply", EVIDENCE_GUEST_SAYS "it could not mount what the policy mounts"},
        {"prepare.guest", EVIDENCE_GUEST_SAYS "it could not set itself up"},
        {"runtime.command", EVIDENCE_GUEST_SAYS "it could not start the command"},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (strcmp(path, refusals[i].path) == 0)
            return refusals[i].sentence;
    return NULL;
}

static bool is_named(struct sr_json_slice key, const char *name)
{
    return key.len == strlen(name) && memcmp(key.text, name, key.len) == 0;
}

/* Payloads nest at most SR_JSON_MAX_DEPTH deep: the scanner has seen to that. */
static const char *fault_in(struct sr_json_slice value, bool is_guests, bool may_be_guests)
{
    struct sr_json_member member;
    struct sr_json_slice element;
    const char *fault = NULL;
    if (sr_json_is_array(value))
        for (size_t at = 0; fault == NULL && sr_json_next(value, &at, &element);)
            fault = fault_in(element, is_guests, is_guests);
    if (!sr_json_is_object(value))
        return fault;
    for (size_t at = 0; fault == NULL && sr_json_next_member(value, &at, &member);) {
        bool guest = is_named(member.key, "guest") && sr_json_is_object(member.value);
        if (guest &&
            !sr_json_is(sr_json_get(member.value, EVIDENCE_OBSERVED_BY), EVIDENCE_OBSERVED_GUEST))
            fault = "guest." EVIDENCE_OBSERVED_BY;
        else if (is_named(member.key, EVIDENCE_OBSERVED_BY) &&
                 !(sr_json_is(member.value, EVIDENCE_OBSERVED_HOST) && !is_guests) &&
                 !(sr_json_is(member.value, EVIDENCE_OBSERVED_GUEST) && may_be_guests))
            fault = EVIDENCE_OBSERVED_BY;
        else
            fault = fault_in(member.value, guest || is_guests, guest || is_guests);
    }
    return fault;
}

const char *evidence_observer_fault(struct sr_json_slice payload, bool may_be_guests)
{
    /* Most payloads have no word of the guest, and nothing in them to look for. */
    if (memmem(payload.text, payload.len, "guest\"", sizeof "guest\"" - 1) == NULL)
        return sr_json_is(sr_json_get(payload, EVIDENCE_OBSERVED_BY), EVIDENCE_OBSERVED_HOST)
                   ? NULL
                   : EVIDENCE_OBSERVED_BY;
    return fault_in(payload, false, may_be_guests);
}
