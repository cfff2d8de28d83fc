/*
 * The flows of the UDP relay: which socket carries what the guest sends from one port to one port
 * of one peer. The functions are pure and the table has a fixed size; finding, adding, using and
 * removing a flow take the same time however many there are.
 */
#ifndef SR_NET_FLOWS_H
#define SR_NET_FLOWS_H

#include "net/datagram.h"

#include <stdint.h>

#define SR_FLOW_NONE UINT32_MAX

/* Says how long an unused flow is kept. */
enum sr_flow_state {
    SR_FLOW_ASKING,   /* 30 s: the peer has not answered since the flow was made */
    SR_FLOW_TALKING,  /* 180 s: the peer has answered */
    SR_FLOW_ANSWERED, /* 2 s: a name server has answered every question */
    SR_FLOW_STATES
};

struct sr_flow {
    struct sr_datagram_ends ends;
    int fd; /* -1: this is no flow */
    enum sr_flow_state state;
    uint64_t used;         /* monotonic nanoseconds */
    uint32_t pending;      /* datagrams sent and not answered, if each is a question */
    uint32_t next;         /* in its bucket, or in the list of free ones */
    uint32_t newer, older; /* among those of its state */
};

struct sr_flows {
    struct sr_flow *items; /* cap of them */
    uint32_t *buckets;
    uint32_t cap, mask, count, free;
    uint64_t seed;
    struct sr_flow_queue {
        uint32_t newest, oldest;
    } queues[SR_FLOW_STATES];
};

/* Makes room for cap flows. seed is a random number, which the guest must not know. False when
 * memory is out. */
bool sr_flows_make(struct sr_flows *flows, uint32_t cap, uint64_t seed);
void sr_flows_free(struct sr_flows *flows);

/* Returns the index of a flow, SR_FLOW_NONE when there is none between these ends. */
uint32_t sr_flows_find(const struct sr_flows *flows, const struct sr_datagram_ends *ends);

/* Adds a flow that is not there yet, with its socket; SR_FLOW_NONE when all are taken. */
uint32_t sr_flows_add(struct sr_flows *flows, const struct sr_datagram_ends *ends, int fd,
                      uint64_t now);

/* Record that a datagram was sent on the flow, or has come. */
void sr_flows_sent(struct sr_flows *flows, uint32_t index, uint64_t now);
void sr_flows_received(struct sr_flows *flows, uint32_t index, uint64_t now);

/* Forgets a flow, whose socket the caller has closed. */
void sr_flows_remove(struct sr_flows *flows, uint32_t index);

/* Returns a flow that was not used for as long as its state allows, or SR_FLOW_NONE; then *wait is
 * the time until there is one (UINT64_MAX: never). */
uint32_t sr_flows_expired(const struct sr_flows *flows, uint64_t now, uint64_t *wait);

#endif
