#include "evidence/contradiction.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)
#define MIB (UINT64_C(1) << 20)

/* An honest end: half a second of CPU in a VM that lived for one. */
static const struct evidence_exit_facts honest = {
    .wall_usec = SECOND,
    .vcpus = 1,
    .ram_bytes = 256 * MIB,
    .vmm_end_known = true,
    .guest_spoke = true,
    .guest_cpu_usec = SECOND / 2,
    .guest_rss_bytes = 64 * MIB,
};

static void expect(const struct evidence_exit_facts *facts, const char *about, uint64_t guest,
                   uint64_t host)
{
    struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX];
    size_t count = evidence_contradictions(facts, found);
    if (about == NULL) {
        assert_int_equal(count, 0);
        return;
    }
    assert_int_equal(count, 1);
    assert_string_equal(found[0].about, about);
    assert_string_equal(found[0].names[0], "guest");
    assert_string_equal(found[0].names[1], "host");
    assert_int_equal(found[0].values[0], guest);
    assert_int_equal(found[0].values[1], host);
    assert_non_null(strstr(found[0].message, "the guest reports"));
}

static void an_honest_guest_is_not_contradicted(void **state)
{
    (void)state;
    struct evidence_exit_facts facts = honest;
    expect(&facts, NULL, 0, 0);
    facts.guest_cpu_usec = SECOND; /* it ran all the time */
    facts.guest_rss_bytes = 256 * MIB;
    expect(&facts, NULL, 0, 0);
    facts.vmm_ended_by_us = true; /* as after every run that went well */
    facts.vmm_signal = 9;
    expect(&facts, NULL, 0, 0);
}

static void more_cpu_time_than_there_was(void **state)
{
    (void)state;
    struct evidence_exit_facts facts = honest;
    facts.guest_cpu_usec = 2 * SECOND;
    expect(&facts, "cpu", 2 * SECOND, SECOND);
    facts.vcpus = 2;
    expect(&facts, NULL, 0, 0);
    facts.guest_cpu_usec = UINT64_MAX;
    expect(&facts, "cpu", UINT64_MAX, SECOND);
    facts.vcpus = UINT64_MAX; /* hostile numbers do not wrap around to a contradiction */
    expect(&facts, NULL, 0, 0);
}

static void a_process_larger_than_its_machine(void **state)
{
    (void)state;
    struct evidence_exit_facts facts = honest;
    facts.guest_rss_bytes = 256 * MIB + 1024;
    expect(&facts, "memory", 256 * MIB + 1024, 256 * MIB);
}

static void a_good_end_of_a_machine_that_died(void **state)
{
    (void)state;
    struct evidence_exit_facts facts = honest;
    facts.vmm_signal = 11;
    expect(&facts, "exit", 0, 11);
    facts.vmm_signal = 0;
    facts.vmm_status = 1;
    expect(&facts, "exit", 0, 1);
    facts.vmm_end_known = false;
    expect(&facts, NULL, 0, 0);
    facts.host_oom_kills = 1;
    expect(&facts, "oom", 0, 1);
}

static void nothing_is_held_against_what_is_not_known(void **state)
{
    (void)state;
    struct evidence_exit_facts facts = {
        .guest_spoke = true, .guest_cpu_usec = UINT64_MAX, .guest_rss_bytes = UINT64_MAX};
    expect(&facts, NULL, 0, 0);
    facts = (struct evidence_exit_facts){
        .vmm_end_known = true, .vmm_signal = 9, .host_oom_kills = 1, .wall_usec = 1, .vcpus = 1};
    expect(&facts, NULL, 0, 0); /* the guest has not said anything */
}

static void all_at_once(void **state)
{
    (void)state;
    struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX];
    struct evidence_exit_facts facts = honest;
    facts.guest_cpu_usec = facts.guest_rss_bytes = UINT64_MAX;
    facts.vmm_signal = 9;
    facts.host_oom_kills = 1;
    facts.timed = true;
    facts.command.used_usec = facts.collect.used_usec = facts.end.used_usec = UINT64_MAX;
    assert_int_equal(evidence_contradictions(&facts, found), EVIDENCE_CONTRADICTIONS_MAX);
}

