/* Making attestations, and checking them with what lies beside a report. */
#include "attest_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static void a_signed_report_is_valid(void **state)
{
    struct attested *a = *state;
    char first[256];
    assert_true(envelope_is_good(a, a->envelope, a->len, a->key_path, NULL));
    assert_false(envelope_is_good(a, a->envelope, a->len, a->other_path, first));
    assert_string_equal(first, "attestation.signatures");
}

static void a_report_that_changed_since(void **state)
{
    struct attested *a = *state;
    struct sr_error err;
    size_t len;
    char *report = fixture_read(&a->run, EVIDENCE_REPORT_FILE, &len);
    sr_cleanup_buf struct sr_buf more = SR_BUF_INIT;
    sr_buf_append(&more, report, len);
    sr_buf_putc(&more, '\n');
    fixture_write(&a->run, SR_ATTESTATION_FILE, a->envelope, a->len);
    fixture_write(&a->run, EVIDENCE_REPORT_FILE, more.data, more.len);
    sr_cleanup_verification struct sr_verification result;
    const char *const keys[] = {a->key_path};
    verify_attested(a, keys, 1, &result);
    assert_false(result.valid);
    assert_false(result.checks[result.check_count - 1].ok);
    /* ... cannot be attested either. */
    unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
    assert_int_equal(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_302);
    assert_int_equal(faccessat(a->run.dir, SR_ATTESTATION_FILE, F_OK, 0), -1);
    free(report);
}

static void what_is_not_attested(void **state)
{
    struct attested *a = *state;
    struct sr_error err;
    size_t len;
    char *events = fixture_read(&a->run, EVIDENCE_EVENTS_FILE, &len);
    unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
    fixture_write(&a->run, EVIDENCE_EVENTS_FILE, events, len - 1); /* other events lie beside it */
    assert_int_equal(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_303);
    fixture_write(&a->run, EVIDENCE_EVENTS_FILE, events, len);
    fixture_write(&a->run, "policy.json", "{}", 2); /* another policy does */
    assert_int_equal(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_302);
    fixture_write(&a->run, "policy.json", FIXTURE_POLICY, strlen(FIXTURE_POLICY));
    assert_int_equal(evidence_attest(a->run.dir, "none.json", a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_002);
    assert_int_equal(faccessat(a->run.dir, SR_ATTESTATION_FILE, F_OK, 0), -1);

    fixture_write(&a->run, SR_ATTESTATION_FILE, "{}\n", 3); /* somebody's file is not overwritten */
    assert_int_equal(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_304);
    unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
    must_succeed(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->key, &err), &err);
    unlinkat(a->run.dir, EVIDENCE_EVENTS_FILE,
             0); /* the statement would be another without events */
    assert_int_equal(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->other, &err), -1);
    assert_int_equal(err.code, SR_EVD_304);
    free(events);
}

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static size_t count_files(const struct fixture *run)
{
    size_t count = 0;
    DIR *dir = opendir(run->path);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* The disk is full at every byte of it: there is no attestation, or the one there was. */
static void an_attestation_is_there_whole_or_not_at_all(void **state)
{
    struct attested *a = *state;
    struct sr_error err;
    signal(SIGXFSZ, SIG_IGN);
    for (int existing = 0; existing <= 1; existing++) {
        unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
        if (existing)
            fixture_write(&a->run, SR_ATTESTATION_FILE, a->envelope, a->len);
        size_t files = count_files(&a->run);
        for (size_t bytes = 0; bytes < a->len; bytes += 13) {
            limit_file_size(bytes);
            int result = evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE,
                                         existing ? a->other : a->key, &err);
            limit_file_size(RLIM_INFINITY);
            assert_int_equal(result, -1);
            assert_int_equal(err.code, SR_EVD_002);
            assert_string_equal(err.path, "attestation");
            assert_int_equal(count_files(&a->run), files);
        }
        assert_true(!existing || envelope_is_good(a, a->envelope, a->len, a->key_path, NULL));
    }
}

/* In a directory that others can write to, the temporary file's name may lead to what is not
 * ours. */
static void a_link_under_the_temporary_name_is_not_followed(void **state)
{
    struct attested *a = *state;
    struct sr_error err;
    char temporary[64];
    size_t len;
    snprintf(temporary, sizeof temporary, "." SR_ATTESTATION_FILE ".%d", (int)getpid());
    fixture_write(&a->run, "victim", "precious", 8);
    assert_int_equal(linkat(a->run.dir, "victim", a->run.dir, temporary, 0), 0);
    must_succeed(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->other, &err), &err);
    assert_int_equal(symlinkat("victim", a->run.dir, temporary), 0);
    unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
    must_succeed(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->key, &err), &err);
    char *victim = fixture_read(&a->run, "victim", &len);
    assert_string_equal(victim, "precious");
    free(victim);
}

