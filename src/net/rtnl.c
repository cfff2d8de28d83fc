#include "net/rtnl.h"

#include "net/attributes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* Number of a routing table, and the priority of its rule: between those of the tables local and
 * main. */
#define UDP_TABLE 100

static void close_socket(struct mnl_socket **socket)
{
    if (*socket != NULL)
        mnl_socket_close(*socket);
}
#define cleanup_socket __attribute__((cleanup(close_socket)))

struct mnl_socket *net_rtnl_open(void)
{
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (socket != NULL && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        mnl_socket_close(socket);
        return NULL;
    }
    return socket;
}

int net_netlink_ask(struct mnl_socket *socket, struct nlmsghdr *request, mnl_cb_t cb, void *data)
{
    char buffer[65536];
    if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(socket, buffer, sizeof buffer);
        if (got < 0)
            return -errno;
        int result = mnl_cb_run(buffer, (size_t)got, request->nlmsg_seq, 0, cb, data);
        if (result < 0)
            return -errno;
        if (result == MNL_CB_STOP)
            return 0;
    }
}

static int ask(struct nlmsghdr *request, mnl_cb_t cb, void *data)
{
    cleanup_socket struct mnl_socket *socket = net_rtnl_open();
    return socket == NULL ? -errno : net_netlink_ask(socket, request, cb, data);
}

