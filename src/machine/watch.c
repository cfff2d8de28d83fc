/*
 * What the loop serves of a machine: the VMM's end (pidfd), what it says of itself, the channel,
 * the console and the VMM's log. A guest has until its boot deadline to say hello; a VMM that was
 * killed has until its end deadline to be gone.
 *
 * The channel is always read: who takes what comes bounds it by credit. After machine_end() the
 * loop goes on until the VMM is gone and the streams are read to their end.
 */
#include "machine/machine_state.h"

#include "common/clock.h"
#include "common/fs.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static int wants_vmm(const void *owner, uint32_t *events)
{
    const struct machine *machine = owner;
    *events = EPOLLIN;
    return machine->phase == MACHINE_GONE ? -1 : machine->vmm.pidfd;
}

static int on_vmm_end(void *owner, struct sr_error *err)
{
    (void)err;
    machine_leave(owner);
    return 0;
}

static int wants_control(const void *owner, uint32_t *events)
{
    *events = EPOLLIN;
    return ((const struct machine *)owner)->vmm.control_fd;
}

static int on_control(void *owner, struct sr_error *err)
{
    struct machine *machine = owner;
    machine->driver->on_control(&machine->vmm);
    /* The VMM has its threads, and the guest's kernel starts: nobody waits for us, or makes
     * processes. */
    return cgroup_join(&machine->limits.cgroup, 2, err);
}

static int wants_channel(const void *owner, uint32_t *events)
{
    const struct machine *machine = owner;
    *events = machine->channel.out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN;
    return machine->channel_fd;
}

int machine_hear(struct machine *machine, struct sr_error *err)
{
    struct channel_event event;
    int result;
    while ((result = channel_next(&machine->channel, &event, err)) > 0) {
        if (event.type == CHANNEL_HELLO) {
            /* The caller has something to do before anything else is heard. The last word of a VM
             * that is gone may be its hello. */
            machine->boot_deadline = LOOP_NEVER;
            machine->heard = true;
            if (machine->phase == MACHINE_BOOTING)
                machine->phase = MACHINE_READY;
            return 0;
        }
        if (machine->plan.frame(machine->plan.context, &event, err) < 0)
            return -1;
    }
    return result;
}

static int on_channel(void *owner, struct sr_error *err)
{
    struct machine *machine = owner;
    size_t room;
    uint8_t *space = channel_space(&machine->channel, &room);
    ssize_t got = recv(machine->channel_fd, space, room, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0) { /* the VMM's end is closed; its exit says the rest */
        sr_close_fd(&machine->channel_fd);
        return 0;
    }
    channel_received(&machine->channel, (size_t)got);
    return machine_hear(machine, err);
}

int machine_flush(struct machine *machine, struct sr_error *err)
{
    size_t len;
    const char *data = channel_pending(&machine->channel, &len);
    if (!sr_buf_ok(&machine->channel.out))
        return sr_fail_vm(err, SR_RUN_001, "monitor.channel", "out of memory");
    if (len == 0 || machine->channel_fd < 0)
        return 0;
    ssize_t put = send(machine->channel_fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0)
        channel_sent(&machine->channel, (size_t)put);
    return 0; /* an error shows as the end of the channel */
}

/* Copies what has come on a console or log stream; beyond the limit it is read and dropped. */
static void on_tail(const struct machine *machine, struct machine_tail *tail)
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
    uint64_t room = machine->plan.config->logs_max - tail->logged;
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

static int wants_console(const void *owner, uint32_t *events)
{
    *events = EPOLLIN;
    return ((const struct machine *)owner)->console.in_fd;
}

static int on_console(void *owner, struct sr_error *err)
{
    struct machine *machine = owner;
    (void)err;
    on_tail(machine, &machine->console);
    return 0;
}

static int wants_vmm_log(const void *owner, uint32_t *events)
{
    *events = EPOLLIN;
    return ((const struct machine *)owner)->vmm_log.in_fd;
}

static int on_vmm_log(void *owner, struct sr_error *err)
{
    struct machine *machine = owner;
    (void)err;
    on_tail(machine, &machine->vmm_log);
    return 0;
}

