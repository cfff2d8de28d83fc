/*
 * Theory of operation
 *
 * The kernel keeps a namespace's own addresses as routes of the type "local" and tells of each that
 * is added. They are asked for once, after the socket has begun to listen, and again whenever
 * notices were lost: what came between is in one or the other. A route that goes is not heeded:
 * connections to the address may be under way, and it may come again.
 *
 * The socket is opened by a task without effective capabilities, which the kernel remembers:
 * whoever has the socket can read the host's routes and change none.
 */
#include "net/local.h"

#include "common/clock.h"
#include "common/fs.h"
#include "common/ipv4.h"
#include "net/ruleset.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/attributes.h"

/* Messages taken before others get their turn. */
#define TURN 256
#define ANSWER_NSEC (5 * SR_NSEC_PER_SEC)

/* The first range that ends at or after address; count: none. */
static size_t find(const struct net_local_list *own, uint32_t address)
{
    size_t low = 0, high = own->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (own->ranges[middle].last < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool net_local_has(const struct net_local_list *own, uint32_t address)
{
    size_t at = find(own, address);
    return at < own->count && own->ranges[at].first <= address;
}

int net_local_add(struct net_local_list *own, uint32_t first, uint32_t last)
{
    struct net_local_range *ranges = own->ranges;
    size_t from = find(own, first > 0 ? first - 1 : 0), to = from; /* neighbours become one */
    while (to < own->count && ranges[to].first <= (uint64_t)last + 1)
        to++;
    for (size_t i = from; i < to; i++)
        if (ranges[i].first <= first && ranges[i].last >= last)
            return 0;
    if (from == to && own->count == NET_LOCAL_MAX)
        return -E2BIG;
    struct net_local_range whole = {first, last};
    if (from < to) {
        whole.first = ranges[from].first < first ? ranges[from].first : first;
        whole.last = ranges[to - 1].last > last ? ranges[to - 1].last : last;
    }
    memmove(&ranges[from + 1], &ranges[to], (own->count - to) * sizeof *ranges);
    own->count = own->count - (to - from) + 1;
    ranges[from] = whole;
    return 1;
}

void net_local_text(const struct net_local_list *own, struct sr_buf *out)
{
    char first[SR_IPV4_TEXT_MAX], last[SR_IPV4_TEXT_MAX];
    sr_buf_puts(out, "flush set inet " NET_TABLE " " NET_HOST_SET "\n");
    for (size_t i = 0; i < own->count; i++) {
        const struct net_local_range *range = &own->ranges[i];
        sr_buf_puts(out, i == 0 ? "add element inet " NET_TABLE " " NET_HOST_SET " { " : ", ");
        sr_buf_puts(out, sr_ipv4_format(range->first, first));
        if (range->first != range->last)
            sr_buf_printf(out, "-%s", sr_ipv4_format(range->last, last));
    }
    if (own->count > 0)
        sr_buf_puts(out, " }\n");
}

/* Local routes of every table: an interface of a VRF has its addresses in a table of its own. */
static int ask(struct net_local *local)
{
    char buffer[256];
    struct nlmsghdr *request = netlink_request(buffer, RTM_GETROUTE, NLM_F_DUMP);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(request, sizeof *route);
    route->rtm_family = AF_INET;
    route->rtm_type = RTN_LOCAL;
    if (send(local->fd, request, request->nlmsg_len, 0) < 0)
        return -errno;
    local->asked = true;
    local->unknown = false;
    return 0;
}

/* In other tables than "local" only what the kernel has put there for an interface is the host's
 * address: a route that somebody has made there holds for packets of some rule of theirs (a
 * transparent proxy's has all addresses). */
static int take_route(struct net_local *local, const struct nlmsghdr *message)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    if (mnl_nlmsg_get_payload_len(message) < sizeof *route || route->rtm_family != AF_INET ||
        route->rtm_type != RTN_LOCAL || route->rtm_dst_len > 32 ||
        (route->rtm_table != RT_TABLE_LOCAL && route->rtm_protocol != RTPROT_KERNEL))
        return 0;
    uint32_t address = 0, mask = sr_ipv4_mask(route->rtm_dst_len);
    const struct nlattr *attribute;
    NET_EACH_OF_MESSAGE(attribute, message, sizeof *route)
    if (mnl_attr_get_type(attribute) == RTA_DST &&
        mnl_attr_get_payload_len(attribute) == sizeof address)
        address = ntohl(mnl_attr_get_u32(attribute));
    return net_local_add(&local->own, address & mask, (address & mask) | ~mask);
}

static int take_message(struct net_local *local, const struct nlmsghdr *message)
{
    if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
        local->unknown = true;
    if (message->nlmsg_type == RTM_NEWROUTE)
        return take_route(local, message);
    bool done = message->nlmsg_type == NLMSG_DONE;
    if (!done && message->nlmsg_type != NLMSG_ERROR)
        return 0;
    int error = 0; /* begins either message, and was not asked for where it says that all is well */
    if (mnl_nlmsg_get_payload_len(message) >= sizeof error)
        memcpy(&error, mnl_nlmsg_get_payload(message), sizeof error);
    local->asked = local->asked && !done;
    return error < 0 ? error : done ? 0 : -EPROTO;
}

int net_local_take(struct net_local *local, const void *bytes, size_t len)
{
    int left = (int)len;
    bool more = false;
    for (const struct nlmsghdr *message = bytes; mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left)) {
        int result = take_message(local, message);
        if (result < 0)
            return result;
        more = more || result > 0;
    }
    return more;
}

