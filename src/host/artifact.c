#include "host/host.h"

#include "common/fs.h"
#include "common/memo.h"
#include "host/copy.h"
#include "host/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

static bool recall(int cache, const char *name, const char *who, char hash[SR_SHA256_TEXT])
{
    char text[256];
    ssize_t len = cache < 0 ? -1 : sr_read_small_file(cache, name, text, sizeof text);
    size_t who_len = strlen(who);
    if (len != (ssize_t)(SR_SHA256_TEXT + who_len) || text[SR_SHA256_TEXT - 1] != ' ' ||
        strcmp(text + SR_SHA256_TEXT, who) != 0)
        return false;
    memcpy(hash, text, SR_SHA256_TEXT - 1);
    hash[SR_SHA256_TEXT - 1] = '\0';
    return true;
}

/* File systems whose files nobody changes but by this kernel, so that owner and mode tell who
 * may. */
static bool is_local(int fd)
{
    static const uint32_t kinds[] = {
        EXT4_SUPER_MAGIC,
        XFS_SUPER_MAGIC,
        BTRFS_SUPER_MAGIC,
        F2FS_SUPER_MAGIC,
        TMPFS_MAGIC,
        RAMFS_MAGIC,
        OVERLAYFS_SUPER_MAGIC,
        SQUASHFS_MAGIC,
        EROFS_SUPER_MAGIC_V1,
        ISOFS_SUPER_MAGIC,
        0x2fc12fc1, /* ZFS */
        0xca451a4e, /* bcachefs */
        0x3153464a, /* JFS */
    };
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if ((uint32_t)fs.f_type == kinds[i])
            return true;
    return false;
}

/*
 * Whether what is behind fd stays what it is while the VM runs. Directories on the way to it do not
 * matter: it is open. One who may not open it for writing can still hold a mapping from when he
 * could, whose stores no time tells of: hence the last question.
 */
static bool stays_as_it_is(int fd, const struct stat *st, bool is_stored)
{
    bool roots = st->st_uid == 0 && (st->st_mode & 022) == 0;
    bool stored = is_stored && st->st_uid == geteuid() && (st->st_mode & 0222) == 0;
    return (roots || stored) && is_local(fd) && sr_file_has_writer(fd) <= 0;
}

static int fail(const struct host_artifact_plan *plan, const char *how, int error,
                struct sr_error *err)
{
    char step[64];
    snprintf(step, sizeof step, "launch.preflight.%s", plan->what);
    return sr_fail(err, SR_RUN_002, step, "the %s %s %s: %s", plan->what, plan->path, how,
                   strerror(error));
}

/* A memo about a file, made when it was hashed or copied. */
struct memo {
    int cache;
    char name[SR_MEMO_NAME], who[SR_IDENTITY_TEXT];
    bool usable; /* a change since would show */
};

static void look_up(int fd, const struct stat *st, bool is_mutable, struct memo *memo)
{
    sr_memo_name("hash", st->st_dev, st->st_ino, memo->name);
    memo->usable = sr_file_identity(fd, memo->who) > 0;
    /* Of stores through a mapping that is dirty already no time tells. */
    if (is_mutable)
        memo->usable = memo->usable && is_local(fd) && sr_file_has_writer(fd) == 0;
}

static void remember(const struct memo *memo, int fd, const struct stat *st, bool is_mutable,
                     const char *hash)
{
    char text[SR_SHA256_TEXT + SR_IDENTITY_TEXT];
    struct memo now;
    look_up(fd, st, is_mutable, &now);
    /* Only if the file stood still while it was read. */
    if (memo->cache < 0 || !memo->usable || !now.usable || strcmp(memo->who, now.who) != 0)
        return;
    int len = snprintf(text, sizeof text, "%s %s", hash, now.who);
    if (sr_replace_file(memo->cache, memo->name, text, (size_t)len) < 0)
        return; /* not remembering costs time, nothing else */
}

static int hash_in_place(int fd, const struct stat *st, const struct host_artifact_plan *plan,
                         const struct host_artifact_context *context, char hash[SR_SHA256_TEXT],
                         struct sr_error *err)
{
    sr_cleanup_fd int cache = host_cache_open();
    struct memo memo = {.cache = cache};
    look_up(fd, st, false, &memo);
    if (!context->rehash && plan->known != NULL && strcmp(plan->known->identity, memo.who) == 0) {
        memcpy(hash, plan->known->hash, SR_SHA256_TEXT);
        return 0;
    }
    if (!context->rehash && memo.usable && recall(cache, memo.name, memo.who, hash))
        return 0;
    int result = sr_sha256_fd(context->hasher, fd, hash);
    if (result < 0)
        return fail(plan, "cannot be read", -result, err);
    remember(&memo, fd, st, false, hash);
    return 0;
}

