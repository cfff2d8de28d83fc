/*
 * The supervisor's side of its talk with the net cell: requests that are sent without waiting,
 * answers that are taken when they are there, and a deadline for each. Only files of this room
 * include it; net.h has what the supervisor calls.
 */
#ifndef SR_NET_TALK_H
#define SR_NET_TALK_H

#include "net/cell.h"

/* Waits for the cell's next message until a deadline; with fd also for a descriptor. Returns 0, or
 * a negative errno: -EINTR when net->stop_fd is readable, -EPIPE when the cell has ended. Call only
 * while the network is applied. */
int talk_wait(struct net *net, uint64_t deadline, struct cell_message *message,
              int *fd) SR_MUST_CHECK;

/* Has the kernel take more elements, in one transaction of at most NET_ADD_MAX bytes of text,
 * which it takes over; count targets behind net->target_count are open once net_hear() says
 * NET_ADDED. */
int talk_add(struct net *net, char *text, size_t len, size_t count,
             struct sr_error *err) SR_MUST_CHECK;

#endif
