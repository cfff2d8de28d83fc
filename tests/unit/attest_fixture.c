#include "attest_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void must_succeed(int result, const struct sr_error *err)
{
    if (result < 0)
        fail_msg("%s %s: %s", sr_code_name(err->code), err->path, err->message);
}

int open_attested(void **state)
{
    static struct attested a;
    struct sr_error err;
    fixture_open(&a.run);
    fixture_report(&a.run, 2);
    must_succeed(evidence_key_generate(fixture_path(&a.run, "one"), &a.key, &err), &err);
    must_succeed(evidence_key_generate(fixture_path(&a.run, "two"), &a.other, &err), &err);
    snprintf(a.key_path, sizeof a.key_path, "%s/one.pub", a.run.path);
    snprintf(a.other_path, sizeof a.other_path, "%s/two.pub", a.run.path);
    must_succeed(evidence_attest(a.run.dir, EVIDENCE_REPORT_FILE, a.key, &err), &err);
    a.envelope = fixture_read(&a.run, SR_ATTESTATION_FILE, &a.len);
    *state = &a;
    return 0;
}

int close_attested(void **state)
{
    struct attested *a = *state;
    free(a->envelope);
    evidence_key_free(a->key);
    evidence_key_free(a->other);
    fixture_close(&a->run);
    return 0;
}

void verify_attested(struct attested *a, const char *const *keys, size_t count,
                     struct sr_verification *result)
{
    const struct sr_verify_options options = {
        .dirfd = &a->run.dir,
        .events_path = EVIDENCE_EVENTS_FILE,
        .attestation_path = SR_ATTESTATION_FILE,
        .key_paths = keys,
        .key_count = count,
    };
    struct sr_error err;
    memset(result, 0, sizeof *result);
    must_succeed(
        sr_report_verify(fixture_path(&a->run, EVIDENCE_REPORT_FILE), &options, result, &err),
        &err);
    assert_string_equal(result->checks[result->check_count - 1].name, "signature");
}

bool envelope_is_good(struct attested *a, const char *text, size_t len, const char *key,
                      char first[256])
{
    sr_cleanup_verification struct sr_verification result = {0};
    const char *const keys[] = {key};
    fixture_write(&a->run, SR_ATTESTATION_FILE, text, len);
    verify_attested(a, keys, 1, &result);
    const struct sr_report_check *check = &result.checks[result.check_count - 1];
    assert_int_equal(check->ok, result.valid);
    assert_int_equal(check->ok, result.error_count == 0);
    if (first != NULL)
        snprintf(first, 256, "%s", result.error_count > 0 ? result.errors[0].path : "");
    return check->ok;
}
