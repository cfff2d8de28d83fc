/*
 * Theory of operation
 *
 * One request is on its way at most: the counters are in memory that both sides share, and a cell
 * that fills it again while it is read would make them nonsense. What is asked meanwhile waits
 * (elements, the release) or is left out (counters: there will be others). A cell that does not
 * answer in time is killed, and takes the uplink along: a network that nobody controls is none.
 *
 * The release is answered twice: with the last counters, and when everything is down.
 */
#include "net/talk.h"

#include "common/clock.h"
#include "net/pass.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

/* A cell that works answers within milliseconds; on a machine that stands still it may take a
 * second or two. */
#define ANSWER_NSEC (5 * SR_NSEC_PER_SEC)
/* The cell gives nft 8 s. */
#define ADD_NSEC (10 * SR_NSEC_PER_SEC)

/* 1: a message; 0: none is there; -EPIPE: the cell has ended. */
static int take_message(const struct net *net, struct cell_message *message, int *fd)
{
    ssize_t got = pass_receive(net->fd, message, sizeof *message, MSG_DONTWAIT, fd);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got != (ssize_t)sizeof *message)
        return -EPIPE;
    return 1;
}

int talk_wait(struct net *net, uint64_t deadline, struct cell_message *message, int *fd)
{
    for (;;) {
        uint64_t now = sr_now();
        struct pollfd wait[] = {{.fd = net->fd, .events = POLLIN},
                                {.fd = net->stop_fd, .events = POLLIN}};
        int ready =
            now < deadline ? poll(wait, 2, (int)((deadline - now) / SR_NSEC_PER_MSEC) + 1) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return -ETIMEDOUT;
        if (wait[0].revents == 0)
            return -EINTR;
        int got = take_message(net, message, fd);
        if (got != 0)
            return got < 0 ? got : 0;
    }
}

/* Nothing more is said to the cell, and its network is to be gone. */
static void hang_up(struct net *net)
{
    if (net->pidfd >= 0)
        pidfd_send_signal(net->pidfd, SIGKILL, NULL, 0);
    sr_close_fd(&net->fd);
    net->talk.busy = net->talk.release_waits = false;
}

/* With a request that is not answered goes the release that waits for its turn: it is never sent,
 * and has failed. */
static int fail_request(struct net *net, const char *why, struct sr_error *err)
{
    bool release = net->talk.releasing || net->talk.release_waits;
    hang_up(net);
    return sr_fail(err, release ? SR_RUN_202 : SR_RUN_001,
                   release ? "cleanup.network.release" : "monitor.network",
                   "the net cell does not answer: %s", why);
}

static int send_request(struct net *net, enum cell_operation operation, const char *text,
                        size_t len, struct sr_error *err)
{
    struct cell_message message = {.operation = operation};
    struct iovec pieces[] = {{&message, sizeof message}, {(void *)text, len}};
    const struct msghdr header = {.msg_iov = pieces, .msg_iovlen = 2};
    net->talk.releasing = operation == CELL_RELEASE;
    if (net->fd < 0 ||
        sendmsg(net->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)(sizeof message + len))
        return fail_request(net, "it has ended", err);
    net->talk.busy = true;
    net->talk.operation = (int)operation;
    net->talk.deadline = sr_now() + (operation == CELL_ADD ? ADD_NSEC : ANSWER_NSEC);
    return 0;
}

/* The next request that has waited for its turn. */
static int go_on(struct net *net, struct sr_error *err)
{
    struct net_talk *talk = &net->talk;
    if (talk->busy)
        return 0;
    if (talk->release_waits) {
        talk->release_waits = false;
        return send_request(net, CELL_RELEASE, NULL, 0, err);
    }
    if (talk->text == NULL)
        return 0;
    int result = send_request(net, CELL_ADD, talk->text, talk->text_len, err);
    free(talk->text);
    talk->text = NULL;
    return result;
}

int talk_add(struct net *net, char *text, size_t len, size_t count, struct sr_error *err)
{
    if (len > NET_ADD_MAX) {
        free(text);
        return sr_fail(err, SR_RUN_201, "launch.network.apply", "too many new addresses at once");
    }
    net->talk.text = text;
    net->talk.text_len = len;
    net->talk.adding = count;
    return go_on(net, err);
}

int net_ask_counters(struct net *net, struct sr_error *err)
{
    return net->talk.busy ? 0 : send_request(net, CELL_SAMPLE, NULL, 0, err);
}

