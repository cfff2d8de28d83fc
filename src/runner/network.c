/* The run's network and what is recorded of it: plan, rules, counters, release. The work is done by
 * src/net. */
#include "runner/run_state.h"

#include "common/clock.h"
#include "common/ipv4.h"
#include "runner/denials.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define HURRY_NSEC SR_NSEC_PER_SEC

/* Denials that are told as they happen, at audit level full; what is beyond is told in the end, as
 * at basic. A line has about 500 bytes: a guest that knocks everywhere gets 4 MB written while it
 * does so. */
enum { DENIALS_AT_ONCE = 64, DENIALS_MEANWHILE = 8192 };

/* The target of a rule, as in every event: tap, table, chain, protocol, target, port; and which
 * rule it comes from. */
static struct facts target_facts(const struct run *run, size_t index)
{
    const struct net_target *target = &run->network.net->targets[index];
    const struct sr_egress *rule = &run->options->policy->egress[target->rule];
    char address[SR_IPV4_TEXT_MAX], text[32];
    struct facts facts = facts_new();
    snprintf(text, sizeof text, "%s/%u",
             sr_ipv4_format(target->address & sr_ipv4_mask(target->prefix), address),
             target->prefix);
    fact_text(&facts, "tap", run->network.net->tap);
    fact_text(&facts, "table", NET_TABLE);
    fact_text(&facts, "chain", "forward");
    fact_text(&facts, "protocol", sr_protocol_name(target->protocol));
    fact_text(&facts, "target", text);
    fact_count(&facts, "port", target->port);
    fact_count(&facts, "rule", target->rule);
    fact_text_if_any(&facts, "host", rule->host);
    return facts;
}

static int record_target(struct run *run, enum evidence_stage stage, size_t index,
                         struct sr_error *err)
{
    struct facts facts = target_facts(run, index);
    return record_event(run->record, stage, SR_EVENT_NETWORK_RULE_APPLIED, facts_end(&facts), err);
}

static struct facts table_facts(const struct run *run)
{
    struct facts facts = facts_new();
    fact_text(&facts, "tap", run->network.net->tap);
    fact_text(&facts, "table", NET_TABLE);
    fact_add_text(&facts, "chains", "forward");
    fact_count(&facts, "rulesTotal", run->network.net->target_count);
    return facts;
}

const char *run_uplink(const struct run *run, char text[RUNNER_UPLINK_TEXT_MAX])
{
    if (run->network.net != NULL && run->network.net->bridge != NULL)
        snprintf(text, RUNNER_UPLINK_TEXT_MAX, "bridge:%s", run->network.net->bridge);
    else
        snprintf(text, RUNNER_UPLINK_TEXT_MAX, "%s", run->network.net != NULL ? "pasta" : "none");
    return text;
}

static json_t *plan_facts(const struct run *run)
{
    char uplink[RUNNER_UPLINK_TEXT_MAX], address[SR_IPV4_TEXT_MAX];
    struct facts facts = table_facts(run);
    fact_text(&facts, "mode", "allowlist");
    fact_text(&facts, "rulesetHash", run->network.net->ruleset_hash);
    fact_text(&facts, "uplink", run_uplink(run, uplink));
    if (run->network.net->bridge != NULL)
        fact_text(&facts, "uplinkAddress",
                  sr_ipv4_format(run->network.net->uplink_address, address));
    if (run->network.net->relay)
        fact_count(&facts, "udpFlowsMax", run->network.net->flows_max);
    return facts_end(&facts);
}

