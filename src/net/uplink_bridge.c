/*
 * The uplink by a bridge: one end of a veth pair in the run's namespace, the other a port of the
 * bridge that the host's owner made. Its MAC address is made of its IPv4 address, so that whoever
 * has that next is found by the neighbours that remember the last one. A bridge may take the lowest
 * address of its ports for its own: the port's begins with fe, so that it is not that one while the
 * bridge has any other port. The port's alias names the run, so that gc knows whose it was.
 */
#include "net/uplink.h"

#include "common/ipv4.h"
#include "net/rtnl.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH "launch.network.apply"
#define ALIAS_MAX 64

static int prepare(struct uplink *uplink, struct sr_error *err)
{
    uplink->host = net_rtnl_open();
    if (uplink->host == NULL)
        return sr_fail(err, SR_RUN_201, PATH, "no netlink socket: %s", strerror(errno));
    return 0;
}

static const char *alias_of(const char *run_id, char alias[ALIAS_MAX])
{
    snprintf(alias, ALIAS_MAX, "safe-run %s", run_id);
    return alias;
}

int net_sweep(const char *run_id)
{
    char alias[ALIAS_MAX];
    return net_rtnl_delete_by_alias(alias_of(run_id, alias));
}

/* Makes the pair, with the first address of the pool that no run has: sr-up-<8 hex of the
 * address>. */
static int add_veth(struct uplink *uplink)
{
    const struct net_pool *pool = &uplink->plan->pool;
    char alias[ALIAS_MAX];
    for (uint64_t at = pool->first; at <= pool->last; at++) {
        char name[IF_NAMESIZE];
        snprintf(name, sizeof name, "sr-up-%08x", (unsigned)at);
        const struct net_rtnl_veth veth = {
            .name = name,
            .bridge = uplink->plan->bridge,
            .peer = NET_UPLINK,
            .alias = alias_of(uplink->plan->run_id, alias),
            /* Locally administered both (IEEE 802, second bit of the first byte). */
            .mac = {0xFE, 0x53, (uint8_t)(at >> 24), (uint8_t)(at >> 16), (uint8_t)(at >> 8),
                    (uint8_t)at},
            .peer_mac = {0x02, 0x53, (uint8_t)(at >> 24), (uint8_t)(at >> 16), (uint8_t)(at >> 8),
                         (uint8_t)at},
        };
        int result = net_rtnl_veth_add(uplink->host, &veth);
        if (result == 0)
            uplink->address = (uint32_t)at;
        if (result != -EEXIST)
            return result;
    }
    return -EEXIST;
}

static int connect_bridge(struct uplink *uplink, struct sr_error *err)
{
    const struct cell_plan *plan = uplink->plan;
    const struct net_pool *pool = &plan->pool;
    int result = add_veth(uplink);
    /* From here on the cell's capabilities end at its own namespace. */
    mnl_socket_close(uplink->host);
    uplink->host = NULL;
    char first[SR_IPV4_TEXT_MAX], last[SR_IPV4_TEXT_MAX];
    if (result == -EEXIST)
        return sr_fail(err, SR_RUN_201, PATH,
                       "every address of %s-%s (network.addresses in the host configuration) is in "
                       "use by a run",
                       sr_ipv4_format(pool->first, first), sr_ipv4_format(pool->last, last));
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH,
                       "no port of %s can be made: %s; network.uplink in the host configuration "
                       "must name a bridge of this host",
                       plan->bridge, strerror(-result));
    result = net_rtnl_address_add(NET_UPLINK, uplink->address, pool->prefix);
    if (result == 0)
        result = net_rtnl_link_up(NET_UPLINK, plan->mtu);
    if (result == 0)
        result = net_rtnl_default_route_add(NET_UPLINK, pool->gateway);
    if (result == 0) {
        uplink->links = net_rtnl_watch(RTMGRP_LINK);
        result = uplink->links < 0 ? uplink->links : 0;
    }
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the uplink's interface cannot be set up: %s",
                       strerror(-result));
    return 0;
}

static int disconnect(struct uplink *uplink, struct sr_error *err)
{
    (void)uplink;
    int result = net_rtnl_link_delete(NET_UPLINK);
    if (result == 0 && if_nametoindex(NET_UPLINK) != 0)
        result = -EBUSY;
    if (result < 0)
        return sr_fail(err, SR_RUN_202, "cleanup.network.release",
                       "the uplink's interface cannot be deleted: %s", strerror(-result));
    return 0;
}

bool uplink_bridge_lost(const struct uplink *uplink)
{
    char drain[8192];
    while (read(uplink->links, drain, sizeof drain) > 0)
        ;
    return if_nametoindex(NET_UPLINK) == 0;
}

const struct uplink_kind uplink_bridge = {prepare, connect_bridge, disconnect};
