/*
 * The tree of a file system that is being made: names and inodes in memory, file contents
 * elsewhere. It is built entry by entry, in layers if there are any, and never searched but from
 * the root, so that nothing in it can lead out of it.
 *
 * Layers. Each entry belongs to the layer (a number that only grows) that named it last. Hiding
 * what is below a directory costs nothing: sr_tree_hide_below() notes the layer in the directory,
 * and what belongs to an earlier one is not there any more for whoever comes down from the root.
 *
 * Nothing is freed before the tree is; what is removed stays allocated, so a tree is bounded by the
 * entries that were ever added.
 */
#ifndef SR_IMAGE_TREE_H
#define SR_IMAGE_TREE_H

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NAME_MAX; squashfs has no longer ones either. */
#define SR_TREE_NAME_MAX 255
/* Below the depth that a path of PATH_MAX could reach; functions that follow the tree call
 * themselves. */
#define SR_TREE_DEPTH_MAX 512
#define SR_TREE_NO_XATTRS UINT32_MAX

struct sr_node;

struct sr_inode {
    uint32_t mode; /* type and permissions, as st_mode */
    uint32_t uid, gid, mtime;
    uint32_t xattrs;        /* a token of the image writer's */
    uint32_t links, number; /* the image writer's, and the two that follow */
    uint64_t place;
    union {
        struct {
            struct sr_node *first; /* child added last */
            uint32_t hidden;       /* children of layers below this one are not there */
        } directory;
        struct {
            uint64_t size;
            void *blocks;   /* the image writer's; NULL: no content yet */
            uint64_t entry; /* which entry of its layer has its content */
        } file;
        const char *target; /* of a symbolic link */
        uint32_t device;
    };
};

struct sr_node {
    struct sr_node *parent, *next; /* next: sibling */
    struct sr_inode *inode;
    uint32_t layer;
    bool removed;
    bool implied; /* a directory that only the names of others told of */
    uint8_t len;
    char name[]; /* NUL-terminated */
};

struct sr_tree;

/* A tree with a root directory (0755, 0:0) of layer 0, which holds at most entries_max entries.
 * NULL: out of memory. */
struct sr_tree *sr_tree_new(uint32_t entries_max);
void sr_tree_free(struct sr_tree *tree);

struct sr_node *sr_tree_root(struct sr_tree *tree);

/* The child of that name, or NULL. floor is the layer below which entries are hidden where the
 * parent is; NULL: no layers. On return it is the floor below the child. */
struct sr_node *sr_tree_find(struct sr_tree *tree, struct sr_node *parent, const char *name,
                             size_t len, uint32_t *floor);

/* Adds a name, which must not be there, with a new inode (mode says of what type) or a given one.
 * NULL: out of memory, or the tree is full (errno ENOMEM, EOVERFLOW). */
struct sr_node *sr_tree_add(struct sr_tree *tree, struct sr_node *parent, const char *name,
                            size_t len, uint32_t layer, uint32_t mode);
struct sr_node *sr_tree_link(struct sr_tree *tree, struct sr_node *parent, const char *name,
                             size_t len, uint32_t layer, struct sr_inode *inode);

/* Removes an entry, and with it all below. */
void sr_tree_remove(struct sr_node *node);

/* Hides what layers before this one put below a directory. */
void sr_tree_hide_below(struct sr_node *directory, uint32_t layer);

/* A copy of a text that lives as long as the tree, or NULL. */
char *sr_tree_text(struct sr_tree *tree, const char *text, size_t len);

/* The children of a directory that are there, sorted by the bytes of their names, in an array to be
 * freed. floor as in sr_tree_find(), not changed. -1: out of memory. */
int sr_tree_children(const struct sr_node *directory, uint32_t floor, struct sr_node ***children,
                     size_t *count) SR_MUST_CHECK;

/* The floor below a directory, given the one where it is. */
uint32_t sr_tree_floor(const struct sr_node *directory, uint32_t floor);

#endif
