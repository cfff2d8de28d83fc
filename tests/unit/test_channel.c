#include "channel/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int open_channel(void **state)
{
    struct channel *channel = malloc(sizeof *channel);
    if (channel == NULL)
        return -1;
    channel_init(channel);
    *state = channel;
    return 0;
}

static int close_channel(void **state)
{
    channel_free(*state);
    free(*state);
    return 0;
}

static void receive(struct channel *channel, const void *data, size_t len)
{
    size_t room;
    uint8_t *space = channel_space(channel, &room);
    assert_true(len <= room);
    memcpy(space, data, len);
    channel_received(channel, len);
}

static struct channel_frame_header header_of(uint8_t type, uint32_t len)
{
    return (struct channel_frame_header){
        .length = len, .type = type, .session = channel_frame_session(type)};
}

static void receive_frame(struct channel *channel, uint8_t type, const void *payload, uint32_t len)
{
    const struct channel_frame_header header = header_of(type, len);
    receive(channel, &header, sizeof header);
    receive(channel, payload, len);
}

static void expect_event(struct channel *channel, enum channel_event_type type)
{
    struct channel_event event;
    struct sr_error err = {0};
    assert_int_equal(channel_next(channel, &event, &err), 1);
    assert_int_equal(event.type, type);
}

static void expect_violation(struct channel *channel)
{
    struct channel_event event;
    struct sr_error err = {0};
    assert_int_equal(channel_next(channel, &event, &err), -1);
    assert_int_equal(err.code, SR_RUN_001);
    assert_string_equal(err.path, "monitor.channel");
    assert_int_equal(err.fault, SR_FAULT_VM);
    assert_int_equal(channel->state, CHANNEL_BROKEN);
    assert_int_equal(channel_next(channel, &event, &err), -1); /* and stays so */
}

static const struct channel_frame_hello good_hello = {CHANNEL_MAGIC, CHANNEL_VERSION};

/* Brings the channel to the state in which a command with this many outputs runs. */
static void start_with(struct channel *channel, uint32_t outputs)
{
    receive_frame(channel, CHANNEL_FRAME_HELLO, &good_hello, sizeof good_hello);
    expect_event(channel, CHANNEL_HELLO);
    channel_send_start(channel, "", 0, outputs);
    receive_frame(channel, CHANNEL_FRAME_STARTED, "", 0);
    expect_event(channel, CHANNEL_STARTED);
}

static void start(struct channel *channel)
{
    start_with(channel, 0);
}

static void end_command(struct channel *channel)
{
    const struct channel_frame_exit status = {0};
    receive_frame(channel, CHANNEL_FRAME_EXIT, &status, sizeof status);
    expect_event(channel, CHANNEL_EXIT);
}

static void a_run_goes_through_its_states(void **state)
{
    struct channel *channel = *state;
    start(channel);
    receive_frame(channel, CHANNEL_FRAME_STDOUT, "hello", 5);
    struct channel_event event;
    struct sr_error err;
    assert_int_equal(channel_next(channel, &event, &err), 1);
    assert_int_equal(event.stream, CHANNEL_STREAM_STDOUT);
    assert_memory_equal(event.data, "hello", 5);
    const struct channel_frame_exit status = {.exit_code = 42, .max_rss_kib = 7};
    receive_frame(channel, CHANNEL_FRAME_EXIT, &status, sizeof status);
    assert_int_equal(channel_next(channel, &event, &err), 1);
    assert_int_equal(event.type, CHANNEL_EXIT);
    assert_int_equal(event.exit.exit_code, 42);
    assert_int_equal(channel->state, CHANNEL_ENDED);
    assert_int_equal(channel_next(channel, &event, &err), 0);
}

