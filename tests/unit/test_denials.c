/* When something was stopped, from samples of counters that say only how much was. */
#include "runner/denials.h"

#include "common/timestamp.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000000000, CAP = 5000 };

struct kernel {
    struct net_sample *sample;
    struct denials *denials;
    json_t *told; /* payloads */
    bool fails;
};

static int open_kernel(void **state)
{
    struct kernel *k = calloc(1, sizeof *k);
    k->sample = calloc(1, sizeof *k->sample + CAP * sizeof k->sample->counts[0]);
    k->denials = denials_new(0);
    k->told = json_array();
    *state = k;
    return k->sample == NULL || k->denials == NULL;
}

static int close_kernel(void **state)
{
    struct kernel *k = *state;
    denials_free(k->denials);
    json_decref(k->told);
    free(k->sample);
    free(k);
    return 0;
}

static void count(struct kernel *k, uint8_t protocol, uint32_t address, uint16_t port,
                  uint64_t packets)
{
    k->sample->counts[k->sample->count++] =
        (struct net_count){.set = port == 0 ? NET_SET_ODD_FLOWS : NET_SET_FLOWS,
                           .protocol = protocol,
                           .first = address,
                           .port = port,
                           .packets = packets};
}

/* What was counted since the last call came at this second, and was asked for at another. */
static void take_asked(struct kernel *k, int asked, int second)
{
    denials_take(k->denials, k->sample, (int64_t)asked * SECOND, (int64_t)second * SECOND);
    k->sample->count = 0;
}

static void take(struct kernel *k, int second)
{
    take_asked(k, second, second);
}

static int keep(void *context, json_t *payload, struct sr_error *err)
{
    struct kernel *k = context;
    json_array_append_new(k->told, payload);
    return k->fails ? sr_fail(err, SR_EVD_001, "events", "told to fail") : 0;
}

static int tell(struct kernel *k, unsigned limit)
{
    struct sr_error err;
    json_array_clear(k->told);
    return denials_tell(k->denials, limit, keep, k, &err);
}

static void assert_told(const struct kernel *k, size_t index, const char *protocol,
                        const char *destination, int port, int packets, int first, int last)
{
    char from[SR_TIMESTAMP_TEXT], to[SR_TIMESTAMP_TEXT];
    sr_timestamp_format((int64_t)first * SECOND, from);
    sr_timestamp_format((int64_t)last * SECOND, to);
    json_t *expected =
        json_pack("{s:s,s:s,s:i,s:i,s:s,s:s}", "protocol", protocol, "destination", destination,
                  "port", port, "packets", packets, "firstAt", from, "lastAt", to);
    assert_true(json_equal(json_array_get(k->told, index), expected));
    json_decref(expected);
}

static void a_destination_is_told_in_the_end_with_its_first_and_last_time(void **state)
{
    struct kernel *k = *state;
    take(k, 1);
    count(k, IPPROTO_TCP, 0xC0000201, 22, 2);
    take(k, 2);
    count(k, IPPROTO_TCP, 0xC0000201, 22, 2);
    take(k, 3);
    count(k, IPPROTO_TCP, 0xC0000201, 22, 5);
    count(k, IPPROTO_ICMP, 0xC0000202, 0, 1);
    take(k, 4);
    count(k, IPPROTO_TCP, 0xC0000201, 22, 5);
    count(k, IPPROTO_ICMP, 0xC0000202, 0, 1);
    take(k, 5);
    assert_int_equal(tell(k, UINT32_MAX), 2);
    assert_told(k, 0, "tcp", "192.0.2.1", 22, 5, 1, 4);
    assert_told(k, 1, "icmp", "192.0.2.2", 0, 1, 3, 4);
    assert_int_equal(tell(k, UINT32_MAX), 0);
}

static void what_is_told_meanwhile_is_not_told_again(void **state)
{
    struct kernel *k = *state;
    count(k, IPPROTO_UDP, 0xC0000201, 53, 2);
    take(k, 1);
    assert_int_equal(tell(k, 8), 1);
    assert_told(k, 0, "udp", "192.0.2.1", 53, 2, 0, 1);
    count(k, IPPROTO_UDP, 0xC0000201, 53, 2);
    take(k, 2);
    assert_int_equal(tell(k, 8), 0);
    count(k, IPPROTO_UDP, 0xC0000201, 53, 9);
    take(k, 7);
    assert_int_equal(tell(k, 8), 1);
    assert_told(k, 0, "udp", "192.0.2.1", 53, 7, 2, 7);
}

static void what_was_stopped_while_an_answer_was_on_its_way_is_of_that_time(void **state)
{
    struct kernel *k = *state;
    take_asked(k, 3, 6);
    count(k, IPPROTO_TCP, 0xC0000201, 22, 1);
    take_asked(k, 7, 8);
    assert_int_equal(tell(k, 8), 1);
    assert_told(k, 0, "tcp", "192.0.2.1", 22, 1, 3, 8);
}

static void what_is_beyond_the_limit_comes_later_and_none_is_lost(void **state)
{
    struct kernel *k = *state;
    for (unsigned i = 0; i < 4096; i++)
        count(k, IPPROTO_TCP, 0x0A000000 + i, 80, 1);
    for (unsigned i = 0; i < 256; i++)
        count(k, (uint8_t)(i % 200 + 50), 0x0A000000 + i, 0, 1);
    k->sample->totals[NET_UNLISTED] = 77;
    take(k, 1);
    assert_int_equal(tell(k, 100), 100);
    assert_told(k, 99, "tcp", "10.0.0.99", 80, 1, 0, 1);
    assert_int_equal(tell(k, UINT32_MAX), 4096 + 256 + 1 - 100);
    assert_told(k, 4096 - 100, "ip-50", "10.0.0.0", 0, 1, 0, 1);
    assert_told(k, 4096 + 256 - 100, "any", "others", 0, 77, 0, 1);
}

static void what_could_not_be_told_is_told_again(void **state)
{
    struct kernel *k = *state;
    count(k, IPPROTO_TCP, 0xC0000201, 22, 2);
    take(k, 1);
    k->fails = true;
    assert_int_equal(tell(k, 8), -1);
    k->fails = false;
    assert_int_equal(tell(k, 8), 1);
    assert_told(k, 0, "tcp", "192.0.2.1", 22, 2, 0, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_kernel, close_kernel)
    const struct CMUnitTest tests[] = {
        TEST(a_destination_is_told_in_the_end_with_its_first_and_last_time),
        TEST(what_is_told_meanwhile_is_not_told_again),
        TEST(what_was_stopped_while_an_answer_was_on_its_way_is_of_that_time),
        TEST(what_is_beyond_the_limit_comes_later_and_none_is_lost),
        TEST(what_could_not_be_told_is_told_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
