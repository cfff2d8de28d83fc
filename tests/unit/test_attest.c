/* Attestations: made, checked, and every way in which one can be wrong. */
#include "attest.h"

#include "base64.h"
#include "evidence_fixture.h"

#include <dirent.h>
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

/* A run directory with a report, two keys, and the report's attestation by the first. */
struct attested {
    struct fixture run;
    struct sr_key *key, *other;
    char key_path[96], other_path[96]; /* public halves */
    char *envelope;
    size_t len;
};

static void must(int result, const struct sr_error *err)
{
    if (result < 0)
        fail_msg("%s %s: %s", sr_code_name(err->code), err->path, err->message);
}

static int open_attested(void **state)
{
    static struct attested a;
    struct sr_error err;
    fixture_open(&a.run);
    fixture_report(&a.run, 2);
    must(sr_key_generate(fixture_path(&a.run, "one"), &a.key, &err), &err);
    must(sr_key_generate(fixture_path(&a.run, "two"), &a.other, &err), &err);
    snprintf(a.key_path, sizeof a.key_path, "%s/one.pub", a.run.path);
    snprintf(a.other_path, sizeof a.other_path, "%s/two.pub", a.run.path);
    must(sr_attest(a.run.dir, SR_REPORT_FILE, a.key, &err), &err);
    a.envelope = fixture_read(&a.run, SR_ATTESTATION_FILE, &a.len);
    *state = &a;
    return 0;
}

static int close_attested(void **state)
{
    struct attested *a = *state;
    free(a->envelope);
    sr_key_free(a->key);
    sr_key_free(a->other);
    fixture_close(&a->run);
    return 0;
}

/* Verifies the report with what lies beside it and these keys. */
static void verify(struct attested *a, const char *const *keys, size_t count,
                   struct sr_verification *result)
{
    const struct sr_verify_options options = {
        .dirfd = &a->run.dir,
        .events_path = SR_EVENTS_FILE,
        .attestation_path = SR_ATTESTATION_FILE,
        .key_paths = keys,
        .key_count = count,
    };
    struct sr_error err;
    memset(result, 0, sizeof *result);
    must(sr_report_verify(fixture_path(&a->run, SR_REPORT_FILE), &options, result, &err), &err);
    assert_string_equal(result->checks[result->check_count - 1].name, "signature");
}

/* The one check that is about the envelope; with *first the first error's place. */
static bool is_good(struct attested *a, const char *text, size_t len, const char *key,
                    char first[256])
{
    sr_cleanup_verification struct sr_verification result = {0};
    const char *const keys[] = {key};
    fixture_write(&a->run, SR_ATTESTATION_FILE, text, len);
    verify(a, keys, 1, &result);
    const struct sr_report_check *check = &result.checks[result.check_count - 1];
    assert_int_equal(check->ok, result.valid);
    assert_int_equal(check->ok, result.error_count == 0);
    if (first != NULL)
        snprintf(first, 256, "%s", result.error_count > 0 ? result.errors[0].path : "");
    return check->ok;
}

static void expect_fault(struct attested *a, const char *text, size_t len, const char *path)
{
    char first[256];
    if (is_good(a, text, len, a->key_path, first))
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
    sr_cleanup_envelope struct sr_envelope envelope = SR_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct sr_error err;
    sr_buf_append(&envelope.payload, payload, len);
    must(sr_envelope_sign(&envelope, a->key, &err), &err);
    sr_envelope_write(&envelope, &text);
    expect_fault(a, text.data, text.len, path);
}

/* The true statement with one text replaced, signed by the right key: the signer lies, or has been
 * given another report's. */
static void expect_statement_fault(struct attested *a, const char *old, const char *new,
                                   const char *path)
{
    sr_cleanup_envelope struct sr_envelope envelope = SR_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf payload = SR_BUF_INIT;
    struct sr_error err;
    must(sr_envelope_parse(a->envelope, a->len, &envelope, &err), &err);
    const char *at = strstr(envelope.payload.data, old);
    assert_non_null(at);
    sr_buf_append(&payload, envelope.payload.data, (size_t)(at - envelope.payload.data));
    sr_buf_puts(&payload, new);
    sr_buf_puts(&payload, at + strlen(old));
    expect_payload_fault(a, payload.data, payload.len, path);
}

