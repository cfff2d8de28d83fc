/* Each file of a run's outputs has its own hash: in the events, in a manifest when there are many,
 * in the statement that is signed. */
#include "session/output_files.h"

#include "evidence/attest.h"
#include "evidence/envelope.h"
#include "evidence_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HI "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"

/* A run with the outputs "one" and "two", which are in its directory already. */
struct outputs_run {
    struct fixture f;
    struct sr_hasher *hasher;
    struct output_files files;
};

static void open_run(struct outputs_run *run)
{
    fixture_open(&run->f);
    run->hasher = sr_hasher_new();
    output_files_init(&run->files, run->f.dir);
    assert_int_equal(mkdirat(run->f.dir, "outputs", 0700), 0);
}

static void close_run(struct outputs_run *run)
{
    output_files_free(&run->files);
    sr_hasher_free(run->hasher);
    fixture_close(&run->f);
}

static void put(struct outputs_run *run, const char *path, const char *text)
{
    char below[512];
    snprintf(below, sizeof below, "outputs/%s", path);
    fixture_write(&run->f, below, text, strlen(text));
}

/* output/0000, ...: each has its number as content. */
static void put_many(struct outputs_run *run, const char *output, unsigned count)
{
    char path[128], text[16];
    snprintf(path, sizeof path, "outputs/%s", output);
    assert_int_equal(mkdirat(run->f.dir, path, 0700), 0);
    for (unsigned i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%04u", output, i);
        snprintf(text, sizeof text, "%u\n", i);
        put(run, path, text);
    }
}

