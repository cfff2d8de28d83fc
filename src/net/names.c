#include "net/names.h"

#include "common/clock.h"
#include "common/ipv4.h"
#include "net/talk.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH "launch.network.dns"
#define DAY_SEC 86400u

static int no_memory(struct sr_error *err)
{
    return sr_fail(err, SR_RUN_201, "launch.network.apply", "out of memory");
}

/* An address that the names may not lead to unless a cidr rule opens it: rebinding. NULL: they
 * may. */
static const char *describe_closed(const struct net *net, uint32_t address, bool *narrow)
{
    const struct sr_ipv4_range *reserved = sr_ipv4_find_reserved(address);
    *narrow = true; /* no rule wider than /32 opens it */
    if (net_local_has(&net->own, address))
        return "this host";
    if (reserved != NULL)
        return reserved->name;
    *narrow = false;
    return sr_ipv4_is_private(address) ? "a private network" : NULL;
}

static bool is_opened(const struct net *net, const struct sr_egress *rule, uint32_t address,
                      bool narrow)
{
    for (size_t i = 0; i < net->policy->egress_count; i++) {
        const struct sr_egress *other = &net->policy->egress[i];
        if (other->cidr != NULL && other->protocol == rule->protocol && other->port == rule->port &&
            ((other->address ^ address) & sr_ipv4_mask(other->prefix)) == 0 &&
            (other->prefix == 32 || !narrow))
            return true;
    }
    return false;
}

/* What keeps a rule of the name, *rule, from being open there; NULL: nothing keeps any. */
static const char *unfit(const struct net *net, const struct net_answer *answer, size_t *rule)
{
    bool narrow;
    const char *what = describe_closed(net, answer->address, &narrow);
    size_t end = net->name_begin[answer->name + 1];
    for (size_t i = net->name_begin[answer->name]; what != NULL && i < end; i++) {
        *rule = net->name_rules[i];
        if (!is_opened(net, &net->policy->egress[*rule], answer->address, narrow))
            return what;
    }
    return NULL;
}

struct named {
    const char *name;
    size_t rule;
};

static int compare_named(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->name, y->name); /* the policy's check has made them lower case */
    return order != 0 ? order : x->rule < y->rule ? -1 : x->rule > y->rule;
}

static bool list_names(struct net *net)
{
    const struct sr_policy *policy = net->policy;
    size_t count = 0, cap = policy->egress_count + 1; /* never 0 bytes */
    sr_cleanup_free struct named *named = malloc(cap * sizeof *named);
    net->names = malloc(cap * sizeof *net->names);
    net->name_rules = malloc(cap * sizeof *net->name_rules);
    net->name_begin = malloc(cap * sizeof *net->name_begin);
    if (named == NULL || net->names == NULL || net->name_rules == NULL || net->name_begin == NULL)
        return false;
    for (size_t i = 0; i < policy->egress_count; i++)
        if (policy->egress[i].host != NULL)
            named[count++] = (struct named){policy->egress[i].host, i};
    qsort(named, count, sizeof *named, compare_named);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(named[i - 1].name, named[i].name) != 0) {
            net->name_begin[net->name_count] = i;
            net->names[net->name_count++] = named[i].name;
        }
        net->name_rules[i] = named[i].rule;
    }
    net->name_begin[net->name_count] = count;
    return true;
}

static size_t count_rules(const struct net *net, const struct net_answer *answer)
{
    return net->name_begin[answer->name + 1] - net->name_begin[answer->name];
}

/* Writes the targets of answers: for each, one of every rule of its name. Returns how many. */
static size_t list_targets(const struct net *net, const struct net_answers *answers,
                           struct net_target *targets)
{
    size_t count = 0;
    for (size_t i = 0; i < answers->count; i++) {
        const struct net_answer *answer = &answers->items[i];
        size_t end = net->name_begin[answer->name + 1];
        for (size_t at = net->name_begin[answer->name]; at < end; at++) {
            size_t rule = net->name_rules[at];
            const struct sr_egress *egress = &net->policy->egress[rule];
            targets[count++] = (struct net_target){rule, egress->protocol, answer->address,
                                                   32,   egress->port,     .by_name = true};
        }
    }
    return count;
}

static int check_answers(const struct net *net, const struct net_answers *answers,
                         struct sr_error *err)
{
    for (size_t i = 0; i < answers->count; i++) {
        const struct net_answer *answer = &answers->items[i];
        size_t rule;
        const char *what = unfit(net, answer, &rule);
        char text[SR_IPV4_TEXT_MAX];
        if (what != NULL)
            return sr_fail(err, SR_RUN_201, PATH,
                           "%s (network.egress[%zu]) resolves to %s, which is %s; a rule with "
                           "cidr: %s/32 would allow it",
                           net->names[answer->name], rule, sr_ipv4_format(answer->address, text),
                           what, text);
    }
    return 0;
}

static int compare_targets(const void *a, const void *b)
{
    const struct net_target *x = a, *y = b;
    if (x->rule != y->rule)
        return x->rule < y->rule ? -1 : 1;
    return x->address < y->address ? -1 : x->address > y->address;
}

