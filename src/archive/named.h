/*
 * Names of the destinations that a run's rules opened. A hit has a destination, and belongs to
 * every rule that was applied there before, whatever its name. Memory and work are bounded, because
 * the report is foreign.
 */
#ifndef SR_ARCHIVE_NAMED_H
#define SR_ARCHIVE_NAMED_H

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/json_text.h"

/* Limits on kept rules and on comparisons: 5,000 rules at one address, hit each second of an
 * hour. */
enum {
    ARCHIVE_NAMED_MAX = 20000,
    ARCHIVE_NAMED_WORK = 20 * 1000 * 1000,
    ARCHIVE_NAMED_SLOTS = 4096
};

struct archive_named_rule {
    uint64_t service, place; /* hashes of protocol, target and port; of target alone */
    uint32_t name;           /* offset in names */
    uint32_t next;           /* of the same slot, from 1 on; 0: the last */
    int64_t port;
    bool told[2];
};

struct archive_named {
    struct archive_named_rule *rules; /* owned */
    size_t count, cap;
    uint32_t slots[ARCHIVE_NAMED_SLOTS]; /* by place */
    struct sr_buf names;                 /* each with its NUL */
    uint64_t work;
    bool truncated; /* there was more than is kept or looked at */
};

/* All zeros is an empty one. */
void archive_named_free(struct archive_named *named);

/* Adds the rule of a network.rule.applied, by its payload. Returns -1 when memory is out. */
int archive_named_add(struct archive_named *named, struct sr_json_slice payload) SR_MUST_CHECK;

/* Which rules are asked for. */
enum archive_named_kind {
    ARCHIVE_NAMED_REACHED, /* rules with the hit's protocol, target and port */
    /* Rules with the hit's target, whose ports the denied packets did not match. */
    ARCHIVE_NAMED_DENIED,
};

/* Calls on_name for each rule of a name that the payload of a network.rule.hit belongs to, once for
 * a rule however many hits it has. Ends with what on_name returns when that is not 0. */
typedef int archive_named_on_name(void *context, const char *name, int64_t port);
int archive_named_each(struct archive_named *named, struct sr_json_slice payload,
                       enum archive_named_kind kind, archive_named_on_name *on_name,
                       void *context) SR_MUST_CHECK;

#endif
