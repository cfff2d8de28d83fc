/* The rules of a run: whose a packet is, and the text that nft gets. */
#include "net/net.h"
#include "net/ruleset.h"

#include "common/ipv4.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static const struct net_local_list own = {
    2, {{IP(10, 0, 0, 77), IP(10, 0, 0, 77)}, {IP(192, 0, 2, 1), IP(192, 0, 2, 1)}}};

static struct net_ruleset_input input_of(const struct net_target *targets, size_t count)
{
    return (struct net_ruleset_input){
        .targets = targets,
        .target_count = count,
        .guest = IP(198, 18, 0, 2),
        .own = &own,
        .tap = "sr-tap-01234567",
        .uplink = "sr-uplink",
        .relay = "sr-udp",
    };
}

static void split(const struct net_target *targets, size_t count, struct net_ruleset *ruleset)
{
    const struct net_ruleset_input input = input_of(targets, count);
    struct sr_error err;
    assert_int_equal(net_split(&input, ruleset, &err), 0);
}

/* The target an address counts for, SIZE_MAX: none. Also holds the elements to their order. */
static size_t owner(const struct net_elements *elements, uint8_t protocol, uint16_t port,
                    uint32_t address)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < elements->count; i++) {
        const struct net_element *element = &elements->items[i];
        if (element->protocol == protocol && element->port == port && address >= element->first &&
            address <= element->last) {
            assert_int_equal(found, SIZE_MAX); /* in one element only */
            found = element->target;
        }
        assert_ptr_equal(
            net_element_find(elements, element->protocol, element->port, element->first), element);
    }
    return found;
}

static void the_first_target_that_has_an_address_gets_it(void **state)
{
    (void)state;
    static const struct net_target targets[] = {
        {0, SR_PROTOCOL_TCP, IP(10, 0, 0, 64), 26, 443, false},
        {1, SR_PROTOCOL_TCP, IP(10, 0, 0, 0), 24, 443, false},
        {2, SR_PROTOCOL_TCP, IP(10, 0, 0, 0), 25, 443, false},
        {3, SR_PROTOCOL_TCP, IP(10, 0, 0, 70), 32, 443, false},
        {4, SR_PROTOCOL_UDP, IP(10, 0, 0, 70), 32, 443, false},
        {5, SR_PROTOCOL_TCP, IP(10, 0, 0, 70), 32, 80, false},
    };
    struct net_ruleset ruleset;
    split(targets, 6, &ruleset);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 443, IP(10, 0, 0, 70)), 0);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 443, IP(10, 0, 0, 63)), 1);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 443, IP(10, 0, 0, 255)), 1);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_UDP, 443, IP(10, 0, 0, 70)), 4);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 80, IP(10, 0, 0, 70)), 5);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 80, IP(10, 0, 0, 71)), SIZE_MAX);
    assert_int_equal(owner(&ruleset.block, 0, 0, IP(10, 0, 0, 70)), 0);
    assert_int_equal(owner(&ruleset.block, 0, 0, IP(10, 0, 1, 0)), SIZE_MAX);
    net_ruleset_free(&ruleset);
}

static void wide_rules_have_holes_and_addresses_have_none(void **state)
{
    (void)state;
    static const struct net_target targets[] = {
        {0, SR_PROTOCOL_TCP, 0, 0, 80, false},
        {1, SR_PROTOCOL_TCP, IP(169, 254, 169, 254), 32, 80, false},
        {2, SR_PROTOCOL_TCP, IP(10, 0, 0, 77), 32, 80, false},
        {3, SR_PROTOCOL_TCP, IP(255, 255, 255, 255), 32, 80, false},
    };
    struct net_ruleset ruleset;
    split(targets, 4, &ruleset);
    static const uint32_t closed[] = {
        IP(0, 0, 0, 0),         IP(0, 255, 255, 255), IP(127, 0, 0, 1),
        IP(169, 254, 0, 1),     IP(192, 0, 2, 1),     IP(224, 0, 0, 1),
        IP(255, 255, 255, 254), NET_GATEWAY,          NET_GUEST};
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++)
        assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 80, closed[i]), SIZE_MAX);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 80, IP(169, 254, 169, 254)), 1);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 80, IP(10, 0, 0, 77)), 2);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 80, IP(255, 255, 255, 255)), 3);
    static const uint32_t open[] = {IP(1, 0, 0, 0),   IP(126, 255, 255, 255),
                                    IP(128, 0, 0, 0), IP(10, 0, 0, 76),
                                    IP(10, 0, 0, 78), IP(223, 255, 255, 255)};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 80, open[i]), 0);
    net_ruleset_free(&ruleset);
}

/* Whatever a wider rule before it, or a name, opens as well. */
static void only_a_rule_for_an_address_opens_it_when_it_is_the_hosts(void **state)
{
    (void)state;
    static const struct net_target targets[] = {
        {0, SR_PROTOCOL_TCP, IP(203, 0, 113, 0), 24, 443, false},
        {1, SR_PROTOCOL_TCP, IP(203, 0, 113, 8), 32, 443, false},
        {2, SR_PROTOCOL_TCP, IP(203, 0, 113, 9), 32, 443, true},
        {3, SR_PROTOCOL_TCP, IP(203, 0, 113, 10), 31, 443, false},
        {4, SR_PROTOCOL_TCP, IP(203, 0, 113, 8), 32, 443, false},
        {5, SR_PROTOCOL_UDP, IP(203, 0, 113, 9), 32, 443, false},
    };
    struct net_ruleset ruleset;
    split(targets, 6, &ruleset);
    assert_int_equal(ruleset.host_allow.count, 2);
    assert_int_equal(owner(&ruleset.host_allow, IPPROTO_TCP, 443, IP(203, 0, 113, 8)), 1);
    assert_int_equal(owner(&ruleset.host_allow, IPPROTO_UDP, 443, IP(203, 0, 113, 9)), 5);
    assert_int_equal(owner(&ruleset.allow, IPPROTO_TCP, 443, IP(203, 0, 113, 8)), 0);
    net_ruleset_free(&ruleset);
}

