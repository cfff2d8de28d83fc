/* What the verifier finds: changed bytes, forged reports. What it does with any input:
 * test_verify_input.c. */
#include "verify_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void reports_of_every_generation_verify(void **state)
{
    (void)state;
    static const char *const names[] = {"minimal.json",  "unix-time.json", "pretty.json",
                                        "archived.json", "sealed.json",    "observed.json",
                                        "fielded.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t len;
        char *text = read_golden(names[i], &len);
        sr_cleanup_verification struct sr_verification result;
        fixture_verify(text, len, NULL, &result);
        for (size_t k = 0; k < result.error_count; k++)
            print_error("%s: %s: %s\n", names[i], result.errors[k].path, result.errors[k].message);
        assert_true(result.valid);
        assert_string_equal(result.checks[0].name, "schema");
        assert_string_equal(result.checks[1].name, "artifact_hash");
        assert_string_equal(result.checks[2].name, "event_chain");
        free(text);
    }
}

static void what_we_write_verifies(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    fixture_report(&f, 1000);
    char events[128];
    snprintf(events, sizeof events, "%s", fixture_path(&f, EVIDENCE_EVENTS_FILE));
    fixture_write(&f, "policy.json", FIXTURE_POLICY, strlen(FIXTURE_POLICY));
    struct sr_verify_options options = {.events_path = events, .artifacts_dir = f.path};
    sr_cleanup_verification struct sr_verification result = {0};
    struct sr_error err;
    assert_int_equal(
        sr_report_verify(fixture_path(&f, EVIDENCE_REPORT_FILE), &options, &result, &err), 0);
    assert_true(result.valid);
    assert_int_equal(result.check_count, 8);
    assert_string_equal(result.run_id, FIXTURE_RUN_ID);
    fixture_close(&f);
}

/* The changes a single byte can suffer. */
static const unsigned char flips[] = {0x01, 0x04, 0x20, 0x80};

static void any_changed_byte_of_a_report_is_found(void **state)
{
    (void)state;
    size_t len;
    char *text = read_golden("sealed.json", &len);
    for (size_t i = 0; i < len; i++) {
        char before = text[i];
        for (size_t k = 0; k < sizeof flips; k++) {
            text[i] = (char)(before ^ flips[k]);
            if (is_valid(text, len))
                fail_msg("byte %zu may be %02x instead of %02x", i, (unsigned char)text[i],
                         (unsigned char)before);
        }
        text[i] = before;
    }
    assert_true(is_valid(text, len));
    free(text);
}

static void any_missing_or_added_byte_of_a_report_is_found(void **state)
{
    (void)state;
    static const char added[] = {' ', '\n', '0', '\\'};
    size_t len;
    char *text = read_golden("sealed.json", &len), *changed = malloc(len + 1);
    for (size_t i = 0; i <= len; i++) {
        memcpy(changed, text, i);
        if (i < len) {
            memcpy(changed + i, text + i + 1, len - i - 1);
            if (is_valid(changed, len - 1))
                fail_msg("byte %zu may be missing", i);
        }
        memcpy(changed + i + 1, text + i, len - i);
        for (size_t k = 0; k < sizeof added; k++) {
            changed[i] = added[k];
            if (is_valid(changed, len + 1))
                fail_msg("byte %02x may be added at %zu", (unsigned char)added[k], i);
        }
        if (i < len && is_valid(text, i))
            fail_msg("the report may end at %zu", i);
    }
    free(changed);
    free(text);
}

static void a_changed_spelling_is_found(void **state)
{
    (void)state;
    static const char *const spellings[][2] = {
        {"\\n", "\\u000a"},     {"\xc3\xa9", "\\u00e9"},
        {"4711", "4711.0"},     {"4711", "4.711e3"},
        {"gone", "\\u0067one"}, {"/data/a", "\\/data/a"},
        {",\"", ", \""},        {"\"exitCode\":0", "\"exitCode\":-0"},
    };
    size_t len;
    char *text = read_golden("sealed.json", &len);
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        char *at = strstr(text, spellings[i][0]), changed[16384];
        assert_non_null(at);
        int n = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text,
                         spellings[i][1], at + strlen(spellings[i][0]));
        sr_cleanup_verification struct sr_verification result;
        fixture_verify(changed, (size_t)n, NULL, &result);
        assert_false(result.valid);
        assert_int_equal(outcome(&result, "artifact_hash"), 1); /* the value is the same */
        expect_error(&result, SR_EVD_302, "report");
        /* It says where: at the change or at the beginning of the value that it is in. */
        const char *said = strstr(result.errors[0].message, "byte ");
        assert_non_null(said);
        long where = strtol(said + 5, NULL, 10), place = at - text;
        assert_in_range(where, place > 500 ? place - 500 : 0, place + 1);
    }
    free(text);
}

static bool events_are_valid(const char *report, size_t report_len, const char *events, size_t len)
{
    char path[32];
    int fd = memfd_create("events", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, events, len, 0), len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct sr_verify_options options = {.events_path = path};
    sr_cleanup_verification struct sr_verification result;
    fixture_verify(report, report_len, &options, &result);
    close(fd);
    assert_int_equal(outcome(&result, "event_chain"), 1);
    assert_int_equal(outcome(&result, "events_file"), result.valid);
    return result.valid;
}

