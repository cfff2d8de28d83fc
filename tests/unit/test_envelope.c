/* Every way in which an envelope, a signature or a statement can be wrong. */
#include "attest_fixture.h"
#include "common/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_fault(struct attested *a, const char *text, size_t len, const char *path)
{
    char first[256];
    if (envelope_is_good(a, text, len, a->key_path, first))
        fail_msg("accepted: %.*s", (int)len, text);
    assert_string_equal(first, path);
}

/* The envelope with one text replaced by another. */
static void expect_fault_after(struct attested *a, const char *old, const char *new,
                               const char *path)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    const char *at = strstr(a->envelope, old);
    assert_non_null(at);
    sr_buf_append(&text, a->envelope, (size_t)(at - a->envelope));
    sr_buf_puts(&text, new);
    sr_buf_puts(&text, at + strlen(old));
    expect_fault(a, text.data, text.len, path);
}

/* An envelope with this payload, signed. */
static void expect_payload_fault(struct attested *a, const char *payload, size_t len,
                                 const char *path)
{
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct sr_error err;
    sr_buf_append(&envelope.payload, payload, len);
    must_succeed(evidence_envelope_sign(&envelope, a->key, &err), &err);
    evidence_envelope_write(&envelope, &text);
    expect_fault(a, text.data, text.len, path);
}

/* The true statement with one text replaced, signed by the right key: the signer lies, or has been
 * given another report's. */
static void expect_statement_fault(struct attested *a, const char *old, const char *new,
                                   const char *path)
{
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf payload = SR_BUF_INIT;
    struct sr_error err;
    must_succeed(evidence_envelope_parse(a->envelope, a->len, &envelope, &err), &err);
    const char *at = strstr(envelope.payload.data, old);
    assert_non_null(at);
    sr_buf_append(&payload, envelope.payload.data, (size_t)(at - envelope.payload.data));
    sr_buf_puts(&payload, new);
    sr_buf_puts(&payload, at + strlen(old));
    expect_payload_fault(a, payload.data, payload.len, path);
}

/* A bit, white space or another character in place of every byte. */
static void every_changed_byte_is_found(void **state)
{
    struct attested *a = *state;
    char *text = malloc(a->len);
    assert_non_null(text);
    for (size_t i = 0; i < a->len; i++) {
        const char old = a->envelope[i];
        const char others[] = {(char)(old ^ 1),
                               (char)(old ^ 2),
                               (char)(old ^ 0x20),
                               (char)(old ^ 0x80),
                               ' ',
                               '\n',
                               '=',
                               'A',
                               '\0'};
        for (size_t k = 0; k < sizeof others; k++) {
            memcpy(text, a->envelope, a->len);
            text[i] = others[k];
            if (others[k] != old && envelope_is_good(a, text, a->len, a->key_path, NULL))
                fail_msg("byte %zu as %02x is accepted", i, (unsigned char)others[k]);
        }
    }
    for (size_t len = 0; len < a->len; len++) /* cut short, and one byte left out */
        assert_false(envelope_is_good(a, a->envelope, len, a->key_path, NULL));
    for (size_t i = 0; i < a->len; i++) {
        memcpy(text, a->envelope, i);
        memcpy(text + i, a->envelope + i + 1, a->len - i - 1);
        if (envelope_is_good(a, text, a->len - 1, a->key_path, NULL))
            fail_msg("byte %zu can be left out", i);
    }
    free(text);
}

