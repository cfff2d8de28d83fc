/*
 * An image lies as NAME.img beside NAME.note, which says the image's identity (fs.h) and whose time
 * of change is the image's last use.
 *
 * The image is made durable, then linked, and the note comes into being by a rename, so a crash
 * leaves at worst an image without a note, which counts for nothing and goes with a later trim. An
 * image is never written to once it has its name: its identity speaks for its content.
 *
 * Who uses an image holds a shared lock (flock) on the descriptor, and so does the VMM that
 * inherits it; a trim removes only what it can lock alone.
 */
#include "host/kept.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "common/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define IMAGE ".img"
#define NOTE ".note"
#define PATH_TEXT (KEPT_NAME + 8)
/* Without a note for so long, an image is nobody's who is just linking it. */
#define ORPHAN_SEC 600

int kept_open(const char *configured, const char *name)
{
    struct stat st;
    sr_cleanup_fd int fd = -1;
    if (configured[0] != '\0') {
        if (sr_mkdir_all(configured, 0700) < 0)
            return -1;
        fd = open(configured, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } else {
        sr_cleanup_fd int cache = host_cache_open();
        if (cache < 0 || (mkdirat(cache, name, 0700) < 0 && errno != EEXIST))
            return -1;
        fd = openat(cache, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    /* Images hold what their sources hold, and whoever can write here says what guests see. */
    char why[SR_OWNER_TEXT];
    if (fd < 0 || sr_judge_place(fd, why) < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0)
        return -1;
    return sr_take_fd(&fd);
}

static void path_of(const char *name, const char *kind, char path[PATH_TEXT])
{
    snprintf(path, PATH_TEXT, "%.*s%s", KEPT_NAME - 1, name, kind);
}

/* The image if its note tells of it, locked. */
static int open_image(int directory, const char *name, char text[KEPT_TEXT])
{
    char path[PATH_TEXT], note[SR_IDENTITY_TEXT + KEPT_TEXT], is[SR_IDENTITY_TEXT];
    path_of(name, IMAGE, path);
    sr_cleanup_fd int fd =
        openat(directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    path_of(name, NOTE, path);
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0 || sr_file_identity(fd, is) < 0 ||
        sr_read_small_file(directory, path, note, sizeof note) <= 0)
        return -1;
    size_t len = strlen(is);
    if (strncmp(note, is, len) != 0 || note[len] != '\n' || sr_file_has_writer(fd) > 0)
        return -1;
    snprintf(text, KEPT_TEXT, "%.*s", KEPT_TEXT - 1, note + len + 1);
    return sr_take_fd(&fd);
}

int kept_find(int directory, const char *name, char text[KEPT_TEXT])
{
    char path[PATH_TEXT];
    sr_cleanup_fd int fd = directory >= 0 ? open_image(directory, name, text) : -1;
    if (fd < 0)
        return -1;
    path_of(name, NOTE, path);
    utimensat(directory, path, NULL, AT_SYMLINK_NOFOLLOW); /* used now */
    return sr_take_fd(&fd);
}

static void forget(int directory, const char *name)
{
    char path[PATH_TEXT];
    path_of(name, NOTE, path);
    unlinkat(directory, path, 0);
    path_of(name, IMAGE, path);
    unlinkat(directory, path, 0);
}

bool kept_add(int directory, const char *name, int fd, const char *text, bool replace)
{
    char path[PATH_TEXT], self[40], who[SR_IDENTITY_TEXT], was[KEPT_TEXT];
    char note[SR_IDENTITY_TEXT + KEPT_TEXT];
    path_of(name, IMAGE, path);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (SR_FAILPOINT("kept.image") || flock(fd, LOCK_SH | LOCK_NB) < 0 || fsync(fd) < 0)
        return false;
    if (linkat(AT_FDCWD, self, directory, path, AT_SYMLINK_FOLLOW) < 0) {
        if (errno != EEXIST)
            return false;
        sr_cleanup_fd int there = replace ? -1 : open_image(directory, name, was);
        if (there >= 0)
            return false; /* somebody else was faster */
        forget(directory, name);
        if (linkat(AT_FDCWD, self, directory, path, AT_SYMLINK_FOLLOW) < 0)
            return false;
    }
    path_of(name, NOTE, path);
    if (sr_file_identity(fd, who) >= 0 && !SR_FAILPOINT("kept.note")) {
        int len = snprintf(note, sizeof note, "%s\n%s", who, text);
        if (sr_replace_file(directory, path, note, (size_t)len) == 0)
            return true;
    }
    return true; /* it has its name, and the next trim finds that nothing tells of it */
}

/* A kept image, as trim sees it. */
struct kept {
    char name[KEPT_NAME];
    uint64_t bytes;
    int64_t used; /* seconds since 1970 */
};

static int by_use(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used;
}

static bool ends_with(const char *entry, const char *kind)
{
    size_t len = strlen(entry), end = strlen(kind);
    return len > end && strcmp(entry + len - end, kind) == 0;
}

/* Removes an image that no run holds. */
static bool remove_unused(int directory, const char *name)
{
    char path[PATH_TEXT];
    path_of(name, IMAGE, path);
    sr_cleanup_fd int fd = openat(directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
        return false;
    forget(directory, name);
    return true;
}

/* Describes the image that an entry is; false: it is none that counts (and it is gone if it is
 * old). */
static bool examine(int directory, const char *entry, struct kept *kept)
{
    struct stat st, note;
    char path[PATH_TEXT];
    if (fstatat(directory, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return false;
    bool is_old = time(NULL) - st.st_ctim.tv_sec > ORPHAN_SEC, is_image = ends_with(entry, IMAGE);
    bool is_note = !is_image && entry[0] != '.' && ends_with(entry, NOTE);
    size_t len = strlen(entry) - strlen(is_image ? IMAGE : is_note ? NOTE : "");
    if ((!is_image && !is_note) || len >= sizeof kept->name) {
        if (entry[0] == '.' && is_old) /* a note that was never finished */
            unlinkat(directory, entry, 0);
        return false;
    }
    memcpy(kept->name, entry, len);
    kept->name[len] = '\0';
    path_of(kept->name, is_image ? NOTE : IMAGE, path);
    if (fstatat(directory, path, &note, AT_SYMLINK_NOFOLLOW) < 0) { /* one without the other */
        if (is_old)
            remove_unused(directory, kept->name);
        return false;
    }
    kept->bytes = (uint64_t)st.st_blocks * 512;
    kept->used = note.st_mtim.tv_sec;
    return is_image;
}

void kept_trim(int directory, uint64_t max, int64_t older_than_sec)
{
    DIR *dir = sr_open_list(directory);
    sr_cleanup_free struct kept *list = NULL;
    size_t count = 0, room = 0;
    uint64_t total = 0;
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct kept kept;
        if (!examine(directory, entry->d_name, &kept))
            continue;
        if (count == room) {
            room = room * 2 + 64;
            struct kept *grown = realloc(list, room * sizeof *grown);
            if (grown == NULL)
                break;
            list = grown;
        }
        list[count++] = kept;
        total += kept.bytes;
    }
    if (dir != NULL)
        closedir(dir);
    if (count > 1)
        qsort(list, count, sizeof *list, by_use);
    int64_t oldest = older_than_sec < 0 ? INT64_MIN : (int64_t)time(NULL) - older_than_sec;
    size_t left = count;
    for (size_t i = 0; i < count; i++) {
        if (total <= max && left <= KEPT_COUNT_MAX && list[i].used >= oldest)
            break; /* and so are all that were used later */
        if (!remove_unused(directory, list[i].name))
            continue;
        total -= list[i].bytes;
        left--;
    }
}
