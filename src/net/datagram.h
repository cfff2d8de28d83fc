/*
 * UDP datagrams of a guest as IPv4 packets (RFC 791, RFC 768), and what is sent back to it. The
 * functions are pure; packets are hostile input.
 */
#ifndef SR_NET_DATAGRAM_H
#define SR_NET_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Size of the headers, and of the largest payload that a packet holds behind them. */
#define NET_DATAGRAM_HEAD 28
#define NET_DATAGRAM_PAYLOAD_MAX (65535 - NET_DATAGRAM_HEAD)
#define NET_UNREACHABLE_SIZE 56

/* Who speaks with whom, host byte order. */
struct net_datagram_ends {
    uint32_t guest, peer;
    uint16_t guest_port, peer_port;
};

struct net_datagram {
    struct net_datagram_ends ends;
    const uint8_t *payload; /* inside the packet */
    size_t len;
};

/*
 * Reads a packet of the guest. False for what is not carried: anything but UDP by IPv4, IP options,
 * fragments, lengths that contradict each other, port 0, and peers that are no host elsewhere
 * (0.0.0.0/8, loopback, multicast, reserved). Checksums are the kernel's to check; the datagram
 * that leaves gets new ones.
 */
bool net_datagram_parse(const uint8_t *packet, size_t len, struct net_datagram *datagram);

/* Writes the headers of a datagram from the peer to the guest in front of its payload, which lies
 * at packet + NET_DATAGRAM_HEAD. len is the payload's, at most NET_DATAGRAM_PAYLOAD_MAX. Returns
 * the packet's length. */
size_t net_datagram_answer(uint8_t *packet, const struct net_datagram_ends *ends, uint16_t id,
                           size_t len);

/* Writes an ICMP error (RFC 792: port unreachable) from the peer about what the guest sent. */
void net_datagram_unreachable(uint8_t packet[NET_UNREACHABLE_SIZE],
                              const struct net_datagram_ends *ends, uint16_t id);

#endif