static void list(struct outputs_run *run, uint32_t index, const char *name,
                 struct evidence_output_digest *digest)
{
    struct sr_error err;
    const struct evidence_output_listener listener = {output_files_add, &run->files};
    sr_cleanup_fd int dir = openat(run->f.dir, "outputs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    output_files_begin(&run->files, index, name);
    assert_int_equal(
        evidence_output_digest(dir, name, "p", UINT32_MAX, run->hasher, &listener, digest, &err),
        0);
}

static void append(struct outputs_run *run, uint32_t index, const char *name,
                   const struct evidence_output_digest *digest)
{
    struct sr_error err;
    json_t *payload =
        json_pack("{s:s,s:b,s:I,s:I,s:I,s:I,s:s,s:o*,s:s*}", "name", name, "collected", 1, "files",
                  (json_int_t)digest->files, "directories", (json_int_t)digest->directories,
                  "links", (json_int_t)digest->links, "bytes", (json_int_t)digest->bytes, "hash",
                  digest->hash, "entries", output_files_entries(&run->files, index), "manifest",
                  output_files_manifest(&run->files));
    assert_int_equal(evidence_event_append(run->f.log, EVIDENCE_STAGE_MONITOR,
                                           SR_EVENT_OUTPUT_COLLECTED, payload, &err),
                     0);
}

/* Lists the outputs and writes events and report. */
static void seal(struct outputs_run *run, const char *const *names, uint32_t count)
{
    struct sr_error err;
    struct evidence_output_digest digests[4];
    for (uint32_t i = 0; i < count; i++)
        list(run, i, names[i], &digests[i]);
    assert_int_equal(output_files_end(&run->files, run->hasher, &err), 0);
    assert_int_equal(
        evidence_event_log_create(run->f.dir, FIXTURE_RUN_ID, ALL_EVENTS, &run->f.log, &err), 0);
    for (uint32_t i = 0; i < count; i++)
        append(run, i, names[i], &digests[i]);
    assert_int_equal(evidence_event_append(run->f.log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_FAILED,
                                           fixture_failure("setup"), &err),
                     0);
    struct evidence_report_facts facts = fixture_facts();
    const struct evidence_report_file file = {EVIDENCE_OUTPUT_MANIFEST,
                                              output_files_manifest(&run->files)};
    facts.files = &file;
    facts.file_count = file.hash != NULL;
    facts.policy_hash = NULL;
    facts.cause = "setup";
    facts.guest_spoke = facts.cause_by_guest = facts.status_by_guest = false;
    facts.exit_code = 125;
    facts.code = -1;
    assert_int_equal(evidence_report_write(run->f.dir, &facts, run->f.log, &err), 0);
}

static bool verify(struct outputs_run *run, const struct sr_verify_options *options,
                   char first[400])
{
    struct sr_error err;
    sr_cleanup_verification struct sr_verification result = {0};
    sr_cleanup_fd int report = openat(run->f.dir, EVIDENCE_REPORT_FILE, O_RDONLY | O_CLOEXEC);
    assert_int_equal(sr_report_verify_fd(report, options, &result, &err), 0);
    snprintf(first, 400, "%s", "");
    if (result.error_count > 0)
        snprintf(first, 400, "%s: %s", result.errors[0].path, result.errors[0].message);
    return result.valid;
}

static void expect_valid(struct outputs_run *run)
{
    char first[400];
    const struct sr_verify_options options = {.dirfd = &run->f.dir, .artifacts_dir = "."};
    if (!verify(run, &options, first))
        fail_msg("expected a valid report, found %s", first);
}

static void expect_error(struct outputs_run *run, const char *words)
{
    char first[400];
    const struct sr_verify_options options = {.dirfd = &run->f.dir, .artifacts_dir = "."};
    assert_false(verify(run, &options, first));
    if (strstr(first, words) == NULL)
        fail_msg("expected '%s', found '%s'", words, first);
}

static void few_files_are_in_the_events(void **state)
{
    (void)state;
    static const char *const names[] = {"one", "two"};
    struct outputs_run run;
    open_run(&run);
    assert_int_equal(mkdirat(run.f.dir, "outputs/one", 0700), 0);
    put(&run, "one/a", "hi");
    put(&run, "one/b", "");
    put(&run, "two", "hi"); /* an output that is a file */
    seal(&run, names, 2);
    json_t *entries = output_files_entries(&run.files, 0);
    json_t *expected = json_pack(
        "[{s:s,s:s,s:i},{s:s,s:s,s:i}]", "path", "a", "sha256", "sha256:" HI, "size", 2, "path",
        "b", "sha256", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "size", 0);
    assert_true(json_equal(entries, expected));
    json_decref(entries);
    json_decref(expected);
    assert_int_equal(faccessat(run.f.dir, EVIDENCE_OUTPUT_MANIFEST, F_OK, 0), -1);
    expect_valid(&run);
    put(&run, "two", "ho");
    expect_error(&run, "events[1].payload.entries: outputs/two: expected \"sha256:");
    close_run(&run);
}

static void many_files_are_in_the_manifest(void **state)
{
    (void)state;
    static const char *const names[] = {"one", "two"};
    struct outputs_run run;
    struct sr_error err;
    size_t len;
    open_run(&run);
    put_many(&run, "one", EVIDENCE_OUTPUT_LISTED_MAX);
    put(&run, "two", "hi");
    seal(&run, names, 2);
    assert_null(output_files_entries(&run.files, 0));
    char *manifest = fixture_read(&run.f, EVIDENCE_OUTPUT_MANIFEST, &len);
    const char *last = HI "  two\n";
    assert_string_equal(manifest + len - strlen(last), last);
    size_t lines = 0;
    for (size_t i = 0; i < len; i++)
        lines += manifest[i] == '\n';
    assert_int_equal(lines, EVIDENCE_OUTPUT_LISTED_MAX + 1);
    expect_valid(&run);

    put(&run, "one/0999", "998\n");
    expect_error(&run, "outputs/one: expected sha256:");
    put(&run, "one/0999", "999\n");
    manifest[0] = manifest[0] == '0' ? '1' : '0';
    fixture_write(&run.f, EVIDENCE_OUTPUT_MANIFEST, manifest, len);
    expect_error(&run, "artifacts.files[\"outputs.manifest\"]");
    free(manifest);

    /* One that is there already was made by somebody else, and is not written to. */
    struct evidence_output_file file = {.path = "x"};
    struct output_files second;
    output_files_init(&second, run.f.dir);
    output_files_begin(&second, 0, "one");
    int result = 0;
    for (unsigned i = 0; result == 0 && i <= EVIDENCE_OUTPUT_LISTED_MAX; i++)
        result = output_files_add(&second, &file, &err);
    assert_int_equal(result, -1);
    assert_int_equal(err.code, SR_EVD_001);
    output_files_free(&second);
    close_run(&run);
}

/* The manifest of a report that follows from no files: hashes of events and report agree, the files
 * do not. */
static void a_manifest_that_is_not_of_the_files_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"one"};
    struct outputs_run run;
    open_run(&run);
    put_many(&run, "one", EVIDENCE_OUTPUT_LISTED_MAX + 1);
    struct evidence_output_file more = {.path = "forged", .hash = "sha256:" HI};
    struct sr_error err;
    output_files_begin(&run.files, 0, "none");
    for (unsigned i = 0; i <= EVIDENCE_OUTPUT_LISTED_MAX; i++)
        assert_int_equal(output_files_add(&run.files, &more, &err), 0);
    seal(&run, names, 1);
    expect_error(&run, "outputs.manifest: expected sha256:");
    close_run(&run);
}

