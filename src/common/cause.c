#include "saferun/run.h"

static const char *const cause_names[] = {
    [SR_CAUSE_WORKLOAD] = "workload",
    [SR_CAUSE_TIMEOUT] = "timeout",
    [SR_CAUSE_INTERRUPTED] = "interrupted",
    [SR_CAUSE_GUEST_OOM] = "guest-oom",
    [SR_CAUSE_HOST_OOM] = "host-oom",
    [SR_CAUSE_VMM] = "vmm",
    [SR_CAUSE_SETUP] = "setup",
    [SR_CAUSE_CLEANUP] = "cleanup",
};

const char *sr_cause_name(enum sr_cause cause)
{
    return cause_names[cause];
}
