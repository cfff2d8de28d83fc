#include "common/fs.h"
#include "common/clock.h"
#include "common/failpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

/* Run directories are three deep; outputs in them at most 64 deeper. */
#define REMOVE_DEPTH 80

int sr_mkdir_all(const char *path, mode_t mode)
{
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return -ENAMETOOLONG;
    for (size_t len = strlen(part); len > 1 && part[len - 1] == '/';)
        part[--len] = '\0'; /* else the last would count as a parent */
    for (char *at = part + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(part, mode | 0755) < 0 && errno != EEXIST)
            return -errno;
        *at = '/';
    }
    return mkdir(part, mode) < 0 && errno != EEXIST ? -errno : 0;
}

bool sr_path_within(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);
    if (strcmp(prefix, "/") == 0)
        return true;
    return strncmp(path, prefix, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

bool sr_await(int fd, uint64_t deadline)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int ready;
    do {
        uint64_t now = sr_now();
        uint64_t left = now < deadline ? (deadline - now - 1) / SR_NSEC_PER_MSEC + 1 : 0;
        ready = poll(&wait, 1, left < INT_MAX ? (int)left : INT_MAX);
        if (ready == 0 && left == 0)
            return false;
    } while (ready == 0 || (ready < 0 && errno == EINTR));
    return ready > 0;
}

int sr_write_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t put = write(fd, at, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        at += put;
        len -= (size_t)put;
    }
    return 0;
}

int sr_write_kernel_file(int dirfd, const char *name, const char *text)
{
    sr_cleanup_fd int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);
    size_t len = strlen(text);
    ssize_t put = fd < 0 ? -1 : write(fd, text, len);
    return put < 0 ? -errno : put == (ssize_t)len ? 0 : -EIO;
}

static bool is_zero(const char *data, size_t len)
{
    return data[0] == '\0' && memcmp(data, data + 1, len - 1) == 0;
}

/* How far what is at offset goes on in the same way, block by block of the file: as zeros, or as
 * data. */
static size_t stretch(const char *data, size_t len, uint64_t offset, bool *zero)
{
    enum { BLOCK = 4096 }; /* which a file system keeps or leaves out as a whole */
    size_t end = 0;
    while (end < len) {
        size_t block = BLOCK - (size_t)((offset + end) % BLOCK);
        block = block < len - end ? block : len - end;
        bool is = is_zero(data + end, block);
        if (end > 0 && is != *zero)
            break;
        *zero = is;
        end += block;
    }
    return end;
}

int sr_write_sparse(int fd, const void *data, size_t len, uint64_t offset)
{
    const char *at = data;
    while (len > 0) {
        bool zero = false;
        size_t count = stretch(at, len, offset, &zero);
        ssize_t put = zero ? (ssize_t)count : pwrite(fd, at, count, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        at += put;
        len -= (size_t)put;
        offset += (uint64_t)put;
    }
    return 0;
}

int sr_open_unnamed(void)
{
    const char *dir = getenv("TMPDIR");
    int fd =
        open(dir != NULL && dir[0] == '/' ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd;
}

int sr_write_new_file(int dirfd, const char *name, const void *data, size_t len)
{
    sr_cleanup_fd int fd =
        openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = SR_FAILPOINT("evidence.document") ? -errno : sr_write_all(fd, data, len);
    if (result == 0 && fdatasync(fd) < 0)
        result = -errno;
    if (result < 0)
        unlinkat(dirfd, name, 0);
    return result;
}

static int replace_file(int dirfd, const char *name, const void *data, size_t len, bool durable)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    char temporary[NAME_MAX];
    snprintf(temporary, sizeof temporary, ".%s.%d", name, (int)getpid());
    sr_cleanup_fd int fd = openat(dirfd, temporary, flags, 0600);
    /* One left by a process that died; or a link to what is not ours to write. */
    if (fd < 0 && errno == EEXIST && unlinkat(dirfd, temporary, 0) == 0)
        fd = openat(dirfd, temporary, flags, 0600);
    if (fd < 0)
        return -errno;
    int result = sr_write_all(fd, data, len);
    if (result == 0 && durable && fsync(fd) < 0)
        result = -errno;
    if (result == 0 && renameat(dirfd, temporary, dirfd, name) < 0)
        result = -errno;
    if (result < 0)
        unlinkat(dirfd, temporary, 0);
    else if (durable && fsync(dirfd) < 0)
        result = -errno;
    return result;
}

int sr_replace_file(int dirfd, const char *name, const void *data, size_t len)
{
    return replace_file(dirfd, name, data, len, false);
}

int sr_replace_file_durably(int dirfd, const char *name, const void *data, size_t len)
{
    return replace_file(dirfd, name, data, len, true);
}

int sr_open_below(int dirfd, const char *name)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    sr_cleanup_fd int fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) ? sr_take_fd(&fd) : -EINVAL;
}

DIR *sr_open_list(int dirfd)
{
    sr_cleanup_fd int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (list != NULL)
        (void)sr_take_fd(&fd);
    return list;
}

ssize_t sr_read_full(int fd, void *to, size_t size, int64_t offset)
{
    char *at = to;
    size_t len = 0;
    while (len < size) {
        ssize_t got = offset < 0 ? read(fd, at + len, size - len)
                                 : pread(fd, at + len, size - len, (off_t)(offset + (int64_t)len));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    return (ssize_t)len;
}

ssize_t sr_read_small_file(int dirfd, const char *name, char *text, size_t size)
{
    sr_cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t len = fd < 0 ? -errno : sr_read_full(fd, text, size - 1, -1);
    if (len >= 0)
        text[len] = '\0';
    return len;
}

int sr_file_identity(int fd, char text[SR_IDENTITY_TEXT])
{
    struct stat st;
    struct timespec now;
    if (fstat(fd, &st) < 0 || clock_gettime(CLOCK_REALTIME, &now) < 0)
        return -errno;
    snprintf(text, SR_IDENTITY_TEXT, "%ju %ju %jd %jd.%09ld %jd.%09ld", (uintmax_t)st.st_dev,
             (uintmax_t)st.st_ino, (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
             st.st_mtim.tv_nsec, (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    return now.tv_sec - st.st_ctim.tv_sec > 2;
}

int sr_file_has_writer(int fd)
{
    /* A read lease is given only where nobody writes. It is given back at once; whoever opens the
     * file in between would signal the caller, by a signal that nobody minds. */
    if (fcntl(fd, F_SETSIG, SIGURG) < 0)
        return -errno;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
        return errno == EAGAIN ? 1 : -errno;
    return fcntl(fd, F_SETLEASE, F_UNLCK) < 0 ? -errno : 0;
}

/* Names come from the kernel and links are not followed. */
/* NOLINTNEXTLINE(misc-no-recursion): bounded by depth */
static int remove_below(int dirfd, const char *name, int depth)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int fd = depth < REMOVE_DEPTH
                 ? openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                 : -1;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int failure = depth < REMOVE_DEPTH ? errno : ELOOP;
        sr_close_fd(&fd);
        return -failure;
    }
    int result = 0;
    for (const struct dirent *entry; result == 0 && (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = remove_below(fd, entry->d_name, depth + 1);
    closedir(dir);
    return result < 0 ? result : unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int sr_remove_tree(int dirfd, const char *name)
{
    return remove_below(dirfd, name, 0);
}
