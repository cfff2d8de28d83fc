#include "session/sink.h"

#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

void session_sink_open(struct session_sink *sink, const char *name, int user_fd, int log_fd,
                       uint64_t log_max)
{
    *sink = (struct session_sink){
        .name = name, .user_fd = user_fd, .log_fd = log_fd, .log_max = log_max};
    struct stat st;
    if (user_fd < 0)
        return;
    if (fstat(user_fd, &st) < 0) {
        sink->user_fd = -1; /* closed by the caller, as in >&- */
        return;
    }
    if (S_ISSOCK(st.st_mode)) {
        sink->socket = true;
    } else if (!S_ISREG(st.st_mode)) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", user_fd);
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        sink->owned = fd >= 0;
        sink->may_block = fd < 0;
        if (fd >= 0)
            sink->user_fd = fd;
    }
}

/* How many bytes the user's descriptor took: 0 when it would block or its reader has gone. */
static ssize_t put(struct session_sink *sink, const uint8_t *data, size_t len)
{
    ssize_t result;
    if (sink->socket) {
        result = send(sink->user_fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        if (sink->may_block) {
            struct pollfd fd = {.fd = sink->user_fd, .events = POLLOUT};
            if (poll(&fd, 1, 0) <= 0)
                return 0;
            len = len < PIPE_BUF ? len : PIPE_BUF; /* what POLLOUT promises */
        }
        result = write(sink->user_fd, data, len);
    }
    if (result >= 0)
        return result;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    if (errno == EPIPE || errno == ECONNRESET) {
        sink->reader_gone = true;
        return 0;
    }
    return -1;
}

static int write_error(const struct session_sink *sink, struct sr_error *err, const char *what,
                       int error)
{
    char path[32];
    snprintf(path, sizeof path, "monitor.%s", sink->name);
    return sr_fail(err, SR_RUN_001, path, "%s cannot be written: %s", what, strerror(error));
}

int session_sink_flush(struct session_sink *sink, size_t *passed, struct sr_error *err)
{
    size_t before = sink->held_start;
    while (session_sink_holds(sink) && !sink->reader_gone) {
        ssize_t n = put(sink, sink->held + sink->held_start, sink->held_end - sink->held_start);
        if (n < 0)
            return write_error(sink, err, sink->name, errno);
        if (n == 0)
            break;
        sink->held_start += (size_t)n;
    }
    if (sink->reader_gone)
        sink->held_start = sink->held_end;
    *passed = sink->held_start - before;
    if (!session_sink_holds(sink))
        sink->held_start = sink->held_end = 0;
    return 0;
}

static int write_log(struct session_sink *sink, const void *data, size_t len, struct sr_error *err)
{
    uint64_t room = sink->log_max - sink->logged;
    if (len > room)
        len = (size_t)room;
    int result = sr_write_all(sink->log_fd, data, len);
    if (result < 0)
        return write_error(sink, err, "the run directory's copy", -result);
    sink->logged += len;
    return 0;
}

int session_sink_write(struct session_sink *sink, const void *data, size_t len, size_t *passed,
                       struct sr_error *err)
{
    const uint8_t *at = data;
    sink->bytes += len;
    if (write_log(sink, data, len, err) < 0)
        return -1;
    if (sink->user_fd < 0 || sink->reader_gone) {
        *passed = len;
        return 0;
    }
    size_t taken = 0;
    while (!session_sink_holds(sink) && taken < len && !sink->reader_gone) {
        ssize_t n = put(sink, at + taken, len - taken);
        if (n < 0)
            return write_error(sink, err, sink->name, errno);
        if (n == 0)
            break;
        taken += (size_t)n;
    }
    size_t rest = sink->reader_gone ? 0 : len - taken;
    if (sink->held_start > 0 && rest > sizeof sink->held - sink->held_end) {
        memmove(sink->held, sink->held + sink->held_start, sink->held_end - sink->held_start);
        sink->held_end -= sink->held_start;
        sink->held_start = 0;
    }
    /* Cannot happen: what is held was never credited, and the channel refuses more than a window.
     */
    if (rest > sizeof sink->held - sink->held_end)
        return sr_fail_vm(err, SR_RUN_001, "monitor.channel", "more output than its window");
    memcpy(sink->held + sink->held_end, at + taken, rest);
    sink->held_end += rest;
    *passed = len - rest;
    return 0;
}

void session_sink_close(struct session_sink *sink)
{
    if (sink->owned)
        sr_close_fd(&sink->user_fd);
    sr_close_fd(&sink->log_fd);
    sink->user_fd = -1;
}
