#include "archive/merkle.h"

#include <string.h>

int archive_merkle_leaf(struct sr_hasher *hasher, const void *entry, size_t len,
                        struct archive_merkle_hash *leaf)
{
    sr_hasher_reset(hasher);
    sr_hasher_update(hasher, "\0", 1);
    sr_hasher_update(hasher, entry, len);
    return sr_hasher_final_bytes(hasher, leaf->bytes);
}

static int hash_node(struct sr_hasher *hasher, const struct archive_merkle_hash *left,
                     const struct archive_merkle_hash *right, struct archive_merkle_hash *node)
{
    sr_hasher_reset(hasher);
    sr_hasher_update(hasher, "\1", 1);
    sr_hasher_update(hasher, left->bytes, ARCHIVE_MERKLE_HASH);
    sr_hasher_update(hasher, right->bytes, ARCHIVE_MERKLE_HASH);
    return sr_hasher_final_bytes(hasher, node->bytes);
}

int archive_merkle_append(struct sr_hasher *hasher, struct archive_merkle_tree *tree,
                          const struct archive_merkle_hash *leaf)
{
    struct archive_merkle_hash node = *leaf;
    unsigned level = 0;
    for (; (tree->size >> level & 1) != 0; level++) /* as a binary counter carries */
        if (hash_node(hasher, &tree->edge[level], &node, &node) < 0)
            return -1;
    tree->edge[level] = node;
    tree->size++;
    return 0;
}

int archive_merkle_root(struct sr_hasher *hasher, const struct archive_merkle_tree *tree,
                        struct archive_merkle_hash *root)
{
    bool some = false;
    sr_hasher_reset(hasher);
    if (tree->size == 0)
        return sr_hasher_final_bytes(hasher, root->bytes);
    for (unsigned level = 0; level < ARCHIVE_MERKLE_DEPTH; level++) {
        if ((tree->size >> level & 1) == 0)
            continue;
        if (!some)
            *root = tree->edge[level];
        else if (hash_node(hasher, &tree->edge[level], root, root) < 0)
            return -1;
        some = true;
    }
    return 0;
}

static int root_of(struct sr_hasher *hasher, const struct archive_merkle_hash *leaves,
                   uint64_t count, struct archive_merkle_hash *root)
{
    struct archive_merkle_tree tree = {0};
    for (uint64_t i = 0; i < count; i++)
        if (archive_merkle_append(hasher, &tree, &leaves[i]) < 0)
            return -1;
    return archive_merkle_root(hasher, &tree, root);
}

int archive_merkle_prove(struct sr_hasher *hasher, const struct archive_merkle_hash *leaves,
                         uint64_t size, uint64_t index,
                         struct archive_merkle_hash path[ARCHIVE_MERKLE_DEPTH], size_t *count)
{
    struct archive_merkle_hash
        down[ARCHIVE_MERKLE_DEPTH]; /* the siblings, from the root to the leaf */
    size_t depth = 0;
    while (size > 1) {
        uint64_t left = UINT64_C(1) << (63 - __builtin_clzll(size - 1));
        bool right = index >= left;
        if (right ? root_of(hasher, leaves, left, &down[depth]) < 0
                  : root_of(hasher, leaves + left, size - left, &down[depth]) < 0)
            return -1;
        depth++;
        if (right) {
            leaves += left;
            index -= left;
        }
        size = right ? size - left : left;
    }
    for (size_t i = 0; i < depth; i++)
        path[i] = down[depth - 1 - i];
    *count = depth;
    return 0;
}

bool archive_merkle_includes(struct sr_hasher *hasher, const struct archive_merkle_hash *leaf,
                             uint64_t index, uint64_t size, const struct archive_merkle_hash *path,
                             size_t count, const struct archive_merkle_hash *root)
{
    if (index >= size)
        return false;
    uint64_t at = index, last = size - 1;
    struct archive_merkle_hash node = *leaf;
    for (size_t i = 0; i < count; i++) {
        if (last == 0)
            return false;
        bool from_left = (at & 1) != 0 || at == last;
        if (from_left ? hash_node(hasher, &path[i], &node, &node) < 0
                      : hash_node(hasher, &node, &path[i], &node) < 0)
            return false;
        while (from_left && (at & 1) == 0 && at != 0) {
            at >>= 1;
            last >>= 1;
        }
        at >>= 1;
        last >>= 1;
    }
    return last == 0 && archive_merkle_same(&node, root);
}

bool archive_merkle_same(const struct archive_merkle_hash *a, const struct archive_merkle_hash *b)
{
    return memcmp(a->bytes, b->bytes, ARCHIVE_MERKLE_HASH) == 0;
}