static void other_spellings_of_the_same_envelope(void **state)
{
    struct attested *a = *state;
    expect_fault_after(a, "{\"payload\"", "{ \"payload\"", "attestation");
    expect_fault_after(a, "]}\n", "]}", "attestation");
    expect_fault_after(a, "]}\n", "]}\n\n", "attestation");
    expect_fault_after(a, "]}\n", "]}\r\n", "attestation");
    expect_fault_after(a, "\"payload\"", "\"p\\u0061yload\"", "attestation");
    expect_fault_after(a, "\"signatures\"", "\"extra\":1,\"signatures\"", "attestation");
    expect_fault_after(a, ",\"sig\"", ",\"more\":1,\"sig\"", "attestation.signatures[0]");
    expect_fault_after(a, "\"keyid\":\"", "\"keyid\":null,\"n\":\"", "attestation.signatures[0]");
    expect_fault_after(a, "\"payload\":\"", "\"payload\":\"\",\"payload\":\"",
                       "attestation.payload");
    expect_fault_after(a, EVIDENCE_ENVELOPE_PAYLOAD_TYPE, "application/json",
                       "attestation.payloadType");
    expect_fault_after(a, EVIDENCE_ENVELOPE_PAYLOAD_TYPE, "", "attestation.payloadType");
    /* '/' may be escaped in JSON, but not in its canonical form. */
    expect_fault_after(a, "application/", "application\\/", "attestation");
    expect_fault(a, "", 0, "attestation");
    expect_fault(a, "[]\n", 3, "attestation");
    expect_fault(a, "null\n", 5, "attestation");
    static const char empty[] =
        "{\"payload\":\"\",\"payloadType\":\"" EVIDENCE_ENVELOPE_PAYLOAD_TYPE
        "\",\"signatures\":[]}\n";
    expect_fault(a, empty, strlen(empty), "attestation.payload");
    static const char unsigned_one[] =
        "{\"payload\":\"e30=\",\"payloadType\":\"" EVIDENCE_ENVELOPE_PAYLOAD_TYPE
        "\",\"signatures\":[]}\n";
    expect_fault(a, unsigned_one, strlen(unsigned_one), "attestation.signatures");
}

/* DSSE lets a verifier take either alphabet; ours takes the standard one, in one form. */
static void base64_in_other_forms(void **state)
{
    struct attested *a = *state;
    static const char path[] = "attestation.signatures[0].sig";
    char sig[128], changed[160];
    const char *at = strstr(a->envelope, "\"sig\":\"") + 7;
    snprintf(sig, sizeof sig, "%.*s", (int)strcspn(at, "\""), at);
    size_t len = strlen(sig); /* 88: 64 bytes end with two '=' and four bits that encode nothing */
    assert_int_equal(len, 88);
    snprintf(changed, sizeof changed, "%.*s", 86, sig);
    expect_fault_after(a, sig, changed, path); /* no padding */
    snprintf(changed, sizeof changed, "%s=", sig);
    expect_fault_after(a, sig, changed, path);
    snprintf(changed, sizeof changed, "%.*s\\n%s", 76, sig, sig + 76);
    expect_fault_after(a, sig, changed, path); /* lines, as PEM has them */
    snprintf(changed, sizeof changed, "%s", sig);
    changed[85]++; /* the same 64 bytes by a decoder that ignores those bits */
    expect_fault_after(a, sig, changed, path);
    /* The URL-safe alphabet: whichever of the two that differ occurs (one in 4000 has neither). */
    for (size_t i = 0; i < len; i++) {
        if (sig[i] != '+' && sig[i] != '/')
            continue;
        snprintf(changed, sizeof changed, "%s", sig);
        changed[i] = sig[i] == '+' ? '-' : '_';
        expect_fault_after(a, sig, changed, path);
    }
    expect_fault_after(a, "\"payload\":\"ey", "\"payload\":\"e_", "attestation.payload");
}

static void several_signatures(void **state)
{
    struct attested *a = *state;
    struct sr_error err;
    size_t len;
    fixture_write(&a->run, SR_ATTESTATION_FILE, a->envelope, a->len);
    must_succeed(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->other, &err), &err);
    char *both = fixture_read(&a->run, SR_ATTESTATION_FILE, &len);
    must_succeed(evidence_attest(a->run.dir, EVIDENCE_REPORT_FILE, a->key, &err),
                 &err); /* is there already */
    size_t again_len;
    char *again = fixture_read(&a->run, SR_ATTESTATION_FILE, &again_len);
    assert_int_equal(len, again_len);
    assert_memory_equal(both, again, len);

    const char *const keys[] = {a->key_path, a->other_path};
    struct sr_verification result;
    verify_attested(a, keys, 2, &result);
    assert_true(result.valid);
    assert_string_equal(result.checks[result.check_count - 1].note, "");
    sr_verification_free(&result);
    verify_attested(a, keys + 1, 1, &result);
    assert_true(result.valid);
    assert_string_equal(result.checks[result.check_count - 1].note,
                        "1 of 2 signatures are by keys that were not given");
    sr_verification_free(&result);

    /* With both keys given every changed byte of the two signatures is found. */
    char *from = strstr(both, "\"signatures\"");
    for (char *at = from; at < both + len; at++) {
        *at ^= 1;
        fixture_write(&a->run, SR_ATTESTATION_FILE, both, len);
        verify_attested(a, keys, 2, &result);
        assert_false(result.valid);
        sr_verification_free(&result);
        *at ^= 1;
    }
    /* Both must have signed. */
    fixture_write(&a->run, SR_ATTESTATION_FILE, a->envelope, a->len);
    verify_attested(a, keys, 2, &result);
    assert_false(result.valid);
    sr_verification_free(&result);
    free(both);
    free(again);
}

