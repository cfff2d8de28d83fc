#include "session/session_state.h"

#include "common/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct session *session_new(const struct session_plan *plan)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->plan = *plan;
    session->kill_deadline = LOOP_NEVER;
    session->stdin_open = plan->options->with_stdin;
    session->out.user_fd = session->out.log_fd = session->err.user_fd = session->err.log_fd = -1;
    return session;
}

void session_free(struct session *session)
{
    if (session == NULL)
        return;
    session_outputs_release(session);
    session_sink_close(&session->out);
    session_sink_close(&session->err);
    free(session);
}

int session_open_streams(struct session *session, struct sr_error *err)
{
    const struct sr_run_options *options = session->plan.options;
    uint64_t max = session->plan.config->logs_max;
    int log = record_stream(session->plan.record, "stdout.log", err);
    if (log < 0)
        return -1;
    session_sink_open(&session->out, "stdout", options->stdout_fd, log, max);
    log = record_stream(session->plan.record, "stderr.log", err);
    if (log < 0)
        return -1;
    session_sink_open(&session->err, "stderr", options->stderr_fd, log, max);
    return 0;
}

static struct channel *channel(const struct session *session)
{
    return machine_channel(session->plan.machine);
}

void session_start(struct session *session, const void *spec, size_t len)
{
    session->phase = SESSION_STARTING;
    channel_send_start(channel(session), spec, len, (uint32_t)session->plan.policy->output_count);
}

enum session_phase session_phase(const struct session *session)
{
    return session->phase;
}

void session_signal(struct session *session, int number)
{
    if (session->phase == SESSION_RUNNING)
        channel_send_signal(channel(session), (uint32_t)number);
}

static bool has_vm(const struct session *session)
{
    enum machine_phase phase = machine_phase(session->plan.machine);
    return phase == MACHINE_BOOTING || phase == MACHINE_READY;
}

void session_ask_to_end(struct session *session, int number)
{
    if (session->phase != SESSION_RUNNING || !has_vm(session)) {
        machine_end(session->plan.machine, true);
        return;
    }
    session_signal(session, number);
    if (session->kill_deadline == LOOP_NEVER)
        session->kill_deadline = sr_now() + SESSION_GRACE_NSEC;
}

bool session_is_pending(const struct session *session)
{
    return session_sink_holds(&session->out) || session_sink_holds(&session->err) ||
           session_outputs_pending(session);
}

const struct channel_frame_usage *session_guest_usage(const struct session *session)
{
    return session->has_guest_usage ? &session->guest_usage : NULL;
}

void session_outcome(const struct session *session, struct session_outcome *outcome)
{
    *outcome = (struct session_outcome){
        .started = session->started,
        .ended = session->ended,
        .timed_out = session->timed_out,
        .exited = session->exited,
        .exit = session->exit,
        .refused = session->refused,
        .refusal = session->refusal,
        .out = {session->out.bytes, session->out.logged},
        .err = {session->err.bytes, session->err.logged},
        .grace_nsec = SESSION_GRACE_NSEC * (session->outputs != NULL ? 2 : 1),
        .collect_nsec = session_outputs_limit_nsec(session),
    };
    outcome->lost = session_outputs_failure(session, &outcome->lost_word);
}

/* The command has ended, or never began, and the guest has said its last frame: its output is still
 * owed to the caller, but nothing more comes from the VM. */
static int be_over(struct session *session, struct sr_error *err)
{
    session->phase = SESSION_OVER;
    session->kill_deadline = LOOP_NEVER;
    return session->plan.over(session->plan.context, err);
}

/* The command has ended; what it left is still to come, in a time of its own and without a
 * network. */
static int begin_collecting(struct session *session, struct sr_error *err)
{
    session->phase = SESSION_COLLECTING;
    session->ended = sr_now();
    session->kill_deadline = LOOP_NEVER;
    session_outputs_begin(session);
    return session->plan.silenced(session->plan.context, err);
}

static int take_output(struct session *session, const struct channel_event *event,
                       struct sr_error *err)
{
    struct session_sink *sink =
        event->stream == CHANNEL_STREAM_STDOUT ? &session->out : &session->err;
    bool was_gone = sink->reader_gone;
    size_t passed;
    if (session_sink_write(sink, event->data, event->len, &passed, err) < 0)
        return -1;
    if (sink->reader_gone && !was_gone)
        channel_send_close(channel(session), event->stream);
    channel_credit(channel(session), event->stream, passed);
    return 0;
}

static int take_exit(struct session *session, const struct channel_frame_exit *end,
                     struct sr_error *err)
{
    session->exited = true;
    session->exit = *end;
    if (session->plan.exited(session->plan.context, err) < 0)
        return -1;
    return channel(session)->state == CHANNEL_COLLECTING ? begin_collecting(session, err)
                                                         : be_over(session, err);
}

int session_take(struct session *session, const struct channel_event *event, struct sr_error *err)
{
    switch (event->type) {
    case CHANNEL_STARTED:
        session->phase = SESSION_RUNNING;
        session->started = sr_now();
        return session->plan.started(session->plan.context, err);
    case CHANNEL_REFUSED:
        session->refused = event->status;
        machine_word_take(&session->refusal, event->data, event->len);
        return be_over(session, err);
    case CHANNEL_OUTPUT:
        return take_output(session, event, err);
    case CHANNEL_USAGE:
        session->guest_usage = event->usage;
        session->has_guest_usage = true;
        break;
    case CHANNEL_EXIT:
        return take_exit(session, &event->exit, err);
    case CHANNEL_ARCHIVE:
    case CHANNEL_COLLECTED:
        if (channel(session)->state == CHANNEL_ENDED && be_over(session, err) < 0)
            return -1;
        return session_outputs_take(session, event, err);
    case CHANNEL_HELLO: /* the machine's */
    case CHANNEL_STDIN_CREDIT:
        break;
    }
    return 0;
}

