/*
 * Theory of operation
 *
 * One loop (src/loop), one thread. Everything that can happen is a deadline or a descriptor:
 * signals, the VMM's end (pidfd), what it says of itself, the guest channel, console and VMM log, and the caller's
 * stdin, stdout and stderr. Nothing in the loop blocks but the fdatasync of evidence.
 *
 * Invariants:
 *   - The channel is always read. Output waits in a sink until the caller takes it; the guest has
 *     no credit for more than a window, so memory is bounded and a slow reader slows the guest,
 *     not us.
 *   - The command was handed over only after every event before it is durable (run.c).
 *   - After vmm_kill() the loop goes on until the VMM is gone and the channel is read to its
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

#define SAMPLE_NSEC SR_NSEC_PER_SEC

static int wants_signal(const void *owner, uint32_t *events)
{
    *events = EPOLLIN;
    return ((const struct run *)owner)->signal_fd;
}

static int wants_vmm(const void *owner, uint32_t *events)
{
    const struct run *run = owner;
    *events = EPOLLIN;
    return run->vm_gone ? -1 : run->vmm.pidfd;
}

static int wants_control(const void *owner, uint32_t *events)
{
    *events = EPOLLIN;
    return ((const struct run *)owner)->vmm.control_fd;
}

static int wants_channel(const void *owner, uint32_t *events)
{
    const struct run *run = owner;
    *events = run->channel.out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN;
    return run->channel_fd;
}

static int wants_console(const void *owner, uint32_t *events)
{
    *events = EPOLLIN;
    return ((const struct run *)owner)->console.in_fd;
}

static int wants_vmm_log(const void *owner, uint32_t *events)
{
    *events = EPOLLIN;
    return ((const struct run *)owner)->vmm_log.in_fd;
}

static int wants_net(const void *owner, uint32_t *events)
{
    const struct run *run = owner;
    *events = EPOLLIN;
    return run->net == NULL || run->net_state == RUN_NET_CLOSED ? -1 : run->net->fd;
}

static int wants_resolver(const void *owner, uint32_t *events)
{
    const struct run *run = owner;
    if (run->net == NULL || run->net->resolver.fd <= 0)
        return -1;
    *events = run->net->resolver.asking && run->net_state == RUN_NET_OPEN ? EPOLLIN : 0;
    return run->net->resolver.fd;
}

static int wants_stdin(const void *owner, uint32_t *events)
{
    const struct run *run = owner;
    *events = sr_channel_stdin_room(&run->channel) > 0 ? EPOLLIN : 0;
    return run->stdin_open ? run->options->stdin_fd : -1;
}

static int wants_stdout(const void *owner, uint32_t *events)
{
    const struct run *run = owner;
    *events = sr_sink_holds(&run->out) ? EPOLLOUT : 0;
    return run->out.user_fd;
}

static int wants_stderr(const void *owner, uint32_t *events)
{
    const struct run *run = owner;
    *events = sr_sink_holds(&run->err) ? EPOLLOUT : 0;
    return run->err.user_fd;
}

static int wants_outputs(const void *owner, uint32_t *events)
{
    bool writable = false;
    int fd = run_outputs_fd(owner, &writable);
    *events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN;
    return fd;
}

void run_monitor_close(struct run *run)
{
    loop_close(&run->loop);
    sr_close_fd(&run->signal_fd);
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
    run->kill_deadline = run->end_deadline = run->sample_deadline = LOOP_NEVER;
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
    run->kill_deadline = LOOP_NEVER;
    if (run->end_deadline == LOOP_NEVER && !run->vm_gone)
        run->end_deadline = sr_now() + RUN_END_NSEC;
    note_end(run);
    vmm_kill(&run->vmm);
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
    if (run->kill_deadline == LOOP_NEVER)
        run->kill_deadline = sr_now() + RUN_GRACE_NSEC;
}

static int on_signal(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    struct signalfd_siginfo info;
    (void)err;
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
    return 0;
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

static uint64_t boot_deadline(const void *owner)
{
    return ((const struct run *)owner)->boot_deadline;
}

static int on_boot_deadline(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    run->boot_deadline = LOOP_NEVER;
    run_note_silence(run);
    force_end(run);
    return sr_fail_vm(err, SR_RUN_002, "launch.vm",
                      "the guest did not say hello within %u ms under %s",
                      (unsigned)((sr_now() - run->times.launched) / SR_NSEC_PER_MSEC),
                      vmm_accel_name(run->accel));
}

static uint64_t timeout_deadline(const void *owner)
{
    return ((const struct run *)owner)->timeout_deadline;
}

static int on_timeout(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    run->timeout_deadline = LOOP_NEVER;
    run->timed_out = true;
    run_progress(run, "time is up: asking the command to end");
    ask_to_end(run, SIGTERM);
    return run_network_close(run, err);
}

static uint64_t outputs_deadline(const void *owner)
{
    return run_outputs_deadline(owner);
}

static int on_outputs_deadline(void *owner, struct sr_error *err)
{
    (void)err;
    if (run_outputs_late(owner))
        end_vm(owner);
    return 0;
}

static uint64_t end_deadline(const void *owner)
{
    return ((const struct run *)owner)->end_deadline;
}

static int on_end_deadline(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    run->end_deadline = LOOP_NEVER;
    run->forced = true; /* what it holds open never comes to its end */
    leave_vm(run);
    return sr_fail_vm(err, SR_RUN_001, "monitor.vm", "the VMM was killed and is not gone in %u s",
                      (unsigned)(RUN_END_NSEC / SR_NSEC_PER_SEC));
}

