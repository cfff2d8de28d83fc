/*
 * The event loop of one thread: descriptors and deadlines, each with the function that it concerns.
 *
 *   1. loop_open().
 *   2. Sources and timers live in their owners. loop_add() and loop_add_timers() make them known,
 *      in the order in which they are to be served.
 *   3. loop_step(), again and again: asks every source and timer what it waits for, waits until
 *      something of that happens, and calls what it concerns.
 *   4. loop_close(). Owners may be gone by then.
 *
 * Owners are asked each time, so nobody has to tell the loop that a wish has changed. An owner that
 * closes a descriptor says so by -1, and calls loop_renew() when it opens another in its place.
 */
#ifndef SR_LOOP_LOOP_H
#define SR_LOOP_LOOP_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A deadline that does not come. Deadlines are nanoseconds of CLOCK_MONOTONIC. */
#define LOOP_NEVER UINT64_MAX

/* Is called when a descriptor is ready (or its other end is closed), or a deadline over. 0, or -1
 * with err, which loop_step() returns. */
typedef int loop_call(void *owner, struct sr_error *err);

struct loop_source {
    /* Returns the descriptor to wait for, -1 for none, and what for in *events: EPOLLIN, EPOLLOUT
     * or both; 0: nothing now. */
    int (*wants)(const void *owner, uint32_t *events);
    loop_call *ready;
    void *owner;
    /* The loop's. */
    struct loop_source *next;
    int fd;
    uint32_t armed; /* what epoll was asked for; 0: nothing */
    bool is_file;   /* epoll does not take it: it never blocks, and is always ready */
};

struct loop_timer {
    uint64_t (*deadline)(const void *owner);
    loop_call *due; /* the deadline is another one afterwards */
    void *owner;
    struct loop_timer *next; /* the loop's */
};

struct loop {
    int epoll_fd; /* -1: closed */
    struct loop_source *sources, **last_source;
    struct loop_timer *timers, **last_timer;
};

/* 0 or a negative errno. */
int loop_open(struct loop *loop) SR_MUST_CHECK;
void loop_close(struct loop *loop);

/* Adds count sources or timers, which are owner's and must live as long as loop_step() is called.
 * kinds has their functions; nothing else of it is looked at. */
void loop_add(struct loop *loop, struct loop_source *sources, const struct loop_source *kinds,
              size_t count, void *owner);
void loop_add_timers(struct loop *loop, struct loop_timer *timers, const struct loop_timer *kinds,
                     size_t count, void *owner);

/* Forgets the source's descriptor, which is closed or about to be: the next may have its number. */
void loop_renew(struct loop *loop, struct loop_source *source);

/* One round. Errors: SR-RUN-001 at monitor.loop, and those of the functions that are called, of
 * which none is called after one has failed. */
int loop_step(struct loop *loop, struct sr_error *err) SR_MUST_CHECK;

#endif