/* An envelope with the true payload and these signatures. */
static void write_signatures(struct attested *a, const char *signatures)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    const char *end = strstr(a->envelope, "[{\"keyid\"");
    sr_buf_append(&text, a->envelope, (size_t)(end - a->envelope));
    sr_buf_printf(&text, "[%s]}\n", signatures);
    fixture_write(&a->run, SR_ATTESTATION_FILE, text.data, text.len);
}

static void what_a_keyid_is_worth(void **state)
{
    struct attested *a = *state;
    struct sr_verification result;
    const char *const keys[] = {a->key_path};
    const char *sig = strstr(a->envelope, "\"sig\"");
    const int sig_len = (int)(strstr(sig, "}") - sig);
    char zeros[128], signatures[1024];
    sr_cleanup_buf struct sr_buf encoded = SR_BUF_INIT;
    const unsigned char no_signature[EVIDENCE_KEY_SIGNATURE_SIZE] = {0};
    sr_base64_encode(&encoded, no_signature, sizeof no_signature);
    snprintf(zeros, sizeof zeros, "\"sig\":\"%s\"", encoded.data);

    /* None: the signature decides. */
    snprintf(signatures, sizeof signatures, "{%.*s}", sig_len, sig);
    write_signatures(a, signatures);
    verify_attested(a, keys, 1, &result);
    assert_true(result.valid);
    sr_verification_free(&result);
    snprintf(signatures, sizeof signatures, "{%s},{%.*s}", zeros, sig_len, sig);
    write_signatures(a, signatures);
    verify_attested(a, keys, 1, &result);
    assert_true(result.valid);
    assert_string_equal(result.checks[result.check_count - 1].note,
                        "1 of 2 signatures are by keys that were not given");
    sr_verification_free(&result);

    /* Another's: it was changed, because nobody signs under another's name. */
    snprintf(signatures, sizeof signatures, "{\"keyid\":\"%s\",%.*s}", evidence_key_id(a->other),
             sig_len, sig);
    write_signatures(a, signatures);
    verify_attested(a, keys, 1, &result);
    assert_false(result.valid);
    assert_string_equal(result.errors[0].path, "attestation.signatures[0].keyid");
    assert_non_null(strstr(result.errors[0].message, evidence_key_id(a->key)));
    assert_non_null(strstr(result.errors[0].message, "its keyid was changed to"));
    sr_verification_free(&result);

    /* The key's own, and it is not the key's: an error, whoever else has signed. */
    snprintf(signatures, sizeof signatures, "{%.*s},{\"keyid\":\"%s\",%s}", sig_len, sig,
             evidence_key_id(a->key), zeros);
    write_signatures(a, signatures);
    verify_attested(a, keys, 1, &result);
    assert_false(result.valid);
    assert_string_equal(result.errors[0].path, "attestation.signatures[1].sig");
    sr_verification_free(&result);

    /* More than are looked at. */
    sr_cleanup_buf struct sr_buf many = SR_BUF_INIT;
    for (int i = 0; i < EVIDENCE_ENVELOPE_MAX_SIGNATURES + 1; i++)
        sr_buf_printf(&many, "%s{%.*s}", i > 0 ? "," : "", sig_len, sig);
    write_signatures(a, many.data);
    verify_attested(a, keys, 1, &result);
    assert_false(result.valid);
    assert_string_equal(result.errors[0].path, "attestation.signatures");
    sr_verification_free(&result);
}

