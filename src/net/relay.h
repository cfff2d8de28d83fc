/*
 * The UDP relay of a run whose uplink is pasta. It sends datagrams that the rules have let through
 * by connected sockets of the host's. relay.c has the theory of operation. Only the cell uses it.
 *
 *   1. relay_start(), while the cell is in the host's network namespace: the child keeps that.
 *   2. relay_connect(), in the run's network namespace once the rules are in place: the interface,
 *      its route, and the child serves.
 *   3. The child ends with the cell, or when it is killed. Its end is the uplink's.
 */
#ifndef SR_NET_RELAY_H
#define SR_NET_RELAY_H

#include "net/cell_plan.h"

#include <stdatomic.h>

/* What the relay counts, in memory that it shares with the cell; numbers of datagrams but for the
 * first two. */
struct relay_counts {
    _Atomic uint64_t opened, peak; /* flows: all, and at one time */
    _Atomic uint64_t refused;      /* of new flows beyond the cap */
    _Atomic uint64_t failed;       /* that the host could not send */
    _Atomic uint64_t uncarried;    /* that cannot be relayed, or came from another peer */
    _Atomic uint64_t unreachable;  /* whose peer answered with an ICMP error */
};

struct relay {
    pid_t child; /* -1: none */
    int socket;  /* to the child, until it serves */
    const struct relay_counts *counts;
};

/* Functions return 0, or -1 with err (SR-RUN-201 at launch.network.apply). */
int relay_start(const struct cell_plan *plan, struct relay *relay,
                struct sr_error *err) SR_MUST_CHECK;
int relay_connect(const struct cell_plan *plan, struct relay *relay,
                  struct sr_error *err) SR_MUST_CHECK;

/* Reads what the relay has counted. */
void relay_read(const struct relay *relay, struct net_udp *udp);

#endif
