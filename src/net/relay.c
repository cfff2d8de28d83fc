/*
 * Theory of operation
 *
 * pasta binds a guest's source port in the host's network namespace, so that a guest could take
 * what is meant for a service there, or every port there is. So pasta gets no UDP. A routing rule
 * of the run's namespace sends the guest's UDP, which the nftables rules have let through, into a
 * TUN interface without address, whose other end is this process:
 *
 *   guest - TAP - rules (forward) - UDP only: sr-udp - relay - connected socket in the host's
 *   namespace - peer
 *
 * A second rule of nftables drops UDP that is about to leave by pasta's interface. When the relay
 * dies its interface goes, and the run ends.
 *
 * Stages, each true before the next begins:
 *   1. The child is forked in the host's network namespace, which its sockets will be of; of
 *      descriptors it keeps a socket to the cell and net.log. The counters that the supervisor
 *      reads are unmapped; its own are a page of their own.
 *   2. Empty root directory, ipc and uts namespaces of its own, nobody's id (an ordinary user's
 *      where the cell has that), no capability, limits (descriptors: the flows and a few), not
 *      dumpable, Landlock with nothing allowed, death with the cell.
 *   3. The TUN's descriptor arrives; all memory is allocated.
 *   4. System calls by a list: the only socket it can make is one for UDP by IPv4; it cannot bind
 *      one, set an option, or send to an address other than the one that a socket is connected to.
 *   5. It says that it is ready, closes the socket to the cell, and serves.
 *
 * A flow is a guest's port and a peer's address and port. It has a socket which is connected before
 * its first datagram, on a port that the kernel chooses, so that the kernel passes on nothing that
 * comes from another peer. What might have come between the kernel's choice of a port and the end
 * of connect(2) is found by its source address and dropped.
 *
 * Flows are capped (network.flowsMax): datagrams of new flows beyond that are dropped and counted;
 * flows that nobody uses end (flows.h says when). Nothing grows: a datagram is in one buffer from
 * read to write, and what a socket cannot take is lost, as UDP may be. A datagram of a guest causes
 * one of the same size; an answer comes only from whom the guest has asked.
 *
 * Not carried: fragments (the guest's MTU is larger than nearly every datagram), IP options, the
 * guest's TTL and DSCP. Of ICMP errors, those that the kernel reports for a connected socket reach
 * the guest as "port unreachable".
 */
#include "net/relay.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"
#include "net/flows.h"
#include "net/pass.h"
#include "net/room.h"
#include "net/rtnl.h"
#include "net/tun.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATH "launch.network.apply"
#define READY_NSEC (5 * SR_NSEC_PER_SEC)
/* Datagrams taken from one descriptor before others get their turn. */
#define TURN 64
#define TUN_EVENT UINT32_MAX
/* Descriptors: the socket to the cell, and what there is beside the flows: that, the standard
 * three, TUN, epoll. */
#define CELL 3
#define MORE_FILES 8

struct server {
    int tun, epoll;
    uint16_t id; /* of the next IP packet to the guest */
    struct net_flows flows;
    struct relay_counts *counts;
    uint8_t packet[NET_DATAGRAM_HEAD + NET_DATAGRAM_PAYLOAD_MAX];
};

static void count(_Atomic uint64_t *counter)
{
    /* The relay is the only writer. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static void end_flow(struct server *server, uint32_t index)
{
    close(server->flows.items[index].fd); /* which takes it out of the epoll set */
    net_flows_remove(&server->flows, index);
}

/* A socket that receives from the peer only, in the epoll set as the flow that is about to be
 * added; -1 with errno. */
static int open_socket(const struct net_datagram_ends *ends)
{
    const struct sockaddr_in peer = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(ends->peer),
        .sin_port = htons(ends->peer_port),
    };
    sr_cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&peer, sizeof peer) < 0)
        return -1;
    return sr_take_fd(&fd);
}

/* The flow of a datagram, a new one if need be; NET_FLOW_NONE when it cannot be had, which is
 * counted. */
