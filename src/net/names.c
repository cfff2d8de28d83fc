#include "names.h"

#include "clock.h"
#include "ipv4.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH "launch.network.dns"
#define DAY_SEC 86400u
#define TARGET_TEXT_MAX 256 /* add_target() writes less */

static int no_memory(struct sr_error *err)
{
    return sr_fail(err, SR_RUN_201, "launch.network.apply", "out of memory");
}

/* An address that a name may not lead to unless a cidr rule opens it: rebinding. NULL: it may. */
static const char *unfit(const struct sr_net *net, const struct sr_egress *rule, uint32_t address)
{
    const struct sr_ipv4_range *reserved = sr_ipv4_find_reserved(address);
    const char *what = reserved != NULL              ? reserved->name
                       : sr_ipv4_is_private(address) ? "a private network"
                                                     : NULL;
    bool is_own = false;
    for (size_t i = 0; i < net->own_count; i++)
        is_own = is_own || net->own[i] == address;
    if (is_own)
        what = "this host";
    for (size_t i = 0; what != NULL && i < net->policy->egress_count; i++) {
        const struct sr_egress *other = &net->policy->egress[i];
        bool meant = other->cidr != NULL && other->protocol == rule->protocol &&
                     other->port == rule->port &&
                     ((other->address ^ address) & sr_ipv4_mask(other->prefix)) == 0;
        if (meant && (other->prefix == 32 || (reserved == NULL && !is_own)))
            return NULL;
    }
    return what;
}

static bool list_names(struct sr_net *net)
{
    const struct sr_policy *policy = net->policy;
    net->names = malloc((policy->egress_count + 1) * sizeof *net->names);
    net->name_rules = malloc((policy->egress_count + 1) * sizeof *net->name_rules);
    if (net->names == NULL || net->name_rules == NULL)
        return false;
    for (size_t i = 0; i < policy->egress_count; i++)
        if (policy->egress[i].host != NULL) {
            net->names[net->name_count] = policy->egress[i].host;
            net->name_rules[net->name_count++] = i;
        }
    return true;
}

static struct sr_net_target target_of(const struct sr_net *net, const struct sr_answer *answer)
{
    size_t index = net->name_rules[answer->name];
    const struct sr_egress *rule = &net->policy->egress[index];
    return (struct sr_net_target){index, rule->protocol, answer->address, 32, rule->port};
}

