/*
 * What came out of a run, for every combination of facts. Two tables say it: how the run ended, and
 * what went wrong after that. In each the first row that fits counts, each combination has one, and
 * each row is the first for some combination.
 */
#include "channel/protocol.h"
#include "runner/decide.h"

#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* What a row wants of a fact that is true or not. */
enum wish { ANY, NO, YES };

/* What a row wants of the others: the values that fit, or 0 for any. */
enum { WELL = 1, HOST_FAILED = 2, VM_FAILED = 4 };
enum { UNASKED = 1, ASKED_INT = 2, ASKED_TERM = 4, ASKED_HUP = 8 };
enum { UNREFUSED = 1, NO_SETUP = 2, NO_EXEC = 4, NOT_FOUND = 8, NO_MOUNT = 16 };
enum { SILENT = 1, CODE_0 = 2, CODE_3 = 4, CODE_255 = 8, BY_INT = 16, BY_KILL = 32, BY_TERM = 64 };
enum { THERE = 1, LOST = 2, LOST_BY_GUEST = 4 };

/* The values that an axis of the combinations takes; the index of each is its bit above. */
static const int signals[] = {0, SIGINT, SIGTERM, SIGHUP};
static const uint32_t refusals[] = {0, CHANNEL_REFUSED_SETUP, CHANNEL_REFUSED_NOT_EXEC,
                                    CHANNEL_REFUSED_NOT_FOUND, CHANNEL_REFUSED_MOUNT};
static const struct {
    bool exited;
    uint32_t code, signal;
} exits[] = {{false, 0, 0},     {true, 0, 0},       {true, 3, 0},      {true, 255, 0},
             {true, 0, SIGINT}, {true, 0, SIGKILL}, {true, 0, SIGTERM}};

/* One combination: an index into the values of each axis. */
enum axis {
    FAILURE,
    LAUNCHED,
    HOST_OOM,
    VMM_KILLED,
    FORCED,
    TIMED_OUT,
    ASKED,
    INTERRUPTED,
    REFUSED,
    EXIT,
    GUEST_OOM,
    OUTPUTS,
    NETWORK,
    RELEASE,
    EVIDENCE,
    AXIS_COUNT
};
static const unsigned lengths[AXIS_COUNT] = {
    [FAILURE] = 3,
    [LAUNCHED] = 2,
    [HOST_OOM] = 2,
    [VMM_KILLED] = 2,
    [FORCED] = 2,
    [TIMED_OUT] = 2,
    [ASKED] = LENGTH(signals),
    [INTERRUPTED] = 2,
    [REFUSED] = LENGTH(refusals),
    [EXIT] = LENGTH(exits),
    [GUEST_OOM] = 2,
    [OUTPUTS] = 3,
    [NETWORK] = 2,
    [RELEASE] = 2,
    [EVIDENCE] = 2,
};

static struct run_facts facts_of(const unsigned at[AXIS_COUNT])
{
    return (struct run_facts){
        .failed = at[FAILURE] != 0,
        .fault = at[FAILURE] == 2 ? SR_FAULT_VM : SR_FAULT_HOST,
        .launched = at[LAUNCHED],
        .host_oom = at[HOST_OOM],
        .vmm_killed = at[VMM_KILLED],
        .forced = at[FORCED],
        .timed_out = at[TIMED_OUT],
        .ended_by_signal = signals[at[ASKED]],
        .interrupted = at[INTERRUPTED],
        .refused = refusals[at[REFUSED]],
        .exited = exits[at[EXIT]].exited,
        .exit_code = exits[at[EXIT]].code,
        .exit_signal = exits[at[EXIT]].signal,
        .guest_oom = at[GUEST_OOM],
        .outputs = (enum run_output_fact)at[OUTPUTS],
        .network_failed = at[NETWORK],
        .release_failed = at[RELEASE],
        .evidence_failed = at[EVIDENCE],
    };
}

static bool fits(unsigned mask, unsigned index)
{
    return mask == 0 || (mask >> index & 1) != 0;
}

