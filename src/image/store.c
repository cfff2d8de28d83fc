/*
 * Order of an addition, and what a crash leaves after each step:
 *   1. the image in a file without a name, complete and durable: nothing (the kernel frees it);
 *   2. the lock; the file gets its name in blobs/, durable: an image that no name stands for, which
 *      prune removes;
 *   3. the description under a temporary name, durable: the same, and a file that prune removes;
 *   4. renamed to its place, durable: done.
 * Readers take no lock: a description is there whole, and the image it names was there before it.
 */
#include "image/store.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "common/jcs.h"
#include "common/json_member.h"
#include "common/owner.h"
#include "common/timestamp.h"
#include "image/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define SYSTEM_STORE "/var/lib/safe-run/images"
#define SUFFIX ".json"
#define TEMPORARY "."
/* A description: a configuration and a few numbers. */
#define DESCRIPTION_MAX (2 * IMAGE_CONFIG_MAX)

static int store_error(struct sr_error *err, const struct image_store *store, const char *what,
                       int error)
{
    return sr_fail(err, SR_OPS_108, IMAGE_STORE_PATH, "the image store %s %s: %s", store->path,
                   what, strerror(error));
}

static int own_path(char path[PATH_MAX])
{
    const char *named = getenv("SAFE_RUN_IMAGE_STORE"), *xdg = getenv("XDG_DATA_HOME"),
               *home = getenv("HOME");
    int len;
    if (named != NULL && named[0] != '\0')
        len = snprintf(path, PATH_MAX, "%s", named);
    else if (geteuid() == 0)
        len = snprintf(path, PATH_MAX, SYSTEM_STORE);
    else if (xdg != NULL && xdg[0] == '/')
        len = snprintf(path, PATH_MAX, "%s/safe-run/images", xdg);
    else if (home != NULL && home[0] == '/')
        len = snprintf(path, PATH_MAX, "%s/.local/share/safe-run/images", home);
    else
        return -1;
    return len < PATH_MAX ? 0 : -1;
}

/* A directory that others can write could tell us anything. A descriptor, or a negative errno and
 * why. */
static int open_trusted(int parent, const char *name, char why[SR_OWNER_TEXT])
{
    sr_cleanup_fd int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        snprintf(why, SR_OWNER_TEXT, "cannot be opened: %s", strerror(error));
        return -error;
    }
    int result = sr_judge_place(fd, why);
    return result < 0 ? result : sr_take_fd(&fd);
}

static int make_store(const struct image_store *store, struct sr_error *err)
{
    char below[PATH_MAX + 16];
    mode_t mode = geteuid() == 0 ? 0755 : 0700;
    static const char *const directories[] = {"blobs", "names"};
    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
        snprintf(below, sizeof below, "%s/%s", store->path, directories[i]);
        int result = sr_mkdir_all(below, mode);
        if (result < 0)
            return store_error(err, store, "cannot be made", -result);
    }
    return 0;
}

int image_store_open(enum image_store_which which, bool create, struct image_store *store,
                     struct sr_error *err)
{
    char real[PATH_MAX];
    *store = (struct image_store){.names = -1, .blobs = -1, .lock = -1};
    if (own_path(store->path) < 0) {
        if (which == IMAGE_STORE_OWN)
            return sr_fail(err, SR_OPS_108, IMAGE_STORE_PATH,
                           "there is no place for images: set HOME or SAFE_RUN_IMAGE_STORE");
    } else if (which == IMAGE_STORE_SYSTEM && strcmp(store->path, SYSTEM_STORE) == 0) {
        return 1;
    }
    if (which == IMAGE_STORE_SYSTEM)
        snprintf(store->path, sizeof store->path, SYSTEM_STORE);
    if (create && make_store(store, err) < 0)
        return -1;
    if (realpath(store->path, real) == NULL) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 1;
        bool is_closed = errno == EACCES;
        int result = store_error(err, store, "cannot be opened", errno);
        return is_closed ? 1 : result;
    }
    memcpy(store->path, real, sizeof real);
    char why[SR_OWNER_TEXT];
    sr_cleanup_fd int top = open_trusted(AT_FDCWD, store->path, why);
    int fault = top < 0 ? top : 0;
    if (fault == 0)
        fault = (store->blobs = open_trusted(top, "blobs", why)) < 0 ? store->blobs : 0;
    if (fault == 0)
        fault = (store->names = open_trusted(top, "names", why)) < 0 ? store->names : 0;
    if (fault == 0)
        return 0;
    image_store_close(store);
    if (fault == -ENOENT)
        return 1;
    int result =
        sr_fail(err, SR_OPS_108, IMAGE_STORE_PATH, "the image store %s %s", store->path, why);
    return which == IMAGE_STORE_SYSTEM && fault == -EACCES ? 1 : result;
}

