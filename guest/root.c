/*
 * Theory of operation
 *
 * Init starts in the initramfs, which holds nothing but itself. The root image (/dev/vda) is
 * mounted read-only; when the policy grants scratch space, an overlay on a tmpfs of exactly that
 * size goes on top, so every byte the command writes anywhere counts against disk.max. The kernel's
 * own file systems come in restricted form: /sys and the cgroup tree read-only, /dev a small tmpfs
 * with the usual character devices and neither disks nor the channel. Then that tree becomes the
 * root, and nothing of the initramfs stays reachable.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ROOT_DEVICE "/dev/vda"

/* Image file systems we know, most likely first. */
static const char *const image_types[] = {"squashfs", "erofs", "ext4"};

static bool mount_image(struct refusal *refusal, const char *where)
{
    for (size_t i = 0; i < sizeof image_types / sizeof image_types[0]; i++)
        if (mount(ROOT_DEVICE, where, image_types[i], MS_RDONLY | MS_NODEV, NULL) == 0)
            return true;
    return refuse(refusal, 125, "the root image cannot be mounted: %s", strerror(errno));
}

static bool mount_overlay(const struct spec *spec, struct refusal *refusal)
{
    char size[64];
    snprintf(size, sizeof size, "size=%llu,mode=0755", (unsigned long long)spec->disk_bytes);
    if (mount("scratch", "/scratch", "tmpfs", MS_NODEV | MS_NOSUID, size) < 0 ||
        mkdir("/scratch/upper", 0755) < 0 || mkdir("/scratch/work", 0755) < 0 ||
        mount("overlay", "/root", "overlay", MS_NODEV,
              "lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work") < 0)
        return refuse(refusal, 125, "the writable overlay cannot be mounted: %s", strerror(errno));
    return true;
}

struct device {
    const char *path;
    unsigned major, minor;
};

static const struct device devices[] = {
    {"/root/dev/null", 1, 3},   {"/root/dev/zero", 1, 5},    {"/root/dev/full", 1, 7},
    {"/root/dev/random", 1, 8}, {"/root/dev/urandom", 1, 9}, {"/root/dev/tty", 5, 0},
};

static const char *const links[][2] = {
    {"/proc/self/fd", "/root/dev/fd"},       {"/proc/self/fd/0", "/root/dev/stdin"},
    {"/proc/self/fd/1", "/root/dev/stdout"}, {"/proc/self/fd/2", "/root/dev/stderr"},
    {"pts/ptmx", "/root/dev/ptmx"},
};

static bool make_devices(void)
{
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++)
        if (mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) < 0)
            return false;
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        if (symlink(links[i][0], links[i][1]) < 0)
            return false;
    return mkdir("/root/dev/pts", 0755) == 0 && mkdir("/root/dev/shm", 01777) == 0;
}

static bool put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return ok;
}

/* A guest has no swap: when memory is full, the kernel drops and re-reads the pages of the running
 * program for minutes before it gives up. With a minimum age for the working set
 * (multi-generational LRU, Documentation/admin-guide/mm/multigen_lru.rst) it kills instead. A
 * brought kernel may not have it. */
static void forbid_thrashing(void)
{
    put("/root/sys/kernel/mm/lru_gen/min_ttl_ms", "500");
}

static bool mount_kernel_views(struct refusal *refusal)
{
    const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount("proc", "/root/proc", "proc", plain, NULL) < 0 ||
        mount("sysfs", "/root/sys", "sysfs", plain, NULL) < 0 ||
        mount("dev", "/root/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=16m,mode=0755") < 0)
        return refuse(refusal, 125, "the image has no usable /proc, /sys and /dev: %s",
                      strerror(errno));
    forbid_thrashing();
    if (mount(NULL, "/root/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | plain, NULL) < 0)
        return refuse(refusal, 125, "/sys cannot be made read-only: %s", strerror(errno));
    if (!make_devices() || mount("devpts", "/root/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                                 "newinstance,ptmxmode=0666,mode=0620,gid=5") < 0)
        return refuse(refusal, 125, "/dev cannot be filled: %s", strerror(errno));
    return true;
}

bool root_enter(const struct spec *spec, struct refusal *refusal)
{
    mkdir("/image", 0755);
    mkdir("/scratch", 0755);
    mkdir("/root", 0755);
    if (spec->disk_bytes > 0) {
        if (!mount_image(refusal, "/image") || !mount_overlay(spec, refusal))
            return false;
        /* An image without /tmp gets one: it is the overlay's, so it counts as scratch too. */
        if (mkdir("/root/tmp", 01777) == 0)
            chmod("/root/tmp", 01777);
    } else if (!mount_image(refusal, "/root")) {
        return false;
    }
    if (!mount_kernel_views(refusal))
        return false;
    umount2("/dev", MNT_DETACH);
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        return refuse(refusal, 125, "the root cannot be entered: %s", strerror(errno));
    return true;
}

bool root_limit_pids(const struct spec *spec, struct refusal *refusal)
{
    char max[16];
    snprintf(max, sizeof max, "%u", spec->pids_max);
    if (mount("cgroup", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
        !put("/sys/fs/cgroup/cgroup.subtree_control", "+pids") ||
        mkdir("/sys/fs/cgroup/run", 0755) < 0 || !put("/sys/fs/cgroup/run/pids.max", max))
        return refuse(refusal, 125, "pids.max cannot be set in the guest: %s", strerror(errno));
    return true;
}