static uint64_t kill_deadline(const void *owner)
{
    return ((const struct run *)owner)->kill_deadline;
}

static int on_kill_deadline(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    (void)err;
    if (run->phase == PHASE_RUNNING && run->outputs != NULL && !run->asked_hard) {
        run->asked_hard = true; /* what it left can still be had */
        sr_channel_send_signal(&run->channel, SIGKILL);
        run->kill_deadline = sr_now() + RUN_GRACE_NSEC;
    } else {
        force_end(run);
    }
    return 0;
}

/* When names are to be asked for again, or the question is given up. */
static uint64_t names_deadline(const void *owner)
{
    const struct run *run = owner;
    if (run->net_state != RUN_NET_OPEN || run->phase != PHASE_RUNNING || run->net->talk.adding > 0)
        return LOOP_NEVER;
    return run->net->resolver.asking ? run->net->resolver.deadline : run->net->refresh_nsec;
}

static int on_names(void *owner, struct sr_error *err)
{
    return run_network_refresh(owner, err);
}

static uint64_t net_deadline(const void *owner)
{
    return run_network_deadline(owner);
}

static int on_net(void *owner, struct sr_error *err)
{
    return run_network_hear(owner, err);
}

static uint64_t sample_deadline(const void *owner)
{
    return ((const struct run *)owner)->sample_deadline;
}

static int on_sample_deadline(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    run->sample_deadline = sr_now() + SAMPLE_NSEC;
    return sample(run, false, err) < 0 ? -1 : run_network_sample(run, err);
}

/* The command has ended, or never began, and the guest has said its last frame: its output is still
 * owed to the caller, but nothing more comes from the VM. */
static int begin_ending(struct run *run, struct sr_error *err)
{
    run->phase = PHASE_ENDING;
    run->timeout_deadline = LOOP_NEVER;
    end_vm(run);
    return run_network_close(run, err);
}

/* The command has ended; what it left is still to come, in a time of its own and without a
 * network. */
