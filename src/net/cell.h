/*
 * The net cell: a process in the run's own network namespace and the only holder of CAP_NET_ADMIN
 * there. net.c starts it and speaks to it over a socketpair; nothing else includes this header.
 */
#ifndef SR_NET_CELL_H
#define SR_NET_CELL_H

#include "jail/jail.h"
#include "net/counters.h"
#include "net/names.h"
#include "net/net.h"

#include <sys/types.h>

/* What the cell makes, fixed before it starts. */
struct cell_plan {
    const char *nft, *pasta;           /* programs */
    const char *pasta_program;         /* what pasta really is (uplink_pasta_find()) */
    const struct sr_jail_files *files; /* that nft and pasta open */
    const char *run_id;
    const char *tap;         /* interface name */
    uint32_t mtu;            /* of the TAP */
    const char *bridge;      /* the uplink; NULL: pasta */
    struct sr_net_pool pool; /* addresses on the bridge */
    const char *ruleset;     /* text of sr_net_ruleset_text() */
    size_t ruleset_len;
    int socket; /* the cell's end, SOCK_SEQPACKET */
    int log_fd; /* for what its programs say */
    bool
        new_user; /* in a user namespace of its own, as whose root the cell and its programs are: */
    uid_t uid;    /* on the host, the caller's, or of a caller who is root any */
    gid_t gid;
    struct sr_net_sample *sample; /* shared with the supervisor */
    int cgroup_fd;                /* of version 2, that it is born in; -1: the caller's */
    uint32_t flows_max;           /* of UDP, at a time; pasta's descriptors go by it, too */
    bool relay;                   /* UDP is let through somewhere, and not by a bridge */
};

enum cell_operation {
    CELL_READY, /* cell to supervisor, once: everything is in place; the TAP's descriptor comes with
                   it */
    CELL_SAMPLE,  /* fill plan->sample */
    CELL_ADD,     /* more elements: an nft text follows the message */
    CELL_RELEASE, /* shut the TAP, answer with the last counters as CELL_SAMPLE does; then take
                     everything down, look whether it is gone, and answer again */
    /* Cell to supervisor, unasked: the uplink has ended; with an error, that the cell has ended
     * it. */
    CELL_LOST,
};

/* One message, either way. */
struct cell_message {
    enum cell_operation operation;
    uint32_t uplink_address; /* CELL_READY with a bridge: the one of the pool that was free */
    struct sr_error error;   /* code SR_OK: done */
};

/* For the caller of cell_start() with new_user: maps root of the cell's user namespace to plan->uid
 * and lets the cell go on. socket is the supervisor's end. SR-RUN-201. */
int cell_map_ids(const struct cell_plan *plan, pid_t pid, int socket,
                 struct sr_error *err) SR_MUST_CHECK;

/* For the cell: makes an interface of the kind (IFF_TAP, IFF_TUN) in its network namespace. Its
 * descriptor, non-blocking; or -1 with err (SR-RUN-201 at launch.network.apply). */
int cell_open_tun(const char *name, short kind, struct sr_error *err) SR_MUST_CHECK;

/* Starts the cell as a child in pid and mount (and, with new_user, user) namespaces of its own.
 * Returns its pidfd and *pid, or -1 with err. */
int cell_start(const struct cell_plan *plan, pid_t *pid, struct sr_error *err) SR_MUST_CHECK;

#endif
