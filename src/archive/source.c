/*
 * The directory of a run while it is stored. What is stored is what was there at one time: its lock
 * keeps gc out, and what the kernel tells of its files must be the same before and after, or
 * nothing is stored. Somebody who removes a file meanwhile would else have an honest run stored,
 * and signed, as one whose evidence is missing.
 */
#include "archive/store.h"

#include "common/walk.h"
#include "evidence/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define RUN_LOCK "lock"

/* One's own runs end, and one's own gc; somebody else's may never let go of the lock. */
static int share_lock(int dir, const char *path, int *lock, struct sr_error *err)
{
    struct stat st;
    sr_cleanup_fd int fd = openat(dir, RUN_LOCK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    *lock = -1;
    if (fd < 0 && errno == ENOENT)
        return 0; /* a copy of what a run left */
    if (fd < 0 || fstat(dir, &st) < 0)
        return archive_fail(err, "lock", errno, "the run of %s cannot be locked", path);
    int mode = LOCK_SH | (st.st_uid == geteuid() ? 0 : LOCK_NB), result;
    while ((result = flock(fd, mode)) < 0 && errno == EINTR)
        continue;
    if (result < 0)
        return errno == EWOULDBLOCK
                   ? archive_fail(err, "lock", 0,
                                  "the run of %s is not over, or is being removed: try again", path)
                   : archive_fail(err, "lock", errno, "the run of %s cannot be locked", path);
    *lock = sr_take_fd(&fd);
    return 0;
}

int archive_open_source(const char *path, int *lock, struct sr_error *err)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return archive_fail(err, "report", ENAMETOOLONG, "%s cannot be opened", path);
    sr_cleanup_fd int dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || access(path, R_OK) < 0) /* not to wait for a run that has no report yet */
        return archive_fail(err, "report", errno, "%s cannot be opened", path);
    return share_lock(dir, path, lock, err) < 0 ? -1 : sr_take_fd(&dir);
}

static void see(struct sr_hasher *hasher, const char *name, const struct statx *st)
{
    char text[160];
    int len =
        snprintf(text, sizeof text, " %" PRIu64 " %u %" PRIu64 " %" PRId64 ".%u %" PRId64 ".%u",
                 (uint64_t)st->stx_ino, (unsigned)st->stx_mode, (uint64_t)st->stx_size,
                 (int64_t)st->stx_mtime.tv_sec, (unsigned)st->stx_mtime.tv_nsec,
                 (int64_t)st->stx_ctime.tv_sec, (unsigned)st->stx_ctime.tv_nsec);
    sr_hasher_update(hasher, name, strlen(name) + 1);
    sr_hasher_update(hasher, text, (size_t)len);
}

struct sight {
    struct sr_walk walk; /* first: the walk hands itself back */
    struct sr_hasher *hasher;
};

static int see_entry(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                     const struct statx *st, int open_fd, void **own, struct sr_error *err)
{
    (void)parent, (void)directory_fd, (void)name, (void)open_fd, (void)own, (void)err;
    see(((struct sight *)walk)->hasher, walk->at, st);
    return 0;
}

static void skip(struct sr_walk *walk, const char *why)
{
    (void)walk, (void)why;
}

int archive_see_source(int dir, const char *const *names, size_t count, struct sr_hasher *hasher,
                       char seen[SR_SHA256_TEXT], struct sr_error *err)
{
    struct statx st;
    sr_hasher_reset(hasher);
    for (size_t i = 0; i < count; i++)
        if (sr_walk_stat(dir, names[i], &st) == 0)
            see(hasher, names[i], &st);
    sr_cleanup_fd int outputs =
        openat(dir, "outputs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct sight sight = {.walk = {.entry = see_entry,
                                   .skip = skip,
                                   .code = SR_OPS_301,
                                   .path = "archive.bundle",
                                   .name = "outputs",
                                   .entries_max = UINT32_MAX},
                          .hasher = hasher};
    if (outputs >= 0 && sr_walk(&sight.walk, outputs, NULL, err) < 0)
        return -1;
    return sr_hasher_final(hasher, seen) < 0
               ? archive_fail(err, "bundle", ENOMEM, "the run's files cannot be looked at")
               : 0;
}
