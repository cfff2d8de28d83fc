/* UDP datagrams of a guest: what is carried, what is not, and what goes back. */
#include "net/datagram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* 198.18.0.2:40000 to 198.51.100.7:53, "ask". */
static const uint8_t question[] = {0x45, 0,    0,   31, 0, 1,  0x40, 0,  64,  17,
                                   0,    0,    198, 18, 0, 2,  198,  51, 100, 7, /* IP */
                                   0x9C, 0x40, 0,   53, 0, 11, 0,    0,          /* UDP */
                                   'a',  's',  'k'};

static const struct net_datagram_ends ends = {
    .guest = 0xC6120002, .peer = 0xC6336407, .guest_port = 40000, .peer_port = 53};

static void a_datagram_is_read(void **state)
{
    (void)state;
    struct net_datagram datagram;
    assert_true(net_datagram_parse(question, sizeof question, &datagram));
    assert_memory_equal(&datagram.ends, &ends, sizeof ends);
    assert_int_equal(datagram.len, 3);
    assert_memory_equal(datagram.payload, "ask", 3);
    for (size_t len = 0; len < sizeof question; len++) /* cut off anywhere */
        assert_false(net_datagram_parse(question, len, &datagram));
}

static void what_is_not_carried_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        size_t at;
        uint8_t value;
    } cases[] = {
        {"IPv6", 0, 0x65},
        {"options", 0, 0x46},
        {"a short header", 0, 0x44},
        {"a length beyond the packet", 3, 32},
        {"a length below the headers", 3, 27},
        {"more fragments", 6, 0x20},
        {"a later fragment", 7, 1},
        {"TCP", 9, 6},
        {"ICMP", 9, 1},
        {"this network", 16, 0},
        {"loopback", 16, 127},
        {"multicast", 16, 224},
        {"multicast", 16, 239},
        {"reserved", 16, 255},
        {"no port", 23, 0},
        {"a UDP length beyond the packet", 25, 12},
        {"a UDP length below its header", 25, 7},
        {"a UDP length of another order", 24, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t packet[sizeof question];
        struct net_datagram datagram;
        memcpy(packet, question, sizeof packet);
        packet[cases[i].at] = cases[i].value;
        if (net_datagram_parse(packet, sizeof packet, &datagram))
            fail_msg("%s", cases[i].what);
    }
    uint8_t packet[sizeof question];
    struct net_datagram datagram;
    memcpy(packet, question, sizeof packet);
    packet[20] = packet[21] = 0; /* from no port, so that there is nowhere to answer to */
    assert_false(net_datagram_parse(packet, sizeof packet, &datagram));
}

static void a_payload_that_is_shorter_than_its_packet_is_read_as_it_says(void **state)
{
    (void)state;
    uint8_t packet[sizeof question];
    struct net_datagram datagram;
    memcpy(packet, question, sizeof packet);
    packet[25] = 10;
    assert_true(net_datagram_parse(packet, sizeof packet, &datagram));
    assert_int_equal(datagram.len, 2);
}

/* RFC 1071 over a whole piece with its checksum in it: all ones. */
static unsigned folded(uint64_t sum, const uint8_t *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += (uint64_t)at[i] << (i % 2 == 0 ? 8 : 0);
    while (sum >> 16 != 0)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (unsigned)sum;
}

static void an_answer_comes_from_the_peer(void **state)
{
    (void)state;
    static uint8_t packet[65535];
    for (size_t len = 0; len <= NET_DATAGRAM_PAYLOAD_MAX; len += 2339) {
        struct net_datagram datagram;
        for (size_t i = 0; i < len; i++)
            packet[NET_DATAGRAM_HEAD + i] = (uint8_t)(i * 7 + len);
        size_t total = net_datagram_answer(packet, &ends, 7, len);
        assert_int_equal(total, NET_DATAGRAM_HEAD + len);
        assert_int_equal(folded(0, packet, 20), 0xFFFF);
        assert_int_equal(folded(folded(17 + 8 + len, packet + 12, 8), packet + 20, total - 20),
                         0xFFFF);
        assert_true(net_datagram_parse(packet, total, &datagram));
        const struct net_datagram_ends back = {ends.peer, ends.guest, ends.peer_port,
                                               ends.guest_port};
        assert_memory_equal(&datagram.ends, &back, sizeof back);
        assert_int_equal(datagram.len, len);
    }
}

static void a_checksum_of_zero_is_sent_as_all_ones(void **state)
{
    (void)state;
    uint8_t packet[NET_DATAGRAM_HEAD + 2] = {0};
    net_datagram_answer(packet, &ends, 0, 2);
    /* What is missing to all ones, as the payload. */
    packet[28] = packet[26];
    packet[29] = packet[27];
    net_datagram_answer(packet, &ends, 0, 2);
    assert_int_equal(packet[26] << 8 | packet[27], 0xFFFF);
}

static void an_error_is_about_what_was_sent(void **state)
{
    (void)state;
    uint8_t packet[NET_UNREACHABLE_SIZE];
    struct net_datagram datagram;
    net_datagram_unreachable(packet, &ends, 3);
    assert_int_equal(folded(0, packet, 20), 0xFFFF);
    assert_int_equal(folded(0, packet + 20, 36), 0xFFFF);
    assert_int_equal(packet[9], 1);
    assert_memory_equal(packet + 20, "\3\3", 2);
    assert_memory_equal(packet + 12, question + 16, 4);
    assert_memory_equal(packet + 16, question + 12, 4);
    assert_true(net_datagram_parse(packet + 28, 28, &datagram));
    assert_memory_equal(&datagram.ends, &ends, sizeof ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_datagram_is_read),
        cmocka_unit_test(what_is_not_carried_is_refused),
        cmocka_unit_test(a_payload_that_is_shorter_than_its_packet_is_read_as_it_says),
        cmocka_unit_test(an_answer_comes_from_the_peer),
        cmocka_unit_test(a_checksum_of_zero_is_sent_as_all_ones),
        cmocka_unit_test(an_error_is_about_what_was_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
