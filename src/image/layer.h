/*
 * A layer as a stream of entries: a tar, perhaps compressed (gzip, zstd, xz), whose bytes are
 * checked against its digests at its end. Read a layer to the end before you trust anything of it.
 */
#ifndef SR_IMAGE_LAYER_H
#define SR_IMAGE_LAYER_H

#include "image/source.h"

struct image_worker;

/* What the manifest says of a layer. Empty texts: nothing. */
struct image_layer_description {
    char member[256];             /* of the source; empty: the whole source */
    char digest[SR_SHA256_TEXT];  /* of its bytes */
    char diff_id[SR_SHA256_TEXT]; /* of its bytes uncompressed */
    int64_t size;                 /* number of its bytes; -1: not known */
};

/* The limit on the bytes of all layers together. */
struct image_layer_budget {
    uint64_t bytes;              /* left, uncompressed */
    uint64_t bytes_max;          /* the limit, for messages */
    uint64_t done;               /* read so far */
    struct image_worker *worker; /* reports progress; may be NULL */
};

struct image_layer {
    const struct image_archive_lib *lib;
    const struct image_layer_description *description;
    struct image_layer_budget *budget;
    struct image_blob blob;
    struct archive *raw, *tar;
    struct sr_hasher *hasher; /* of the uncompressed bytes */
    struct sr_error failure;  /* of the stream below libarchive, which hides it; code SR_OK: none */
    unsigned number;          /* from 1, for messages */
    size_t zeros;             /* bytes of zero at the end so far */
    char digest[SR_SHA256_TEXT]; /* of its bytes; known when image_layer_next() has said 0 */
    char buffer[IMAGE_BLOB_BUFFER];
};

/* Opens a layer. The caller closes it, also after a failure. struct image_layer is too large for a
 * stack. */
int image_layer_open(const struct image_source *source,
                     const struct image_layer_description *description, unsigned number,
                     struct image_layer_budget *budget, struct image_layer *layer,
                     struct sr_error *err) SR_MUST_CHECK;

/* Reads the next entry. Returns 1 and *entry, which lives until the next call; 0 at the end, when
 * every digest was right; -1 with err. */
int image_layer_next(struct image_layer *layer, struct archive_entry **entry,
                     struct sr_error *err) SR_MUST_CHECK;

/* Reads the next piece of the entry's content. Returns 1 with data, its length and its offset; 0 at
 * the end; -1 with err. */
int image_layer_data(struct image_layer *layer, const void **data, size_t *len, int64_t *offset,
                     struct sr_error *err) SR_MUST_CHECK;

void image_layer_close(struct image_layer *layer);

#endif
