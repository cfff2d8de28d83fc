/* What a run records again and again stays below limits.events, and leaves room for its end. */
#include "common/fs.h"
#include "runner/run_state.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define ALL_TYPES ((1u << SR_EVENT_TYPE_COUNT) - 1)

struct fixture {
    char path[64];
    struct sr_run_options options;
    struct sr_run_result result;
    struct net net;
    struct run run;
    struct sr_error err;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int unclosed;
    strcpy(f->path, "/tmp/sr-room-XXXXXX");
    if (mkdtemp(f->path) == NULL)
        return -1;
    f->run.options = &f->options;
    f->run.result = &f->result;
    f->run.config.ceilings.event_bytes = 4 * MIB;
    f->run.record = record_new();
    *state = f;
    return record_open(f->run.record, f->path, &unclosed, &f->err) < 0
               ? -1
               : record_begin(f->run.record, ALL_TYPES, &f->err);
}

static int unmake(void **state)
{
    struct fixture *f = *state;
    record_free(f->run.record);
    int result = sr_remove_tree(AT_FDCWD, f->path);
    free(f);
    return result;
}

static void record(struct fixture *f, enum sr_event_type type, json_t *payload)
{
    assert_int_equal(record_event(f->run.record, EVIDENCE_STAGE_MONITOR, type, payload, &f->err),
                     0);
}

static void record_target(struct fixture *f, enum sr_event_type type, size_t i)
{
    char address[32];
    snprintf(address, sizeof address, "198.51.%zu.%zu/32", i / 256, i % 256);
    record(f, type,
           json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:i,s:I,s:I}", "tap", "sr-tap-0123abcd", "table",
                     "safe_run", "chain", "forward", "protocol", "tcp", "target", address, "port",
                     65535, "rule", (int)i, "allowedHits", (json_int_t)9007199254740991,
                     "blockedHits", (json_int_t)9007199254740991));
}

/* Until there is no room. */
static void fill(struct fixture *f)
{
    while (run_has_event_room(&f->run))
        record(f, SR_EVENT_RESOURCE_SAMPLED,
               json_pack("{s:i,s:i,s:s}", "cpuUsageUsec", 1, "memoryCurrentBytes", 1, "source",
                         "vmm-process"));
}

static void samples_stop_at_the_ceiling_and_are_counted(void **state)
{
    struct fixture *f = *state;
    fill(f);
    assert_in_range(record_event_bytes(f->run.record), MIB - 512, MIB);
    assert_int_equal(f->run.samples.omitted, 1);
    assert_false(run_has_event_room(&f->run));
    assert_false(run_has_event_room(&f->run));
    assert_int_equal(f->run.samples.omitted, 3);
    assert_int_equal(record_barrier(f->run.record, &f->err), 0);
    struct stat st;
    assert_int_equal(fstatat(record_directory(f->run.record), EVIDENCE_EVENTS_FILE, &st, 0), 0);
    assert_int_equal(st.st_size, record_event_bytes(f->run.record));
}

/* The most addresses that are let be, all filled up: the last hit of each still fits, and what else
 * is said at the end. */
static void the_end_of_the_largest_network_fits(void **state)
{
    struct fixture *f = *state;
    f->run.network.net = &f->net;
    f->net.target_count = 1;
    while (run_refuse_many_targets(&f->run, &f->err) == 0)
        f->net.target_count++;
    assert_int_equal(f->err.code, SR_RUN_201);
    assert_string_equal(f->err.path, "launch.network.apply");
    assert_non_null(strstr(f->err.message, "4Mi of events that this host allows"));
    f->net.target_count--;
    assert_true(f->net.target_count > 1000);
    for (size_t i = 0; i < f->net.target_count; i++)
        record_target(f, SR_EVENT_NETWORK_RULE_APPLIED, i);
    fill(f);
    for (size_t i = 0; i < f->net.target_count; i++)
        record_target(f, SR_EVENT_NETWORK_RULE_HIT, i);
    for (int i = 0; i < 4097; i++)
        record(f, SR_EVENT_NETWORK_FLOW_DENIED,
               json_pack("{s:s,s:s,s:i,s:I}", "protocol", "ip-255", "destination",
                         "255.255.255.255", "port", 65535, "packets",
                         (json_int_t)9007199254740991));
    assert_true(record_event_bytes(f->run.record) + 64 * 1024 < 4 * MIB);
}

static void hits_have_to_wait_for_what_was_recorded(void **state)
{
    struct fixture *f = *state;
    uint64_t before = f->run.network.hits_due;
    run_wait_for_hits(&f->run, 0);
    uint64_t none = f->run.network.hits_due;
    run_wait_for_hits(&f->run, 5000);
    assert_true(before < none);
    assert_true(f->run.network.hits_due - none >= UINT64_C(49000000000)); /* 50 s */
}

#define room_test(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        room_test(samples_stop_at_the_ceiling_and_are_counted),
        room_test(the_end_of_the_largest_network_fits),
        room_test(hits_have_to_wait_for_what_was_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