static void a_frame_may_come_byte_by_byte(void **state)
{
    struct channel *channel = *state;
    uint8_t bytes[sizeof(struct channel_frame_header) + sizeof good_hello];
    const struct channel_frame_header header = header_of(CHANNEL_FRAME_HELLO, sizeof good_hello);
    memcpy(bytes, &header, sizeof header);
    memcpy(bytes + sizeof header, &good_hello, sizeof good_hello);
    struct channel_event event;
    struct sr_error err;
    for (size_t i = 0; i < sizeof bytes; i++) {
        assert_int_equal(channel_next(channel, &event, &err), 0);
        receive(channel, &bytes[i], 1);
    }
    expect_event(channel, CHANNEL_HELLO);
}

static void an_init_of_another_version_is_named(void **state)
{
    static const uint32_t others[] = {CHANNEL_VERSION - 1, CHANNEL_VERSION + 1};
    struct channel *channel = *state;
    for (int i = 0; i < 2; i++) {
        const struct channel_frame_hello hello = {CHANNEL_MAGIC, others[i]};
        struct channel_event event;
        struct sr_error err;
        channel_init(channel);
        receive_frame(channel, CHANNEL_FRAME_HELLO, &hello, sizeof hello);
        assert_int_equal(channel_next(channel, &event, &err), -1);
        assert_int_equal(err.code, SR_RUN_002);
        assert_string_equal(err.path, "launch.vm");
        assert_int_equal(err.fault, SR_FAULT_VM);
        assert_int_equal(channel->state, CHANNEL_BROKEN);
    }
}

static void hello_without_magic_is_refused(void **state)
{
    const struct channel_frame_hello hello = {0, CHANNEL_VERSION};
    receive_frame(*state, CHANNEL_FRAME_HELLO, &hello, sizeof hello);
    expect_violation(*state);
}

static void output_before_the_command_runs_is_refused(void **state)
{
    receive_frame(*state, CHANNEL_FRAME_STDOUT, "x", 1);
    expect_violation(*state);
}

static void a_second_hello_is_refused(void **state)
{
    start(*state);
    receive_frame(*state, CHANNEL_FRAME_HELLO, &good_hello, sizeof good_hello);
    expect_violation(*state);
}

static void anything_after_exit_is_refused(void **state)
{
    start(*state);
    const struct channel_frame_exit status = {0};
    receive_frame(*state, CHANNEL_FRAME_EXIT, &status, sizeof status);
    expect_event(*state, CHANNEL_EXIT);
    receive_frame(*state, CHANNEL_FRAME_STDOUT, "x", 1);
    expect_violation(*state);
}

static void an_unknown_frame_is_refused(void **state)
{
    receive_frame(*state, 99, "", 0);
    expect_violation(*state);
}

static void a_frame_beyond_the_limit_is_refused_by_its_header(void **state)
{
    start(*state);
    const struct channel_frame_header header =
        header_of(CHANNEL_FRAME_STDOUT, CHANNEL_FRAME_MAX_PAYLOAD + 1);
    receive(*state, &header, sizeof header);
    expect_violation(*state);
}

static void the_reserved_header_byte_must_be_zero(void **state)
{
    start(*state);
    struct channel_frame_header header = header_of(CHANNEL_FRAME_STDOUT, 1);
    header.zero = 1;
    receive(*state, &header, sizeof header);
    expect_violation(*state);
}

/* Each type of frame has one session: hello is of the VM, all others are of the command. */
static void refuse_session(struct channel *channel, uint8_t type, uint16_t session)
{
    struct channel_frame_header header = header_of(type, 1);
    header.session = session;
    receive(channel, &header, sizeof header);
    expect_violation(channel);
}

static void a_hello_of_a_session_is_refused(void **state)
{
    refuse_session(*state, CHANNEL_FRAME_HELLO, CHANNEL_SESSION_COMMAND);
}

static void output_of_no_session_is_refused(void **state)
{
    start(*state);
    refuse_session(*state, CHANNEL_FRAME_STDOUT, CHANNEL_SESSION_VM);
}

static void output_of_a_session_that_does_not_exist_is_refused(void **state)
{
    start(*state);
    refuse_session(*state, CHANNEL_FRAME_STDOUT, CHANNEL_SESSION_COMMAND + 1);
}