/* Finished, cause, exit status, whether cause and status are the guest's word, reason. */
#define FAILED(cause, status, reason)                                                              \
    {                                                                                              \
        false, cause, status, false, false, reason                                                 \
    }
#define REFUSES(status)                                                                            \
    {                                                                                              \
        false, SR_CAUSE_SETUP, status, true, true, RUN_REASON_REFUSED                              \
    }
#define FINISHED(cause, status)                                                                    \
    {                                                                                              \
        true, cause, status, true, true, RUN_REASON_NONE                                           \
    }

static const struct end {
    const char *name;
    unsigned failure, asked, refused, exit;
    enum wish launched, host_oom, vmm_killed, forced, timed_out, interrupted, guest_oom;
    struct run_verdict verdict;
} ends[] = {
    {"the host killed the VMM for its memory", .host_oom = YES, .vmm_killed = YES, .forced = NO,
     .verdict = FAILED(SR_CAUSE_HOST_OOM, 125, RUN_REASON_HOST_OOM)},
    {"a step failed before there was a VM", .failure = HOST_FAILED, .launched = NO,
     .asked = UNASKED, .verdict = FAILED(SR_CAUSE_SETUP, 125, RUN_REASON_FAILURE)},
    {"the VM could not be started", .failure = VM_FAILED, .launched = NO, .asked = UNASKED,
     .verdict = FAILED(SR_CAUSE_VMM, 125, RUN_REASON_FAILURE)},
    {"a step failed while the VM ran, whoever else asked for its end", .failure = HOST_FAILED,
     .launched = YES, .verdict = FAILED(SR_CAUSE_SETUP, 125, RUN_REASON_FAILURE)},
    {"the VM failed, whoever else asked for its end", .failure = VM_FAILED, .launched = YES,
     .verdict = FAILED(SR_CAUSE_VMM, 125, RUN_REASON_FAILURE)},
    {"its time was up", .timed_out = YES,
     .verdict = FAILED(SR_CAUSE_TIMEOUT, 124, RUN_REASON_TIMEOUT)},
    {"a second interrupt, or one that no command could take", .asked = ASKED_INT,
     .verdict = FAILED(SR_CAUSE_INTERRUPTED, 130, RUN_REASON_SIGNAL)},
    {"safe-run was asked to stop", .asked = ASKED_TERM,
     .verdict = FAILED(SR_CAUSE_INTERRUPTED, 143, RUN_REASON_SIGNAL)},
    {"its terminal hung up", .asked = ASKED_HUP,
     .verdict = FAILED(SR_CAUSE_INTERRUPTED, 129, RUN_REASON_SIGNAL)},
    {"the guest could not set itself up", .refused = NO_SETUP, .verdict = REFUSES(125)},
    {"the guest could not execute the command", .refused = NO_EXEC, .verdict = REFUSES(126)},
    {"the guest did not find the command", .refused = NOT_FOUND, .verdict = REFUSES(127)},
    {"the guest could not mount an input", .refused = NO_MOUNT, .verdict = REFUSES(125)},
    {"the VM ended without a word of the command's end", .exit = SILENT,
     .verdict = FAILED(SR_CAUSE_VMM, 125, RUN_REASON_LOST_VM)},
    {"the command was content", .exit = CODE_0, .verdict = FINISHED(SR_CAUSE_WORKLOAD, 0)},
    {"the command failed", .exit = CODE_3, .verdict = FINISHED(SR_CAUSE_WORKLOAD, 3)},
    {"the command failed utterly", .exit = CODE_255, .verdict = FINISHED(SR_CAUSE_WORKLOAD, 255)},
    {"the command took the caller's interrupt", .exit = BY_INT, .interrupted = YES,
     .verdict = FINISHED(SR_CAUSE_INTERRUPTED, 130)},
    {"the command interrupted itself", .exit = BY_INT, .interrupted = NO,
     .verdict = FINISHED(SR_CAUSE_WORKLOAD, 130)},
    {"the guest's kernel killed the command for memory", .exit = BY_KILL, .guest_oom = YES,
     .verdict = FINISHED(SR_CAUSE_GUEST_OOM, 137)},
    {"the command was killed inside the guest", .exit = BY_KILL, .guest_oom = NO,
     .verdict = FINISHED(SR_CAUSE_WORKLOAD, 137)},
    {"the command was terminated, of whatever memory was short", .exit = BY_TERM,
     .verdict = FINISHED(SR_CAUSE_WORKLOAD, 143)},
};

