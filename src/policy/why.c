/* One destination, judged by the rules of a policy. */
#include "saferun/explain.h"

#include "common/ipv4.h"
#include "policy/check.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static int refuse(struct sr_error *err, const char *what)
{
    return sr_fail(err, SR_POL_002, "destination",
                   "%s; a destination is written tcp:198.51.100.7:443 or udp:ntp.example.com:123",
                   what);
}

int sr_destination_parse(const char *text, struct sr_destination *destination, struct sr_error *err)
{
    struct sr_destination made = {.protocol = SR_PROTOCOL_TCP};
    if (strncmp(text, "udp:", 4) == 0)
        made.protocol = SR_PROTOCOL_UDP;
    else if (strncmp(text, "tcp:", 4) != 0)
        return refuse(err, "the protocol must be tcp or udp");
    text += 4;
    const char *colon = strrchr(text, ':');
    size_t digits = colon != NULL ? strspn(colon + 1, "0123456789") : 0;
    unsigned long port = digits > 0 && digits <= 5 ? strtoul(colon + 1, NULL, 10) : 0;
    if (port < 1 || port > 65535 || colon[1 + digits] != '\0' || colon[1] == '0')
        return refuse(err, "the port must be 1 to 65535");
    made.port = (uint16_t)port;
    size_t len = (size_t)(colon - text);
    if (memchr(text, ':', len) != NULL)
        return refuse(err, "IPv6 is denied in the guest altogether");
    if (len >= sizeof made.name)
        return refuse(err, "the host is longer than 253 octets");
    for (size_t i = 0; i < len; i++)
        made.name[i] = (char)tolower((unsigned char)text[i]);
    const char *rest = sr_ipv4_parse(made.name, &made.address);
    if (rest != NULL && *rest == '\0')
        made.name[0] = '\0';
    else if (policy_host_fault(made.name) != NULL)
        return refuse(err, "the host is neither an IPv4 address nor a DNS name");
    *destination = made;
    return 0;
}

static bool names_host(const struct sr_egress *rule, const struct sr_destination *to)
{
    if (to->name[0] != '\0')
        return rule->host != NULL && strcmp(rule->host, to->name) == 0;
    return rule->cidr != NULL && ((rule->address ^ to->address) & sr_ipv4_mask(rule->prefix)) == 0;
}

static bool same_service(const struct sr_egress *rule, const struct sr_destination *to)
{
    return rule->protocol == to->protocol && rule->port == to->port;
}

/* An address that nothing opens. */
static bool is_of_run(const struct sr_destination *to)
{
    return to->name[0] == '\0' && sr_ipv4_opens_nothing(to->address, 32);
}

/* The kinds of rule that say something about a destination; the first of each. */
struct found {
    size_t match;    /* allows it */
    size_t exact;    /* likewise, and if it were this host's own address */
    size_t too_wide; /* would, but for the reserved range it lies in */
    size_t other;    /* names the host with another protocol or port */
    size_t indirect; /* allows the service for a name, which might have this address, or for
                        addresses, which the name might have */
};

static size_t *kind_of(const struct sr_egress *rule, const struct sr_destination *to,
                       struct found *found)
{
    bool named = to->name[0] != '\0', service = same_service(rule, to);
    if (!names_host(rule, to))
        return service && named == (rule->cidr != NULL) &&
                       (!named || !sr_ipv4_opens_nothing(rule->address, rule->prefix))
                   ? &found->indirect
                   : NULL;
    bool exact = named || rule->prefix == 32,
         open = exact || sr_ipv4_find_reserved(to->address) == NULL;
    if (service)
        return exact ? &found->exact : open ? &found->match : &found->too_wide;
    return open ? &found->other : NULL;
}

static struct found search(const struct sr_policy *policy, const struct sr_destination *to)
{
    struct found found = {SR_NO_RULE, SR_NO_RULE, SR_NO_RULE, SR_NO_RULE, SR_NO_RULE};
    for (size_t i = 0; i < policy->egress_count; i++) {
        size_t *kind = kind_of(&policy->egress[i], to, &found);
        if (kind != NULL && *kind == SR_NO_RULE)
            *kind = i;
    }
    if (found.exact < found.match)
        found.match = found.exact;
    return found;
}

/* Whether the rules of a service together open every address that a wide rule can. */
static bool opens_all(const struct sr_policy *policy, const struct sr_destination *to)
{
    uint64_t next = 0, before;
    do {
        before = next;
        for (size_t i = 0; i < policy->egress_count; i++) {
            const struct sr_egress *rule = &policy->egress[i];
            uint32_t mask = rule->cidr != NULL ? sr_ipv4_mask(rule->prefix) : 0;
            uint64_t last = rule->address | ~mask;
            if (rule->cidr != NULL && same_service(rule, to) && (rule->address & mask) <= next &&
                last >= next)
                next = last + 1;
        }
    } while (next > before && next <= UINT32_MAX);
    return next > UINT32_MAX;
}

