/* The host's own addresses: ranges that overlap become one, and how many there may be. */
#include "net/local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct net_local local;

static int make_empty(void **state)
{
    (void)state;
    local = (struct net_local){.fd = -1};
    return 0;
}

static void assert_ranges(const char *text)
{
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    net_local_text(&local.own, &out);
    assert_true(sr_buf_ok(&out));
    sr_buf_putc(&out, '\0');
    assert_string_equal(out.data, text);
}

static void no_address_is_an_empty_set(void **state)
{
    (void)state;
    assert_ranges("flush set inet safe_run host\n");
}

static void what_overlaps_or_touches_becomes_one(void **state)
{
    (void)state;
    assert_int_equal(net_local_add(&local.own, 0x0A000005, 0x0A000005), 1);
    assert_int_equal(net_local_add(&local.own, 0x7F000001, 0x7F000001), 1);
    assert_int_equal(net_local_add(&local.own, 0x7F000000, 0x7FFFFFFF), 1);
    assert_int_equal(net_local_add(&local.own, 0x7F000001, 0x7F000001), 0);
    assert_int_equal(net_local_add(&local.own, 0x0A000003, 0x0A000003), 1);
    assert_ranges("flush set inet safe_run host\nadd element inet safe_run host { 10.0.0.3, "
                  "10.0.0.5, 127.0.0.0-127.255.255.255 }\n");
    assert_int_equal(net_local_add(&local.own, 0x0A000004, 0x0A000004), 1);
    assert_int_equal(local.own.count, 2);
    assert_int_equal(net_local_add(&local.own, 0, UINT32_MAX), 1);
    assert_int_equal(net_local_add(&local.own, UINT32_MAX, UINT32_MAX), 0);
    assert_int_equal(net_local_add(&local.own, 0, 0), 0);
    assert_ranges("flush set inet safe_run host\nadd element inet safe_run host { "
                  "0.0.0.0-255.255.255.255 }\n");
}

static void any_order_gives_the_addresses_that_were_added(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 200; round++) {
        bool own[64] = {false};
        make_empty(NULL);
        for (int i = 0; i < 20; i++) {
            uint32_t first = (seed = seed * 1103515245 + 12345) >> 16 & 63;
            uint32_t last = first + (seed >> 24 & 7);
            last = last > 63 ? 63 : last;
            bool more = false;
            for (uint32_t at = first; at <= last; at++) {
                more = more || !own[at];
                own[at] = true;
            }
            assert_int_equal(net_local_add(&local.own, first, last), more);
        }
        for (size_t i = 1; i < local.own.count; i++)
            assert_true(local.own.ranges[i - 1].last + 1 < local.own.ranges[i].first);
        for (uint32_t at = 0; at < 64; at++) {
            bool found = false;
            for (size_t i = 0; i < local.own.count; i++)
                found =
                    found || (local.own.ranges[i].first <= at && at <= local.own.ranges[i].last);
            assert_int_equal(found, own[at]);
        }
    }
}

static size_t put_route(char *into, uint8_t type, uint8_t table, uint8_t protocol,
                        const char *prefix, uint8_t len)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(into);
    message->nlmsg_type = RTM_NEWROUTE;
    struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
    *route = (struct rtmsg){.rtm_family = AF_INET,
                            .rtm_dst_len = len,
                            .rtm_table = table,
                            .rtm_protocol = protocol,
                            .rtm_type = type};
    mnl_attr_put_u32(message, RTA_DST, inet_addr(prefix));
    return message->nlmsg_len;
}