static int set_link(const char *name, unsigned flags, uint32_t mtu)
{
    char buffer[256];
    struct nlmsghdr *request = netlink_request(buffer, RTM_NEWLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(request, sizeof *link);
    link->ifi_family = AF_UNSPEC;
    link->ifi_index = (int)if_nametoindex(name);
    link->ifi_change = IFF_UP;
    link->ifi_flags = flags;
    if (mtu > 0)
        mnl_attr_put_u32(request, IFLA_MTU, mtu);
    return link->ifi_index == 0 ? -ENODEV : ask(request, NULL, NULL);
}

int net_rtnl_link_up(const char *name, uint32_t mtu)
{
    return set_link(name, IFF_UP, mtu);
}

int net_rtnl_link_down(const char *name)
{
    return set_link(name, 0, 0);
}

int net_rtnl_address_add(const char *name, uint32_t address, uint8_t prefix)
{
    char buffer[256];
    struct nlmsghdr *request =
        netlink_request(buffer, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(request, sizeof *message);
    message->ifa_family = AF_INET;
    message->ifa_prefixlen = prefix;
    message->ifa_scope = RT_SCOPE_UNIVERSE;
    message->ifa_index = if_nametoindex(name);
    mnl_attr_put_u32(request, IFA_LOCAL, htonl(address));
    mnl_attr_put_u32(request, IFA_ADDRESS, htonl(address));
    return message->ifa_index == 0 ? -ENODEV : ask(request, NULL, NULL);
}

/* Adds the default route of a table; gateway 0: none. */
static int add_default_route(const char *name, uint32_t gateway, uint8_t table)
{
    char buffer[256];
    struct nlmsghdr *request =
        netlink_request(buffer, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(request, sizeof *route);
    route->rtm_family = AF_INET;
    route->rtm_table = table;
    route->rtm_protocol = RTPROT_STATIC;
    route->rtm_type = RTN_UNICAST;
    route->rtm_scope = gateway != 0 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    if (gateway != 0)
        mnl_attr_put_u32(request, RTA_GATEWAY, htonl(gateway));
    mnl_attr_put_u32(request, RTA_OIF, if_nametoindex(name));
    return ask(request, NULL, NULL);
}

int net_rtnl_default_route_add(const char *name, uint32_t gateway)
{
    return add_default_route(name, gateway, RT_TABLE_MAIN);
}

int net_rtnl_divert_udp(const char *from, const char *to)
{
    int result = add_default_route(to, 0, UDP_TABLE);
    char buffer[256];
    struct nlmsghdr *request =
        netlink_request(buffer, RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct fib_rule_hdr *rule = mnl_nlmsg_put_extra_header(request, sizeof *rule);
    rule->family = AF_INET;
    rule->table = UDP_TABLE;
    rule->action = FR_ACT_TO_TBL;
    mnl_attr_put_strz(request, FRA_IIFNAME, from);
    mnl_attr_put_u8(request, FRA_IP_PROTO, IPPROTO_UDP);
    mnl_attr_put_u32(request, FRA_PRIORITY, UDP_TABLE);
    return result < 0 ? result : ask(request, NULL, NULL);
}

static int delete_link(int index)
{
    char buffer[256];
    struct nlmsghdr *request = netlink_request(buffer, RTM_DELLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(request, sizeof *link);
    link->ifi_family = AF_UNSPEC;
    link->ifi_index = index;
    int result = ask(request, NULL, NULL);
    return result == -ENODEV ? 0 : result;
}

int net_rtnl_link_delete(const char *name)
{
    int index = (int)if_nametoindex(name);
    return index == 0 ? 0 : delete_link(index);
}

static int take_index(const struct nlmsghdr *message, void *data)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
    *(int *)data = link->ifi_index;
    return MNL_CB_OK;
}

static int find_link(struct mnl_socket *socket, const char *name, int *index)
{
    char buffer[256];
    struct nlmsghdr *request = netlink_request(buffer, RTM_GETLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(request, sizeof *link);
    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(request, IFLA_IFNAME, name);
    return net_netlink_ask(socket, request, take_index, index);
}

int net_rtnl_veth_add(struct mnl_socket *host, const struct net_rtnl_veth *veth)
{
    int bridge = 0, result = find_link(host, veth->bridge, &bridge);
    if (result < 0)
        return result;
    char buffer[512];
    struct nlmsghdr *request =
        netlink_request(buffer, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(request, sizeof *link);
    link->ifi_family = AF_UNSPEC;
    link->ifi_change = link->ifi_flags = IFF_UP;
    mnl_attr_put_strz(request, IFLA_IFNAME, veth->name);
    mnl_attr_put(request, IFLA_ADDRESS, sizeof veth->mac, veth->mac);
    mnl_attr_put_u32(request, IFLA_MASTER, (uint32_t)bridge);
    struct nlattr *info = mnl_attr_nest_start(request, IFLA_LINKINFO);
    mnl_attr_put_strz(request, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(request, IFLA_INFO_DATA);
    struct nlattr *peer = mnl_attr_nest_start(request, VETH_INFO_PEER);
    struct ifinfomsg *other = mnl_nlmsg_put_extra_header(request, sizeof *other);
    other->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(request, IFLA_IFNAME, veth->peer);
    mnl_attr_put(request, IFLA_ADDRESS, sizeof veth->peer_mac, veth->peer_mac);
    mnl_attr_put_u32(request, IFLA_NET_NS_PID, (uint32_t)getpid()); /* in its pid namespace */
    mnl_attr_nest_end(request, peer);
    mnl_attr_nest_end(request, data);
    mnl_attr_nest_end(request, info);
    result = net_netlink_ask(host, request, NULL, NULL);
    if (result < 0)
        return result;
    request = netlink_request(buffer, RTM_NEWLINK,
                              NLM_F_ACK); /* the kernel takes no alias with a new link */
    link = mnl_nlmsg_put_extra_header(request, sizeof *link);
    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(request, IFLA_IFNAME, veth->name);
    mnl_attr_put_str(request, IFLA_IFALIAS, veth->alias);
    return net_netlink_ask(host, request, NULL, NULL);
}

/* The first link found that has an alias. */
struct alias_search {
    const char *alias;
    int index;
};

static int take_alias(const struct nlmsghdr *message, void *data)
{
    struct alias_search *search = data;
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
    const struct nlattr *attribute;
    NET_EACH_OF_MESSAGE(attribute, message, sizeof *link)
    if (mnl_attr_get_type(attribute) == IFLA_IFALIAS &&
        mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0 &&
        strcmp(mnl_attr_get_str(attribute), search->alias) == 0)
        search->index = link->ifi_index;
    return MNL_CB_OK;
}

int net_rtnl_delete_by_alias(const char *alias)
{
    for (;;) {
        char buffer[256];
        struct alias_search search = {.alias = alias};
        struct nlmsghdr *request = netlink_request(buffer, RTM_GETLINK, NLM_F_DUMP);
        struct ifinfomsg *link = mnl_nlmsg_put_extra_header(request, sizeof *link);
        link->ifi_family = AF_UNSPEC;
        int result = ask(request, take_alias, &search);
        if (result == 0 && search.index != 0)
            result = delete_link(search.index);
        if (result < 0 || search.index == 0)
            return result;
    }
}

static int take_stats(const struct nlmsghdr *message, void *data)
{
    struct rtnl_link_stats64 *stats = data; /* older kernels know its beginning, newer ones more */
    const struct nlattr *attribute;
    NET_EACH_OF_MESSAGE(attribute, message, sizeof(struct ifinfomsg))
    if (mnl_attr_get_type(attribute) == IFLA_STATS64) {
        size_t len = mnl_attr_get_payload_len(attribute);
        memcpy(stats, mnl_attr_get_payload(attribute), len < sizeof *stats ? len : sizeof *stats);
    }
    return MNL_CB_OK;
}

int net_rtnl_stats(const char *name, struct rtnl_link_stats64 *stats)
{
    char buffer[256];
    struct rtnl_link_stats64 found = {0};
    struct nlmsghdr *request = netlink_request(buffer, RTM_GETLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(request, sizeof *link);
    link->ifi_family = AF_UNSPEC;
    link->ifi_index = (int)if_nametoindex(name);
    int result = link->ifi_index == 0 ? -ENODEV : ask(request, take_stats, &found);
    if (result == 0)
        *stats = found;
    return result;
}

int net_rtnl_watch(uint32_t groups)
{
    sr_cleanup_fd int fd =
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    return sr_take_fd(&fd);
}

static int take_route(const struct nlmsghdr *message, void *data)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    if (route->rtm_table == RT_TABLE_MAIN && route->rtm_dst_len == 0)
        *(bool *)data = true;
    return MNL_CB_OK;
}

int net_rtnl_has_default_route(void)
{
    char buffer[256];
    bool found = false;
    struct nlmsghdr *request = netlink_request(buffer, RTM_GETROUTE, NLM_F_DUMP);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(request, sizeof *route);
    route->rtm_family = AF_INET;
    int result = ask(request, take_route, &found);
    return result < 0 ? result : found;
}
