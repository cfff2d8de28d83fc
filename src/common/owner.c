#include "common/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

/* Deeper than any path goes; ends a walk that does not come to "/" (a descriptor from outside of a
 * chroot). */
#define DEPTH_MAX (PATH_MAX / 2)
#define OTHERS (S_IWGRP | S_IWOTH)

static int refuse(int error, char why[SR_OWNER_TEXT])
{
    snprintf(why, SR_OWNER_TEXT, "cannot be opened: %s", strerror(error));
    return -error;
}

/* An access control list cannot hide: the group's bits are then its mask. */
static int judge(const struct stat *st, char why[SR_OWNER_TEXT])
{
    if (st->st_uid != geteuid() && st->st_uid != 0)
        snprintf(why, SR_OWNER_TEXT, "belongs to uid %u", (unsigned)st->st_uid);
    else if ((st->st_mode & OTHERS) != 0)
        snprintf(why, SR_OWNER_TEXT, "can be written to by others (mode %04o)",
                 (unsigned)st->st_mode & 07777);
    else
        return 0;
    return -EPERM;
}

int sr_judge_owner(int fd, char why[SR_OWNER_TEXT])
{
    struct stat st;
    return fstat(fd, &st) < 0 ? refuse(errno, why) : judge(&st, why);
}

/* Entries of a sticky directory are renamed and removed by their owners, by its owner, and by
 * nobody else. */
static int judge_above(int fd, const struct stat *st, uid_t top, char why[SR_OWNER_TEXT])
{
    bool foreign = st->st_uid != geteuid() && st->st_uid != 0 && st->st_uid != top;
    if (!foreign && ((st->st_mode & OTHERS) == 0 || (st->st_mode & S_ISVTX) != 0))
        return 0;
    char self[40], path[160];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(self, path, sizeof path - 1);
    path[len > 0 ? len : 0] = '\0';
    if (foreign)
        snprintf(why, SR_OWNER_TEXT, "lies in %s, which belongs to uid %u", path,
                 (unsigned)st->st_uid);
    else
        snprintf(why, SR_OWNER_TEXT, "lies in %s, which others can write to (mode %04o)", path,
                 (unsigned)st->st_mode & 07777);
    return -EPERM;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* leads: dirfd is not the thing itself, but leads to it. */
static int judge_way(int dirfd, bool leads, char why[SR_OWNER_TEXT])
{
    struct stat top, st;
    if (stat("/", &top) < 0 || fstat(dirfd, &st) < 0)
        return refuse(errno, why);
    int result = leads ? judge_above(dirfd, &st, top.st_uid, why) : judge(&st, why);
    sr_cleanup_fd int at = -1;
    for (int depth = 0; result == 0 && depth < DEPTH_MAX; depth++) {
        int above = openat(at < 0 ? dirfd : at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (above < 0)
            return refuse(errno, why);
        sr_close_fd(&at);
        at = above;
        struct stat parent;
        if (fstat(at, &parent) < 0)
            return refuse(errno, why);
        if (same(&st, &top) && same(&parent, &top))
            return 0;
        result = judge_above(at, &parent, top.st_uid, why);
        st = parent;
    }
    return result < 0 ? result : refuse(ELOOP, why);
}

int sr_judge_place(int dirfd, char why[SR_OWNER_TEXT])
{
    return judge_way(dirfd, false, why);
}

int sr_open_place(const char *path, char why[SR_OWNER_TEXT])
{
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return refuse(errno, why);
    int result = sr_judge_place(fd, why);
    return result < 0 ? result : sr_take_fd(&fd);
}

int sr_open_owned(const char *path, char why[SR_OWNER_TEXT])
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    char parent[PATH_MAX];
    int len = slash == NULL ? snprintf(parent, sizeof parent, ".")
                            : snprintf(parent, sizeof parent, "%.*s/", (int)(slash - path), path);
    if (len >= (int)sizeof parent)
        return refuse(ENAMETOOLONG, why);
    sr_cleanup_fd int dirfd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    sr_cleanup_fd int fd =
        dirfd < 0 ? -1 : openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    /* Not to wait for whoever opens the other end of a pipe; but for what comes out of one. */
    if (fd < 0 || fcntl(fd, F_SETFL, O_RDONLY) < 0)
        return refuse(errno, why);
    int result = sr_judge_owner(fd, why);
    if (result == 0)
        result = judge_way(dirfd, true, why);
    return result < 0 ? result : sr_take_fd(&fd);
}
