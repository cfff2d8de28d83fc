/*
 * The tree of a file system that is being made: names and inodes in memory, file contents
 * elsewhere. It is built entry by entry, in layers if there are any, and never searched but from
 * the root, so that nothing in it can lead out of it.
 *
 * Layers. Each entry belongs to the layer (a number that only grows) that named it last. Hiding
 * what is below a directory costs nothing: image_tree_hide_below() notes the layer in the
 * directory, and a walk from the root passes over entries of earlier layers below it.
 *
 * Nothing is freed before the tree is: removed entries stay allocated, and entries_max counts all
 * that were ever added.
 */
#ifndef SR_IMAGE_TREE_H
#define SR_IMAGE_TREE_H

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NAME_MAX, which is squashfs's limit, too. */
#define IMAGE_TREE_NAME_MAX 255
/* Bounds the recursion of functions that follow the tree; a path of PATH_MAX could be deeper. */
#define IMAGE_TREE_DEPTH_MAX 512
#define IMAGE_TREE_NO_XATTRS UINT32_MAX

struct image_node;

struct image_inode {
    uint32_t mode; /* type and permissions, as st_mode */
    uint32_t uid, gid, mtime;
    uint32_t xattrs;        /* a token of the image writer's */
    uint32_t links, number; /* the image writer's, and the two that follow */
    uint64_t place;
    union {
        struct {
            struct image_node *first; /* child added last */
            uint32_t hidden;          /* children of layers below this one are hidden */
        } directory;
        struct {
            uint64_t size;
            void *blocks;   /* the image writer's; NULL: no content yet */
            uint64_t entry; /* index of the entry of its layer that has its content */
        } file;
        const char *target; /* of a symbolic link */
        uint32_t device;
    };
};

struct image_node {
    struct image_node *parent, *next; /* next: sibling */
    struct image_inode *inode;
    uint32_t layer;
    bool removed;
    bool implied; /* a directory without an entry of its own, known by the names of others */
    uint8_t len;
    char name[]; /* NUL-terminated */
};

struct image_tree;

/* Makes a tree with a root directory (0755, 0:0) of layer 0 and room for entries_max entries. NULL
 * when memory is out. */
struct image_tree *image_tree_new(uint32_t entries_max);
void image_tree_free(struct image_tree *tree);

struct image_node *image_tree_root(struct image_tree *tree);

/* Returns the child of that name, or NULL. *floor is the layer below which the parent's entries are
 * hidden, and on return the one for the child's; NULL: no layers. */
struct image_node *image_tree_find(struct image_tree *tree, struct image_node *parent,
                                   const char *name, size_t len, uint32_t *floor);

/* Add a name, which must not be there, with a new inode (mode has its type) or a given one. NULL
 * when memory is out (errno ENOMEM) or the tree is full (EOVERFLOW). */
struct image_node *image_tree_add(struct image_tree *tree, struct image_node *parent,
                                  const char *name, size_t len, uint32_t layer, uint32_t mode);
struct image_node *image_tree_link(struct image_tree *tree, struct image_node *parent,
                                   const char *name, size_t len, uint32_t layer,
                                   struct image_inode *inode);

/* Removes an entry, and with it all below. */
void image_tree_remove(struct image_node *node);

/* Hides entries of earlier layers below a directory. */
void image_tree_hide_below(struct image_node *directory, uint32_t layer);

/* Copies a text, which lives as long as the tree. NULL when memory is out. */
char *image_tree_text(struct image_tree *tree, const char *text, size_t len);

/* Lists the children of a directory that are not hidden, sorted by the bytes of their names, in an
 * array that the caller frees. floor is as in image_tree_find(). Returns -1 when memory is out. */
int image_tree_children(const struct image_node *directory, uint32_t floor,
                        struct image_node ***children, size_t *count) SR_MUST_CHECK;

/* Returns the floor below a directory, given the one where it is. */
uint32_t image_tree_floor(const struct image_node *directory, uint32_t floor);

#endif
