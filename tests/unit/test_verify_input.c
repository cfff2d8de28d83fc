/* The verifier and its input: fields, hostile text, pipes, files beside the report. */
#include "common/jcs.h"
#include "verify_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- schema ---- */

/* Sets what a path of one or two steps names; NULL removes it. */
static void change(json_t *report, const char *parent, const char *name, json_t *value)
{
    json_t *object = parent[0] == '\0' ? report : json_object_get(report, parent);
    if (value == NULL)
        json_object_del(object, name);
    else
        json_object_set_new(object, name, value);
}

static void every_field_of_the_contract_is_required(void **state)
{
    (void)state;
    static const char *const fields[][2] = {
        {"", "schemaVersion"},
        {"", "runId"},
        {"", "startedAt"},
        {"", "finishedAt"},
        {"", "exitCode"},
        {"", "artifacts"},
        {"artifacts", "kernelHash"},
        {"artifacts", "rootfsHash"},
        {"artifacts", "policyHash"},
        {"artifacts", "commandHash"},
        {"", "policySummary"},
        {"policySummary", "network"},
        {"policySummary", "mounts"},
        {"", "resourceUsage"},
        {"resourceUsage", "cpu"},
        {"resourceUsage", "memory"},
        {"", "events"},
        {"", "mountAudit"},
        {"mountAudit", "requested"},
        {"mountAudit", "reasons"},
        {"", "networkAudit"},
        {"networkAudit", "mode"},
        {"networkAudit", "rulesTotal"},
        {"networkAudit", "allowedHits"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s%s%s", fields[i][0], fields[i][0][0] ? "." : "",
                 fields[i][1]);
        for (int wrong_type = 0; wrong_type <= 1; wrong_type++) {
            json_t *report = load_sealed();
            change(report, fields[i][0], fields[i][1], wrong_type ? json_true() : NULL);
            sr_cleanup_verification struct sr_verification result;
            verify_resealed(report, &result);
            assert_int_equal(outcome(&result, "schema"), 0);
            expect_error(&result, SR_EVD_301, path);
        }
    }
}

static void every_field_of_an_event_is_required(void **state)
{
    (void)state;
    static const char *const fields[] = {"timestamp", "runId",    "stage",   "type",
                                         "payload",   "hashPrev", "hashSelf"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        for (int wrong = 0; wrong <= 2; wrong++) {
            json_t *report = load_sealed();
            json_t *event = json_array_get(json_object_get(report, "events"), 2);
            change(event, "", fields[i],
                   wrong == 0   ? NULL
                   : wrong == 1 ? json_integer(1)
                                : json_string("a|b"));
            sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
            char path[64];
            sr_jcs_value(&text, report);
            json_decref(report);
            sr_cleanup_verification struct sr_verification result;
            fixture_verify(text.data, text.len, NULL, &result);
            snprintf(path, sizeof path, "events[2].%s", fields[i]);
            assert_int_equal(outcome(&result, "schema"), 0);
            assert_int_equal(outcome(&result, "event_chain"), 0);
            expect_error(&result, SR_EVD_301, path);
        }
    }
}

static void values_outside_their_sets_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *parent, *name, *value, *path;
        enum sr_code code;
    } wrong[] = {
        {"", "schemaVersion", "\"safe-run.report/v2\"", "schemaVersion", SR_EVD_301},
        {"", "exitCode", "1.5", "exitCode", SR_EVD_301},
        {"", "exitCode", "9007199254740992", "exitCode", SR_EVD_301},
        {"", "runId", "\"\"", "runId", SR_EVD_301},
        {"", "more", "{\"x\":[1,0.5]}", "more.x[1]", SR_EVD_301},
        {"networkAudit", "allowedHits", "-1", "networkAudit.allowedHits", SR_EVD_301},
        {"mountAudit", "reasons", "[1]", "mountAudit.reasons", SR_EVD_301},
        {"exit", "cause", "\"magic\"", "exit.cause", SR_EVD_301},
        {"artifacts", "kernelHash", "\"sha256:12\"", "artifacts.kernelHash", SR_EVD_302},
        {"artifacts", "kernelHash",
         "\"sha256:ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD\"",
         "artifacts.kernelHash", SR_EVD_302},
        {"artifacts", "files", "{\"a\":\"sha256:\"}", "artifacts.files[\"a\"]", SR_EVD_302},
        {"artifacts", "files", "{\"a\":1}", "artifacts.files[\"a\"]", SR_EVD_301},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        json_t *report = load_sealed();
        change(report, wrong[i].parent, wrong[i].name,
               json_loads(wrong[i].value, JSON_DECODE_ANY, NULL));
        sr_cleanup_verification struct sr_verification result;
        verify_resealed(report, &result);
        assert_false(result.valid);
        expect_error(&result, wrong[i].code, wrong[i].path);
    }
}