static uint32_t find_flow(struct server *server, const struct net_datagram_ends *ends, uint64_t now)
{
    struct net_flows *flows = &server->flows;
    struct relay_counts *counts = server->counts;
    uint32_t index = net_flows_find(flows, ends);
    if (index != NET_FLOW_NONE)
        return index;
    if (flows->count == flows->cap) {
        count(&counts->refused);
        return NET_FLOW_NONE;
    }
    int fd = open_socket(ends);
    if (fd < 0) {
        count(&counts->failed);
        return NET_FLOW_NONE;
    }
    index = net_flows_add(flows, ends, fd, now);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        end_flow(server, index);
        count(&counts->failed);
        return NET_FLOW_NONE;
    }
    count(&counts->opened);
    if (flows->count > atomic_load_explicit(&counts->peak, memory_order_relaxed))
        atomic_store_explicit(&counts->peak, flows->count, memory_order_relaxed);
    return index;
}

/* The kernel has reported an ICMP error: the guest learns of it, and the flow ends. */
static void give_up(struct server *server, uint32_t index)
{
    uint8_t packet[NET_UNREACHABLE_SIZE];
    count(&server->counts->unreachable);
    net_datagram_unreachable(packet, &server->flows.items[index].ends, server->id++);
    if (write(server->tun, packet, sizeof packet) < 0)
        count(&server->counts->failed);
    end_flow(server, index);
}

/* An error that is a peer's or a router's word, and not about the datagram at hand. */
static bool is_icmp_error(int error)
{
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
           error == ENOPROTOOPT || error == EPROTO || error == EHOSTDOWN;
}

/* Sends one datagram of the guest. An error of before takes the flow; the datagram goes on a new
 * one. A path that has become narrower is an error of before, too, but the kernel knows of it now
 * and cuts what is too large. */
static void send_out(struct server *server, const struct net_datagram *datagram, uint64_t now)
{
    for (int tries = 0; tries < 2; tries++) {
        uint32_t index = find_flow(server, &datagram->ends, now);
        if (index == NET_FLOW_NONE)
            return;
        net_flows_sent(&server->flows, index, now);
        if (send(server->flows.items[index].fd, datagram->payload, datagram->len,
                 MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return;
        if (errno == EMSGSIZE)
            continue;
        if (!is_icmp_error(errno))
            break;
        give_up(server, index);
    }
    count(&server->counts->failed);
}

/* Takes what the guest sends. */
static void on_guest(struct server *server, uint64_t now)
{
    for (int i = 0; i < TURN; i++) {
        struct net_datagram datagram;
        ssize_t got = read(server->tun, server->packet, sizeof server->packet);
        if (got < 0 && errno != EAGAIN && errno != EINTR) {
            dprintf(STDERR_FILENO, "the UDP relay cannot read: %s\n", strerror(errno));
            _exit(1);
        }
        if (got < 0)
            return;
        if (net_datagram_parse(server->packet, (size_t)got, &datagram) &&
            datagram.ends.guest == NET_GUEST)
            send_out(server, &datagram, now);
        else
            count(&server->counts->uncarried);
    }
}

/* Takes what has come for a flow. */
static void on_peer(struct server *server, uint32_t index, uint64_t now)
{
    const struct net_flow *flow = &server->flows.items[index];
    for (int i = 0; i < TURN; i++) {
        struct sockaddr_in from = {0};
        socklen_t size = sizeof from;
        ssize_t got =
            recvfrom(flow->fd, server->packet + NET_DATAGRAM_HEAD, NET_DATAGRAM_PAYLOAD_MAX,
                     MSG_DONTWAIT, (struct sockaddr *)&from, &size);
        if (got < 0 && errno == EMSGSIZE) /* a narrower path, which is no word of the peer's */
            continue;
        if (got < 0) {
            if (errno != EAGAIN && errno != EINTR)
                give_up(server, index);
            return;
        }
        if (ntohl(from.sin_addr.s_addr) != flow->ends.peer ||
            ntohs(from.sin_port) != flow->ends.peer_port) {
            count(&server->counts->uncarried);
            continue;
        }
        net_flows_received(&server->flows, index, now);
        size_t len = net_datagram_answer(server->packet, &flow->ends, server->id++, (size_t)got);
        if (write(server->tun, server->packet, len) < 0)
            count(&server->counts->failed);
    }
}

/* Ends the flows whose time is over. Returns milliseconds until the next one's is; -1: never. */
static int expire(struct server *server)
{
    uint64_t wait, now = sr_now();
    uint32_t index;
    while ((index = net_flows_expired(&server->flows, now, &wait)) != NET_FLOW_NONE)
        end_flow(server, index);
    return wait == UINT64_MAX ? -1 : (int)(wait / SR_NSEC_PER_MSEC) + 1;
}

_Noreturn static void serve(struct server *server)
{
    for (;;) {
        struct epoll_event events[TURN];
        int got = epoll_wait(server->epoll, events, TURN, expire(server));
        uint64_t now = sr_now();
        for (int i = 0; i < got; i++) {
            uint32_t index = events[i].data.u32;
            if (index == TUN_EVENT)
                on_guest(server, now);
            else if (server->flows.items[index].fd >= 0)
                on_peer(server, index, now);
        }
    }
}

/* The TUN's descriptor from the cell; -1 when that has ended. */
static int receive_tun(int from)
{
    char byte;
    int tun = -1;
    (void)pass_receive(from, &byte, 1, 0, &tun);
    return tun;
}

/* Runs as a child of the cell until its end. */
_Noreturn static void live(const struct cell_plan *plan, int cell, struct relay_counts *counts)
{
    static struct server server = {.tun = -1, .epoll = -1};
    uint64_t seed;
    uint32_t cap = plan->flows_max;
    const char *step = "descriptors";
    server.counts = counts;
    prctl(PR_SET_NAME, "safe-run-udp");
    size_t sample = sizeof *plan->sample + plan->sample->cap * sizeof plan->sample->counts[0];
    bool good = munmap(plan->sample, sample) == 0 && dup2(cell, CELL) == CELL &&
                close_range(CELL + 1, ~0u, 0) == 0 &&
                room_confine_relay(plan, cap + MORE_FILES, &step) == 0;
    if (good) {
        step = "memory";
        server.tun = receive_tun(CELL);
        server.epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = TUN_EVENT};
        good = server.tun >= 0 && server.epoll >= 0 &&
               getrandom(&seed, sizeof seed, 0) == sizeof seed &&
               net_flows_make(&server.flows, cap, seed) &&
               epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.tun, &event) == 0;
    }
    if (good) {
        step = "system calls";
        good = room_filter_relay() == 0 && send(CELL, "", 1, MSG_NOSIGNAL) == 1;
    }
    if (!good) {
        dprintf(STDERR_FILENO, "the UDP relay cannot be confined: %s: %s\n", step, strerror(errno));
        _exit(127);
    }
    close(CELL);
    serve(&server);
}

