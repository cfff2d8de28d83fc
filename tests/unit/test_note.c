/* Signed notes, checkpoints and proofs: what other tools write is read, what was changed is
 * found. */
#include "archive/note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The key and the note of golang.org/x/mod/sumdb/note's tests. */
#define NAME "PeterNeumann"
static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MC4CAQAwBQYDK2VwBCIEIIEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n"
                          "-----END PRIVATE KEY-----\n";
static const char verifier[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
static const char text[] = "If you think cryptography is the answer to your problem,\n"
                           "then you don't know what your problem is.\n";
static const char signature[] =
    "\xe2\x80\x94 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKv"
    "qfqdngotpRZb6KE6RyyBwJnAM=\n";

static struct sr_key *key;
static struct sr_hasher *hasher;

static int set_up(void **state)
{
    (void)state;
    struct sr_error err;
    hasher = sr_hasher_new();
    return hasher == NULL || evidence_key_parse(pem, strlen(pem), true, &key, &err) < 0;
}

static int tear_down(void **state)
{
    (void)state;
    evidence_key_free(key);
    sr_hasher_free(hasher);
    return 0;
}

static bool opens(const char *note, size_t len)
{
    size_t text_len;
    struct sr_error err;
    return archive_note_open(key, NAME, note, len, "note", &text_len, &err) == 0;
}

static void the_note_that_others_sign(void **state)
{
    (void)state;
    sr_cleanup_buf struct sr_buf note = SR_BUF_INIT, expected = SR_BUF_INIT, vkey = SR_BUF_INIT;
    struct sr_error err;
    size_t text_len;
    assert_int_equal(archive_note_sign(key, NAME, text, &note, &err), 0);
    sr_buf_printf(&expected, "%s\n%s", text, signature);
    assert_string_equal(note.data, expected.data);
    assert_int_equal(archive_note_open(key, NAME, note.data, note.len, "note", &text_len, &err), 0);
    assert_int_equal(text_len, strlen(text));
    assert_int_equal(archive_note_verifier(key, NAME, &vkey), 0);
    assert_string_equal(vkey.data, verifier);
}

static void any_changed_byte_is_found(void **state)
{
    (void)state;
    sr_cleanup_buf struct sr_buf note = SR_BUF_INIT;
    sr_buf_printf(&note, "%s\n%s", text, signature);
    for (size_t i = 0; i < note.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            note.data[i] ^= (char)(1 << bit);
            assert_false(opens(note.data, note.len));
            note.data[i] ^= (char)(1 << bit);
        }
    for (size_t len = 0; len < note.len; len++)
        assert_false(opens(note.data, len));
    assert_true(opens(note.data, note.len));
}

static void other_signatures_are_let_be(void **state)
{
    (void)state;
    sr_cleanup_buf struct sr_buf note = SR_BUF_INIT;
    sr_buf_printf(&note, "%s\n\xe2\x80\x94 witness.example AAAAAAAA\n%s", text, signature);
    assert_true(opens(note.data, note.len));
    sr_buf_puts(&note, signature);
    assert_false(opens(note.data, note.len)); /* ours twice */
}

static void a_note_by_somebody_else_is_refused(void **state)
{
    (void)state;
    sr_cleanup_buf struct sr_buf note = SR_BUF_INIT;
    struct sr_error err;
    size_t text_len;
    sr_buf_printf(&note, "%s\n%s", text, signature);
    assert_int_equal(archive_note_open(key, "Peter", note.data, note.len, "here", &text_len, &err),
                     -1);
    assert_string_equal(err.path, "here");
    assert_non_null(strstr(err.message, "is not signed by Peter"));
}

static struct archive_checkpoint some_checkpoint(void)
{
    struct archive_checkpoint checkpoint = {.size = 17};
    memset(checkpoint.root.bytes, 0x5a, ARCHIVE_MERKLE_HASH);
    return checkpoint;
}

static void a_checkpoint_comes_back(void **state)
{
    (void)state;
    const struct archive_checkpoint checkpoint = some_checkpoint();
    struct archive_checkpoint found;
    sr_cleanup_buf struct sr_buf note = SR_BUF_INIT;
    struct sr_error err;
    char origin[ARCHIVE_NOTE_NAME];
    archive_checkpoint_origin(key, origin);
    assert_int_equal(archive_checkpoint_sign(key, &checkpoint, &note, &err), 0);
    assert_memory_equal(note.data, origin, strlen(origin));
    assert_memory_equal(note.data + strlen(origin),
                        "\n17\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n\n", 50);
    assert_int_equal(archive_checkpoint_open(key, note.data, note.len, "c", &found, &err), 0);
    assert_int_equal(found.size, 17);
    assert_true(archive_merkle_same(&found.root, &checkpoint.root));
}

/* What is signed but is no checkpoint of this log. */
static void a_checkpoint_must_be_one(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "%s\n17\n",
        "%s\n017\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n",
        "%s\n-1\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n",
        "%s\n18446744073709551616\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n",
        "%s\n17\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlp=\n", /* bits behind the end */
        "%s\n17\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpa\n",
        "x%s\n17\nWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=\n",
    };
    char origin[ARCHIVE_NOTE_NAME], body[256];
    archive_checkpoint_origin(key, origin);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sr_cleanup_buf struct sr_buf note = SR_BUF_INIT;
        struct archive_checkpoint found;
        struct sr_error err;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(body, sizeof body, bad[i], origin);
#pragma GCC diagnostic pop
        assert_int_equal(archive_note_sign(key, origin, body, &note, &err), 0);
        assert_int_equal(archive_checkpoint_open(key, note.data, note.len, "c", &found, &err), -1);
        assert_int_equal(err.code, SR_EVD_303);
    }
}