static void fields_may_be_added(void **state)
{
    (void)state;
    json_t *report = load_sealed();
    json_object_set_new(report, "zebra", json_pack("{s:[n]}", "x"));
    json_object_set_new(report, "aardvark", json_integer(1));
    json_object_set_new(json_object_get(report, "exit"), "saidBy", json_string("host"));
    json_object_set_new(json_array_get(json_object_get(report, "events"), 1), "observedBy",
                        json_string("host"));
    sr_cleanup_verification struct sr_verification result;
    verify_resealed(report, &result);
    assert_true(result.valid);
}

/* ---- hostile input ---- */

static void hostile_input_gets_an_answer(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
    } inputs[] = {
        {"", "report"},
        {" ", "report"},
        {"[]", "report"},
        {"null", "report"},
        {"{", "report"},
        {"{}x", "report"},
        {"{} {}", "report"},
        {"{\"a\":1,\"a\":2}", "report"},
        {"{\"a\":1,\"b\":2,\"\\u0061\":2}", "report"},
        {"{\"events\":[],\"events\":[]}", "report"},
        {"{\"events\":1,\"events\":[]}", "report"},
        {"{\"events\":[{\"payload\":{\"b\":1,\"a\":0,\"b\":2}}]}", "events[0].payload.b"},
        {"{\"events\":[{\"a\":\"\xff\"}]}", "events[0].a"},
        {"{\"events\":[{},{\"a\":\"\\ud800\"}]}", "events[1].a"},
        {"{\"events\":[{},", "events[1]"},
        {"{\"events\":[{},]}", "events[0]"},
        {"{\"events\":[{}", "events[0]"},
        {"{\"events\":[{} {}]}", "events[0]"},
        {"{\"events\":[1e999]}", "events[0]"},
        {"{\"runId\":\"\\u0000\\ud83d\"}", "runId"},
        {"{\"a\":{\"b\":{\"c\":[1,2,{\"d\":tru}]}}}", "a.b.c[2].d"},
        {"\xef\xbb\xbf{}", "report"},
        {"{\"\":", "report"},
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        sr_cleanup_verification struct sr_verification result;
        fixture_verify(inputs[i].text, strlen(inputs[i].text), NULL, &result);
        if (result.valid || outcome(&result, "schema") != 0 ||
            outcome(&result, "event_chain") != 0 || outcome(&result, "artifact_hash") != 0)
            fail_msg("no refusal of %s", inputs[i].text);
        expect_error(&result, SR_EVD_301, inputs[i].path);
        assert_true(result.errors[result.error_count - 1].line > 0);
    }
}

static void a_fault_has_line_and_column(void **state)
{
    (void)state;
    static const char text[] = "{\n  \"runId\": \"x\",\n  \"exitCode\": 01\n}";
    sr_cleanup_verification struct sr_verification result;
    fixture_verify(text, sizeof text - 1, NULL, &result);
    assert_string_equal(result.errors[0].path, "exitCode");
    assert_int_equal(result.errors[0].line, 3);
    assert_int_equal(result.errors[0].column, 15);
}

