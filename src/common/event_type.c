#include "saferun/event_type.h"

static const char *const names[SR_EVENT_TYPE_COUNT] = {
    [SR_EVENT_COMPILE] = "compile",
    [SR_EVENT_RUN_PREPARED] = "run.prepared",
    [SR_EVENT_MOUNT_VALIDATED] = "mount.validated",
    [SR_EVENT_MOUNT_REJECTED] = "mount.rejected",
    [SR_EVENT_MOUNT_APPLIED] = "mount.applied",
    [SR_EVENT_NETWORK_PLAN_GENERATED] = "network.plan.generated",
    [SR_EVENT_NETWORK_RULE_APPLIED] = "network.rule.applied",
    [SR_EVENT_NETWORK_RULE_HIT] = "network.rule.hit",
    [SR_EVENT_NETWORK_RULE_RELEASED] = "network.rule.released",
    [SR_EVENT_NETWORK_RULE_CLEANUP_FAILED] = "network.rule.cleanup_failed",
    [SR_EVENT_VM_STARTED] = "vm.started",
    [SR_EVENT_RESOURCE_SAMPLED] = "resource.sampled",
    [SR_EVENT_VM_EXITED] = "vm.exited",
    [SR_EVENT_RUN_CLEANED] = "run.cleaned",
    [SR_EVENT_RUN_FAILED] = "run.failed",
    [SR_EVENT_NETWORK_FLOW_DENIED] = "network.flow.denied",
    [SR_EVENT_OUTPUT_COLLECTED] = "output.collected",
    [SR_EVENT_VM_ACCEL_SELECTED] = "vm.accel.selected",
};

const char *sr_event_type_name(enum sr_event_type type)
{
    return (unsigned)type < SR_EVENT_TYPE_COUNT ? names[type] : "";
}
