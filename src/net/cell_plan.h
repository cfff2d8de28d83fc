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
    const char *nft, *pasta;        /* programs */
    const char *pasta_program;      /* what pasta really is (uplink_pasta_find()) */
    const struct jail_files *files; /* what nft and pasta open */
    const char *run_id;
    const char *tap;      /* interface name */
    uint32_t mtu;         /* of the TAP */
    const char *bridge;   /* the uplink; NULL: pasta */
    struct net_pool pool; /* addresses on the bridge */
    const char *ruleset;  /* text of net_ruleset_text() */
    size_t ruleset_len;
    int socket; /* the cell's end, SOCK_SEQPACKET */
    int log_fd; /* for the output of its programs */
    /* The cell has a user namespace of its own, whose root it and its programs are. On the host
     * their ids are uid and gid: the caller's, or any when the caller is root. */
    bool new_user;
    uid_t uid;
    gid_t gid;
    struct net_sample *sample; /* shared with the supervisor */
    int cgroup_fd;             /* cgroup of version 2 to start in; -1: the caller's */
    uint32_t flows_max;        /* of UDP, at a time; pasta's limit of descriptors, too */
    bool relay;                /* UDP leaves by the relay */
};

#endif
