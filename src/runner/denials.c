#include "runner/denials.h"

#include "common/ipv4.h"
#include "common/timestamp.h"
#include "evidence/fact.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 16384 };

/* Of all that no set had room for. It is no protocol's number. */
enum { OTHERS = 255 };

struct denial {
    uint32_t address;
    uint16_t port;
    uint8_t protocol;
    uint64_t packets, told; /* as of the last sample; of these, in evidence */
    int64_t first, last;    /* of those that are not told yet: not before, not after */
};

struct denials {
    int64_t sampled; /* before the last sample was read */
    size_t count;
    struct denial all[DENIALS_MAX]; /* in the order in which they were seen */
    uint16_t slots[SLOTS];          /* a hash table of places in it, from 1 on; 0: free */
};

struct denials *denials_new(int64_t now)
{
    struct denials *denials = calloc(1, sizeof *denials);
    if (denials != NULL)
        denials->sampled = now;
    return denials;
}

void denials_free(struct denials *denials)
{
    free(denials);
}

/* The denial of a destination, new if need be; NULL when there is no more room, as there is for
 * what the sets hold. */
static struct denial *find(struct denials *denials, uint8_t protocol, uint32_t address,
                           uint16_t port)
{
    uint64_t key = (uint64_t)protocol << 48 | (uint64_t)port << 32 | address;
    size_t at = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 50); /* 14 bits */
    for (; denials->slots[at] != 0; at = (at + 1) % SLOTS) {
        struct denial *denial = &denials->all[denials->slots[at] - 1];
        if (denial->address == address && denial->port == port && denial->protocol == protocol)
            return denial;
    }
    if (denials->count == DENIALS_MAX)
        return NULL;
    struct denial *denial = &denials->all[denials->count++];
    *denial = (struct denial){.address = address, .port = port, .protocol = protocol};
    denials->slots[at] = (uint16_t)denials->count;
    return denial;
}

static void update(struct denials *denials, struct denial *denial, uint64_t packets, int64_t now)
{
    if (denial == NULL || packets <= denial->packets)
        return;
    if (denial->packets == denial->told)
        denial->first = denials->sampled;
    denial->packets = packets;
    denial->last = now;
}

void denials_take(struct denials *denials, const struct net_sample *sample, int64_t asked,
                  int64_t now)
{
    for (size_t i = 0; i < sample->count; i++) {
        const struct net_count *count = &sample->counts[i];
        if (count->set == NET_SET_FLOWS || count->set == NET_SET_ODD_FLOWS)
            update(denials, find(denials, count->protocol, count->first, count->port),
                   count->packets, now);
    }
    uint64_t others = sample->totals[NET_UNLISTED];
    if (others > 0)
        update(denials, find(denials, OTHERS, 0, 0), others, now);
    denials->sampled = asked;
}

static const char *protocol_name(uint8_t protocol, char number[8])
{
    switch (protocol) {
    case IPPROTO_TCP:
        return "tcp";
    case IPPROTO_UDP:
        return "udp";
    case IPPROTO_ICMP:
        return "icmp";
    case OTHERS:
        return "any";
    default:
        snprintf(number, 8, "ip-%u", protocol);
        return number;
    }
}

static json_t *payload_of(const struct denial *denial)
{
    char address[SR_IPV4_TEXT_MAX], number[8], first[SR_TIMESTAMP_TEXT], last[SR_TIMESTAMP_TEXT];
    struct facts facts = facts_new();
    sr_timestamp_format(denial->first, first);
    sr_timestamp_format(denial->last, last);
    fact_text(&facts, "protocol", protocol_name(denial->protocol, number));
    fact_text(&facts, "destination",
              denial->protocol == OTHERS ? "others" : sr_ipv4_format(denial->address, address));
    fact_count(&facts, "port", denial->port);
    fact_count(&facts, "packets", denial->packets - denial->told);
    fact_text(&facts, "firstAt", first);
    fact_text(&facts, "lastAt", last);
    return facts_end(&facts);
}

int denials_tell(struct denials *denials, unsigned limit, denials_tell_one *tell, void *context,
                 struct sr_error *err)
{
    int count = 0;
    for (size_t i = 0; i < denials->count && (unsigned)count < limit; i++) {
        struct denial *denial = &denials->all[i];
        if (denial->packets == denial->told)
            continue;
        if (tell(context, payload_of(denial), err) < 0)
            return -1;
        denial->told = denial->packets;
        count++;
    }
    return count;
}
