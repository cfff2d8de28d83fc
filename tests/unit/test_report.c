#include "evidence_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
    static struct fixture fixture;
    fixture_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_close(*state);
    return 0;
}

static bool exists(const struct fixture *f, const char *name)
{
    return faccessat(f->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static json_t *write_and_load(struct fixture *f, const struct evidence_report_facts *facts)
{
    struct sr_error err = {0};
    if (evidence_report_write(f->dir, facts, f->log, &err) < 0)
        fail_msg("%s: %s", err.path, err.message);
    size_t len;
    char *text = fixture_read(f, EVIDENCE_REPORT_FILE, &len);
    assert_int_equal(text[len - 1], '\n');
    json_t *report = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(report);
    free(text);
    return report;
}

static const char *text_at(const json_t *report, const char *parent, const char *name)
{
    return json_string_value(json_object_get(json_object_get(report, parent), name));
}

static json_int_t number_at(const json_t *report, const char *parent, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(report, parent), name));
}

static void sums_follow_from_the_events(void **state)
{
    struct fixture *f = *state;
    struct evidence_report_facts facts = fixture_facts();
    fixture_events(f, 5);
    json_t *report = write_and_load(f, &facts);
    assert_int_equal(number_at(report, "networkAudit", "allowedHits"), 6);
    assert_int_equal(number_at(report, "networkAudit", "blockedHits"), 1);
    assert_int_equal(number_at(report, "networkAudit", "rulesTotal"), 2);
    assert_string_equal(text_at(report, "networkAudit", "mode"), "allowlist");
    assert_int_equal(number_at(report, "mountAudit", "requested"), 2);
    assert_int_equal(number_at(report, "mountAudit", "accepted"), 1);
    assert_int_equal(number_at(report, "mountAudit", "rejected"), 1);
    assert_string_equal(text_at(report, "resourceUsage", "cpu"), "cpuUsageUsec=4017");
    assert_string_equal(text_at(report, "resourceUsage", "memory"), "memoryCurrentBytes=104857604");
    assert_int_equal(json_array_size(json_object_get(report, "events")), 15);
    json_decref(report);
}

static void a_run_that_failed_early_has_a_report_that_verifies(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    assert_int_equal(evidence_event_log_create(f->dir, FIXTURE_RUN_ID, ALL_EVENTS, &f->log, &err),
                     0);
    assert_int_equal(
        evidence_event_append(f->log, EVIDENCE_STAGE_PREPARE, SR_EVENT_RUN_FAILED,
                              json_pack("{s:s,s:s,s:s}", "reason", "setup", "reasonObservedBy",
                                        "host", "messageObservedBy", "host"),
                              &err),
        0);
    struct evidence_report_facts facts = {.kernel_hash = "",
                                          .network_mode = SR_NETWORK_ALLOWLIST,
                                          .rules_total = 3,
                                          .exit_code = 125,
                                          .code = -1,
                                          .cause = "setup",
                                          .vmm_version = "\xff\xfe"};
    json_t *report = write_and_load(f, &facts);
    assert_string_equal(text_at(report, "artifacts", "kernelHash"), EVIDENCE_HASH_ZERO);
    assert_string_equal(text_at(report, "artifacts", "rootfsHash"), EVIDENCE_HASH_ZERO);
    assert_string_equal(text_at(report, "assurance", "vmm"), "unknown");
    assert_string_equal(text_at(report, "networkAudit", "mode"), "allowlist");
    assert_int_equal(number_at(report, "networkAudit", "rulesTotal"), 3);
    assert_string_equal(text_at(report, "resourceUsage", "cpu"), "cpuUsageUsec=0");
    assert_true(json_is_null(json_object_get(json_object_get(report, "exit"), "code")));
    json_decref(report);
    sr_cleanup_verification struct sr_verification result = {0};
    assert_int_equal(sr_report_verify(fixture_path(f, EVIDENCE_REPORT_FILE), NULL, &result, &err),
                     0);
    assert_true(result.valid);
}

