/*
 * Names to IPv4 addresses (A records), by c-ares in a child of its own that holds nothing: what a name server answers
 * is hostile input. All names at once, one deadline.
 */
#ifndef SR_NET_RESOLVE_H
#define SR_NET_RESOLVE_H

#include "cleanup.h"
#include "saferun/error.h"

#include <stddef.h>
#include <stdint.h>

/* More addresses than this for one name is no host but an attack on the rules. */
#define SR_RESOLVE_MAX 64

struct sr_answer {
    uint32_t name; /* index into the names that were asked */
    uint32_t address;
    uint32_t ttl; /* seconds */
};

struct sr_answers {
    struct sr_answer *items; /* by name, then by address; owned, free() */
    size_t count;
};

/*
 * Resolves every name. server is the address of a name server ("192.0.2.53" or "192.0.2.53:5353"), or NULL: the ones of
 * /etc/resolv.conf. On failure *failed is the index of the name, the error SR-RUN-201 at launch.network.dns.
 */
int sr_resolve(const char *const *names, size_t count, const char *server,
               struct sr_answers *answers, size_t *failed, struct sr_error *err) SR_MUST_CHECK;

#endif
