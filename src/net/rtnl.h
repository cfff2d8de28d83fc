/*
 * Links, addresses and routes of the network namespace the caller is in (rtnetlink(7), by libmnl).
 */
#ifndef SR_NET_RTNL_H
#define SR_NET_RTNL_H

#include "cleanup.h"
#include "saferun/error.h"

#include <stdint.h>

/* Every function: 0, or a negative errno. */

/* Brings an interface up, with this MTU; 0 leaves the MTU as it is. */
int sr_rtnl_link_up(const char *name, uint32_t mtu) SR_MUST_CHECK;

/* Gives an interface an address (host byte order) with its prefix length. */
int sr_rtnl_address_add(const char *name, uint32_t address, uint8_t prefix) SR_MUST_CHECK;

/* Frames that an interface has received and sent, as the kernel counts them. */
int sr_rtnl_frames(const char *name, uint64_t *received, uint64_t *sent) SR_MUST_CHECK;

/* A socket that becomes readable when IPv4 routes change; -errno on failure. */
int sr_rtnl_watch_routes(void) SR_MUST_CHECK;

/* 1 when there is a default route, 0 when not, negative errno. */
int sr_rtnl_has_default_route(void) SR_MUST_CHECK;

#endif
