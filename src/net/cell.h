/*
 * The net cell: a process in the run's own network namespace and the only holder of CAP_NET_ADMIN
 * there. net.c starts it and speaks to it over a socketpair; nothing else includes this header.
 */
#ifndef SR_NET_CELL_H
#define SR_NET_CELL_H

#include "net/cell_plan.h"
#include "net/names.h"

#include <sys/types.h>

enum cell_operation {
    CELL_READY, /* cell to supervisor, once: everything is in place; the TAP's descriptor comes with
                   it */
    CELL_SAMPLE,  /* fill plan->sample */
    CELL_ADD,     /* more elements: an nft text follows the message */
    CELL_RELEASE, /* shut the TAP, answer with the last counters as CELL_SAMPLE does; then take
                     everything down, look whether it is gone, and answer again */
    /* Cell to supervisor, unasked: the uplink has ended; with an error, that the cell has ended
     * it. */
    CELL_LOST,
};

/* One message, either way. */
struct cell_message {
    enum cell_operation operation;
    uint32_t uplink_address; /* CELL_READY with a bridge: the one of the pool that was free */
    struct sr_error error;   /* code SR_OK: done */
};

/* For the caller of cell_start() with new_user: maps root of the cell's user namespace to plan->uid
 * and lets the cell go on. socket is the supervisor's end. SR-RUN-201. */
int cell_map_ids(const struct cell_plan *plan, pid_t pid, int socket,
                 struct sr_error *err) SR_MUST_CHECK;

/* Starts the cell as a child in pid and mount (and, with new_user, user) namespaces of its own.
 * Returns its pidfd and *pid, or -1 with err. */
int cell_start(const struct cell_plan *plan, pid_t *pid, struct sr_error *err) SR_MUST_CHECK;

#endif
