/*
 * Packed inputs that are kept. An image lies under the hash of what the kernel tells of its source (sr_pack_fingerprint()) and of
 * the owner its entries have, beside a note of the same name that says the image's own hash and identity, and by whose time of
 * change the images are removed that were not used for longest.
 *
 * The image is linked first and the note comes into being by a rename, so a crash leaves at worst an image without a note, which
 * counts for nothing and goes with the next trim. Who has an image open keeps it, whatever happens to its name.
 */
#include "input_store.h"

#include "failpoint.h"
#include "fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define IMAGE ".img"
#define NOTE ".note"
/* Without a note for so long, an image is nobody's who is just linking it. */
#define ORPHAN_SEC 600

int sr_input_store_open(const struct sr_host_config *config)
{
    struct stat st;
    sr_cleanup_fd int fd = -1;
    if (config->inputs_max == 0)
        return -1;
    if (config->inputs[0] != '\0') {
        if (sr_mkdir_all(config->inputs, 0700) < 0)
            return -1;
        fd = open(config->inputs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } else {
        sr_cleanup_fd int cache = sr_cache_open();
        if (cache < 0 || (mkdirat(cache, "inputs", 0700) < 0 && errno != EEXIST))
            return -1;
        fd = openat(cache, "inputs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    /* Images hold what their sources hold, and whoever can write here says what guests see. */
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return -1;
    return sr_take_fd(&fd);
}

void input_store_name(const char *fingerprint, uint32_t uid, uint32_t gid,
                      char name[INPUT_STORE_NAME])
{
    snprintf(name, INPUT_STORE_NAME, "%s-%u-%u", fingerprint + strlen(SR_SHA256_PREFIX), uid, gid);
}

static int open_file(int store, const char *name, const char *kind)
{
    char path[INPUT_STORE_NAME + 8];
    snprintf(path, sizeof path, "%s%s", name, kind);
    return openat(store, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
}

/* Fills found from a note; who is the identity of the image that it is about. */
static bool read_note(int store, const char *path, struct sr_input *found,
                      char who[SR_IDENTITY_TEXT])
{
    char text[1024];
    if (sr_read_small_file(store, path, text, sizeof text) <= 0)
        return false;
    // NOLINTNEXTLINE(cert-err34-c): numbers of our own
    int got = sscanf(text,
                     "%71[sha256:0-9a-f]\n%159[0-9. ]\n%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                     "\n%199[^\n]",
                     found->hash, who, &found->image_bytes, &found->bytes, &found->files,
                     &found->skipped, found->first_skipped);
    return got >= 6 && strlen(found->hash) == SR_SHA256_TEXT - 1;
}

bool input_store_find(int store, const char *name, struct sr_input *input)
{
    char path[INPUT_STORE_NAME + 8], who[SR_IDENTITY_TEXT], is[SR_IDENTITY_TEXT];
    struct sr_input found = {.is_file = input->is_file, .reused = true};
    snprintf(path, sizeof path, "%s" NOTE, name);
    sr_cleanup_fd int fd = store >= 0 ? open_file(store, name, IMAGE) : -1;
    if (fd < 0 || sr_file_identity(fd, is) < 0 || !read_note(store, path, &found, who) ||
        strcmp(who, is) != 0)
        return false;
    utimensat(store, path, NULL, AT_SYMLINK_NOFOLLOW); /* used now */
    *input = found;
    input->fd = sr_take_fd(&fd);
    return true;
}

void input_store_keep(int store, const char *name, const struct sr_input *input)
{
    char path[INPUT_STORE_NAME + 8], self[40], who[SR_IDENTITY_TEXT], text[1024];
    snprintf(path, sizeof path, "%s" IMAGE, name);
    snprintf(self, sizeof self, "/proc/self/fd/%d", input->fd);
    if (SR_FAILPOINT("inputs.keep"))
        return;
    if (linkat(AT_FDCWD, self, store, path, AT_SYMLINK_FOLLOW) < 0) {
        if (errno != EEXIST)
            return;
        sr_cleanup_fd int there = open_file(store, name, NOTE);
        if (there >= 0)
            return; /* somebody else was faster */
        unlinkat(store, path, 0);
        if (linkat(AT_FDCWD, self, store, path, AT_SYMLINK_FOLLOW) < 0)
            return;
    }
    if (sr_file_identity(input->fd, who) < 0)
        return;
    int len =
        snprintf(text, sizeof text, "%s\n%s\n%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n%s\n",
                 input->hash, who, input->image_bytes, input->bytes, input->files, input->skipped,
                 input->first_skipped);
    snprintf(path, sizeof path, "%s" NOTE, name);
    if (SR_FAILPOINT("inputs.note") || sr_replace_file(store, path, text, (size_t)len) < 0)
        return;
}

/* A kept image, as trim sees it. */
struct kept {
    char name[INPUT_STORE_NAME];
    uint64_t bytes;
    int64_t used; /* seconds since 1970 */
};

static void forget(int store, const char *name)
{
    char path[INPUT_STORE_NAME + 8];
    snprintf(path, sizeof path, "%s" NOTE, name);
    unlinkat(store, path, 0);
    snprintf(path, sizeof path, "%s" IMAGE, name);
    unlinkat(store, path, 0);
}

static int by_use(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used;
}

/* Describes what an entry of the directory belongs to; false: nothing that counts (and it is gone if it is old). */
static bool examine(int store, const char *entry, struct kept *kept)
{
    struct stat image, note;
    char path[INPUT_STORE_NAME + 8];
    size_t len = strlen(entry), kind = strlen(IMAGE);
    if (fstatat(store, entry, &image, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(image.st_mode))
        return false;
    if (len <= kind || strcmp(entry + len - kind, IMAGE) != 0) {
        if (entry[0] == '.' && time(NULL) - image.st_ctim.tv_sec > ORPHAN_SEC)
            unlinkat(store, entry, 0); /* a note that was never finished */
        return false;
    }
    if (len - kind >= sizeof kept->name)
        return false;
    memcpy(kept->name, entry, len - kind);
    kept->name[len - kind] = '\0';
    snprintf(path, sizeof path, "%s" NOTE, kept->name);
    if (fstatat(store, path, &note, AT_SYMLINK_NOFOLLOW) < 0) {
        if (time(NULL) - image.st_ctim.tv_sec > ORPHAN_SEC)
            unlinkat(store, entry, 0);
        return false;
    }
    kept->bytes = (uint64_t)image.st_blocks * 512;
    kept->used = note.st_mtim.tv_sec;
    return true;
}

void sr_input_store_trim(int store, uint64_t max, int64_t older_than_sec)
{
    DIR *dir = sr_open_list(store);
    sr_cleanup_free struct kept *list = NULL;
    size_t count = 0;
    uint64_t total = 0;
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct kept kept;
        if (!examine(store, entry->d_name, &kept))
            continue;
        struct kept *grown = realloc(list, (count + 1) * sizeof *grown);
        if (grown == NULL)
            break;
        list = grown;
        list[count++] = kept;
        total += kept.bytes;
    }
    if (dir != NULL)
        closedir(dir);
    if (count > 1)
        qsort(list, count, sizeof *list, by_use);
    int64_t oldest = older_than_sec < 0 ? INT64_MIN : (int64_t)time(NULL) - older_than_sec;
    for (size_t i = 0; i < count && (total > max || list[i].used < oldest); i++) {
        forget(store, list[i].name);
        total -= list[i].bytes;
    }
}