static void a_prefix_of_what_is_never_opened_opens_nothing(void **state)
{
    (void)state;
    static const struct {
        uint32_t address;
        unsigned prefix;
        bool nothing;
    } cases[] = {
        {IP(127, 0, 0, 0), 8, true},
        {IP(127, 1, 2, 3), 31, true},
        {IP(127, 0, 0, 1), 32, false},
        {IP(126, 0, 0, 0), 7, false},
        {IP(224, 0, 0, 0), 3, true},
        {IP(224, 0, 0, 0), 4, true},
        {IP(192, 0, 0, 0), 2, false},
        {IP(169, 254, 0, 0), 16, true},
        {IP(169, 254, 0, 0), 15, false},
        {0, 0, false},
        {0, 8, true},
        {0, 7, false},
        {NET_GATEWAY, 32, true},
        {NET_GUEST, 32, true},
        {NET_GUEST, 30, true},
        {NET_GUEST, 29, false},
        {NET_UPLINK_ADDRESS, 32, false},
        {IP(255, 255, 255, 255), 32, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (sr_ipv4_opens_nothing(cases[i].address, cases[i].prefix) != cases[i].nothing)
            fail_msg("%08x/%u", cases[i].address, cases[i].prefix);
}

static uint64_t seed;

static unsigned draw(unsigned below)
{
    uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (unsigned)((z ^ z >> 31) % below);
}

/* Any targets, asked for every address around them: the first one that has it, with or without its
 * service. */
static void splitting_is_what_looking_through_the_rules_says(void **state)
{
    (void)state;
    for (seed = 1; seed < 200; seed++) {
        struct net_target targets[24];
        size_t count = 1 + draw(24);
        for (size_t i = 0; i < count; i++)
            targets[i] = (struct net_target){i,
                                             draw(2) == 0 ? SR_PROTOCOL_TCP : SR_PROTOCOL_UDP,
                                             IP(10, 0, 0, draw(256)),
                                             (uint8_t)(24 + draw(9)),
                                             (uint16_t)(1 + draw(2)),
                                             false};
        struct net_ruleset ruleset;
        split(targets, count, &ruleset);
        for (uint32_t address = IP(9, 255, 255, 254); address <= IP(10, 0, 1, 1); address++) {
            size_t any = SIZE_MAX, service = SIZE_MAX;
            for (size_t i = count; i-- > 0;) {
                bool has =
                    ((targets[i].address ^ address) & sr_ipv4_mask(targets[i].prefix)) == 0 &&
                    (targets[i].prefix == 32 || address != own.ranges[0].first);
                any = has ? i : any;
                service = has && targets[i].protocol == SR_PROTOCOL_UDP && targets[i].port == 2
                              ? i
                              : service;
            }
            assert_int_equal(owner(&ruleset.block, 0, 0, address), any);
            assert_int_equal(owner(&ruleset.allow, IPPROTO_UDP, 2, address), service);
        }
        for (size_t i = 1; i < ruleset.block.count; i++)
            assert_true(ruleset.block.items[i - 1].last < ruleset.block.items[i].first);
        net_ruleset_free(&ruleset);
    }
}

static void the_text_is_what_the_golden_file_says(void **state)
{
    (void)state;
    static const struct net_target targets[] = {
        {0, SR_PROTOCOL_TCP, IP(198, 51, 100, 7), 32, 443, false},
        {1, SR_PROTOCOL_UDP, IP(198, 51, 100, 0), 24, 53, false},
        {2, SR_PROTOCOL_TCP, IP(10, 0, 0, 64), 26, 8080, false},
    };
    const struct net_ruleset_input input = input_of(targets, 3);
    struct net_ruleset ruleset;
    split(targets, 3, &ruleset);
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    net_ruleset_text(&input, &ruleset, &text);
    net_ruleset_free(&ruleset);
    char path[512], golden[8192];
    snprintf(path, sizeof path, "%s/net/ruleset.nft", getenv("SR_GOLDEN"));
    FILE *file = fopen(path, getenv("SR_REGENERATE") != NULL ? "w+" : "r");
    assert_non_null(file);
    if (getenv("SR_REGENERATE") != NULL) {
        fputs(text.data, file);
        rewind(file);
    }
    golden[fread(golden, 1, sizeof golden - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text.data, golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_target_that_has_an_address_gets_it),
        cmocka_unit_test(wide_rules_have_holes_and_addresses_have_none),
        cmocka_unit_test(only_a_rule_for_an_address_opens_it_when_it_is_the_hosts),
        cmocka_unit_test(a_prefix_of_what_is_never_opened_opens_nothing),
        cmocka_unit_test(splitting_is_what_looking_through_the_rules_says),
        cmocka_unit_test(the_text_is_what_the_golden_file_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