static void a_dead_run_is_closed_and_reported(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    uint64_t dropped;
    fixture_events(f, 3);
    evidence_event_log_close(f->log);
    size_t len;
    char *text = fixture_read(f, EVIDENCE_EVENTS_FILE, &len);
    fixture_write(f, EVIDENCE_EVENTS_FILE, text, len - 100);
    free(text);
    assert_int_equal(
        evidence_event_log_reopen(f->dir, FIXTURE_RUN_ID, ALL_EVENTS, &f->log, &dropped, &err), 0);
    assert_true(dropped > 0);
    assert_int_equal(
        evidence_event_append(f->log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_FAILED,
                              json_pack("{s:s,s:s,s:I}", "reason", "interrupted", "path",
                                        "monitor.supervisor", "droppedBytes", (json_int_t)dropped),
                              &err),
        0);
    struct evidence_report_facts facts = fixture_facts();
    facts.started_at = "2026-01-02T03:04:05.000000000Z"; /* the first event's, in a run */
    facts.cause = "interrupted";
    facts.guest_spoke = facts.cause_by_guest = facts.status_by_guest = false;
    facts.exit_code = 125;
    facts.code = -1;
    assert_int_equal(evidence_report_write(f->dir, &facts, f->log, &err), 0);
    sr_cleanup_verification struct sr_verification result = {0};
    assert_int_equal(sr_report_verify(fixture_path(f, EVIDENCE_REPORT_FILE), NULL, &result, &err),
                     0);
    assert_true(result.valid);
}

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The disk fills up at every 64th byte. */
static void a_report_is_there_whole_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    struct evidence_report_facts facts = fixture_facts();
    facts.finished_at = "2026-01-02T03:04:05.000000000Z";
    signal(SIGXFSZ, SIG_IGN);
    fixture_events(f, 1);
    assert_int_equal(evidence_report_write(f->dir, &facts, f->log, &err), 0);
    size_t len, again_len;
    char *whole = fixture_read(f, EVIDENCE_REPORT_FILE, &len);
    for (int replaced = 0; replaced <= 1; replaced++) {
        for (size_t room = 0; room < len; room += 64) {
            if (!replaced)
                (void)unlinkat(f->dir, EVIDENCE_REPORT_FILE, 0);
            limit_file_size(room);
            int result = evidence_report_write(f->dir, &facts, f->log, &err);
            limit_file_size(RLIM_INFINITY);
            assert_int_equal(result, -1);
            assert_int_equal(err.code, SR_EVD_002);
            assert_string_equal(err.path, "report");
            assert_int_equal(exists(f, EVIDENCE_REPORT_FILE), replaced);
            assert_false(exists(f, EVIDENCE_REPORT_FILE ".tmp"));
        }
        assert_int_equal(evidence_report_write(f->dir, &facts, f->log, &err), 0);
        char *again = fixture_read(f, EVIDENCE_REPORT_FILE, &again_len);
        assert_int_equal(again_len, len);
        assert_memory_equal(again, whole, len);
        free(again);
    }
    free(whole);
}

static void a_temporary_file_left_behind_does_not_hinder(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    struct evidence_report_facts facts = fixture_facts();
    fixture_events(f, 1);
    assert_int_equal(symlinkat("/etc/passwd", f->dir, EVIDENCE_REPORT_FILE ".tmp"), 0);
    assert_int_equal(evidence_report_write(f->dir, &facts, f->log, &err), 0);
    struct stat st;
    assert_int_equal(fstatat(f->dir, EVIDENCE_REPORT_FILE, &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void events_that_somebody_changed_get_no_report(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    struct evidence_report_facts facts = fixture_facts();
    fixture_events(f, 1);
    size_t len;
    char *text = fixture_read(f, EVIDENCE_EVENTS_FILE, &len);
    memcpy(strstr(text, "\"pid\":4711"), "\"pid\":4712", 10);
    fixture_write(f, EVIDENCE_EVENTS_FILE, text, len);
    assert_int_equal(evidence_report_write(f->dir, &facts, f->log, &err), -1);
    assert_int_equal(err.code, SR_EVD_002);
    assert_non_null(strstr(err.message, "event 5"));
    fixture_write(f, EVIDENCE_EVENTS_FILE, text, (size_t)(strchr(text, '\n') - text) + 1);
    assert_int_equal(evidence_report_write(f->dir, &facts, f->log, &err), -1);
    assert_non_null(strstr(err.message, "missing"));
    assert_false(exists(f, EVIDENCE_REPORT_FILE));
    free(text);
}

static void a_failed_log_fails_the_report(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    struct evidence_report_facts facts = fixture_facts();
    signal(SIGXFSZ, SIG_IGN);
    fixture_events(f, 1);
    assert_int_equal(evidence_event_append(f->log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_CLEANED,
                                           json_object(), &err),
                     0);
    limit_file_size(10);
    int result = evidence_report_write(f->dir, &facts, f->log, &err);
    limit_file_size(RLIM_INFINITY);
    assert_int_equal(result, -1);
    assert_int_equal(err.code, SR_EVD_001);
    assert_false(exists(f, EVIDENCE_REPORT_FILE));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(sums_follow_from_the_events),
        CASE(a_run_that_failed_early_has_a_report_that_verifies),
        CASE(a_dead_run_is_closed_and_reported),
        CASE(a_report_is_there_whole_or_not_at_all),
        CASE(a_temporary_file_left_behind_does_not_hinder),
        CASE(events_that_somebody_changed_get_no_report),
        CASE(a_failed_log_fails_the_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
