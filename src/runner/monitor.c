/*
 * Theory of operation
 *
 * One loop, one thread. Everything that can happen is a descriptor in one epoll set: signals, the
 * nearest deadline (one timerfd), the VMM's end (pidfd), QMP, the guest channel, console and VMM
 * log, and the caller's stdin, stdout and stderr. Nothing in the loop blocks but the fdatasync of
 * evidence.
 *
 * Invariants:
 *   - The channel is always read. Output waits in a sink until the caller takes it; the guest has
 *     no credit for more than a window, so memory is bounded and a slow reader slows the guest,
 *     not us.
 *   - The command was handed over only after every event before it is durable (run.c).
 *   - After sr_vmm_kill() the loop goes on until the VMM is gone and the channel is read to its
 *     end: what the guest said last is not lost.
 *   - Deadlines: boot (a guest that never speaks), timeout (the policy's), kill (grace after a
 *     polite request), sample, those of outputs once the command has ended, the net cell's for an
 *     answer, and end (a VMM that was killed). So no process that stops holds the run.
 *   - The network goes down when the command has ended, or its time is over: before outputs are
 *     collected. Samples go on until the VM is gone.
 */
#include "runner/run_state.h"

#include "common/clock.h"
#include "common/fs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define NEVER UINT64_MAX
#define SAMPLE_NSEC SR_NSEC_PER_SEC

static int watch(struct run *run, enum run_source source, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = source};
    return epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* Asks for events of a source whose wishes change; 0 takes it out of the set. */
static void want(struct run *run, enum run_source source, int fd, uint32_t events)
{
    if (run->armed[source] == events || fd < 0)
        return;
    struct epoll_event event = {.events = events, .data.u32 = source};
    int how = run->armed[source] == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (epoll_ctl(run->epoll_fd, how, fd, &event) == 0)
        run->armed[source] = events;
    else if (source == SOURCE_STDIN) /* EPERM: /dev/null and other files that never block */
        run->stdin_always_ready = true;
}