static void what_is_dropped_is_in_neither(void **state)
{
    (void)state;
    struct outputs_run run;
    struct evidence_output_digest digest;
    struct sr_error err;
    size_t len;
    open_run(&run);
    put(&run, "first", "hi");
    put_many(&run, "second", EVIDENCE_OUTPUT_LISTED_MAX + 500);
    put(&run, "third", "hi");
    list(&run, 0, "first", &digest);
    list(&run, 1, "second", &digest);
    output_files_drop(&run.files);
    list(&run, 2, "third", &digest);
    assert_int_equal(output_files_end(&run.files, run.hasher, &err), 0);
    char *manifest = fixture_read(&run.f, EVIDENCE_OUTPUT_MANIFEST, &len);
    assert_string_equal(manifest, HI "  first\n" HI "  third\n");
    free(manifest);
    close_run(&run);

    open_run(&run);
    put(&run, "first", "hi");
    list(&run, 0, "first", &digest);
    output_files_drop(&run.files);
    assert_int_equal(run.files.listed, 0);
    json_t *entries = output_files_entries(&run.files, 0);
    assert_int_equal(json_array_size(entries), 0);
    json_decref(entries);
    close_run(&run);
}

/* sha256sum's own way of writing them; a path that is no UTF-8 can be in no event. */
static void names_may_be_any_bytes(void **state)
{
    (void)state;
    struct outputs_run run;
    struct evidence_output_digest digest;
    struct sr_error err;
    size_t len;
    open_run(&run);
    assert_int_equal(mkdirat(run.f.dir, "outputs/o", 0700), 0);
    put(&run, "o/a\\b\nc", "hi");
    put(&run, "o/\xff", "hi");
    list(&run, 0, "o", &digest);
    assert_int_equal(output_files_end(&run.files, run.hasher, &err), 0);
    char *manifest = fixture_read(&run.f, EVIDENCE_OUTPUT_MANIFEST, &len);
    assert_string_equal(manifest, "\\" HI "  o/a\\\\b\\nc\n" HI "  o/\xff\n");
    free(manifest);
    close_run(&run);
}

/* An event stays far below its own limit, however long the paths are. */
static void long_paths_go_to_the_manifest(void **state)
{
    (void)state;
    struct output_files files;
    struct sr_error err;
    struct fixture f;
    char path[4001];
    memset(path, 1, sizeof path - 1); /* six bytes each in JSON */
    path[sizeof path - 1] = '\0';
    struct evidence_output_file file = {.path = path, .hash = "sha256:" HI};
    fixture_open(&f);
    output_files_init(&files, f.dir);
    output_files_begin(&files, 0, "o");
    for (int i = 0; i < 30; i++)
        assert_int_equal(output_files_add(&files, &file, &err), 0);
    assert_true(files.fd >= 0);
    output_files_free(&files);
    fixture_close(&f);
}

static bool has(const char *text, const char *subject)
{
    if (strstr(text, subject) == NULL)
        print_message("%s lacks %s\n", text, subject);
    return strstr(text, subject) != NULL;
}

static void a_statement_has_each_file(void **state)
{
    (void)state;
    static const char *const names[] = {"one", "two"};
    struct outputs_run run;
    struct sr_error err;
    char key_path[128], id[65], first[400];
    size_t len;
    open_run(&run);
    assert_int_equal(mkdirat(run.f.dir, "outputs/one", 0700), 0);
    put(&run, "one/a", "hi");
    put(&run, "two", "hi");
    seal(&run, names, 2);
    sr_cleanup_key struct sr_key *key = NULL;
    snprintf(key_path, sizeof key_path, "%s/key", run.f.path);
    assert_int_equal(evidence_key_generate(key_path, &key, &err), 0);
    if (sr_report_attest(run.f.dir, EVIDENCE_REPORT_FILE, key_path, id, &err) < 0)
        fail_msg("%s: %s", err.path, err.message);
    char *text = fixture_read(&run.f, SR_ATTESTATION_FILE, &len);
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT,
                                                 forged = EVIDENCE_ENVELOPE_INIT;
    assert_int_equal(evidence_envelope_parse(text, len, &envelope, &err), 0);
    char *payload = envelope.payload.data;
    assert_true(has(payload, "{\"digest\":{\"sha256\":\"" HI "\"},\"name\":\"outputs/one/a\"}"));
    assert_true(has(payload, "\"sha256\":\"" HI "\"},\"name\":\"outputs/two\"}"));
    free(text);

    strcat(key_path, ".pub");
    const char *const keys[] = {key_path};
    const struct sr_verify_options options = {.dirfd = &run.f.dir,
                                              .attestation_path = SR_ATTESTATION_FILE,
                                              .key_paths = keys,
                                              .key_count = 1};
    assert_true(verify(&run, &options, first));
    char *digest = strstr(payload, HI);
    digest[0] = digest[0] == '0' ? '1' : '0';
    sr_buf_append(&forged.payload, payload, envelope.payload.len);
    sr_cleanup_buf struct sr_buf signed_text = SR_BUF_INIT;
    assert_int_equal(evidence_envelope_sign(&forged, key, &err), 0);
    evidence_envelope_write(&forged, &signed_text);
    fixture_write(&run.f, SR_ATTESTATION_FILE, signed_text.data, signed_text.len);
    assert_false(verify(&run, &options, first));
    assert_non_null(strstr(first, "outputs/one/a"));
    close_run(&run);
}

