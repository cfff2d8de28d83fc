#include "evidence/reading.h"
#include "evidence/take.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* A report under construction, and what is read of it. */
struct fixture {
    struct sr_buf text;
    unsigned count;
    struct evidence_summary *summary;
};

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.summary = evidence_summary_new()};
    assert_non_null(fixture.summary);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    sr_buf_free(&f->text);
    evidence_summary_free(f->summary);
    return 0;
}

/* An event that many seconds after 03:04:05. */
__attribute__((format(printf, 4, 5))) static void event(struct fixture *f, unsigned second,
                                                        const char *type, const char *fmt, ...)
{
    sr_buf_printf(
        &f->text,
        "%s{\"hashPrev\":\"x\",\"hashSelf\":\"x\",\"runId\":\"r\",\"stage\":\"monitor\","
        "\"timestamp\":\"2026-01-02T%02u:%02u:%02u.000000000Z\",\"type\":\"%s\",\"payload\":",
        f->count++ > 0 ? "," : "{\"schemaVersion\":\"safe-run.report/v1\",\"events\":[",
        3 + second / 3600, second / 60 % 60, second % 60, type);
    va_list ap;
    va_start(ap, fmt);
    sr_buf_vprintf(&f->text, fmt, ap);
    va_end(ap);
    sr_buf_putc(&f->text, '}');
}

static const struct evidence_summary *read_report(struct fixture *f)
{
    struct sr_error err;
    sr_buf_puts(&f->text, "]}");
    assert_true(sr_buf_ok(&f->text));
    int fd = memfd_create("report", MFD_CLOEXEC);
    assert_int_equal(pwrite(fd, f->text.data, f->text.len, 0), f->text.len);
    if (evidence_summary_read(f->summary, fd, &err) < 0)
        fail_msg("%s: %s", err.path, err.message);
    close(fd);
    return f->summary;
}

static void samples_are_merged_and_keep_peak_and_end(void **state)
{
    struct fixture *f = *state;
    const unsigned count = 10 * EVIDENCE_SUMMARY_POINTS + 3;
    for (unsigned i = 0; i < count; i++)
        event(f, i, "resource.sampled", "{\"cpuUsageUsec\":%u,\"memoryCurrentBytes\":%u}", i * 10,
              i == 1234 ? 999999 : 1000 + i % 7);
    const struct evidence_summary *s = read_report(f);
    assert_int_equal(s->counts[SR_EVENT_RESOURCE_SAMPLED], count);
    assert_in_range(s->point_count, EVIDENCE_SUMMARY_POINTS / 2, EVIDENCE_SUMMARY_POINTS);
    assert_int_equal(s->points_each, 16);
    assert_int_equal(s->peak_memory_bytes, 999999);
    uint64_t most = 0;
    for (size_t i = 0; i < s->point_count; i++) {
        if (s->points[i].memory_bytes > most)
            most = s->points[i].memory_bytes;
        if (i > 0) { /* whole points are equally far apart, and CPU time goes with time */
            int64_t step = s->points[i].nsec - s->points[i - 1].nsec;
            assert_true(i + 1 == s->point_count || step == INT64_C(16000000000));
            assert_int_equal(s->points[i].cpu_usec - s->points[i - 1].cpu_usec,
                             step / 1000000000 * 10);
        }
    }
    assert_int_equal(most, 999999);
    assert_int_equal(s->points[s->point_count - 1].cpu_usec, (count - 1) * 10);
    assert_int_equal(s->cpu_usec, (count - 1) * 10);
}

static void a_long_time_line_keeps_its_ends(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 1000; i++)
        event(f, i, "output.collected", "{\"path\":\"/%u\"}", i);
    const struct evidence_summary *s = read_report(f);
    const size_t kept = EVIDENCE_SUMMARY_FIRST_STEPS + EVIDENCE_SUMMARY_LAST_STEPS;
    assert_int_equal(s->step_count, 1000);
    assert_int_equal(evidence_summary_steps(s), kept);
    for (size_t i = 0; i < kept; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "output /%zu collected",
                 i < EVIDENCE_SUMMARY_FIRST_STEPS ? i : 1000 - kept + i);
        assert_string_equal(evidence_summary_step(s, i)->text, expected);
    }
}

static void a_short_time_line_is_whole(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < EVIDENCE_SUMMARY_FIRST_STEPS + 7; i++)
        event(f, i, "output.collected", "{\"path\":\"/%u\"}", i);
    const struct evidence_summary *s = read_report(f);
    assert_int_equal(evidence_summary_steps(s), EVIDENCE_SUMMARY_FIRST_STEPS + 7);
    assert_string_equal(evidence_summary_step(s, EVIDENCE_SUMMARY_FIRST_STEPS + 6)->text,
                        "output /106 collected");
}