static void what_is_sent_names_its_session(void **state)
{
    static const struct {
        struct channel_frame_header header;
        uint16_t rows, columns;
    } resize = {
        {.length = 4, .type = CHANNEL_FRAME_RESIZE, .session = CHANNEL_SESSION_COMMAND}, 24, 80};
    struct channel *channel = *state;
    channel_send_resize(channel, 24, 80); /* there is no command yet */
    assert_int_equal(channel->out.len, 0);
    start(channel);
    channel_sent(channel, channel->out.len);
    channel_send_resize(channel, 24, 80);
    assert_int_equal(channel->out.len, sizeof resize);
    assert_memory_equal(channel->out.data, &resize, sizeof resize);
    channel_sent(channel, channel->out.len);
    channel_send_hosts(channel, "x", 1);
    const struct channel_frame_header hosts = {1, CHANNEL_FRAME_HOSTS, 0, CHANNEL_SESSION_VM};
    assert_memory_equal(channel->out.data, &hosts, sizeof hosts);
}

static void impossible_exit_statuses_are_refused(void **state)
{
    start(*state);
    const struct channel_frame_exit status = {.exit_code = 256};
    receive_frame(*state, CHANNEL_FRAME_EXIT, &status, sizeof status);
    expect_violation(*state);
}

static void usage_that_json_cannot_hold_is_refused(void **state)
{
    start(*state);
    const struct channel_frame_exit status = {.oom_kills = UINT64_MAX};
    receive_frame(*state, CHANNEL_FRAME_EXIT, &status, sizeof status);
    expect_violation(*state);
}

static void the_guests_usage_comes_while_the_command_runs(void **state)
{
    struct channel *channel = *state;
    struct channel_event event;
    struct sr_error err;
    start(channel);
    struct channel_frame_usage usage = {.cpu_usec = 5, .memory_bytes = 4096};
    receive_frame(channel, CHANNEL_FRAME_USAGE, &usage, sizeof usage);
    assert_int_equal(channel_next(channel, &event, &err), 1);
    assert_int_equal(event.type, CHANNEL_USAGE);
    assert_int_equal(event.usage.memory_bytes, 4096);
    usage.cpu_usec = UINT64_C(1) << 53;
    receive_frame(channel, CHANNEL_FRAME_USAGE, &usage, sizeof usage);
    expect_violation(channel);
}

static void output_beyond_its_credit_is_refused(void **state)
{
    static const uint8_t piece[CHANNEL_FRAME_MAX_PAYLOAD];
    start(*state);
    for (unsigned sent = 0; sent < CHANNEL_WINDOW; sent += sizeof piece) {
        receive_frame(*state, CHANNEL_FRAME_STDOUT, piece, sizeof piece);
        expect_event(*state, CHANNEL_OUTPUT);
    }
    receive_frame(*state, CHANNEL_FRAME_STDERR, "other streams have their own", 28);
    expect_event(*state, CHANNEL_OUTPUT);
    receive_frame(*state, CHANNEL_FRAME_STDOUT, "x", 1);
    expect_violation(*state);
}

static void credit_lets_output_go_on(void **state)
{
    static const uint8_t piece[CHANNEL_FRAME_MAX_PAYLOAD];
    struct channel *channel = *state;
    start(channel);
    channel_sent(channel, channel->out.len);
    for (unsigned sent = 0; sent < 16 * CHANNEL_WINDOW; sent += sizeof piece) {
        receive_frame(channel, CHANNEL_FRAME_STDOUT, piece, sizeof piece);
        expect_event(channel, CHANNEL_OUTPUT);
        channel_credit(channel, CHANNEL_STREAM_STDOUT, sizeof piece);
        channel_sent(channel, channel->out.len);
    }
}