static void what_the_kernel_tells_is_taken_when_it_is_the_hosts(void **state)
{
    (void)state;
    _Alignas(struct nlmsghdr) char bytes[1024];
    size_t len = put_route(bytes, RTN_LOCAL, RT_TABLE_LOCAL, RTPROT_KERNEL, "10.0.0.1", 32);
    len += put_route(bytes + len, RTN_LOCAL, RT_TABLE_LOCAL, RTPROT_BOOT, "10.1.0.0", 16);
    len += put_route(bytes + len, RTN_LOCAL, 10, RTPROT_KERNEL, "10.0.0.3", 32); /* of a VRF */
    len += put_route(bytes + len, RTN_LOCAL, 100, RTPROT_BOOT, "0.0.0.0", 0);    /* of a proxy */
    len += put_route(bytes + len, RTN_UNICAST, RT_TABLE_MAIN, RTPROT_KERNEL, "10.9.0.0", 16);
    len += put_route(bytes + len, RTN_LOCAL, RT_TABLE_LOCAL, RTPROT_BOOT, "10.2.0.0", 33);
    assert_int_equal(net_local_take(&local, bytes, len), 1);
    assert_ranges("flush set inet safe_run host\nadd element inet safe_run host { 10.0.0.1, "
                  "10.0.0.3, 10.1.0.0-10.1.255.255 }\n");
    assert_int_equal(net_local_take(&local, bytes, len), 0);
    for (size_t cut = 0; cut < len; cut++) { /* no byte beyond the end is looked at */
        char *part = malloc(cut > 0 ? cut : 1);
        assert_non_null(part);
        memcpy(part, bytes, cut);
        assert_int_equal(net_local_take(&local, part, cut), 0);
        free(part);
    }
    assert_true(net_local_has(&local.own, 0x0A01FFFF));
    assert_false(net_local_has(&local.own, 0x0A020000));
    assert_false(net_local_has(&local.own, 0x0A000002));
}

static void the_end_and_the_faults_of_an_answer_are_known(void **state)
{
    (void)state;
    _Alignas(struct nlmsghdr) char bytes[256];
    struct nlmsghdr *message = mnl_nlmsg_put_header(bytes);
    local.asked = true;
    message->nlmsg_type = NLMSG_DONE;
    message->nlmsg_flags = NLM_F_DUMP_INTR;
    assert_int_equal(net_local_take(&local, bytes, message->nlmsg_len), 0);
    assert_false(local.asked);
    assert_true(local.unknown);
    message->nlmsg_type = NLMSG_ERROR;
    assert_int_equal(net_local_take(&local, bytes, message->nlmsg_len), -EPROTO);
    message->nlmsg_type = NLMSG_DONE; /* with what has ended it early */
    memcpy(mnl_nlmsg_put_extra_header(message, sizeof(int)), &(int){-EMSGSIZE}, sizeof(int));
    assert_int_equal(net_local_take(&local, bytes, message->nlmsg_len), -EMSGSIZE);
    message = mnl_nlmsg_put_header(bytes);
    message->nlmsg_type = NLMSG_ERROR;
    struct nlmsgerr *error = mnl_nlmsg_put_extra_header(message, sizeof *error);
    error->error = -EPERM;
    assert_int_equal(net_local_take(&local, bytes, message->nlmsg_len), -EPERM);
}

static void there_are_no_more_than_there_is_room_for(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < NET_LOCAL_MAX; i++)
        assert_int_equal(net_local_add(&local.own, i * 2, i * 2), 1);
    assert_int_equal(net_local_add(&local.own, NET_LOCAL_MAX * 2, NET_LOCAL_MAX * 2), -E2BIG);
    assert_int_equal(net_local_add(&local.own, 1, 1), 1); /* which makes two of them one */
    assert_int_equal(local.own.count, NET_LOCAL_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_address_is_an_empty_set, make_empty),
        cmocka_unit_test_setup(what_overlaps_or_touches_becomes_one, make_empty),
        cmocka_unit_test_setup(any_order_gives_the_addresses_that_were_added, make_empty),
        cmocka_unit_test_setup(what_the_kernel_tells_is_taken_when_it_is_the_hosts, make_empty),
        cmocka_unit_test_setup(the_end_and_the_faults_of_an_answer_are_known, make_empty),
        cmocka_unit_test_setup(there_are_no_more_than_there_is_room_for, make_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