static void a_statement_that_is_not_of_this_report(void **state)
{
    struct attested *a = *state;
    static const char subject[] = "attestation.payload.subject";
    expect_statement_fault(a, "in-toto.io/Statement/v1", "in-toto.io/Statement/v2",
                           "attestation.payload._type");
    expect_statement_fault(a, "attestation/run/v1", "attestation/run/v2",
                           "attestation.payload.predicateType");
    expect_statement_fault(a, "\"name\":\"run_report.json\"", "\"name\":\"another.json\"", subject);
    expect_statement_fault(a, "\"subject\":[", "\"subject\":[],\"other\":[", subject);
    expect_statement_fault(a, "\"subject\":[", "\"subject\":{},\"other\":[", subject);
    expect_statement_fault(a, "\"subject\":[{\"digest\":{\"sha256\":\"",
                           "\"subject\":[{\"digest\":{\"sha256\":\"0",
                           "attestation.payload.subject[0]");
    expect_statement_fault(a, "\"name\":\"events.jsonl\"", "\"name\":\"run_report.json\"",
                           "attestation.payload.subject[1]");
    expect_statement_fault(a, "\"sha256\"", "\"sha512\"", "attestation.payload.subject[0]");
    expect_statement_fault(a, FIXTURE_RUN_ID, "sr-20260102T030405-abc235",
                           "attestation.payload.predicate.run.runId");
    expect_statement_fault(a, "\"cause\":\"workload\"", "\"cause\":\"timeout\"",
                           "attestation.payload.predicate.result.exit");
    expect_statement_fault(a, "\"accel\":\"tcg\"", "\"accel\":\"kvm\"",
                           "attestation.payload.predicate.enforced.assurance");
    expect_statement_fault(a, "\"predicate\":{", "\"predicate\":1,\"x\":{",
                           "attestation.payload.predicate");
    expect_payload_fault(a, "{", 1, "attestation.payload");
    expect_payload_fault(a, "{}{}", 4, "attestation.payload");
    expect_payload_fault(a, "[]", 2, "attestation.payload");
    expect_payload_fault(a, "\xff", 1, "attestation.payload");
    expect_payload_fault(a, "{\"a\":1,\"b\":1,\"a\":2}", 19, "attestation.payload");
    expect_payload_fault(a, "{}", 2, "attestation.payload._type");
}

/* Fields that a later version adds to the predicate, and subjects it adds, are no error. */
static void a_statement_of_a_later_version(void **state)
{
    struct attested *a = *state;
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT,
                                                 later = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct sr_error err;
    must_succeed(evidence_envelope_parse(a->envelope, a->len, &envelope, &err), &err);
    sr_buf_puts(&later.payload, "{ \"new\":{},\"_type\"");
    sr_buf_puts(&later.payload, strstr(envelope.payload.data, "\"_type\"") + 7);
    later.payload.len -= 2; /* "]}" */
    sr_buf_puts(&later.payload, ",{\"name\":\"new\",\"digest\":{\"sha256\":\"00\"}}]}");
    must_succeed(evidence_envelope_sign(&later, a->key, &err), &err);
    evidence_envelope_write(&later, &text);
    assert_true(envelope_is_good(a, text.data, text.len, a->key_path, NULL));

    /* What is at hand of such a subject is compared. */
    fixture_write(&a->run, "new", "new", 3);
    const char *const keys[] = {a->key_path};
    const struct sr_verify_options options = {.dirfd = &a->run.dir,
                                              .artifacts_dir = ".",
                                              .files_may_lack = true,
                                              .attestation_path = SR_ATTESTATION_FILE,
                                              .key_paths = keys,
                                              .key_count = 1};
    sr_cleanup_verification struct sr_verification result = {0};
    must_succeed(
        sr_report_verify(fixture_path(&a->run, EVIDENCE_REPORT_FILE), &options, &result, &err),
        &err);
    assert_false(result.valid);
    assert_string_equal(result.errors[0].path, "attestation.payload.subject[2]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_changed_byte_is_found, open_attested, close_attested),
        cmocka_unit_test_setup_teardown(other_spellings_of_the_same_envelope, open_attested,
                                        close_attested),
        cmocka_unit_test_setup_teardown(base64_in_other_forms, open_attested, close_attested),
        cmocka_unit_test_setup_teardown(several_signatures, open_attested, close_attested),
        cmocka_unit_test_setup_teardown(what_a_keyid_is_worth, open_attested, close_attested),
        cmocka_unit_test_setup_teardown(a_statement_that_is_not_of_this_report, open_attested,
                                        close_attested),
        cmocka_unit_test_setup_teardown(a_statement_of_a_later_version, open_attested,
                                        close_attested),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