static int wants_stdin(const void *owner, uint32_t *events)
{
    const struct session *session = owner;
    *events = channel_stdin_room(channel(session)) > 0 ? EPOLLIN : 0;
    return session->stdin_open ? session->plan.options->stdin_fd : -1;
}

static int on_stdin(void *owner, struct sr_error *err)
{
    struct session *session = owner;
    char chunk[CHANNEL_FRAME_MAX_PAYLOAD];
    size_t room = channel_stdin_room(channel(session));
    if (room == 0)
        return 0;
    ssize_t got = read(session->plan.options->stdin_fd, chunk, room);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got < 0)
        return sr_fail(err, SR_RUN_001, "monitor.stdin", "stdin cannot be read: %s",
                       strerror(errno));
    if (got > 0) {
        channel_send_stdin(channel(session), chunk, (size_t)got);
        return 0;
    }
    session->stdin_open = false;
    channel_send_stdin_eof(channel(session));
    return 0;
}

static int sink_wants(const struct session_sink *sink, uint32_t *events)
{
    *events = session_sink_holds(sink) ? EPOLLOUT : 0;
    return sink->user_fd;
}

static int wants_stdout(const void *owner, uint32_t *events)
{
    return sink_wants(&((const struct session *)owner)->out, events);
}

static int wants_stderr(const void *owner, uint32_t *events)
{
    return sink_wants(&((const struct session *)owner)->err, events);
}

static int flush_sink(struct session *session, struct session_sink *sink,
                      enum channel_stream stream, struct sr_error *err)
{
    size_t passed;
    if (session_sink_flush(sink, &passed, err) < 0)
        return -1;
    if (sink->reader_gone)
        channel_send_close(channel(session), stream);
    channel_credit(channel(session), stream, passed);
    return 0;
}

static int on_stdout(void *owner, struct sr_error *err)
{
    struct session *session = owner;
    return flush_sink(session, &session->out, CHANNEL_STREAM_STDOUT, err);
}

static int on_stderr(void *owner, struct sr_error *err)
{
    struct session *session = owner;
    return flush_sink(session, &session->err, CHANNEL_STREAM_STDERR, err);
}

static int wants_outputs(const void *owner, uint32_t *events)
{
    bool writable = false;
    int fd = session_outputs_fd(owner, &writable);
    *events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN;
    return fd;
}

static int on_outputs(void *owner, struct sr_error *err)
{
    (void)err;
    session_outputs_ready(owner);
    return 0;
}

/* From the first VM's start to the command's end. */
static uint64_t timeout_deadline(const void *owner)
{
    const struct session *session = owner;
    uint64_t launched = machine_times(session->plan.machine).launched;
    if (launched == 0 || session->timed_out || session->phase >= SESSION_COLLECTING)
        return LOOP_NEVER;
    return launched + session->plan.timeout_sec * SR_NSEC_PER_SEC;
}

static int on_timeout(void *owner, struct sr_error *err)
{
    struct session *session = owner;
    session->timed_out = true;
    sr_tell(&session->plan.tell, "time is up: asking the command to end");
    session_ask_to_end(session, SIGTERM);
    return session->plan.silenced(session->plan.context, err);
}

static uint64_t outputs_deadline(const void *owner)
{
    return session_outputs_deadline(owner);
}

static int on_outputs_deadline(void *owner, struct sr_error *err)
{
    struct session *session = owner;
    (void)err;
    if (session_outputs_late(session))
        machine_end(session->plan.machine, false);
    return 0;
}

static uint64_t kill_deadline(const void *owner)
{
    return ((const struct session *)owner)->kill_deadline;
}

static int on_kill_deadline(void *owner, struct sr_error *err)
{
    struct session *session = owner;
    (void)err;
    if (session->phase == SESSION_RUNNING && has_vm(session) && session->outputs != NULL &&
        !session->asked_hard) {
        session->asked_hard = true; /* what it left can still be had */
        session_signal(session, SIGKILL);
        session->kill_deadline = sr_now() + SESSION_GRACE_NSEC;
    } else {
        session->kill_deadline = LOOP_NEVER;
        machine_end(session->plan.machine, true);
    }
    return 0;
}

void session_watch(struct session *session)
{
    static const struct loop_source sources[SESSION_SOURCES] = {
        {.wants = wants_stdin, .ready = on_stdin},
        {.wants = wants_stdout, .ready = on_stdout},
        {.wants = wants_stderr, .ready = on_stderr},
        {.wants = wants_outputs, .ready = on_outputs},
    };
    static const struct loop_timer timers[SESSION_TIMERS] = {
        {.deadline = timeout_deadline, .due = on_timeout},
        {.deadline = outputs_deadline, .due = on_outputs_deadline},
        {.deadline = kill_deadline, .due = on_kill_deadline},
    };
    loop_add(session->plan.loop, session->sources, sources, SESSION_SOURCES, session);
    loop_add_timers(session->plan.loop, session->timers, timers, SESSION_TIMERS, session);
}
