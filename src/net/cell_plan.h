/*
 * The plan of a net cell, which the cell, its relay and its uplinks read.
 */
#ifndef SR_NET_CELL_PLAN_H
#define SR_NET_CELL_PLAN_H

#include "jail/jail.h"
#include "net/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

#endif
