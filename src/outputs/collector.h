/*
 * The collector: the worker that unpacks a run's outputs, and the supervisor's talk with it.
 *
 *   1. outputs_collector_start() while the supervisor may still start processes that confine
 *      themselves, before the VM starts.
 *   2. For each output in turn its archive by outputs_collector_feed(), then
 *      outputs_collector_end().
 *   3. outputs_collector_receive() when fd is readable: what became of each.
 *   4. outputs_collector_stop().
 *
 * Nothing blocks. What the worker does not take at once is held here and is not credited to the
 * guest, so it is a window at most. What the worker reads may take it over: its answer can only
 * make the supervisor refuse an output, and the supervisor itself looks at what is there in the
 * end.
 */
#ifndef SR_OUTPUTS_COLLECTOR_H
#define SR_OUTPUTS_COLLECTOR_H

#include "common/cleanup.h"
#include "jail/worker.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A window of the channel, and the heads of the messages it makes: there is at least a piece in
 * every two of them, or an end. */
#define OUTPUTS_COLLECTOR_HELD_MAX (256u * 1024u + 4096u)

/* What is to be collected. */
struct outputs_collector_output {
    char name[64]; /* in the directory */
    uint64_t bytes_max;
};

/* What became of an output. */
struct outputs_collector_result {
    uint32_t index;
    uint32_t refused; /* or could not be written; message says why */
    uint32_t cleared; /* files that lost a set-user-id, set-group-id or sticky bit */
    char message[512];
};

struct outputs_collector {
    int fd; /* to poll; -1: not running */
    struct jail_worker_process process;
    struct jail_worker_plan plan;
    uint32_t count, ended, answered;
    size_t held_start, held_last, held_end; /* messages, each with a head; held_last: the newest */
    uint8_t held[OUTPUTS_COLLECTOR_HELD_MAX];
};

/* Starts it for count outputs below directory, whose descriptor and outputs stay the caller's, with
 * at most so many entries in all, in a cgroup of version 2 (-1: the caller's). Takes collector
 * uninitialised. Errors: SR-RUN-001 at prepare.outputs. */
int outputs_collector_start(struct outputs_collector *collector, int directory,
                            const struct outputs_collector_output *outputs, uint32_t count,
                            uint64_t entries_max, int cgroup_fd,
                            struct sr_error *err) SR_MUST_CHECK;

/* Takes a piece of the current output's archive; *passed is how many bytes the worker took, of this
 * and earlier pieces. */
int outputs_collector_feed(struct outputs_collector *collector, const void *data, size_t len,
                           size_t *passed, struct sr_error *err) SR_MUST_CHECK;
/* Takes the end of that output's archive; whole: all of it came. */
int outputs_collector_end(struct outputs_collector *collector, bool whole, size_t *passed,
                          struct sr_error *err) SR_MUST_CHECK;
/* Sends what is held. Call when fd is writable. */
int outputs_collector_flush(struct outputs_collector *collector, size_t *passed,
                            struct sr_error *err) SR_MUST_CHECK;
static inline bool outputs_collector_holds(const struct outputs_collector *collector)
{
    return collector->fd >= 0 && collector->held_end > collector->held_start;
}

/* Call when fd is readable. Returns 1 with result filled; 0 when nothing is there yet; -1 when the
 * worker died (SR-RUN-001 at monitor.outputs). */
int outputs_collector_receive(struct outputs_collector *collector,
                              struct outputs_collector_result *result,
                              struct sr_error *err) SR_MUST_CHECK;

/* True when every output that has ended is answered. */
static inline bool outputs_collector_idle(const struct outputs_collector *collector)
{
    return collector->fd < 0 || collector->answered >= collector->ended;
}

/* Ends the worker, whatever it does; again does no harm. */
void outputs_collector_stop(struct outputs_collector *collector);

#endif