static void a_signed_report_is_valid(void **state)
{
    struct attested *a = *state;
    char first[256];
    assert_true(is_good(a, a->envelope, a->len, a->key_path, NULL));
    assert_false(is_good(a, a->envelope, a->len, a->other_path, first));
    assert_string_equal(first, "attestation.signatures");
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
            if (others[k] != old && is_good(a, text, a->len, a->key_path, NULL))
                fail_msg("byte %zu as %02x is accepted", i, (unsigned char)others[k]);
        }
    }
    for (size_t len = 0; len < a->len; len++) /* cut short, and one byte left out */
        assert_false(is_good(a, a->envelope, len, a->key_path, NULL));
    for (size_t i = 0; i < a->len; i++) {
        memcpy(text, a->envelope, i);
        memcpy(text + i, a->envelope + i + 1, a->len - i - 1);
        if (is_good(a, text, a->len - 1, a->key_path, NULL))
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
    expect_fault_after(a, SR_ENVELOPE_PAYLOAD_TYPE, "application/json", "attestation.payloadType");
    expect_fault_after(a, SR_ENVELOPE_PAYLOAD_TYPE, "", "attestation.payloadType");
    /* '/' may be escaped in JSON, but not in its canonical form. */
    expect_fault_after(a, "application/", "application\\/", "attestation");
    expect_fault(a, "", 0, "attestation");
    expect_fault(a, "[]\n", 3, "attestation");
    expect_fault(a, "null\n", 5, "attestation");
    static const char empty[] =
        "{\"payload\":\"\",\"payloadType\":\"" SR_ENVELOPE_PAYLOAD_TYPE "\",\"signatures\":[]}\n";
    expect_fault(a, empty, strlen(empty), "attestation.payload");
    static const char unsigned_one[] =
        "{\"payload\":\"e30=\",\"payloadType\":\"" SR_ENVELOPE_PAYLOAD_TYPE
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
    must(sr_attest(a->run.dir, SR_REPORT_FILE, a->other, &err), &err);
    char *both = fixture_read(&a->run, SR_ATTESTATION_FILE, &len);
    must(sr_attest(a->run.dir, SR_REPORT_FILE, a->key, &err), &err); /* is there already */
    size_t again_len;
    char *again = fixture_read(&a->run, SR_ATTESTATION_FILE, &again_len);
    assert_int_equal(len, again_len);
    assert_memory_equal(both, again, len);

    const char *const keys[] = {a->key_path, a->other_path};
    struct sr_verification result;
    verify(a, keys, 2, &result);
    assert_true(result.valid);
    assert_string_equal(result.checks[result.check_count - 1].note, "");
    sr_verification_free(&result);
    verify(a, keys + 1, 1, &result);
    assert_true(result.valid);
    assert_string_equal(result.checks[result.check_count - 1].note,
                        "1 of 2 signatures are by keys that were not given");
    sr_verification_free(&result);

    /* With both keys given every changed byte of the two signatures is found. */
    char *from = strstr(both, "\"signatures\"");
    for (char *at = from; at < both + len; at++) {
        *at ^= 1;
        fixture_write(&a->run, SR_ATTESTATION_FILE, both, len);
        verify(a, keys, 2, &result);
        assert_false(result.valid);
        sr_verification_free(&result);
        *at ^= 1;
    }
    /* Both must have signed. */
    fixture_write(&a->run, SR_ATTESTATION_FILE, a->envelope, a->len);
    verify(a, keys, 2, &result);
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
    const unsigned char no_signature[SR_KEY_SIGNATURE_SIZE] = {0};
    sr_base64_encode(&encoded, no_signature, sizeof no_signature);
    snprintf(zeros, sizeof zeros, "\"sig\":\"%s\"", encoded.data);

    /* None: the signature decides. */
    snprintf(signatures, sizeof signatures, "{%.*s}", sig_len, sig);
    write_signatures(a, signatures);
    verify(a, keys, 1, &result);
    assert_true(result.valid);
    sr_verification_free(&result);
    snprintf(signatures, sizeof signatures, "{%s},{%.*s}", zeros, sig_len, sig);
    write_signatures(a, signatures);
    verify(a, keys, 1, &result);
    assert_true(result.valid);
    assert_string_equal(result.checks[result.check_count - 1].note,
                        "1 of 2 signatures are by keys that were not given");
    sr_verification_free(&result);

    /* Another's: it is that one's, whatever it is. */
    snprintf(signatures, sizeof signatures, "{\"keyid\":\"%s\",%.*s}", sr_key_id(a->other), sig_len,
             sig);
    write_signatures(a, signatures);
    verify(a, keys, 1, &result);
    assert_false(result.valid);
    sr_verification_free(&result);

    /* The key's own, and it is not the key's: an error, whoever else has signed. */
    snprintf(signatures, sizeof signatures, "{%.*s},{\"keyid\":\"%s\",%s}", sig_len, sig,
             sr_key_id(a->key), zeros);
    write_signatures(a, signatures);
    verify(a, keys, 1, &result);
    assert_false(result.valid);
    assert_string_equal(result.errors[0].path, "attestation.signatures[1].sig");
    sr_verification_free(&result);

    /* More than are looked at. */
    sr_cleanup_buf struct sr_buf many = SR_BUF_INIT;
    for (int i = 0; i < SR_ENVELOPE_MAX_SIGNATURES + 1; i++)
        sr_buf_printf(&many, "%s{%.*s}", i > 0 ? "," : "", sig_len, sig);
    write_signatures(a, many.data);
    verify(a, keys, 1, &result);
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
    sr_cleanup_envelope struct sr_envelope envelope = SR_ENVELOPE_INIT, later = SR_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct sr_error err;
    must(sr_envelope_parse(a->envelope, a->len, &envelope, &err), &err);
    sr_buf_puts(&later.payload, "{ \"new\":{},\"_type\"");
    sr_buf_puts(&later.payload, strstr(envelope.payload.data, "\"_type\"") + 7);
    later.payload.len -= 2; /* "]}" */
    sr_buf_puts(&later.payload, ",{\"name\":\"new\",\"digest\":{\"sha256\":\"00\"}}]}");
    must(sr_envelope_sign(&later, a->key, &err), &err);
    sr_envelope_write(&later, &text);
    assert_true(is_good(a, text.data, text.len, a->key_path, NULL));

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
    must(sr_report_verify(fixture_path(&a->run, SR_REPORT_FILE), &options, &result, &err), &err);
    assert_false(result.valid);
    assert_string_equal(result.errors[0].path, "attestation.payload.subject[2]");
}

