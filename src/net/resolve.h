/*
 * Resolves names to IPv4 addresses (A records). c-ares does it in a child that has no rights,
 * because what a name server answers is hostile input. All names are asked at once, with one
 * deadline.
 *
 *   1. net_resolver_open() starts the child, while the caller may still start processes. It lives
 *      until net_resolver_close().
 *   2. net_resolver_ask() asks for all the names, net_resolver_collect() takes the answers; any
 *      number of times.
 */
#ifndef SR_NET_RESOLVE_H
#define SR_NET_RESOLVE_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A name with more addresses than this is no host but an attack on the rules. */
#define NET_RESOLVE_MAX 64

struct net_answer {
    uint32_t name; /* index into the names that were asked */
    uint32_t address;
    uint32_t ttl; /* seconds */
};

struct net_answers {
    struct net_answer *items; /* by name, then by address, each once; owned, free() */
    size_t count;
};

/* Compares answers for their order: name, address. */
int net_answer_compare(const void *a, const void *b);

/* fd is readable when there is something to collect. All zero: there is none. */
struct net_resolver {
    int fd, pidfd;
    pid_t child;
    const char *const *names; /* the caller's, as long as this lives */
    size_t count, left;
    bool asking;       /* from net_resolver_ask() until all is collected */
    uint32_t round;    /* of questions */
    uint64_t deadline; /* of the round, monotonic nanoseconds */
    struct net_answers answers;
    unsigned *seen;
    bool *done;
    bool lenient;    /* names without a good answer are left out */
    size_t left_out; /* number of them */
};

/*
 * Starts the child for these names. server is the address of a name server ("192.0.2.53" or
 * "192.0.2.53:5353"), or NULL: those of /etc/resolv.conf as it is now. cgroup_fd: the cgroup of
 * version 2 that the child starts in, or -1. SR-RUN-201 at launch.network.dns; *resolver is
 * untouched then.
 */
int net_resolver_open(const char *const *names, size_t count, const char *server, int cgroup_fd,
                      struct net_resolver *resolver, struct sr_error *err) SR_MUST_CHECK;

/* Asks for every name again and forgets earlier answers. lenient is as in struct net_resolver.
 * SR-RUN-201 when the child has died. */
int net_resolver_ask(struct net_resolver *resolver, bool lenient,
                     struct sr_error *err) SR_MUST_CHECK;

/*
 * Collects answers that have come, without waiting. Returns 1 when all names are answered or left
 * out: resolver->answers is complete and sorted; 0 when not; -1 with err and *failed, the index of
 * the name.
 */
int net_resolver_collect(struct net_resolver *resolver, size_t *failed,
                         struct sr_error *err) SR_MUST_CHECK;

/* Ends the child, if there is one, and forgets the answers. */
void net_resolver_close(struct net_resolver *resolver);

#endif
