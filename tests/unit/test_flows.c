/* The flows of the UDP relay: who is found, how many there may be, and when they end. */
#include "net/flows.h"

#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEC SR_NSEC_PER_SEC

static struct net_datagram_ends flow_ends(uint16_t guest_port, uint16_t peer_port)
{
    return (struct net_datagram_ends){0xC6120002, 0xC6336407, guest_port, peer_port};
}

static uint32_t add(struct net_flows *flows, uint16_t guest_port, uint16_t peer_port, uint64_t now)
{
    const struct net_datagram_ends ends = flow_ends(guest_port, peer_port);
    assert_int_equal(net_flows_find(flows, &ends), NET_FLOW_NONE);
    uint32_t index = net_flows_add(flows, &ends, 1000 + guest_port, now);
    if (index != NET_FLOW_NONE)
        assert_int_equal(net_flows_find(flows, &ends), index);
    return index;
}

static void there_are_no_more_than_the_cap(void **state)
{
    (void)state;
    struct net_flows flows;
    assert_true(net_flows_make(&flows, 5, 1));
    for (uint16_t port = 1; port <= 5; port++)
        assert_int_not_equal(add(&flows, port, 9, 0), NET_FLOW_NONE);
    assert_int_equal(add(&flows, 6, 9, 0), NET_FLOW_NONE);
    const struct net_datagram_ends third = flow_ends(3, 9);
    net_flows_remove(&flows, net_flows_find(&flows, &third));
    assert_int_equal(net_flows_find(&flows, &third), NET_FLOW_NONE);
    assert_int_not_equal(add(&flows, 6, 9, 0), NET_FLOW_NONE);
    assert_int_equal(add(&flows, 7, 9, 0), NET_FLOW_NONE);
    net_flows_free(&flows);
}

static void each_difference_of_ends_is_another_flow(void **state)
{
    (void)state;
    struct net_flows flows;
    assert_true(net_flows_make(&flows, 8, 1));
    const struct net_datagram_ends all[] = {
        {1, 2, 3, 4}, {9, 2, 3, 4}, {1, 9, 3, 4}, {1, 2, 9, 4}, {1, 2, 3, 9}};
    for (size_t i = 0; i < 5; i++)
        assert_int_not_equal(net_flows_add(&flows, &all[i], (int)i, 0), NET_FLOW_NONE);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(flows.items[net_flows_find(&flows, &all[i])].fd, (int)i);
    net_flows_free(&flows);
}

/* When the flow would end, counted from a time at which it has not. */
static uint64_t left(const struct net_flows *flows, uint64_t now)
{
    uint64_t wait;
    assert_int_equal(net_flows_expired(flows, now, &wait), NET_FLOW_NONE);
    return wait;
}

static void a_flow_lives_as_long_as_it_is_used(void **state)
{
    (void)state;
    struct net_flows flows;
    uint64_t wait;
    assert_true(net_flows_make(&flows, 4, 1));
    assert_int_equal(left(&flows, 0), UINT64_MAX);
    uint32_t index = add(&flows, 1, 123, 10 * SEC);
    assert_int_equal(left(&flows, 10 * SEC), 30 * SEC);
    net_flows_sent(&flows, index, 20 * SEC);
    assert_int_equal(left(&flows, 30 * SEC), 20 * SEC);
    net_flows_received(&flows, index, 30 * SEC);
    assert_int_equal(left(&flows, 30 * SEC), 180 * SEC);
    net_flows_sent(&flows, index, 40 * SEC); /* who has answered once may be slow later */
    assert_int_equal(left(&flows, 40 * SEC), 180 * SEC);
    assert_int_equal(net_flows_expired(&flows, 220 * SEC, &wait), index);
    net_flows_free(&flows);
}

static void a_question_of_a_name_server_ends_soon_after_its_answers(void **state)
{
    (void)state;
    struct net_flows flows;
    assert_true(net_flows_make(&flows, 4, 1));
    uint32_t index = add(&flows, 1, 53, 0);
    net_flows_sent(&flows, index, 0);
    net_flows_sent(&flows, index, 0);
    net_flows_received(&flows, index, 1 * SEC);
    assert_int_equal(left(&flows, 1 * SEC), 30 * SEC); /* the other one */
    net_flows_received(&flows, index, 2 * SEC);
    assert_int_equal(left(&flows, 2 * SEC), 2 * SEC);
    net_flows_sent(&flows, index, 3 * SEC);
    assert_int_equal(left(&flows, 3 * SEC), 30 * SEC);
    net_flows_free(&flows);
}

static uint64_t seed;

static unsigned draw(unsigned below)
{
    uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (unsigned)((z ^ z >> 31) % below);
}

/* The same flows kept in the plainest way. */
struct plain {
    bool open;
    unsigned pending;
    uint64_t end;
};

static void any_order_of_events_leaves_the_flows_that_it_should(void **state)
{
    (void)state;
    enum { PORTS = 40, CAP = 24, NAMES = 10 }; /* ports up to NAMES speak with a name server */
    for (unsigned round = 1; round <= 20; round++) {
        struct net_flows flows;
        struct plain plain[PORTS] = {0};
        size_t open = 0;
        uint64_t now = 0;
        seed = round;
        assert_true(net_flows_make(&flows, CAP, round));
        for (int step = 0; step < 2000; step++) {
            unsigned port = draw(PORTS);
            bool name = port < NAMES;
            const struct net_datagram_ends ends = flow_ends((uint16_t)(port + 1), name ? 53 : 99);
            uint32_t index = net_flows_find(&flows, &ends);
            assert_int_equal(index != NET_FLOW_NONE, plain[port].open);
            now += draw(3) * SEC;
            if (index == NET_FLOW_NONE && open < CAP) {
                index = add(&flows, ends.guest_port, ends.peer_port, now);
                plain[port] = (struct plain){true, 0, now + 30 * SEC};
                open++;
            } else if (index != NET_FLOW_NONE && draw(2) == 0) {
                bool talks = flows.items[index].state == NET_FLOW_TALKING;
                net_flows_sent(&flows, index, now);
                plain[port].pending++;
                plain[port].end = now + (talks ? 180 : 30) * SEC;
            } else if (index != NET_FLOW_NONE) {
                net_flows_received(&flows, index, now);
                plain[port].pending -= plain[port].pending > 0;
                plain[port].end = now + (!name ? 180 : plain[port].pending > 0 ? 30 : 2) * SEC;
            }
            uint64_t wait, nearest = UINT64_MAX;
            while ((index = net_flows_expired(&flows, now, &wait)) != NET_FLOW_NONE) {
                struct plain *gone = &plain[flows.items[index].ends.guest_port - 1];
                assert_true(gone->open && gone->end <= now);
                gone->open = false;
                open--;
                net_flows_remove(&flows, index);
                assert_int_equal(flows.items[index].fd, -1);
            }
            for (size_t i = 0; i < PORTS; i++)
                if (plain[i].open && plain[i].end - now < nearest)
                    nearest = plain[i].end - now;
            assert_int_equal(wait, nearest);
            assert_int_equal(flows.count, open);
        }
        net_flows_free(&flows);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_no_more_than_the_cap),
        cmocka_unit_test(each_difference_of_ends_is_another_flow),
        cmocka_unit_test(a_flow_lives_as_long_as_it_is_used),
        cmocka_unit_test(a_question_of_a_name_server_ends_soon_after_its_answers),
        cmocka_unit_test(any_order_of_events_leaves_the_flows_that_it_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