static void what_a_deaf_guest_is_sent_is_bounded(void **state)
{
    static const uint8_t piece[CHANNEL_FRAME_MAX_PAYLOAD];
    struct channel *channel = *state;
    start(channel);
    for (unsigned i = 0; i < 100000; i++) {
        channel_send_signal(channel, 2);
        channel_send_resize(channel, 24, 80);
    }
    assert_true(channel->out.len <= 3 * CHANNEL_WINDOW);
    /* Credit is owed, not queued, and so output stops at the window. */
    for (unsigned sent = 0; sent < CHANNEL_WINDOW; sent += sizeof piece) {
        receive_frame(channel, CHANNEL_FRAME_STDOUT, piece, sizeof piece);
        expect_event(channel, CHANNEL_OUTPUT);
        channel_credit(channel, CHANNEL_STREAM_STDOUT, sizeof piece);
    }
    receive_frame(channel, CHANNEL_FRAME_STDOUT, "x", 1);
    expect_violation(channel);
}

static void stdin_stops_at_its_window(void **state)
{
    static const uint8_t piece[CHANNEL_FRAME_MAX_PAYLOAD];
    struct channel *channel = *state;
    assert_int_equal(channel_stdin_room(channel), 0);
    start(channel);
    size_t sent = 0, room;
    while ((room = channel_stdin_room(channel)) > 0) {
        channel_send_stdin(channel, piece, room);
        sent += room;
    }
    assert_int_equal(sent, CHANNEL_WINDOW);
    const struct channel_frame_credit credit = {CHANNEL_STREAM_STDIN, 10};
    receive_frame(channel, CHANNEL_FRAME_CREDIT, &credit, sizeof credit);
    expect_event(channel, CHANNEL_STDIN_CREDIT);
    assert_int_equal(channel_stdin_room(channel), 10);
}

static void credit_for_more_than_was_sent_is_refused(void **state)
{
    start(*state);
    const struct channel_frame_credit credit = {CHANNEL_STREAM_STDIN, 1};
    receive_frame(*state, CHANNEL_FRAME_CREDIT, &credit, sizeof credit);
    expect_violation(*state);
}

static void a_long_specification_goes_in_pieces(void **state)
{
    struct channel *channel = *state;
    receive_frame(channel, CHANNEL_FRAME_HELLO, &good_hello, sizeof good_hello);
    expect_event(channel, CHANNEL_HELLO);
    char *spec = calloc(1, CHANNEL_FRAME_MAX_PAYLOAD + 1);
    assert_non_null(spec);
    channel_send_start(channel, spec, CHANNEL_FRAME_MAX_PAYLOAD + 1, 0);
    free(spec);
    struct channel_frame_header header;
    const char *at = channel->out.data;
    static const struct channel_frame_header expected[] = {
        {CHANNEL_FRAME_MAX_PAYLOAD, CHANNEL_FRAME_SPEC, 0, CHANNEL_SESSION_COMMAND},
        {1, CHANNEL_FRAME_SPEC, 0, CHANNEL_SESSION_COMMAND},
        {0, CHANNEL_FRAME_START, 0, CHANNEL_SESSION_COMMAND}};
    for (int i = 0; i < 3; i++) {
        memcpy(&header, at, sizeof header);
        assert_memory_equal(&header, &expected[i], sizeof header);
        at += sizeof header + header.length;
    }
    assert_ptr_equal(at, channel->out.data + channel->out.len);
}

static void outputs_come_after_the_exit_and_in_order(void **state)
{
    struct channel *channel = *state;
    struct channel_event event;
    struct sr_error err;
    const uint32_t ok = CHANNEL_COLLECTED_OK;
    static const char missing[] = "\1\0\0\0not there";
    start_with(channel, 2);
    end_command(channel);
    receive_frame(channel, CHANNEL_FRAME_ARCHIVE, "0707", 4);
    assert_int_equal(channel_next(channel, &event, &err), 1);
    assert_int_equal(event.type, CHANNEL_ARCHIVE);
    assert_int_equal(event.output, 0);
    assert_memory_equal(event.data, "0707", 4);
    receive_frame(channel, CHANNEL_FRAME_COLLECTED, &ok, sizeof ok);
    assert_int_equal(channel_next(channel, &event, &err), 1);
    assert_int_equal(event.type, CHANNEL_COLLECTED);
    assert_int_equal(event.output, 0);
    assert_int_equal(channel->state, CHANNEL_COLLECTING);
    receive_frame(channel, CHANNEL_FRAME_COLLECTED, missing, sizeof missing - 1);
    assert_int_equal(channel_next(channel, &event, &err), 1);
    assert_int_equal(event.output, 1);
    assert_int_equal(event.status, CHANNEL_COLLECTED_MISSING);
    assert_int_equal(event.len, 9);
    assert_int_equal(channel->state, CHANNEL_ENDED);
    receive_frame(channel, CHANNEL_FRAME_COLLECTED, &ok, sizeof ok);
    expect_violation(channel);
}