static void keys_and_files_that_cannot_be_read(void **state)
{
    struct attested *a = *state;
    static const struct {
        const char *attestation, *key;
        enum sr_code code;
        const char *path;
    } cases[] = {
        {"none", NULL, SR_EVD_002, "attestation"},
        {"/dev/zero", NULL, SR_EVD_002, "attestation"},
        {".", NULL, SR_EVD_002, "attestation"},
        {"large", NULL, SR_EVD_002, "attestation"},
        {SR_ATTESTATION_FILE, "/none", SR_EVD_003, "key"},
        {SR_ATTESTATION_FILE, "/dev/null", SR_EVD_003, "key"},
    };
    fixture_write(&a->run, SR_ATTESTATION_FILE, a->envelope, a->len);
    fixture_write(&a->run, "large", "", 0);
    assert_int_equal(truncate(fixture_path(&a->run, "large"), (off_t)EVIDENCE_ENVELOPE_MAX + 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *key = cases[i].key != NULL ? cases[i].key : a->key_path;
        const struct sr_verify_options options = {.dirfd = &a->run.dir,
                                                  .attestation_path = cases[i].attestation,
                                                  .key_paths = &key,
                                                  .key_count = 1};
        sr_cleanup_verification struct sr_verification result = {0};
        struct sr_error err;
        must_succeed(
            sr_report_verify(fixture_path(&a->run, EVIDENCE_REPORT_FILE), &options, &result, &err),
            &err);
        assert_false(result.valid);
        assert_int_equal(result.errors[0].code, cases[i].code);
        assert_string_equal(result.errors[0].path, cases[i].path);
    }
    /* No key at all is no answer either. */
    sr_cleanup_verification struct sr_verification result;
    verify_attested(a, NULL, 0, &result);
    assert_false(result.valid);
    assert_int_equal(result.errors[0].code, SR_EVD_003);
}

/* Golden: by a second implementation, valid for ever; and what we write today is the same bytes. */
static void the_golden_attestation(void **state)
{
    (void)state;
    static const char *const files[] = {"run_report.json", "events.jsonl", "policy.json",
                                        "stdout.log", "signer.pem"};
    const char *golden = getenv("SR_GOLDEN");
    char path[512], key_path[512], id[EVIDENCE_KEY_ID_SIZE];
    struct fixture from = {.log = NULL}, run;
    struct sr_error err;
    assert_non_null(golden);
    snprintf(path, sizeof path, "%s/attestation", golden);
    from.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(from.dir >= 0);
    snprintf(key_path, sizeof key_path, "%s/signer.pem.pub", path);
    const char *const keys[] = {key_path};
    const struct sr_verify_options options = {.dirfd = &from.dir,
                                              .events_path = "events.jsonl",
                                              .attestation_path = SR_ATTESTATION_FILE,
                                              .key_paths = keys,
                                              .key_count = 1};
    sr_cleanup_verification struct sr_verification result = {0};
    snprintf(path, sizeof path, "%s/attestation/run_report.json", golden);
    must_succeed(sr_report_verify(path, &options, &result, &err), &err);
    assert_true(result.valid);

    fixture_open(&run);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t len;
        char *text = fixture_read(&from, files[i], &len);
        fixture_write(&run, files[i], text, len);
        free(text);
    }
    must_succeed(
        sr_report_attest(run.dir, "run_report.json", fixture_path(&run, "signer.pem"), id, &err),
        &err);
    size_t len, expected_len;
    char *made = fixture_read(&run, SR_ATTESTATION_FILE, &len);
    char *expected = fixture_read(&from, SR_ATTESTATION_FILE, &expected_len);
    assert_string_equal(made, expected);
    assert_non_null(strstr(made, id));

    /* An output's hash is the one that its event tells. */
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT,
                                                 forged = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_cleanup_key struct sr_key *key = NULL;
    must_succeed(evidence_envelope_parse(made, len, &envelope, &err), &err);
    char *digest = strstr(envelope.payload.data, "\"safeRunOutputV1\":\"");
    assert_non_null(digest);
    digest[20] = digest[20] == '0' ? '1' : '0';
    sr_buf_append(&forged.payload, envelope.payload.data, envelope.payload.len);
    must_succeed(evidence_key_load_private(fixture_path(&run, "signer.pem"), &key, &err), &err);
    must_succeed(evidence_envelope_sign(&forged, key, &err), &err);
    evidence_envelope_write(&forged, &text);
    fixture_write(&run, SR_ATTESTATION_FILE, text.data, text.len);
    const struct sr_verify_options beside = {.dirfd = &run.dir,
                                             .attestation_path = SR_ATTESTATION_FILE,
                                             .key_paths = keys,
                                             .key_count = 1};
    sr_cleanup_verification struct sr_verification judged = {0};
    must_succeed(sr_report_verify(path, &beside, &judged, &err), &err);
    assert_false(judged.valid);
    assert_string_equal(judged.errors[0].path, "attestation.payload.subject[5]");
    free(made);
    free(expected);
    fixture_close(&run);
    close(from.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_signed_report_is_valid, open_attested, close_attested),
        cmocka_unit_test_setup_teardown(a_report_that_changed_since, open_attested, close_attested),
        cmocka_unit_test_setup_teardown(what_is_not_attested, open_attested, close_attested),
        cmocka_unit_test_setup_teardown(an_attestation_is_there_whole_or_not_at_all, open_attested,
                                        close_attested),
        cmocka_unit_test_setup_teardown(a_link_under_the_temporary_name_is_not_followed,
                                        open_attested, close_attested),
        cmocka_unit_test_setup_teardown(keys_and_files_that_cannot_be_read, open_attested,
                                        close_attested),
        cmocka_unit_test(the_golden_attestation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
