/*
 * Reads what the kernel has counted: the elements of the run's sets and its named counters, by a
 * netlink dump (nfnetlink, linux/netfilter/nf_tables.h) of the caller's network namespace.
 */
#ifndef SR_NET_COUNTERS_H
#define SR_NET_COUNTERS_H

#include "common/cleanup.h"
#include "net/local.h"

#include <stddef.h>
#include <stdint.h>

enum net_set {
    NET_SET_ALLOW_ADDRESS,
    NET_SET_ALLOW_RANGE,
    NET_SET_BLOCK_ADDRESS,
    NET_SET_BLOCK_RANGE,
    NET_SET_FLOWS,
    NET_SET_ODD_FLOWS,
    NET_SET_COUNT
};

/* Named counters, packets each. */
enum net_total {
    NET_FRAMES_ARP,
    NET_FRAMES_IPV4,
    NET_FRAMES_OTHER,
    NET_REPLIES,
    NET_SPOOFED,
    NET_ESTABLISHED,
    NET_INVALID,
    NET_DENIED,
    NET_UNLISTED,
    NET_TO_GATEWAY,
    NET_TOTAL_COUNT
};

/* An element that has counted something. protocol and port are 0 where its set has none. */
struct net_count {
    uint8_t set; /* enum net_set */
    uint8_t protocol;
    uint16_t port;
    uint32_t first; /* host byte order */
    uint64_t packets;
};

/* What the UDP relay counts: flows, and datagrams that it did not carry. */
struct net_udp {
    uint64_t opened, peak; /* flows: all, and at one time */
    uint64_t refused;      /* datagrams of new flows beyond the cap */
    uint64_t failed;       /* datagrams that the host or the guest's interface did not take */
    uint64_t lost;         /* datagrams that came faster than the relay takes them */
    uint64_t uncarried;    /* fragments and the like, and datagrams of another peer */
    uint64_t unreachable;  /* flows that an ICMP error ended */
};

/* A sample, in memory that the cell and the supervisor share. */
struct net_sample {
    uint64_t totals[NET_TOTAL_COUNT];
    uint64_t tap_received, tap_sent; /* frames on the TAP, by its statistics */
    struct net_udp udp;
    struct net_local_list own; /* the host's addresses that the cell knows of */
    size_t count, cap;
    struct net_count counts[];
};

/* Fills sample->totals and counts (elements whose counters are not zero). Returns 0 or a negative
 * errno: -E2BIG when there are more than cap. */
int net_counters_read(struct net_sample *sample) SR_MUST_CHECK;

/* Deletes the run's tables with their rules and sets in one transaction, and checks that they are
 * gone. Returns 0 or a negative errno. Its socket stays open until the process ends, because
 * closing it waits until the kernel has freed every element. */
int net_tables_delete(void) SR_MUST_CHECK;

#endif