int net_ask_release(struct net *net, struct sr_error *err)
{
    net->talk.release_waits = true;
    return go_on(net, err);
}

uint64_t net_deadline(const struct net *net)
{
    return net->talk.busy ? net->talk.deadline : UINT64_MAX;
}

/* The host's addresses for names to come: the cell closes them, whatever is known here. */
static int take_own(struct net *net, struct sr_error *err)
{
    const struct net_local_list *own = &net->sample->own;
    size_t count = own->count < NET_LOCAL_MAX ? own->count : NET_LOCAL_MAX;
    for (size_t i = 0; i < count; i++)
        if (net_local_add(&net->own, own->ranges[i].first, own->ranges[i].last) < 0)
            return sr_fail(err, SR_RUN_001, "monitor.network", NET_LOCAL_TOO_MANY);
    return 0;
}

/* Counters by target. */
static int fold_sample(struct net *net, struct sr_error *err)
{
    memset(net->allowed, 0, net->target_count * sizeof *net->allowed);
    memset(net->blocked, 0, net->target_count * sizeof *net->blocked);
    for (size_t i = 0; i < net->sample->count; i++) {
        const struct net_count *count = &net->sample->counts[i];
        bool allow = count->set == NET_SET_ALLOW_ADDRESS || count->set == NET_SET_ALLOW_RANGE,
             block = count->set == NET_SET_BLOCK_ADDRESS || count->set == NET_SET_BLOCK_RANGE;
        if (!allow && !block)
            continue;
        const struct net_element *element =
            net_element_find(allow ? &net->ruleset.allow : &net->ruleset.block, count->protocol,
                             count->port, count->first);
        if (element == NULL)
            return sr_fail(err, SR_RUN_001, "monitor.network",
                           "the kernel counts an element that no rule has");
        (allow ? net->allowed : net->blocked)[element->target] += count->packets;
    }
    return 0;
}

/* One message that the cell may send now. */
static int take_answer(struct net *net, const struct cell_message *message, enum net_news *news,
                       struct sr_error *err)
{
    struct net_talk *talk = &net->talk;
    bool counters = message->operation == CELL_SAMPLE;
    if (message->operation == CELL_LOST) {
        net->lost = true;
        if (message->error.code != SR_OK)
            (void)sr_fail_as_said(&net->lost_error, SR_RUN_001, &message->error);
        return 0;
    }
    if (!talk->busy || ((int)message->operation != talk->operation &&
                        !(counters && talk->operation == CELL_RELEASE)))
        return fail_request(net, "it spoke out of turn", err);
    talk->busy = (int)message->operation != talk->operation; /* a release goes on */
    if (message->error.code != SR_OK)
        return sr_fail_as_said(err, SR_RUN_201, &message->error);
    if (counters) {
        *news = NET_COUNTED;
        return take_own(net, err) < 0 ? -1 : fold_sample(net, err);
    }
    *news = message->operation == CELL_ADD ? NET_ADDED : NET_RELEASED;
    if (message->operation == CELL_ADD) {
        net->target_count += talk->adding;
        talk->added = talk->adding;
        talk->adding = 0;
    }
    return 0;
}

int net_hear(struct net *net, enum net_news *news, struct sr_error *err)
{
    struct cell_message message = {0};
    int got = net->fd >= 0 ? take_message(net, &message, NULL) : -EPIPE;
    *news = NET_NOTHING;
    if (got < 0 && net->talk.busy)
        return fail_request(net, "it has ended", err);
    if (got < 0) {
        hang_up(net);
        return sr_fail(err, SR_RUN_001, "monitor.network",
                       "the net cell ended while the command ran");
    }
    if (got == 0)
        return net->talk.busy && sr_now() >= net->talk.deadline
                   ? fail_request(net, strerror(ETIMEDOUT), err)
                   : 0;
    int result = take_answer(net, &message, news, err);
    if (result == 0 && *news == NET_NOTHING)
        *news = NET_MORE;
    if (net->fd < 0 || (result < 0 && !net->talk.release_waits))
        return result;
    /* What failed holds no release up; one that cannot be sent is the worse failure. */
    struct sr_error failure = {0};
    if (go_on(net, &failure) < 0) {
        *err = failure;
        return -1;
    }
    return result;
}

void net_hang_up(struct net *net)
{
    hang_up(net);
}