static int begin_collecting(struct run *run, struct sr_error *err)
{
    run->phase = PHASE_COLLECTING;
    run->times.ended = sr_now();
    run->timeout_deadline = run->kill_deadline = LOOP_NEVER;
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
        run->boot_deadline = LOOP_NEVER;
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

static int on_channel(void *owner, struct sr_error *err)
{
    struct run *run = owner;
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

static int on_stdin(void *owner, struct sr_error *err)
{
    struct run *run = owner;
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

static int on_stdout(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    return on_sink_writable(run, &run->out, SR_STREAM_STDOUT, err);
}

static int on_stderr(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    return on_sink_writable(run, &run->err, SR_STREAM_STDERR, err);
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

static int on_console(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    (void)err;
    on_tail(run, &run->console);
    return 0;
}

static int on_vmm_log(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    (void)err;
    on_tail(run, &run->vmm_log);
    return 0;
}

static int on_vmm_end(void *owner, struct sr_error *err)
{
    (void)err;
    leave_vm(owner);
    return 0;
}

static int on_control(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    run->driver->on_control(&run->vmm);
    /* The VMM has its threads, and the guest's kernel starts: nobody waits for us, or makes
     * processes. */
    return sr_cgroup_join(&run->cgroup, 2, err);
}

static int on_outputs(void *owner, struct sr_error *err)
{
    return run_outputs_ready(owner, err);
}

int run_monitor_open(struct run *run, struct sr_error *err)
{
    static const struct loop_source sources[RUN_SOURCES] = {
        {.wants = wants_signal, .ready = on_signal},
        {.wants = wants_vmm, .ready = on_vmm_end},
        {.wants = wants_control, .ready = on_control},
        {.wants = wants_channel, .ready = on_channel},
        {.wants = wants_console, .ready = on_console},
        {.wants = wants_vmm_log, .ready = on_vmm_log},
        {.wants = wants_net, .ready = on_net},
        {.wants = wants_resolver, .ready = on_names},
        {.wants = wants_stdin, .ready = on_stdin},
        {.wants = wants_stdout, .ready = on_stdout},
        {.wants = wants_stderr, .ready = on_stderr},
        {.wants = wants_outputs, .ready = on_outputs},
    };
    static const struct loop_timer timers[RUN_TIMERS] = {
        {.deadline = boot_deadline, .due = on_boot_deadline},
        {.deadline = timeout_deadline, .due = on_timeout},
        {.deadline = outputs_deadline, .due = on_outputs_deadline},
        {.deadline = end_deadline, .due = on_end_deadline},
        {.deadline = kill_deadline, .due = on_kill_deadline},
        {.deadline = names_deadline, .due = on_names},
        {.deadline = net_deadline, .due = on_net},
        {.deadline = sample_deadline, .due = on_sample_deadline},
    };
    run->boot_deadline = run->timeout_deadline = run->kill_deadline = run->sample_deadline =
        run->end_deadline = LOOP_NEVER;
    run->stdin_open = run->options->with_stdin;
    int result = loop_open(&run->loop);
    run->signal_fd = signalfd(-1, &run->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (result < 0 || run->signal_fd < 0)
        return sr_fail(err, SR_RUN_001, "prepare.monitor", "the event loop cannot be set up: %s",
                       strerror(result < 0 ? -result : errno));
    for (size_t i = 0; i < RUN_SOURCES; i++) {
        run->sources[i] = sources[i];
        run->sources[i].owner = run;
        loop_add(&run->loop, &run->sources[i]);
    }
    for (size_t i = 0; i < RUN_TIMERS; i++) {
        run->timers[i] = timers[i];
        run->timers[i].owner = run;
        loop_add_timer(&run->loop, &run->timers[i]);
    }
    return 0;
}

void run_monitor_watch_vm(struct run *run)
{
    for (size_t i = 0; i < RUN_SOURCES; i++) /* of the first VM, if there was one */
        loop_renew(&run->loop, &run->sources[i]);
    run->vm_gone = run->ended_vm = run->forced = false;
    run->kill_deadline = run->end_deadline = LOOP_NEVER;
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
    if (run->phase == PHASE_STARTING && decode(run, err) < 0) /* what came right behind hello */
        return -1;
    while (!over(run) && (to_the_end || run->phase == PHASE_BOOT)) {
        if (send_to_guest(run, err) < 0 || loop_step(&run->loop, err) < 0)
            return -1;
        if (run->net_state == RUN_NET_OPEN && run->net->lost)
            return sr_net_lost(run->net, err);
    }
    if (over(run))
        run->phase = PHASE_OVER;
    return 0;
}