static void a_phase_that_took_longer_than_it_may(void **state)
{
    (void)state;
    struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX];
    struct evidence_exit_facts facts = honest;
    facts.timed = true;
    facts.command = (struct evidence_exit_time){SECOND, 3 * SECOND};
    facts.collect =
        (struct evidence_exit_time){7 * SECOND, 2 * SECOND}; /* what is forgiven, and no more */
    facts.end = (struct evidence_exit_time){0, 10 * SECOND};
    assert_int_equal(evidence_contradictions(&facts, found), 0);
    facts.guest_spoke = false; /* it need not have: the clock is the host's */
    facts.collect.used_usec++;
    assert_int_equal(evidence_contradictions(&facts, found), 1);
    assert_string_equal(found[0].about, "collect");
    assert_string_equal(found[0].names[0], "used");
    assert_string_equal(found[0].names[1], "limit");
    assert_int_equal(found[0].values[0], 7 * SECOND + 1);
    assert_int_equal(found[0].values[1], 2 * SECOND);
    assert_string_equal(found[0].message, "the collection of outputs took 7000001 us; its limits "
                                          "allow 2000000 us, and 5 s are forgiven");
    facts.collect.limit_usec = UINT64_MAX; /* hostile numbers do not wrap around */
    assert_int_equal(evidence_contradictions(&facts, found), 0);
    facts.command.used_usec = 9 * SECOND;
    facts.timed = false;
    assert_int_equal(evidence_contradictions(&facts, found), 0);
}

static void times_are_read_from_the_event(void **state)
{
    (void)state;
    static const char text[] =
        "{\"durations\":{\"bootUsec\":1,\"collectUsec\":4,\"commandUsec\":2,\"endUsec\":8,"
        "\"wallUsec\":15},\"limits\":{\"collectUsec\":5,\"endUsec\":6,\"graceUsec\":7,"
        "\"timeoutSec\":3}}";
    struct evidence_exit_facts facts;
    evidence_exit_facts_read((struct sr_json_slice){text, sizeof text - 1}, &facts);
    assert_true(facts.timed);
    assert_int_equal(facts.command.used_usec, 3);
    assert_int_equal(facts.command.limit_usec, 3 * SECOND + 7);
    assert_int_equal(facts.collect.used_usec, 4);
    assert_int_equal(facts.collect.limit_usec, 5);
    assert_int_equal(facts.end.used_usec, 8);
    assert_int_equal(facts.end.limit_usec, 6);
    static const char half[] = "{\"durations\":{\"endUsec\":8}}";
    evidence_exit_facts_read((struct sr_json_slice){half, sizeof half - 1}, &facts);
    assert_false(facts.timed);
}

static void facts_are_read_from_the_event(void **state)
{
    (void)state;
    static const char text[] =
        "{\"guest\":{\"maxRssKib\":9007199254740991,\"systemUsec\":2,\"userUsec\":40},"
        "\"guestRamBytes\":1024,\"hostOomKills\":-1,\"vcpus\":3,\"vmm\":{\"endedBy\":\"safe-run\","
        "\"signal\":9,\"status\":\"x\"},\"wallUsec\":7}";
    struct evidence_exit_facts facts;
    evidence_exit_facts_read((struct sr_json_slice){text, sizeof text - 1}, &facts);
    assert_true(facts.guest_spoke && facts.vmm_end_known && facts.vmm_ended_by_us);
    assert_int_equal(facts.guest_cpu_usec, 42);
    assert_int_equal(facts.guest_rss_bytes, UINT64_C(9007199254740991) * 1024);
    assert_int_equal(facts.ram_bytes, 1024);
    assert_int_equal(facts.host_oom_kills, 0);
    assert_int_equal(facts.vcpus, 3);
    assert_int_equal(facts.vmm_signal, 9);
    assert_int_equal(facts.vmm_status, 0);
    assert_int_equal(facts.wall_usec, 7);
    evidence_exit_facts_read((struct sr_json_slice){"{}", 2}, &facts);
    assert_false(facts.guest_spoke || facts.vmm_end_known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_guest_is_not_contradicted),
        cmocka_unit_test(more_cpu_time_than_there_was),
        cmocka_unit_test(a_process_larger_than_its_machine),
        cmocka_unit_test(a_good_end_of_a_machine_that_died),
        cmocka_unit_test(nothing_is_held_against_what_is_not_known),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(a_phase_that_took_longer_than_it_may),
        cmocka_unit_test(times_are_read_from_the_event),
        cmocka_unit_test(facts_are_read_from_the_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
