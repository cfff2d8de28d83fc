#include "net/resolve.h"

#include "common/clock.h"
#include "common/process.h"
#include "jail/jail.h"
#include "jail/landlock.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "launch.network.dns"
#define DEADLINE_NSEC (5 * SR_NSEC_PER_SEC)
#define MEMORY_MAX (UINT64_C(256) << 20)
#define SOCKETS_MAX 256

/* What the child sends: answers, and one line for each name at its end. */
struct line {
    uint32_t round;
    struct net_answer answer;
    uint32_t status; /* of the name, with done */
    uint32_t done;
};

/* In the child: a round of questions, and one of them. */
struct round {
    uint32_t number;
    unsigned open;
    int out;
};

struct query {
    uint32_t name;
    struct round *round;
};

/* What the channel waits for: a socket or two for each server. */
struct sockets {
    struct pollfd items[SOCKETS_MAX];
    size_t count;
};

/* Waits when the supervisor is late; for one that asks no more, until that ends. */
static void put(const struct query *query, struct line line)
{
    line.round = query->round->number;
    line.answer.name = query->name;
    if (send(query->round->out, &line, sizeof line, MSG_NOSIGNAL) != (ssize_t)sizeof line)
        _exit(1);
}

static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *found)
{
    const struct query *query = context;
    (void)timeouts;
    unsigned count = 0;
    for (const struct ares_addrinfo_node *node = found != NULL ? found->nodes : NULL; node != NULL;
         node = node->ai_next)
        if (node->ai_family == AF_INET && node->ai_addrlen >= sizeof(struct sockaddr_in) &&
            count++ < NET_RESOLVE_MAX + 1) {
            struct sockaddr_in address;
            memcpy(&address, node->ai_addr, sizeof address);
            put(query,
                (struct line){.answer = {.address = ntohl(address.sin_addr.s_addr),
                                         .ttl = node->ai_ttl > 0 ? (uint32_t)node->ai_ttl : 0}});
        }
    if (status == ARES_SUCCESS && count == 0)
        status = ARES_ENODATA;
    put(query, (struct line){.status = (uint32_t)status, .done = 1});
    if (found != NULL)
        ares_freeaddrinfo(found);
    query->round->open--;
}

static void on_socket(void *context, ares_socket_t fd, int readable, int writable)
{
    struct sockets *sockets = context;
    size_t i = 0;
    while (i < sockets->count && sockets->items[i].fd != fd)
        i++;
    if (i == SOCKETS_MAX)
        return; /* the names that it would answer run into their deadline */
    if (readable || writable) {
        sockets->items[i].fd = fd;
        sockets->items[i].events = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
        sockets->count += i == sockets->count;
    } else if (i < sockets->count) {
        sockets->items[i] = sockets->items[--sockets->count];
    }
}

/* What is ready, and what has waited for too long. Processing changes the sockets. */
static void process(ares_channel channel, const struct sockets *sockets)
{
    const struct sockets ready = *sockets;
    ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    for (size_t i = 0; i < ready.count; i++) {
        const short events = ready.items[i].revents;
        if (events != 0)
            ares_process_fd(channel, events & ~POLLOUT ? ready.items[i].fd : ARES_SOCKET_BAD,
                            events & POLLOUT ? ready.items[i].fd : ARES_SOCKET_BAD);
    }
}

/* To the end of all questions, or of the time that the supervisor waits. */
static void run_queries(ares_channel channel, struct sockets *sockets, const struct round *round)
{
    const uint64_t deadline = sr_now() + DEADLINE_NSEC;
    while (round->open > 0 && sr_now() < deadline) {
        struct timeval limit = {.tv_sec = 1}, wait;
        const struct timeval *next = ares_timeout(channel, &limit, &wait);
        if (poll(sockets->items, sockets->count,
                 (int)(next->tv_sec * 1000 + next->tv_usec / 1000) + 1) < 0 &&
            errno != EINTR)
            break;
        process(channel, sockets);
    }
    ares_cancel(channel);
}

