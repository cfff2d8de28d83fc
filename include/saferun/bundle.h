/*
 * The compile bundle (docs/CONTRACT.md, "Bundle"): every plan of a run as data, a pure function of
 * the normalized policy.
 *
 * The same policy gives the same bytes on every machine: no time, no randomness, no run id, no name
 * look-ups, no host facts. What only the host knows is added by the runner and recorded in
 * evidence.
 */
#ifndef SAFERUN_BUNDLE_H
#define SAFERUN_BUNDLE_H

#include "saferun/error.h"
#include "saferun/policy.h"

#include <stddef.h>
#include <stdint.h>

/* Event types of the contract, in its order; SR_EVENT_<X> names the bit in sr_bundle.events. */
enum sr_event_type {
    SR_EVENT_COMPILE,
    SR_EVENT_RUN_PREPARED,
    SR_EVENT_MOUNT_VALIDATED,
    SR_EVENT_MOUNT_REJECTED,
    SR_EVENT_MOUNT_APPLIED,
    SR_EVENT_NETWORK_PLAN_GENERATED,
    SR_EVENT_NETWORK_RULE_APPLIED,
    SR_EVENT_NETWORK_RULE_HIT,
    SR_EVENT_NETWORK_RULE_RELEASED,
    SR_EVENT_NETWORK_RULE_CLEANUP_FAILED,
    SR_EVENT_VM_STARTED,
    SR_EVENT_RESOURCE_SAMPLED,
    SR_EVENT_VM_EXITED,
    SR_EVENT_RUN_CLEANED,
    SR_EVENT_RUN_FAILED,
    SR_EVENT_NETWORK_FLOW_DENIED,
    SR_EVENT_OUTPUT_COLLECTED,
    SR_EVENT_VM_ACCEL_SELECTED,
    SR_EVENT_TYPE_COUNT
};

/* Returns the type as written in evidence ("vm.started"); static. */
const char *sr_event_type_name(enum sr_event_type type);

/* Zero-initialise before use. policy must outlive the bundle. */
struct sr_bundle {
    const struct sr_policy *policy;
    unsigned vcpu_count;   /* ceil(quota / period); 1 for "max" */
    unsigned mem_size_mib; /* guest RAM */
    uint32_t events;       /* bit 1 << sr_event_type for each type that may be written */
    char *json;            /* canonical JSON of the whole bundle, NUL-terminated; owned */
    size_t json_len;
};

/* Compiles policy. Errors: SR-CMP-001 at the field, SR-CMP-002 when memory is out. On failure
 * bundle is untouched. */
int sr_compile(const struct sr_policy *policy, struct sr_bundle *bundle, struct sr_error *err)
    __attribute__((warn_unused_result));

void sr_bundle_free(struct sr_bundle *bundle);
#define sr_cleanup_bundle __attribute__((cleanup(sr_bundle_free)))

#endif
