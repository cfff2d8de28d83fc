/*
 * Entries of layers onto a tree: names judged, whiteouts obeyed, links kept inside. Nothing is
 * unpacked; contents go to the image writer, those of the last layer as they come, those of lower
 * ones when it is known what is left of them.
 *
 * What is refused, and what is not, is listed in docs/OPERATIONS.md (images). Errors: SR-OPS-103 to
 * 106 at "image.source", with the layer and the entry.
 */
#ifndef SR_IMAGE_APPLY_H
#define SR_IMAGE_APPLY_H

#include "image/layer.h"
#include "image/sqfs_writer.h"

/* Files whose content is wanted besides: to find out who the configuration's user is. */
#define SR_CAPTURE_MAX ((size_t)1 << 20)
enum sr_captured { SR_CAPTURED_PASSWD, SR_CAPTURED_GROUP, SR_CAPTURED_COUNT };

struct sr_apply {
    struct sr_tree *tree;
    struct sr_sqfs *sqfs;
    struct sr_layer *layer;
    bool whiteouts;   /* names that begin with .wh. mean something */
    bool streams;     /* contents are written now, not left for sr_apply_contents() */
    uint32_t number;  /* of the layer, from 1 */
    uint32_t ordinal; /* of the entry in it */
    uint32_t entries, entries_max;
    uint64_t content;                  /* bytes of all files so far */
    uint32_t devices;                  /* left out */
    char *captured[SR_CAPTURED_COUNT]; /* NUL-terminated, owned; NULL: not there */
};

/* All entries of the layer. */
int sr_apply_layer(struct sr_apply *apply, struct sr_error *err) SR_MUST_CHECK;

/* The files of the tree whose contents were left, by layer and entry, in an array to be freed. */
int sr_apply_left(struct sr_apply *apply, struct sr_inode ***files, size_t *count,
                  struct sr_error *err) SR_MUST_CHECK;

/* The number of the layer that has a file's content. */
uint32_t sr_apply_layer_of(const struct sr_inode *file);

/* Writes the contents of some of those, which are all of the layer, in their order. */
int sr_apply_contents(struct sr_apply *apply, struct sr_inode *const *files, size_t count,
                      struct sr_error *err) SR_MUST_CHECK;

void sr_apply_free(struct sr_apply *apply);

#endif