/* Policy order; of a name all its addresses. With room for what a refresh may add. */
static bool build_targets(struct net *net, const struct net_answers *answers)
{
    const struct sr_policy *policy = net->policy;
    size_t cap = policy->egress_count + NET_MORE_TARGETS;
    for (size_t i = 0; i < answers->count; i++)
        cap += count_rules(net, &answers->items[i]);
    net->targets = calloc(cap, sizeof *net->targets);
    net->allowed = calloc(cap, sizeof *net->allowed);
    net->blocked = calloc(cap, sizeof *net->blocked);
    if (net->targets == NULL || net->allowed == NULL || net->blocked == NULL)
        return false;
    for (size_t i = 0; i < policy->egress_count; i++) {
        const struct sr_egress *rule = &policy->egress[i];
        if (rule->cidr != NULL)
            net->targets[net->target_count++] = (struct net_target){
                i, rule->protocol, rule->address, rule->prefix, rule->port, .by_name = false};
    }
    net->target_count += list_targets(net, answers, net->targets + net->target_count);
    qsort(net->targets, net->target_count, sizeof *net->targets, compare_targets);
    return true;
}

/* Lines of /etc/hosts for answers: each name with each of its addresses. */
static char *hosts_text(const struct net *net, const char *before,
                        const struct net_answers *answers)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_buf_puts(&text, before);
    for (size_t i = 0; i < answers->count; i++) {
        char address[SR_IPV4_TEXT_MAX];
        sr_buf_printf(&text, "%s\t%s\n", sr_ipv4_format(answers->items[i].address, address),
                      net->names[answers->items[i].name]);
    }
    return sr_buf_take(&text);
}

/* Puts more items, sorted like those that are there, between them. False when memory is out. */
static bool merge(void **items, size_t *count, const void *more, size_t more_count, size_t size,
                  int (*compare)(const void *, const void *))
{
    if (more_count == 0)
        return true;
    char *grown = realloc(*items, (*count + more_count) * size);
    if (grown == NULL)
        return false;
    *items = grown;
    const char *next = (const char *)more + more_count * size;
    size_t left = *count, at = *count += more_count;
    while (next > (const char *)more) {
        bool old = left > 0 && compare(grown + (left - 1) * size, next - size) > 0;
        memcpy(grown + --at * size, old ? grown + --left * size : (next -= size), size);
    }
    return true;
}

static bool merge_known(struct net *net, const struct net_answers *answers)
{
    void *items = net->known.items;
    bool good = merge(&items, &net->known.count, answers->items, answers->count,
                      sizeof *answers->items, net_answer_compare);
    net->known.items = items;
    return good;
}

/* When the first answer has outlived its TTL; soon, when there is something to make up for. */
static void schedule(struct net *net, const struct net_answers *answers, bool soon)
{
    uint32_t seconds = soon ? 0 : DAY_SEC;
    for (size_t i = 0; i < answers->count; i++)
        seconds = answers->items[i].ttl < seconds ? answers->items[i].ttl : seconds;
    seconds = seconds < net->refresh_min_sec ? net->refresh_min_sec : seconds;
    net->refresh_nsec = net->name_count > 0 ? sr_now() + seconds * SR_NSEC_PER_SEC : UINT64_MAX;
}

/* Waits for the answers. */
static int resolve_now(struct net *net, struct sr_error *err)
{
    size_t failed = 0;
    if (net->name_count == 0)
        return 0;
    if (net_resolver_open(net->names, net->name_count, net->resolver_address, net->cgroup_fd,
                          &net->resolver, err) < 0 ||
        net_resolver_ask(&net->resolver, false, err) < 0)
        return -1;
    for (;;) {
        int result = net_resolver_collect(&net->resolver, &failed, err);
        if (result < 0)
            return sr_wrap(err, "network.egress[%zu]", net->name_rules[net->name_begin[failed]]);
        if (result > 0)
            return 0;
        struct pollfd wait[] = {{.fd = net->resolver.fd, .events = POLLIN},
                                {.fd = net->stop_fd, .events = POLLIN}};
        uint64_t now = sr_now(), deadline = net->resolver.deadline;
        poll(wait, 2, now < deadline ? (int)((deadline - now) / SR_NSEC_PER_MSEC) + 1 : 0);
        if (wait[1].revents != 0)
            return sr_fail(err, SR_RUN_201, PATH, "names were not waited for any longer");
    }
}

int net_names_resolve(struct net *net, struct sr_error *err)
{
    if (!list_names(net))
        return no_memory(err);
    const struct net_answers *answers = &net->resolver.answers;
    if (resolve_now(net, err) < 0 || check_answers(net, answers, err) < 0)
        return -1;
    net->hosts = hosts_text(net, "127.0.0.1\tlocalhost\n127.0.1.1\tsafe-run\n", answers);
    if (net->hosts == NULL || !build_targets(net, answers) || !merge_known(net, answers))
        return no_memory(err);
    schedule(net, answers, false);
    return 0;
}

int net_refresh_start(struct net *net, struct sr_error *err)
{
    net->refresh_nsec = UINT64_MAX;
    return net_resolver_ask(&net->resolver, true, err); /* what was open stays open */
}

