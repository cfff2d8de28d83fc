/* What dead runs have left: found by its recorded path, and removed with what still runs in it; or
 * by name, when it is empty. */
#include "cgroup/cgroup.h"

#include "cgroup/hierarchy.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

/* Ends what a dead supervisor's run may still have in a cgroup; its parent-death signal should
 * have. dir may be a negative number. */
static void kill_members(int dir)
{
    if (dir < 0 ||
        sr_write_kernel_file(dir, "cgroup.kill", "1") == 0) /* all at once, forks included */
        return;
    int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    sr_cleanup_file FILE *members = fd < 0 ? NULL : fdopen(fd, "r");
    long pid;
    while (members != NULL &&
           fscanf(members, "%ld", &pid) == 1) /* NOLINT(cert-err34-c): the kernel's own numbers */
        if (pid > 1)
            kill((pid_t)pid, SIGKILL);
}

/* In version 1 nothing kills a cgroup with those in it. */
static void kill_tree(int dir)
{
    static const char *const leaves[] = {CGROUP_VMM, CGROUP_HELPERS};
    kill_members(dir);
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        sr_cleanup_fd int leaf = openat(dir, leaves[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        kill_members(leaf);
    }
}

/* Fails where there is a process. */
static bool remove_empty(const char *path)
{
    sr_cleanup_fd int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return dir >= 0 && (unlinkat(dir, CGROUP_HELPERS, AT_REMOVEDIR) == 0 || errno == ENOENT) &&
           (unlinkat(dir, CGROUP_VMM, AT_REMOVEDIR) == 0 || errno == ENOENT) && rmdir(path) == 0;
}

/* Old, and nobody has it open from when it was made. */
static bool is_forgotten(const char *path, int64_t min_age_sec)
{
    struct stat st;
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &st) == 0 &&
           (int64_t)time(NULL) - (int64_t)st.st_mtim.tv_sec >= min_age_sec &&
           flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static bool is_runs(const char *name)
{
    return strncmp(name, CGROUP_PREFIX "sr-", strlen(CGROUP_PREFIX "sr-")) == 0;
}

/* Where directories are delegated, their users may give theirs any name. */
static bool is_own(int dir)
{
    struct stat st;
    return fstat(dir, &st) == 0 && st.st_uid == geteuid();
}

static bool is_cgroup(int dir)
{
    struct statfs fs;
    return fstatfs(dir, &fs) == 0 &&
           (fs.f_type == CGROUP2_SUPER_MAGIC || fs.f_type == CGROUP_SUPER_MAGIC);
}

/* 1: removed; 0: there is none of the caller's; or a negative errno. */
static int sweep_path(const char *name, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || strcmp(slash + 1, name) != 0)
        return 0;
    sr_cleanup_fd int dir = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
    if (!is_cgroup(dir) || !is_own(dir))
        return 0;
    kill_tree(dir);
    int result = cgroup_remove_tree(path);
    return result < 0 ? result : 1;
}

int cgroup_sweep(const char *run_id, char *paths)
{
    char name[128], *rest;
    int found = 0, failed = 0;
    snprintf(name, sizeof name, CGROUP_PREFIX "%s", run_id);
    for (const char *path = strtok_r(paths, "\n", &rest); path != NULL;
         path = strtok_r(NULL, "\n", &rest)) {
        int result = sweep_path(name, path);
        if (result < 0)
            failed = result;
        else
            found += result;
    }
    return failed < 0 ? failed : found;
}

/* Other runs make and remove theirs meanwhile: what has gone is passed over, which fts(3) does and
 * nftw(3) does not. */
int cgroup_sweep_empty(int64_t min_age_sec)
{
    struct hierarchies all;
    int found = 0;
    cgroup_find_hierarchies(&all);
    for (size_t i = 0; i < all.count; i++) {
        char *const roots[] = {all.items[i].own, NULL};
        roots[0][all.items[i].mount_len] =
            '\0'; /* whose cgroup it was below is not known any more */
        FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR | FTS_NOSTAT, NULL);
        const FTSENT *at = NULL;
        while (tree != NULL && (at = fts_read(tree)) != NULL) {
            if (at->fts_info != FTS_DP || !is_runs(at->fts_name))
                continue;
            sr_cleanup_fd int dir = open(at->fts_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
            found += dir >= 0 && is_own(dir) && is_forgotten(at->fts_path, min_age_sec) &&
                     remove_empty(at->fts_path);
        }
        if (tree != NULL)
            fts_close(tree);
    }
    return found;
}