static bool end_fits(const struct end *row, const unsigned at[AXIS_COUNT])
{
    static_assert(NO == 1 << 0 && YES == 1 << 1, "a wish is a mask");
    return fits(row->failure, at[FAILURE]) && fits(row->launched, at[LAUNCHED]) &&
           fits(row->host_oom, at[HOST_OOM]) && fits(row->vmm_killed, at[VMM_KILLED]) &&
           fits(row->forced, at[FORCED]) && fits(row->timed_out, at[TIMED_OUT]) &&
           fits(row->asked, at[ASKED]) && fits(row->interrupted, at[INTERRUPTED]) &&
           fits(row->refused, at[REFUSED]) && fits(row->exit, at[EXIT]) &&
           fits(row->guest_oom, at[GUEST_OOM]);
}

/* What a row of the second table does not change. */
enum { KEEP = -1 };

static const struct aftermath {
    const char *name;
    unsigned outputs;
    enum wish finished, content, network, release, evidence; /* content: with exit status 0 */
    bool fails;
    int cause, exit_code, cause_by_guest, status_by_guest;
    enum run_reason reason; /* of a run that had none */
} aftermaths[] = {
    {"the network cannot be released, and an output is lost", .release = YES, .finished = YES,
     .outputs = LOST | LOST_BY_GUEST, .fails = true, .cause = SR_CAUSE_CLEANUP, .exit_code = 125,
     .reason = RUN_REASON_OUTPUT},
    {"the network cannot be released, and failed before", .release = YES, .finished = YES,
     .network = YES, .fails = true, .cause = SR_CAUSE_CLEANUP, .exit_code = 125,
     .reason = RUN_REASON_NETWORK},
    {"the network cannot be released", .release = YES, .finished = YES, .fails = true,
     .cause = SR_CAUSE_CLEANUP, .exit_code = 125, .reason = RUN_REASON_RELEASE},
    {"the network of a run that failed cannot be released", .release = YES, .finished = NO,
     .fails = true, .cause = SR_CAUSE_CLEANUP, .exit_code = 125},
    {"the evidence of a run that failed cannot be written", .finished = NO, .evidence = YES,
     .fails = true, .cause = KEEP, .exit_code = 125, .cause_by_guest = KEEP,
     .status_by_guest = KEEP},
    {"nothing else is asked of a run that failed", .finished = NO, .fails = true, .cause = KEEP,
     .exit_code = KEEP, .cause_by_guest = KEEP, .status_by_guest = KEEP},
    {"the host lost an output of a command that was content", .outputs = LOST, .content = YES,
     .fails = true, .cause = KEEP, .exit_code = 125, .cause_by_guest = KEEP,
     .status_by_guest = false, .reason = RUN_REASON_OUTPUT},
    {"the guest left out an output of a command that was content", .outputs = LOST_BY_GUEST,
     .content = YES, .fails = true, .cause = KEEP, .exit_code = 125, .cause_by_guest = KEEP,
     .status_by_guest = true, .reason = RUN_REASON_OUTPUT},
    {"an output of a command that failed is lost, and so is the evidence",
     .outputs = LOST | LOST_BY_GUEST, .content = NO, .evidence = YES, .fails = true, .cause = KEEP,
     .exit_code = 125, .cause_by_guest = KEEP, .status_by_guest = KEEP,
     .reason = RUN_REASON_OUTPUT},
    {"an output of a command that failed is lost", .outputs = LOST | LOST_BY_GUEST, .content = NO,
     .fails = true, .cause = KEEP, .exit_code = KEEP, .cause_by_guest = KEEP,
     .status_by_guest = KEEP, .reason = RUN_REASON_OUTPUT},
    {"the network failed unseen until the end", .network = YES, .fails = true,
     .cause = SR_CAUSE_SETUP, .exit_code = 125, .reason = RUN_REASON_NETWORK},
    {"the evidence cannot be written", .evidence = YES, .fails = true, .cause = KEEP,
     .exit_code = 125, .cause_by_guest = KEEP, .status_by_guest = KEEP,
     .reason = RUN_REASON_EVIDENCE},
    {"all went well", .cause = KEEP, .exit_code = KEEP, .cause_by_guest = KEEP,
     .status_by_guest = KEEP},
};

