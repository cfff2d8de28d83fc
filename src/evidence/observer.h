/*
 * Who saw what evidence says: the host (its kernel's counters, processes, bytes that came in), or
 * the guest, whose word it is then.
 *
 * observedBy holds for an object and everything in it that does not say otherwise. A single field
 * says otherwise by a field beside it (EVIDENCE_CODE_OBSERVED_BY for "code"), an object by an
 * observedBy of its own. Text that the guest sent stands nowhere but in objects named "guest";
 * where the host tells of the guest's word, it does so in the sentences here, which are part of the
 * format.
 *
 * A log promises in its compile event, and a report in integrity, that its fields follow this rule
 * (EVIDENCE_OBSERVERS). Older ones say it of whole objects, or not at all.
 */
#ifndef SR_EVIDENCE_OBSERVER_H
#define SR_EVIDENCE_OBSERVER_H

#include "common/json_text.h"

#define EVIDENCE_OBSERVED_BY "observedBy"
#define EVIDENCE_OBSERVED_HOST "host"
#define EVIDENCE_OBSERVED_GUEST "guest"

#define EVIDENCE_OBSERVERS "observers"
#define EVIDENCE_OBSERVERS_FIELD "field"

/* Observers of exitCode in vm.exited, of exitCode in the report, of code and signal in exit{}, and
 * of reason and message in run.failed. */
#define EVIDENCE_EXIT_OBSERVED_BY "exitObservedBy"
#define EVIDENCE_EXIT_CODE_OBSERVED_BY "exitCodeObservedBy"
#define EVIDENCE_CODE_OBSERVED_BY "codeObservedBy"
#define EVIDENCE_SIGNAL_OBSERVED_BY "signalObservedBy"
#define EVIDENCE_REASON_OBSERVED_BY "reasonObservedBy"
#define EVIDENCE_MESSAGE_OBSERVED_BY "messageObservedBy"

/* How the host's sentences about the guest's word begin. */
#define EVIDENCE_GUEST_SAYS "the guest says that "
#define EVIDENCE_GUEST_SAYS_MISSING                                                                \
    EVIDENCE_GUEST_SAYS "the command left nothing at " /* and the path */
#define EVIDENCE_GUEST_SAYS_UNREADABLE                                                             \
    EVIDENCE_GUEST_SAYS "it could not send all that is at " /* and the path */

/* Returns the sentence for a guest that did not start the command, by the path of the failure; NULL
 * for any other path. */
const char *evidence_refusal_sentence(const char *path);

/* Checks that a canonical payload follows the rule: every object named "guest" says that the guest
 * saw it and no other object does, except the payload itself where may_be_guests. Returns NULL, or
 * the name of the field that breaks the rule. */
const char *evidence_observer_fault(struct sr_json_slice payload, bool may_be_guests);

#endif