static void a_report_that_changed_since(void **state)
{
    struct attested *a = *state;
    struct sr_error err;
    size_t len;
    char *report = fixture_read(&a->run, SR_REPORT_FILE, &len);
    sr_cleanup_buf struct sr_buf more = SR_BUF_INIT;
    sr_buf_append(&more, report, len);
    sr_buf_putc(&more, '\n');
    fixture_write(&a->run, SR_ATTESTATION_FILE, a->envelope, a->len);
    fixture_write(&a->run, SR_REPORT_FILE, more.data, more.len);
    sr_cleanup_verification struct sr_verification result;
    const char *const keys[] = {a->key_path};
    verify(a, keys, 1, &result);
    assert_false(result.valid);
    assert_false(result.checks[result.check_count - 1].ok);
    /* ... cannot be attested either. */
    unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
    assert_int_equal(sr_attest(a->run.dir, SR_REPORT_FILE, a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_302);
    assert_int_equal(faccessat(a->run.dir, SR_ATTESTATION_FILE, F_OK, 0), -1);
    free(report);
}

static void what_is_not_attested(void **state)
{
    struct attested *a = *state;
    struct sr_error err;
    size_t len;
    char *events = fixture_read(&a->run, SR_EVENTS_FILE, &len);
    unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
    fixture_write(&a->run, SR_EVENTS_FILE, events, len - 1); /* other events lie beside it */
    assert_int_equal(sr_attest(a->run.dir, SR_REPORT_FILE, a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_303);
    fixture_write(&a->run, SR_EVENTS_FILE, events, len);
    fixture_write(&a->run, "policy.json", "{}", 2); /* another policy does */
    assert_int_equal(sr_attest(a->run.dir, SR_REPORT_FILE, a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_302);
    fixture_write(&a->run, "policy.json", FIXTURE_POLICY, strlen(FIXTURE_POLICY));
    assert_int_equal(sr_attest(a->run.dir, "none.json", a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_002);
    assert_int_equal(faccessat(a->run.dir, SR_ATTESTATION_FILE, F_OK, 0), -1);

    fixture_write(&a->run, SR_ATTESTATION_FILE, "{}\n", 3); /* somebody's file is not overwritten */
    assert_int_equal(sr_attest(a->run.dir, SR_REPORT_FILE, a->key, &err), -1);
    assert_int_equal(err.code, SR_EVD_304);
    unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
    must(sr_attest(a->run.dir, SR_REPORT_FILE, a->key, &err), &err);
    unlinkat(a->run.dir, SR_EVENTS_FILE, 0); /* the statement would be another without events */
    assert_int_equal(sr_attest(a->run.dir, SR_REPORT_FILE, a->other, &err), -1);
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
            int result = sr_attest(a->run.dir, SR_REPORT_FILE, existing ? a->other : a->key, &err);
            limit_file_size(RLIM_INFINITY);
            assert_int_equal(result, -1);
            assert_int_equal(err.code, SR_EVD_002);
            assert_string_equal(err.path, "attestation");
            assert_int_equal(count_files(&a->run), files);
        }
        assert_true(!existing || is_good(a, a->envelope, a->len, a->key_path, NULL));
    }
}

/* In a directory that others can write to, the temporary file's name may lead to what is not ours. */
static void a_link_under_the_temporary_name_is_not_followed(void **state)
{
    struct attested *a = *state;
    struct sr_error err;
    char temporary[64];
    size_t len;
    snprintf(temporary, sizeof temporary, "." SR_ATTESTATION_FILE ".%d", (int)getpid());
    fixture_write(&a->run, "victim", "precious", 8);
    assert_int_equal(linkat(a->run.dir, "victim", a->run.dir, temporary, 0), 0);
    must(sr_attest(a->run.dir, SR_REPORT_FILE, a->other, &err), &err);
    assert_int_equal(symlinkat("victim", a->run.dir, temporary), 0);
    unlinkat(a->run.dir, SR_ATTESTATION_FILE, 0);
    must(sr_attest(a->run.dir, SR_REPORT_FILE, a->key, &err), &err);
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
    assert_int_equal(truncate(fixture_path(&a->run, "large"), (off_t)SR_ENVELOPE_MAX + 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *key = cases[i].key != NULL ? cases[i].key : a->key_path;
        const struct sr_verify_options options = {.dirfd = &a->run.dir,
                                                  .attestation_path = cases[i].attestation,
                                                  .key_paths = &key,
                                                  .key_count = 1};
        sr_cleanup_verification struct sr_verification result = {0};
        struct sr_error err;
        must(sr_report_verify(fixture_path(&a->run, SR_REPORT_FILE), &options, &result, &err),
             &err);
        assert_false(result.valid);
        assert_int_equal(result.errors[0].code, cases[i].code);
        assert_string_equal(result.errors[0].path, cases[i].path);
    }
    /* No key at all is no answer either. */
    sr_cleanup_verification struct sr_verification result;
    verify(a, NULL, 0, &result);
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
    char path[512], key_path[512], id[SR_KEY_ID_SIZE];
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
    must(sr_report_verify(path, &options, &result, &err), &err);
    assert_true(result.valid);

    fixture_open(&run);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t len;
        char *text = fixture_read(&from, files[i], &len);
        fixture_write(&run, files[i], text, len);
        free(text);
    }
    must(sr_report_attest(run.dir, "run_report.json", fixture_path(&run, "signer.pem"), id, &err),
         &err);
    size_t len, expected_len;
    char *made = fixture_read(&run, SR_ATTESTATION_FILE, &len);
    char *expected = fixture_read(&from, SR_ATTESTATION_FILE, &expected_len);
    assert_string_equal(made, expected);
    assert_non_null(strstr(made, id));

    /* An output's hash is the one that its event tells. */
    sr_cleanup_envelope struct sr_envelope envelope = SR_ENVELOPE_INIT, forged = SR_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_cleanup_key struct sr_key *key = NULL;
    must(sr_envelope_parse(made, len, &envelope, &err), &err);
    char *digest = strstr(envelope.payload.data, "\"safeRunOutputV1\":\"");
    assert_non_null(digest);
    digest[20] = digest[20] == '0' ? '1' : '0';
    sr_buf_append(&forged.payload, envelope.payload.data, envelope.payload.len);
    must(sr_key_load_private(fixture_path(&run, "signer.pem"), &key, &err), &err);
    must(sr_envelope_sign(&forged, key, &err), &err);
    sr_envelope_write(&forged, &text);
    fixture_write(&run, SR_ATTESTATION_FILE, text.data, text.len);
    const struct sr_verify_options beside = {.dirfd = &run.dir,
                                             .attestation_path = SR_ATTESTATION_FILE,
                                             .key_paths = keys,
                                             .key_count = 1};
    sr_cleanup_verification struct sr_verification judged = {0};
    must(sr_report_verify(path, &beside, &judged, &err), &err);
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
