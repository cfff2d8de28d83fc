#include "saferun/image.h"

#include "image/build.h"
#include "image/config.h"
#include "image/pack_tree.h"
#include "image/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_PATH "image.name"
#define SOURCE_PATH "image.source"

static const struct kind {
    const char *prefix;
    enum image_build_kind kind;
    bool is_directory, has_tags, is_tree;
} kinds[] = {
    {.prefix = "oci-archive:", .kind = IMAGE_BUILD_OCI_ARCHIVE, .has_tags = true},
    {.prefix = "docker-archive:", .kind = IMAGE_BUILD_DOCKER_ARCHIVE, .has_tags = true},
    {.prefix = "oci:", .kind = IMAGE_BUILD_OCI, .is_directory = true, .has_tags = true},
    {.prefix = "dir:", .is_directory = true, .is_tree = true},
    {.prefix = "tar:", .kind = IMAGE_BUILD_TAR},
};

static int check_name(const char *name, struct sr_error *err)
{
    return sr_image_name_ok(name)
               ? 0
               : sr_fail(err, SR_OPS_109, NAME_PATH,
                         "'%.150s' cannot name an image: letters, digits, and . _ - : after the "
                         "first, at most %d",
                         name, SR_IMAGE_NAME_MAX);
}

/* Opens what from names. A ':' that is not in the path separates the name of one of several
 * images. */
