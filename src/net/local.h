/*
 * The host's own addresses, followed while a run goes on: those of its interfaces, and whole
 * prefixes that are routed to the host itself (AnyIP). Addresses stay on the list when the host
 * loses them.
 */
#ifndef SR_NET_LOCAL_H
#define SR_NET_LOCAL_H

#include "common/buf.h"
#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_LOCAL_MAX 8192
#define NET_LOCAL_TOO_MANY "the host has too many addresses: more than 8192 ranges"

struct net_local_range {
    uint32_t first, last; /* host byte order */
};

struct net_local_list {
    size_t count;
    struct net_local_range ranges[NET_LOCAL_MAX]; /* sorted, with gaps between them */
};

struct net_local {
    int fd; /* rtnetlink in the host's network namespace; readable when there is more; -1: none */
    bool asked;   /* a dump of all addresses was requested */
    bool unknown; /* notices were lost: another dump is needed */
    struct net_local_list own;
};

/* Opens the socket in the caller's network namespace and reads all addresses into an empty list.
 * The caller closes local->fd, also after a failure. Returns 0 or a negative errno: -E2BIG when
 * there are too many. */
int net_local_open(struct net_local *local) SR_MUST_CHECK;

/* Reads notices that have come, without waiting. Returns 1 when there are more addresses than
 * before, 0 when not, or a negative errno: they are not known any more. */
int net_local_read(struct net_local *local) SR_MUST_CHECK;

/* Takes len bytes of messages from the kernel. Returns as net_local_read() does. */
int net_local_take(struct net_local *local, const void *bytes, size_t len) SR_MUST_CHECK;

/* Adds a range. Returns 1 when some of it is new, 0 when nothing is, or -E2BIG. */
int net_local_add(struct net_local_list *own, uint32_t first, uint32_t last) SR_MUST_CHECK;

bool net_local_has(const struct net_local_list *own, uint32_t address);

/* Appends a transaction for nft that fills the set NET_HOST_SET with these addresses. */
void net_local_text(const struct net_local_list *own, struct sr_buf *out);

#endif