static void errors_are_bounded(void **state)
{
    (void)state;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_buf_puts(&text, "{\"events\":[");
    for (int i = 0; i < 1000; i++)
        sr_buf_puts(&text, i > 0 ? ",{}" : "{}");
    sr_buf_puts(&text, "]}");
    sr_cleanup_verification struct sr_verification result;
    fixture_verify(text.data, text.len, NULL, &result);
    assert_int_equal(result.error_count, SR_REPORT_MAX_ERRORS - 1);
    assert_true(result.more_errors > 900);
}

static void deep_or_endless_values_are_refused(void **state)
{
    (void)state;
    static const char *const units[] = {"[", "{\"a\":", "\"aaaaaaaa", "1", "[0,"};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
        sr_buf_puts(&text, "{\"events\":[");
        if (units[i][0] == '"')
            sr_buf_putc(&text, '"');
        while (text.len < 3 * 1024 * 1024)
            sr_buf_puts(&text, units[i] + (units[i][0] == '"'));
        assert_false(is_valid(text.data, text.len));
    }
}

static void a_report_in_kind_or_unkind_order_has_one_digest(void **state)
{
    (void)state;
    size_t len;
    char *text = read_golden("archived.json", &len);
    json_t *report = json_loadb(text, len, 0, NULL);
    static const char *const first[] = {"verification", "events", "artifacts"};
    for (size_t i = 0; i < 3; i++) {
        json_t *value = json_incref(json_object_get(report, first[i]));
        json_object_del(report, first[i]);
        json_t *turned = json_object();
        json_object_set_new(turned, first[i], value);
        json_object_update(turned, report);
        char *written = json_dumps(turned, JSON_PRESERVE_ORDER | JSON_INDENT(1));
        assert_true(is_valid(written, strlen(written)));
        free(written);
        json_decref(report);
        report = turned;
    }
    json_decref(report);
    free(text);
}

/* From a pipe, also when the order asks for a second reading. */
static void a_pipe_is_read_like_a_file(void **state)
{
    (void)state;
    static const char *const names[] = {"sealed.json", "archived.json"};
    for (size_t i = 0; i < 2; i++) {
        int ends[2];
        size_t len;
        char *text = read_golden(names[i], &len);
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t at = 0; at < len; at += 100) {
                size_t n = len - at < 100 ? len - at : 100;
                if (write(ends[1], text + at, n) != (ssize_t)n)
                    _exit(1);
            }
            _exit(0);
        }
        close(ends[1]);
        sr_cleanup_verification struct sr_verification result = {0};
        struct sr_error err;
        assert_int_equal(sr_report_verify_fd(ends[0], NULL, &result, &err), 0);
        assert_true(result.valid);
        close(ends[0]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        free(text);
    }
}

static void what_is_no_regular_file_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    assert_int_equal(mkfifoat(f.dir, "fifo", 0600), 0);
    assert_int_equal(symlinkat("/dev/zero", f.dir, "zero"), 0);
    assert_int_equal(symlinkat("loop", f.dir, "loop"), 0);
    static const char *const names[] = {"fifo", "zero", "loop", "none", "."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        sr_cleanup_verification struct sr_verification result = {0};
        struct sr_error err;
        assert_int_equal(sr_report_verify(fixture_path(&f, names[i]), NULL, &result, &err), 0);
        assert_false(result.valid);
        expect_error(&result, SR_EVD_002, "report");
        size_t len;
        char *text = read_golden("sealed.json", &len);
        struct sr_verify_options options = {.events_path = fixture_path(&f, names[i])};
        sr_cleanup_verification struct sr_verification events;
        fixture_verify(text, len, &options, &events);
        assert_false(events.valid);
        expect_error(&events, SR_EVD_002, "events");
        free(text);
    }
    fixture_close(&f);
}

/* ---- files beside the report ---- */

static void verify_with_files(struct fixture *f, struct sr_verification *result)
{
    struct sr_verify_options options = {.artifacts_dir = f->path};
    struct sr_error err;
    memset(result, 0, sizeof *result);
    assert_int_equal(
        sr_report_verify(fixture_path(f, EVIDENCE_REPORT_FILE), &options, result, &err), 0);
}

