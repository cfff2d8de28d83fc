/*
 * The net cell: a process in the run's own network namespace and the only holder of CAP_NET_ADMIN
 * there. net.c starts it, and talk.c speaks to it over a socketpair.
 */
#ifndef SR_NET_CELL_H
#define SR_NET_CELL_H

#include "net/cell_plan.h"
#include "net/names.h"

#include <sys/types.h>

enum cell_operation {
    /* From the cell, once: everything is in place. The TAP's descriptor comes with it. */
    CELL_READY,
    CELL_SAMPLE, /* fill plan->sample */
    CELL_ADD,    /* add elements: an nft text follows the message */
    /* Shut the TAP and answer with the last counters as CELL_SAMPLE does; then take everything
     * down, check that it is gone, and answer again. */
    CELL_RELEASE,
    /* From the cell, unasked: the uplink has ended; with an error, the cell has ended it. */
    CELL_LOST,
};

/* One message, either way. */
struct cell_message {
    enum cell_operation operation;
    uint32_t uplink_address; /* CELL_READY with a bridge: the free address of the pool */
    struct sr_error error;   /* code SR_OK: done */
};

/* Maps root of the cell's user namespace to plan->uid and lets the cell go on. Call after
 * cell_start() with new_user. socket is the supervisor's end. SR-RUN-201. */
int cell_map_ids(const struct cell_plan *plan, pid_t pid, int socket,
                 struct sr_error *err) SR_MUST_CHECK;

/* Starts the cell as a child in pid and mount (and, with new_user, user) namespaces of its own.
 * Returns its pidfd and *pid, or -1 with err. */
int cell_start(const struct cell_plan *plan, pid_t *pid, struct sr_error *err) SR_MUST_CHECK;

#endif
