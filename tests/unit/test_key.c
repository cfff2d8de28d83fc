#include "evidence/key.h"

#include "evidence_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* RFC 8410, 10.3 and 10.1: the private key of the RFC's example, and its public half. */
static const char rfc_private[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    "-----END PRIVATE KEY-----\n";
static const char rfc_public[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
                                 "-----END PUBLIC KEY-----\n";

/* RFC 8410, 10.3: the same with attributes and its public half, version 2 of the format. */
static const char rfc_version_2[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    "oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n"
    "Z9w7lshQhqowtrbLDFw4rXAxZuE=\n"
    "-----END PRIVATE KEY-----\n";

static int open_fixture(void **state)
{
    static struct fixture fixture;
    fixture_open(&fixture);
    *state = &fixture;
    return 0;
}

static int close_fixture(void **state)
{
    fixture_close(*state);
    return 0;
}

static struct sr_key *parse(const char *text, bool is_private)
{
    struct sr_key *key;
    struct sr_error err;
    if (evidence_key_parse(text, strlen(text), is_private, &key, &err) < 0)
        fail_msg("%s", err.message);
    return key;
}

static void refuse(const char *text, size_t len, bool is_private, const char *because)
{
    struct sr_key *key = NULL;
    struct sr_error err;
    assert_int_equal(evidence_key_parse(text, len, is_private, &key, &err), -1);
    assert_null(key);
    assert_int_equal(err.code, SR_EVD_003);
    assert_string_equal(err.path, "key");
    if (strstr(err.message, because) == NULL)
        fail_msg("'%s' is not in '%s'", because, err.message);
}

static void the_key_of_the_rfc(void **state)
{
    (void)state;
    sr_cleanup_key struct sr_key *one = parse(rfc_private, true);
    sr_cleanup_key struct sr_key *other = parse(rfc_public, false);
    assert_memory_equal(evidence_key_public(one), evidence_key_public(other),
                        EVIDENCE_KEY_PUBLIC_SIZE);
    assert_int_equal(evidence_key_public(one)[0], 0x19);
    /* openssl pkey -pubin -outform DER | sha256sum */
    assert_string_equal(evidence_key_id(one),
                        "a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f");
    assert_string_equal(evidence_key_id(one), evidence_key_id(other));
}

static void signs_and_verifies(void **state)
{
    (void)state;
    sr_cleanup_key struct sr_key *one = parse(rfc_private, true);
    sr_cleanup_key struct sr_key *other = parse(rfc_public, false);
    unsigned char signature[EVIDENCE_KEY_SIGNATURE_SIZE], wrong[EVIDENCE_KEY_SIGNATURE_SIZE];
    struct sr_error err;
    assert_int_equal(evidence_key_sign(one, "message", 7, signature, &err), 0);
    assert_true(evidence_key_verify(other, "message", 7, signature, sizeof signature));
    assert_false(evidence_key_verify(other, "massage", 7, signature, sizeof signature));
    assert_false(evidence_key_verify(other, "message", 6, signature, sizeof signature));
    assert_false(evidence_key_verify(other, "message", 7, signature, sizeof signature - 1));
    for (size_t bit = 0; bit < 8 * sizeof signature; bit++) {
        memcpy(wrong, signature, sizeof wrong);
        wrong[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        assert_false(evidence_key_verify(other, "message", 7, wrong, sizeof wrong));
    }
    assert_int_equal(evidence_key_sign(other, "message", 7, signature, &err), -1);
    assert_int_equal(err.code, SR_EVD_003);
}

/* RFC 8032, 7.1, TEST 3. */
static void the_signature_of_the_rfc(void **state)
{
    (void)state;
    static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MC4CAQAwBQYDK2VwBCIEIMWqjfQ/n4N77bdELzHct7Fm04U1B28JS4XOOi4LRFj3\n"
                              "-----END PRIVATE KEY-----\n";
    static const unsigned char expected[4] = {0x62, 0x91, 0xd6, 0x57};
    sr_cleanup_key struct sr_key *key = parse(pem, true);
    unsigned char signature[EVIDENCE_KEY_SIGNATURE_SIZE];
    struct sr_error err;
    assert_int_equal(evidence_key_sign(key, "\xaf\x82", 2, signature, &err), 0);
    assert_memory_equal(signature, expected, sizeof expected);
}

static void a_forked_child_has_no_private_half(void **state)
{
    (void)state;
    sr_cleanup_key struct sr_key *key = parse(rfc_private, true);
    unsigned char signature[EVIDENCE_KEY_SIGNATURE_SIZE] = {0};
    struct sr_error err;
    pid_t child = fork();
    if (child == 0)
        _exit(evidence_key_sign(key, "m", 1, signature, &err) == -1 && signature[0] == 0 ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(evidence_key_sign(key, "m", 1, signature, &err), 0);
}

static void what_is_no_key(void **state)
{
    (void)state;
    static const char ec[] = /* openssl ecparam -genkey -name prime256v1 | openssl pkey -pubout */
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
        "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
        "-----END PUBLIC KEY-----\n";
    static const char x25519[] = /* one bit of the algorithm's name beside Ed25519's */
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VuAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n";
    static const char encrypted[] =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        "-----END ENCRYPTED PRIVATE KEY-----\n";
    refuse("", 0, true, "no PEM");
    refuse("hello\n", 6, false, "no PEM");
    refuse(rfc_private, strlen(rfc_private), false, "private key");
    refuse(rfc_public, strlen(rfc_public), true, "PKCS#8");
    refuse(ec, strlen(ec), false, "no Ed25519");
    refuse(x25519, strlen(x25519), false, "no Ed25519");
    refuse(encrypted, strlen(encrypted), true, "passphrase");
    refuse(rfc_version_2, strlen(rfc_version_2), true, "version 2");
    for (size_t len = 0; len < strlen(rfc_public) - 1; len++)
        refuse(rfc_public, len, false, "");
}

static void generated_files(void **state)
{
    struct fixture *fixture = *state;
    char path[128], public_path[136];
    struct sr_key *key = NULL, *again = NULL;
    struct sr_error err;
    struct stat st;
    snprintf(path, sizeof path, "%s", fixture_path(fixture, "k"));
    snprintf(public_path, sizeof public_path, "%s.pub", path);
    umask(022);
    assert_int_equal(evidence_key_generate(path, &key, &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(stat(public_path, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0644);

    sr_cleanup_key struct sr_key *one = NULL, *other = NULL;
    unsigned char signature[EVIDENCE_KEY_SIGNATURE_SIZE];
    assert_int_equal(evidence_key_load_private(path, &one, &err), 0);
    assert_int_equal(evidence_key_load_public(public_path, &other, &err), 0);
    assert_int_equal(evidence_key_sign(one, "m", 1, signature, &err), 0);
    assert_true(evidence_key_verify(other, "m", 1, signature, sizeof signature));
    assert_string_equal(evidence_key_id(key), evidence_key_id(other));
    evidence_key_free(key);

    assert_int_equal(evidence_key_generate(path, &again, &err),
                     -1); /* never over one that exists */
    assert_int_equal(unlink(public_path), 0);
    assert_int_equal(evidence_key_generate(path, &again, &err), -1);
    assert_int_equal(access(public_path, F_OK), -1); /* nor half of one */
    assert_null(again);
    assert_int_equal(evidence_key_load_private(path, &again, &err),
                     0); /* the old one is as it was */
    assert_string_equal(evidence_key_id(again), evidence_key_id(one));
    evidence_key_free(again);
    assert_int_equal(unlink(path), 0);
}

/* The disk is full at every byte of either half. */
static void a_key_is_made_whole_or_not_at_all(void **state)
{
    struct fixture *fixture = *state;
    struct sr_key *key = NULL;
    struct sr_error err;
    struct rlimit limit;
    char path[128], public_path[136];
    snprintf(path, sizeof path, "%s", fixture_path(fixture, "k"));
    snprintf(public_path, sizeof public_path, "%s.pub", path);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    for (rlim_t bytes = 0; bytes < strlen(rfc_private); bytes++) {
        struct rlimit less = {bytes, limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
        int result = evidence_key_generate(path, &key, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        assert_int_equal(result, -1);
        assert_null(key);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(access(public_path, F_OK), -1);
    }
}

static void files_that_are_refused(void **state)
{
    struct fixture *fixture = *state;
    static char large[EVIDENCE_KEY_MAX_FILE + 2];
    struct sr_key *key = NULL;
    struct sr_error err;
    fixture_write(fixture, "open", rfc_private, strlen(rfc_private));
    for (unsigned mode = 0; mode < 0100; mode++) {
        assert_int_equal(chmod(fixture_path(fixture, "open"), 0600 | mode), 0);
        int expected = mode == 0 ? 0 : -1;
        assert_int_equal(evidence_key_load_private(fixture_path(fixture, "open"), &key, &err),
                         expected);
        if (mode == 0)
            evidence_key_free(key);
    }
    assert_non_null(strstr(err.message, "chmod 600"));
    memset(large, 'x', sizeof large);
    fixture_write(fixture, "large", large, sizeof large);
    assert_int_equal(evidence_key_load_public(fixture_path(fixture, "large"), &key, &err), -1);
    assert_non_null(strstr(err.message, "too large"));
    assert_int_equal(mkfifo(fixture_path(fixture, "fifo"), 0600), 0);
    assert_int_equal(evidence_key_load_private(fixture_path(fixture, "fifo"), &key, &err), -1);
    assert_non_null(strstr(err.message, "regular"));
    assert_int_equal(evidence_key_load_private("/dev/zero", &key, &err), -1);
    assert_int_equal(evidence_key_load_private(fixture->path, &key, &err), -1);
    assert_int_equal(evidence_key_load_private(fixture_path(fixture, "none"), &key, &err), -1);
    assert_string_equal(err.path, "key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_of_the_rfc),
        cmocka_unit_test(signs_and_verifies),
        cmocka_unit_test(the_signature_of_the_rfc),
        cmocka_unit_test(a_forked_child_has_no_private_half),
        cmocka_unit_test(what_is_no_key),
        cmocka_unit_test_setup_teardown(generated_files, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(a_key_is_made_whole_or_not_at_all, open_fixture,
                                        close_fixture),
        cmocka_unit_test_setup_teardown(files_that_are_refused, open_fixture, close_fixture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
