#include "archive/bundle.h"

#include "common/failpoint.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

static int stage_error(struct sr_error *err, const char *what, int error)
{
    return sr_fail(err, SR_OPS_301, "archive.bundle", "%s: %s", what, strerror(error));
}

bool archive_manifest_is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t len = strlen(name);
    return len > 0 && len < ARCHIVE_BUNDLE_NAME && strchr(letters, name[0]) != NULL &&
           strspn(name, "._-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == len;
}

const struct archive_manifest_file *archive_manifest_find(const struct archive_manifest *manifest,
                                                          const char *name)
{
    for (size_t i = 0; i < manifest->count; i++)
        if (strcmp(manifest->files[i].name, name) == 0)
            return &manifest->files[i];
    return NULL;
}

void archive_bundle_path(const char *id, char path[ARCHIVE_BUNDLE_PATH])
{
    const char *hex = id + sizeof SR_SHA256_PREFIX - 1;
    snprintf(path, ARCHIVE_BUNDLE_PATH, "bundles/%.2s/%.64s", hex, hex);
}

/* ---- the manifest ---- */

void archive_manifest_write(const struct archive_manifest *manifest, struct sr_buf *out)
{
    sr_buf_puts(out, "{\"files\":[");
    for (size_t i = 0; i < manifest->count; i++) {
        const struct archive_manifest_file *file = &manifest->files[i];
        sr_buf_printf(out, "%s{\"name\":\"%s\",\"sha256\":\"%s\",\"size\":", i > 0 ? "," : "",
                      file->name, file->hash);
        sr_buf_u64(out, file->size);
        sr_buf_putc(out, '}');
    }
    sr_buf_puts(out, "],\"schemaVersion\":\"" ARCHIVE_BUNDLE_SCHEMA "\"}");
}

static bool take_text(const struct sr_json_scan *scan, const char *name, char *field, size_t size)
{
    const struct sr_json_member *member = sr_json_find(scan, name);
    return member != NULL && sr_json_copy_plain(member->value, field, size);
}

static bool take_file(struct sr_json_slice element, struct archive_manifest *manifest)
{
    struct sr_json_scan scan;
    int64_t size = -1;
    if (manifest->count == ARCHIVE_BUNDLE_MAX_FILES || !sr_json_is_object(element) ||
        sr_json_scan(element.text, element.len, SR_JSON_LAST, &scan) != SR_JSON_OK)
        return false;
    struct archive_manifest_file *file = &manifest->files[manifest->count];
    const struct sr_json_member *member = sr_json_find(&scan, "size");
    if (!take_text(&scan, "name", file->name, sizeof file->name) ||
        !take_text(&scan, "sha256", file->hash, sizeof file->hash) || member == NULL ||
        !sr_json_integer(member->value, &size) || size < 0 ||
        (uint64_t)size > ARCHIVE_BUNDLE_MAX_FILE || !archive_manifest_is_name(file->name) ||
        !sr_is_sha256(file->hash) ||
        (manifest->count > 0 && strcmp(file[-1].name, file->name) >= 0))
        return false;
    file->size = (uint64_t)size;
    manifest->count++;
    return true;
}

bool archive_manifest_parse(const char *text, size_t len, struct sr_hasher *hasher,
                            struct archive_manifest *manifest)
{
    struct sr_json_scan scan;
    struct sr_json_slice element;
    sr_cleanup_buf struct sr_buf again = SR_BUF_INIT;
    manifest->count = 0;
    if (len > ARCHIVE_BUNDLE_MAX_MANIFEST ||
        sr_json_scan(text, len, SR_JSON_LAST, &scan) != SR_JSON_OK)
        return false;
    const struct sr_json_member *files = sr_json_find(&scan, "files");
    if (files == NULL || !sr_json_is_array(files->value))
        return false;
    for (size_t at = 0; sr_json_next(files->value, &at, &element);)
        if (!take_file(element, manifest))
            return false;
    /* Written again it must be the same bytes: there is one manifest for one set of files. */
    archive_manifest_write(manifest, &again);
    return sr_buf_ok(&again) && again.len == len && memcmp(again.data, text, len) == 0 &&
           archive_manifest_find(manifest, ARCHIVE_BUNDLE_REPORT) != NULL &&
           sr_sha256(hasher, text, len, manifest->id) == 0;
}

