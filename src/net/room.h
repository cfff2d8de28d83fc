/*
 * The room of the net cell and its programs: all that a cell, an nft or a pasta that was taken over
 * can reach of the host. Only the cell uses it. Functions return 0, or -1 with err (SR-RUN-201 at
 * launch.network.apply).
 *
 *   1. room_enter(), in the run's network namespace, once its sysctls are set: from here on the
 *      cell, and whoever it starts or has started, sees nft, pasta, their libraries, the TAP's
 *      device and the namespace's name, read-only.
 *   2. room_confine_uplink(), in the uplink's child before it executes pasta; room_confine_relay()
 *      in that of the UDP relay, which does not wait for the room.
 *   3. room_confine_cell(), before the cell serves.
 */
#ifndef SR_NET_ROOM_H
#define SR_NET_ROOM_H

#include "net/cell_plan.h"

/* Where pasta finds the run's network namespace, in a directory of its own, which it covers when it
 * isolates itself. */
#define ROOM_NETNS "/tmp/netns"

int room_enter(const struct cell_plan *plan, struct sr_error *err) SR_MUST_CHECK;

/* 0, or -1 with errno. */
int room_confine_uplink(const struct cell_plan *plan) SR_MUST_CHECK;

/* For the UDP relay's child, in this order: all but the system calls, with at most this many
 * descriptors; then those. 0, or -1 with errno (and what failed in *step). */
int room_confine_relay(const struct cell_plan *plan, uint64_t files,
                       const char **step) SR_MUST_CHECK;
int room_filter_relay(void) SR_MUST_CHECK;

int room_confine_cell(struct sr_error *err) SR_MUST_CHECK;

#endif
