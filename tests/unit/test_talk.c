/* The talk with the net cell: a release that waits for another request's answer is sent or has
 * failed, whatever becomes of that. */
#include "net/talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A network with counters asked for, and then the release; returns the cell's end. */
static int ask_for_both(struct net *net)
{
    int pair[2];
    struct sr_error err = {0};
    struct cell_message message;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    *net = (struct net){.fd = pair[0], .pidfd = -1, .stop_fd = -1};
    assert_int_equal(net_ask_counters(net, &err), 0);
    assert_int_equal(net_ask_release(net, &err), 0);
    assert_int_equal(recv(pair[1], &message, sizeof message, 0), sizeof message);
    assert_int_equal(message.operation, CELL_SAMPLE);
    assert_int_equal(recv(pair[1], &message, sizeof message, 0), -1); /* one at a time */
    return pair[1];
}

static void assert_failed(struct net *net)
{
    enum net_news news;
    struct sr_error err = {0};
    assert_int_equal(net_hear(net, &news, &err), -1);
    assert_string_equal(sr_code_name(err.code), "SR-RUN-202");
    assert_string_equal(err.path, "cleanup.network.release");
    assert_int_equal(net->fd, -1);
    assert_true(net_deadline(net) == UINT64_MAX);
}

static void a_release_behind_counters_that_never_come_has_failed(void **state)
{
    struct net net;
    int cell = ask_for_both(&net);
    (void)state;
    net.talk.deadline = 0;
    assert_failed(&net);
    close(cell);
}

static void so_has_one_whose_cell_ends(void **state)
{
    struct net net;
    (void)state;
    close(ask_for_both(&net));
    assert_failed(&net);
}

static void one_behind_counters_that_fail_is_sent(void **state)
{
    struct net net;
    int cell = ask_for_both(&net);
    enum net_news news;
    struct sr_error err = {0};
    struct cell_message message = {.operation = CELL_SAMPLE, .error.code = SR_RUN_001};
    (void)state;
    assert_int_equal(send(cell, &message, sizeof message, 0), sizeof message);
    assert_int_equal(net_hear(&net, &news, &err), -1);
    assert_int_equal(err.code, SR_RUN_001);
    assert_int_equal(recv(cell, &message, sizeof message, 0), sizeof message);
    assert_int_equal(message.operation, CELL_RELEASE);
    assert_true(net_deadline(&net) < UINT64_MAX);
    close(cell);
    close(net.fd);
}

/* One that may have been taken over says what it likes. */
static void what_a_cell_calls_an_error_ends_and_is_printable(void **state)
{
    struct net net;
    int cell = ask_for_both(&net);
    enum net_news news;
    struct sr_error err = {0};
    struct cell_message message = {.operation = CELL_SAMPLE};
    (void)state;
    memset(&message.error, 0x1b, sizeof message.error);
    assert_int_equal(send(cell, &message, sizeof message, 0), sizeof message);
    assert_int_equal(net_hear(&net, &news, &err), -1);
    assert_int_equal(err.code, SR_RUN_201);
    assert_int_equal(err.fault, SR_FAULT_HOST);
    assert_int_equal(strlen(err.path), sizeof err.path - 1);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(strspn(err.message, "?"), sizeof err.message - 1);
    assert_string_equal(err.hint, "");
    close(cell);
    close(net.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_behind_counters_that_never_come_has_failed),
        cmocka_unit_test(so_has_one_whose_cell_ends),
        cmocka_unit_test(one_behind_counters_that_fail_is_sent),
        cmocka_unit_test(what_a_cell_calls_an_error_ends_and_is_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