bool archive_bundle_read(int dir, const char *id, struct sr_hasher *hasher,
                         struct archive_manifest *manifest, struct sr_buf *text)
{
    char bytes[ARCHIVE_BUNDLE_MAX_MANIFEST + 2];
    ssize_t len = sr_read_small_file(dir, ARCHIVE_BUNDLE_MANIFEST, bytes, sizeof bytes);
    if (len < 0 || !archive_manifest_parse(bytes, (size_t)len, hasher, manifest) ||
        strcmp(manifest->id, id) != 0)
        return false;
    if (text != NULL)
        sr_buf_append(text, bytes, (size_t)len);
    return true;
}

void archive_bundle_report_path(const char *id, char path[ARCHIVE_BUNDLE_REPORT_PATH])
{
    archive_bundle_path(id, path);
    size_t len = strlen(path);
    snprintf(path + len, ARCHIVE_BUNDLE_REPORT_PATH - len, "/" ARCHIVE_BUNDLE_REPORT);
}

bool archive_bundle_has_hash(int dir, const char *name, const char *hash, struct sr_hasher *hasher)
{
    char found[SR_SHA256_TEXT];
    sr_cleanup_fd int fd = sr_open_below(dir, name);
    return fd >= 0 && sr_sha256_fd(hasher, fd, found) == 0 && strcmp(found, hash) == 0;
}

