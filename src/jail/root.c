#include "jail/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOUNT_POINT "/proc"

int jail_root_make(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("jail", MOUNT_POINT, "tmpfs", MS_NOSUID, "size=1m,mode=0755") < 0)
        return -1;
    return open(MOUNT_POINT, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Directories are made when they are missed: a root has many files in few of them. */
static int make_directories(int root, const char *place)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s", place) >= (int)sizeof part) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *slash = strchr(part, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdirat(root, part, 0755) < 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return 0;
}

int jail_root_place(int root, const char *place)
{
    const mode_t mode = S_IFREG | 0444;
    int result = mknodat(root, place, mode, 0);
    if (result < 0 && errno == ENOENT && make_directories(root, place) == 0)
        result = mknodat(root, place, mode, 0);
    return result;
}

int jail_root_put(int root, int tree, const char *place, uint64_t attributes)
{
    struct mount_attr set = {.attr_set = attributes};
    if (tree < 0 || (attributes != 0 &&
                     syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &set, sizeof set) < 0))
        return -1;
    return (int)syscall(SYS_move_mount, tree, "", root, place, MOVE_MOUNT_F_EMPTY_PATH);
}

int jail_root_bind(int root, int fd, const char *path, const char *place, uint64_t attributes)
{
    sr_cleanup_fd int tree =
        (int)syscall(SYS_open_tree, fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    return jail_root_put(root, tree, place, attributes);
}

int jail_root_add(int root, const char *path)
{
    return jail_root_place(root, path + 1) < 0 ? -1 : jail_root_bind(root, -1, path, path + 1, 0);
}

int jail_root_seal(int root)
{
    struct mount_attr set = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    return (int)syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH | AT_RECURSIVE, &set,
                        sizeof set);
}

int jail_root_enter(int root)
{
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return -1;
    return chdir("/");
}
