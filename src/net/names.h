/*
 * The rules that name hosts. It makes targets of names, when the network is applied and again when
 * an answer has outlived its TTL. Only files of this room include it.
 */
#ifndef SR_NET_NAMES_H
#define SR_NET_NAMES_H

#include "net/net.h"

/* Resolves every name, with one deadline, and fills net->targets (policy order, prefixes too),
 * counters and hosts. SR-RUN-201 at launch.network.dns, naming host and rule, or at
 * launch.network.apply. */
int net_names_resolve(struct net *net, struct sr_error *err) SR_MUST_CHECK;

void net_names_free(struct net *net);

/* Size of the text that adds targets: two elements for each, " 255.255.255.255 . tcp . 65535," and
 * " 255.255.255.255,". */
#define NET_ADD_MAX (NET_MORE_TARGETS * 48 + 256)

#endif
