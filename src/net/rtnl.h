/*
 * Links, addresses and routes of the network namespace the caller is in (rtnetlink(7), by libmnl).
 */
#ifndef SR_NET_RTNL_H
#define SR_NET_RTNL_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdint.h>

/* Every function: 0, or a negative errno. */

/* Sends one request of any netlink family and runs cb (may be NULL) over what comes back, up to the
 * acknowledgement or the end of the dump. */
int net_netlink_ask(struct mnl_socket *socket, struct nlmsghdr *request, mnl_cb_t cb,
                    void *data) SR_MUST_CHECK;

/* Brings an interface up, with this MTU; 0 leaves the MTU as it is. */
int net_rtnl_link_up(const char *name, uint32_t mtu) SR_MUST_CHECK;

/* Takes an interface down: no packet passes it any more, and its counters stay. */
int net_rtnl_link_down(const char *name) SR_MUST_CHECK;

/* Gives an interface an address (host byte order) with its prefix length. */
int net_rtnl_address_add(const char *name, uint32_t address, uint8_t prefix) SR_MUST_CHECK;

/* Reads what the kernel counts of an interface. */
int net_rtnl_stats(const char *name, struct rtnl_link_stats64 *stats) SR_MUST_CHECK;

/* Adds the default route, by this gateway. */
int net_rtnl_default_route_add(const char *name, uint32_t gateway) SR_MUST_CHECK;

/* Routes all UDP that comes in by one interface into another, except UDP to the namespace's own
 * addresses. */
int net_rtnl_divert_udp(const char *from, const char *to) SR_MUST_CHECK;

/* Deletes an interface; one that is not there is no error. */
int net_rtnl_link_delete(const char *name) SR_MUST_CHECK;

/* Makes a veth pair. One end, name, is in the network namespace of host (a socket of
 * net_rtnl_open()): up, and a port of the interface bridge there. The other, peer, is in the
 * caller's namespace. Each has its MAC address. alias (below 256 bytes) describes name. */
struct net_rtnl_veth {
    const char *name, *bridge, *peer, *alias;
    uint8_t mac[6], peer_mac[6];
};
int net_rtnl_veth_add(struct mnl_socket *host, const struct net_rtnl_veth *veth) SR_MUST_CHECK;

/* Deletes every interface with this alias. */
int net_rtnl_delete_by_alias(const char *alias) SR_MUST_CHECK;

/* Opens a socket for requests, which mnl_socket_close() closes; NULL with errno. */
struct mnl_socket *net_rtnl_open(void);

/* Opens a socket that becomes readable when something of the groups (RTMGRP_*) changes. Returns it
 * or a negative errno. */
int net_rtnl_watch(uint32_t groups) SR_MUST_CHECK;

/* Returns 1 when there is a default route, 0 when not, or a negative errno. */
int net_rtnl_has_default_route(void) SR_MUST_CHECK;

#endif