/* A log of 13 leaves and the proof of leaf 4 in it. */
static void make_proof(struct sr_buf *note, struct archive_proof *proof)
{
    struct archive_merkle_hash leaves[13];
    struct archive_merkle_tree tree = {0};
    struct archive_checkpoint checkpoint = {.size = 13};
    struct sr_error err;
    for (unsigned i = 0; i < 13; i++) {
        char leaf[16];
        int len = snprintf(leaf, sizeof leaf, "leaf %u", i);
        assert_int_equal(archive_merkle_leaf(hasher, leaf, (size_t)len, &leaves[i]), 0);
        assert_int_equal(archive_merkle_append(hasher, &tree, &leaves[i]), 0);
    }
    assert_int_equal(archive_merkle_root(hasher, &tree, &checkpoint.root), 0);
    assert_int_equal(archive_checkpoint_sign(key, &checkpoint, note, &err), 0);
    *proof = (struct archive_proof){.index = 4, .note = note->data, .note_len = note->len};
    assert_int_equal(archive_merkle_prove(hasher, leaves, 13, 4, proof->path, &proof->count), 0);
}

static bool proves(const char *proof_text, size_t len)
{
    struct archive_proof proof;
    struct archive_checkpoint checkpoint;
    struct sr_error err;
    sr_cleanup_buf struct sr_buf leaf = SR_BUF_INIT;
    return archive_proof_parse(proof_text, len, &proof, &leaf, &err) == 0 &&
           archive_proof_check(hasher, key, &proof, leaf.data, leaf.len, &checkpoint, &err) == 0;
}

static void a_proof_comes_back_and_nothing_else_does(void **state)
{
    (void)state;
    sr_cleanup_buf struct sr_buf note = SR_BUF_INIT, out = SR_BUF_INIT;
    struct archive_proof proof;
    make_proof(&note, &proof);
    archive_proof_write(&proof, "leaf 4", 6, &out);
    assert_true(proves(out.data, out.len));
    for (size_t i = 0; i < out.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            out.data[i] ^= (char)(1 << bit);
            assert_false(proves(out.data, out.len));
            out.data[i] ^= (char)(1 << bit);
        }
    for (size_t len = 0; len < out.len; len++)
        assert_false(proves(out.data, len));
    sr_buf_putc(&out, '\n');
    assert_false(proves(out.data, out.len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_note_that_others_sign),
        cmocka_unit_test(any_changed_byte_is_found),
        cmocka_unit_test(other_signatures_are_let_be),
        cmocka_unit_test(a_note_by_somebody_else_is_refused),
        cmocka_unit_test(a_checkpoint_comes_back),
        cmocka_unit_test(a_checkpoint_must_be_one),
        cmocka_unit_test(a_proof_comes_back_and_nothing_else_does),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