static bool open_channel(const char *server, struct sockets *sockets, ares_channel *channel)
{
    struct ares_options options = {.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
                                   .timeout = 1500,
                                   .tries = 3,
                                   .lookups = (char *)"b",
                                   .sock_state_cb = on_socket,
                                   .sock_state_cb_data = sockets};
    return ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS &&
           ares_init_options(channel, &options,
                             ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                 ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB) == ARES_SUCCESS &&
           (server == NULL || ares_set_servers_ports_csv(*channel, server) == ARES_SUCCESS);
}

/* Once /etc/resolv.conf is read: no file, no process, and of system calls what asking takes.
 * Sanitized builds need more. */
static int confine(void)
{
    const struct jail_limit limits[] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_FSIZE, 0},
        {RLIMIT_MEMLOCK, 0},
#ifndef SR_WITH_FAILPOINTS
        {RLIMIT_DATA, MEMORY_MAX},
#endif
    };
    if (jail_limit(limits, sizeof limits / sizeof limits[0]) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
#ifndef SR_WITH_FAILPOINTS
    if (jail_landlock(NULL, 0, false) < 0)
        return -1;
    return jail_filter(JAIL_RESOLVER);
#else
    return 0;
#endif
}

/* A child that keeps its socket and those it opens. Signals of the terminal stay blocked: a run may
 * go on after the first. */
_Noreturn static void live(const char *const *names, size_t count, const char *server, int socket,
                           pid_t parent)
{
    const struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = AF_INET};
    struct round round = {.out = STDIN_FILENO}; /* the lowest number: all above stderr is closed */
    struct query *queries = calloc(count, sizeof *queries);
    struct sockets sockets = {.count = 0};
    ares_channel channel;
    prctl(PR_SET_NAME, "safe-run-names");
    if (queries == NULL || dup2(socket, STDIN_FILENO) < 0 || dup2(socket, STDOUT_FILENO) < 0 ||
        close_range(3, ~0u, 0) < 0)
        _exit(1);
    if (jail_become_nobody() < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || /* which a change of ids undoes */
        getppid() != parent || !open_channel(server, &sockets, &channel) || confine() < 0)
        _exit(1);
    while (recv(round.out, &round.number, sizeof round.number, 0) == sizeof round.number) {
        round.open = (unsigned)count;
        for (size_t i = 0; i < count; i++) {
            queries[i] = (struct query){(uint32_t)i, &round};
            ares_getaddrinfo(channel, names[i], NULL, &hints, on_answer, &queries[i]);
        }
        run_queries(channel, &sockets, &round);
    }
    _exit(0);
}

int net_answer_compare(const void *a, const void *b)
{
    const struct net_answer *x = a, *y = b;
    if (x->name != y->name)
        return x->name < y->name ? -1 : 1;
    return x->address < y->address ? -1 : x->address > y->address;
}

/* An answer may say an address twice. */
static void sort_answers(struct net_answers *answers)
{
    size_t kept = 0;
    if (answers->count > 0)
        qsort(answers->items, answers->count, sizeof *answers->items, net_answer_compare);
    for (size_t i = 0; i < answers->count; i++)
        if (i == 0 || net_answer_compare(&answers->items[kept - 1], &answers->items[i]) != 0)
            answers->items[kept++] = answers->items[i];
    answers->count = kept;
}

