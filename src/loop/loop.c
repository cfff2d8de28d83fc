#include "loop/loop.h"

#include "common/clock.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

int loop_open(struct loop *loop)
{
    *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    loop->last_source = &loop->sources;
    loop->last_timer = &loop->timers;
    return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_close(struct loop *loop)
{
    sr_close_fd(&loop->epoll_fd);
    loop->sources = NULL;
    loop->timers = NULL;
}

void loop_add(struct loop *loop, struct loop_source *sources, const struct loop_source *kinds,
              size_t count, void *owner)
{
    for (size_t i = 0; i < count; i++) {
        sources[i] = (struct loop_source){
            .wants = kinds[i].wants, .ready = kinds[i].ready, .owner = owner, .fd = -1};
        *loop->last_source = &sources[i];
        loop->last_source = &sources[i].next;
    }
}

void loop_add_timers(struct loop *loop, struct loop_timer *timers, const struct loop_timer *kinds,
                     size_t count, void *owner)
{
    for (size_t i = 0; i < count; i++) {
        timers[i] =
            (struct loop_timer){.deadline = kinds[i].deadline, .due = kinds[i].due, .owner = owner};
        *loop->last_timer = &timers[i];
        loop->last_timer = &timers[i].next;
    }
}

void loop_renew(struct loop *loop, struct loop_source *source)
{
    if (source->armed != 0)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->armed = 0;
    source->fd = -1;
    source->is_file = false;
}

/* What an owner has let go of, closed or not, leaves the set before anything with its number can
 * enter it. */
static void drop_sources(struct loop *loop)
{
    for (struct loop_source *source = loop->sources; source != NULL; source = source->next) {
        uint32_t events = 0;
        if (source->armed != 0 && source->wants(source->owner, &events) != source->fd)
            loop_renew(loop, source);
    }
}

/* Asks for what the source waits for, if that is not what was asked for. 0 or a negative errno. */
static int arm(const struct loop *loop, struct loop_source *source, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    int how = source->armed == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    int result = epoll_ctl(loop->epoll_fd, how, fd, &event) < 0 ? -errno : 0;
    if (result == -EEXIST) /* another source has this descriptor now: it is asked for again */
        return 0;
    if (result < 0 && result != -EPERM)
        return result;
    source->is_file = result == -EPERM;
    source->fd = fd;
    source->armed = source->is_file ? 0 : events;
    return 0;
}

/* Whether a file that is always ready is to be served without waiting; or a negative errno. */
static int ask_sources(struct loop *loop)
{
    int ready = 0;
    drop_sources(loop);
    for (struct loop_source *source = loop->sources; source != NULL; source = source->next) {
        uint32_t events = 0;
        int fd = source->wants(source->owner, &events), result = 0;
        if (fd >= 0 && source->armed != events && !source->is_file)
            result = arm(loop, source, fd, events);
        if (result < 0)
            return result;
        ready |= fd >= 0 && source->is_file && events != 0;
    }
    return ready;
}

/* Milliseconds until the nearest deadline, rounded up; -1: there is none. */
static int time_left(const struct loop *loop)
{
    uint64_t nearest = LOOP_NEVER;
    for (const struct loop_timer *timer = loop->timers; timer != NULL; timer = timer->next) {
        uint64_t deadline = timer->deadline(timer->owner);
        nearest = deadline < nearest ? deadline : nearest;
    }
    if (nearest == LOOP_NEVER)
        return -1;
    uint64_t now = sr_now();
    uint64_t left = nearest <= now ? 0 : (nearest - now - 1) / SR_NSEC_PER_MSEC + 1;
    return left < INT_MAX ? (int)left : INT_MAX;
}

static int serve_files(const struct loop *loop, struct sr_error *err)
{
    for (struct loop_source *source = loop->sources; source != NULL; source = source->next) {
        uint32_t events = 0;
        if (source->is_file && source->wants(source->owner, &events) >= 0 && events != 0 &&
            source->ready(source->owner, err) < 0)
            return -1;
    }
    return 0;
}

static int serve_timers(const struct loop *loop, struct sr_error *err)
{
    uint64_t now = sr_now();
    for (const struct loop_timer *timer = loop->timers; timer != NULL; timer = timer->next)
        if (now >= timer->deadline(timer->owner) && timer->due(timer->owner, err) < 0)
            return -1;
    return 0;
}

int loop_step(struct loop *loop, struct sr_error *err)
{
    enum { BATCH = 16 };
    struct epoll_event events[BATCH];
    int files = ask_sources(loop);
    if (files < 0)
        return sr_fail(err, SR_RUN_001, "monitor.loop", "epoll_ctl: %s", strerror(-files));
    int count = epoll_wait(loop->epoll_fd, events, BATCH, files > 0 ? 0 : time_left(loop));
    if (count < 0 && errno != EINTR)
        return sr_fail(err, SR_RUN_001, "monitor.loop", "epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        struct loop_source *source = events[i].data.ptr;
        /* One that was served before it may have ended what this one was about. */
        uint32_t wanted = 0;
        if (source->armed != 0 && source->wants(source->owner, &wanted) == source->fd &&
            source->ready(source->owner, err) < 0)
            return -1;
    }
    return serve_files(loop, err) < 0 ? -1 : serve_timers(loop, err);
}
