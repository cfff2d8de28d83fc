/*
 * A layer as a stream of entries: a tar, perhaps compressed (gzip, zstd, xz), whose bytes are
 * checked against its digests when it has come to its end. A layer must be read to the end before
 * anything of it is believed.
 */
#ifndef SR_IMAGE_LAYER_H
#define SR_IMAGE_LAYER_H

#include "image/source.h"

struct sr_worker;

/* What a layer was announced as. Empty texts: nobody said. */
struct sr_layer_description {
    char member[256];             /* of the source; empty: the whole source */
    char digest[SR_SHA256_TEXT];  /* of its bytes */
    char diff_id[SR_SHA256_TEXT]; /* of its bytes uncompressed */
    int64_t size;                 /* of its bytes; -1: nobody said */
};

/* What is left of the allowance of all layers together. */
struct sr_layer_budget {
    uint64_t bytes;           /* uncompressed */
    uint64_t bytes_max;       /* for the sentence */
    uint64_t done;            /* read so far */
    struct sr_worker *worker; /* told of it; may be NULL */
};

struct sr_layer {
    const struct sr_archive_lib *lib;
    const struct sr_layer_description *description;
    struct sr_layer_budget *budget;
    struct sr_blob blob;
    struct archive *raw, *tar;
    struct sr_hasher *hasher; /* of the uncompressed bytes */
    struct sr_error failure;  /* of the stream below libarchive, which hides it; code SR_OK: none */
    unsigned number;          /* from 1, for sentences */
    size_t zeros;             /* bytes of zero at the end so far */
    char digest[SR_SHA256_TEXT]; /* of its bytes; known when sr_layer_next() has said 0 */
    char buffer[SR_BLOB_BUFFER];
};

/* Opens it; to be closed whatever is returned. Large: not for stacks. */
int sr_layer_open(const struct sr_source *source, const struct sr_layer_description *description,
                  unsigned number, struct sr_layer_budget *budget, struct sr_layer *layer,
                  struct sr_error *err) SR_MUST_CHECK;

/* The next entry: 1 and *entry, which lives until the next call; 0 at the end, when every digest
 * was right; -1 with err. */
int sr_layer_next(struct sr_layer *layer, struct archive_entry **entry,
                  struct sr_error *err) SR_MUST_CHECK;

/* The next piece of the entry's content: 1 with data, its length and its offset; 0 at the end; -1
 * with err. */
int sr_layer_data(struct sr_layer *layer, const void **data, size_t *len, int64_t *offset,
                  struct sr_error *err) SR_MUST_CHECK;

void sr_layer_close(struct sr_layer *layer);

#endif
