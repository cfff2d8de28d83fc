/* What dead runs have left: found by name, wherever it is, and removed with what still runs in it. */
#include "cgroup.h"

#include "fs.h"
#include "hierarchy.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

/* The kernel's list of a cgroup's children may leave one out while its neighbour is being removed (fs/kernfs/dir.c). */
#define WALKS 3

/* Ends what a dead supervisor's run may still have in a cgroup; its parent-death signal should have. */
static void kill_members(const char *path)
{
    char file[PATH_MAX];
    sr_cleanup_fd int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0 && cgroup_write(dir, "cgroup.kill", "1") == 0) /* all at once, forks included */
        return;
    if (snprintf(file, sizeof file, "%s/cgroup.procs", path) >= (int)sizeof file)
        return;
    sr_cleanup_file FILE *members = fopen(file, "re");
    long pid;
    while (members != NULL &&
           fscanf(members, "%ld", &pid) == 1) /* NOLINT(cert-err34-c): the kernel's own numbers */
        if (pid > 1)
            kill((pid_t)pid, SIGKILL);
}

/* In version 1 nothing kills a cgroup with those in it. */
static void kill_tree(const char *path)
{
    static const char *const leaves[] = {CGROUP_VMM, CGROUP_HELPERS};
    char leaf[PATH_MAX];
    kill_members(path);
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++)
        if (snprintf(leaf, sizeof leaf, "%s/%s", path, leaves[i]) < (int)sizeof leaf)
            kill_members(leaf);
}

/* Fails where there is a process. */
static bool remove_empty(const char *path)
{
    sr_cleanup_fd int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return dir >= 0 && (unlinkat(dir, CGROUP_HELPERS, AT_REMOVEDIR) == 0 || errno == ENOENT) &&
           (unlinkat(dir, CGROUP_VMM, AT_REMOVEDIR) == 0 || errno == ENOENT) && rmdir(path) == 0;
}

/* What a walk looks for, and what came of it. */
struct sweep {
    const char *name; /* NULL: any run's, if it has no process and is older than min_age_sec */
    int64_t min_age_sec;
    int found, failed;
};

/* Old, and nobody has it open from when it was made. */
static bool is_forgotten(const char *path, int64_t min_age_sec)
{
    struct stat st;
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &st) == 0 &&
           (int64_t)time(NULL) - (int64_t)st.st_mtim.tv_sec >= min_age_sec &&
           flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static bool is_run(const struct sweep *sweep, const char *name)
{
    return sweep->name != NULL
               ? strcmp(name, sweep->name) == 0
               : strncmp(name, CGROUP_PREFIX "sr-", strlen(CGROUP_PREFIX "sr-")) == 0;
}

/* Where directories are delegated, their users may give theirs any name. */
static bool is_own(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && st.st_uid == geteuid();
}

static void visit(struct sweep *sweep, const FTSENT *at)
{
    if (!is_run(sweep, at->fts_name) || !is_own(at->fts_path))
        return;
    if (sweep->name == NULL) {
        if (is_forgotten(at->fts_path, sweep->min_age_sec) && remove_empty(at->fts_path))
            sweep->found++;
    } else {
        sweep->found++;
        kill_tree(at->fts_path);
        int result = cgroup_remove_tree(at->fts_path);
        if (result < 0)
            sweep->failed = result;
    }
}

/* Other runs make and remove theirs meanwhile: what has gone is passed over, which fts(3) does and nftw(3) does not. */
static void walk(struct sweep *sweep)
{
    struct hierarchies all;
    cgroup_find_hierarchies(&all);
    for (size_t i = 0; i < all.count; i++) {
        char *const roots[] = {all.items[i].own, NULL};
        roots[0][all.items[i].mount_len] =
            '\0'; /* whose cgroup it was below is not known any more */
        FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR | FTS_NOSTAT, NULL);
        const FTSENT *at = NULL;
        while (tree != NULL && (errno = 0, at = fts_read(tree)) != NULL)
            if (at->fts_info == FTS_DP)
                visit(sweep, at);
        if (tree == NULL || errno != 0)
            sweep->failed = -errno;
        if (tree != NULL)
            fts_close(tree);
    }
}

int sr_cgroup_sweep(const char *run_id)
{
    char name[128];
    struct sweep sweep = {.name = name};
    snprintf(name, sizeof name, CGROUP_PREFIX "%s", run_id);
    for (int i = 0; i < WALKS; i++)
        walk(&sweep);
    return sweep.failed < 0 ? sweep.failed : sweep.found;
}

int sr_cgroup_sweep_empty(int64_t min_age_sec)
{
    struct sweep sweep = {.min_age_sec = min_age_sec};
    walk(&sweep);
    return sweep.found;
}
