/*
 * Room on the disk for the end of a run's evidence: its closing events and its report.
 *
 * A file in the run's directory holds that much from the beginning. It is removed when they are
 * about to be written: by the run, or by gc when the run has died. So a disk that fills up in
 * between costs no evidence. A report repeats the events, so the file grows with them, a step
 * ahead. A file system without fallocate(2) holds nothing; one that compresses or copies on write
 * may hold less.
 */
#include "runner/run_state.h"

#include "common/failpoint.h"
#include "runner/denials.h"
#include "runs/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

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
/* Held ahead of the events there are, so that not every event asks for more. */
#define STEP_BYTES (UINT64_C(64) << 10)

/* Closing events are written twice: into the log and into the report. Entries of outputs are in an
 * attestation, too, in base64. */
static uint64_t needed(const struct run *run)
{
    const struct sr_policy *policy = run->options->policy;
    uint64_t rules = run->net != NULL ? run->net->target_count * TARGET_BYTES
                                      : policy->egress_count * RULE_BYTES;
    uint64_t closing = BASE_BYTES + rules + OUTPUT_BYTES * policy->output_count +
                       (policy->network_mode != SR_NETWORK_NONE ? DENIED_BYTES : 0);
    return 2 * closing + 4 * run_outputs_entry_bytes(run) + sr_event_log_bytes(run->log);
}

static int hold(struct run *run, uint64_t bytes, struct sr_error *err)
{
    int result = SR_FAILPOINT("prepare.reserve") ? -1 : 0;
    while (result == 0 && (result = fallocate(run->reserve_fd, 0, 0, (off_t)bytes)) < 0 &&
           errno == EINTR)
        result = 0;
    if (result == 0)
        run->reserved = bytes;
    else if (errno == EOPNOTSUPP)
        run->reserved = UINT64_MAX; /* never asked again */
    else
        return sr_fail(err, SR_EVD_001, "events.reserve",
                       "the disk of %s has no %llu KiB for the end of the run's evidence: %s; make "
                       "room, or name another with --workdir-base",
                       run->result->run_dir, (unsigned long long)bytes >> 10, strerror(errno));
    return 0;
}

int run_reserve_take(struct run *run, struct sr_error *err)
{
    run->reserve_fd =
        openat(run->dirfd, RUNS_RESERVE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (run->reserve_fd < 0)
        return sr_fail(err, SR_EVD_001, "events.reserve", RUNS_RESERVE " cannot be made: %s",
                       strerror(errno));
    return hold(run, needed(run) + STEP_BYTES, err);
}

int run_reserve_follow(struct run *run, struct sr_error *err)
{
    if (run->reserve_fd < 0 || needed(run) <= run->reserved)
        return 0;
    return hold(run, needed(run) + STEP_BYTES, err);
}

void run_reserve_give_back(struct run *run)
{
    sr_close_fd(&run->reserve_fd);
    runs_drop_reserve(run->dirfd);
}
