#include "common/ipv4.h"
#include "policy/check.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *const modes[] = {"none", "allowlist", NULL};
static const char *const protocols[] = {"tcp", "udp", NULL};

/* Strict a.b.c.d/n: decimal, no leading zeros, nothing else. */
static bool parse_cidr(const char *text, uint32_t *address, uint8_t *prefix)
{
    const char *rest = sr_ipv4_parse(text, address);
    if (rest == NULL || *rest++ != '/')
        return false;
    size_t digits = strspn(rest, "0123456789");
    unsigned long length = strtoul(rest, NULL, 10);
    if (digits == 0 || digits > 2 || (digits > 1 && rest[0] == '0') || rest[digits] != '\0' ||
        length > 32)
        return false;
    *prefix = (uint8_t)length;
    return true;
}

/* What inet_aton() takes for a number: decimal, octal, or hexadecimal behind 0x. */
static bool is_number(const char *label)
{
    if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
        return label[2 + strspn(label + 2, "0123456789abcdefABCDEF")] == '\0';
    return label[strspn(label, "0123456789")] == '\0';
}

const char *policy_host_fault(const char *name)
{
    size_t len = strlen(name);
    const char *label = name;
    if (len > 253)
        return "is longer than 253 octets";
    for (;;) {
        size_t n = strcspn(label, ".");
        if (n == 0)
            return label[0] == '\0' && label != name ? "must not end with a dot"
                                                     : "has an empty label";
        if (n > 63)
            return "has a label longer than 63 octets";
        if (label[0] == '-' || label[n - 1] == '-')
            return "has a label that begins or ends with a hyphen";
        for (size_t i = 0; i < n; i++)
            if (!isalnum((unsigned char)label[i]) && label[i] != '-')
                return "must consist of letters, digits, hyphens and dots";
        if (label[n] == '\0')
            return is_number(label) ? "looks like an address; use cidr" : NULL;
        label += n + 1;
    }
}

/* A text of a rule, or NULL (reported): every fault of a rule has the rules' code. */
static const char *rule_text(struct policy_checker *checker, const struct policy_node *node,
                             const struct policy_path *path)
{
    if (node->kind == POLICY_NODE_SCALAR && !policy_node_is_null(node) &&
        (node->form == POLICY_SCALAR_PLAIN || node->form == POLICY_SCALAR_STRING) &&
        node->len > 0 && strspn(node->text, " \t\r\n\v\f") < node->len &&
        strlen(node->text) == node->len)
        return node->text;
    policy_check_error(checker, SR_POL_201, path, node, "must be a text, and not blank");
    return NULL;
}