int net_resolver_open(const char *const *names, size_t count, const char *server, int cgroup_fd,
                      struct net_resolver *resolver, struct sr_error *err)
{
    int pair[2];
    struct net_resolver made = {
        .fd = -1,
        .pidfd = -1,
        .names = names,
        .count = count,
        .answers.items = calloc(count * NET_RESOLVE_MAX, sizeof(struct net_answer)),
        .seen = calloc(count, sizeof *made.seen),
        .done = calloc(count, sizeof *made.done),
    };
    const pid_t parent = getpid();
    if (made.answers.items == NULL || made.seen == NULL || made.done == NULL ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        goto failed;
    made.fd = pair[0];
    made.child = sr_fork_into(cgroup_fd, &made.pidfd);
    if (made.child == 0)
        live(names, count, server, pair[1], parent);
    close(pair[1]);
    if (made.child < 0)
        goto failed;
    *resolver = made;
    return 0;
failed:
    sr_fail(err, SR_RUN_201, PATH, "the resolver cannot be started: %s", strerror(errno));
    net_resolver_close(&made);
    return -1;
}

int net_resolver_ask(struct net_resolver *resolver, bool lenient, struct sr_error *err)
{
    resolver->round++;
    if (send(resolver->fd, &resolver->round, sizeof resolver->round, MSG_DONTWAIT | MSG_NOSIGNAL) !=
        sizeof resolver->round)
        return sr_fail(err, SR_RUN_201, PATH, "the resolver has ended: %s", strerror(errno));
    resolver->asking = true;
    resolver->lenient = lenient;
    resolver->left = resolver->count;
    resolver->left_out = resolver->answers.count = 0;
    resolver->deadline = sr_now() + DEADLINE_NSEC;
    memset(resolver->seen, 0, resolver->count * sizeof *resolver->seen);
    memset(resolver->done, 0, resolver->count * sizeof *resolver->done);
    return 0;
}

/* One line of the child. Its word is checked: it has read what a stranger sent. */
static int take(struct net_resolver *resolver, const struct line *line, size_t *failed,
                struct sr_error *err)
{
    uint32_t name = line->answer.name;
    *failed = name;
    bool failing = line->done != 0 && line->status != ARES_SUCCESS;
    if (failing && !resolver->lenient)
        return sr_fail(err, SR_RUN_201, PATH, "%s cannot be resolved: %s", resolver->names[name],
                       ares_strerror((int)line->status));
    if (line->done != 0) {
        resolver->left_out += failing;
        resolver->done[name] = true;
        resolver->left--;
        return 0;
    }
    if (resolver->seen[name] == NET_RESOLVE_MAX && resolver->lenient)
        return 0;
    if (resolver->seen[name]++ == NET_RESOLVE_MAX)
        return sr_fail(err, SR_RUN_201, PATH, "%s has more than %d addresses",
                       resolver->names[name], NET_RESOLVE_MAX);
    resolver->answers.items[resolver->answers.count++] = line->answer;
    return 0;
}

int net_resolver_collect(struct net_resolver *resolver, size_t *failed, struct sr_error *err)
{
    struct line line;
    ssize_t got = 0;
    while (resolver->left > 0 &&
           (got = recv(resolver->fd, &line, sizeof line, MSG_DONTWAIT)) == (ssize_t)sizeof line) {
        if (line.round != resolver->round) /* late, of one that was given up */
            continue;
        if (line.answer.name >= resolver->count || resolver->done[line.answer.name])
            break;
        if (take(resolver, &line, failed, err) < 0)
            return -1;
    }
    bool waiting = resolver->left > 0 && got < 0 && (errno == EAGAIN || errno == EINTR);
    if (waiting && sr_now() < resolver->deadline)
        return 0;
    resolver->asking = false;
    if (resolver->lenient)
        resolver->left_out += resolver->left;
    if (resolver->left == 0 || resolver->lenient) {
        sort_answers(&resolver->answers);
        return 1;
    }
    for (*failed = 0; *failed + 1 < resolver->count && resolver->done[*failed];)
        ++*failed;
    return sr_fail(err, SR_RUN_201, PATH, "%s cannot be resolved: %s", resolver->names[*failed],
                   waiting ? "no answer within 5 s" : "the resolver failed");
}

void net_resolver_close(struct net_resolver *resolver)
{
    if (resolver->pidfd >= 0 && resolver->child > 0)
        pidfd_send_signal(resolver->pidfd, SIGKILL, NULL, 0);
    if (resolver->fd > 0)
        close(resolver->fd); /* which ends it, too */
    if (resolver->child > 0) {
        sr_reap(resolver->child, resolver->pidfd, SR_REAP_MSEC, NULL);
        close(resolver->pidfd);
    }
    free(resolver->answers.items);
    free(resolver->seen);
    free(resolver->done);
    *resolver = (struct net_resolver){0};
}
