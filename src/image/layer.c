/*
 * Three stages: the blob's bytes (hashed: digest), libarchive as a decompressor (its format "raw";
 * hashed again: diff id, and counted), libarchive as a reader of tar. An error below comes out of
 * the stage above as one of its own, which says less; so it is kept and said instead.
 */
#include "image/layer.h"

#include "jail/worker.h"

#include <string.h>

/* A tar ends with two blocks of zeros; one is what some writers leave. */
#define TAR_END 512

static int fail_with(struct image_layer *layer, struct archive *archive, struct sr_error *err)
{
    if (layer->failure.code != SR_OK) {
        if (err != NULL)
            *err = layer->failure;
        return -1;
    }
    const char *why = archive != NULL ? layer->lib->archive_error_string(archive) : NULL;
    return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "layer %u is damaged or cut off: %s",
                   layer->number, why != NULL ? why : "out of memory");
}

static la_ssize_t feed_compressed(struct archive *archive, void *context, const void **data)
{
    struct image_layer *layer = context;
    (void)archive;
    ssize_t got = image_blob_read(&layer->blob, data, &layer->failure);
    if (got < 0)
        return ARCHIVE_FATAL;
    if (layer->budget->worker != NULL)
        jail_worker_progress(layer->budget->worker, layer->budget->done, 0);
    return got;
}

/* Zero bytes at the end of the stream so far, as far as they matter. */
static size_t count_zeros(const char *data, size_t len, size_t before)
{
    size_t count = 0;
    while (count < len && count < TAR_END && data[len - 1 - count] == 0)
        count++;
    return count == len ? before + count : count;
}

static la_ssize_t feed_tar(struct archive *archive, void *context, const void **data)
{
    struct image_layer *layer = context;
    struct image_layer_budget *budget = layer->budget;
    (void)archive;
    la_ssize_t got = layer->lib->archive_read_data(layer->raw, layer->buffer, sizeof layer->buffer);
    if (got < 0) {
        if (layer->failure.code == SR_OK)
            fail_with(layer, layer->raw, &layer->failure);
        return ARCHIVE_FATAL;
    }
    if ((uint64_t)got > budget->bytes) {
        sr_fail(&layer->failure, SR_OPS_105, IMAGE_SOURCE_PATH,
                "the image unpacks to more than %llu bytes (--max-bytes allows more)",
                (unsigned long long)budget->bytes_max);
        return ARCHIVE_FATAL;
    }
    budget->bytes -= (uint64_t)got;
    budget->done += (uint64_t)got;
    sr_hasher_update(layer->hasher, layer->buffer, (size_t)got);
    layer->zeros = count_zeros(layer->buffer, (size_t)got, layer->zeros);
    *data = layer->buffer;
    return got;
}

static bool open_raw(struct image_layer *layer)
{
    const struct image_archive_lib *lib = layer->lib;
    struct archive_entry *entry;
    layer->raw = lib->archive_read_new();
    return layer->raw != NULL && lib->archive_read_support_filter_gzip(layer->raw) == ARCHIVE_OK &&
           lib->archive_read_support_filter_xz(layer->raw) == ARCHIVE_OK &&
           lib->archive_read_support_filter_zstd(layer->raw) == ARCHIVE_OK &&
           lib->archive_read_support_format_raw(layer->raw) == ARCHIVE_OK &&
           lib->archive_read_open(layer->raw, layer, NULL, feed_compressed, NULL) == ARCHIVE_OK &&
           lib->archive_read_next_header(layer->raw, &entry) == ARCHIVE_OK;
}

static bool open_tar(struct image_layer *layer)
{
    const struct image_archive_lib *lib = layer->lib;
    layer->tar = lib->archive_read_new();
    return layer->tar != NULL && lib->archive_read_support_format_tar(layer->tar) == ARCHIVE_OK &&
           lib->archive_read_open(layer->tar, layer, NULL, feed_tar, NULL) == ARCHIVE_OK;
}