int run_network_apply(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    if (policy->network_mode == SR_NETWORK_NONE)
        return 0;
    sr_cleanup_fd int cache = host_cache_open();
    const struct net_config config = {
        .cache = cache,
        .stop_fd = run->signals.fd,
        .cgroup_fd = machine_helpers_cgroup(run->machine),
        .uid = machine_uid(run->machine),
        .nft = run->config.nft,
        .pasta = run->config.pasta,
        .bridge = run->config.bridge[0] != '\0' ? run->config.bridge : NULL,
        .pool = run->config.pool,
        .refresh_min_sec = run->config.refresh_min_sec,
        .flows_max = run->config.flows_max,
        .resolver = run->config.resolver[0] != '\0' ? run->config.resolver : NULL,
    };
    static const char *const packages[][2] = {{"nft", "nftables"}, {"pasta", "passt"}};
    for (int i = 0; i < (config.bridge != NULL ? 1 : 2); i++) {
        const char *program = i == 0 ? config.nft : config.pasta;
        char path[64];
        snprintf(path, sizeof path, "launch.preflight.%s", packages[i][0]);
        if (access(program, X_OK) < 0)
            return sr_fail(err, SR_RUN_002, path,
                           "%s cannot be executed: %s; install the package %s", program,
                           strerror(errno), packages[i][1]);
    }
    sr_tell(&run->tell, "setting up the network: %zu rules", policy->egress_count);
    if (net_apply(policy, run->result->run_id, record_directory(run->record), &config,
                  record_hasher(run->record), &run->network.net, err) < 0)
        return -1;
    run->network.state = RUN_NET_OPEN;
    run->network.hits = calloc(run->network.net->target_count, sizeof *run->network.hits);
    run->network.denials = denials_new(record_now(run->record));
    if (run->network.hits == NULL || run->network.denials == NULL)
        return sr_fail(err, SR_RUN_201, "launch.network.apply", "out of memory");
    if (run_refuse_many_targets(run, err) < 0)
        return -1;
    if (record_event(run->record, EVIDENCE_STAGE_NETWORK, SR_EVENT_NETWORK_PLAN_GENERATED,
                     plan_facts(run), err) < 0 ||
        run_owe(run, err) < 0)
        return -1;
    for (size_t i = 0; i < run->network.net->target_count; i++)
        if (record_target(run, EVIDENCE_STAGE_NETWORK, i, err) < 0)
            return -1;
    return 0;
}

/* New addresses of names: recorded before the guest can learn of them. */
static int take_new_targets(struct run *run, size_t added, struct sr_error *err)
{
    struct net *net = run->network.net;
    struct run_hits *hits = realloc(run->network.hits, net->target_count * sizeof *hits);
    if (hits == NULL)
        return sr_fail(err, SR_RUN_001, "monitor.network", "out of memory");
    run->network.hits = hits;
    if (run_owe(run, err) < 0)
        return -1;
    for (size_t i = net->target_count - added; i < net->target_count; i++) {
        hits[i] = (struct run_hits){0};
        if (record_target(run, EVIDENCE_STAGE_MONITOR, i, err) < 0)
            return -1;
    }
    if (added > 0)
        channel_send_hosts(machine_channel(run->machine), net->new_hosts, strlen(net->new_hosts));
    return 0;
}

int run_network_refresh(struct run *run, struct sr_error *err)
{
    struct net *net = run->network.net;
    struct sr_error gone = {0};
    if (net->resolver.asking)
        return net_refresh_collect(net, err) < 0 ? -1 : 0;
    if (!run_has_event_room(run)) {
        net->refresh_nsec = UINT64_MAX; /* a new address could not be recorded, so none passes */
        return 0;
    }
    if (net_refresh_start(net, &gone) < 0) /* no new address is let through any more */
        sr_tell(&run->tell, "names are not asked for again: %s", gone.message);
    return 0;
}

/* What the rules have counted since that was last told. */
static int record_hits(struct run *run, bool last, struct sr_error *err)
{
    size_t recorded = 0;
    for (size_t i = 0; i < run->network.net->target_count; i++) {
        struct run_hits *seen = &run->network.hits[i];
        uint64_t allowed = run->network.net->allowed[i] - seen->allowed,
                 blocked = run->network.net->blocked[i] - seen->blocked;
        if (allowed == 0 && blocked == 0)
            continue;
        if (!last && !run_has_event_room(run))
            break;
        *seen = (struct run_hits){run->network.net->allowed[i], run->network.net->blocked[i]};
        struct facts hit = target_facts(run, i);
        fact_count(&hit, "allowedHits", allowed);
        fact_count(&hit, "blockedHits", blocked);
        if (record_event(run->record, EVIDENCE_STAGE_MONITOR, SR_EVENT_NETWORK_RULE_HIT,
                         facts_end(&hit), err) < 0)
            return -1;
        recorded++;
    }
    run_wait_for_hits(run, recorded);
    return 0;
}

static int tell_denial(void *context, json_t *payload, struct sr_error *err)
{
    return record_event(((const struct run *)context)->record, EVIDENCE_STAGE_MONITOR,
                        SR_EVENT_NETWORK_FLOW_DENIED, payload, err);
}

/* What was stopped and where it was going, as far as the kernel could note it. last: all of it that
 * is not told yet. */
static int record_denials(struct run *run, bool last, struct sr_error *err)
{
    unsigned left = DENIALS_MEANWHILE - run->network.denials_told, limit = last ? UINT_MAX
                                                                           : left < DENIALS_AT_ONCE
                                                                               ? left
                                                                               : DENIALS_AT_ONCE;
    int told = denials_tell(run->network.denials, limit, tell_denial, run, err);
    if (told < 0)
        return -1;
    run->network.denials_told += last ? 0 : (unsigned)told;
    return 0;
}

