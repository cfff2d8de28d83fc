/* The images that come with safe-run: <images of the host configuration>/<name>.img. */
#include "common/sha256.h"
#include "common/timestamp.h"
#include "host/host.h"
#include "saferun/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".img"

/* The name that a file of the directory has as an image; false: it is none. */
static bool image_name(const char *file, char name[SR_IMAGE_NAME_MAX + 1])
{
    size_t len = strlen(file), suffix = sizeof SUFFIX - 1;
    if (len <= suffix || len - suffix > SR_IMAGE_NAME_MAX ||
        strcmp(file + len - suffix, SUFFIX) != 0)
        return false;
    memcpy(name, file, len - suffix);
    name[len - suffix] = '\0';
    return sr_image_name_ok(name);
}

static int is_image(const struct dirent *entry)
{
    char name[SR_IMAGE_NAME_MAX + 1];
    return image_name(entry->d_name, name);
}

/* Reads the whole file for its digest: these images are small and few. */
static int describe(const char *directory, const char *file, struct sr_hasher *hasher,
                    struct sr_image *image)
{
    struct stat st;
    *image = (struct sr_image){.source_kind = "built-in"};
    if (!image_name(file, image->name) ||
        snprintf(image->path, sizeof image->path, "%s/%s", directory, file) >= PATH_MAX)
        return -1;
    sr_cleanup_fd int fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        sr_sha256_fd(hasher, fd, image->digest) < 0)
        return -1;
    image->image_bytes = (uint64_t)st.st_size;
    sr_timestamp_format((int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec, image->built);
    return 0;
}

int sr_image_list_built_in(struct sr_image **images, size_t *count, struct sr_error *err)
{
    struct host_config config;
    if (host_config_load(&config, err) < 0)
        return -1;
    struct dirent **entries = NULL;
    int found = scandir(config.images, &entries, is_image, alphasort);
    if (found < 0 && errno != ENOENT)
        return sr_fail(err, SR_OPS_108, "image.store", "%s cannot be read: %s", config.images,
                       strerror(errno));
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    struct sr_image *list = calloc((size_t)(found > 0 ? found : 1), sizeof *list);
    size_t good = 0;
    for (int i = 0; i < found; i++) {
        if (list != NULL && hasher != NULL &&
            describe(config.images, entries[i]->d_name, hasher, &list[good]) == 0)
            good++;
        free(entries[i]);
    }
    free(entries);
    if (list == NULL || hasher == NULL) {
        free(list);
        return sr_fail(err, SR_OPS_108, "image.store", "out of memory");
    }
    *images = list;
    *count = good;
    return 0;
}