/* Outputs that the caller left elsewhere, beside other things. */
static void outputs_may_be_elsewhere(void **state)
{
    (void)state;
    static const char *const names[] = {"two"};
    struct outputs_run run;
    char first[400];
    open_run(&run);
    put(&run, "two", "hi");
    seal(&run, names, 1);
    assert_int_equal(renameat(run.f.dir, "outputs", run.f.dir, "elsewhere"), 0);
    fixture_write(&run.f, "elsewhere/other", "x", 1);
    const struct sr_verify_options options = {.dirfd = &run.f.dir, .outputs_dir = "elsewhere"};
    assert_true(verify(&run, &options, first));
    fixture_write(&run.f, "elsewhere/two", "ho", 2);
    assert_false(verify(&run, &options, first));
    const struct sr_verify_options nowhere = {.dirfd = &run.f.dir, .outputs_dir = "nowhere"};
    assert_false(verify(&run, &nowhere, first));
    close_run(&run);
}

/* What an event says of its files must be so of its own numbers, and its manifest be the
 * report's. */
static void entries_that_cannot_be_are_found_without_the_files(void **state)
{
    (void)state;
    static const struct {
        const char *members, *words;
    } cases[] = {
        {"{\"entries\":[{\"path\":\"a\",\"sha256\":\"sha256:" HI "\",\"size\":3}]}",
         "1 files of 3 bytes"},
        {"{\"entries\":[]}", "0 files of 0 bytes"},
        {"{\"entries\":{}}", "expected an array"},
        {"{\"entries\":[{\"path\":\"a\",\"sha256\":\"" HI "\",\"size\":2}]}", "found another at 0"},
        {"{\"entries\":[{\"path\":1,\"sha256\":\"sha256:" HI "\",\"size\":2}]}",
         "found another at 0"},
        {"{\"entries\":[{\"path\":\"a\",\"sha256\":\"sha256:" HI "\",\"size\":-2}]}",
         "found another at 0"},
        {"{\"manifest\":\"sha256:" HI "\"}", "artifacts.files[\"outputs.manifest\"]"},
        {"{\"manifest\":7}", "is no SHA-256"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct sr_error err;
        fixture_open(&f);
        assert_int_equal(evidence_event_log_create(f.dir, FIXTURE_RUN_ID, ALL_EVENTS, &f.log, &err),
                         0);
        json_t *payload =
            json_pack("{s:s,s:b,s:i,s:i,s:i,s:i,s:s}", "name", "out", "collected", 1, "files", 1,
                      "directories", 0, "links", 0, "bytes", 2, "hash", "sha256:" HI);
        json_t *more = json_loads(cases[i].members, 0, NULL);
        assert_int_equal(json_object_update(payload, more), 0);
        json_decref(more);
        assert_int_equal(evidence_event_append(f.log, EVIDENCE_STAGE_MONITOR,
                                               SR_EVENT_OUTPUT_COLLECTED, payload, &err),
                         0);
        assert_int_equal(evidence_event_append(f.log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_FAILED,
                                               fixture_failure("setup"), &err),
                         0);
        struct evidence_report_facts facts = fixture_facts();
        facts.policy_hash = NULL;
        facts.cause = "setup";
        facts.guest_spoke = facts.cause_by_guest = facts.status_by_guest = false;
        facts.exit_code = 125;
        facts.code = -1;
        assert_int_equal(evidence_report_write(f.dir, &facts, f.log, &err), 0);
        sr_cleanup_verification struct sr_verification result = {0};
        sr_cleanup_fd int report = openat(f.dir, EVIDENCE_REPORT_FILE, O_RDONLY | O_CLOEXEC);
        assert_int_equal(sr_report_verify_fd(report, NULL, &result, &err), 0);
        char first[400] = "";
        if (result.error_count > 0)
            snprintf(first, sizeof first, "%s: %s", result.errors[0].path,
                     result.errors[0].message);
        if (result.valid || strstr(first, cases[i].words) == NULL)
            fail_msg("%s: expected '%s', found '%s'", cases[i].members, cases[i].words, first);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_files_are_in_the_events),
        cmocka_unit_test(many_files_are_in_the_manifest),
        cmocka_unit_test(a_manifest_that_is_not_of_the_files_is_found),
        cmocka_unit_test(what_is_dropped_is_in_neither),
        cmocka_unit_test(names_may_be_any_bytes),
        cmocka_unit_test(long_paths_go_to_the_manifest),
        cmocka_unit_test(a_statement_has_each_file),
        cmocka_unit_test(outputs_may_be_elsewhere),
        cmocka_unit_test(entries_that_cannot_be_are_found_without_the_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