static void path_of_directory(int directory, char path[PATH_MAX])
{
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", directory);
    ssize_t len = readlink(self, path, PATH_MAX - 1);
    path[len > 0 ? len : 0] = '\0';
}

/* Where a kept copy of this hash lies. */
static void locate(int copies, const char *hash, char name[KEPT_NAME], char path[PATH_MAX])
{
    char directory[PATH_MAX];
    snprintf(name, KEPT_NAME, "%s", hash + strlen(SR_SHA256_PREFIX));
    path_of_directory(copies, directory);
    if (snprintf(path, PATH_MAX, "%s/%s.img", directory, name) >= PATH_MAX)
        path[0] = '\0';
}

static int copy_anew(int fd, int directory, int copies, const struct host_artifact_plan *plan,
                     const struct host_artifact_context *context, struct host_artifact *made,
                     struct sr_error *err)
{
    char how[PATH_MAX + 160], place[PATH_MAX];
    int result = copy_file(fd, directory, context, plan->path, &made->fd, made->hash);
    if ((result == -ENOSPC || result == -EDQUOT) && copies >= 0) {
        kept_trim(copies, 0, -1); /* others can be made again */
        result = copy_file(fd, directory, context, plan->path, &made->fd, made->hash);
    }
    if (result == 0)
        return 0;
    path_of_directory(directory, place);
    if (result == -ESTALE)
        snprintf(how, sizeof how, "became shorter while it was copied");
    else
        snprintf(how, sizeof how,
                 "is not root's alone, so a copy of it runs, and it cannot be copied to %s "
                 "(copies.directory in the host configuration)",
                 place);
    return fail(plan, how, -result, err);
}

/* Names a copy that was just made, or takes the one that is kept already. */
static void keep(int copies, const struct host_artifact_context *context,
                 struct host_artifact *made)
{
    char name[KEPT_NAME], text[KEPT_TEXT];
    locate(copies, made->hash, name, made->path);
    if (!kept_add(copies, name, made->fd, made->hash, context->rehash)) {
        int kept = kept_find(copies, name, text);
        if (kept < 0) {
            made->path[0] = '\0';
            return;
        }
        close(made->fd);
        made->fd = kept;
    }
    kept_trim(copies, context->config->copies_max, -1);
}

static int open_copy(int fd, const struct stat *st, const struct host_artifact_plan *plan,
                     const struct host_artifact_context *context, struct host_artifact *artifact,
                     struct sr_error *err)
{
    char name[KEPT_NAME], text[KEPT_TEXT];
    struct host_artifact made = *artifact;
    sr_cleanup_fd int cache = host_cache_open(), copies = host_copies_open(context->config);
    struct memo memo = {.cache = cache};
    look_up(fd, st, true, &memo);
    if (!context->rehash && copies >= 0 && memo.usable &&
        recall(cache, memo.name, memo.who, made.hash)) {
        locate(copies, made.hash, name, made.path);
        made.fd = kept_find(copies, name, text);
        if (made.fd >= 0) {
            *artifact = made;
            return 0;
        }
    }
    made.path[0] = '\0';
    if (copy_anew(fd, copies >= 0 ? copies : context->scratch_fd, copies, plan, context, &made,
                  err) < 0)
        return -1;
    if (copies >= 0)
        keep(copies, context, &made);
    if (made.path[0] == '\0' && plan->by_path) {
        close(made.fd);
        return fail(plan,
                    "is not root's alone, so a copy of it runs, and no copy can be kept "
                    "(copies.directory in the host configuration)",
                    EACCES, err);
    }
    remember(&memo, fd, st, true, made.hash);
    *artifact = made;
    return 0;
}

int host_artifact_open(struct host_artifact *artifact, const struct host_artifact_plan *plan,
                       const struct host_artifact_context *context, struct sr_error *err)
{
    char step[64];
    const char *path = plan->path, *what = plan->what;
    snprintf(step, sizeof step, "launch.preflight.%s", what);
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return sr_fail(err, SR_RUN_002, step, "the %s %s cannot be opened: %s; %s", what, path,
                       strerror(errno), plan->advice);
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return sr_fail(err, SR_RUN_002, step, "the %s %s is not a regular file", what, path);
    if (st.st_size == 0)
        return sr_fail(err, SR_RUN_002, step, "the %s %s is empty", what, path);
    struct host_artifact opened = {.fd = -1, .device = st.st_dev, .inode = st.st_ino};
    if (!stays_as_it_is(fd, &st, plan->known != NULL)) {
        if (open_copy(fd, &st, plan, context, &opened, err) < 0)
            return -1;
    } else {
        if (hash_in_place(fd, &st, plan, context, opened.hash, err) < 0)
            return -1;
        snprintf(opened.path, sizeof opened.path, "%s", path);
        opened.fd = sr_take_fd(&fd);
    }
    *artifact = opened;
    return 0;
}