static void files_are_hashed_again(void **state)
{
    (void)state;
    struct fixture f;
    struct sr_error err;
    struct sr_verification result;
    char kernel[SR_SHA256_TEXT], policy[SR_SHA256_TEXT], out[SR_SHA256_TEXT];
    struct sr_hasher *hasher = sr_hasher_new();
    assert_int_equal(sr_sha256(hasher, "kernel", 6, kernel), 0);
    assert_int_equal(sr_sha256(hasher, "out", 3, out), 0);
    assert_int_equal(evidence_policy_hash(hasher, FIXTURE_POLICY, strlen(FIXTURE_POLICY), policy),
                     0);
    sr_hasher_free(hasher);
    fixture_open(&f);
    fixture_events(&f, 1);
    struct evidence_report_facts facts = fixture_facts();
    struct evidence_report_file files[] = {{"outputs/a", out}, {"stdout.log", out}};
    facts.kernel_hash = kernel;
    facts.policy_hash = policy;
    facts.files = files;
    facts.file_count = 2;
    assert_int_equal(evidence_report_write(f.dir, &facts, f.log, &err), 0);

    fixture_write(&f, "vmlinux", "kernel", 6);
    fixture_write(&f, "policy.json", FIXTURE_POLICY "\n", strlen(FIXTURE_POLICY) + 1);
    fixture_write(&f, "stdout.log", "out", 3);
    assert_int_equal(mkdirat(f.dir, "outputs", 0700), 0);
    fixture_write(&f, "outputs/a", "out", 3);
    verify_with_files(&f, &result);
    assert_true(result.valid);
    sr_verification_free(&result);

    fixture_write(&f, "vmlinux", "kernal", 6);
    fixture_write(&f, "policy.json", "{\"a\":1,\"b\":2,\"a\":3}", 19);
    fixture_write(&f, "stdout.log", "out!", 4);
    assert_int_equal(unlinkat(f.dir, "outputs/a", 0), 0);
    verify_with_files(&f, &result);
    assert_false(result.valid);
    expect_error(&result, SR_EVD_302, "artifacts.kernelHash");
    expect_error(&result, SR_EVD_302, "artifacts.policyHash");
    expect_error(&result, SR_EVD_302, "artifacts.files[\"stdout.log\"]");
    expect_error(&result, SR_EVD_302, "artifacts.files[\"outputs/a\"]");
    sr_verification_free(&result);

    fixture_write(&f, "kernel", "kernel", 6); /* the right content, but by a link */
    assert_int_equal(unlinkat(f.dir, "vmlinux", 0), 0);
    assert_int_equal(symlinkat("kernel", f.dir, "vmlinux"), 0);
    verify_with_files(&f, &result);
    expect_error(&result, SR_EVD_302, "artifacts.kernelHash");
    sr_verification_free(&result);
    fixture_close(&f);
}

static void names_that_leave_the_directory_are_not_opened(void **state)
{
    (void)state;
    struct fixture f;
    struct sr_error err;
    struct sr_verification result;
    fixture_open(&f);
    fixture_events(&f, 0);
    struct evidence_report_facts facts = fixture_facts();
    struct evidence_report_file files[] = {{"../../etc/passwd", EVIDENCE_HASH_ZERO},
                                           {"/etc/passwd", EVIDENCE_HASH_ZERO},
                                           {"dev", EVIDENCE_HASH_ZERO}};
    facts.files = files;
    facts.file_count = 3;
    assert_int_equal(evidence_report_write(f.dir, &facts, f.log, &err), 0);
    assert_int_equal(symlinkat("/dev/zero", f.dir, "dev"), 0);
    verify_with_files(&f, &result);
    assert_false(result.valid);
    for (size_t i = 0; i < result.error_count; i++)
        if (strstr(result.errors[i].message, "has sha256:") != NULL)
            fail_msg("it was read: %s", result.errors[i].message);
    assert_true(result.error_count >= 3);
    sr_verification_free(&result);
    fixture_close(&f);
}