static void rules_that_were_hit_have_a_place_however_many_there_are(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2000; i++)
        event(f, 0, "network.rule.applied",
              "{\"protocol\":\"tcp\",\"target\":\"198.18.%u.%u/32\",\"port\":443}", i / 250,
              i % 250);
    for (unsigned i = 0; i < 3; i++)
        event(f, 1, "network.rule.hit",
              "{\"protocol\":\"tcp\",\"target\":\"198.18.7.249/32\",\"port\":443,\"allowedHits\":2,"
              "\"blockedHits\":1}");
    for (unsigned i = 0; i < 300; i++)
        event(f, 1, "network.rule.hit",
              "{\"protocol\":\"udp\",\"target\":\"198.19.%u.%u/32\",\"port\":1,\"allowedHits\":1,"
              "\"blockedHits\":0}",
              i / 250, i % 250);
    const struct evidence_summary *s = read_report(f);
    assert_int_equal(s->target_count, EVIDENCE_SUMMARY_TARGETS);
    assert_int_equal(s->more_targets, 2000 - EVIDENCE_SUMMARY_TARGETS / 2);
    const struct evidence_summary_target *hit = &s->targets[EVIDENCE_SUMMARY_TARGETS / 2];
    assert_string_equal(hit->target, "198.18.7.249/32");
    assert_int_equal(hit->allowed, 6);
    assert_int_equal(hit->blocked, 3);
    assert_int_equal(s->more_allowed, 300 - (EVIDENCE_SUMMARY_TARGETS / 2 - 1));
}

static void the_largest_denied_flows_are_kept(void **state)
{
    struct fixture *f = *state;
    uint64_t all = 0, kept = 0;
    for (unsigned i = 0; i < 1000; i++) {
        unsigned packets = i * 7919 % 1000 + 1; /* each number once, in no order */
        event(f, 0, "network.flow.denied",
              "{\"protocol\":\"tcp\",\"destination\":\"203.0.113.%u\",\"port\":%u,\"packets\":%u}",
              i % 250, i, packets);
        all += packets;
    }
    const struct evidence_summary *s = read_report(f);
    assert_int_equal(s->flow_count, EVIDENCE_SUMMARY_FLOWS);
    for (size_t i = 0; i < s->flow_count; i++) {
        assert_int_equal(s->flows[i].packets, 1000 - i);
        kept += s->flows[i].packets;
    }
    assert_int_equal(s->flow_packets, all);
    assert_int_equal(s->more_flows, 1000 - EVIDENCE_SUMMARY_FLOWS);
    assert_int_equal(s->more_flow_packets, all - kept);
}

static void sums_stop_where_json_numbers_do(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++)
        event(f, 0, "network.rule.hit",
              "{\"protocol\":\"tcp\",\"target\":\"a\",\"port\":1,\"allowedHits\":9007199254740991,"
              "\"blockedHits\":-1}");
    const struct evidence_summary *s = read_report(f);
    assert_int_equal(s->targets[0].allowed, SR_JSON_MAX_INTEGER);
    assert_int_equal(s->targets[0].blocked, 0);
}

static void texts_are_cut_at_characters(void **state)
{
    char text[12];
    (void)state;
    static const struct {
        const char *json, *expected;
    } cases[] = {
        {"\"short\"", "short"},
        {"\"exactly 11.\"", "exactly 11."},
        {"\"a little longer\"", "a little..."},
        {"\"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\"",
         "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4..."},
        {"\"abcdefg\xe2\x82\xac\xe2\x82\xac\"", "abcdefg..."},
        {"\"\\u0000\\u001b[m\"", "??[m"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"17", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        evidence_take_string((struct sr_json_slice){cases[i].json, strlen(cases[i].json)}, text,
                             sizeof text);
        assert_string_equal(text, cases[i].expected);
    }
}

static void quantities(void **state)
{
    char text[EVIDENCE_QUANTITY];
    (void)state;
    assert_string_equal(evidence_bytes_text(0, text), "0 bytes");
    assert_string_equal(evidence_bytes_text(1, text), "1 byte");
    assert_string_equal(evidence_bytes_text(1023, text), "1023 bytes");
    assert_string_equal(evidence_bytes_text(1536, text), "1.5 KiB");
    assert_string_equal(evidence_bytes_text(UINT64_C(256) << 20, text), "256.0 MiB");
    assert_string_equal(evidence_bytes_text(SR_JSON_MAX_INTEGER, text), "7.9 PiB");
    assert_string_equal(evidence_usec_text(0, text), "0 ms");
    assert_string_equal(evidence_usec_text(999, text), "999 us");
    assert_string_equal(evidence_usec_text(999999, text), "1000 ms");
    assert_string_equal(evidence_usec_text(1500000, text), "1.50 s");
    assert_string_equal(evidence_when_text("2026-01-02T03:04:05.000000006Z", text),
                        "2026-01-02 03:04:05 UTC");
    assert_string_equal(evidence_when_text("unix:1.5", text), "unix:1.5");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(samples_are_merged_and_keep_peak_and_end),
        CASE(a_long_time_line_keeps_its_ends),
        CASE(a_short_time_line_is_whole),
        CASE(rules_that_were_hit_have_a_place_however_many_there_are),
        CASE(the_largest_denied_flows_are_kept),
        CASE(sums_stop_where_json_numbers_do),
        cmocka_unit_test(texts_are_cut_at_characters),
        cmocka_unit_test(quantities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
