/*
 * Where a stream of the guest's output goes: the caller's descriptor, without ever blocking on it,
 * and a log file in the run directory up to a limit.
 *
 * The caller's descriptor is shared with other processes, so it is never made non-blocking itself:
 * a pipe or terminal is opened anew through /proc, a socket is sent to with MSG_DONTWAIT, a regular
 * file does not block. What the descriptor does not take now is held here; the channel's flow
 * control bounds that to one window.
 */
#ifndef SR_SESSION_SINK_H
#define SR_SESSION_SINK_H

#include "channel/protocol.h"
#include "common/cleanup.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session_sink {
    const char *name; /* "stdout": for errors */
    int user_fd;      /* where to write; -1: nowhere (any more) */
    bool owned;       /* user_fd is ours to close */
    bool socket;
    bool may_block;   /* opening anew failed: small writes after poll only */
    bool reader_gone; /* the user's end was closed: EPIPE */
    int log_fd;
    uint64_t bytes, logged, log_max;
    size_t held_start, held_end;
    uint8_t held[CHANNEL_WINDOW];
};

/* user_fd may be -1. Takes log_fd. */
void session_sink_open(struct session_sink *sink, const char *name, int user_fd, int log_fd,
                       uint64_t log_max);

/*
 * Takes len bytes in. *passed is how many bytes left the sink (credit for the guest). Errors:
 * SR-RUN-001 at monitor.<name> when the log or the user's descriptor cannot be written.
 */
int session_sink_write(struct session_sink *sink, const void *data, size_t len, size_t *passed,
                       struct sr_error *err) SR_MUST_CHECK;

/* Writes what is held, as far as the descriptor takes it. */
int session_sink_flush(struct session_sink *sink, size_t *passed,
                       struct sr_error *err) SR_MUST_CHECK;

static inline bool session_sink_holds(const struct session_sink *sink)
{
    return sink->held_end > sink->held_start;
}

void session_sink_close(struct session_sink *sink);

#endif
