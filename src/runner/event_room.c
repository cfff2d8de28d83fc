/*
 * How many bytes of events a run may make: the host's ceiling, limits.events.
 *
 * What a guest can make happen again and again is recorded as long as there is room: samples, and
 * the hits of rules at audit level full. A sample that is left out is counted (vm.exited's
 * eventsOmitted). A hit that is left out is not lost: its packets are in a later event of its rule,
 * in the closing one at the latest, because only what has been recorded is taken off the counters.
 *
 * What is said once is always recorded: the plan, each rule's address, and all that ends a run.
 * Room is kept for the end, and a network that does not leave it is refused when it is set up.
 */
#include "runner/run_state.h"

#include "common/clock.h"

#include <stdio.h>

/* Outputs, vm.exited, run.cleaned, run.failed, and what was denied: 4,096 destinations of 512
 * bytes; and 512 KiB of entries of outputs. */
#define CLOSING_BYTES (UINT64_C(3) << 20)
/* The last hit of an address. Its rule.applied is as long. */
#define TARGET_BYTES UINT64_C(512)
/* Hits of rules take a hundredth of a second each before the next are looked for: 50 KB of events
 * in a second. */
#define HIT_NSEC (10 * SR_NSEC_PER_MSEC)

static uint64_t closing_bytes(const struct run *run)
{
    return CLOSING_BYTES +
           (run->network.net != NULL ? run->network.net->target_count * TARGET_BYTES : 0);
}

static bool has_room(const struct run *run, uint64_t more)
{
    return record_event_bytes(run->record) + closing_bytes(run) + more <=
           run->config.ceilings.event_bytes;
}

bool run_has_event_room(struct run *run)
{
    if (has_room(run, TARGET_BYTES))
        return true;
    if (run->samples.omitted++ == 0)
        sr_tell(&run->tell, "events.jsonl is as long as limits.events lets it be: samples are "
                            "counted, and no longer written");
    return false;
}

int run_refuse_many_targets(const struct run *run, struct sr_error *err)
{
    char most[SR_SIZE_TEXT];
    if (has_room(run, run->network.net->target_count * TARGET_BYTES))
        return 0;
    return sr_fail(err, SR_RUN_201, "launch.network.apply",
                   "the rules have %zu addresses, and what has to be recorded of them is more than "
                   "the %s of events that this host allows (limits.events)",
                   run->network.net->target_count,
                   sr_size_text(run->config.ceilings.event_bytes, most));
}

void run_wait_for_hits(struct run *run, size_t recorded)
{
    run->network.hits_due = sr_now() + recorded * HIT_NSEC;
}
