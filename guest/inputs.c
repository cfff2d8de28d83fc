/*
 * The host's files: read-only file systems on disks behind the root image's, one for each input, or
 * several behind each other on one disk. A part of a disk becomes a device of its own by BLKPG, so
 * no partition table is parsed.
 *
 * Their places are looked up as the command will see them, by openat2() with RESOLVE_IN_ROOT: the
 * image's symbolic links lead nowhere else. Mounted nosuid and nodev, as nothing of the host's may
 * become a privilege; not noexec, because scripts and programs are what people mount.
 */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FLAGS (MS_RDONLY | MS_NOSUID | MS_NODEV)
#define FIRST_DISK 'b' /* /dev/vda is the root image */

static bool refuse_input(struct refusal *refusal, size_t i, const struct input *input,
                         const char *what)
{
    return refuse(refusal, CHANNEL_REFUSED_MOUNT, "mounts[%zu]: %.250s %s: %s", i, input->target,
                  what, strerror(errno));
}

static int open_in_root(int root, const char *path, uint64_t flags)
{
    const struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* Makes what is missing of a path, its last component as a file or directory. */
static bool make_target(int root, const struct input *input)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s", input->target) >= (int)sizeof part)
        return false;
    int parent = dup(root);
    for (char *name = part + 1, *end; parent >= 0 && name != NULL; name = end) {
        end = strchr(name, '/');
        if (end != NULL)
            *end = '\0';
        int fd = open_in_root(root, part, O_PATH);
        bool last = end == NULL;
        if (fd < 0 && errno == ENOENT && last && input->where.is_file)
            fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        else if (fd < 0 && errno == ENOENT && mkdirat(parent, name, 0755) == 0)
            fd = open_in_root(root, part, O_PATH);
        close(parent);
        parent = fd;
        if (!last)
            *end++ = '/';
    }
    if (parent < 0)
        return false;
    close(parent);
    return true;
}

bool inputs_make_targets(const struct spec *spec, const char *root, struct refusal *refusal)
{
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool ok = true;
    for (size_t i = 0; ok && i < spec->inputc; i++)
        if (!make_target(fd, &spec->inputs[i]))
            ok = refuse_input(refusal, i, &spec->inputs[i], "cannot be made");
    close(fd);
    return ok;
}

/* The device that holds the file system; number makes those of one disk differ. */
static bool find_device(const struct channel_spec_input *where, size_t number, char *path,
                        size_t size)
{
    snprintf(path, size, "/dev/vd%c", (char)(FIRST_DISK + where->disk));
    if (where->length == 0)
        return true;
    struct blkpg_partition part = {.start = (long long)where->offset,
                                   .length = (long long)where->length,
                                   .pno = (int)number + 1};
    struct blkpg_ioctl_arg add = {.op = BLKPG_ADD_PARTITION, .datalen = sizeof part, .data = &part};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && ioctl(fd, BLKPG, &add) == 0;
    if (fd >= 0)
        close(fd);
    snprintf(path, size, "/dev/vd%c%zu", (char)(FIRST_DISK + where->disk), number + 1);
    return ok;
}

/* The name of the only file in dir. */
static bool find_file(const char *dir, char *path, size_t size)
{
    DIR *list = opendir(dir);
    const struct dirent *entry;
    bool found = false;
    while (list != NULL && !found && (entry = readdir(list)) != NULL)
        if (entry->d_type == DT_REG) {
            snprintf(path, size, "%s/%s", dir, entry->d_name);
            found = true;
        }
    if (list != NULL)
        closedir(list);
    return found;
}

static bool mount_input(const struct input *input, size_t number, const char *target)
{
    char device[32], dir[32], file[300];
    if (!find_device(&input->where, number, device, sizeof device))
        return false;
    if (!input->where.is_file)
        return mount(device, target, "squashfs", FLAGS, NULL) == 0;
    snprintf(dir, sizeof dir, "/inputs/%zu", number);
    return mkdir(dir, 0700) == 0 && mount(device, dir, "squashfs", FLAGS, NULL) == 0 &&
           find_file(dir, file, sizeof file) && mount(file, target, NULL, MS_BIND, NULL) == 0;
}

bool inputs_enter(const struct spec *spec, struct refusal *refusal)
{
    int root = open("/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    mkdir("/inputs", 0700);
    for (size_t i = 0; i < spec->inputc; i++) {
        const struct input *input = &spec->inputs[i];
        char target[48];
        int place = open_in_root(root, input->target, O_PATH);
        if (place < 0)
            return refuse_input(refusal, i, input,
                                "is inside another mount that has no such place");
        snprintf(target, sizeof target, "/view/proc/self/fd/%d", place);
        if (!mount_input(input, i, target))
            return refuse_input(refusal, i, input, "cannot be mounted");
        close(place);
    }
    close(root);
    return true;
}