static void check_host(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path, struct sr_egress *rule)
{
    const char *name = rule_text(checker, node, path);
    if (name == NULL)
        return;
    const char *fault = policy_host_fault(name);
    if (fault != NULL) {
        policy_check_error(checker, SR_POL_201, path, node, "'%.100s' %s", name, fault);
        return;
    }
    char *lower = policy_arena_text(&checker->arena, name, strlen(name));
    checker->out_of_memory = checker->out_of_memory || lower == NULL;
    for (char *at = lower; at != NULL && *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    rule->host = lower;
}

static void check_cidr(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path, struct sr_egress *rule)
{
    const char *text = rule_text(checker, node, path);
    if (text == NULL)
        return;
    if (!parse_cidr(text, &rule->address, &rule->prefix)) {
        policy_check_error(checker, SR_POL_201, path, node,
                           "'%.60s' is not an IPv4 prefix a.b.c.d/0..32", text);
        if (strchr(text, ':') != NULL)
            policy_check_hint(checker, "IPv6 is denied in the guest altogether");
        else if (strchr(text, '/') == NULL)
            policy_check_hint(checker, "a single address is written with /32");
        return;
    }
    rule->cidr = text;
    uint32_t network = rule->address & sr_ipv4_mask(rule->prefix);
    char written[SR_IPV4_TEXT_MAX];
    if (network != rule->address)
        policy_check_warn(checker, SR_POL_201, path, node,
                          "host bits are set; the rule covers %s/%u",
                          sr_ipv4_format(network, written), rule->prefix);
    if (!sr_ipv4_opens_nothing(rule->address, rule->prefix))
        return;
    const char *first = sr_ipv4_find_reserved(network)->name,
               *last = sr_ipv4_find_reserved(network | ~sr_ipv4_mask(rule->prefix))->name;
    policy_check_warn(checker, SR_POL_201, path, node, "opens nothing: %s %s%s%s",
                      rule->prefix < 32 ? "a rule wider than /32 never opens" : "no rule opens",
                      first, first != last ? " or " : "", first != last ? last : "");
}

static void check_rule(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path, struct sr_egress *rule)
{
    static const char *const known[] = {"protocol", "host", "cidr", "port", NULL};
    if (!policy_field_map(checker, node, path, known, true, node))
        return;
    const struct policy_path protocol = {path, "protocol", 0}, host = {path, "host", 0},
                             cidr = {path, "cidr", 0}, port = {path, "port", 0};
    const struct policy_node *value = policy_node_get(node, "protocol");
    if (value == NULL) {
        policy_check_error(checker, SR_POL_201, &protocol, node,
                           "this field is required: tcp or udp");
    } else if (rule_text(checker, value, &protocol) != NULL) {
        int choice =
            policy_field_choice(checker, value, &protocol, protocols, SR_POL_201, true, node);
        rule->protocol = choice == 1 ? SR_PROTOCOL_UDP : SR_PROTOCOL_TCP;
    }
    const struct policy_node *host_node = policy_node_get(node, "host"),
                             *cidr_node = policy_node_get(node, "cidr");
    if ((host_node == NULL) == (cidr_node == NULL)) {
        const char *what = host_node == NULL ? "a rule needs a host or a cidr"
                                             : "a rule has a host or a cidr, not both";
        policy_check_error(checker, SR_POL_201, &host, host_node != NULL ? host_node : node, "%s",
                           what);
        policy_check_error(checker, SR_POL_201, &cidr, cidr_node != NULL ? cidr_node : node, "%s",
                           what);
    }
    if (host_node != NULL)
        check_host(checker, host_node, &host, rule);
    if (cidr_node != NULL)
        check_cidr(checker, cidr_node, &cidr, rule);
    uint64_t number;
    value = policy_node_get(node, "port");
    if (value == NULL)
        policy_check_error(checker, SR_POL_201, &port, node, "this field is required: 1 to 65535");
    else if (policy_field_integer(checker, value, &port, SR_POL_201, 1, 65535, &number))
        rule->port = (uint16_t)number;
}

/* A rule with its place, for finding rules that another makes superfluous. */
struct ranked {
    const struct sr_egress *rule;
    size_t index;
};

static int compare_names(const struct sr_egress *a, const struct sr_egress *b)
{
    if ((a->host == NULL) != (b->host == NULL))
        return a->host == NULL ? -1 : 1;
    return a->host == NULL ? 0 : strcmp(a->host, b->host);
}

/* By protocol and port, cidr rules before host rules, then by network, the wider prefix first. So a
 * prefix that covers another stands before it, and only prefixes inside the same one stand between.
 */
static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    const struct sr_egress *p = x->rule, *q = y->rule;
    if (p->protocol != q->protocol)
        return p->protocol < q->protocol ? -1 : 1;
    if (p->port != q->port)
        return p->port < q->port ? -1 : 1;
    int order = compare_names(p, q);
    if (order != 0)
        return order;
    uint32_t m = p->address & sr_ipv4_mask(p->prefix), n = q->address & sr_ipv4_mask(q->prefix);
    if (m != n)
        return m < n ? -1 : 1;
    if (p->prefix != q->prefix)
        return p->prefix < q->prefix ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static bool covers(const struct sr_egress *wide, const struct sr_egress *narrow)
{
    if (wide->protocol != narrow->protocol || wide->port != narrow->port)
        return false;
    if (wide->host != NULL || narrow->host != NULL)
        return wide->host != NULL && narrow->host != NULL && strcmp(wide->host, narrow->host) == 0;
    return wide->prefix <= narrow->prefix &&
           ((wide->address ^ narrow->address) & sr_ipv4_mask(wide->prefix)) == 0;
}

static void warn_superfluous(struct policy_checker *checker, const struct policy_node *list,
                             const struct policy_path *path)
{
    const struct sr_policy *policy = &checker->policy;
    struct ranked *order =
        policy_arena_alloc(&checker->arena, policy->egress_count * sizeof *order);
    if (order == NULL) {
        checker->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < policy->egress_count; i++)
        order[i] = (struct ranked){&policy->egress[i], i};
    qsort(order, policy->egress_count, sizeof *order, compare_ranked);
    size_t nest[34], depth = 0; /* prefixes around the current one: at most one a length */
    for (size_t i = 0; i < policy->egress_count; i++) {
        while (depth > 0 && !covers(order[nest[depth - 1]].rule, order[i].rule))
            depth--;
        if (depth > 0) {
            const struct ranked *wide = &order[nest[depth - 1]];
            bool same = covers(order[i].rule, wide->rule);
            size_t later = same && wide->index > order[i].index ? wide->index : order[i].index;
            size_t other = later == order[i].index ? wide->index : order[i].index;
            policy_check_warn(checker, SR_POL_201, &(struct policy_path){path, NULL, later},
                              list->items[later],
                              same ? "this rule repeats network.egress[%zu]"
                                   : "this rule is covered by the wider network.egress[%zu]",
                              other);
            if (same)
                continue;
        }
        nest[depth++] = i;
    }
}

void policy_check_network(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *root, const struct policy_node *document)
{
    static const char *const known[] = {"mode", "egress", NULL};
    const struct policy_path path = {root, "network", 0}, mode = {&path, "mode", 0},
                             egress = {&path, "egress", 0};
    if (!policy_field_map(checker, node, &path, known, true, document))
        return;
    int choice = policy_field_choice(checker, policy_node_get(node, "mode"), &mode, modes,
                                     SR_POL_002, true, node);
    const struct policy_node *list = policy_node_get(node, "egress");
    bool is_list = policy_field_list(checker, list, &egress, false, node);
    size_t count = is_list ? list->count : 0;
    checker->policy.network_mode = choice == 1 ? SR_NETWORK_ALLOWLIST : SR_NETWORK_NONE;
    if (choice == 0 && count > 0)
        policy_check_error(checker, SR_POL_201, &egress, list, "mode none has no egress rules");
    if (choice == 1 && (list == NULL || (is_list && count == 0)))
        policy_check_error(checker, SR_POL_201, &egress, list != NULL ? list : node,
                           "mode allowlist needs at least one egress rule");
    struct sr_egress *rules = policy_arena_alloc(&checker->arena, count * sizeof *rules);
    if (rules == NULL) {
        checker->out_of_memory = true;
        return;
    }
    size_t errors = checker->errors.count;
    for (size_t i = 0; i < count; i++) {
        rules[i] = (struct sr_egress){.line = list->items[i]->line};
        check_rule(checker, list->items[i], &(struct policy_path){&egress, NULL, i}, &rules[i]);
    }
    checker->policy.egress = rules;
    checker->policy.egress_count = count;
    if (checker->errors.count == errors && count > 1)
        warn_superfluous(checker, list, &egress);
}
