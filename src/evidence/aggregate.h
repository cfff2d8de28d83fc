/*
 * The sums of a report, computed from the events one by one: mountAudit, networkAudit and
 * resourceUsage. The writer and the verifier use the same code, so what is written is what follows
 * from the events.
 *
 *   mountAudit     accepted: mount.validated events; rejected: mount.rejected events; requested:
 *                  their sum; reasons: "<errorCode>: <message>" of the first EVIDENCE_MAX_REASONS
 *                  rejected.
 *   networkAudit   mode, rulesTotal: of the last network.plan.generated; without one, rulesTotal is
 *                  the number of network.rule.applied; without those, both are the policy's.
 *                  allowedHits, blockedHits: summed over network.rule.hit. Zeros for mode none.
 *                  denied: packets, summed over network.flow.denied. dropped: frames that were
 *                  dropped for another reason, by the event that counts frames when the network is
 *                  taken down; left out without such an event.
 *   resourceUsage  of the last resource.sampled; zeros without one.
 *
 * Sums stop at 2^53 - 1.
 */
#ifndef SR_EVIDENCE_AGGREGATE_H
#define SR_EVIDENCE_AGGREGATE_H

#include "evidence/chain.h"

#define EVIDENCE_MAX_REASONS 64

/* Why a frame of the guest was dropped, other than that no rule allows its destination. */
enum evidence_drop {
    EVIDENCE_DROP_INVALID,    /* it belongs to no connection, or has options */
    EVIDENCE_DROP_NOT_IPV4,   /* nor ARP: IPv6, say */
    EVIDENCE_DROP_SPOOFED,    /* its source address is not the guest's */
    EVIDENCE_DROP_TO_GATEWAY, /* it was for the gateway itself */
    /* The kernel's own checks, or a fragment of a packet that is counted once. */
    EVIDENCE_DROP_UNACCOUNTED,
    EVIDENCE_DROP_COUNT
};

/* The name of a drop, as in `frames` of an event and in networkAudit.dropped. */
const char *evidence_drop_name(enum evidence_drop drop);
/* Reads the drops of `frames`; one that is missing or negative counts as 0. */
void evidence_drops_read(struct sr_json_slice frames, uint64_t dropped[EVIDENCE_DROP_COUNT]);

struct evidence_aggregate {
    uint64_t validated, rejected;
    struct sr_buf reasons; /* canonical elements, separated by commas */
    bool planned;
    struct sr_buf mode; /* canonical, of the plan */
    uint64_t plan_rules, applied_rules;
    uint64_t hits_seen, allowed_hits, blocked_hits;
    uint64_t denied;        /* packets whose destinations events name */
    bool framed;            /* an event counts frames: */
    uint64_t frames_denied; /* packets, by that event */
    uint64_t dropped[EVIDENCE_DROP_COUNT];
    uint64_t samples;
    uint64_t cpu_usec, memory_bytes;
    bool lacking; /* an event had no number in a field that is added up */
    uint64_t event_count;
    enum sr_event_type last; /* of the last event, when there is one */
};

#define EVIDENCE_AGGREGATE_INIT                                                                    \
    (struct evidence_aggregate)                                                                    \
    {                                                                                              \
        0                                                                                          \
    }
void evidence_aggregate_free(struct evidence_aggregate *aggregate);
#define sr_cleanup_aggregate __attribute__((cleanup(evidence_aggregate_free)))

/* Adds an event. Fields that are missing or no numbers count as zero. -1: memory is out. */
int evidence_aggregate_add(struct evidence_aggregate *aggregate,
                           const struct evidence_event *event) SR_MUST_CHECK;

/* Append the canonical objects. fallback_* are the policy's. */
void evidence_aggregate_mounts(const struct evidence_aggregate *aggregate, struct sr_buf *out);
void evidence_aggregate_network(const struct evidence_aggregate *aggregate,
                                const char *fallback_mode, uint64_t fallback_rules,
                                struct sr_buf *out);
void evidence_aggregate_resources(const struct evidence_aggregate *aggregate, struct sr_buf *out);

#endif
