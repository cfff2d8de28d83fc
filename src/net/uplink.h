/*
 * Uplinks: the way of packets that the rules let through out of the run's network namespace, by its
 * interface NET_UPLINK. Only the cell uses them, in this order: prepare in the host's network
 * namespace, connect in the run's own once the rules are in place, disconnect at the end. An uplink
 * ends with its cell.
 */
#ifndef SR_NET_UPLINK_H
#define SR_NET_UPLINK_H

#include "net/cell_plan.h"
#include "net/relay.h"

#include <limits.h>

struct uplink {
    const struct cell_plan *plan;
    int signals; /* the cell's signalfd of SIGCHLD */
    /* pasta */
    pid_t child; /* -1: none */
    int gate;    /* written to let the child go; -1 when it has gone */
    struct relay relay;
    /* bridge */
    struct mnl_socket *host; /* rtnetlink in the host's network namespace, until connected */
    int links;               /* readable when an interface changes; -1: nothing to watch */
    uint32_t address;        /* of the pool, once connected */
};

/* Functions return 0, or -1 with err (SR-RUN-201 at launch.network.apply; disconnect
 * SR-RUN-202). */
struct uplink_kind {
    int (*prepare)(struct uplink *uplink, struct sr_error *err);
    int (*connect)(struct uplink *uplink, struct sr_error *err);
    int (*disconnect)(struct uplink *uplink, struct sr_error *err);
};

/* pasta(1), which makes the guest's connections as the host's own, and the UDP relay. It needs no
 * privileges. */
extern const struct uplink_kind uplink_pasta;

/* Finds the program that pasta executes in the end, because pasta would need /proc to find it:
 * links followed, and its build for processors with AVX2 where there is one. Returns 0 or a
 * negative errno. */
int uplink_pasta_find(const char *pasta, char program[PATH_MAX]) SR_MUST_CHECK;

/* veth(4) into a bridge of the host, with an address of plan->pool. Needs root. */
extern const struct uplink_kind uplink_bridge;

/* Returns true when the interface is gone. Call it when uplink->links is readable. */
bool uplink_bridge_lost(const struct uplink *uplink);

#endif
