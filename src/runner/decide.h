/*
 * What came out of a run, as a function of facts: its state, its cause and its exit status, whose
 * word they are, and which of the facts explains them. It reads nothing, writes nothing and has no
 * text. outcome.c gathers the facts and puts the reason into words.
 *
 * Facts come in while a run is concluded, and run_decide() is asked again whenever one is added. A
 * later fact may turn a run that finished into one that failed, never the other way round, and
 * leaves the reason of one that failed as it was.
 */
#ifndef SR_RUNNER_DECIDE_H
#define SR_RUNNER_DECIDE_H

#include "saferun/error.h"
#include "saferun/run.h"

#include <stdbool.h>
#include <stdint.h>

enum run_output_fact {
    RUN_OUTPUTS_THERE,        /* or the policy has none */
    RUN_OUTPUT_LOST,          /* the host saw it */
    RUN_OUTPUT_LOST_BY_GUEST, /* the guest says so */
};

struct run_facts {
    /* The first step that failed, if one did, and what failed there. */
    bool failed;
    enum sr_fault fault;

    /* The VM. */
    bool launched;   /* there was one */
    bool host_oom;   /* the host's kernel killed a process of its cgroup for memory */
    bool vmm_killed; /* the VMM ended by a signal */
    bool forced;     /* safe-run ended it, and waited for nothing that it still owed */

    /* Who asked for the end. */
    bool timed_out;
    int ended_by_signal; /* one that safe-run got and took for itself; 0: none */
    bool interrupted;    /* a SIGINT came; the first goes to the command, if it runs */

    /* What the guest says. */
    uint32_t
        refused; /* enum channel_refused: why it did not start the command; 0: it does not say so */
    bool exited; /* the command ended, in the way that the next three tell */
    uint32_t exit_code, exit_signal;
    bool guest_oom; /* the guest's kernel killed a process for memory */

    /* What goes wrong afterwards. */
    enum run_output_fact outputs;
    bool network_failed;  /* the uplink ended too early, or the last counters did not come */
    bool release_failed;  /* the network could not be released */
    bool evidence_failed; /* the closing events, the report or its signature could not be written */
};

/* Which fact explains a verdict. */
enum run_reason {
    RUN_REASON_NONE, /* the command's own end, which needs no explanation */
    RUN_REASON_HOST_OOM,
    RUN_REASON_FAILURE, /* the first step that failed */
    RUN_REASON_TIMEOUT,
    RUN_REASON_SIGNAL,
    RUN_REASON_REFUSED,
    RUN_REASON_LOST_VM, /* the VM ended without a word of how the command did */
    RUN_REASON_OUTPUT,
    RUN_REASON_NETWORK,
    RUN_REASON_RELEASE,
    RUN_REASON_EVIDENCE,
};

struct run_verdict {
    bool finished; /* the state: finished, else failed */
    enum sr_cause cause;
    int exit_code;
    bool cause_by_guest;  /* the cause is the guest's word */
    bool status_by_guest; /* the exit status follows from it */
    enum run_reason reason;
};

/* Returns the verdict on a run of which all that is known is in facts. */
struct run_verdict run_decide(const struct run_facts *facts);

#endif
