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
#define SR_CAPTURE_MAX ((size_t)1 << 20)
enum sr_captured { SR_CAPTURED_PASSWD, SR_CAPTURED_GROUP, SR_CAPTURED_COUNT };

struct sr_apply {
    struct sr_tree *tree;
    struct sr_sqfs *sqfs;
    struct sr_layer *layer;
    bool whiteouts;   /* names that begin with .wh. are whiteouts */
    bool streams;     /* contents are written at once, not by sr_apply_contents() */
    uint32_t number;  /* of the layer, from 1 */
    uint32_t ordinal; /* of the entry in it */
    uint32_t entries, entries_max;
    uint64_t content;                  /* bytes of all files so far */
    uint32_t devices;                  /* left out */
    char *captured[SR_CAPTURED_COUNT]; /* NUL-terminated, owned; NULL: not there */
};

/* Applies all entries of the layer. */
int sr_apply_layer(struct sr_apply *apply, struct sr_error *err) SR_MUST_CHECK;

/* Lists the files whose contents are not written yet, by layer and entry, in an array that the
 * caller frees. */
int sr_apply_left(struct sr_apply *apply, struct sr_inode ***files, size_t *count,
                  struct sr_error *err) SR_MUST_CHECK;

/* Returns the number of the layer that has a file's content. */
uint32_t sr_apply_layer_of(const struct sr_inode *file);

/* Writes the contents of files of that list, all of this layer, in their order. */
int sr_apply_contents(struct sr_apply *apply, struct sr_inode *const *files, size_t count,
                      struct sr_error *err) SR_MUST_CHECK;

void sr_apply_free(struct sr_apply *apply);

#endif
