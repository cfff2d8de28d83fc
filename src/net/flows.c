#include "net/flows.h"

#include "common/clock.h"

#include <stdlib.h>

#define DNS_PORT 53

static const uint64_t lifetimes[NET_FLOW_STATES] = {
    [NET_FLOW_ASKING] = 30 * SR_NSEC_PER_SEC,
    [NET_FLOW_TALKING] = 180 * SR_NSEC_PER_SEC,
    [NET_FLOW_ANSWERED] = 2 * SR_NSEC_PER_SEC,
};

bool net_flows_make(struct net_flows *flows, uint32_t cap, uint64_t seed)
{
    uint32_t buckets = 1;
    while (buckets < cap)
        buckets *= 2;
    *flows = (struct net_flows){.cap = cap, .mask = buckets - 1, .seed = seed};
    flows->items = calloc(cap, sizeof *flows->items);
    flows->buckets = malloc(buckets * sizeof *flows->buckets);
    if (flows->items == NULL || flows->buckets == NULL) {
        net_flows_free(flows);
        return false;
    }
    for (uint32_t i = 0; i < buckets; i++)
        flows->buckets[i] = NET_FLOW_NONE;
    for (uint32_t i = 0; i < cap; i++)
        flows->items[i] = (struct net_flow){.fd = -1, .next = i + 1 < cap ? i + 1 : NET_FLOW_NONE};
    for (int i = 0; i < NET_FLOW_STATES; i++)
        flows->queues[i] = (struct net_flow_queue){NET_FLOW_NONE, NET_FLOW_NONE};
    return true;
}

void net_flows_free(struct net_flows *flows)
{
    free(flows->items);
    free(flows->buckets);
    *flows = (struct net_flows){0};
}

/* The finalizer of MurmurHash3, twice: who does not know the seed cannot choose a bucket, and a
 * bucket has no more flows than there are in all. */
static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    value = (value ^ value >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
    return value ^ value >> 33;
}

static uint32_t *bucket_of(const struct net_flows *flows, const struct net_datagram_ends *ends)
{
    uint64_t addresses = (uint64_t)ends->guest << 32 | ends->peer,
             ports = (uint64_t)ends->guest_port << 16 | ends->peer_port;
    uint64_t hash = mix(mix(addresses ^ flows->seed) ^ ports);
    return &flows->buckets[(uint32_t)hash & flows->mask];
}

static bool same(const struct net_datagram_ends *a, const struct net_datagram_ends *b)
{
    return a->peer == b->peer && a->peer_port == b->peer_port && a->guest_port == b->guest_port &&
           a->guest == b->guest;
}

uint32_t net_flows_find(const struct net_flows *flows, const struct net_datagram_ends *ends)
{
    uint32_t at = *bucket_of(flows, ends);
    while (at != NET_FLOW_NONE && !same(&flows->items[at].ends, ends))
        at = flows->items[at].next;
    return at;
}

static void unqueue(struct net_flows *flows, uint32_t index)
{
    const struct net_flow *flow = &flows->items[index];
    struct net_flow_queue *queue = &flows->queues[flow->state];
    *(flow->older != NET_FLOW_NONE ? &flows->items[flow->older].newer : &queue->oldest) =
        flow->newer;
    *(flow->newer != NET_FLOW_NONE ? &flows->items[flow->newer].older : &queue->newest) =
        flow->older;
}

static void enqueue(struct net_flows *flows, uint32_t index, enum net_flow_state state,
                    uint64_t now)
{
    struct net_flow *flow = &flows->items[index];
    struct net_flow_queue *queue = &flows->queues[state];
    flow->state = state;
    flow->used = now;
    flow->older = queue->newest;
    flow->newer = NET_FLOW_NONE;
    *(queue->newest != NET_FLOW_NONE ? &flows->items[queue->newest].newer : &queue->oldest) = index;
    queue->newest = index;
}

uint32_t net_flows_add(struct net_flows *flows, const struct net_datagram_ends *ends, int fd,
                       uint64_t now)
{
    if (flows->count == flows->cap)
        return NET_FLOW_NONE;
    uint32_t index = flows->free, *bucket = bucket_of(flows, ends);
    struct net_flow *flow = &flows->items[index];
    flows->free = flow->next;
    flows->count++;
    flow->ends = *ends;
    flow->fd = fd;
    flow->pending = 0;
    flow->next = *bucket;
    *bucket = index;
    enqueue(flows, index, NET_FLOW_ASKING, now);
    return index;
}

static void move(struct net_flows *flows, uint32_t index, enum net_flow_state state, uint64_t now)
{
    unqueue(flows, index);
    enqueue(flows, index, state, now);
}

void net_flows_sent(struct net_flows *flows, uint32_t index, uint64_t now)
{
    struct net_flow *flow = &flows->items[index];
    if (flow->pending < UINT32_MAX)
        flow->pending++;
    move(flows, index, flow->state == NET_FLOW_ANSWERED ? NET_FLOW_ASKING : flow->state, now);
}

void net_flows_received(struct net_flows *flows, uint32_t index, uint64_t now)
{
    struct net_flow *flow = &flows->items[index];
    if (flow->pending > 0)
        flow->pending--;
    bool name_server = flow->ends.peer_port == DNS_PORT;
    move(flows, index,
         !name_server         ? NET_FLOW_TALKING
         : flow->pending == 0 ? NET_FLOW_ANSWERED
                              : NET_FLOW_ASKING,
         now);
}

void net_flows_remove(struct net_flows *flows, uint32_t index)
{
    struct net_flow *flow = &flows->items[index];
    uint32_t *at = bucket_of(flows, &flow->ends);
    while (*at != index)
        at = &flows->items[*at].next;
    *at = flow->next;
    unqueue(flows, index);
    flow->fd = -1;
    flow->next = flows->free;
    flows->free = index;
    flows->count--;
}

uint32_t net_flows_expired(const struct net_flows *flows, uint64_t now, uint64_t *wait)
{
    *wait = UINT64_MAX;
    for (int i = 0; i < NET_FLOW_STATES; i++) {
        uint32_t oldest = flows->queues[i].oldest;
        if (oldest == NET_FLOW_NONE)
            continue;
        uint64_t end = flows->items[oldest].used + lifetimes[i];
        if (end <= now)
            return oldest;
        *wait = end - now < *wait ? end - now : *wait;
    }
    return NET_FLOW_NONE;
}
