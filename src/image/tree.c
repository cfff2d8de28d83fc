#include "image/tree.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define CHUNK ((size_t)1 << 20)

struct chunk {
    struct chunk *next;
    size_t used, size;
    max_align_t data[];
};

struct sr_tree {
    struct chunk *chunks;
    struct sr_node **table; /* open addressing; a power of two of places */
    size_t places, taken;
    uint64_t key; /* so that nobody can choose names that collide */
    uint32_t count, max;
    struct sr_node *root;
};

static void *allocate(struct sr_tree *tree, size_t size)
{
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct chunk *chunk = tree->chunks;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t room = size > CHUNK ? size : CHUNK;
        chunk = malloc(sizeof *chunk + room);
        if (chunk == NULL)
            return NULL;
        *chunk = (struct chunk){.next = tree->chunks, .size = room};
        tree->chunks = chunk;
    }
    void *place = (char *)chunk->data + chunk->used;
    chunk->used += size;
    memset(place, 0, size);
    return place;
}

char *sr_tree_text(struct sr_tree *tree, const char *text, size_t len)
{
    char *copy = allocate(tree, len + 1);
    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

static uint64_t hash(const struct sr_tree *tree, const struct sr_node *parent, const char *name,
                     size_t len)
{
    uint64_t value = tree->key ^ (uintptr_t)parent;
    for (size_t i = 0; i < len; i++) {
        value = (value ^ (unsigned char)name[i]) * UINT64_C(0x9E3779B97F4A7C15);
        value ^= value >> 29;
    }
    return value ^ value >> 32;
}

/* Where a name is, or the free place for it. */
static struct sr_node **place_of(struct sr_tree *tree, const struct sr_node *parent,
                                 const char *name, size_t len)
{
    size_t mask = tree->places - 1;
    for (size_t at = hash(tree, parent, name, len) & mask;; at = (at + 1) & mask) {
        struct sr_node *node = tree->table[at];
        if (node == NULL || (node->parent == parent && node->len == len && !node->removed &&
                             memcmp(node->name, name, len) == 0))
            return &tree->table[at];
    }
}

static bool grow(struct sr_tree *tree)
{
    size_t places = tree->places, twice = places * 2;
    struct sr_node **old = tree->table, **table = calloc(twice, sizeof(struct sr_node *));
    if (table == NULL)
        return false;
    tree->table = table;
    tree->places = twice;
    tree->taken = 0;
    for (size_t i = 0; i < places; i++)
        if (old[i] != NULL && !old[i]->removed) {
            *place_of(tree, old[i]->parent, old[i]->name, old[i]->len) = old[i];
            tree->taken++;
        }
    free(old);
    return true;
}

struct sr_tree *sr_tree_new(uint32_t entries_max)
{
    struct sr_tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        return NULL;
    tree->places = 1024;
    tree->table = calloc(tree->places, sizeof(struct sr_node *));
    tree->max = entries_max;
    struct sr_node *root = allocate(tree, sizeof *root + 1);
    struct sr_inode *inode = allocate(tree, sizeof *inode);
    if (tree->table == NULL || root == NULL || inode == NULL ||
        getrandom(&tree->key, sizeof tree->key, 0) != sizeof tree->key) {
        sr_tree_free(tree);
        return NULL;
    }
    *inode = (struct sr_inode){.mode = S_IFDIR | 0755, .xattrs = SR_TREE_NO_XATTRS};
    root->inode = inode;
    root->implied = true;
    tree->root = root;
    return tree;
}

void sr_tree_free(struct sr_tree *tree)
{
    if (tree == NULL)
        return;
    for (struct chunk *chunk = tree->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(tree->table);
    free(tree);
}

struct sr_node *sr_tree_root(struct sr_tree *tree)
{
    return tree->root;
}

uint32_t sr_tree_floor(const struct sr_node *directory, uint32_t floor)
{
    if (!S_ISDIR(directory->inode->mode))
        return floor;
    uint32_t hidden = directory->inode->directory.hidden;
    return hidden > floor ? hidden : floor;
}

struct sr_node *sr_tree_find(struct sr_tree *tree, struct sr_node *parent, const char *name,
                             size_t len, uint32_t *floor)
{
    struct sr_node *node = *place_of(tree, parent, name, len);
    if (node == NULL || floor == NULL)
        return node;
    if (node->layer < *floor) {
        sr_tree_remove(node); /* hidden for good: floors only rise */
        return NULL;
    }
    *floor = sr_tree_floor(node, *floor);
    return node;
}

struct sr_node *sr_tree_link(struct sr_tree *tree, struct sr_node *parent, const char *name,
                             size_t len, uint32_t layer, struct sr_inode *inode)
{
    if (tree->count >= tree->max) {
        errno = EOVERFLOW;
        return NULL;
    }
    struct sr_node *node = allocate(tree, sizeof *node + len + 1);
    if (node == NULL || (tree->taken * 4 >= tree->places * 3 && !grow(tree))) {
        errno = ENOMEM;
        return NULL;
    }
    node->parent = parent;
    node->inode = inode;
    node->layer = layer;
    node->len = (uint8_t)len;
    memcpy(node->name, name, len);
    node->next = parent->inode->directory.first;
    parent->inode->directory.first = node;
    *place_of(tree, parent, name, len) = node;
    tree->taken++;
    tree->count++;
    return node;
}

struct sr_node *sr_tree_add(struct sr_tree *tree, struct sr_node *parent, const char *name,
                            size_t len, uint32_t layer, uint32_t mode)
{
    struct sr_inode *inode = allocate(tree, sizeof *inode);
    if (inode == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    *inode = (struct sr_inode){.mode = mode, .xattrs = SR_TREE_NO_XATTRS};
    return sr_tree_link(tree, parent, name, len, layer, inode);
}

void sr_tree_remove(struct sr_node *node)
{
    node->removed = true;
}

void sr_tree_hide_below(struct sr_node *directory, uint32_t layer)
{
    directory->inode->directory.hidden = layer;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(struct sr_node *const *)a)->name, (*(struct sr_node *const *)b)->name);
}

int sr_tree_children(const struct sr_node *directory, uint32_t floor, struct sr_node ***children,
                     size_t *count)
{
    uint32_t below = sr_tree_floor(directory, floor);
    size_t total = 0;
    for (struct sr_node *child = directory->inode->directory.first; child != NULL;
         child = child->next)
        total += !child->removed && child->layer >= below;
    struct sr_node **list = malloc((total > 0 ? total : 1) * sizeof(struct sr_node *));
    if (list == NULL)
        return -1;
    size_t at = 0;
    for (struct sr_node *child = directory->inode->directory.first; child != NULL;
         child = child->next)
        if (!child->removed && child->layer >= below)
            list[at++] = child;
    qsort(list, total, sizeof(struct sr_node *), compare_names);
    *children = list;
    *count = total;
    return 0;
}