int relay_start(const struct cell_plan *plan, struct relay *relay, struct sr_error *err)
{
    int pair[2];
    void *page = mmap(NULL, sizeof(struct relay_counts), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the UDP relay cannot be started: %s",
                       strerror(errno));
    relay->counts = page;
    relay->child = fork();
    if (relay->child == 0) {
        fcntl(pair[1], F_SETFL, 0); /* the child waits for the TUN */
        live(plan, pair[1], page);
    }
    close(pair[1]);
    relay->socket = pair[0];
    if (relay->child < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the UDP relay cannot be started: %s",
                       strerror(errno));
    return 0;
}

int relay_connect(const struct cell_plan *plan, struct relay *relay, struct sr_error *err)
{
    sr_cleanup_fd int tun = cell_open_tun(NET_RELAY, IFF_TUN, err);
    if (tun < 0)
        return -1;
    int result = net_rtnl_link_up(NET_RELAY, plan->mtu);
    if (result == 0)
        result = net_rtnl_divert_udp(plan->tap, NET_RELAY);
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the way to the UDP relay cannot be made: %s",
                       strerror(-result));
    char ready;
    bool good = pass_send(relay->socket, "", 1, tun) == 1 &&
                sr_await(relay->socket, sr_now() + READY_NSEC) &&
                recv(relay->socket, &ready, 1, 0) == 1;
    sr_close_fd(&relay->socket);
    return good ? 0
                : sr_fail(err, SR_RUN_201, PATH,
                          "the UDP relay did not start; what it said is in net.log");
}

void relay_read(const struct relay *relay, struct net_udp *udp)
{
    const struct relay_counts *counts = relay->counts;
    struct rtnl_link_stats64 stats;
    *udp = (struct net_udp){.opened = counts->opened,
                            .peak = counts->peak,
                            .refused = counts->refused,
                            .failed = counts->failed,
                            .uncarried = counts->uncarried,
                            .unreachable = counts->unreachable,
                            .lost = udp->lost};
    if (net_rtnl_stats(NET_RELAY, &stats) == 0) /* it is gone when the relay is */
        udp->lost = stats.tx_dropped;
}
