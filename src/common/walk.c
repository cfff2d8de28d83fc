#include "common/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct names {
    char **list;
    size_t count;
};

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
}

int sr_walk_fail(const struct sr_walk *walk, const char *what, int error, struct sr_error *err)
{
    return sr_fail(err, walk->code, walk->path, "%s%s%.256s %s%s%s", walk->name,
                   walk->at[0] != '\0' ? "/" : "", walk->at, what, error != 0 ? ": " : "",
                   error != 0 ? strerror(error) : "");
}

int sr_walk_stat(int fd, const char *name, struct statx *st)
{
    return statx(fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS,
                 st);
}

int sr_walk_open(int directory_fd, const char *name, int flags)
{
    const struct open_how how = {
        .flags = (uint64_t)(flags | O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    return (int)syscall(SYS_openat2, directory_fd, name, &how, sizeof how);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(struct sr_walk *walk, int fd, struct names *names, struct sr_error *err)
{
    int copy = sr_walk_open(fd, ".", O_DIRECTORY);
    DIR *directory = copy < 0 ? NULL : fdopendir(copy);
    if (directory == NULL) {
        sr_walk_fail(walk, "cannot be read", errno, err);
        sr_close_fd(&copy);
        return -1;
    }
    size_t room = 0;
    int result = 0;
    struct dirent *entry;
    while (errno = 0, result == 0 && (entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (walk->entries++ >= walk->entries_max) {
            result = sr_fail(err, walk->code, walk->path, "%s has more than %u entries", walk->name,
                             walk->entries_max);
            break;
        }
        if (names->count == room) {
            room = room == 0 ? 16 : room * 2;
            char **grown = realloc(names->list, room * sizeof *grown);
            if (grown == NULL) {
                result = sr_walk_fail(walk, "cannot be read", ENOMEM, err);
                break;
            }
            names->list = grown;
        }
        names->list[names->count] = strdup(entry->d_name);
        if (names->list[names->count] == NULL)
            result = sr_walk_fail(walk, "cannot be read", ENOMEM, err);
        else
            names->count++;
    }
    if (result == 0 && errno != 0)
        result = sr_walk_fail(walk, "cannot be read", errno, err);
    closedir(directory);
    if (result == 0 && names->count > 1)
        qsort(names->list, names->count, sizeof *names->list, compare_names);
    return result;
}

static int walk_directory(struct sr_walk *walk, int fd, void *own, unsigned depth,
                          struct sr_error *err);

static int visit(struct sr_walk *walk, void *parent, int fd, const char *name, unsigned depth,
                 struct sr_error *err)
{
    struct statx st, again;
    void *own = NULL;
    if (sr_walk_stat(fd, name, &st) < 0)
        return sr_walk_fail(walk, "cannot be read", errno, err);
    bool is_mount = (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    bool is_directory = S_ISDIR(st.stx_mode);
    if (is_mount)
        walk->skip(walk, "a mount point");
    if (is_directory && !is_mount) {
        sr_cleanup_fd int below = sr_walk_open(fd, name, O_DIRECTORY);
        if (below < 0 || sr_walk_stat(below, "", &again) < 0)
            return sr_walk_fail(walk, "cannot be read", errno, err);
        if (walk->entry(walk, parent, fd, name, &again, below, &own, err) < 0)
            return -1;
        return walk->flat ? 0 : walk_directory(walk, below, own, depth + 1, err);
    }
    if (is_directory || ((S_ISREG(st.stx_mode) || S_ISLNK(st.stx_mode)) && !is_mount))
        return walk->entry(walk, parent, fd, name, &st, -1, &own, err);
    if (!is_mount)
        walk->skip(walk, S_ISSOCK(st.stx_mode)   ? "a socket"
                         : S_ISFIFO(st.stx_mode) ? "a pipe"
                                                 : "a device");
    return 0;
}

static int walk_directory(struct sr_walk *walk, int fd, void *own, unsigned depth,
                          struct sr_error *err)
{
    __attribute__((cleanup(free_names))) struct names names = {0};
    if (depth > SR_WALK_DEPTH_MAX)
        return sr_walk_fail(walk, "lies too deep", 0, err);
    if (read_names(walk, fd, &names, err) < 0)
        return -1;
    size_t len = strlen(walk->at);
    for (size_t i = 0; i < names.count; i++) {
        int more = snprintf(walk->at + len, sizeof walk->at - len, "%s%s", len > 0 ? "/" : "",
                            names.list[i]);
        if (more >= (int)(sizeof walk->at - len))
            return sr_walk_fail(walk, "has too long a path", 0, err);
        if (visit(walk, own, fd, names.list[i], depth, err) < 0)
            return -1;
    }
    walk->at[len] = '\0';
    return 0;
}

int sr_walk(struct sr_walk *walk, int fd, void *own, struct sr_error *err)
{
    walk->at[0] = '\0';
    walk->entries = 0;
    return walk_directory(walk, fd, own, 0, err);
}
