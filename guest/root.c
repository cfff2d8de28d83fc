/*
 * Theory of operation
 *
 * Init starts in the initramfs, which holds nothing but itself.
 *
 *   1. root_prepare(), before anything of the run is known and while the host answers to HELLO: the
 *      kernel's own file systems in restricted form, below /view. /sys is read-only, /dev a small
 *      tmpfs with the usual character devices and neither disks nor the channel, the cgroup tree is
 *      root's. The root image (/dev/vda) is mounted read-only at /image.
 *   2. root_enter(): when the policy grants scratch space, an overlay on a tmpfs of exactly that
 *      size goes on top of the image, so that every byte the command writes to a file system counts
 *      against disk.max (/dev/shm is memory, 16 MiB with the rest of /dev). What the image lacks of
 *      /proc, /sys and /dev is made in an overlay, with or without scratch space. The inputs are
 *      mounted (inputs.c), the views moved in. Then that tree becomes the root, and nothing of the
 *      initramfs stays reachable.
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
/* Directories and empty files take nothing of it. */
#define PLACES_BYTES (64u * 1024u)

/* Image file systems we know, most likely first. */
static const char *const image_types[] = {"squashfs", "erofs", "ext4"};

static bool mount_image(struct refusal *refusal)
{
    for (size_t i = 0; i < sizeof image_types / sizeof image_types[0]; i++)
        if (mount(ROOT_DEVICE, "/image", image_types[i], MS_RDONLY | MS_NODEV, NULL) == 0)
            return true;
    return refuse(refusal, 125, "the root image cannot be mounted: %s", strerror(errno));
}

static bool mount_overlay(uint64_t bytes, struct refusal *refusal)
{
    char size[64];
    snprintf(size, sizeof size, "size=%llu,mode=0755", (unsigned long long)bytes);
    if (mount("scratch", "/scratch", "tmpfs", MS_NODEV | MS_NOSUID, size) < 0 ||
        mkdir("/scratch/upper", 0755) < 0 || mkdir("/scratch/work", 0755) < 0 ||
        mount("overlay", "/root", "overlay", MS_NODEV,
              "lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work") < 0)
        return refuse(refusal, 125, "the writable overlay cannot be mounted: %s", strerror(errno));
    return true;
}

/* Where the views go. An image made from nothing may not have them; what else it may have there,
 * the views' mounts say. */
static bool has_places(void)
{
    return access("/image/proc", F_OK) == 0 && access("/image/sys", F_OK) == 0 &&
           access("/image/dev", F_OK) == 0;
}

static void make_places(void)
{
    mkdir("/root/proc", 0755);
    mkdir("/root/sys", 0755);
    mkdir("/root/dev", 0755);
}

/* A read-only root that has the views' and the inputs' places all the same: they are made in an
 * overlay, whose upper layer then becomes a lower one, so that nothing is left that could be
 * written to. */
static bool mount_with_places(const struct spec *spec, struct refusal *refusal)
{
    if (!mount_overlay(PLACES_BYTES, refusal))
        return false;
    make_places();
    if (!inputs_make_targets(spec, "/root", refusal))
        return false;
    if (umount2("/root", 0) < 0 || mount("overlay", "/root", "overlay", MS_NODEV | MS_RDONLY,
                                         "lowerdir=/scratch/upper:/image") < 0)
        return refuse(refusal, 125, "the root cannot be mounted again: %s", strerror(errno));
    return true;
}

static bool mount_root(const struct spec *spec, struct refusal *refusal)
{
    if (spec->disk_bytes == 0 && (spec->inputc > 0 || !has_places()))
        return mount_with_places(spec, refusal);
    if (spec->disk_bytes == 0)
        return mount("/image", "/root", NULL, MS_MOVE, NULL) == 0 ||
               refuse(refusal, 125, "the root image cannot be moved: %s", strerror(errno));
    if (!mount_overlay(spec->disk_bytes, refusal))
        return false;
    make_places();
    /* An image without /tmp gets one: it is the overlay's, so it counts as scratch too. */
    if (mkdir("/root/tmp", 01777) == 0)
        chmod("/root/tmp", 01777);
    return inputs_make_targets(spec, "/root", refusal);
}

struct device {
    const char *path;
    unsigned major, minor;
};

static const struct device devices[] = {
    {"/view/dev/null", 1, 3},   {"/view/dev/zero", 1, 5},    {"/view/dev/full", 1, 7},
    {"/view/dev/random", 1, 8}, {"/view/dev/urandom", 1, 9}, {"/view/dev/tty", 5, 0},
};