static int open_source(const struct kind *kind, const char *rest, char path[PATH_MAX],
                       const char **tag, struct sr_error *err)
{
    int flags =
        O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (kind->is_directory ? O_DIRECTORY : 0);
    if (rest[0] == '\0' || snprintf(path, PATH_MAX, "%s", rest) >= PATH_MAX)
        return sr_fail(err, SR_OPS_101, SOURCE_PATH, "%s needs a path", kind->prefix);
    *tag = "";
    sr_cleanup_fd int fd = open(path, flags);
    int error = errno;
    for (char *colon; fd < 0 && errno == ENOENT && kind->has_tags &&
                      (colon = strrchr(path, ':')) != NULL && colon != path;) {
        *colon = '\0';
        *tag = rest + (colon - path) + 1;
        fd = open(path, flags);
    }
    struct stat st;
    if (fd < 0)
        return sr_fail(err, SR_OPS_101, SOURCE_PATH, "%s cannot be opened: %s", rest,
                       strerror(error));
    if (!kind->is_directory && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
        return sr_fail(err, SR_OPS_101, SOURCE_PATH, "%s is not a regular file", path);
    return sr_take_fd(&fd);
}

static void tell_skipped(void *context, const char *entry, const char *why)
{
    const struct sr_image_build *build = context;
    char text[400];
    snprintf(text, sizeof text, "%.250s is %s and is left out", entry, why);
    if (build->warn != NULL)
        build->warn(build->context, text);
}

static bool tell_progress(void *context, uint64_t bytes)
{
    const struct sr_image_build *build = context;
    return build->progress == NULL || build->progress(build->context, bytes);
}

static int build_directory(const struct sr_image_build *build, int source, const char *path,
                           int image, struct sr_hasher *hasher, struct image_built *built,
                           json_t **config, struct sr_error *err)
{
    const struct image_pack_options options = {
        .compressor = IMAGE_SQFS_ZSTD,
        .xattrs = true,
        .bytes_max = build->bytes_max > 0 ? build->bytes_max : SR_IMAGE_BYTES_MAX,
        .entries_max = build->entries_max > 0 ? build->entries_max : SR_IMAGE_ENTRIES_MAX,
        .code = SR_OPS_101,
        .path = SOURCE_PATH,
        .progress = tell_progress,
        .skipped = tell_skipped,
        .context = (void *)build,
    };
    struct image_pack_result packed;
    if (image_pack(source, path, image, &options, hasher, &packed, err) < 0)
        return -1;
    *config = image_config_make(NULL, NULL, NULL, NULL, NULL, err);
    built->counts = packed.counts;
    return *config != NULL ? 0 : -1;
}

static json_t *facts_of(const struct kind *kind, const struct image_built *built, json_t *config)
{
    const struct image_counts *counts = &built->counts;
    char name[16];
    snprintf(name, sizeof name, "%.*s", (int)strlen(kind->prefix) - 1, kind->prefix);
    return json_pack("{s:O,s:I,s:I,s:I,s:I,s:I,s:I,s:{s:s,s:s}}", "config", config, "imageBytes",
                     (json_int_t)counts->image_bytes, "bytes", (json_int_t)counts->bytes, "files",
                     (json_int_t)counts->files, "directories", (json_int_t)counts->directories,
                     "symlinks", (json_int_t)counts->symlinks, "others", (json_int_t)counts->others,
                     "source", "kind", name, "digest", built->source_digest);
}

/* Everything between the open source and the name in the store. */
static int make_image(const struct sr_image_build *build, const struct kind *kind, int source,
                      const char *path, const char *tag, struct image_store *store,
                      struct sr_error *err)
{
    struct image_built built = {0};
    json_t *config = NULL;
    char digest[SR_SHA256_TEXT], warning[100];
    sr_cleanup_fd int image = image_store_temporary(store, err);
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    if (image < 0)
        return -1;
    if (hasher == NULL)
        return sr_fail(err, SR_OPS_108, SOURCE_PATH, "out of memory");
    if ((kind->is_tree ? build_directory(build, source, path, image, hasher, &built, &config, err)
                       : image_build_archive(build, kind->kind, source, tag, image, &built, &config,
                                             err)) < 0)
        return -1;
    if (built.devices > 0 && build->warn != NULL) {
        snprintf(warning, sizeof warning, "%u devices in /dev are left out", built.devices);
        build->warn(build->context, warning);
    }
    json_t *facts = facts_of(kind, &built, config);
    json_decref(config);
    int result = facts == NULL || sr_sha256_fd(hasher, image, digest) < 0
                     ? sr_fail(err, SR_OPS_108, "image.store", "the image cannot be read")
                     : image_store_add(store, image, build->name, digest, facts, hasher, err);
    json_decref(facts);
    return result;
}

/* Sources that other tools fetch: a registry, a daemon, an engine's storage. */
static void hint_at_archive(const char *from, struct sr_error *err)
{
    static const char *const fetched[] = {"docker://", "docker-daemon:", "containers-storage:"};
    for (size_t i = 0; err != NULL && i < sizeof fetched / sizeof fetched[0]; i++)
        if (strncmp(from, fetched[i], strlen(fetched[i])) == 0)
            snprintf(
                err->hint, sizeof err->hint,
                "nothing is fetched here: 'skopeo copy %.80s oci-archive:image.tar' does, then "
                "--from oci-archive:image.tar",
                from);
}

int sr_image_build(const struct sr_image_build *build, struct sr_image *image, struct sr_error *err)
{
    char path[PATH_MAX];
    const char *tag = "";
    const struct kind *kind = NULL;
    if (check_name(build->name, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strncmp(build->from, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            kind = &kinds[i];
    if (kind == NULL) {
        sr_fail(err, SR_OPS_101, SOURCE_PATH,
                "'%.100s' does not begin with oci-archive:, docker-archive:, oci:, dir: or tar:",
                build->from);
        hint_at_archive(build->from, err);
        return -1;
    }
    sr_cleanup_fd int source =
        open_source(kind, build->from + strlen(kind->prefix), path, &tag, err);
    if (source < 0)
        return -1;
    struct image_store store;
    if (image_store_open(IMAGE_STORE_OWN, true, &store, err) != 0)
        return -1;
    int result = make_image(build, kind, source, path, tag, &store, err);
    if (result == 0)
        result = image_store_read(&store, build->name, image, err);
    image_store_close(&store);
    return result > 0
               ? sr_fail(err, SR_OPS_109, NAME_PATH, "somebody removed %s meanwhile", build->name)
               : result;
}

int sr_image_find(const char *name, struct sr_image *image, struct sr_error *err)
{
    static const enum image_store_which stores[] = {IMAGE_STORE_OWN, IMAGE_STORE_SYSTEM};
    struct sr_error closed = {0};
    if (check_name(name, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof stores / sizeof stores[0]; i++) {
        struct image_store store;
        int result = image_store_open(stores[i], false, &store, &closed);
        if (result < 0) {
            *err = closed;
            return -1;
        }
        if (result > 0)
            continue;
        result = image_store_read(&store, name, image, err);
        image_store_close(&store);
        if (result <= 0)
            return result;
    }
    return sr_fail(err, SR_OPS_109, NAME_PATH,
                   "there is no image %s; 'safe-run image build' makes one%s%s", name,
                   closed.code != SR_OK ? "; " : "", closed.message);
}

/* The user's store, which is there; 1: it is not. */
static int open_own(struct image_store *store, bool lock, struct sr_error *err)
{
    int result = image_store_open(IMAGE_STORE_OWN, false, store, err);
    if (result > 0 && access(store->path, F_OK) < 0 && errno != ENOENT) /* a run does without */
        return sr_fail(err, SR_OPS_108, IMAGE_STORE_PATH, "the image store %s cannot be read: %s",
                       store->path, strerror(errno));
    if (result != 0 || !lock)
        return result;
    result = image_store_lock(store, err);
    if (result < 0)
        image_store_close(store);
    return result;
}

int sr_image_list(struct sr_image **images, size_t *count, struct sr_error *err)
{
    struct image_store store;
    char **names = NULL;
    size_t name_count = 0, found = 0;
    int result = open_own(&store, false, err);
    if (result > 0 && err->code == SR_OK) {
        *images = NULL;
        *count = 0;
        return 0;
    }
    if (result != 0)
        return -1;
    result = image_store_names(&store, &names, &name_count, err);
    struct sr_image *list = calloc(name_count + 1, sizeof *list);
    if (result == 0 && list == NULL)
        result = sr_fail(err, SR_OPS_108, "image.store", "out of memory");
    for (size_t i = 0; list != NULL && result == 0 && i < name_count; i++) {
        result = image_store_read(&store, names[i], &list[found], err);
        found += result == 0;
        result = result > 0 ? 0 : result;
    }
    image_store_free_names(names, name_count);
    image_store_close(&store);
    if (result < 0) {
        for (size_t i = 0; list != NULL && i < found; i++)
            sr_image_free(&list[i]);
        free(list);
        return -1;
    }
    *images = list;
    *count = found;
    return 0;
}

int sr_image_remove(const char *name, struct sr_error *err)
{
    struct image_store store;
    struct sr_image_pruned pruned = {0};
    if (check_name(name, err) < 0)
        return -1;
    int result = open_own(&store, true, err);
    if (result > 0)
        return sr_fail(err, SR_OPS_109, NAME_PATH, "there is no image %s", name);
    if (result < 0)
        return -1;
    result = image_store_unname(&store, name, err);
    if (result == 0)
        result = image_store_sweep(&store, false, &pruned, err);
    image_store_close(&store);
    return result;
}

int sr_image_prune(bool dry_run, struct sr_image_pruned *pruned, struct sr_error *err)
{
    struct image_store store;
    *pruned = (struct sr_image_pruned){0};
    int result = open_own(&store, true, err);
    if (result != 0)
        return result > 0 ? 0 : -1;
    result = image_store_sweep(&store, dry_run, pruned, err);
    image_store_close(&store);
    return result;
}

int sr_image_verify(const struct sr_image *image, struct sr_error *err)
{
    char digest[SR_SHA256_TEXT];
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    sr_cleanup_fd int fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int result = hasher == NULL ? -ENOMEM : fd < 0 ? -errno : sr_sha256_fd(hasher, fd, digest);
    if (result < 0)
        return sr_fail(err, SR_OPS_110, "image.store", "%s (%s) cannot be read: %s", image->name,
                       image->path, strerror(-result));
    return strcmp(digest, image->digest) == 0
               ? 0
               : sr_fail(err, SR_OPS_110, "image.store", "%s (%s) has the digest %s instead of %s",
                         image->name, image->path, digest, image->digest);
}