int run_monitor_open(struct run *run, struct sr_error *err)
{
    run->boot_deadline = run->timeout_deadline = run->kill_deadline = run->sample_deadline =
        run->end_deadline = NEVER;
    run->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    run->signal_fd = signalfd(-1, &run->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    run->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (run->epoll_fd < 0 || run->signal_fd < 0 || run->timer_fd < 0 ||
        watch(run, SOURCE_SIGNAL, run->signal_fd, EPOLLIN) < 0 ||
        watch(run, SOURCE_TIMER, run->timer_fd, EPOLLIN) < 0)
        return sr_fail(err, SR_RUN_001, "prepare.monitor", "the event loop cannot be set up: %s",
                       strerror(errno));
    run->stdin_open = run->options->with_stdin;
    return 0;
}

int run_monitor_watch_vm(struct run *run, struct sr_error *err)
{
    run->armed[SOURCE_CHANNEL] = 0;
    run->vm_gone = run->ended_vm = run->forced = false; /* of the first VM, if there was one */
    run->kill_deadline = run->end_deadline = NEVER;
    want(run, SOURCE_CHANNEL, run->channel_fd, EPOLLIN);
    if (run->armed[SOURCE_CHANNEL] == 0 || watch(run, SOURCE_VMM, run->vmm.pidfd, EPOLLIN) < 0 ||
        watch(run, SOURCE_CONSOLE, run->console.in_fd, EPOLLIN) < 0 ||
        watch(run, SOURCE_VMM_LOG, run->vmm_log.in_fd, EPOLLIN) < 0 ||
        (run->vmm.qmp.fd >= 0 && watch(run, SOURCE_QMP, run->vmm.qmp.fd, EPOLLIN) < 0))
        return sr_fail(err, SR_RUN_001, "launch.monitor", "the VM cannot be watched: %s",
                       strerror(errno));
    return 0;
}

void run_monitor_close(struct run *run)
{
    sr_close_fd(&run->epoll_fd);
    sr_close_fd(&run->signal_fd);
    sr_close_fd(&run->timer_fd);
}

/* What has not come to its end by now has none of its own. */
static void note_end(struct run *run)
{
    uint64_t now = sr_now();
    if (run->times.ended == 0)
        run->times.ended = now;
    if (run->times.collected == 0)
        run->times.collected = now;
}

/* It is gone, or as good as that. */
static void leave_vm(struct run *run)
{
    run->vm_gone = true;
    run->kill_deadline = run->end_deadline = run->sample_deadline = NEVER;
    note_end(run);
    run->times.gone = sr_now();
}

void run_monitor_end(struct run *run)
{
    if (run->times.gone == 0)
        leave_vm(run);
}

/* Ends the VM now; the loop goes on until it is gone. */
static void end_vm(struct run *run)
{
    run->ended_vm = run->ended_vm || !run->vm_gone;
    run->kill_deadline = NEVER;
    if (run->end_deadline == NEVER && !run->vm_gone)
        run->end_deadline = sr_now() + RUN_END_NSEC;
    note_end(run);
    sr_vmm_kill(&run->vmm);
}

/* The same without waiting for what it still owes. */
static void force_end(struct run *run)
{
    run->forced = true;
    end_vm(run);
}

/* Asks the command to end and gives it the grace; without a command there is nobody to ask. */
static void ask_to_end(struct run *run, uint32_t signal_number)
{
    if (run->phase != PHASE_RUNNING) {
        force_end(run);
        return;
    }
    sr_channel_send_signal(&run->channel, signal_number);
    if (run->kill_deadline == NEVER)
        run->kill_deadline = sr_now() + RUN_GRACE_NSEC;
}

static void on_signal(struct run *run)
{
    struct signalfd_siginfo info;
    while (read(run->signal_fd, &info, sizeof info) == sizeof info) {
        int number = (int)info.ssi_signo;
        if (number == SIGINT && run->interrupts++ == 0 && run->phase == PHASE_RUNNING) {
            sr_channel_send_signal(&run->channel, SIGINT);
            run_progress(run, "interrupt passed on to the command; once more ends the VM");
            continue;
        }
        run->ended_by_signal = number;
        if (number == SIGINT)
            force_end(run);
        else
            ask_to_end(run, SIGTERM);
    }
}

bool run_interrupted(struct run *run)
{
    struct signalfd_siginfo info;
    if (run->ended_by_signal == 0 && read(run->signal_fd, &info, sizeof info) == sizeof info)
        run->ended_by_signal = (int)info.ssi_signo;
    return run->ended_by_signal != 0;
}

bool run_interrupted_again(struct run *run)
{
    struct signalfd_siginfo info;
    return read(run->signal_fd, &info, sizeof info) == sizeof info;
}

/* The guest's word, which is kept apart. */
static json_t *guest_usage_facts(const struct sr_frame_usage *said)
{
    struct facts facts = facts_new();
    fact_text(&facts, SR_OBSERVED_BY, SR_OBSERVED_GUEST);
    fact_count(&facts, "cpuUsageUsec", said->cpu_usec);
    fact_count(&facts, "memoryUsedBytes", said->memory_bytes);
    return facts_end(&facts);
}

/* closing: the last one, for which there is always room. */
static int sample(struct run *run, bool closing, struct sr_error *err)
{
    struct sr_cgroup_usage usage;
    const char *source;
    if (!closing && !run_has_event_room(run))
        return 0;
    if (run_usage(run, &usage, &source) < 0)
        return 0; /* it is ending */
    run->samples++;
    struct facts facts = facts_new();
    fact_count(&facts, "cpuUsageUsec", usage.cpu_usec);
    fact_count(&facts, "memoryCurrentBytes", usage.memory_bytes);
    fact_text(&facts, "source", source);
    if (usage.helpers_counted)
        fact_count(&facts, "helperCpuUsec", usage.helper_cpu_usec);
    if (run->has_guest_usage)
        fact_take(&facts, "guest", guest_usage_facts(&run->guest_usage));
    return run_event(run, SR_STAGE_MONITOR, SR_EVENT_RESOURCE_SAMPLED, facts_end(&facts), err);
}

/* When names are to be asked for again, or the question is given up. */
static uint64_t names_deadline(const struct run *run)
{
    if (run->net_state != RUN_NET_OPEN || run->phase != PHASE_RUNNING || run->net->talk.adding > 0)
        return NEVER;
    return run->net->resolver.asking ? run->net->resolver.deadline : run->net->refresh_nsec;
}

/* Acts on each deadline that has passed and sets the timer to the nearest that has not. */
static int on_deadlines(struct run *run, struct sr_error *err)
{
    uint64_t now = sr_now();
    if (now >= run->boot_deadline) {
        run->boot_deadline = NEVER;
        run_note_silence(run);
        force_end(run);
        return sr_fail_vm(
            err, SR_RUN_002, "launch.vm", "the guest did not say hello within %u ms under %s",
            (unsigned)((now - run->times.launched) / SR_NSEC_PER_MSEC), sr_accel_name(run->accel));
    }
    if (now >= run->timeout_deadline) {
        run->timeout_deadline = NEVER;
        run->timed_out = true;
        run_progress(run, "time is up: asking the command to end");
        ask_to_end(run, SIGTERM);
        if (run_network_close(run, err) < 0)
            return -1;
    }
    if (now >= run_outputs_deadline(run) && run_outputs_late(run))
        end_vm(run);
    if (now >= run->end_deadline) {
        run->end_deadline = NEVER;
        run->forced = true; /* what it holds open never comes to its end */
        leave_vm(run);
        return sr_fail_vm(err, SR_RUN_001, "monitor.vm",
                          "the VMM was killed and is not gone in %u s",
                          (unsigned)(RUN_END_NSEC / SR_NSEC_PER_SEC));
    }
    if (now >= run->kill_deadline && run->phase == PHASE_RUNNING && run->outputs != NULL &&
        !run->asked_hard) { /* what it left can still be had */
        run->asked_hard = true;
        sr_channel_send_signal(&run->channel, SIGKILL);
        run->kill_deadline = now + RUN_GRACE_NSEC;
    } else if (now >= run->kill_deadline) {
        force_end(run);
    }
    if (now >= names_deadline(run) && run_network_refresh(run, err) < 0)
        return -1;
    if (now >= run_network_deadline(run) && run_network_hear(run, err) < 0)
        return -1;
    if (now >= run->sample_deadline) {
        run->sample_deadline = now + SAMPLE_NSEC;
        if (sample(run, false, err) < 0 || run_network_sample(run, err) < 0)
            return -1;
    }
    return 0;
}

static int arm_timer(struct run *run, struct sr_error *err)
{
    const uint64_t deadlines[] = {
        run->boot_deadline,   run->timeout_deadline,     run->kill_deadline,
        run->sample_deadline, run->end_deadline,         run_outputs_deadline(run),
        names_deadline(run),  run_network_deadline(run),
    };
    uint64_t nearest = NEVER;
    for (size_t i = 0; i < sizeof deadlines / sizeof deadlines[0]; i++)
        nearest = deadlines[i] < nearest ? deadlines[i] : nearest;
    struct itimerspec when = {0};
    if (nearest != NEVER) {
        when.it_value.tv_sec = (time_t)(nearest / SR_NSEC_PER_SEC);
        when.it_value.tv_nsec = (long)(nearest % SR_NSEC_PER_SEC);
    }
    if (timerfd_settime(run->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        return sr_fail(err, SR_RUN_001, "monitor.timer", "timerfd_settime: %s", strerror(errno));
    return 0;
}

/* The command has ended, or never began, and the guest has said its last frame: its output is still
 * owed to the caller, but nothing more comes from the VM. */
static int begin_ending(struct run *run, struct sr_error *err)
{
    run->phase = PHASE_ENDING;
    run->timeout_deadline = NEVER;
    end_vm(run);
    return run_network_close(run, err);
}

/* The command has ended; what it left is still to come, in a time of its own and without a
 * network. */
static int begin_collecting(struct run *run, struct sr_error *err)
{
    run->phase = PHASE_COLLECTING;
    run->times.ended = sr_now();
    run->timeout_deadline = run->kill_deadline = NEVER;
    run_outputs_begin(run);
    return run_network_close(run, err);
}

static int on_output(struct run *run, const struct sr_channel_event *event, struct sr_error *err)
{
    struct sr_sink *sink = event->stream == SR_STREAM_STDOUT ? &run->out : &run->err;
    bool was_gone = sink->reader_gone;
    size_t passed;
    if (sr_sink_write(sink, event->data, event->len, &passed, err) < 0)
        return -1;
    if (sink->reader_gone && !was_gone)
        sr_channel_send_close(&run->channel, event->stream);
    sr_channel_credit(&run->channel, event->stream, passed);
    return 0;
}

static int on_channel_event(struct run *run, const struct sr_channel_event *event,
                            struct sr_error *err)
{
    switch (event->type) {
    case SR_CHANNEL_HELLO:
        run->boot_deadline = NEVER;
        run->phase = PHASE_STARTING;
        break;
    case SR_CHANNEL_STARTED:
        run->phase = PHASE_RUNNING;
        run->times.started = sr_now();
        run->sample_deadline = run->times.started + SAMPLE_NSEC;
        break;
    case SR_CHANNEL_REFUSED:
        run->refused = true;
        run->refused_status = event->status;
        run_word_take(&run->refusal, event->data, event->len);
        return begin_ending(run, err);
    case SR_CHANNEL_OUTPUT:
        return on_output(run, event, err);
    case SR_CHANNEL_STDIN_CREDIT:
        break;
    case SR_CHANNEL_USAGE:
        run->guest_usage = event->usage;
        run->has_guest_usage = true;
        break;
    case SR_CHANNEL_EXIT:
        run->has_exit = true;
        run->exit = event->exit;
        if (sample(run, true, err) < 0)
            return -1;
        return run->channel.state == SR_CHANNEL_COLLECTING ? begin_collecting(run, err)
                                                           : begin_ending(run, err);
    case SR_CHANNEL_ARCHIVE:
    case SR_CHANNEL_COLLECTED:
        if (run->channel.state == SR_CHANNEL_ENDED && begin_ending(run, err) < 0)
            return -1;
        return run_outputs_take(run, event, err);
    }
    return 0;
}

static int decode(struct run *run, struct sr_error *err)
{
    struct sr_channel_event event;
    int result;
    /* At hello the story goes on in run.c before anything else is read. */
    while ((result = sr_channel_next(&run->channel, &event, err)) > 0) {
        if (on_channel_event(run, &event, err) < 0)
            return -1;
        if (event.type == SR_CHANNEL_HELLO)
            return 0;
    }
    return result;
}

static int on_channel_readable(struct run *run, struct sr_error *err)
{
    size_t room;
    uint8_t *space = sr_channel_space(&run->channel, &room);
    ssize_t got = recv(run->channel_fd, space, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0) { /* the VMM's end is closed; its exit says the rest */
        sr_close_fd(&run->channel_fd);
        return 0;
    }
    sr_channel_received(&run->channel, (size_t)got);
    return decode(run, err);
}

static int send_to_guest(struct run *run, struct sr_error *err)
{
    size_t len;
    const char *data = sr_channel_pending(&run->channel, &len);
    if (!sr_buf_ok(&run->channel.out))
        return sr_fail_vm(err, SR_RUN_001, "monitor.channel", "out of memory");
    if (len == 0 || run->channel_fd < 0)
        return 0;
    ssize_t put = send(run->channel_fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0)
        sr_channel_sent(&run->channel, (size_t)put);
    return 0; /* an error shows as the end of the channel */
}

static int on_stdin(struct run *run, struct sr_error *err)
{
    char chunk[SR_FRAME_MAX_PAYLOAD];
    size_t room = sr_channel_stdin_room(&run->channel);
    if (room == 0)
        return 0;
    ssize_t got = read(run->options->stdin_fd, chunk, room);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got < 0)
        return sr_fail(err, SR_RUN_001, "monitor.stdin", "stdin cannot be read: %s",
                       strerror(errno));
    if (got > 0) {
        sr_channel_send_stdin(&run->channel, chunk, (size_t)got);
        return 0;
    }
    want(run, SOURCE_STDIN, run->options->stdin_fd, 0);
    run->stdin_open = false;
    sr_channel_send_stdin_eof(&run->channel);
    return 0;
}

static int on_sink_writable(struct run *run, struct sr_sink *sink, enum sr_stream stream,
                            struct sr_error *err)
{
    size_t passed;
    if (sr_sink_flush(sink, &passed, err) < 0)
        return -1;
    if (sink->reader_gone)
        sr_channel_send_close(&run->channel, stream);
    sr_channel_credit(&run->channel, stream, passed);
    return 0;
}

/* Copies what has come on a console or log stream; beyond the limit it is read and dropped. */
static void on_tail(const struct run *run, struct run_tail *tail)
{
    char chunk[4096];
    ssize_t got = recv(tail->in_fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        sr_close_fd(&tail->in_fd);
        return;
    }
    tail->bytes += (uint64_t)got;
    uint64_t room = run->config.logs_max - tail->logged;
    size_t keep = (uint64_t)got < room ? (size_t)got : (size_t)room;
    /* These files help a person find a fault; a full disk must not hide the guest's own end. */
    if (sr_write_all(tail->log_fd, chunk, keep) == 0)
        tail->logged += keep;
    size_t have = strlen(tail->last), size = sizeof tail->last - 1;
    for (ssize_t i = 0; i < got; i++) {
        if (have == size) {
            memmove(tail->last, tail->last + size / 2, have - size / 2);
            have -= size / 2;
        }
        tail->last[have++] = chunk[i] >= ' ' && chunk[i] <= '~' ? chunk[i] : ' ';
        tail->last[have] = '\0';
    }
}

static int dispatch(struct run *run, const struct epoll_event *event, struct sr_error *err)
{
    uint64_t expirations;
    switch ((enum run_source)event->data.u32) {
    case SOURCE_SIGNAL:
        on_signal(run);
        return 0;
    case SOURCE_TIMER:
        if (read(run->timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
            return sr_fail(err, SR_RUN_001, "monitor.timer", "timerfd: %s", strerror(errno));
        return on_deadlines(run, err);
    case SOURCE_VMM:
        leave_vm(run);
        return epoll_ctl(run->epoll_fd, EPOLL_CTL_DEL, run->vmm.pidfd, NULL);
    case SOURCE_QMP:
        sr_qmp_read(&run->vmm.qmp);
        /* The VMM has its threads, and the guest's kernel starts: nobody waits for us, or makes
         * processes. */
        return sr_cgroup_join(&run->cgroup, 2, err);
    case SOURCE_CHANNEL:
        if ((event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && run->channel_fd >= 0)
            return on_channel_readable(run, err);
        return 0;
    case SOURCE_CONSOLE:
        on_tail(run, &run->console);
        return 0;
    case SOURCE_VMM_LOG:
        on_tail(run, &run->vmm_log);
        return 0;
    case SOURCE_NET:
        return run_network_hear(run, err);
    case SOURCE_RESOLVER:
        return run_network_refresh(run, err);
    case SOURCE_STDIN:
        return on_stdin(run, err);
    case SOURCE_STDOUT:
        return on_sink_writable(run, &run->out, SR_STREAM_STDOUT, err);
    case SOURCE_STDERR:
        return on_sink_writable(run, &run->err, SR_STREAM_STDERR, err);
    case SOURCE_OUTPUTS:
        return run_outputs_ready(run, err);
    case SOURCE_COUNT:
        break;
    }
    return 0;
}

static void update_interest(struct run *run)
{
    bool to_guest = run->channel.out.len > 0;
    want(run, SOURCE_CHANNEL, run->channel_fd, to_guest ? EPOLLIN | EPOLLOUT : EPOLLIN);
    want(run, SOURCE_STDOUT, run->out.user_fd, sr_sink_holds(&run->out) ? EPOLLOUT : 0);
    want(run, SOURCE_STDERR, run->err.user_fd, sr_sink_holds(&run->err) ? EPOLLOUT : 0);
    bool writable = false;
    int outputs = run_outputs_fd(run, &writable);
    if (outputs < 0)
        run->armed[SOURCE_OUTPUTS] = 0; /* closed, and so out of the set */
    want(run, SOURCE_OUTPUTS, outputs, writable ? EPOLLIN | EPOLLOUT : EPOLLIN);
    if (run->net != NULL && run->net->fd < 0)
        run->armed[SOURCE_NET] = 0;
    else if (run->net != NULL)
        want(run, SOURCE_NET, run->net->fd, run->net_state == RUN_NET_CLOSED ? 0 : EPOLLIN);
    if (run->net != NULL && run->net->resolver.fd > 0)
        want(run, SOURCE_RESOLVER, run->net->resolver.fd,
             run->net->resolver.asking && run->net_state == RUN_NET_OPEN ? EPOLLIN : 0);
    if (run->options->with_stdin && !run->stdin_always_ready) {
        bool ready = run->stdin_open && sr_channel_stdin_room(&run->channel) > 0;
        want(run, SOURCE_STDIN, run->options->stdin_fd, ready ? EPOLLIN : 0);
    }
}

static bool over(const struct run *run)
{
    bool silent = run->channel_fd < 0 && run->console.in_fd < 0 && run->vmm_log.in_fd < 0;
    if (!run->vm_gone || !silent)
        return false;
    return run->forced || (!sr_sink_holds(&run->out) && !sr_sink_holds(&run->err) &&
                           !run_outputs_pending(run) && run->net_state != RUN_NET_CLOSING);
}

int run_monitor(struct run *run, bool to_the_end, struct sr_error *err)
{
    enum { BATCH = 16 };
    struct epoll_event events[BATCH];
    if (run->phase == PHASE_STARTING && decode(run, err) < 0) /* what came right behind hello */
        return -1;
    while (!over(run) && (to_the_end || run->phase == PHASE_BOOT)) {
        if (send_to_guest(run, err) < 0 || arm_timer(run, err) < 0)
            return -1;
        bool feed =
            run->stdin_always_ready && run->stdin_open && sr_channel_stdin_room(&run->channel) > 0;
        if (feed && on_stdin(run, err) < 0)
            return -1;
        update_interest(run);
        int count = epoll_wait(run->epoll_fd, events, BATCH, feed ? 0 : -1);
        if (count < 0 && errno != EINTR)
            return sr_fail(err, SR_RUN_001, "monitor.loop", "epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++)
            if (dispatch(run, &events[i], err) < 0)
                return -1;
        if (run->net_state == RUN_NET_OPEN && run->net->lost)
            return sr_net_lost(run->net, err);
    }
    if (over(run))
        run->phase = PHASE_OVER;
    return 0;
}
