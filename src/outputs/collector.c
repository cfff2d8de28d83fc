/*
 * Two sockets join supervisor and worker: the worker's own (src/jail/worker.h), which says if it
 * cannot be confined, and one for the archives and results, which keeps the bounds of messages. To
 * the worker goes a byte that says what follows, then the bytes.
 */
#include "outputs/collector.h"

#include "image/archive_lib.h"
#include "outputs/unpack.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The largest piece in one message: a socket takes several. */
#define PIECE 32768u
/* A gigabyte takes seconds. */
#define CPU_SEC 600u
#define MEMORY_MAX (UINT64_C(64) << 20)

enum message { MESSAGE_DATA = 'd', MESSAGE_END = 'e', MESSAGE_CUT = 'c' };

/* The worker's side. */
struct serving {
    int socket, directory;
    const struct outputs_collector_output *outputs;
    uint32_t count;
    uint64_t entries_left;
    uint8_t message[1 + PIECE];
    bool over, whole; /* the archive that is read has ended */
};

/* The next message of an archive; its length without the first byte, 0 at the archive's end. */
static ssize_t receive_piece(struct serving *serving)
{
    ssize_t got;
    if (serving->over)
        return 0;
    do
        got = read(serving->socket, serving->message, sizeof serving->message);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        _exit(0); /* the supervisor has gone */
    if (serving->message[0] == MESSAGE_DATA)
        return got - 1;
    serving->over = true;
    serving->whole = serving->message[0] == MESSAGE_END;
    return 0;
}

static ssize_t next_piece(void *context, const void **data)
{
    struct serving *serving = context;
    ssize_t got = receive_piece(serving);
    *data = serving->message + 1;
    return got == 0 && !serving->whole ? -1 : got;
}

static void unpack_one(struct serving *serving, uint32_t i)
{
    struct sr_error err = {0};
    char path[32];
    snprintf(path, sizeof path, "outputs[%u]", i);
    struct outputs_unpack unpack = {
        .directory = serving->directory,
        .name = serving->outputs[i].name,
        .bytes_max = serving->outputs[i].bytes_max,
        .entries_left = serving->entries_left,
        .path = path,
        .next = next_piece,
        .context = serving,
    };
    serving->over = serving->whole = false;
    struct outputs_collector_result result = {.index = i};
    result.refused = outputs_unpack(&unpack, &err) < 0;
    result.cleared = unpack.cleared;
    if (result.refused == 0)
        serving->entries_left -= unpack.entries;
    snprintf(result.message, sizeof result.message, "%s", err.message);
    if (write(serving->socket, &result, sizeof result) < 0)
        _exit(0);
    while (receive_piece(serving) > 0)
        ; /* what is still on its way of an output that was refused */
}

static int serve(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    struct serving *serving = context;
    (void)worker, (void)result, (void)err;
    for (uint32_t i = 0; i < serving->count; i++)
        unpack_one(serving, i);
    return 0;
}

int outputs_collector_start(struct outputs_collector *collector, int directory,
                            const struct outputs_collector_output *outputs, uint32_t count,
                            uint64_t entries_max, int cgroup_fd, struct sr_error *err)
{
    uint64_t largest = 0;
    int pair[2];
    for (uint32_t i = 0; i < count; i++)
        largest = outputs[i].bytes_max > largest ? outputs[i].bytes_max : largest;
    if (image_archive_load(err) == NULL) /* the worker could not */
        return -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return sr_fail(err, SR_RUN_001, "prepare.outputs", "no socket for the collector: %s",
                       strerror(errno));
    sr_cleanup_fd int ours = pair[0], theirs = pair[1];
    struct serving serving = {.socket = theirs,
                              .directory = directory,
                              .outputs = outputs,
                              .count = count,
                              .entries_left = entries_max};
    *collector = (struct outputs_collector){
        .fd = -1,
        .count = count,
        .plan = {.what = "the collector of outputs",
                 .code = SR_RUN_001,
                 .path = "monitor.outputs",
                 .read_dir = -1,
                 .write_dir = directory,
                 .memory_max = MEMORY_MAX,
                 .file_max = largest,
                 .cpu_sec = CPU_SEC},
    };
    struct jail_worker_plan plan = collector->plan;
    plan.fds = &theirs;
    plan.fd_count = 1;
    plan.cgroup_fd = &cgroup_fd;
    if (jail_worker_start(&plan, serve, &serving, 0, &collector->process, err) < 0)
        return -1;
    collector->fd = sr_take_fd(&ours);
    return 0;
}

