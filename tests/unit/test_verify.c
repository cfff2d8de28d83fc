#include "evidence_fixture.h"
#include "jcs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char *read_golden(const char *name, size_t *len)
{
    const char *dir = getenv("SR_GOLDEN");
    char path[512];
    assert_non_null(dir);
    snprintf(path, sizeof path, "%s/report/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    char *text = size < 0 ? NULL : malloc((size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)size, 0), size);
    text[size] = '\0';
    close(fd);
    *len = (size_t)size;
    return text;
}

static bool is_valid(const char *text, size_t len)
{
    sr_cleanup_verification struct sr_verification result;
    fixture_verify(text, len, NULL, &result);
    assert_true(result.valid || result.error_count > 0);
    return result.valid;
}

/* -1: the check was not made. */
static int outcome(const struct sr_verification *result, const char *check)
{
    for (size_t i = 0; i < result->check_count; i++)
        if (strcmp(result->checks[i].name, check) == 0)
            return result->checks[i].ok;
    return -1;
}

static void expect_error(const struct sr_verification *result, enum sr_code code, const char *path)
{
    for (size_t i = 0; i < result->error_count; i++)
        if (result->errors[i].code == code && strcmp(result->errors[i].path, path) == 0)
            return;
    for (size_t i = 0; i < result->error_count; i++)
        print_error("%s %s: %s\n", sr_code_name(result->errors[i].code), result->errors[i].path,
                    result->errors[i].message);
    fail_msg("no %s at %s", sr_code_name(code), path);
}

static void reports_of_every_generation_verify(void **state)
{
    (void)state;
    static const char *const names[] = {"minimal.json", "unix-time.json", "pretty.json",
                                        "archived.json", "sealed.json"};
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
    snprintf(events, sizeof events, "%s", fixture_path(&f, SR_EVENTS_FILE));
    fixture_write(&f, "policy.json", FIXTURE_POLICY, strlen(FIXTURE_POLICY));
    struct sr_verify_options options = {.events_path = events, .artifacts_dir = f.path};
    sr_cleanup_verification struct sr_verification result = {0};
    struct sr_error err;
    assert_int_equal(sr_report_verify(fixture_path(&f, SR_REPORT_FILE), &options, &result, &err),
                     0);
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

static json_t *load_sealed(void)
{
    size_t len;
    char *text = read_golden("sealed.json", &len);
    json_t *report = json_loadb(text, len, 0, NULL);
    assert_non_null(report);
    free(text);
    return report;
}

/* Makes chain and digest right again and verifies. Takes report. */
static void verify_resealed(json_t *report, struct sr_verification *result)
{
    struct sr_hasher *hasher = sr_hasher_new();
    char hash[SR_SHA256_TEXT] = SR_HASH_ZERO;
    size_t i;
    json_t *event;
    json_array_foreach(json_object_get(report, "events"), i, event)
    {
        sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
        json_object_set_new(event, "hashPrev", json_string(hash));
        static const char *const parts[] = {"hashPrev", "timestamp", "runId", "stage", "type"};
        for (size_t k = 0; k < 5; k++)
            sr_buf_printf(&text, "%s|", json_string_value(json_object_get(event, parts[k])));
        sr_jcs_value(&text, json_object_get(event, "payload"));
        assert_int_equal(sr_sha256(hasher, text.data, text.len, hash), 0);
        json_object_set_new(event, "hashSelf", json_string(hash));
    }
    json_t *integrity = json_object_get(report, "integrity");
    json_object_set_new(integrity, "digest", json_string(""));
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_jcs_value(&text, report);
    assert_int_equal(sr_sha256(hasher, text.data, text.len, hash), 0);
    json_object_set_new(integrity, "digest", json_string(hash));
    text.len = 0;
    sr_jcs_value(&text, report);
    sr_buf_putc(&text, '\n');
    fixture_verify(text.data, text.len, NULL, result);
    sr_hasher_free(hasher);
    json_decref(report);
}

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
    json_object_set_new(json_object_get(report, "exit"), "observedBy", json_string("host"));
    json_object_set_new(json_array_get(json_object_get(report, "events"), 1), "observedBy",
                        json_string("host"));
    sr_cleanup_verification struct sr_verification result;
    verify_resealed(report, &result);
    assert_true(result.valid);
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
    assert_int_equal(sr_report_verify(fixture_path(f, SR_REPORT_FILE), &options, result, &err), 0);
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
    assert_int_equal(sr_policy_hash(hasher, FIXTURE_POLICY, strlen(FIXTURE_POLICY), policy), 0);
    sr_hasher_free(hasher);
    fixture_open(&f);
    fixture_events(&f, 1);
    struct sr_report_facts facts = fixture_facts();
    struct sr_report_file files[] = {{"outputs/a", out}, {"stdout.log", out}};
    facts.kernel_hash = kernel;
    facts.policy_hash = policy;
    facts.files = files;
    facts.file_count = 2;
    assert_int_equal(sr_report_write(f.dir, &facts, f.log, &err), 0);

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
    struct sr_report_facts facts = fixture_facts();
    struct sr_report_file files[] = {
        {"../../etc/passwd", SR_HASH_ZERO}, {"/etc/passwd", SR_HASH_ZERO}, {"dev", SR_HASH_ZERO}};
    facts.files = files;
    facts.file_count = 3;
    assert_int_equal(sr_report_write(f.dir, &facts, f.log, &err), 0);
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
        cmocka_unit_test(every_field_of_the_contract_is_required),
        cmocka_unit_test(every_field_of_an_event_is_required),
        cmocka_unit_test(values_outside_their_sets_are_refused),
        cmocka_unit_test(fields_may_be_added),
        cmocka_unit_test(a_report_of_an_older_writer_is_judged_by_value),
        cmocka_unit_test(hostile_input_gets_an_answer),
        cmocka_unit_test(a_fault_has_line_and_column),
        cmocka_unit_test(errors_are_bounded),
        cmocka_unit_test(deep_or_endless_values_are_refused),
        cmocka_unit_test(a_report_in_kind_or_unkind_order_has_one_digest),
        cmocka_unit_test(a_pipe_is_read_like_a_file),
        cmocka_unit_test(what_is_no_regular_file_is_refused),
        cmocka_unit_test(files_are_hashed_again),
        cmocka_unit_test(names_that_leave_the_directory_are_not_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