/* Takes one piece that the kernel has sent. As net_local_read(); *empty: there was none. */
static int take_piece(struct net_local *local, bool *empty)
{
    static _Alignas(struct nlmsghdr) char buffer[65536];
    struct sockaddr_nl from = {0};
    socklen_t size = sizeof from;
    ssize_t got =
        recvfrom(local->fd, buffer, sizeof buffer, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
    *empty = got < 0 && errno == EAGAIN;
    if (got < 0 && errno == ENOBUFS)
        local->unknown = true;
    else if (got < 0 && errno != EINTR && errno != EAGAIN)
        return -errno;
    bool kernel = got > 0 && from.nl_pid == 0;
    int more = kernel ? net_local_take(local, buffer, (size_t)got) : 0;
    if (more < 0 || local->asked || !local->unknown)
        return more;
    int result = ask(local);
    return result < 0 ? result : more;
}

int net_local_read(struct net_local *local)
{
    bool more = false, empty = false;
    for (int i = 0; i < TURN && !empty; i++) {
        int result = take_piece(local, &empty);
        if (result < 0)
            return result;
        more = more || result > 0;
    }
    return more;
}

/* A socket of a task that may change nothing; -1 with errno. */
static int open_powerless(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct had[2], none[2];
    if (syscall(SYS_capget, &header, had) < 0)
        return -1;
    memcpy(none, had, sizeof none);
    none[0].effective = none[1].effective = 0;
    if (syscall(SYS_capset, &header, none) < 0)
        return -1;
    sr_cleanup_fd int fd =
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    int error = errno;
    if (syscall(SYS_capset, &header, had) < 0)
        return -1;
    errno = error;
    return sr_take_fd(&fd);
}

/* The kernel tells of routes of every kind. Of most this socket is not to hear: a host that takes
 * part in routing has very many. */
static int hear_local_routes_only(int fd)
{
#define TYPE_AT (NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_type))
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELROUTE), 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWROUTE), 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TYPE_AT),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RTN_LOCAL, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

/* Strict checks have the kernel heed what kind of route it is asked for. */
static int begin(struct net_local *local)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_ROUTE};
    const int on = 1;
    if (local->fd < 0 || hear_local_routes_only(local->fd) < 0 ||
        setsockopt(local->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on) < 0 ||
        bind(local->fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    return ask(local);
}

int net_local_open(struct net_local *local)
{
    uint64_t deadline = sr_now() + ANSWER_NSEC;
    local->fd = open_powerless();
    int result = begin(local);
    while (result >= 0 && (local->asked || local->unknown)) {
        if (!sr_await(local->fd, deadline) || sr_now() >= deadline)
            return -ETIMEDOUT;
        result = net_local_read(local);
    }
    return result < 0 ? result : 0;
}
