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

struct image_tree {
    struct chunk *chunks;
    struct image_node **table; /* open addressing; a power of two of places */
    size_t places, taken;
    uint64_t key; /* so that nobody can choose names that collide */
    uint32_t count, max;
    struct image_node *root;
};

static void *allocate(struct image_tree *tree, size_t size)
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

char *image_tree_text(struct image_tree *tree, const char *text, size_t len)
{
    char *copy = allocate(tree, len + 1);
    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

static uint64_t hash(const struct image_tree *tree, const struct image_node *parent,
                     const char *name, size_t len)
{
    uint64_t value = tree->key ^ (uintptr_t)parent;
    for (size_t i = 0; i < len; i++) {
        value = (value ^ (unsigned char)name[i]) * UINT64_C(0x9E3779B97F4A7C15);
        value ^= value >> 29;
    }
    return value ^ value >> 32;
}

/* Where a name is, or the free place for it. */
static struct image_node **place_of(struct image_tree *tree, const struct image_node *parent,
                                    const char *name, size_t len)
{
    size_t mask = tree->places - 1;
    for (size_t at = hash(tree, parent, name, len) & mask;; at = (at + 1) & mask) {
        struct image_node *node = tree->table[at];
        if (node == NULL || (node->parent == parent && node->len == len && !node->removed &&
                             memcmp(node->name, name, len) == 0))
            return &tree->table[at];
    }
}

static bool grow(struct image_tree *tree)
{
    size_t places = tree->places, twice = places * 2;
    struct image_node **old = tree->table, **table = calloc(twice, sizeof(struct image_node *));
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

struct image_tree *image_tree_new(uint32_t entries_max)
{
    struct image_tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        return NULL;
    tree->places = 1024;
    tree->table = calloc(tree->places, sizeof(struct image_node *));
    tree->max = entries_max;
    struct image_node *root = allocate(tree, sizeof *root + 1);
    struct image_inode *inode = allocate(tree, sizeof *inode);
    if (tree->table == NULL || root == NULL || inode == NULL ||
        getrandom(&tree->key, sizeof tree->key, 0) != sizeof tree->key) {
        image_tree_free(tree);
        return NULL;
    }
    *inode = (struct image_inode){.mode = S_IFDIR | 0755, .xattrs = IMAGE_TREE_NO_XATTRS};
    root->inode = inode;
    root->implied = true;
    tree->root = root;
    return tree;
}

void image_tree_free(struct image_tree *tree)
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

struct image_node *image_tree_root(struct image_tree *tree)
{
    return tree->root;
}

uint32_t image_tree_floor(const struct image_node *directory, uint32_t floor)
{
    if (!S_ISDIR(directory->inode->mode))
        return floor;
    uint32_t hidden = directory->inode->directory.hidden;
    return hidden > floor ? hidden : floor;
}

struct image_node *image_tree_find(struct image_tree *tree, struct image_node *parent,
                                   const char *name, size_t len, uint32_t *floor)
{
    struct image_node *node = *place_of(tree, parent, name, len);
    if (node == NULL || floor == NULL)
        return node;
    if (node->layer < *floor) {
        image_tree_remove(node); /* hidden for good: floors only rise */
        return NULL;
    }
    *floor = image_tree_floor(node, *floor);
    return node;
}

struct image_node *image_tree_link(struct image_tree *tree, struct image_node *parent,
                                   const char *name, size_t len, uint32_t layer,
                                   struct image_inode *inode)
{
    if (tree->count >= tree->max) {
        errno = EOVERFLOW;
        return NULL;
    }
    struct image_node *node = allocate(tree, sizeof *node + len + 1);
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

struct image_node *image_tree_add(struct image_tree *tree, struct image_node *parent,
                                  const char *name, size_t len, uint32_t layer, uint32_t mode)
{
    struct image_inode *inode = allocate(tree, sizeof *inode);
    if (inode == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    *inode = (struct image_inode){.mode = mode, .xattrs = IMAGE_TREE_NO_XATTRS};
    return image_tree_link(tree, parent, name, len, layer, inode);
}

void image_tree_remove(struct image_node *node)
{
    node->removed = true;
}

void image_tree_hide_below(struct image_node *directory, uint32_t layer)
{
    directory->inode->directory.hidden = layer;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(struct image_node *const *)a)->name, (*(struct image_node *const *)b)->name);
}

int image_tree_children(const struct image_node *directory, uint32_t floor,
                        struct image_node ***children, size_t *count)
{
    uint32_t below = image_tree_floor(directory, floor);
    size_t total = 0;
    for (struct image_node *child = directory->inode->directory.first; child != NULL;
         child = child->next)
        total += !child->removed && child->layer >= below;
    struct image_node **list = malloc((total > 0 ? total : 1) * sizeof(struct image_node *));
    if (list == NULL)
        return -1;
    size_t at = 0;
    for (struct image_node *child = directory->inode->directory.first; child != NULL;
         child = child->next)
        if (!child->removed && child->layer >= below)
            list[at++] = child;
    qsort(list, total, sizeof(struct image_node *), compare_names);
    *children = list;
    *count = total;
    return 0;
}
