/*
 * The network of a run with network.mode allowlist: names resolved, a namespace with a TAP whose
 * rules let through what the policy names, an uplink, counters.
 *
 *   1. net_apply() before the VM starts. When it fails, nothing is left.
 *   2. net->tap_fd goes to the VMM.
 *   3. Requests (net_ask_counters(), a refresh of names, net_ask_release()) are sent and not
 *      waited for. Whenever net->fd is readable or net_deadline() is over, net_hear() says
 *      what has come. net->lost: the uplink has ended.
 *   4. The release, as soon as the last command has ended; net_end(), then net_free(). A
 *      supervisor that dies before leaves nothing either (cell.c says why).
 *
 * Hosts see none of it: no link, address, rule or sysctl outside the run's namespace, but for the
 * bridge uplink's veth.
 */
#ifndef SR_NET_NET_H
#define SR_NET_NET_H

#include "common/cleanup.h"
#include "common/sha256.h"
#include "net/counters.h"
#include "net/resolve.h"
#include "net/ruleset.h"
#include "saferun/error.h"
#include "saferun/policy.h"

/* The run's addresses: of 198.18.0.0/15 (RFC 2544, benchmarks), which no host on any network
 * has. */
#define NET_GATEWAY UINT32_C(0xC6120001) /* 198.18.0.1, the TAP's */
#define NET_GUEST UINT32_C(0xC6120002)   /* 198.18.0.2 */
#define NET_UPLINK_GATEWAY UINT32_C(0xC6120005)
#define NET_UPLINK_ADDRESS UINT32_C(0xC6120006)
#define NET_UPLINK_GATEWAY_TEXT "198.18.0.5"
#define NET_UPLINK_TEXT "198.18.0.6"
#define NET_UPLINK "sr-uplink"
#define NET_RELAY "sr-udp" /* the interface of the UDP relay */
/* The TAP's, at most, and that of pasta's interface: it handles a packet at a time, so large ones
 * are what makes it fast. */
#define NET_MTU_MAX 65520
/* Boot argument (Documentation/admin-guide/nfs/nfsroot.rst): client, gateway, mask, device; no
 * autoconfiguration. */
#define NET_BOOT_ARGUMENT "ip=198.18.0.2::198.18.0.1:255.255.255.252::eth0:off"

/* Addresses of a bridge's network that runs may have, and its gateway. A run's veth is named by its
 * address, so that the kernel lets no two runs have the same. */
#define NET_POOL_MAX 4096
struct net_pool {
    uint32_t first, last, gateway;
    uint8_t prefix;
};

/* Each flow is a port of the host's, of which there are some 28,000. */
#define NET_FLOWS_MAX 16384

struct net_config { /* its strings outlive the network */
    uid_t uid;      /* pasta of a caller that is root runs as this; 0: none */
    const char *nft, *pasta;
    int cache;          /* as for jail_files_find() */
    const char *bridge; /* interface name; NULL: the uplink is pasta */
    struct net_pool pool;
    int stop_fd;              /* net_apply() gives up when it is readable; -1: never */
    int cgroup_fd;            /* cgroup of version 2 for its processes; -1: the caller's */
    const char *resolver;     /* address of a name server, or NULL: the host's */
    uint32_t refresh_min_sec; /* names are asked again when their TTL is over, but not more often */
    uint32_t flows_max;       /* of UDP at a time, 1..NET_FLOWS_MAX */
};

/* Requests between supervisor and cell (talk.c). */
struct net_talk {
    bool busy;          /* a request was sent and not answered, */
    int operation;      /* this one, */
    uint64_t deadline;  /* and is to be answered until then */
    bool releasing;     /* it is the release */
    bool release_waits; /* the release is sent after the answer */
    char *text;         /* elements to be sent after the answer; owned */
    size_t text_len;
    size_t adding; /* targets of elements that were sent or wait */
    size_t added;  /* targets of the elements that were added last */
};

struct net {
    char tap[16];
    uint16_t mtu; /* of the TAP, for the guest */
    int tap_fd, fd;
    int stop_fd;             /* as in the configuration until it is applied, then -1 */
    const char *bridge;      /* NULL: pasta */
    uint32_t uplink_address; /* on the bridge */
    bool relay;              /* UDP leaves by the relay */
    uint32_t flows_max;      /* of UDP, at a time; 0: no cap */
    pid_t pid;
    int pidfd;
    struct net_target *targets;
    size_t target_count;
    uint64_t *allowed, *blocked; /* packets of each target, from the last sample */
    struct net_ruleset ruleset;
    char ruleset_hash[SR_SHA256_TEXT];
    char *hosts;                /* text for the guest's /etc/hosts, with the names of the rules */
    char *new_hosts;            /* what the last refresh adds to it */
    bool lost;                  /* the uplink has ended, or the cell has ended it: net_lost() */
    struct sr_error lost_error; /* why, if the cell has said so */

