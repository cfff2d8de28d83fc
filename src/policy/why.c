/* One destination, judged by the rules of a policy. */
#include "saferun/explain.h"

#include "check.h"
#include "ipv4.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *protocol_name(enum sr_protocol protocol)
{
    return protocol == SR_PROTOCOL_UDP ? "udp" : "tcp";
}

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
    else if (sr_host_fault(made.name) != NULL)
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

/* The kinds of rule that say something about a destination; the first of each. */
struct found {
    size_t match;    /* allows it */
    size_t too_wide; /* would, but for the reserved range it lies in */
    size_t other;    /* names the host with another protocol or port */
    size_t by_name;  /* allows the service for a name, which might have this address */
};

static struct found search(const struct sr_policy *policy, const struct sr_destination *to)
{
    bool reserved = to->name[0] == '\0' && sr_ipv4_find_reserved(to->address) != NULL;
    struct found found = {SR_NO_RULE, SR_NO_RULE, SR_NO_RULE, SR_NO_RULE};
    for (size_t i = 0; i < policy->egress_count; i++) {
        const struct sr_egress *rule = &policy->egress[i];
        size_t *kind = NULL;
        if (names_host(rule, to))
            kind = !same_service(rule, to)                               ? &found.other
                   : reserved && rule->cidr != NULL && rule->prefix < 32 ? &found.too_wide
                                                                         : &found.match;
        else if (to->name[0] == '\0' && rule->host != NULL && same_service(rule, to))
            kind = &found.by_name;
        if (kind != NULL && *kind == SR_NO_RULE)
            *kind = i;
    }
    return found;
}

static void remedy(const struct sr_policy *policy, const struct sr_destination *to, char *text,
                   size_t size)
{
    char address[SR_IPV4_TEXT_MAX], rule[336];
    bool named = to->name[0] != '\0';
    snprintf(rule, sizeof rule, "{protocol: %s, %s: %s%s, port: %u}", protocol_name(to->protocol),
             named ? "host" : "cidr", named ? to->name : sr_ipv4_format(to->address, address),
             named ? "" : "/32", to->port);
    if (policy->network_mode == SR_NETWORK_NONE)
        snprintf(text, size, "network: {mode: allowlist, egress: [%s]}", rule);
    else
        snprintf(text, size, "- %s", rule);
}

void sr_policy_why(const struct sr_policy *policy, const struct sr_destination *to,
                   struct sr_verdict *verdict)
{
    const struct found found = search(policy, to);
    *verdict = (struct sr_verdict){.rule = SR_NO_RULE};
    char *reason = verdict->reason;
    size_t size = sizeof verdict->reason;
    if (found.match != SR_NO_RULE) {
        verdict->allowed = true;
        verdict->rule = found.match;
        snprintf(reason, size, "network.egress[%zu] allows it%s", found.match,
                 to->name[0] != '\0' ? ", for every address the name has when the run starts" : "");
        return;
    }
    if (policy->network_mode == SR_NETWORK_NONE) {
        snprintf(reason, size, "network.mode is none: the guest has no network at all");
    } else if (found.too_wide != SR_NO_RULE) {
        verdict->rule = found.too_wide;
        snprintf(reason, size,
                 "network.egress[%zu] covers it, but a rule wider than /32 never opens %s",
                 found.too_wide, sr_ipv4_find_reserved(to->address)->name);
    } else if (found.other != SR_NO_RULE) {
        const struct sr_egress *rule = &policy->egress[found.other];
        verdict->rule = found.other;
        snprintf(
            reason, size,
            "no rule allows it; network.egress[%zu] names this destination, but for %s port %u",
            found.other, protocol_name(rule->protocol), rule->port);
    } else {
        snprintf(reason, size, "no rule names this destination, and what no rule names is denied");
    }
    if (found.by_name != SR_NO_RULE) {
        size_t len = strlen(reason);
        snprintf(reason + len, size - len,
                 "; it is let through if it is an address of %s (network.egress[%zu])",
                 policy->egress[found.by_name].host, found.by_name);
    }
    remedy(policy, to, verdict->remedy, sizeof verdict->remedy);
}