/* Every frame that the guest sent, and what became of it. What none of the counters has seen the
 * kernel's own checks stopped (bad checksums, martian addresses), or it was a fragment, counted
 * once when whole. */
static json_t *frame_facts(const struct net_sample *sample, uint64_t allowed)
{
    const uint64_t *totals = sample->totals;
    uint64_t known = totals[NET_FRAMES_ARP] + totals[NET_FRAMES_OTHER] + allowed +
                     totals[NET_ESTABLISHED] + totals[NET_SPOOFED] + totals[NET_INVALID] +
                     totals[NET_DENIED] + totals[NET_TO_GATEWAY];
    struct facts facts = facts_new();
    fact_count(&facts, "sent", sample->tap_received);
    fact_count(&facts, "arp", totals[NET_FRAMES_ARP]);
    fact_count(&facts, "notIpv4", totals[NET_FRAMES_OTHER]);
    fact_count(&facts, "allowed", allowed);
    fact_count(&facts, "established", totals[NET_ESTABLISHED]);
    fact_count(&facts, "denied", totals[NET_DENIED]);
    fact_count(&facts, "spoofed", totals[NET_SPOOFED]);
    fact_count(&facts, "invalid", totals[NET_INVALID]);
    fact_count(&facts, "toGateway", totals[NET_TO_GATEWAY]);
    fact_count(&facts, "replies", totals[NET_REPLIES]);
    fact_integer(&facts, "unaccounted", (int64_t)sample->tap_received - (int64_t)known);
    return facts_end(&facts);
}

/* What became of UDP behind the rules: by the relay that carries it. */
static json_t *udp_facts(const struct net *net)
{
    const struct net_udp *udp = &net->sample->udp;
    struct facts facts = facts_new();
    fact_count(&facts, "flowsMax", net->flows_max);
    fact_count(&facts, "flows", udp->opened);
    fact_count(&facts, "flowsPeak", udp->peak);
    fact_count(&facts, "refused", udp->refused);
    fact_count(&facts, "failed", udp->failed);
    fact_count(&facts, "lost", udp->lost);
    fact_count(&facts, "uncarried", udp->uncarried);
    fact_count(&facts, "unreachable", udp->unreachable);
    return facts_end(&facts);
}

/* Counters that have come. Below audit level full they are looked at, so that it is known when
 * something was stopped, and told in the end. last: the network is being taken down. */
static int take_counters(struct run *run, bool last, struct sr_error *err)
{
    if (run->network.hits == NULL ||
        run->network.denials == NULL) /* memory was out when it was set up */
        return 0;
    denials_take(run->network.denials, run->network.net->sample, run->network.counters_asked,
                 record_now(run->record));
    if (!last && (run->options->policy->audit_level != SR_AUDIT_FULL ||
                  sr_now() < run->network.hits_due || !run_has_event_room(run)))
        return 0;
    return record_hits(run, last, err) < 0 ? -1 : record_denials(run, last, err);
}

/* Before a request for counters is sent. While another is on its way, that one's time is the
 * earlier and counts. */
static void note_request(struct run *run)
{
    if (!run->network.net->talk.busy)
        run->network.counters_asked = record_now(run->record);
}

int run_network_sample(struct run *run, struct sr_error *err)
{
    if (run->network.net == NULL || run->network.state != RUN_NET_OPEN)
        return 0;
    note_request(run);
    return net_ask_counters(run->network.net, err);
}

static void add_removed(struct facts *facts, const char *what, const char *check)
{
    struct facts one = facts_new();
    fact_text(&one, "what", what);
    fact_text(&one, "check", check);
    fact_add(facts, "removed", facts_end(&one));
}

/* Each thing that is gone, and how that is known: the cell has looked (take_down() in
 * src/net/cell.c). */
static void record_removed(const struct run *run, struct facts *facts)
{
    char uplink[RUNNER_UPLINK_TEXT_MAX];
    static const char gone[] = "deleted, and not listed by the kernel any more";
    add_removed(facts, "table inet " NET_TABLE, gone);
    add_removed(facts, "table netdev " NET_TABLE, gone);
    add_removed(facts, run_uplink(run, uplink),
                run->network.net->bridge != NULL ? gone
                                                 : "killed; run.cleaned says that it has ended");
}

/* The run fails by it, when its cause is decided (outcome.c). */
static int record_failure(struct run *run, const struct sr_error *failure, struct sr_error *err)
{
    struct facts facts = table_facts(run);
    run->network.left = true;
    if (run->network.failure.code == SR_OK)
        run->network.failure = *failure;
    fact_text(&facts, "errorCode", sr_code_name(failure->code));
    fact_text(&facts, "message", failure->message);
    return record_event(run->record, EVIDENCE_STAGE_CLEANUP, SR_EVENT_NETWORK_RULE_CLEANUP_FAILED,
                        facts_end(&facts), err);
}

