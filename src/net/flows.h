/*
 * The flows of the UDP relay: which socket carries what the guest sends from one port to one port
 * of one peer. The functions are pure and the table has a fixed size; finding, adding, using and
 * removing a flow take the same time however many there are.
 */
#ifndef SR_NET_FLOWS_H
#define SR_NET_FLOWS_H

#include "net/datagram.h"

#include <stdint.h>

#define NET_FLOW_NONE UINT32_MAX

/* Says how long an unused flow is kept. */
enum net_flow_state {
    NET_FLOW_ASKING,   /* 30 s: the peer has not answered since the flow was made */
    NET_FLOW_TALKING,  /* 180 s: the peer has answered */
    NET_FLOW_ANSWERED, /* 2 s: a name server has answered every question */
    NET_FLOW_STATES
};

struct net_flow {
    struct net_datagram_ends ends;
    int fd; /* -1: this is no flow */
    enum net_flow_state state;
    uint64_t used;         /* monotonic nanoseconds */
    uint32_t pending;      /* datagrams sent and not answered, if each is a question */
    uint32_t next;         /* in its bucket, or in the list of free ones */
    uint32_t newer, older; /* among those of its state */
};

struct net_flows {
    struct net_flow *items; /* cap of them */
    uint32_t *buckets;
    uint32_t cap, mask, count, free;
    uint64_t seed;
    struct net_flow_queue {
        uint32_t newest, oldest;
    } queues[NET_FLOW_STATES];
};

/* Makes room for cap flows. seed is a random number, which the guest must not know. False when
 * memory is out. */
bool net_flows_make(struct net_flows *flows, uint32_t cap, uint64_t seed);
void net_flows_free(struct net_flows *flows);

/* Returns the index of a flow, NET_FLOW_NONE when there is none between these ends. */
uint32_t net_flows_find(const struct net_flows *flows, const struct net_datagram_ends *ends);

/* Adds a flow that is not there yet, with its socket; NET_FLOW_NONE when all are taken. */
uint32_t net_flows_add(struct net_flows *flows, const struct net_datagram_ends *ends, int fd,
                       uint64_t now);

/* Record that a datagram was sent on the flow, or has come. */
void net_flows_sent(struct net_flows *flows, uint32_t index, uint64_t now);
void net_flows_received(struct net_flows *flows, uint32_t index, uint64_t now);

/* Forgets a flow, whose socket the caller has closed. */
void net_flows_remove(struct net_flows *flows, uint32_t index);

/* Returns a flow that was not used for as long as its state allows, or NET_FLOW_NONE; then *wait is
 * the time until there is one (UINT64_MAX: never). */
uint32_t net_flows_expired(const struct net_flows *flows, uint64_t now, uint64_t *wait);

#endif
