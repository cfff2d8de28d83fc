/*
 * Applies the entries of layers to a tree. It checks names, follows whiteouts and keeps links
 * inside. Nothing is unpacked: contents go to the image writer, those of the last layer as they
 * come, those of lower layers when all layers are read and the files that remain are known.
 *
 * What is refused, and what is not, is listed in docs/OPERATIONS.md (images). Errors: SR-OPS-103 to
 * 106 at "image.source", with the layer and the entry.
 */
#ifndef SR_IMAGE_APPLY_H
#define SR_IMAGE_APPLY_H

#include "image/layer.h"
#include "image/sqfs_writer.h"

/* Files whose content is kept, to look up the configuration's user. */
#define IMAGE_CAPTURE_MAX ((size_t)1 << 20)
enum image_captured { IMAGE_CAPTURED_PASSWD, IMAGE_CAPTURED_GROUP, IMAGE_CAPTURED_COUNT };

struct image_apply {
    struct image_tree *tree;
    struct image_sqfs *sqfs;
    struct image_layer *layer;
    bool whiteouts;   /* names that begin with .wh. are whiteouts */
    bool streams;     /* contents are written at once, not by image_apply_contents() */
    uint32_t number;  /* of the layer, from 1 */
    uint32_t ordinal; /* of the entry in it */
    uint32_t entries, entries_max;
    uint64_t content;                     /* bytes of all files so far */
    uint32_t devices;                     /* left out */
    char *captured[IMAGE_CAPTURED_COUNT]; /* NUL-terminated, owned; NULL: not there */
};

/* Applies all entries of the layer. */
int image_apply_layer(struct image_apply *apply, struct sr_error *err) SR_MUST_CHECK;

/* Lists the files whose contents are not written yet, by layer and entry, in an array that the
 * caller frees. */
int image_apply_left(struct image_apply *apply, struct image_inode ***files, size_t *count,
                     struct sr_error *err) SR_MUST_CHECK;

/* Returns the number of the layer that has a file's content. */
uint32_t image_apply_layer_of(const struct image_inode *file);

/* Writes the contents of files of that list, all of this layer, in their order. */
int image_apply_contents(struct image_apply *apply, struct image_inode *const *files, size_t count,
                         struct sr_error *err) SR_MUST_CHECK;

void image_apply_free(struct image_apply *apply);

#endif