int image_layer_open(const struct image_source *source,
                     const struct image_layer_description *description, unsigned number,
                     struct image_layer_budget *budget, struct image_layer *layer,
                     struct sr_error *err)
{
    layer->lib = source->lib;
    layer->description = description;
    layer->budget = budget;
    layer->number = number;
    layer->raw = layer->tar = NULL;
    layer->failure = (struct sr_error){0};
    layer->zeros = 0;
    layer->hasher = sr_hasher_new();
    int found = image_blob_open(source, description->member[0] != '\0' ? description->member : NULL,
                                &layer->blob, err);
    if (found > 0)
        return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "layer %u (%s) is not in the source",
                       number, description->member);
    if (found < 0)
        return -1;
    if (layer->hasher == NULL)
        return fail_with(layer, NULL, err);
    sr_hasher_reset(layer->hasher);
    if (!open_raw(layer))
        return fail_with(layer, layer->raw, err);
    return open_tar(layer) ? 0 : fail_with(layer, layer->tar, err);
}

/* Reads what follows the end of the tar, and judges the whole. */
static int check_digests(struct image_layer *layer, struct sr_error *err)
{
    const struct image_layer_description *said = layer->description;
    char digest[SR_SHA256_TEXT], diff_id[SR_SHA256_TEXT];
    const void *data;
    la_ssize_t got;
    while ((got = feed_tar(NULL, layer, &data)) > 0)
        ;
    if (got < 0)
        return fail_with(layer, layer->raw, err);
    if (image_blob_finish(&layer->blob, digest, err) < 0)
        return -1;
    if (sr_hasher_final(layer->hasher, diff_id) < 0)
        return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "a digest cannot be computed");
    /* What has a digest is whole; of what has none the end must be there. */
    if (said->digest[0] == '\0' && said->diff_id[0] == '\0' && layer->zeros < TAR_END)
        return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "the archive is cut off");
    memcpy(layer->digest, digest, sizeof digest);
    if (said->size >= 0 && (uint64_t)said->size != layer->blob.size)
        return sr_fail(err, SR_OPS_102, IMAGE_SOURCE_PATH,
                       "layer %u has %llu bytes instead of %lld", layer->number,
                       (unsigned long long)layer->blob.size, (long long)said->size);
    if (said->digest[0] != '\0' && strcmp(said->digest, digest) != 0)
        return sr_fail(err, SR_OPS_102, IMAGE_SOURCE_PATH, "layer %u is %s and was said to be %s",
                       layer->number, digest, said->digest);
    if (said->diff_id[0] != '\0' && strcmp(said->diff_id, diff_id) != 0)
        return sr_fail(err, SR_OPS_102, IMAGE_SOURCE_PATH,
                       "layer %u is %s uncompressed and was said to be %s", layer->number, diff_id,
                       said->diff_id);
    return 0;
}

int image_layer_next(struct image_layer *layer, struct archive_entry **entry, struct sr_error *err)
{
    int result = layer->lib->archive_read_next_header(layer->tar, entry);
    if (result == ARCHIVE_EOF)
        return check_digests(layer, err);
    return result == ARCHIVE_OK || result == ARCHIVE_WARN ? 1 : fail_with(layer, layer->tar, err);
}

int image_layer_data(struct image_layer *layer, const void **data, size_t *len, int64_t *offset,
                     struct sr_error *err)
{
    la_int64_t at;
    int result = layer->lib->archive_read_data_block(layer->tar, data, len, &at);
    *offset = at;
    if (result == ARCHIVE_EOF)
        return 0;
    return result == ARCHIVE_OK || result == ARCHIVE_WARN ? 1 : fail_with(layer, layer->tar, err);
}

void image_layer_close(struct image_layer *layer)
{
    if (layer->tar != NULL)
        layer->lib->archive_read_free(layer->tar);
    if (layer->raw != NULL)
        layer->lib->archive_read_free(layer->raw);
    layer->tar = layer->raw = NULL;
    sr_hasher_free(layer->hasher);
    layer->hasher = NULL;
    image_blob_close(&layer->blob);
}
