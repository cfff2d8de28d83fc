/*
 * The order here is the order of precedence. What safe-run and the host did to the VM explains its
 * end before what the guest says does. What goes wrong after the end of the command explains a run
 * only when nothing before it does.
 */
#include "runner/decide.h"

#include "channel/protocol.h"

#include <signal.h>

static struct run_verdict failed(enum run_reason reason, enum sr_cause cause, int exit_code)
{
    return (struct run_verdict){.cause = cause, .exit_code = exit_code, .reason = reason};
}

static struct run_verdict refused(uint32_t status)
{
    struct run_verdict verdict =
        failed(RUN_REASON_REFUSED, SR_CAUSE_SETUP,
               status == CHANNEL_REFUSED_MOUNT ? SR_EXIT_FAILED : (int)status);
    verdict.cause_by_guest = verdict.status_by_guest = true;
    return verdict;
}

/* Only the guest can tell of it. */
static struct run_verdict end_of_command(const struct run_facts *facts)
{
    uint32_t number = facts->exit_signal;
    bool interrupted = facts->interrupted && number == SIGINT;
    bool out_of_memory = facts->guest_oom && number == SIGKILL;
    return (struct run_verdict){
        .finished = true,
        .cause = interrupted     ? SR_CAUSE_INTERRUPTED
                 : out_of_memory ? SR_CAUSE_GUEST_OOM
                                 : SR_CAUSE_WORKLOAD,
        .exit_code = number != 0 ? 128 + (int)number : (int)facts->exit_code,
        .cause_by_guest = true,
        .status_by_guest = true,
    };
}

static struct run_verdict end_of_vm(const struct run_facts *facts)
{
    /* Before there is a VM, a signal explains whatever was given up because of it. */
    bool given_up = facts->ended_by_signal != 0 && !facts->launched;
    if (facts->host_oom && facts->vmm_killed && !facts->forced)
        return failed(RUN_REASON_HOST_OOM, SR_CAUSE_HOST_OOM, SR_EXIT_FAILED);
    if (facts->failed && !given_up)
        return failed(RUN_REASON_FAILURE,
                      facts->fault == SR_FAULT_VM ? SR_CAUSE_VMM : SR_CAUSE_SETUP, SR_EXIT_FAILED);
    if (facts->timed_out)
        return failed(RUN_REASON_TIMEOUT, SR_CAUSE_TIMEOUT, SR_EXIT_TIMEOUT);
    if (facts->ended_by_signal != 0)
        return failed(RUN_REASON_SIGNAL, SR_CAUSE_INTERRUPTED, 128 + facts->ended_by_signal);
    if (facts->refused != 0)
        return refused(facts->refused);
    if (!facts->exited)
        return failed(RUN_REASON_LOST_VM, SR_CAUSE_VMM, SR_EXIT_FAILED);
    return end_of_command(facts);
}

/* The first reason stays. */
static void add_reason(struct run_verdict *verdict, enum run_reason reason)
{
    if (verdict->reason == RUN_REASON_NONE)
        verdict->reason = reason;
}

/* The cause is still how the command ended, and its own failure stays its exit status. */
static void lose_output(struct run_verdict *verdict, bool by_guest)
{
    verdict->finished = false;
    add_reason(verdict, RUN_REASON_OUTPUT);
    if (verdict->exit_code != 0)
        return;
    verdict->exit_code = SR_EXIT_FAILED;
    verdict->status_by_guest = by_guest;
}

/* Evidence can be closed all the same. */
static void fail_late(struct run_verdict *verdict, enum run_reason reason, enum sr_cause cause)
{
    add_reason(verdict, reason);
    *verdict = failed(verdict->reason, cause, SR_EXIT_FAILED);
}

struct run_verdict run_decide(const struct run_facts *facts)
{
    struct run_verdict verdict = end_of_vm(facts);
    if (verdict.finished && facts->outputs != RUN_OUTPUTS_THERE)
        lose_output(&verdict, facts->outputs == RUN_OUTPUT_LOST_BY_GUEST);
    if (verdict.finished && facts->network_failed)
        fail_late(&verdict, RUN_REASON_NETWORK, SR_CAUSE_SETUP);
    if (facts->release_failed)
        fail_late(&verdict, RUN_REASON_RELEASE, SR_CAUSE_CLEANUP);
    if (facts->evidence_failed) { /* what cannot be proved has not been run well */
        add_reason(&verdict, RUN_REASON_EVIDENCE);
        verdict.finished = false;
        verdict.exit_code = SR_EXIT_FAILED;
    }
    return verdict;
}