static void archives_before_the_exit_are_refused(void **state)
{
    start_with(*state, 1);
    receive_frame(*state, CHANNEL_FRAME_ARCHIVE, "x", 1);
    expect_violation(*state);
}

static void archives_that_nobody_asked_for_are_refused(void **state)
{
    start(*state);
    end_command(*state);
    receive_frame(*state, CHANNEL_FRAME_ARCHIVE, "x", 1);
    expect_violation(*state);
}

static void archives_beyond_their_credit_are_refused(void **state)
{
    static const uint8_t piece[CHANNEL_FRAME_MAX_PAYLOAD];
    start_with(*state, 1);
    end_command(*state);
    for (unsigned sent = 0; sent < CHANNEL_WINDOW; sent += sizeof piece) {
        receive_frame(*state, CHANNEL_FRAME_ARCHIVE, piece, sizeof piece);
        expect_event(*state, CHANNEL_ARCHIVE);
    }
    receive_frame(*state, CHANNEL_FRAME_ARCHIVE, "x", 1);
    expect_violation(*state);
}

static void impossible_results_of_outputs_are_refused(void **state)
{
    const uint32_t result = CHANNEL_COLLECTED_CUT + 1;
    start_with(*state, 1);
    end_command(*state);
    receive_frame(*state, CHANNEL_FRAME_COLLECTED, &result, sizeof result);
    expect_violation(*state);
}

static void output_of_the_command_after_its_exit_is_refused(void **state)
{
    start_with(*state, 1);
    end_command(*state);
    receive_frame(*state, CHANNEL_FRAME_STDOUT, "x", 1);
    expect_violation(*state);
}

#define channel_test(name) cmocka_unit_test_setup_teardown(name, open_channel, close_channel)

int main(void)
{
    const struct CMUnitTest tests[] = {
        channel_test(a_run_goes_through_its_states),
        channel_test(a_frame_may_come_byte_by_byte),
        channel_test(an_init_of_another_version_is_named),
        channel_test(hello_without_magic_is_refused),
        channel_test(output_before_the_command_runs_is_refused),
        channel_test(a_second_hello_is_refused),
        channel_test(anything_after_exit_is_refused),
        channel_test(an_unknown_frame_is_refused),
        channel_test(a_frame_beyond_the_limit_is_refused_by_its_header),
        channel_test(the_reserved_header_byte_must_be_zero),
        channel_test(a_hello_of_a_session_is_refused),
        channel_test(output_of_no_session_is_refused),
        channel_test(output_of_a_session_that_does_not_exist_is_refused),
        channel_test(what_is_sent_names_its_session),
        channel_test(impossible_exit_statuses_are_refused),
        channel_test(usage_that_json_cannot_hold_is_refused),
        channel_test(the_guests_usage_comes_while_the_command_runs),
        channel_test(output_beyond_its_credit_is_refused),
        channel_test(credit_lets_output_go_on),
        channel_test(what_a_deaf_guest_is_sent_is_bounded),
        channel_test(stdin_stops_at_its_window),
        channel_test(credit_for_more_than_was_sent_is_refused),
        channel_test(a_long_specification_goes_in_pieces),
        channel_test(outputs_come_after_the_exit_and_in_order),
        channel_test(archives_before_the_exit_are_refused),
        channel_test(archives_that_nobody_asked_for_are_refused),
        channel_test(archives_beyond_their_credit_are_refused),
        channel_test(impossible_results_of_outputs_are_refused),
        channel_test(output_of_the_command_after_its_exit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