static void remedy(const struct sr_policy *policy, const struct sr_destination *to, char *text,
                   size_t size)
{
    char address[SR_IPV4_TEXT_MAX], rule[336];
    bool named = to->name[0] != '\0';
    snprintf(rule, sizeof rule, "{protocol: %s, %s: %s%s, port: %u}",
             sr_protocol_name(to->protocol), named ? "host" : "cidr",
             named ? to->name : sr_ipv4_format(to->address, address), named ? "" : "/32", to->port);
    if (policy->network_mode == SR_NETWORK_NONE)
        snprintf(text, size, "network: {mode: allowlist, egress: [%s]}", rule);
    else
        snprintf(text, size, "- %s", rule);
}

static void allow(struct sr_verdict *verdict, size_t rule, const char *how)
{
    verdict->allowed = true;
    verdict->rule = rule;
    snprintf(verdict->reason, sizeof verdict->reason, "network.egress[%zu] %s", rule, how);
}

/* Why not, by the rule that comes nearest. */
static void deny(const struct sr_policy *policy, const struct sr_destination *to,
                 const struct found *found, struct sr_verdict *verdict)
{
    char *reason = verdict->reason;
    const size_t size = sizeof verdict->reason;
    if (policy->network_mode == SR_NETWORK_NONE) {
        snprintf(reason, size, "network.mode is none: the guest has no network at all");
    } else if (is_of_run(to)) {
        snprintf(reason, size, "no rule opens %s", sr_ipv4_find_reserved(to->address)->name);
    } else if (found->too_wide != SR_NO_RULE) {
        verdict->rule = found->too_wide;
        snprintf(reason, size,
                 "network.egress[%zu] covers it, but a rule wider than /32 never opens %s",
                 found->too_wide, sr_ipv4_find_reserved(to->address)->name);
    } else if (found->other != SR_NO_RULE) {
        const struct sr_egress *rule = &policy->egress[found->other];
        verdict->rule = found->other;
        snprintf(
            reason, size,
            "no rule allows it; network.egress[%zu] names this destination, but for %s port %u",
            found->other, sr_protocol_name(rule->protocol), rule->port);
    } else {
        snprintf(reason, size, "no rule names this destination, and what no rule names is denied");
    }
}

/* What a rule of the other kind, for a name or for addresses, may still do for it. */
static void add_indirect(const struct sr_policy *policy, const struct sr_destination *to,
                         size_t index, char *reason, size_t size)
{
    const struct sr_egress *rule = &policy->egress[index];
    const struct sr_ipv4_range *reserved = sr_ipv4_find_reserved(to->address);
    const char *unfit = reserved != NULL                  ? reserved->name
                        : sr_ipv4_is_private(to->address) ? "a private network"
                                                          : NULL;
    if (rule->host == NULL)
        snprintf(reason, size,
                 "; by address network.egress[%zu] lets it through if the name has one in %s",
                 index, rule->cidr);
    else if (unfit != NULL)
        snprintf(reason, size,
                 "; a name does not open it: the run is refused if %s (network.egress[%zu]) leads "
                 "to it, because it is of %s",
                 rule->host, index, unfit);
    else
        snprintf(reason, size,
                 "; it is let through if it is an address of %s (network.egress[%zu]) and not of "
                 "this host",
                 rule->host, index);
}

void sr_policy_why(const struct sr_policy *policy, const struct sr_destination *to,
                   struct sr_verdict *verdict)
{
    const struct found found = search(policy, to);
    *verdict = (struct sr_verdict){.rule = SR_NO_RULE};
    if (found.match != SR_NO_RULE && !is_of_run(to)) {
        allow(verdict, found.match,
              to->name[0] != '\0' ? "allows it, at every address the name has when the "
                                    "run starts or gets while it goes on"
              : found.exact == SR_NO_RULE
                  ? "allows it, unless it is an address of this host or of its runs"
                  : "allows it");
        return;
    }
    if (to->name[0] != '\0' && opens_all(policy, to)) {
        allow(verdict, found.indirect,
              "lets it through by address, unless that is reserved or of this host; the name "
              "itself is known to the guest only with a rule for the host");
        return;
    }
    deny(policy, to, &found, verdict);
    size_t len = strlen(verdict->reason);
    if (found.indirect != SR_NO_RULE && !is_of_run(to))
        add_indirect(policy, to, found.indirect, verdict->reason + len,
                     sizeof verdict->reason - len);
    if (!is_of_run(to))
        remedy(policy, to, verdict->remedy, sizeof verdict->remedy);
}