static void any_changed_byte_of_the_events_file_is_found(void **state)
{
    (void)state;
    size_t len, events_len;
    char *report = read_golden("sealed.json", &len);
    char *events = read_golden("sealed.events.jsonl", &events_len);
    assert_true(events_are_valid(report, len, events, events_len));
    for (size_t i = 0; i < events_len; i++) {
        char before = events[i];
        for (size_t k = 0; k < sizeof flips; k++) {
            events[i] = (char)(before ^ flips[k]);
            if (events_are_valid(report, len, events, events_len))
                fail_msg("byte %zu may be %02x", i, (unsigned char)events[i]);
        }
        events[i] = before;
        if (events_are_valid(report, len, events, i))
            fail_msg("the file may end at %zu", i);
    }
    char *more = malloc(events_len + 1);
    memcpy(more, events, events_len);
    more[events_len] = '\n';
    assert_false(events_are_valid(report, len, more, events_len + 1));
    free(more);
    free(events);
    free(report);
}

/* ---- forgeries: changed by somebody who can compute hashes ---- */

static void resealing_itself_is_right(void **state)
{
    (void)state;
    sr_cleanup_verification struct sr_verification result;
    verify_resealed(load_sealed(), &result);
    assert_true(result.valid);
}

static void a_chain_cut_short_is_found(void **state)
{
    (void)state;
    json_t *report = load_sealed();
    json_t *events = json_object_get(report, "events");
    json_array_remove(events, json_array_size(events) - 1);
    sr_cleanup_verification struct sr_verification result;
    verify_resealed(report, &result);
    assert_false(result.valid);
    assert_int_equal(outcome(&result, "event_chain"), 1);
    assert_int_equal(outcome(&result, "terminal_event"), 0);
    expect_error(&result, SR_EVD_303, "events[11].type");
}

static void sums_that_do_not_follow_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *parent, *name;
        bool text;
    } sums[] = {
        {"networkAudit", "allowedHits", false}, {"networkAudit", "blockedHits", false},
        {"networkAudit", "rulesTotal", false},  {"networkAudit", "mode", true},
        {"mountAudit", "requested", false},     {"mountAudit", "accepted", false},
        {"mountAudit", "rejected", false},      {"resourceUsage", "cpu", true},
        {"resourceUsage", "memory", true},
    };
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        json_t *report = load_sealed();
        json_object_set_new(json_object_get(report, sums[i].parent), sums[i].name,
                            sums[i].text ? json_string("cpuUsageUsec=1") : json_integer(77));
        sr_cleanup_verification struct sr_verification result;
        char path[64];
        verify_resealed(report, &result);
        snprintf(path, sizeof path, "%s.%s", sums[i].parent, sums[i].name);
        assert_int_equal(outcome(&result, "artifact_hash"), 1);
        assert_int_equal(outcome(&result, "aggregates"), 0);
        expect_error(&result, SR_EVD_303, path);
    }
    json_t *report = load_sealed();
    json_array_append_new(json_object_get(json_object_get(report, "mountAudit"), "reasons"),
                          json_string("x"));
    sr_cleanup_verification struct sr_verification result;
    verify_resealed(report, &result);
    expect_error(&result, SR_EVD_303, "mountAudit.reasons");
}

static void events_of_another_run_are_found(void **state)
{
    (void)state;
    json_t *report = load_sealed();
    json_object_set_new(json_array_get(json_object_get(report, "events"), 3), "runId",
                        json_string("sr-other"));
    sr_cleanup_verification struct sr_verification result;
    verify_resealed(report, &result);
    expect_error(&result, SR_EVD_303, "events[3].runId");

    report = load_sealed();
    json_object_set_new(report, "runId", json_string("sr-other"));
    sr_cleanup_verification struct sr_verification other;
    verify_resealed(report, &other);
    expect_error(&other, SR_EVD_303, "events[0].runId");
}

static void time_that_runs_backwards_is_found(void **state)
{
    (void)state;
    json_t *report = load_sealed();
    json_object_set_new(json_array_get(json_object_get(report, "events"), 5), "timestamp",
                        json_string("2025-01-02T03:04:05.000000000Z"));
    sr_cleanup_verification struct sr_verification result;
    verify_resealed(report, &result);
    expect_error(&result, SR_EVD_303, "events[5].timestamp");
}

static void a_changed_event_is_named(void **state)
{
    (void)state;
    size_t len;
    char *text = read_golden("sealed.json", &len);
    memcpy(strstr(text, "\"pid\":4711"), "\"pid\":4712", 10);
    sr_cleanup_verification struct sr_verification result;
    fixture_verify(text, len, NULL, &result);
    expect_error(&result, SR_EVD_303, "events[6].hashSelf");
    expect_error(&result, SR_EVD_302, "integrity.digest");
    assert_int_equal(result.error_count, 2);
    free(text);
}

static void a_report_of_an_older_writer_is_judged_by_value(void **state)
{
    (void)state;
    size_t len;
    char *text = read_golden("pretty.json", &len), changed[16384];
    char *at = strstr(text, "4711");
    int n = snprintf(changed, sizeof changed, "\n\t %.*s4.711e3%s \r\n", (int)(at - text), text,
                     at + 4);
    assert_true(is_valid(changed, (size_t)n));
    at[3] = '2';
    assert_false(is_valid(text, len));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_of_every_generation_verify),
        cmocka_unit_test(what_we_write_verifies),
        cmocka_unit_test(any_changed_byte_of_a_report_is_found),
        cmocka_unit_test(any_missing_or_added_byte_of_a_report_is_found),
        cmocka_unit_test(a_changed_spelling_is_found),
        cmocka_unit_test(any_changed_byte_of_the_events_file_is_found),
        cmocka_unit_test(resealing_itself_is_right),
        cmocka_unit_test(a_chain_cut_short_is_found),
        cmocka_unit_test(sums_that_do_not_follow_are_found),
        cmocka_unit_test(events_of_another_run_are_found),
        cmocka_unit_test(time_that_runs_backwards_is_found),
        cmocka_unit_test(a_changed_event_is_named),
        cmocka_unit_test(a_report_of_an_older_writer_is_judged_by_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
