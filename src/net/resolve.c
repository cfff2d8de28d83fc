#include "resolve.h"

#include "clock.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "launch.network.dns"
#define DEADLINE_NSEC (5 * SR_NSEC_PER_SEC)

/* What the child sends: answers, and one line for each name at its end. */
struct line {
    struct sr_answer answer;
    uint32_t status; /* of the name, with done */
    uint32_t done;
};

struct query {
    uint32_t name;
    int out;
    unsigned *open;
};

static void put(int fd, const struct line *line)
{
    if (write(fd, line, sizeof *line) !=
        (ssize_t)sizeof *line) /* below PIPE_BUF: whole or not at all */
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
            count++ < SR_RESOLVE_MAX + 1) {
            struct sockaddr_in address;
            memcpy(&address, node->ai_addr, sizeof address);
            put(query->out,
                &(struct line){.answer = {query->name, ntohl(address.sin_addr.s_addr),
                                          node->ai_ttl > 0 ? (uint32_t)node->ai_ttl : 0}});
        }
    if (status == ARES_SUCCESS && count == 0)
        status = ARES_ENODATA;
    put(query->out,
        &(struct line){.answer.name = query->name, .status = (uint32_t)status, .done = 1});
    if (found != NULL)
        ares_freeaddrinfo(found);
    --*query->open;
}

static void run_queries(ares_channel channel, const unsigned *open)
{
    while (*open > 0) {
        fd_set readable, writable;
        struct timeval limit = {.tv_sec = 1}, wait;
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        int last = ares_fds(channel, &readable, &writable);
        if (last == 0)
            return;
        if (select(last, &readable, &writable, NULL, ares_timeout(channel, &limit, &wait)) < 0 &&
            errno != EINTR)
            return;
        ares_process(channel, &readable, &writable);
    }
}

_Noreturn static void resolve_all(const char *const *names, size_t count, const char *server,
                                  int out)
{
    struct ares_options options = {.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
                                   .timeout = 1500,
                                   .tries = 3,
                                   .lookups = (char *)"b"};
    ares_channel channel;
    unsigned open = 0;
    struct query *queries = calloc(count, sizeof *queries);
    if (queries == NULL || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
        ares_init_options(&channel, &options,
                          ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                              ARES_OPT_LOOKUPS) != ARES_SUCCESS ||
        (server != NULL && ares_set_servers_ports_csv(channel, server) != ARES_SUCCESS))
        _exit(1);
    const struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = AF_INET};
    for (size_t i = 0; i < count; i++) {
        queries[i] = (struct query){(uint32_t)i, out, &open};
        open++;
        ares_getaddrinfo(channel, names[i], NULL, &hints, on_answer, &queries[i]);
    }
    run_queries(channel, &open);
    _exit(open == 0 ? 0 : 1);
}

/* Runs in a child that keeps the pipe and the sockets it opens. */
_Noreturn static void live(const char *const *names, size_t count, const char *server, int out,
                           pid_t parent)
{
    const struct rlimit no_core = {0, 0}, memory = {256u << 20, 256u << 20};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &no_core);
#if !defined(__SANITIZE_ADDRESS__)
    setrlimit(RLIMIT_AS, &memory);
#endif
    (void)memory;
    int kept = dup2(out, STDIN_FILENO); /* the lowest number, so that all above can be closed */
    if (kept < 0 || close_range(3, ~0u, 0) < 0)
        _exit(1);
    if (geteuid() == 0 &&
        (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
        _exit(1);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || /* which a change of ids undoes */
        getppid() != parent)
        _exit(1);
    resolve_all(names, count, server, kept);
}

static int compare_answers(const void *a, const void *b)
{
    const struct sr_answer *x = a, *y = b;
    if (x->name != y->name)
        return x->name < y->name ? -1 : 1;
    return x->address < y->address ? -1 : x->address > y->address;
}

int sr_resolver_start(const char *const *names, size_t count, const char *server,
                      struct sr_resolver *resolver, struct sr_error *err)
{
    int pair[2];
    struct sr_resolver made = {
        .fd = -1,
        .names = names,
        .count = count,
        .left = count,
        .deadline = sr_now() + DEADLINE_NSEC,
        .answers.items = calloc(count * SR_RESOLVE_MAX, sizeof(struct sr_answer)),
        .seen = calloc(count, sizeof *made.seen),
        .done = calloc(count, sizeof *made.done),
    };
    if (made.answers.items == NULL || made.seen == NULL || made.done == NULL ||
        pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0) {
        sr_resolver_stop(&made);
        return sr_fail(err, SR_RUN_201, PATH, "the resolver cannot be started: %s",
                       strerror(errno));
    }
    made.fd = pair[0];
    const pid_t parent = getpid();
    made.child = fork();
    if (made.child == 0)
        live(names, count, server, pair[1], parent);
    close(pair[1]);
    if (made.child < 0) {
        made.child = 0;
        sr_resolver_stop(&made);
        return sr_fail(err, SR_RUN_201, PATH, "the resolver cannot be started: %s",
                       strerror(errno));
    }
    *resolver = made;
    return 0;
}

/* One line of the child. Its word is checked: it has read what a stranger sent. */
static int take(struct sr_resolver *resolver, const struct line *line, size_t *failed,
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
    if (resolver->seen[name] == SR_RESOLVE_MAX && resolver->lenient)
        return 0;
    if (resolver->seen[name]++ == SR_RESOLVE_MAX)
        return sr_fail(err, SR_RUN_201, PATH, "%s has more than %d addresses",
                       resolver->names[name], SR_RESOLVE_MAX);
    resolver->answers.items[resolver->answers.count++] = line->answer;
    return 0;
}

int sr_resolver_collect(struct sr_resolver *resolver, size_t *failed, struct sr_error *err)
{
    struct line line;
    ssize_t got = 0;
    while (resolver->left > 0 &&
           (got = read(resolver->fd, &line, sizeof line)) == (ssize_t)sizeof line &&
           line.answer.name < resolver->count && !resolver->done[line.answer.name])
        if (take(resolver, &line, failed, err) < 0)
            return -1;
    bool waiting = resolver->left > 0 && got < 0 && (errno == EAGAIN || errno == EINTR);
    if (waiting && sr_now() < resolver->deadline)
        return 0;
    if (resolver->lenient)
        resolver->left_out += resolver->left;
    if (resolver->left == 0 || resolver->lenient) {
        if (resolver->answers.count > 0)
            qsort(resolver->answers.items, resolver->answers.count, sizeof *resolver->answers.items,
                  compare_answers);
        return 1;
    }
    for (*failed = 0; *failed + 1 < resolver->count && resolver->done[*failed];)
        ++*failed;
    return sr_fail(err, SR_RUN_201, PATH, "%s cannot be resolved: %s", resolver->names[*failed],
                   waiting ? "no answer within 5 s" : "the resolver failed");
}

void sr_resolver_stop(struct sr_resolver *resolver)
{
    if (resolver->child > 0) {
        kill(resolver->child, SIGKILL);
        while (waitpid(resolver->child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (resolver->fd > 0)
        close(resolver->fd);
    free(resolver->answers.items);
    free(resolver->seen);
    free(resolver->done);
    *resolver = (struct sr_resolver){0};
}
