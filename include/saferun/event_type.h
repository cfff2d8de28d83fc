/* The types of events: what a policy's plan allows, a run writes and a verifier knows. */
#ifndef SAFERUN_EVENT_TYPE_H
#define SAFERUN_EVENT_TYPE_H

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

#endif