/* The worker has gone: why. */
static int lost(struct outputs_collector *collector, struct sr_error *err)
{
    sr_close_fd(&collector->fd);
    if (jail_worker_wait(&collector->plan, &collector->process, NULL, 0, err) == 0)
        return sr_fail(err, SR_RUN_001, "monitor.outputs", "the collector of outputs ended early");
    return -1;
}

/* 1: taken, 0: not now, -1: the worker has gone. */
static int send_message(struct outputs_collector *collector, const void *message, size_t len,
                        struct sr_error *err)
{
    ssize_t put = send(collector->fd, message, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put >= 0)
        return 1;
    return errno == EAGAIN || errno == EINTR ? 0 : lost(collector, err);
}

int outputs_collector_flush(struct outputs_collector *collector, size_t *passed,
                            struct sr_error *err)
{
    uint32_t len;
    *passed = 0;
    while (outputs_collector_holds(collector)) {
        const uint8_t *at = collector->held + collector->held_start;
        memcpy(&len, at, sizeof len);
        int taken = send_message(collector, at + sizeof len, len, err);
        if (taken <= 0)
            return taken;
        *passed += len - 1;
        collector->held_start += sizeof len + len;
    }
    collector->held_start = collector->held_last = collector->held_end = 0;
    return 0;
}

static void make_room(struct outputs_collector *collector)
{
    size_t start = collector->held_start;
    memmove(collector->held, collector->held + start, collector->held_end - start);
    collector->held_start = 0;
    collector->held_last -= collector->held_last >= start ? start : collector->held_last;
    collector->held_end -= start;
}

/* Holds a message, or more of the newest one. False: what is held was never credited, so the
 * channel has let too much through. */
static bool hold(struct outputs_collector *collector, enum message kind, const uint8_t *data,
                 size_t len)
{
    uint32_t before = 0;
    uint8_t *last = collector->held + collector->held_last;
    if (outputs_collector_holds(collector))
        memcpy(&before, last, sizeof before);
    if (before == 0 || kind != MESSAGE_DATA || last[sizeof before] != MESSAGE_DATA ||
        before - 1 + len > PIECE) {
        if (sizeof before + 1 + len > sizeof collector->held - collector->held_end)
            return false;
        collector->held_last = collector->held_end;
        last = collector->held + collector->held_last;
        before = 1;
        last[sizeof before] = (uint8_t)kind;
        collector->held_end += sizeof before + 1;
    }
    if (len > sizeof collector->held - collector->held_end)
        return false;
    memcpy(collector->held + collector->held_end, data, len);
    collector->held_end += len;
    before += (uint32_t)len;
    memcpy(last, &before, sizeof before);
    return true;
}

int outputs_collector_feed(struct outputs_collector *collector, const void *data, size_t len,
                           size_t *passed, struct sr_error *err)
{
    const uint8_t *at = data;
    make_room(collector);
    for (size_t done = 0; done < len;) {
        size_t piece = len - done < PIECE ? len - done : PIECE;
        if (!hold(collector, MESSAGE_DATA, at + done, piece))
            return sr_fail_vm(err, SR_RUN_001, "monitor.channel",
                              "more of an archive than its window");
        done += piece;
    }
    return outputs_collector_flush(collector, passed, err);
}

int outputs_collector_end(struct outputs_collector *collector, bool whole, size_t *passed,
                          struct sr_error *err)
{
    make_room(collector);
    collector->ended++;
    if (!hold(collector, whole ? MESSAGE_END : MESSAGE_CUT, (const uint8_t *)"", 0))
        return sr_fail_vm(err, SR_RUN_001, "monitor.channel", "more of an archive than its window");
    return outputs_collector_flush(collector, passed, err);
}

int outputs_collector_receive(struct outputs_collector *collector,
                              struct outputs_collector_result *result, struct sr_error *err)
{
    struct outputs_collector_result said;
    ssize_t got = recv(collector->fd, &said, sizeof said, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        return lost(collector, err);
    if (got != sizeof said || said.index != collector->answered || said.index >= collector->count)
        return sr_fail(err, SR_RUN_001, "monitor.outputs",
                       "the collector of outputs spoke nonsense");
    said.message[sizeof said.message - 1] = '\0';
    collector->answered++;
    *result = said;
    return 1;
}

void outputs_collector_stop(struct outputs_collector *collector)
{
    sr_close_fd(&collector->fd);
    jail_worker_kill(&collector->process);
}
