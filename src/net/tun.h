/*
 * Interfaces whose other end is a descriptor: the TAP of the guest, the TUN of the relay.
 */
#ifndef SR_NET_TUN_H
#define SR_NET_TUN_H

#include "common/cleanup.h"
#include "saferun/error.h"

/* Makes an interface of the kind (IFF_TAP, IFF_TUN) in the caller's network namespace. Returns its
 * descriptor, non-blocking; or -1 with err (SR-RUN-201 at launch.network.apply). */
int cell_open_tun(const char *name, short kind, struct sr_error *err) SR_MUST_CHECK;

#endif