/* True when one of the elements has the address: they are disjoint. */
static bool covers(const struct net_elements *elements, const struct net_element *one)
{
    size_t low = 0, high = elements->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (net_element_compare(&elements->items[middle], one) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    const struct net_element *last = low > 0 ? &elements->items[low - 1] : NULL;
    return last != NULL && last->protocol == one->protocol && last->port == one->port &&
           last->last >= one->first;
}

/* As they lie in a set; of those that are the same the first target's comes first. */
static int compare_new(const void *a, const void *b)
{
    const struct net_element *x = a, *y = b;
    int order = net_element_compare(a, b);
    return order != 0 ? order : x->target < y->target ? -1 : x->target > y->target;
}

/* Adds what a set does not cover yet of more elements, to its elements and to the text. more are
 * sorted here. */
static bool add_elements(struct net_elements *set, const char *name, struct net_elements more,
                         struct sr_buf *text)
{
    size_t count = 0;
    qsort(more.items, more.count, sizeof *more.items, compare_new);
    for (size_t i = 0; i < more.count; i++) {
        const struct net_element *element = &more.items[i];
        char address[SR_IPV4_TEXT_MAX];
        if (covers(set, element) ||
            (count > 0 && net_element_compare(&more.items[count - 1], element) == 0))
            continue;
        if (count == 0)
            sr_buf_printf(text, "add element inet " NET_TABLE " %s {", name);
        sr_buf_printf(text, "%s %s", count > 0 ? "," : "", sr_ipv4_format(element->first, address));
        if (element->protocol != 0)
            sr_buf_printf(text, " . %s . %u", element->protocol == IPPROTO_UDP ? "udp" : "tcp",
                          element->port);
        more.items[count++] = *element;
    }
    if (count > 0)
        sr_buf_puts(text, " }\n");
    void *items = set->items;
    bool good =
        merge(&items, &set->count, more.items, count, sizeof *more.items, net_element_compare);
    set->items = items;
    return good;
}

/* Keeps of the answers what is new, what may be, and what there is room for. Both lists are
 * sorted. */
static void keep_new(struct net *net, struct net_answers *answers)
{
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < answers->count; i++) {
        const struct net_answer *answer = &answers->items[i];
        size_t rule, count = count_rules(net, answer);
        while (at < net->known.count && net_answer_compare(&net->known.items[at], answer) < 0)
            at++;
        bool known =
            at < net->known.count && net_answer_compare(&net->known.items[at], answer) == 0;
        if (known || net->added + count > NET_MORE_TARGETS || unfit(net, answer, &rule) != NULL)
            continue;
        net->added += count;
        answers->items[kept++] = *answer;
    }
    answers->count = kept;
}

/* Asks for the targets of new answers to be opened. They count when nft has taken them. */
static int open_targets(struct net *net, const struct net_answers *answers, struct sr_error *err)
{
    struct net_target *targets = net->targets + net->target_count;
    size_t count = list_targets(net, answers, targets);
    sr_cleanup_free struct net_element *allow = calloc(NET_MORE_TARGETS, sizeof *allow);
    sr_cleanup_free struct net_element *block = calloc(NET_MORE_TARGETS, sizeof *block);
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    if (allow == NULL || block == NULL)
        return no_memory(err);
    for (size_t i = 0; i < count; i++) {
        block[i] = (struct net_element){.first = targets[i].address,
                                        .last = targets[i].address,
                                        .target = net->target_count + i};
        allow[i] = block[i];
        allow[i].protocol = targets[i].protocol == SR_PROTOCOL_UDP ? IPPROTO_UDP : IPPROTO_TCP;
        allow[i].port = targets[i].port;
    }
    if (!add_elements(&net->ruleset.allow, "allow_address", (struct net_elements){allow, count},
                      &text) ||
        !add_elements(&net->ruleset.block, "block_address", (struct net_elements){block, count},
                      &text) ||
        !merge_known(net, answers) || !sr_buf_ok(&text))
        return no_memory(err);
    sr_buf_putc(&text, '\n'); /* all of it, where other rules have them open already */
    size_t len = text.len;
    char *taken = sr_buf_take(&text);
    return taken == NULL ? no_memory(err) : talk_add(net, taken, len, count, err);
}

int net_refresh_collect(struct net *net, struct sr_error *err)
{
    size_t failed = 0;
    struct net_answers *answers = &net->resolver.answers;
    int result = net_resolver_collect(&net->resolver, &failed, err);
    if (result <= 0)
        return result;
    schedule(net, answers, net->resolver.left_out > 0);
    keep_new(net, answers);
    if (answers->count == 0)
        return 1;
    free(net->new_hosts);
    net->new_hosts = hosts_text(net, "", answers);
    if (net->new_hosts == NULL)
        return no_memory(err);
    return open_targets(net, answers, err) < 0 ? -1 : 1;
}

void net_names_free(struct net *net)
{
    net_resolver_close(&net->resolver);
    free(net->names);
    free(net->name_rules);
    free(net->name_begin);
    free(net->known.items);
    free(net->hosts);
    free(net->new_hosts);
}
