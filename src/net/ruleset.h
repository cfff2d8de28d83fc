/*
 * The rules of a run as text for a single `nft -f -`: a pure function of typed, validated values.
 *
 * nft's interval sets refuse elements that overlap, so the targets are split into disjoint ranges
 * first, each of which belongs to the first target in policy order that has it. So every counted
 * packet belongs to one rule. Single addresses go into hash sets, which load and look up
 * faster, wider ranges into interval sets. The arrays that come out say which target each element
 * of the kernel's sets belongs to.
 */
#ifndef SR_NET_RULESET_H
#define SR_NET_RULESET_H

#include "common/buf.h"
#include "common/cleanup.h"
#include "net/local.h"
#include "saferun/policy.h"

#define NET_TABLE "safe_run"
/* The set of the host's own addresses, empty in the text: the net cell fills it and keeps it up to
 * date (local.h). */
#define NET_HOST_SET "host"
/* Room in the hash sets for addresses that names get while the run goes on. */
#define NET_MORE_TARGETS 2048

/* What a rule allows, with its name resolved: one for each address. */
struct net_target {
    size_t rule; /* of network.egress */
    enum sr_protocol protocol;
    uint32_t address; /* host byte order */
    uint8_t prefix;
    uint16_t port;
    bool by_name; /* the address came from a name: it is open as long as it is not the host's own */
};

/* A range of addresses in a set, and the target that its packets count for. In the block sets
 * protocol and port are 0. */
struct net_element {
    uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
    uint16_t port;
    uint32_t first, last;
    size_t target;
};

struct net_elements {
    struct net_element *items; /* sorted by protocol, port, first; owned */
    size_t count;
};

struct net_ruleset_input {
    const struct net_target *targets; /* policy order */
    size_t target_count;
    uint32_t guest;                   /* the only source address the guest may use */
    const struct net_local_list *own; /* the host's addresses: opened by rules for them alone */
    const char *tap, *uplink;         /* interface names */
    const char *relay;                /* of the UDP relay; NULL: UDP leaves by the uplink */
};

/* Which element of the sets a target got; net_ruleset_free(). */
struct net_ruleset {
    struct net_elements allow, block;
    struct net_elements
        host_allow; /* services of single addresses that stay open when those are the host's */
};

/* Splits the targets. SR-RUN-201 at launch.network.apply when memory is out. */
int net_split(const struct net_ruleset_input *input, struct net_ruleset *ruleset,
              struct sr_error *err) SR_MUST_CHECK;

/* Appends the whole ruleset; out fails when memory is out. */
void net_ruleset_text(const struct net_ruleset_input *input, const struct net_ruleset *ruleset,
                      struct sr_buf *out);

/* Compares elements for their order: protocol, port, first. */
int net_element_compare(const void *a, const void *b);

/* Returns the element with this service (0, 0 in block) and first address, or NULL. */
const struct net_element *net_element_find(const struct net_elements *elements, uint8_t protocol,
                                           uint16_t port, uint32_t first);

void net_ruleset_free(struct net_ruleset *ruleset);

#endif
