/*
 * Names to IPv4 addresses (A records), by c-ares in a child of its own that holds nothing: what a
 * name server answers is hostile input. All names at once, one deadline.
 *
 *   1. sr_resolver_open() starts the child, while the caller may still start processes. It lives
 *      until sr_resolver_close().
 *   2. sr_resolver_ask() asks for all the names, sr_resolver_collect() takes the answers; any
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

/* More addresses than this for one name is no host but an attack on the rules. */
#define SR_RESOLVE_MAX 64

struct sr_answer {
    uint32_t name; /* index into the names that were asked */
    uint32_t address;
    uint32_t ttl; /* seconds */
};

struct sr_answers {
    struct sr_answer *items; /* by name, then by address, each once; owned, free() */
    size_t count;
};

/* Their order: name, address. */
int sr_answer_compare(const void *a, const void *b);

/* fd is readable when there is something to collect. All zero: there is none. */
struct sr_resolver {
    int fd, pidfd;
    pid_t child;
    const char *const *names; /* the caller's, as long as this lives */
    size_t count, left;
    bool asking;       /* from sr_resolver_ask() until all is collected */
    uint32_t round;    /* of questions */
    uint64_t deadline; /* of the round, monotonic nanoseconds */
    struct sr_answers answers;
    unsigned *seen;
    bool *done;
    bool lenient;    /* names that are not answered well are left out, */
    size_t left_out; /* this many */
};

/*
 * Starts the child, for these names. server is the address of a name server ("192.0.2.53" or
 * "192.0.2.53:5353"), or NULL: the ones of /etc/resolv.conf as it is now. cgroup_fd is of one of
 * version 2 for it, or -1. SR-RUN-201 at launch.network.dns; *resolver is untouched then.
 */
int sr_resolver_open(const char *const *names, size_t count, const char *server, int cgroup_fd,
                     struct sr_resolver *resolver, struct sr_error *err) SR_MUST_CHECK;

/* Asks for every name again; answers of before are forgotten. lenient: see above. SR-RUN-201 when
 * the child has died. */
int sr_resolver_ask(struct sr_resolver *resolver, bool lenient, struct sr_error *err) SR_MUST_CHECK;

/*
 * Collects what has come, without waiting. 1: all names are answered (or left out),
 * resolver->answers is complete and sorted; 0: not yet; -1 with *failed, the index of the name, and
 * err.
 */
int sr_resolver_collect(struct sr_resolver *resolver, size_t *failed,
                        struct sr_error *err) SR_MUST_CHECK;

/* Ends the child and forgets the answers. Nothing when there is none. */
void sr_resolver_close(struct sr_resolver *resolver);

#endif
