/* The event loop: what is ready is served, what is over is called, what is closed is forgotten. */
#include "loop/loop.h"

#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

/* Waits for one descriptor, and reads a byte of it a time. */
struct reader {
    struct loop_source source;
    int fd;
    uint32_t events;
    unsigned calls;
    bool fails;
    struct reader *ends; /* lets go of that one's descriptor when it is served */
};

static int reader_wants(const void *owner, uint32_t *events)
{
    const struct reader *reader = owner;
    *events = reader->events;
    return reader->fd;
}

static int reader_ready(void *owner, struct sr_error *err)
{
    struct reader *reader = owner;
    char byte;
    reader->calls++;
    assert_true(reader->fd >= 0);
    if (reader->events == EPOLLIN)
        assert_true(read(reader->fd, &byte, 1) >= 0);
    if (reader->ends != NULL)
        reader->ends->fd = -1;
    return reader->fails ? sr_fail(err, SR_RUN_001, "test", "told to fail") : 0;
}

static void reader_add(struct loop *loop, struct reader *reader, int fd)
{
    const struct loop_source kind = {.wants = reader_wants, .ready = reader_ready};
    *reader = (struct reader){.fd = fd, .events = EPOLLIN};
    loop_add(loop, &reader->source, &kind, 1, reader);
}

struct alarm {
    struct loop_timer timer;
    uint64_t at;
    unsigned calls;
};

static uint64_t alarm_deadline(const void *owner)
{
    return ((const struct alarm *)owner)->at;
}

static int alarm_due(void *owner, struct sr_error *err)
{
    struct alarm *alarm = owner;
    (void)err;
    assert_true(sr_now() >= alarm->at);
    alarm->calls++;
    alarm->at = LOOP_NEVER;
    return 0;
}

static void alarm_add(struct loop *loop, struct alarm *alarm, uint64_t at)
{
    const struct loop_timer kind = {.deadline = alarm_deadline, .due = alarm_due};
    *alarm = (struct alarm){.at = at};
    loop_add_timers(loop, &alarm->timer, &kind, 1, alarm);
}

static int setup(void **state)
{
    static struct loop loop;
    *state = &loop;
    return loop_open(&loop);
}

static int teardown(void **state)
{
    loop_close(*state);
    return 0;
}

static void step(struct loop *loop)
{
    struct sr_error err = {0};
    assert_int_equal(loop_step(loop, &err), 0);
}

/* Not waiting longer than that, so that a test that is wrong ends. */
static void step_soon(struct loop *loop, struct alarm *alarm)
{
    alarm->at = sr_now() + SR_NSEC_PER_MSEC;
    step(loop);
}

static void only_what_is_ready_is_served(void **state)
{
    int a[2], b[2];
    struct reader first, second;
    assert_int_equal(pipe(a) | pipe(b), 0);
    reader_add(*state, &first, a[0]);
    reader_add(*state, &second, b[0]);
    assert_int_equal(write(b[1], "x", 1), 1);
    step(*state);
    assert_int_equal(first.calls, 0);
    assert_int_equal(second.calls, 1);
    close(a[1]); /* the end is served, too */
    step(*state);
    assert_int_equal(first.calls, 1);
    close(a[0]), close(b[0]), close(b[1]);
}

static void a_wish_that_changes_is_heard(void **state)
{
    int a[2];
    struct reader reader;
    struct alarm alarm;
    assert_int_equal(pipe(a), 0);
    reader_add(*state, &reader, a[0]);
    alarm_add(*state, &alarm, LOOP_NEVER);
    assert_int_equal(write(a[1], "xy", 2), 2);
    step(*state);
    assert_int_equal(reader.calls, 1);
    reader.events = 0;
    step_soon(*state, &alarm);
    assert_int_equal(reader.calls, 1);
    assert_int_equal(alarm.calls, 1);
    reader.events = EPOLLIN;
    step(*state);
    assert_int_equal(reader.calls, 2);
    close(a[0]), close(a[1]);
}

/* Two ways to let go: closed, when the next descriptor has its number; and left open, when epoll
 * would go on to speak of it. */
static void what_is_let_go_of_is_forgotten(void **state)
{
    int a[2], b[2];
    struct reader first, second;
    struct alarm alarm;
    assert_int_equal(pipe(a), 0);
    reader_add(*state, &first, a[0]);
    alarm_add(*state, &alarm, LOOP_NEVER);
    step_soon(*state, &alarm);
    first.fd = -1;
    close(a[0]);
    assert_int_equal(pipe(b), 0);
    assert_int_equal(b[0], a[0]);
    reader_add(*state, &second, b[0]);
    assert_int_equal(write(b[1], "xy", 2), 2);
    step(*state);
    assert_int_equal(first.calls, 0);
    assert_int_equal(second.calls, 1);
    second.fd = -1; /* and it is still open and readable */
    step_soon(*state, &alarm);
    assert_int_equal(second.calls, 1);
    assert_int_equal(alarm.calls, 2);
    close(a[1]), close(b[0]), close(b[1]);
}