/* ---- outputs beside the report ---- */

/* A report of one output, "out": a file a of two bytes, a directory b, a link c. */
static void open_with_output(struct fixture *f, const char *name)
{
    static const char records[] = "fa\0"
                                  "2\0"
                                  "hi"
                                  "db\0"
                                  "lc\0"
                                  "a\0";
    struct sr_error err;
    char hash[SR_SHA256_TEXT];
    struct sr_hasher *hasher = sr_hasher_new();
    assert_int_equal(sr_sha256(hasher, records, sizeof records - 1, hash), 0);
    sr_hasher_free(hasher);
    fixture_open(f);
    assert_int_equal(evidence_event_log_create(f->dir, FIXTURE_RUN_ID, ALL_EVENTS, &f->log, &err),
                     0);
    assert_int_equal(evidence_event_append(f->log, EVIDENCE_STAGE_MONITOR,
                                           SR_EVENT_OUTPUT_COLLECTED,
                                           json_pack("{s:s,s:b,s:i,s:i,s:i,s:i,s:s}", "name", name,
                                                     "collected", 1, "files", 1, "directories", 1,
                                                     "links", 1, "bytes", 2, "hash", hash),
                                           &err),
                     0);
    assert_int_equal(
        evidence_event_append(f->log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_FAILED,
                              json_pack("{s:s,s:s,s:s}", "reason", "setup", "reasonObservedBy",
                                        "host", "messageObservedBy", "host"),
                              &err),
        0);
    struct evidence_report_facts facts = fixture_facts();
    facts.policy_hash = hash;
    facts.cause = "setup";
    facts.guest_spoke = facts.cause_by_guest = facts.status_by_guest = false;
    facts.exit_code = 125;
    facts.code = -1;
    assert_int_equal(evidence_report_write(f->dir, &facts, f->log, &err), 0);
    assert_int_equal(mkdirat(f->dir, "outputs", 0700), 0);
    assert_int_equal(mkdirat(f->dir, "outputs/out", 0700), 0);
    fixture_write(f, "outputs/out/a", "hi", 2);
    assert_int_equal(mkdirat(f->dir, "outputs/out/b", 0700), 0);
    assert_int_equal(symlinkat("a", f->dir, "outputs/out/c"), 0);
}

static const char *said(const struct sr_verification *result, const char *words)
{
    for (size_t i = 0; i < result->error_count; i++)
        if (strstr(result->errors[i].message, words) != NULL)
            return result->errors[i].message;
    return NULL;
}

static void expect_difference(struct fixture *f, const char *path, const char *words)
{
    sr_cleanup_verification struct sr_verification result;
    verify_with_files(f, &result);
    assert_false(result.valid);
    expect_error(&result, SR_EVD_302, path);
    if (said(&result, words) == NULL)
        fail_msg("expected '%s', found '%s'", words, result.errors[0].message);
}