    /* Names (names.c). */
    const struct sr_policy *policy;
    const char **names; /* of the rules that name hosts, each once, sorted */
    size_t name_count;
    /* Rules by name: those of names[i] are name_rules[name_begin[i]] up to, without,
     * name_rules[name_begin[i + 1]]. */
    size_t *name_rules, *name_begin;
    struct net_answers known; /* every rule of a name is open at each of its addresses */
    const char *resolver_address;
    int cgroup_fd;
    uint32_t refresh_min_sec;
    uint64_t refresh_nsec;        /* when to ask again, monotonic; UINT64_MAX: never */
    struct net_resolver resolver; /* .asking: a refresh goes on */
    size_t added;                 /* targets since the network was applied, those under way too */
    struct net_talk talk;
    struct net_local_list own; /* the host's addresses, as of the last sample, and the run's */
    struct net_sample *sample;
    size_t sample_size;
};

/*
 * Applies the policy's network. run_id names the TAP; ruleset.nft and net.log are written to dirfd.
 * On failure nothing is left and *net is untouched. Errors: SR-RUN-201 at launch.network.apply or
 * launch.network.dns.
 */
int net_apply(const struct sr_policy *policy, const char *run_id, int dirfd,
              const struct net_config *config, struct sr_hasher *hasher, struct net **net,
              struct sr_error *err) SR_MUST_CHECK;

/* Asks for every counter; does nothing while another request is not answered. SR-RUN-001 at
 * monitor.network when the cell has ended. */
int net_ask_counters(struct net *net, struct sr_error *err) SR_MUST_CHECK;

/* Asks for the end of the network. The cell shuts the TAP and reads the counters a last time
 * (NET_COUNTED), then takes uplink and rules down and checks that they are gone
 * (NET_RELEASED); the namespace and its TAP end with the cell. Call it once. SR-RUN-202 at
 * cleanup.network.release. */
int net_ask_release(struct net *net, struct sr_error *err) SR_MUST_CHECK;

enum net_news {
    NET_NOTHING,
    NET_MORE,    /* nothing to act upon, but more may have come */
    NET_COUNTED, /* net->sample, allowed and blocked are filled */
    /* talk.added more targets are open: the last ones of net->targets. net->new_hosts has their
     * names. */
    NET_ADDED,
    NET_RELEASED, /* everything is down; the cell ends by itself */
};

/* Takes a message of the cell, without waiting. Call it until *news is NET_NOTHING. Kills a cell
 * that has not answered by the deadline. Errors: SR-RUN-202 at cleanup.network.release when a
 * release failed, else SR-RUN-201 or SR-RUN-001 at monitor.network. When the last counters cannot
 * be read the release goes on: call it again while there is a net_deadline(). */
int net_hear(struct net *net, enum net_news *news, struct sr_error *err) SR_MUST_CHECK;

/* Returns when the cell must have answered, monotonic; UINT64_MAX when nothing was asked. */
uint64_t net_deadline(const struct net *net);

/* Kills the cell, and with it all that it started, without waiting for its end. */
void net_hang_up(struct net *net);

/*
 * Resolve the names again, when net->refresh_nsec has come. Call start, then collect whenever
 * net->resolver.fd is readable or its deadline is over. Collect returns 1 when it is done, 0 when
 * more is to come, -1 when new targets cannot be opened; they are open when net_hear() says so.
 * A name that is not answered keeps its addresses.
 */
int net_refresh_start(struct net *net, struct sr_error *err) SR_MUST_CHECK;
int net_refresh_collect(struct net *net, struct sr_error *err) SR_MUST_CHECK;

/* Fills err with why the uplink is lost: SR-RUN-001 at monitor.network. Returns -1. */
int net_lost(struct net *net, struct sr_error *err);

/* Waits until the cell and every process in its pid namespace have ended, and ends the resolver;
 * kills what does not end by itself. SR-RUN-202 at cleanup.network.release when the cell does not
 * end even so. */
int net_end(struct net *net, struct sr_error *err) SR_MUST_CHECK;

/* Releases everything; net may be NULL. */
void net_free(struct net *net);

/* Removes what a dead run has left in the caller's network namespace: ports of a bridge, which stay
 * while another process keeps the namespace of their peers alive. Returns 0 or a negative errno. */
int net_sweep(const char *run_id) SR_MUST_CHECK;

#endif