static const char *const links[][2] = {
    {"/proc/self/fd", "/view/dev/fd"},       {"/proc/self/fd/0", "/view/dev/stdin"},
    {"/proc/self/fd/1", "/view/dev/stdout"}, {"/proc/self/fd/2", "/view/dev/stderr"},
    {"pts/ptmx", "/view/dev/ptmx"},
};

static bool make_devices(void)
{
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++)
        if (mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) < 0)
            return false;
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        if (symlink(links[i][0], links[i][1]) < 0)
            return false;
    return mkdir("/view/dev/pts", 0755) == 0 && mkdir("/view/dev/shm", 01777) == 0;
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

bool root_prepare(struct refusal *refusal)
{
    const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    static const char *const places[] = {"/image",     "/scratch",  "/root",    "/view",
                                         "/view/proc", "/view/sys", "/view/dev"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        mkdir(places[i], 0755);
    if (mount("proc", "/view/proc", "proc", plain, NULL) < 0 ||
        mount("sysfs", "/view/sys", "sysfs", plain, NULL) < 0 ||
        mount("cgroup", "/view/sys/fs/cgroup", "cgroup2", plain, NULL) < 0 ||
        mount("dev", "/view/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=16m,mode=0755") < 0 ||
        !make_devices() ||
        mount("devpts", "/view/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620,gid=5") < 0)
        return refuse(refusal, 125, "/proc, /sys and /dev cannot be made: %s", strerror(errno));
    if (!put("/view/sys/fs/cgroup/cgroup.subtree_control", "+pids") ||
        mkdir("/view/sys/fs/cgroup/run", 0755) < 0)
        return refuse(refusal, 125, "the command's cgroup cannot be made: %s", strerror(errno));
    /* A guest has no swap: when memory is full, the kernel drops and re-reads the pages of the
     * running program for minutes before it gives up. With a minimum age for the working set
     * (multi-generational LRU, Documentation/admin-guide/mm/multigen_lru.rst) it kills instead. A
     * brought kernel may not have it. */
    put("/view/sys/kernel/mm/lru_gen/min_ttl_ms", "500");
    if (mount(NULL, "/view/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | plain, NULL) < 0)
        return refuse(refusal, 125, "/sys cannot be made read-only: %s", strerror(errno));
    return mount_image(refusal);
}

static bool limit_pids(const struct spec *spec, struct refusal *refusal)
{
    char max[16];
    snprintf(max, sizeof max, "%u", spec->pids_max);
    /* Refused is only what is more than this kernel can ever have. */
    if (!put("/view/sys/fs/cgroup/run/pids.max", max) &&
        (errno != EINVAL || !put("/view/sys/fs/cgroup/run/pids.max", "max")))
        return refuse(refusal, 125, "pids.max cannot be set in the guest: %s", strerror(errno));
    return true;
}

static int hosts_fd = -1;

void root_add_hosts(const void *text, size_t len)
{
    if (hosts_fd < 0 || write(hosts_fd, text, len) == (ssize_t)len)
        return;
    close(hosts_fd); /* memory is out: no half of a line is followed by another */
    hosts_fd = -1;
}

/* /etc/hosts is a file of init's own, bound over the image's, so that a read-only root has it
 * too. */
static bool enter_hosts(const struct spec *spec, struct refusal *refusal)
{
    int there;
    hosts_fd = open("/hosts", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (hosts_fd < 0)
        return refuse(refusal, 125, "/etc/hosts cannot be written: %s", strerror(errno));
    root_add_hosts(spec->hosts, strlen(spec->hosts));
    if (spec->disk_bytes > 0 &&
        (there = open("/root/etc/hosts", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)) >= 0)
        close(there); /* an image without one gets one to bind over */
    if (mount("/hosts", "/root/etc/hosts", NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, "/root/etc/hosts", NULL,
              MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
        return refuse(refusal, 125, "the image has no /etc/hosts to put the run's in place of: %s",
                      strerror(errno));
    return true;
}

bool root_enter(const struct spec *spec, struct refusal *refusal)
{
    if (!limit_pids(spec, refusal) || !mount_root(spec, refusal) || !inputs_enter(spec, refusal))
        return false;
    if (spec->hosts != NULL && !enter_hosts(spec, refusal))
        return false;
    if (mount("/view/proc", "/root/proc", NULL, MS_MOVE, NULL) < 0 ||
        mount("/view/sys", "/root/sys", NULL, MS_MOVE, NULL) < 0 ||
        mount("/view/dev", "/root/dev", NULL, MS_MOVE, NULL) < 0)
        return refuse(refusal, 125, "/proc, /sys and /dev of the image cannot be mounted on: %s",
                      strerror(errno));
    umount2("/dev", MNT_DETACH);
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        return refuse(refusal, 125, "the root cannot be entered: %s", strerror(errno));
    return true;
}