void image_store_close(struct image_store *store)
{
    sr_close_fd(&store->names);
    sr_close_fd(&store->blobs);
    sr_close_fd(&store->lock);
}

int image_store_lock(struct image_store *store, struct sr_error *err)
{
    store->lock =
        openat(store->names, TEMPORARY "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock < 0)
        return store_error(err, store, "cannot be locked", errno);
    while (flock(store->lock, LOCK_EX) < 0)
        if (errno != EINTR)
            return store_error(err, store, "cannot be locked", errno);
    return 0;
}

int image_store_temporary(const struct image_store *store, struct sr_error *err)
{
    int fd = SR_FAILPOINT("image.temporary")
                 ? -1
                 : openat(store->blobs, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0400);
    return fd >= 0 ? fd : store_error(err, store, "cannot hold an unfinished image", errno);
}

/* Whether the image that is there has the digest of its name. */
static bool holds(const struct image_store *store, const char *file, const char *digest,
                  struct sr_hasher *hasher)
{
    char found[SR_SHA256_TEXT];
    sr_cleanup_fd int fd = openat(store->blobs, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && sr_sha256_fd(hasher, fd, found) == 0 && strcmp(found, digest) == 0;
}

static int place_blob(const struct image_store *store, int image, const char *digest,
                      struct sr_hasher *hasher, char file[SR_SHA256_TEXT + 8], struct sr_error *err)
{
    char path[32];
    snprintf(file, SR_SHA256_TEXT + 8, "%s.img", digest + strlen(SR_SHA256_PREFIX));
    snprintf(path, sizeof path, "/proc/self/fd/%d", image);
    if (fchmod(image, 0444) < 0 || fsync(image) < 0)
        return store_error(err, store, "cannot be written", errno);
    if (faccessat(store->blobs, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
        !holds(store, file, digest, hasher) && unlinkat(store->blobs, file, 0) < 0)
        return store_error(err, store, "has a damaged image that cannot be removed", errno);
    if (SR_FAILPOINT("image.link") ||
        (linkat(AT_FDCWD, path, store->blobs, file, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST) ||
        fsync(store->blobs) < 0)
        return store_error(err, store, "cannot be written", errno);
    return 0;
}

static int write_description(const struct image_store *store, const char *name, const json_t *facts,
                             struct sr_error *err)
{
    char file[SR_IMAGE_NAME_MAX + 16], temporary[SR_IMAGE_NAME_MAX + 32];
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_jcs_value(&text, facts);
    sr_buf_putc(&text, '\n');
    if (!sr_buf_ok(&text) || text.len > DESCRIPTION_MAX)
        return sr_fail(err, SR_OPS_108, IMAGE_STORE_PATH, "the image's description is too long");
    snprintf(file, sizeof file, "%s" SUFFIX, name);
    snprintf(temporary, sizeof temporary, TEMPORARY "new-%s", name); /* the lock makes it ours */
    unlinkat(store->names, temporary, 0);
    int result = sr_write_new_file(store->names, temporary, text.data, text.len);
    /* 0444: whoever can come here can read the image, too. */
    if (result == 0 &&
        (fchmodat(store->names, temporary, 0444, 0) < 0 || SR_FAILPOINT("image.name") ||
         renameat(store->names, temporary, store->names, file) < 0)) {
        result = -errno;
        unlinkat(store->names, temporary, 0);
    }
    if (result == 0 && fsync(store->names) < 0)
        result = -errno;
    return result < 0 ? store_error(err, store, "cannot be written", -result) : 0;
}

int image_store_add(struct image_store *store, int image, const char *name, const char *digest,
                    json_t *facts, struct sr_hasher *hasher, struct sr_error *err)
{
    char file[SR_SHA256_TEXT + 8], identity[SR_IDENTITY_TEXT], now[SR_TIMESTAMP_TEXT];
    if (image_store_lock(store, err) < 0 || place_blob(store, image, digest, hasher, file, err) < 0)
        return -1;
    sr_cleanup_fd int stored = openat(store->blobs, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (stored < 0 || sr_file_identity(stored, identity) < 0)
        return store_error(err, store, "cannot be read", errno);
    sr_timestamp_now(now);
    if (json_object_set_new(facts, "schemaVersion", json_string(IMAGE_SCHEMA)) < 0 ||
        json_object_set_new(facts, "name", json_string(name)) < 0 ||
        json_object_set_new(facts, "digest", json_string(digest)) < 0 ||
        json_object_set_new(facts, "identity", json_string(identity)) < 0 ||
        json_object_set_new(facts, "builtAt", json_string(now)) < 0)
        return store_error(err, store, "cannot be written", ENOMEM);
    return write_description(store, name, facts, err);
}

static bool take_counts(const json_t *json, struct sr_image *image)
{
    uint64_t files, directories, symlinks, others;
    if (!sr_member_number(json, "imageBytes", INT64_MAX, &image->image_bytes) ||
        !sr_member_number(json, "bytes", INT64_MAX, &image->bytes) ||
        !sr_member_number(json, "files", UINT32_MAX, &files) ||
        !sr_member_number(json, "directories", UINT32_MAX, &directories) ||
        !sr_member_number(json, "symlinks", UINT32_MAX, &symlinks) ||
        !sr_member_number(json, "others", UINT32_MAX, &others))
        return false;
    image->files = (uint32_t)files;
    image->directories = (uint32_t)directories;
    image->symlinks = (uint32_t)symlinks;
    image->others = (uint32_t)others;
    return true;
}

static bool take_description(const struct image_store *store, const json_t *json,
                             struct sr_image *image)
{
    char schema[32];
    const json_t *source = json_object_get(json, "source");
    if (!sr_member_copy(json, "schemaVersion", schema, sizeof schema) ||
        strcmp(schema, IMAGE_SCHEMA) != 0 ||
        !sr_member_copy(json, "name", image->name, sizeof image->name) ||
        !sr_member_copy(json, "digest", image->digest, sizeof image->digest) ||
        !sr_member_copy(json, "identity", image->identity, sizeof image->identity) ||
        !sr_member_copy(json, "builtAt", image->built, sizeof image->built) ||
        !sr_member_copy(source, "kind", image->source_kind, sizeof image->source_kind) ||
        !sr_member_copy(source, "digest", image->source_digest, sizeof image->source_digest) ||
        !take_counts(json, image))
        return false;
    if (!sr_is_sha256(image->digest)) /* before it becomes part of a path */
        return false;
    return snprintf(image->path, sizeof image->path, "%s/blobs/%s.img", store->path,
                    image->digest + strlen(SR_SHA256_PREFIX)) < (int)sizeof image->path &&
           image_config_take(json_object_get(json, "config"), &image->config) == 0;
}

int image_store_read(const struct image_store *store, const char *name, struct sr_image *image,
                     struct sr_error *err)
{
    char file[SR_IMAGE_NAME_MAX + 16];
    snprintf(file, sizeof file, "%s" SUFFIX, name);
    sr_cleanup_free char *text = malloc(DESCRIPTION_MAX + 2);
    if (text == NULL)
        return store_error(err, store, "cannot be read", ENOMEM);
    ssize_t len = sr_read_small_file(store->names, file, text, DESCRIPTION_MAX + 2);
    if (len == -ENOENT)
        return 1;
    if (len < 0)
        return store_error(err, store, "cannot be read", (int)-len);
    struct sr_image found = {0};
    json_t *json = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL || !take_description(store, json, &found) || strcmp(found.name, name) != 0) {
        json_decref(json);
        return sr_fail(err, SR_OPS_110, IMAGE_STORE_PATH,
                       "%s/names/%s is not what safe-run wrote; build the image again", store->path,
                       file);
    }
    found.owner = json;
    *image = found;
    return 0;
}

void sr_image_free(struct sr_image *image)
{
    image_config_free(&image->config);
    json_decref(image->owner);
    image->owner = NULL;
}

int image_store_unname(struct image_store *store, const char *name, struct sr_error *err)
{
    char file[SR_IMAGE_NAME_MAX + 16];
    snprintf(file, sizeof file, "%s" SUFFIX, name);
    if (unlinkat(store->names, file, 0) < 0)
        return errno == ENOENT ? sr_fail(err, SR_OPS_109, "image.name",
                                         "there is no image %s in %s", name, store->path)
                               : store_error(err, store, "cannot be changed", errno);
    return fsync(store->names) < 0 ? store_error(err, store, "cannot be changed", errno) : 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The entries of a directory whose names end with suffix, without it. */
static int list(int directory, const char *suffix, char ***names, size_t *count)
{
    DIR *stream = sr_open_list(directory);
    if (stream == NULL)
        return -1;
    char **found = NULL;
    size_t number = 0, end = strlen(suffix);
    bool good = true;
    struct dirent *entry;
    while (good && (entry = readdir(stream)) != NULL) {
        size_t len = strlen(entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || len <= end ||
            strcmp(entry->d_name + len - end, suffix) != 0)
            continue;
        char **grown = realloc(found, (number + 1) * sizeof *grown);
        char *name = strndup(entry->d_name, len - end);
        found = grown != NULL ? grown : found;
        good = grown != NULL && name != NULL;
        if (good)
            found[number++] = name;
        else
            free(name);
    }
    closedir(stream);
    if (!good) {
        image_store_free_names(found, number);
        errno = ENOMEM;
        return -1;
    }
    if (found != NULL)
        qsort(found, number, sizeof *found, compare_names);
    *names = found;
    *count = number;
    return 0;
}

void image_store_free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

int image_store_names(const struct image_store *store, char ***names, size_t *count,
                      struct sr_error *err)
{
    if (list(store->names, SUFFIX, names, count) < 0)
        return store_error(err, store, "cannot be read", errno);
    size_t kept = 0; /* what prune has to do with is no name */
    for (size_t i = 0; i < *count; i++)
        if (sr_image_name_ok((*names)[i]))
            (*names)[kept++] = (*names)[i];
        else
            free((*names)[i]);
    *count = kept;
    return 0;
}

/* Whether some name stands for the image of that file name. */
static bool is_named(const struct sr_image *images, size_t count, const char *hex)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(images[i].digest + strlen(SR_SHA256_PREFIX), hex) == 0)
            return true;
    return false;
}

static int sweep_blobs(struct image_store *store, bool dry_run, const struct sr_image *images,
                       size_t image_count, struct sr_image_pruned *pruned, struct sr_error *err)
{
    char **blobs = NULL;
    size_t count = 0;
    if (list(store->blobs, ".img", &blobs, &count) < 0)
        return store_error(err, store, "cannot be read", errno);
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        char file[NAME_MAX + 1];
        struct stat st;
        snprintf(file, sizeof file, "%.240s.img", blobs[i]);
        if (is_named(images, image_count, blobs[i]) ||
            fstatat(store->blobs, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (!dry_run && unlinkat(store->blobs, file, 0) < 0) {
            result = store_error(err, store, "cannot be changed", errno);
            continue;
        }
        pruned->count++;
        pruned->bytes += (uint64_t)st.st_size;
    }
    image_store_free_names(blobs, count);
    return result;
}

/* Descriptions that never got their name; the lock keeps others from making some meanwhile. */
static void sweep_descriptions(const struct image_store *store)
{
    char **names = NULL;
    size_t count = 0;
    static const char prefix[] = TEMPORARY "new-";
    if (list(store->names, "", &names, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (strncmp(names[i], prefix, strlen(prefix)) == 0)
            unlinkat(store->names, names[i], 0);
    image_store_free_names(names, count);
}

int image_store_sweep(struct image_store *store, bool dry_run, struct sr_image_pruned *pruned,
                      struct sr_error *err)
{
    char **names = NULL;
    size_t count = 0, read = 0;
    if (image_store_names(store, &names, &count, err) < 0)
        return -1;
    struct sr_image *images = calloc(count + 1, sizeof *images);
    if (images == NULL) {
        image_store_free_names(names, count);
        return store_error(err, store, "cannot be read", ENOMEM);
    }
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = image_store_read(store, names[i], &images[read], err);
        read += result == 0;
        result = result > 0 ? 0 : result; /* a name that went away between the two */
    }
    if (result == 0)
        result = sweep_blobs(store, dry_run, images, read, pruned, err);
    if (result == 0 && !dry_run)
        sweep_descriptions(store);
    for (size_t i = 0; i < read; i++)
        sr_image_free(&images[i]);
    free(images);
    image_store_free_names(names, count);
    return result;
}
