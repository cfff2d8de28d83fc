#include "net/ruleset.h"

#include "common/ipv4.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ranges {
    struct net_element *items;
    size_t count, cap;
};

static bool add(struct ranges *ranges, const struct net_element *element)
{
    if (ranges->items == NULL || ranges->count == ranges->cap) {
        size_t cap = ranges->cap == 0 ? 64 : ranges->cap * 2;
        struct net_element *grown = realloc(ranges->items, cap * sizeof *grown);
        if (grown == NULL)
            return false;
        ranges->items = grown;
        ranges->cap = cap;
    }
    ranges->items[ranges->count++] = *element;
    return true;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct sr_ipv4_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* What no wide rule opens, sorted: the reserved ranges and the host's own addresses. */
static struct sr_ipv4_range *closed_ranges(const struct net_ruleset_input *input, size_t *count)
{
    *count = sr_ipv4_reserved_count + input->own->count;
    struct sr_ipv4_range *closed = calloc(*count, sizeof *closed);
    if (closed == NULL)
        return NULL;
    memcpy(closed, sr_ipv4_reserved, sr_ipv4_reserved_count * sizeof *closed);
    for (size_t i = 0; i < input->own->count; i++)
        closed[sr_ipv4_reserved_count + i] =
            (struct sr_ipv4_range){input->own->ranges[i].first, input->own->ranges[i].last, NULL};
    qsort(closed, *count, sizeof *closed, compare_ranges);
    return closed;
}

/* Adds what is left of element without the closed ranges. */
static bool add_open_parts(struct ranges *ranges, struct net_element element,
                           const struct sr_ipv4_range *closed, size_t closed_count)
{
    uint64_t next = element.first, last = element.last;
    for (size_t i = 0; i < closed_count && next <= last; i++) {
        if (closed[i].last < next || closed[i].first > last)
            continue;
        if (closed[i].first > next) {
            element.first = (uint32_t)next;
            element.last = closed[i].first - 1;
            if (!add(ranges, &element))
                return false;
        }
        next = (uint64_t)closed[i].last + 1;
    }
    if (next > last)
        return true;
    element.first = (uint32_t)next;
    element.last = (uint32_t)last;
    return add(ranges, &element);
}

int net_element_compare(const void *a, const void *b)
{
    const struct net_element *x = a, *y = b;
    if (x->protocol != y->protocol)
        return x->protocol < y->protocol ? -1 : 1;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Open ranges while a sweep goes over them: a binary heap, the earliest target on top. */
struct heap {
    const struct net_element **items;
    size_t count;
};

static void heap_push(struct heap *heap, const struct net_element *element)
{
    size_t at = heap->count++;
    for (; at > 0 && heap->items[(at - 1) / 2]->target > element->target; at = (at - 1) / 2)
        heap->items[at] = heap->items[(at - 1) / 2];
    heap->items[at] = element;
}

static void heap_pop(struct heap *heap)
{
    const struct net_element *last = heap->items[--heap->count];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < heap->count) {
        if (child + 1 < heap->count && heap->items[child + 1]->target < heap->items[child]->target)
            child++;
        if (heap->items[child]->target >= last->target)
            break;
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = last;
}

/* One service's ranges, sorted by first: every address to its earliest target. */
static bool sweep(const struct net_element *in, size_t count, struct heap *heap, struct ranges *out)
{
    uint64_t at = 0;
    size_t begun = out->count;
    for (size_t i = 0; i < count || heap->count > 0;) {
        while (heap->count > 0 && heap->items[0]->last < at)
            heap_pop(heap);
        if (heap->count == 0) {
            if (i == count)
                break;
            at = in[i].first > at ? in[i].first : at;
        }
        while (i < count && in[i].first <= at)
            heap_push(heap, &in[i++]);
        while (heap->count > 0 && heap->items[0]->last < at)
            heap_pop(heap);
        if (heap->count == 0)
            continue;
        struct net_element part = *heap->items[0];
        part.first = (uint32_t)at;
        if (i < count && in[i].first <= part.last)
            part.last = in[i].first - 1;
        at = (uint64_t)part.last + 1;
        struct net_element *before = out->count > begun ? &out->items[out->count - 1] : NULL;
        if (before != NULL && before->target == part.target && before->last + 1 == part.first)
            before->last = part.last;
        else if (!add(out, &part))
            return false;
    }
    return true;
}

/* Makes ranges disjoint; takes them. False when memory is out. */
static bool split(struct ranges *ranges, struct net_elements *elements)
{
    struct ranges out = {0};
    if (ranges->count > 0)
        qsort(ranges->items, ranges->count, sizeof *ranges->items, net_element_compare);
    struct heap heap = {.items = malloc((ranges->count + 1) * sizeof(struct net_element *))};
    bool good = heap.items != NULL;
    for (size_t i = 0, end; good && i < ranges->count; i = end) {
        end = i + 1;
        while (end < ranges->count && ranges->items[end].protocol == ranges->items[i].protocol &&
               ranges->items[end].port == ranges->items[i].port)
            end++;
        good = sweep(ranges->items + i, end - i, &heap, &out);
    }
    free(heap.items);
    free(ranges->items);
    if (!good) {
        free(out.items);
        return false;
    }
    *elements = (struct net_elements){out.items, out.count};
    return true;
}

int net_split(const struct net_ruleset_input *input, struct net_ruleset *ruleset,
              struct sr_error *err)
{
    size_t closed_count;
    sr_cleanup_free struct sr_ipv4_range *closed = closed_ranges(input, &closed_count);
    struct ranges allow = {0}, block = {0}, host = {0};
    bool good = closed != NULL;
    for (size_t i = 0; good && i < input->target_count; i++) {
        const struct net_target *target = &input->targets[i];
        uint32_t mask = sr_ipv4_mask(target->prefix);
        struct net_element element = {
            .protocol = target->protocol == SR_PROTOCOL_UDP ? IPPROTO_UDP : IPPROTO_TCP,
            .port = target->port,
            .first = target->address & mask,
            .last = target->address | ~mask,
            .target = i,
        };
        size_t holes =
            target->prefix < 32 ? closed_count : 0; /* an address that is named is meant */
        good = add_open_parts(&allow, element, closed, holes);
        if (good && target->prefix == 32 && !target->by_name)
            good = add(&host, &element);
        element.protocol = 0;
        element.port = 0;
        good = good && add_open_parts(&block, element, closed, holes);
    }
    struct net_ruleset made = {0};
    if (!good) {
        free(allow.items);
        free(block.items);
        free(host.items);
    } else {
        bool first = split(&allow, &made.allow), second = split(&block, &made.block);
        good = split(&host, &made.host_allow) && first && second;
    }
    if (!good) {
        net_ruleset_free(&made);
        return sr_fail(err, SR_RUN_201, "launch.network.apply", "out of memory for the rules");
    }
    *ruleset = made;
    return 0;
}

const struct net_element *net_element_find(const struct net_elements *elements, uint8_t protocol,
                                           uint16_t port, uint32_t first)
{
    const struct net_element key = {.protocol = protocol, .port = port, .first = first};
    if (elements->count == 0)
        return NULL;
    return bsearch(&key, elements->items, elements->count, sizeof key, net_element_compare);
}

void net_ruleset_free(struct net_ruleset *ruleset)
{
    free(ruleset->allow.items);
    free(ruleset->block.items);
    free(ruleset->host_allow.items);
    *ruleset = (struct net_ruleset){0};
}

/* One set's elements: single addresses, or the ranges that are wider. */
static void elements_text(struct sr_buf *out, const struct net_elements *elements, bool single)
{
    char first[SR_IPV4_TEXT_MAX], last[SR_IPV4_TEXT_MAX];
    const char *before = "\n    elements = {\n      ";
    for (size_t i = 0; i < elements->count; i++) {
        const struct net_element *element = &elements->items[i];
        if ((element->first == element->last) != single)
            continue;
        sr_buf_puts(out, before);
        sr_buf_puts(out, sr_ipv4_format(element->first, first));
        if (!single) {
            sr_buf_putc(out, '-');
            sr_buf_puts(out, sr_ipv4_format(element->last, last));
        }
        if (element->protocol != 0) {
            sr_buf_puts(out, element->protocol == IPPROTO_UDP ? " . udp . " : " . tcp . ");
            sr_buf_u64(out, element->port);
        }
        before = ",\n      ";
    }
    sr_buf_puts(out, before[0] == ',' ? "\n    }\n  }\n" : "\n  }\n");
}

/* A set of single addresses. With its size given the kernel makes the table once instead of growing
 * it. */
static void address_set_text(struct sr_buf *out, const char *name, const char *type,
                             const struct net_elements *elements)
{
    size_t size = NET_MORE_TARGETS;
    for (size_t i = 0; i < elements->count; i++)
        size += elements->items[i].first == elements->items[i].last;
    sr_buf_printf(out, "  set %s {\n    type %s\n    size %zu\n    counter", name, type, size);
    elements_text(out, elements, true);
}

/* Counters, and what addresses are allowed, blocked and the host's. */
static void sets_text(const struct net_ruleset *ruleset, struct sr_buf *out)
{
    static const char *const counters[] = {"replies", "spoofed",  "established", "invalid",
                                           "denied",  "unlisted", "to_gateway"};
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        sr_buf_printf(out, "  counter %s { }\n", counters[i]);
    address_set_text(out, "allow_address", "ipv4_addr . inet_proto . inet_service",
                     &ruleset->allow);
    sr_buf_puts(out, "  set allow_range {\n    type ipv4_addr . inet_proto . inet_service\n"
                     "    flags interval\n    counter");
    elements_text(out, &ruleset->allow, false);
    address_set_text(out, "block_address", "ipv4_addr", &ruleset->block);
    sr_buf_puts(out, "  set block_range {\n    type ipv4_addr\n    flags interval\n    counter");
    elements_text(out, &ruleset->block, false);
    sr_buf_puts(out, "  set " NET_HOST_SET " {\n    type ipv4_addr\n    flags interval\n  }\n"
                     "  set host_allow {\n    type ipv4_addr . inet_proto . inet_service");
    elements_text(out, &ruleset->host_allow, true);
    sr_buf_puts(out,
                "  set flows {\n    type ipv4_addr . inet_proto . inet_service\n    size 4096\n"
                "    flags dynamic\n    counter\n  }\n"
                "  set odd_flows {\n    type ipv4_addr . inet_proto\n    size 256\n"
                "    flags dynamic\n    counter\n  }\n");
}

/* ways: out of the namespace, nft's text for one interface or two. */
static void forward_text(const struct net_ruleset_input *input, const char *guest, const char *ways,
                         struct sr_buf *out)
{
    /* An address that has become the host's is open to rules for it alone, whatever was under way
     * to it before. What is too short to have a port is not open, either. */
    sr_buf_printf(
        out,
        "  chain deny {\n"
        "    counter name denied\n"
        "    ip daddr @block_address\n"
        "    ip daddr @block_range\n"
        "    meta l4proto { tcp, udp } update @flows { ip daddr . meta l4proto . th dport } drop\n"
        "    meta l4proto != { tcp, udp } update @odd_flows { ip daddr . meta l4proto } drop\n"
        "    counter name unlisted drop\n"
        "  }\n"
        "  chain to_host {\n"
        "    ip daddr . meta l4proto . th dport @host_allow return\n"
        "    goto deny\n"
        "  }\n"
        "  chain forward {\n"
        "    type filter hook forward priority 0; policy accept;\n"
        "    iifname != \"%s\" ct state established,related counter name replies accept\n"
        "    iifname != \"%s\" drop\n"
        "    meta nfproto != ipv4 drop\n"
        "    ip saddr != %s counter name spoofed drop\n"
        "    oifname != %s counter name to_gateway drop\n"
        "    ip daddr @" NET_HOST_SET " jump to_host\n"
        "    ct state established counter name established accept\n"
        "    ct state != new counter name invalid drop\n"
        "    ip daddr . meta l4proto . th dport @allow_address accept\n"
        "    ip daddr . meta l4proto . th dport @allow_range accept\n"
        "    goto deny\n"
        "  }\n",
        input->tap, input->tap, guest, ways);
    if (input->relay != NULL) /* what routing has seen to already: to each its own protocol */
        sr_buf_printf(out,
                      "  chain egress {\n"
                      "    type filter hook forward priority 10; policy accept;\n"
                      "    oifname \"%s\" meta l4proto udp drop\n"
                      "    oifname \"%s\" meta l4proto != udp drop\n"
                      "  }\n",
                      input->uplink, input->relay);
}

void net_ruleset_text(const struct net_ruleset_input *input, const struct net_ruleset *ruleset,
                      struct sr_buf *out)
{
    char guest[SR_IPV4_TEXT_MAX], ways[64];
    sr_ipv4_format(input->guest, guest);
    /* What is neither IPv4 nor ARP goes no further than the TAP; all frames are counted there. */
    sr_buf_printf(out,
                  "table netdev " NET_TABLE " {\n"
                  "  counter frames_arp { }\n"
                  "  counter frames_ipv4 { }\n"
                  "  counter frames_other { }\n"
                  "  chain ingress {\n"
                  "    type filter hook ingress device \"%s\" priority 0; policy drop;\n"
                  "    ether type arp counter name frames_arp accept\n"
                  "    ether type ip counter name frames_ipv4 accept\n"
                  "    counter name frames_other drop\n"
                  "  }\n"
                  "}\n"
                  "table inet " NET_TABLE " {\n",
                  input->tap);
    sets_text(ruleset, out);
    /* Before the kernel looks at a packet at all: it would answer one that it cannot route with an
     * ICMP error to its source, wherever that is, and follow its options. Priority -500 is before
     * fragments are put together. */
    sr_buf_printf(out,
                  "  chain prerouting {\n"
                  "    type filter hook prerouting priority -500; policy accept;\n"
                  "    iifname != \"%s\" accept\n"
                  "    ip saddr != %s counter name spoofed drop\n"
                  "    ip hdrlength > 5 counter name invalid drop\n"
                  "  }\n",
                  input->tap, guest);
    if (input->relay != NULL)
        snprintf(ways, sizeof ways, "{ \"%s\", \"%s\" }", input->uplink, input->relay);
    else
        snprintf(ways, sizeof ways, "\"%s\"", input->uplink);
    forward_text(input, guest, ways, out);
    sr_buf_printf(out,
                  "  chain input {\n"
                  "    type filter hook input priority 0; policy accept;\n"
                  "    iifname \"%s\" counter name to_gateway drop\n"
                  "    iifname %s ct state { new, invalid } drop\n"
                  "  }\n"
                  "  chain output {\n"
                  "    type filter hook output priority 0; policy accept;\n"
                  "    oifname %s drop\n"
                  "  }\n"
                  "  chain postrouting {\n"
                  "    type nat hook postrouting priority 100; policy accept;\n"
                  "    oifname \"%s\" masquerade\n"
                  "  }\n"
                  "}\n",
                  input->tap, ways, ways, input->uplink);
}
