/*
 * Theory of operation
 *
 * One loop (src/loop), one thread. Everything that can happen is a deadline or a descriptor: of the
 * machine, of the session, and here signals to safe-run, the net cell, the resolver and samples.
 * Nothing in the loop blocks but the fdatasync of evidence.
 *
 * Invariants:
 *   - The command was handed over only after every event before it is durable (run.c).
 *   - No process that stops holds the run: each deadline is somebody's, the net cell's for an
 *     answer among them.
 *   - The network goes down when the command has ended, or its time is over: before outputs are
 *     collected. Samples go on until the VM is gone.
 */
#include "runner/run_state.h"

#include "common/clock.h"
#include "evidence/observer.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define SAMPLE_NSEC SR_NSEC_PER_SEC

static int wants_signal(const void *owner, uint32_t *events)
{
    *events = EPOLLIN;
    return ((const struct run *)owner)->signals.fd;
}

static int on_signal(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    int number;
    (void)err;
    while (run_next_signal(run, &number)) {
        if (number == SIGINT && run->signals.interrupts++ == 0 &&
            session_phase(run->session) == SESSION_RUNNING) {
            session_signal(run->session, SIGINT);
            sr_tell(&run->tell, "interrupt passed on to the command; once more ends the VM");
            continue;
        }
        run->signals.ended_by = number;
        if (number == SIGINT)
            machine_end(run->machine, true);
        else
            session_ask_to_end(run->session, SIGTERM);
    }
    return 0;
}

/* The guest's word, which is kept apart. */
static json_t *guest_usage_facts(const struct channel_frame_usage *said)
{
    struct facts facts = facts_new();
    fact_text(&facts, EVIDENCE_OBSERVED_BY, EVIDENCE_OBSERVED_GUEST);
    fact_count(&facts, "cpuUsageUsec", said->cpu_usec);
    fact_count(&facts, "memoryUsedBytes", said->memory_bytes);
    return facts_end(&facts);
}

/* closing: the last one, for which there is always room. */
static int sample(struct run *run, bool closing, struct sr_error *err)
{
    struct cgroup_usage usage;
    const struct channel_frame_usage *said = session_guest_usage(run->session);
    const char *source;
    if (!closing && !run_has_event_room(run))
        return 0;
    if (machine_usage(run->machine, &usage, &source) < 0)
        return 0; /* it is ending */
    run->samples.count++;
    struct facts facts = facts_new();
    fact_count(&facts, "cpuUsageUsec", usage.cpu_usec);
    fact_count(&facts, "memoryCurrentBytes", usage.memory_bytes);
    fact_text(&facts, "source", source);
    if (usage.helpers_counted)
        fact_count(&facts, "helperCpuUsec", usage.helper_cpu_usec);
    if (said != NULL)
        fact_take(&facts, "guest", guest_usage_facts(said));
    return record_event(run->record, EVIDENCE_STAGE_MONITOR, SR_EVENT_RESOURCE_SAMPLED,
                        facts_end(&facts), err);
}

int run_frame(void *context, const struct channel_event *event, struct sr_error *err)
{
    return session_take(((struct run *)context)->session, event, err);
}

int run_started(void *context, struct sr_error *err)
{
    struct run *run = context;
    (void)err;
    run->samples.deadline = sr_now() + SAMPLE_NSEC;
    return 0;
}

int run_exited(void *context, struct sr_error *err)
{
    return sample(context, true, err);
}

int run_silenced(void *context, struct sr_error *err)
{
    return run_network_close(context, err);
}

int run_over(void *context, struct sr_error *err)
{
    struct run *run = context;
    machine_end(run->machine, false);
    return run_network_close(run, err);
}

static uint64_t sample_deadline(const void *owner)
{
    const struct run *run = owner;
    return machine_phase(run->machine) == MACHINE_GONE ? LOOP_NEVER : run->samples.deadline;
}

static int on_sample_deadline(void *owner, struct sr_error *err)
{
    struct run *run = owner;
    run->samples.deadline = sr_now() + SAMPLE_NSEC;
    return sample(run, false, err) < 0 ? -1 : run_network_sample(run, err);
}

static int wants_net(const void *owner, uint32_t *events)
{
    const struct run_network *network = &((const struct run *)owner)->network;
    *events = EPOLLIN;
    return network->net == NULL || network->state == RUN_NET_CLOSED ? -1 : network->net->fd;
}

static uint64_t cell_deadline(const void *owner)
{
    return run_network_deadline(owner);
}

static int refuse_lost_uplink(struct run *run, struct sr_error *err)
{
    struct run_network *network = &run->network;
    return network->state == RUN_NET_OPEN && network->net->lost ? net_lost(network->net, err) : 0;
}

static int on_net(void *owner, struct sr_error *err)
{
    return run_network_hear(owner, err) < 0 ? -1 : refuse_lost_uplink(owner, err);
}

static int wants_resolver(const void *owner, uint32_t *events)
{
    const struct run_network *network = &((const struct run *)owner)->network;
    if (network->net == NULL || network->net->resolver.fd <= 0)
        return -1;
    *events = network->net->resolver.asking && network->state == RUN_NET_OPEN ? EPOLLIN : 0;
    return network->net->resolver.fd;
}

/* When names are to be asked for again, or the question is given up. */
static uint64_t names_deadline(const void *owner)
{
    const struct run *run = owner;
    const struct net *net = run->network.net;
    if (run->network.state != RUN_NET_OPEN || session_phase(run->session) != SESSION_RUNNING ||
        net->talk.adding > 0)
        return LOOP_NEVER;
    return net->resolver.asking ? net->resolver.deadline : net->refresh_nsec;
}

static int on_names(void *owner, struct sr_error *err)
{
    return run_network_refresh(owner, err);
}

int run_monitor_open(struct run *run, struct sr_error *err)
{
    static const struct loop_source sources[RUN_SOURCES] = {
        {.wants = wants_signal, .ready = on_signal},
        {.wants = wants_net, .ready = on_net},
        {.wants = wants_resolver, .ready = on_names},
    };
    static const struct loop_timer timers[RUN_TIMERS] = {
        {.deadline = names_deadline, .due = on_names},
        {.deadline = cell_deadline, .due = on_net},
        {.deadline = sample_deadline, .due = on_sample_deadline},
    };
    run->samples.deadline = LOOP_NEVER;
    int result = loop_open(&run->loop);
    run->signals.fd = signalfd(-1, &run->signals.set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (result < 0 || run->signals.fd < 0)
        return sr_fail(err, SR_RUN_001, "prepare.monitor", "the event loop cannot be set up: %s",
                       strerror(result < 0 ? -result : errno));
    loop_add(&run->loop, run->sources, sources, RUN_SOURCES, run);
    machine_watch(run->machine);
    session_watch(run->session);
    loop_add_timers(&run->loop, run->timers, timers, RUN_TIMERS, run);
    return 0;
}

void run_monitor_close(struct run *run)
{
    loop_close(&run->loop);
    sr_close_fd(&run->signals.fd);
}

static bool over(const struct run *run)
{
    if (!machine_is_over(run->machine))
        return false;
    return machine_was_forced(run->machine) ||
           (!session_is_pending(run->session) && run->network.state != RUN_NET_CLOSING);
}

int run_monitor(struct run *run, struct sr_error *err)
{
    if (machine_hear(run->machine, err) < 0) /* what came right behind hello */
        return -1;
    while (!over(run))
        if (machine_flush(run->machine, err) < 0 || loop_step(&run->loop, err) < 0)
            return -1;
    return 0;
}
