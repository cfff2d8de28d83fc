#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOUNT_POINT "/proc"

int sr_jail_root_make(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("jail", MOUNT_POINT, "tmpfs", MS_NOSUID, "size=1m,mode=0755") < 0)
        return -1;
    return open(MOUNT_POINT, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int sr_jail_root_place(int root, const char *place)
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
    int fd = openat(root, part, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int attach(int root, int tree, const char *place, uint64_t attributes)
{
    struct mount_attr set = {.attr_set = attributes};
    if (tree < 0 || syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &set, sizeof set) < 0)
        return -1;
    return (int)syscall(SYS_move_mount, tree, "", root, place, MOVE_MOUNT_F_EMPTY_PATH);
}

int sr_jail_root_put(int root, int tree, const char *place, uint64_t attributes)
{
    return sr_jail_root_place(root, place) < 0 ? -1 : attach(root, tree, place, attributes);
}

int sr_jail_root_bind(int root, int fd, const char *path, const char *place, uint64_t attributes)
{
    sr_cleanup_fd int tree =
        (int)syscall(SYS_open_tree, fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    return sr_jail_root_put(root, tree, place, attributes);
}

int sr_jail_root_enter(int root)
{
    struct mount_attr set = {.attr_set = SR_JAIL_ROOT_PLAIN};
    if (syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &set, sizeof set) < 0 ||
        fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return -1;
    return chdir("/");
}