static void outputs_are_hashed_again(void **state)
{
    (void)state;
    static const char hash[] = "events[0].payload.hash";
    struct fixture f;
    struct sr_verification result;
    open_with_output(&f, "out");
    verify_with_files(&f, &result);
    assert_true(result.valid);
    sr_verification_free(&result);

    fixture_write(&f, "outputs/out/a", "ho", 2);
    expect_difference(&f, hash, "outputs/out: expected sha256:");
    fixture_write(&f, "outputs/out/a", "hi", 2);
    assert_int_equal(fchmodat(f.dir, "outputs/out/a", 0700, 0), 0);
    expect_difference(&f, hash, "executable bit differs");
    assert_int_equal(fchmodat(f.dir, "outputs/out/a", 0600, 0), 0);
    assert_int_equal(renameat(f.dir, "outputs/out/b", f.dir, "outputs/out/bb"), 0);
    expect_difference(&f, hash, "outputs/out: expected sha256:");
    assert_int_equal(renameat(f.dir, "outputs/out/bb", f.dir, "outputs/out/b"), 0);
    fixture_write(&f, "outputs/out/d", "", 0);
    expect_difference(&f, "events[0].payload.files", "outputs/out: expected 1 files, found 2");
    fixture_write(&f, "outputs/out/d", "x", 1);
    expect_difference(&f, hash, "outputs/out/d makes it more than 2 bytes");
    assert_int_equal(unlinkat(f.dir, "outputs/out/d", 0), 0);

    fixture_write(&f, "outputs/extra\n", "x", 1);
    expect_difference(&f, "outputs", "outputs/extra? is there, and no event tells of it");
    assert_int_equal(unlinkat(f.dir, "outputs/extra\n", 0), 0);
    assert_int_equal(renameat(f.dir, "outputs/out", f.dir, "elsewhere"), 0);
    expect_difference(&f, "events[0].payload.name", "outputs/out is not there");
    assert_int_equal(unlinkat(f.dir, "outputs", AT_REMOVEDIR), 0);
    fixture_write(&f, "policy.json", "{}", 2);
    verify_with_files(&f, &result);
    for (size_t i = 0; i < result.check_count; i++)
        if (strcmp(result.checks[i].name, "artifact_files") == 0)
            assert_non_null(strstr(result.checks[i].note, "there is no outputs/"));
    assert_null(said(&result, "outputs"));
    sr_verification_free(&result);
    fixture_close(&f);
}

/* Never read through a link, whatever it leads to, and what is no file is none. */
static void hostile_outputs_are_answered(void **state)
{
    (void)state;
    static const char hash[] = "events[0].payload.hash";
    struct fixture f;
    open_with_output(&f, "out");
    assert_int_equal(unlinkat(f.dir, "outputs/out/a", 0), 0);
    assert_int_equal(mkfifoat(f.dir, "outputs/out/a", 0600), 0);
    expect_difference(&f, hash, "outputs/out/a is a pipe");
    assert_int_equal(unlinkat(f.dir, "outputs/out/a", 0), 0);
    assert_int_equal(symlinkat("/dev/zero", f.dir, "outputs/out/a"), 0);
    expect_difference(&f, "events[0].payload.files", "expected 1 files, found 0");
    int fd = openat(f.dir, "outputs/out/b/sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
    close(fd);
    expect_difference(&f, hash, "outputs/out/b/sparse makes it more than 2 bytes");
    assert_int_equal(renameat(f.dir, "outputs/out", f.dir, "real"), 0);
    assert_int_equal(symlinkat("../real", f.dir, "outputs/out"), 0);
    expect_difference(&f, hash, "outputs/out cannot be read");
    assert_int_equal(renameat(f.dir, "outputs", f.dir, "away"), 0);
    assert_int_equal(symlinkat("away", f.dir, "outputs"), 0);
    expect_difference(&f, "outputs", "is no directory");
    fixture_close(&f);

    static const char *const names[] = {"..", ".", "", "../real", "/dev/zero", "out/a"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        open_with_output(&f, names[i]);
        expect_difference(&f, "events[0].payload.name", "is no name of an output");
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_the_contract_is_required),
        cmocka_unit_test(every_field_of_an_event_is_required),
        cmocka_unit_test(values_outside_their_sets_are_refused),
        cmocka_unit_test(fields_may_be_added),
        cmocka_unit_test(hostile_input_gets_an_answer),
        cmocka_unit_test(a_fault_has_line_and_column),
        cmocka_unit_test(errors_are_bounded),
        cmocka_unit_test(deep_or_endless_values_are_refused),
        cmocka_unit_test(a_report_in_kind_or_unkind_order_has_one_digest),
        cmocka_unit_test(a_pipe_is_read_like_a_file),
        cmocka_unit_test(what_is_no_regular_file_is_refused),
        cmocka_unit_test(files_are_hashed_again),
        cmocka_unit_test(outputs_are_hashed_again),
        cmocka_unit_test(hostile_outputs_are_answered),
        cmocka_unit_test(names_that_leave_the_directory_are_not_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