static int check_answers(const struct sr_net *net, const struct sr_answers *answers,
                         struct sr_error *err)
{
    for (size_t i = 0; i < answers->count; i++) {
        const struct sr_answer *answer = &answers->items[i];
        size_t rule = net->name_rules[answer->name];
        const char *what = unfit(net, &net->policy->egress[rule], answer->address);
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

/* Policy order; of a name all its addresses. */
static bool build_targets(struct sr_net *net, const struct sr_answers *answers)
{
    const struct sr_policy *policy = net->policy;
    size_t cap = policy->egress_count + answers->count + 1, answer = 0; /* never 0 bytes */
    net->targets = calloc(cap, sizeof *net->targets);
    if (net->targets == NULL)
        return false;
    for (size_t i = 0; i < policy->egress_count; i++) {
        const struct sr_egress *rule = &policy->egress[i];
        if (rule->cidr != NULL)
            net->targets[net->target_count++] =
                (struct sr_net_target){i, rule->protocol, rule->address, rule->prefix, rule->port};
        for (; answer < answers->count && net->name_rules[answers->items[answer].name] == i;
             answer++)
            if (answer == 0 || answers->items[answer - 1].name != answers->items[answer].name ||
                answers->items[answer - 1].address != answers->items[answer].address)
                net->targets[net->target_count++] = target_of(net, &answers->items[answer]);
    }
    net->allowed = calloc(cap, sizeof *net->allowed);
    net->blocked = calloc(cap, sizeof *net->blocked);
    return net->allowed != NULL && net->blocked != NULL;
}

struct host {
    const char *name;
    uint32_t address;
};

static int compare_hosts(const void *a, const void *b)
{
    const struct host *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->address < y->address ? -1 : x->address > y->address;
}

/* Lines of /etc/hosts: each name with each of its addresses, once, of the targets from first on. */
static char *hosts_text(const struct sr_net *net, size_t first)
{
    sr_cleanup_free struct host *hosts = malloc((net->target_count + 1) * sizeof *hosts);
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    size_t count = 0;
    if (hosts == NULL)
        return NULL;
    for (size_t i = first; i < net->target_count; i++) {
        const char *name = net->policy->egress[net->targets[i].rule].host;
        if (name != NULL)
            hosts[count++] = (struct host){name, net->targets[i].address};
    }
    qsort(hosts, count, sizeof *hosts, compare_hosts);
    if (first == 0)
        sr_buf_puts(&text, "127.0.0.1\tlocalhost\n127.0.1.1\tsafe-run\n");
    for (size_t i = 0; i < count; i++) {
        char address[SR_IPV4_TEXT_MAX];
        if (i == 0 || compare_hosts(&hosts[i - 1], &hosts[i]) != 0)
            sr_buf_printf(&text, "%s\t%s\n", sr_ipv4_format(hosts[i].address, address),
                          hosts[i].name);
    }
    return sr_buf_take(&text);
}

/* When the first answer has outlived its TTL; soon, when there is something to make up for. */
static void schedule(struct sr_net *net, const struct sr_answers *answers, bool soon)
{
    uint32_t seconds = soon ? 0 : DAY_SEC;
    for (size_t i = 0; i < answers->count; i++)
        seconds = answers->items[i].ttl < seconds ? answers->items[i].ttl : seconds;
    seconds = seconds < net->refresh_min_sec ? net->refresh_min_sec : seconds;
    net->refresh_nsec = net->name_count > 0 ? sr_now() + seconds * SR_NSEC_PER_SEC : UINT64_MAX;
}

/* Waits for the answers. */
static int resolve_now(struct sr_net *net, struct sr_error *err)
{
    size_t failed = 0;
    if (net->name_count == 0)
        return 0;
    if (sr_resolver_open(net->names, net->name_count, net->resolver_address, &net->resolver, err) <
            0 ||
        sr_resolver_ask(&net->resolver, false, err) < 0)
        return -1;
    for (;;) {
        int result = sr_resolver_collect(&net->resolver, &failed, err);
        if (result < 0)
            return sr_wrap(err, "network.egress[%zu]", net->name_rules[failed]);
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

int sr_net_names_resolve(struct sr_net *net, struct sr_error *err)
{
    if (!list_names(net))
        return no_memory(err);
    int result = resolve_now(net, err);
    const struct sr_answers *answers = &net->resolver.answers;
    if (result == 0)
        result = check_answers(net, answers, err);
    if (result == 0 && (!build_targets(net, answers) || (net->hosts = hosts_text(net, 0)) == NULL))
        result = no_memory(err);
    if (result == 0)
        schedule(net, answers, false);
    return result;
}

int sr_net_refresh_start(struct sr_net *net, struct sr_error *err)
{
    net->refresh_nsec = UINT64_MAX;
    return sr_resolver_ask(&net->resolver, true, err); /* what was open stays open */
}

/* True when one of the elements has the address. */
static bool has_address(const struct sr_net_elements *elements, uint8_t protocol, uint16_t port,
                        uint32_t address)
{
    for (size_t i = 0; i < elements->count; i++) {
        const struct sr_net_element *element = &elements->items[i];
        if (element->protocol == protocol && element->port == port && address >= element->first &&
            address <= element->last)
            return true;
    }
    return false;
}

/* Puts a single address at its place in the order. */
static bool insert(struct sr_net_elements *elements, const struct sr_net_element *element)
{
    struct sr_net_element *grown = realloc(elements->items, (elements->count + 1) * sizeof *grown);
    if (grown == NULL)
        return false;
    elements->items = grown;
    size_t at = elements->count++;
    for (; at > 0 && sr_net_element_compare(element, &grown[at - 1]) < 0; at--)
        grown[at] = grown[at - 1];
    grown[at] = *element;
    return true;
}

static bool known(const struct sr_net *net, const struct sr_net_target *target)
{
    for (size_t i = 0; i < net->target_count; i++)
        if (net->targets[i].rule == target->rule && net->targets[i].address == target->address)
            return true;
    return false;
}

/* Grows the arrays by one target and writes the elements it needs; nothing of it counts before nft has taken them. */
static bool add_target(struct sr_net *net, const struct sr_net_target *target, struct sr_buf *text)
{
    size_t count = net->target_count + 1;
    struct sr_net_target *targets = realloc(net->targets, count * sizeof *targets);
    net->targets = targets != NULL ? targets : net->targets;
    uint64_t *allowed = realloc(net->allowed, count * sizeof *allowed);
    net->allowed = allowed != NULL ? allowed : net->allowed;
    uint64_t *blocked = realloc(net->blocked, count * sizeof *blocked);
    net->blocked = blocked != NULL ? blocked : net->blocked;
    if (targets == NULL || allowed == NULL || blocked == NULL)
        return false;
    struct sr_net_element element = {
        .protocol = target->protocol == SR_PROTOCOL_UDP ? IPPROTO_UDP : IPPROTO_TCP,
        .port = target->port,
        .first = target->address,
        .last = target->address,
        .target = net->target_count,
    };
    char address[SR_IPV4_TEXT_MAX];
    sr_ipv4_format(target->address, address);
    if (!has_address(&net->ruleset.allow, element.protocol, element.port, element.first)) {
        sr_buf_printf(text, "add element inet " SR_NET_TABLE " allow_address { %s . %s . %u }\n",
                      address, element.protocol == IPPROTO_UDP ? "udp" : "tcp", element.port);
        if (!insert(&net->ruleset.allow, &element))
            return false;
    }
    element.protocol = 0;
    element.port = 0;
    if (!has_address(&net->ruleset.block, 0, 0, element.first)) {
        sr_buf_printf(text, "add element inet " SR_NET_TABLE " block_address { %s }\n", address);
        if (!insert(&net->ruleset.block, &element))
            return false;
    }
    allowed[net->target_count] = blocked[net->target_count] = 0;
    targets[net->target_count++] = *target;
    return sr_buf_ok(text);
}

int sr_net_refresh_collect(struct sr_net *net, size_t *added, struct sr_error *err)
{
    size_t failed = 0;
    int result = sr_resolver_collect(&net->resolver, &failed, err);
    if (result == 0)
        return 0;
    const struct sr_answers *answers = &net->resolver.answers;
    const size_t before = net->target_count;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    bool good = result > 0, full = false;
    for (size_t i = 0; good && !full && i < answers->count; i++) {
        const struct sr_net_target target = target_of(net, &answers->items[i]);
        if (unfit(net, &net->policy->egress[target.rule], target.address) != NULL ||
            known(net, &target) || net->added == SR_NET_MORE_TARGETS)
            continue;
        good = add_target(net, &target, &text);
        net->added++;
        full = text.len + TARGET_TEXT_MAX > SR_NET_ADD_MAX;
    }
    schedule(net, answers, full || net->resolver.left_out > 0);
    *added = net->target_count - before;
    free(net->new_hosts);
    net->new_hosts = hosts_text(net, before);
    if (!good || net->new_hosts == NULL)
        return no_memory(err);
    if (text.len > 0 && sr_net_add_text(net, text.data, text.len, err) < 0)
        return -1;
    return 1;
}

void sr_net_names_free(struct sr_net *net)
{
    sr_resolver_close(&net->resolver);
    free(net->names);
    free(net->name_rules);
    free(net->hosts);
    free(net->new_hosts);
}