bool archive_bundle_is_whole(int root, const char *id, const char *report, struct sr_hasher *hasher)
{
    char path[ARCHIVE_BUNDLE_PATH];
    archive_bundle_path(id, path);
    sr_cleanup_free struct archive_manifest *manifest = malloc(sizeof *manifest);
    sr_cleanup_fd int dir = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    sr_cleanup_fd int files =
        openat(dir, ARCHIVE_BUNDLE_FILES_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool whole = manifest != NULL && files >= 0 &&
                 archive_bundle_read(dir, id, hasher, manifest, NULL) &&
                 archive_bundle_has_hash(dir, ARCHIVE_BUNDLE_REPORT, report, hasher);
    for (size_t i = 0; whole && i < manifest->count; i++)
        whole = archive_bundle_has_hash(files, manifest->files[i].name, manifest->files[i].hash,
                                        hasher);
    return whole;
}

/* ---- making one ---- */

int archive_staging_begin(struct archive_staging *stage, int root, struct sr_hasher *hasher,
                          struct sr_error *err)
{
    uint64_t number;
    *stage = ARCHIVE_STAGING_INIT;
    stage->root = root;
    stage->hasher = hasher;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return stage_error(err, "no random number", errno);
    char name[sizeof stage->name];
    snprintf(name, sizeof name, ARCHIVE_BUNDLE_TEMPORARY "%016llx", (unsigned long long)number);
    if (SR_FAILPOINT("archive.stage") || mkdirat(root, name, 0700) < 0)
        return stage_error(err, "a temporary directory cannot be made", errno);
    memcpy(stage->name, name, sizeof name);
    stage->dir = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (stage->dir >= 0 && mkdirat(stage->dir, ARCHIVE_BUNDLE_FILES_DIR, 0700) == 0)
        stage->files = openat(stage->dir, ARCHIVE_BUNDLE_FILES_DIR,
                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (stage->files >= 0)
        return 0;
    stage_error(err, "a temporary directory cannot be made", errno);
    archive_staging_free(stage);
    return -1;
}

void archive_staging_free(struct archive_staging *stage)
{
    sr_close_fd(&stage->run);
    sr_close_fd(&stage->files);
    sr_close_fd(&stage->dir);
    if (stage->name[0] != '\0' && sr_remove_tree(stage->root, stage->name) == 0)
        stage->name[0] = '\0'; /* else the next writer removes it */
}

/* Puts a file into its place in the list. */
static int add_file(struct archive_manifest *manifest, const struct archive_manifest_file *file,
                    struct sr_error *err)
{
    if (manifest->count == ARCHIVE_BUNDLE_MAX_FILES)
        return sr_fail(err, SR_OPS_301, "archive.bundle", "more than %d files",
                       ARCHIVE_BUNDLE_MAX_FILES);
    size_t at = manifest->count++;
    for (; at > 0 && strcmp(manifest->files[at - 1].name, file->name) > 0; at--)
        manifest->files[at] = manifest->files[at - 1];
    manifest->files[at] = *file;
    return 0;
}

/* Where a file's bytes come from: a file from its start to its end, or so many of a stream. */
struct origin {
    int fd;
    bool stream;
    uint64_t size; /* of the stream's part */
};

static ssize_t read_some(const struct origin *from, char *to, size_t size, uint64_t at)
{
    if (from->stream && from->size - at < size)
        size = (size_t)(from->size - at);
    ssize_t got;
    do
        got = from->stream ? read(from->fd, to, size) : pread(from->fd, to, size, (off_t)at);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* Copies and hashes; a negative errno, -EFBIG when it is too long, -ENODATA when it ends early. */
static int copy_bytes(struct archive_staging *stage, const struct origin *from, int to,
                      uint64_t *size)
{
    enum { CHUNK = 128 * 1024 };
    sr_cleanup_free char *chunk = malloc(CHUNK);
    if (chunk == NULL)
        return -ENOMEM;
    *size = 0;
    sr_hasher_reset(stage->hasher);
    for (;;) {
        ssize_t got = read_some(from, chunk, CHUNK, *size);
        if (got < 0)
            return (int)got;
        if (got == 0 && from->stream && *size < from->size)
            return -ENODATA;
        if (got == 0)
            return ftruncate(to, (off_t)*size) < 0 ? -errno : 0;
        const uint64_t at = *size;
        *size += (uint64_t)got;
        if (*size > ARCHIVE_BUNDLE_MAX_FILE)
            return -EFBIG;
        sr_hasher_update(stage->hasher, chunk, (size_t)got);
        int result = sr_write_sparse(to, chunk, (size_t)got, at);
        if (result < 0)
            return result;
    }
}

static int open_new(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

static int copy_file(struct archive_staging *stage, const char *name, const struct origin *from,
                     struct sr_error *err)
{
    struct archive_manifest_file file;
    struct stat st;
    snprintf(file.name, sizeof file.name, "%s", name);
    sr_cleanup_fd int to = open_new(stage->files, name);
    int result = to < 0 ? to : 0;
    /* A file with a hole may be larger than all disks: nothing of it is read then. */
    if (result == 0 && !from->stream && fstat(from->fd, &st) == 0 &&
        (uint64_t)st.st_size > ARCHIVE_BUNDLE_MAX_FILE)
        result = -EFBIG;
    if (result == 0)
        result = copy_bytes(stage, from, to, &file.size);
    if (result == 0 && sr_hasher_final(stage->hasher, file.hash) < 0)
        result = -EIO;
    if (result == 0 && (SR_FAILPOINT("archive.copy") || fsync(to) < 0))
        result = -errno;
    return result < 0 ? stage_error(err, name, -result) : add_file(&stage->manifest, &file, err);
}

int archive_staging_copy(struct archive_staging *stage, const char *name, int fd,
                         struct sr_error *err)
{
    const struct origin from = {.fd = fd};
    return copy_file(stage, name, &from, err);
}

int archive_staging_receive(struct archive_staging *stage, const char *name, int fd, uint64_t size,
                            struct sr_error *err)
{
    const struct origin from = {.fd = fd, .stream = true, .size = size};
    return copy_file(stage, name, &from, err);
}

int archive_staging_text(struct archive_staging *stage, const char *name, const struct sr_buf *text,
                         struct sr_error *err)
{
    struct archive_manifest_file file = {.size = text->len};
    snprintf(file.name, sizeof file.name, "%s", name);
    if (!sr_buf_ok(text) || sr_sha256(stage->hasher, text->data, text->len, file.hash) < 0)
        return stage_error(err, name, ENOMEM);
    int result = sr_write_new_file(stage->files, name, text->data, text->len);
    return result < 0 ? stage_error(err, name, -result) : add_file(&stage->manifest, &file, err);
}

int archive_staging_close(struct archive_staging *stage, struct sr_error *err)
{
    sr_cleanup_buf struct sr_buf manifest = SR_BUF_INIT;
    archive_manifest_write(&stage->manifest, &manifest);
    if (!sr_buf_ok(&manifest) ||
        sr_sha256(stage->hasher, manifest.data, manifest.len, stage->manifest.id) < 0)
        return stage_error(err, ARCHIVE_BUNDLE_MANIFEST, ENOMEM);
    int result =
        sr_write_new_file(stage->dir, ARCHIVE_BUNDLE_MANIFEST, manifest.data, manifest.len);
    if (result == 0 && fsync(stage->files) < 0)
        result = -errno;
    return result < 0 ? stage_error(err, ARCHIVE_BUNDLE_MANIFEST, -result) : 0;
}

/* Opens "bundles/ab" of an id, making what is not there; a descriptor or a negative errno. */
static int open_shard(int root, const char *id)
{
    char path[ARCHIVE_BUNDLE_PATH];
    archive_bundle_path(id, path);
    path[sizeof "bundles/ab" - 1] = '\0';
    if (mkdirat(root, "bundles", 0700) == 0 && fsync(root) < 0)
        return -errno;
    sr_cleanup_fd int bundles =
        openat(root, "bundles", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (bundles < 0 || (mkdirat(root, path, 0700) == 0 && fsync(bundles) < 0))
        return -errno;
    int shard = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return shard < 0 ? -errno : shard;
}

int archive_staging_place(struct archive_staging *stage, struct sr_error *err)
{
    sr_cleanup_fd int shard = open_shard(stage->root, stage->manifest.id);
    const char *hex = stage->manifest.id + sizeof SR_SHA256_PREFIX - 1;
    if (shard < 0)
        return stage_error(err, "its place cannot be made", -shard);
    if (fsync(stage->dir) < 0 || SR_FAILPOINT("archive.place") ||
        renameat(stage->root, stage->name, shard, hex) < 0)
        return stage_error(err, "it cannot be put in its place", errno);
    stage->name[0] = '\0';
    return fsync(shard) < 0 ? stage_error(err, "its place is not durable", errno) : 0;
}

bool archive_bundle_is_temporary(const char *name)
{
    const size_t prefix = sizeof ARCHIVE_BUNDLE_TEMPORARY - 1;
    if (strncmp(name, ARCHIVE_BUNDLE_TEMPORARY, prefix) != 0)
        return false;
    size_t digits = strspn(name + prefix, "0123456789abcdef");
    return name[prefix + digits] == '\0' &&
           (digits == 2 * sizeof(uint64_t) || digits == SR_SHA256_HEX);
}

int archive_bundle_remove(int root, const char *id, struct sr_error *err)
{
    char path[ARCHIVE_BUNDLE_PATH], temporary[ARCHIVE_BUNDLE_PATH];
    archive_bundle_path(id, path);
    snprintf(temporary, sizeof temporary, ARCHIVE_BUNDLE_TEMPORARY "%.64s",
             id + sizeof SR_SHA256_PREFIX - 1);
    if (SR_FAILPOINT("archive.remove") || renameat(root, path, root, temporary) < 0)
        return errno == ENOENT ? 0 : stage_error(err, "it cannot be removed", errno);
    int result = sr_remove_tree(root, temporary);
    return result < 0 ? stage_error(err, "it cannot be removed", -result) : 0;
}
