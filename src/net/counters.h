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

enum sr_net_set {
    SR_NET_SET_ALLOW_ADDRESS,
    SR_NET_SET_ALLOW_RANGE,
    SR_NET_SET_BLOCK_ADDRESS,
    SR_NET_SET_BLOCK_RANGE,
    SR_NET_SET_FLOWS,
    SR_NET_SET_ODD_FLOWS,
    SR_NET_SET_COUNT
};

/* Named counters, packets each. */
enum sr_net_total {
    SR_NET_FRAMES_ARP,
    SR_NET_FRAMES_IPV4,
    SR_NET_FRAMES_OTHER,
    SR_NET_REPLIES,
    SR_NET_SPOOFED,
    SR_NET_ESTABLISHED,
    SR_NET_INVALID,
    SR_NET_DENIED,
    SR_NET_UNLISTED,
    SR_NET_TO_GATEWAY,
    SR_NET_TOTAL_COUNT
};

/* An element that has counted something. protocol and port are 0 where its set has none. */
struct sr_net_count {
    uint8_t set; /* enum sr_net_set */
    uint8_t protocol;
    uint16_t port;
    uint32_t first; /* host byte order */
    uint64_t packets;
};

/* What the UDP relay counts: flows, and datagrams that it did not carry. */
struct sr_net_udp {
    uint64_t opened, peak; /* flows: all, and at one time */
    uint64_t refused;      /* datagrams of new flows beyond the cap */
    uint64_t failed;       /* datagrams that the host or the guest's interface did not take */
    uint64_t lost;         /* datagrams that came faster than the relay takes them */
    uint64_t uncarried;    /* fragments and the like, and datagrams of another peer */
    uint64_t unreachable;  /* flows that an ICMP error ended */
};

/* A sample, in memory that the cell and the supervisor share. */
struct sr_net_sample {
    uint64_t totals[SR_NET_TOTAL_COUNT];
    uint64_t tap_received, tap_sent; /* frames on the TAP, by its statistics */
    struct sr_net_udp udp;
    struct sr_local_list own; /* the host's addresses that the cell knows of */
    size_t count, cap;
    struct sr_net_count counts[];
};

/* Fills sample->totals and counts (elements whose counters are not zero). Returns 0 or a negative
 * errno: -E2BIG when there are more than cap. */
int sr_net_counters_read(struct sr_net_sample *sample) SR_MUST_CHECK;

/* Deletes the run's tables with their rules and sets in one transaction, and checks that they are
 * gone. Returns 0 or a negative errno. Its socket stays open until the process ends, because
 * closing it waits until the kernel has freed every element. */
int sr_net_tables_delete(void) SR_MUST_CHECK;

#endif