static uint64_t boot_deadline(const void *owner)
{
    return ((const struct machine *)owner)->boot_deadline;
}

/* Before the VM is ended: whether its guest could have said something. */
static void note_silence(struct machine *machine)
{
    uint64_t cpu, memory;
    const struct host_cpu_times now =
        machine->boot_cpus.known ? host_cpu_times() : machine->boot_cpus;
    machine->silent = !vmm_is_stopped(&machine->vmm) &&
                      vmm_usage(&machine->vmm, &cpu, &memory) == 0 &&
                      host_cpu_was_free(&machine->boot_cpus, &now, cpu);
}

static void end_vm(struct machine *machine, bool forced)
{
    bool gone = machine->phase == MACHINE_GONE;
    machine->forced = machine->forced || forced;
    machine->ended_by_us = machine->ended_by_us || !gone;
    if (machine->end_deadline == LOOP_NEVER && !gone)
        machine->end_deadline = sr_now() + MACHINE_END_NSEC;
    if (machine->times.ended == 0)
        machine->times.ended = sr_now();
    vmm_kill(&machine->vmm);
}

void machine_end(struct machine *machine, bool forced)
{
    machine->asked = true;
    end_vm(machine, forced);
}

static int on_boot_deadline(void *owner, struct sr_error *err)
{
    struct machine *machine = owner;
    machine->boot_deadline = LOOP_NEVER;
    note_silence(machine);
    end_vm(machine, true);
    return sr_fail_vm(err, SR_RUN_002, "launch.vm",
                      "the guest did not say hello within %u ms under %s",
                      (unsigned)((sr_now() - machine->times.launched) / SR_NSEC_PER_MSEC),
                      vmm_accel_name(machine->accel));
}

static uint64_t end_deadline(const void *owner)
{
    return ((const struct machine *)owner)->end_deadline;
}

static int on_end_deadline(void *owner, struct sr_error *err)
{
    struct machine *machine = owner;
    machine->forced = true; /* what it holds open never comes to its end */
    machine_leave(machine);
    return sr_fail_vm(err, SR_RUN_001, "monitor.vm", "the VMM was killed and is not gone in %u s",
                      (unsigned)(MACHINE_END_NSEC / SR_NSEC_PER_SEC));
}

void machine_leave(struct machine *machine)
{
    uint64_t now = sr_now();
    machine->phase = MACHINE_GONE;
    machine->end_deadline = LOOP_NEVER;
    if (machine->times.ended == 0)
        machine->times.ended = now;
    machine->times.gone = now;
}

void machine_begin(struct machine *machine)
{
    for (size_t i = 0; i < MACHINE_SOURCES; i++) /* of the first VM, if there was one */
        loop_renew(machine->plan.loop, &machine->sources[i]);
    if (machine->times.launched == 0)
        machine->times.launched = sr_now();
    machine->times.ended = machine->times.gone = 0;
    machine->heard = machine->ended_by_us = machine->forced = machine->silent = false;
    machine->end_deadline = LOOP_NEVER;
    machine->phase = MACHINE_BOOTING;
}

bool machine_is_over(const struct machine *machine)
{
    return machine->phase == MACHINE_GONE && machine->channel_fd < 0 &&
           machine->console.in_fd < 0 && machine->vmm_log.in_fd < 0;
}

void machine_watch(struct machine *machine)
{
    static const struct loop_source sources[MACHINE_SOURCES] = {
        {.wants = wants_vmm, .ready = on_vmm_end},
        {.wants = wants_control, .ready = on_control},
        {.wants = wants_channel, .ready = on_channel},
        {.wants = wants_console, .ready = on_console},
        {.wants = wants_vmm_log, .ready = on_vmm_log},
    };
    static const struct loop_timer timers[MACHINE_TIMERS] = {
        {.deadline = boot_deadline, .due = on_boot_deadline},
        {.deadline = end_deadline, .due = on_end_deadline},
    };
    loop_add(machine->plan.loop, machine->sources, sources, MACHINE_SOURCES, machine);
    loop_add_timers(machine->plan.loop, machine->timers, timers, MACHINE_TIMERS, machine);
}
