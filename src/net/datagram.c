#include "net/datagram.h"

#include <netinet/in.h>
#include <string.h>

enum { IP_HEAD = 20, UDP_HEAD = 8, ICMP_HEAD = 8, TTL = 64, PORT_UNREACHABLE = 0x0303 };
#define MORE_FRAGMENTS 0x2000u
#define FRAGMENT_OFFSET 0x1FFFu

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xFFFF);
}

/* A host elsewhere, as far as the address alone says. */
static bool is_host(uint32_t address)
{
    uint32_t network = address >> 24;
    return network != 0 && network != 127 && network < 224;
}

bool net_datagram_parse(const uint8_t *packet, size_t len, struct net_datagram *datagram)
{
    if (len < NET_DATAGRAM_HEAD || packet[0] != 0x45 || packet[9] != IPPROTO_UDP)
        return false;
    size_t total = get16(packet + 2);
    if (total < NET_DATAGRAM_HEAD || total > len ||
        (get16(packet + 6) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) != 0)
        return false;
    const uint8_t *udp = packet + IP_HEAD;
    size_t udp_len = get16(udp + 4);
    const struct net_datagram_ends ends = {
        .guest = get32(packet + 12),
        .peer = get32(packet + 16),
        .guest_port = get16(udp),
        .peer_port = get16(udp + 2),
    };
    if (udp_len < UDP_HEAD || udp_len > total - IP_HEAD || ends.guest_port == 0 ||
        ends.peer_port == 0 || !is_host(ends.peer))
        return false;
    *datagram = (struct net_datagram){ends, udp + UDP_HEAD, udp_len - UDP_HEAD};
    return true;
}

/* Sum of 16-bit words (RFC 1071), not yet folded; an odd last byte is the high one of its word. */
static uint64_t add_words(uint64_t sum, const uint8_t *at, size_t len)
{
    for (; len >= 2; at += 2, len -= 2)
        sum += get16(at);
    return len > 0 ? sum + ((uint64_t)at[0] << 8) : sum;
}

static uint16_t checksum(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)~sum;
}

static void put_ip_head(uint8_t *at, uint8_t protocol, uint32_t source, uint32_t destination,
                        uint16_t id, size_t total)
{
    memset(at, 0, IP_HEAD);
    at[0] = 0x45;
    put16(at + 2, total);
    put16(at + 4, id);
    at[8] = TTL;
    at[9] = protocol;
    put32(at + 12, source);
    put32(at + 16, destination);
    put16(at + 10, checksum(add_words(0, at, IP_HEAD)));
}

size_t net_datagram_answer(uint8_t *packet, const struct net_datagram_ends *ends, uint16_t id,
                           size_t len)
{
    size_t udp_len = UDP_HEAD + len;
    uint8_t *udp = packet + IP_HEAD;
    put_ip_head(packet, IPPROTO_UDP, ends->peer, ends->guest, id, IP_HEAD + udp_len);
    put16(udp, ends->peer_port);
    put16(udp + 2, ends->guest_port);
    put16(udp + 4, udp_len);
    put16(udp + 6, 0);
    /* The pseudo header: both addresses, protocol, length. */
    uint64_t sum = add_words(IPPROTO_UDP + udp_len, packet + 12, 8);
    uint16_t sent = checksum(add_words(sum, udp, udp_len));
    put16(udp + 6, sent != 0 ? sent : 0xFFFF); /* 0 would say that there is none */
    return IP_HEAD + udp_len;
}

void net_datagram_unreachable(uint8_t packet[NET_UNREACHABLE_SIZE],
                              const struct net_datagram_ends *ends, uint16_t id)
{
    uint8_t *icmp = packet + IP_HEAD, *about = icmp + ICMP_HEAD, *udp = about + IP_HEAD;
    put_ip_head(packet, IPPROTO_ICMP, ends->peer, ends->guest, id, NET_UNREACHABLE_SIZE);
    memset(icmp, 0, ICMP_HEAD);
    put16(icmp, PORT_UNREACHABLE);
    put_ip_head(about, IPPROTO_UDP, ends->guest, ends->peer, 0, IP_HEAD + UDP_HEAD);
    put16(udp, ends->guest_port);
    put16(udp + 2, ends->peer_port);
    put16(udp + 4, UDP_HEAD);
    put16(udp + 6, 0);
    put16(icmp + 2, checksum(add_words(0, icmp, NET_UNREACHABLE_SIZE - IP_HEAD)));
}
