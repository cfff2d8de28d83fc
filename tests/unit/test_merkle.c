/* Merkle trees: the vectors of RFC 6962 implementations, and the definition itself as second
 * opinion. */
#include "archive/merkle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LEAVES = 70 };

/* The entries of Certificate Transparency's reference tests and the roots of their first n. */
static const struct {
    const char *entry; /* hex */
    const char *root;
} vectors[] = {
    {"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
    {"00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
    {"10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
    {"2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
    {"3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
    {"40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
    {"5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
    {"606162636465666768696a6b6c6d6e6f",
     "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
};
enum { VECTORS = sizeof vectors / sizeof vectors[0] };

static struct sr_hasher *hasher;
static struct archive_merkle_hash leaves[LEAVES];

static size_t from_hex(const char *hex, unsigned char *bytes)
{
    size_t len = strlen(hex) / 2;
    for (size_t i = 0; i < len; i++) {
        unsigned value;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
        bytes[i] = (unsigned char)value;
    }
    return len;
}

static void expect_hash(const struct archive_merkle_hash *hash, const char *hex)
{
    unsigned char bytes[ARCHIVE_MERKLE_HASH];
    assert_int_equal(from_hex(hex, bytes), ARCHIVE_MERKLE_HASH);
    assert_memory_equal(hash->bytes, bytes, ARCHIVE_MERKLE_HASH);
}

static int set_up(void **state)
{
    (void)state;
    hasher = sr_hasher_new();
    for (unsigned i = 0; i < LEAVES; i++)
        if (archive_merkle_leaf(hasher, &i, sizeof i, &leaves[i]) < 0)
            return -1;
    return hasher == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    sr_hasher_free(hasher);
    return 0;
}

static void the_empty_tree(void **state)
{
    (void)state;
    struct archive_merkle_tree tree = {0};
    struct archive_merkle_hash root;
    assert_int_equal(archive_merkle_root(hasher, &tree, &root), 0);
    expect_hash(&root, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void known_roots(void **state)
{
    (void)state;
    struct archive_merkle_tree tree = {0};
    for (int i = 0; i < VECTORS; i++) {
        unsigned char entry[16];
        struct archive_merkle_hash leaf, root;
        size_t len = from_hex(vectors[i].entry, entry);
        assert_int_equal(archive_merkle_leaf(hasher, entry, len, &leaf), 0);
        assert_int_equal(archive_merkle_append(hasher, &tree, &leaf), 0);
        assert_int_equal(archive_merkle_root(hasher, &tree, &root), 0);
        expect_hash(&root, vectors[i].root);
    }
}

/* A proof of the same reference tests: the first of eight. */
static void known_proof(void **state)
{
    (void)state;
    static const char *const expected[] = {
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    };
    struct archive_merkle_hash eight[VECTORS], path[ARCHIVE_MERKLE_DEPTH];
    size_t count;
    for (int i = 0; i < VECTORS; i++) {
        unsigned char entry[16];
        size_t len = from_hex(vectors[i].entry, entry);
        assert_int_equal(archive_merkle_leaf(hasher, entry, len, &eight[i]), 0);
    }
    assert_int_equal(archive_merkle_prove(hasher, eight, VECTORS, 0, path, &count), 0);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++)
        expect_hash(&path[i], expected[i]);
}

/* MTH as RFC 6962 defines it, word by word. */
static void define(const struct archive_merkle_hash *of, size_t n, struct archive_merkle_hash *root)
{
    if (n == 1) {
        *root = of[0];
        return;
    }
    size_t k = 1;
    while (2 * k < n)
        k *= 2;
    struct archive_merkle_hash halves[2];
    define(of, k, &halves[0]);
    define(of + k, n - k, &halves[1]);
    sr_hasher_reset(hasher);
    sr_hasher_update(hasher, "\1", 1);
    sr_hasher_update(hasher, halves, sizeof halves);
    assert_int_equal(sr_hasher_final_bytes(hasher, root->bytes), 0);
}

static void every_leaf_of_every_tree_is_proved(void **state)
{
    (void)state;
    struct archive_merkle_tree tree = {0};
    for (size_t n = 1; n <= LEAVES; n++) {
        struct archive_merkle_hash root, definition, path[ARCHIVE_MERKLE_DEPTH];
        size_t count;
        assert_int_equal(archive_merkle_append(hasher, &tree, &leaves[n - 1]), 0);
        assert_int_equal(archive_merkle_root(hasher, &tree, &root), 0);
        define(leaves, n, &definition);
        assert_true(archive_merkle_same(&root, &definition));
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(archive_merkle_prove(hasher, leaves, n, i, path, &count), 0);
            assert_true(archive_merkle_includes(hasher, &leaves[i], i, n, path, count, &root));
        }
    }
}

static void nothing_else_is_proved(void **state)
{
    (void)state;
    enum { N = 21 };
    struct archive_merkle_hash root, path[ARCHIVE_MERKLE_DEPTH + 1];
    size_t count;
    define(leaves, N, &root);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(archive_merkle_prove(hasher, leaves, N, i, path, &count), 0);
        path[count] = root;
        for (size_t other = 0; other < N; other++) {
            if (other == i)
                continue;
            assert_false(archive_merkle_includes(hasher, &leaves[other], i, N, path, count, &root));
            assert_false(archive_merkle_includes(hasher, &leaves[i], other, N, path, count, &root));
        }
        for (size_t bit = 0; bit < count * ARCHIVE_MERKLE_HASH * 8; bit += 7) {
            unsigned char *byte =
                &path[bit / 8 / ARCHIVE_MERKLE_HASH].bytes[bit / 8 % ARCHIVE_MERKLE_HASH];
            *byte ^= (unsigned char)(1U << bit % 8);
            assert_false(archive_merkle_includes(hasher, &leaves[i], i, N, path, count, &root));
            *byte ^= (unsigned char)(1U << bit % 8);
        }
        assert_false(archive_merkle_includes(hasher, &leaves[i], i, N, path, count - 1, &root));
        assert_false(archive_merkle_includes(hasher, &leaves[i], i, N, path, count + 1, &root));
        assert_false(archive_merkle_includes(hasher, &leaves[i], N, N, path, count, &root));
        assert_false(
            archive_merkle_includes(hasher, &leaves[i], i, UINT64_MAX, path, count, &root));
        assert_false(archive_merkle_includes(hasher, &leaves[i], i, 0, path, count, &root));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_tree),
        cmocka_unit_test(known_roots),
        cmocka_unit_test(known_proof),
        cmocka_unit_test(every_leaf_of_every_tree_is_proved),
        cmocka_unit_test(nothing_else_is_proved),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