static void one_descriptor_after_another(void **state)
{
    int a[2], b[2];
    struct reader reader;
    assert_int_equal(pipe(a) | pipe(b), 0);
    reader_add(*state, &reader, a[0]);
    assert_int_equal(write(a[1], "x", 1) + write(b[1], "x", 1), 2);
    step(*state);
    reader.fd = b[0]; /* with the first still open */
    step(*state);
    assert_int_equal(reader.calls, 2);
    close(a[0]);
    assert_int_equal(dup2(b[0], a[0]), a[0]);
    assert_int_equal(write(b[1], "y", 1), 1);
    loop_renew(*state, &reader.source);
    reader.fd = a[0];
    step(*state);
    assert_int_equal(reader.calls, 3);
    close(a[0]), close(a[1]), close(b[0]), close(b[1]);
}

static void who_is_served_first_may_end_the_next(void **state)
{
    int a[2];
    struct reader first, second;
    struct alarm alarm;
    assert_int_equal(pipe(a), 0);
    int again = dup(a[0]);
    reader_add(*state, &first, a[0]);
    reader_add(*state, &second, again);
    alarm_add(*state, &alarm, LOOP_NEVER);
    first.ends = &second;
    assert_int_equal(write(a[1], "xy", 2), 2);
    step(*state);
    step_soon(*state, &alarm);
    assert_int_equal(first.calls, 2);
    assert_int_equal(second.calls, 0);
    close(a[0]), close(a[1]), close(again);
}

/* epoll takes no regular file; it is served at once, as long as that is wanted. */
static void a_file_is_always_ready(void **state)
{
    struct reader reader;
    struct alarm alarm;
    FILE *file = tmpfile();
    assert_non_null(file);
    reader_add(*state, &reader, fileno(file));
    alarm_add(*state, &alarm, LOOP_NEVER);
    step(*state);
    step(*state);
    assert_int_equal(reader.calls, 2);
    reader.events = 0;
    step_soon(*state, &alarm);
    assert_int_equal(reader.calls, 2);
    reader.events = EPOLLIN;
    step(*state);
    assert_int_equal(reader.calls, 3);
    fclose(file);
}

static void deadlines_come_when_they_are_over(void **state)
{
    struct alarm soon, never, later;
    uint64_t now = sr_now();
    alarm_add(*state, &later, now + 30 * SR_NSEC_PER_MSEC);
    alarm_add(*state, &never, LOOP_NEVER);
    alarm_add(*state, &soon, now + 1);
    step(*state);
    assert_int_equal(soon.calls, 1);
    while (later.calls == 0)
        step(*state);
    assert_true(sr_now() >= now + 30 * SR_NSEC_PER_MSEC);
    assert_int_equal(never.calls, 0);
}

static void a_failure_ends_the_round(void **state)
{
    int a[2];
    struct reader reader;
    struct alarm alarm;
    struct sr_error err = {0};
    assert_int_equal(pipe(a), 0);
    reader_add(*state, &reader, a[0]);
    alarm_add(*state, &alarm, 1);
    reader.fails = true;
    assert_int_equal(write(a[1], "x", 1), 1);
    assert_int_equal(loop_step(*state, &err), -1);
    assert_string_equal(err.path, "test");
    assert_int_equal(alarm.calls, 0);
    close(a[0]), close(a[1]);
}

static void a_descriptor_that_is_none_is_told(void **state)
{
    struct reader reader;
    struct sr_error err = {0};
    reader_add(*state, &reader, 1000000);
    assert_int_equal(loop_step(*state, &err), -1);
    assert_string_equal(err.path, "monitor.loop");
    assert_non_null(strstr(err.message, strerror(EBADF)));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_what_is_ready_is_served),         TEST(a_wish_that_changes_is_heard),
        TEST(what_is_let_go_of_is_forgotten),       TEST(one_descriptor_after_another),
        TEST(who_is_served_first_may_end_the_next), TEST(a_file_is_always_ready),
        TEST(deadlines_come_when_they_are_over),    TEST(a_failure_ends_the_round),
        TEST(a_descriptor_that_is_none_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