static int record_release(struct run *run, struct sr_error *err)
{
    uint64_t allowed = 0;
    for (size_t i = 0; i < run->network.net->target_count; i++)
        allowed += run->network.net->allowed[i];
    struct facts facts = table_facts(run);
    if (run->network.failure.code == SR_OK) /* the last counters are there */
        fact_take(&facts, "frames", frame_facts(run->network.net->sample, allowed));
    if (run->network.failure.code == SR_OK && run->network.net->relay)
        fact_take(&facts, "udp", udp_facts(run->network.net));
    record_removed(run, &facts);
    run->network.state = RUN_NET_CLOSED;
    return record_event(run->record, EVIDENCE_STAGE_CLEANUP, SR_EVENT_NETWORK_RULE_RELEASED,
                        facts_end(&facts), err);
}

/* While the network closes nothing that goes wrong with it ends the run at once: its guest may
 * still have outputs to send. */
static int take_failure(struct run *run, const struct sr_error *failure, struct sr_error *err)
{
    if (run->network.state != RUN_NET_CLOSING) {
        *err = *failure;
        return -1;
    }
    if (failure->code != SR_RUN_202) { /* the last counters; the release goes on */
        run->network.failure = *failure;
        return 0;
    }
    run->network.state = RUN_NET_CLOSED;
    return record_failure(run, failure, err);
}

static int take_news(struct run *run, enum net_news news, struct sr_error *err)
{
    bool last = run->network.state == RUN_NET_CLOSING;
    switch (news) {
    case NET_COUNTED:
        return take_counters(run, last, err);
    case NET_ADDED:
        return take_new_targets(run, run->network.net->talk.added, err);
    case NET_RELEASED:
        return record_release(run, err);
    case NET_NOTHING:
    case NET_MORE:
        break;
    }
    return 0;
}

int run_network_hear(struct run *run, struct sr_error *err)
{
    enum net_news news = NET_MORE;
    while (news != NET_NOTHING && run->network.state != RUN_NET_CLOSED) {
        struct sr_error failure = {0};
        int result = net_hear(run->network.net, &news, &failure);
        if (result < 0 ? take_failure(run, &failure, err) < 0 : take_news(run, news, err) < 0)
            return -1;
    }
    return 0;
}

uint64_t run_network_deadline(const struct run *run)
{
    return run->network.state == RUN_NET_OPEN || run->network.state == RUN_NET_CLOSING
               ? net_deadline(run->network.net)
               : UINT64_MAX;
}

int run_network_close(struct run *run, struct sr_error *err)
{
    struct sr_error failure = {0};
    if (run->network.state != RUN_NET_OPEN)
        return 0;
    run->network.state = RUN_NET_CLOSING;
    note_request(run);
    return net_ask_release(run->network.net, &failure) == 0 ? 0 : take_failure(run, &failure, err);
}

int run_network_settle(struct run *run, struct sr_error *err)
{
    /* Whoever has asked safe-run to end waits no longer than this. */
    const uint64_t hurry = run->signals.ended_by != 0 ? sr_now() + HURRY_NSEC : UINT64_MAX;
    if (run_network_close(run, err) < 0)
        return -1;
    int number;
    while (run->network.state == RUN_NET_CLOSING) {
        uint64_t now = sr_now(), deadline = run_network_deadline(run);
        deadline = deadline < hurry ? deadline : hurry;
        struct pollfd wait[] = {{.fd = run->network.net->fd, .events = POLLIN},
                                {.fd = run->signals.fd, .events = POLLIN}};
        poll(wait, 2, now < deadline ? (int)((deadline - now) / SR_NSEC_PER_MSEC) + 1 : 0);
        if (run_network_hear(run, err) < 0)
            return -1;
        if (run->network.state == RUN_NET_CLOSING &&
            (sr_now() >= hurry || run_next_signal(run, &number))) {
            struct sr_error failure;
            net_hang_up(run->network.net);
            sr_fail(&failure, SR_RUN_202, "cleanup.network.release",
                    "a signal ended the waiting for the net cell");
            if (take_failure(run, &failure, err) < 0)
                return -1;
        }
    }
    return 0;
}

int run_network_end(struct run *run, struct sr_error *err)
{
    struct sr_error failure = {0};
    if (run->network.net == NULL || net_end(run->network.net, &failure) == 0)
        return 0;
    return record_failure(run, &failure, err);
}

void run_network_release(struct run *run)
{
    net_free(run->network.net);
    free(run->network.hits);
    denials_free(run->network.denials);
}
