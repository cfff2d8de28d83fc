#include "image/source.h"

#include "common/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

/* Members of an archive of images: a few for each layer. */
#define MEMBERS_MAX 100000

static int read_failed(const struct image_blob *blob, struct sr_error *err)
{
    (void)blob;
    return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "the source cannot be read: %s",
                   strerror(errno));
}

/* libarchive asks for the file's bytes. */
static la_ssize_t feed(struct archive *archive, void *context, const void **data)
{
    struct image_blob *blob = context;
    ssize_t got;
    (void)archive;
    do
        got = pread(blob->fd, blob->buffer, sizeof blob->buffer, blob->at);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return ARCHIVE_FATAL;
    blob->at += got;
    *data = blob->buffer;
    return got;
}

static int open_outer(struct image_blob *blob)
{
    const struct image_archive_lib *lib = blob->source->lib;
    blob->outer = lib->archive_read_new();
    return blob->outer != NULL &&
                   lib->archive_read_support_filter_gzip(blob->outer) == ARCHIVE_OK &&
                   lib->archive_read_support_filter_xz(blob->outer) == ARCHIVE_OK &&
                   lib->archive_read_support_filter_zstd(blob->outer) == ARCHIVE_OK &&
                   lib->archive_read_support_format_tar(blob->outer) == ARCHIVE_OK &&
                   lib->archive_read_open(blob->outer, blob, NULL, feed, NULL) == ARCHIVE_OK
               ? 0
               : -1;
}

/* A member's name without what does not matter. */
static const char *plain_name(const char *name)
{
    while (name[0] == '.' && name[1] == '/')
        name += 2;
    return name;
}

static int find_member(struct image_blob *blob, const char *member, struct sr_error *err)
{
    const struct image_archive_lib *lib = blob->source->lib;
    struct archive_entry *entry;
    if (open_outer(blob) < 0)
        return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "the source is not a tar archive");
    for (unsigned count = 0; count < MEMBERS_MAX; count++) {
        int result = lib->archive_read_next_header(blob->outer, &entry);
        if (result == ARCHIVE_EOF)
            return 1;
        if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
            return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH,
                           "the source is not a tar archive: %s",
                           lib->archive_error_string(blob->outer));
        const char *name = lib->archive_entry_pathname(entry);
        if (name != NULL && lib->archive_entry_filetype(entry) == AE_IFREG &&
            lib->archive_entry_hardlink(entry) == NULL && strcmp(plain_name(name), member) == 0)
            return 0;
    }
    return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "the source has more than %d members",
                   MEMBERS_MAX);
}

int image_blob_open(const struct image_source *source, const char *member, struct image_blob *blob,
                    struct sr_error *err)
{
    blob->source = source;
    blob->fd = source->fd;
    blob->own_fd = false;
    blob->at = 0;
    blob->size = 0;
    blob->outer = NULL;
    blob->hasher = sr_hasher_new();
    if (blob->hasher == NULL)
        return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "out of memory");
    sr_hasher_reset(blob->hasher);
    if (member == NULL)
        return 0;
    if (!source->is_directory)
        return find_member(blob, member, err);
    const struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, source->fd, member, &how, sizeof how);
    if (fd < 0 && errno == ENOENT)
        return 1;
    if (fd < 0)
        return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "%s cannot be opened: %s", member,
                       strerror(errno));
    blob->fd = fd;
    blob->own_fd = true;
    return 0;
}

ssize_t image_blob_read(struct image_blob *blob, const void **data, struct sr_error *err)
{
    ssize_t got;
    if (blob->outer != NULL) {
        const struct image_archive_lib *lib = blob->source->lib;
        got = lib->archive_read_data(blob->outer, blob->text, sizeof blob->text);
        *data = blob->text;
        if (got < 0)
            return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "the source is damaged: %s",
                           lib->archive_error_string(blob->outer));
    } else {
        got = feed(NULL, blob, data);
        if (got < 0)
            return read_failed(blob, err);
    }
    sr_hasher_update(blob->hasher, *data, (size_t)got);
    blob->size += (uint64_t)got;
    return got;
}

int image_blob_finish(struct image_blob *blob, char digest[SR_SHA256_TEXT], struct sr_error *err)
{
    const void *data;
    ssize_t got;
    while ((got = image_blob_read(blob, &data, err)) > 0)
        ;
    if (got < 0)
        return -1;
    return sr_hasher_final(blob->hasher, digest) == 0
               ? 0
               : sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "a digest cannot be computed");
}

void image_blob_close(struct image_blob *blob)
{
    if (blob->outer != NULL)
        blob->source->lib->archive_read_free(blob->outer);
    sr_hasher_free(blob->hasher);
    if (blob->own_fd)
        close(blob->fd);
    blob->outer = NULL;
    blob->hasher = NULL;
    blob->own_fd = false;
}

static int read_member(struct image_blob *blob, const char *member, const char *digest, size_t max,
                       struct sr_buf *content, struct sr_error *err)
{
    int found = image_blob_open(blob->source, member, blob, err);
    if (found != 0)
        return found;
    const void *data = NULL;
    ssize_t got;
    while ((got = image_blob_read(blob, &data, err)) > 0) {
        if (content->len + (size_t)got > max)
            return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "%s has more than %zu bytes", member,
                           max);
        sr_buf_append(content, data, (size_t)got);
    }
    char found_digest[SR_SHA256_TEXT];
    if (got < 0 || image_blob_finish(blob, found_digest, err) < 0)
        return -1;
    if (digest != NULL && strcmp(digest, found_digest) != 0)
        return sr_fail(err, SR_OPS_102, IMAGE_SOURCE_PATH, "%s has the digest %s", member,
                       found_digest);
    return 0;
}

int image_source_read(const struct image_source *source, const char *member, const char *digest,
                      size_t max, char **text, size_t *len, struct sr_error *err)
{
    sr_cleanup_free struct image_blob *blob = calloc(1, sizeof *blob);
    sr_cleanup_buf struct sr_buf content = SR_BUF_INIT;
    if (blob == NULL)
        return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "out of memory");
    blob->source = source;
    int result = read_member(blob, member, digest, max, &content, err);
    image_blob_close(blob);
    if (result != 0)
        return result;
    *len = content.len;
    *text = sr_buf_take(&content);
    return *text != NULL ? 0 : sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "out of memory");
}
