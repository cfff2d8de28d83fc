/*
 * Merkle trees as RFC 6962 (and RFC 9162) hash them, over a list that only grows.
 *
 *   leaf  SHA-256(0x00 || entry)      node  SHA-256(0x01 || left || right)
 *
 * The first byte keeps an entry from being taken for a node. A tree of n leaves splits at the
 * largest power of two below n, so appending changes only the right edge: struct
 * archive_merkle_tree holds that edge and nothing else.
 */
#ifndef SR_ARCHIVE_MERKLE_H
#define SR_ARCHIVE_MERKLE_H

#include "common/cleanup.h"
#include "common/sha256.h"

#include <stdbool.h>
#include <stdint.h>

#define ARCHIVE_MERKLE_HASH ((size_t)(SR_SHA256_HEX / 2))
/* Levels of the largest tree: sizes are 64 bit. */
#define ARCHIVE_MERKLE_DEPTH 64

struct archive_merkle_hash {
    unsigned char bytes[SR_SHA256_HEX / 2];
};

/* A tree as it grows. Where bit k of size is set edge[k] is the root of a full subtree of 2^k
 * leaves; the largest is leftmost. All zeros is the empty tree. */
struct archive_merkle_tree {
    uint64_t size;
    struct archive_merkle_hash edge[ARCHIVE_MERKLE_DEPTH];
};

/* All return 0, or -1 when libcrypto fails. */
int archive_merkle_leaf(struct sr_hasher *hasher, const void *entry, size_t len,
                        struct archive_merkle_hash *leaf) SR_MUST_CHECK;
int archive_merkle_append(struct sr_hasher *hasher, struct archive_merkle_tree *tree,
                          const struct archive_merkle_hash *leaf) SR_MUST_CHECK;
int archive_merkle_root(struct sr_hasher *hasher, const struct archive_merkle_tree *tree,
                        struct archive_merkle_hash *root) SR_MUST_CHECK;

/* Computes the audit path of leaf index (< size) in the tree of these leaves, from the leaf up. */
int archive_merkle_prove(struct sr_hasher *hasher, const struct archive_merkle_hash *leaves,
                         uint64_t size, uint64_t index,
                         struct archive_merkle_hash path[ARCHIVE_MERKLE_DEPTH],
                         size_t *count) SR_MUST_CHECK;

/* Returns true when the path leads from this leaf to this root (RFC 9162, 2.1.3.2). */
bool archive_merkle_includes(struct sr_hasher *hasher, const struct archive_merkle_hash *leaf,
                             uint64_t index, uint64_t size, const struct archive_merkle_hash *path,
                             size_t count, const struct archive_merkle_hash *root) SR_MUST_CHECK;

bool archive_merkle_same(const struct archive_merkle_hash *a, const struct archive_merkle_hash *b);

#endif