static bool aftermath_fits(const struct aftermath *row, const struct run_verdict *end,
                           const unsigned at[AXIS_COUNT])
{
    return fits(row->finished, end->finished) && fits(row->content, end->exit_code == 0) &&
           fits(row->outputs, at[OUTPUTS]) && fits(row->network, at[NETWORK]) &&
           fits(row->release, at[RELEASE]) && fits(row->evidence, at[EVIDENCE]);
}

static int keep(int wanted, int before)
{
    return wanted == KEEP ? before : wanted;
}

static struct run_verdict apply(const struct aftermath *row, const struct run_verdict *end)
{
    return (struct run_verdict){
        .finished = !row->fails,
        .cause = (enum sr_cause)keep(row->cause, (int)end->cause),
        .exit_code = keep(row->exit_code, end->exit_code),
        .cause_by_guest = keep(row->cause_by_guest, end->cause_by_guest),
        .status_by_guest = keep(row->status_by_guest, end->status_by_guest),
        .reason = end->reason != RUN_REASON_NONE ? end->reason : row->reason,
    };
}

/* The next combination; false: there is none. */
static bool advance(unsigned at[AXIS_COUNT])
{
    for (size_t axis = 0; axis < AXIS_COUNT; axis++) {
        if (++at[axis] < lengths[axis])
            return true;
        at[axis] = 0;
    }
    return false;
}

static bool same(const struct run_verdict *a, const struct run_verdict *b)
{
    return a->finished == b->finished && a->cause == b->cause && a->exit_code == b->exit_code &&
           a->cause_by_guest == b->cause_by_guest && a->status_by_guest == b->status_by_guest &&
           a->reason == b->reason;
}

static void show(const char *what, const struct run_verdict *verdict)
{
    print_error("%s: finished %d, cause %s, exit code %d, by guest %d %d, reason %d\n", what,
                verdict->finished, sr_cause_name(verdict->cause), verdict->exit_code,
                verdict->cause_by_guest, verdict->status_by_guest, (int)verdict->reason);
}

static void every_combination_has_its_verdict(void **state)
{
    (void)state;
    unsigned at[AXIS_COUNT] = {0};
    bool end_met[LENGTH(ends)] = {false}, aftermath_met[LENGTH(aftermaths)] = {false};
    do {
        size_t e = 0, a = 0;
        while (e < LENGTH(ends) && !end_fits(&ends[e], at))
            e++;
        assert_in_range(e, 0, LENGTH(ends) - 1);
        const struct run_verdict *end = &ends[e].verdict;
        while (a < LENGTH(aftermaths) && !aftermath_fits(&aftermaths[a], end, at))
            a++;
        assert_in_range(a, 0, LENGTH(aftermaths) - 1);
        end_met[e] = aftermath_met[a] = true;
        const struct run_facts facts = facts_of(at);
        const struct run_verdict wanted = apply(&aftermaths[a], end), got = run_decide(&facts);
        if (!same(&wanted, &got)) {
            show("wanted", &wanted);
            show("got", &got);
            fail_msg("%s; %s", ends[e].name, aftermaths[a].name);
        }
    } while (advance(at));
    for (size_t e = 0; e < LENGTH(ends); e++)
        if (!end_met[e])
            fail_msg("no combination is for: %s", ends[e].name);
    for (size_t a = 0; a < LENGTH(aftermaths); a++)
        if (!aftermath_met[a])
            fail_msg("no combination is for: %s", aftermaths[a].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_has_its_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
