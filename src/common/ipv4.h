/*
 * IPv4 addresses, in host byte order: strict text, prefixes, and the ranges that are not just any
 * host.
 */
#ifndef SR_COMMON_IPV4_H
#define SR_COMMON_IPV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SR_IPV4_TEXT_MAX 16 /* "255.255.255.255" and its NUL */

struct sr_ipv4_range {
    uint32_t first, last;
    const char *name; /* for people: "loopback" */
};

/* Reads a.b.c.d at the beginning of text: decimal, no leading zeros. Returns what follows it, or
 * NULL. */
const char *sr_ipv4_parse(const char *text, uint32_t *address);

/* Writes a.b.c.d into text and returns it. */
const char *sr_ipv4_format(uint32_t address, char text[SR_IPV4_TEXT_MAX]);

/* The network mask of a prefix length 0..32. */
static inline uint32_t sr_ipv4_mask(unsigned prefix)
{
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

/*
 * Ranges that a rule wider than /32 never opens (RFC 6890): this host, loopback, link-local, where
 * clouds keep their metadata service, the run's own network, multicast, reserved and broadcast. In
 * ascending order, apart from each other.
 */
extern const struct sr_ipv4_range sr_ipv4_reserved[];
extern const size_t sr_ipv4_reserved_count;

/* The reserved range an address lies in, or NULL. */
const struct sr_ipv4_range *sr_ipv4_find_reserved(uint32_t address);

/* True when a rule for the prefix opens no address at all: it lies in reserved ranges and is wider
 * than /32, or it is an address of the run's own network. */
bool sr_ipv4_opens_nothing(uint32_t address, unsigned prefix);

/* True for RFC 1918's private ranges and RFC 6598's 100.64.0.0/10. */
bool sr_ipv4_is_private(uint32_t address);

#endif
