/* How much room on the disk the end of a run's evidence takes: closing events and report. */
#include "runner/run_state.h"

#include "runner/denials.h"

/* Closing events and a report without any: network counters, streams, limits, checks, the
 * attestation. */
#define BASE_BYTES (UINT64_C(128) << 10)
/* What closing tells of an address of a rule; of a rule, while it is not known how many it has. */
#define TARGET_BYTES (UINT64_C(1) << 10)
#define RULE_BYTES (UINT64_C(2) << 10)
/* Of an output beside its entries. */
#define OUTPUT_BYTES (UINT64_C(16) << 10)
/* All destinations of denials that a network can have counted. */
#define DENIED_BYTES (UINT64_C(1) * DENIALS_MAX * DENIAL_EVENT_BYTES)

/* Closing events are written twice: into the log and into the report. Entries of outputs are in an
 * attestation, too, in base64. */
int run_owe(void *context, struct sr_error *err)
{
    const struct run *run = context;
    const struct sr_policy *policy = run->options->policy;
    uint64_t rules = run->network.net != NULL ? run->network.net->target_count * TARGET_BYTES
                                              : policy->egress_count * RULE_BYTES;
    uint64_t closing = BASE_BYTES + rules + OUTPUT_BYTES * policy->output_count +
                       (policy->network_mode != SR_NETWORK_NONE ? DENIED_BYTES : 0);
    return record_owe(run->record, 2 * closing + 4 * session_entry_bytes(run->session), err);
}
