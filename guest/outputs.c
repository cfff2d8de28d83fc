/*
 * What the command left, for the host: each output as a cpio archive (newc) over the channel.
 *
 * Nothing else runs any more when an archive is made, so nothing changes while it is read. Links
 * are not followed, other file systems not entered. What the host makes of names, types and sizes
 * is its own affair: it believes none of them.
 */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A directory deeper than this is not read: each level holds a descriptor. */
#define DEPTH_MAX 64
/* Sizes in this format have 8 hexadecimal digits. */
#define FILE_MAX UINT32_MAX
#define TRAILER "TRAILER!!!"

struct archive {
    struct channel *channel;
    uint32_t *credit;
    uint32_t index;
    size_t len; /* of what waits in channel->out */
    uint64_t offset;
    uint32_t inode;
    dev_t device; /* of the output's root */
    enum channel_collected result;
    char text[400];
    char path[4096]; /* of the entry, in the archive: "o/..." */
};

__attribute__((format(printf, 3, 4))) static bool
give_up(struct archive *archive, enum channel_collected result, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(archive->text, sizeof archive->text, fmt, ap);
    va_end(ap);
    archive->result = result;
    return false;
}

/* Reads what the host says: more credit, or that it has had enough. */
static bool listen_to_host(struct archive *archive, bool wait)
{
    struct pollfd fd = {.fd = archive->channel->fd, .events = POLLIN};
    struct channel_frame_header header;
    const uint8_t *payload;
    bool enough = false;
    if (poll(&fd, 1, wait ? -1 : 0) <= 0)
        return true;
    channel_fill(archive->channel);
    while (channel_next(archive->channel, &header, &payload)) {
        struct channel_frame_credit credit;
        uint32_t index;
        if (header.type == CHANNEL_FRAME_CREDIT) {
            memcpy(&credit, payload, sizeof credit);
            if (credit.stream == CHANNEL_STREAM_ARCHIVE)
                *archive->credit += credit.bytes;
        } else if (header.type == CHANNEL_FRAME_ENOUGH) {
            memcpy(&index, payload, sizeof index);
            enough = enough || index == archive->index;
        }
        channel_done(archive->channel, &header);
    }
    return !enough || give_up(archive, CHANNEL_COLLECTED_CUT, "the host wanted no more of it");
}

static bool flush(struct archive *archive)
{
    while (*archive->credit < archive->len)
        if (!listen_to_host(archive, true))
            return false;
    if (archive->len > 0) {
        *archive->credit -= (uint32_t)archive->len;
        channel_send(archive->channel, CHANNEL_FRAME_ARCHIVE, archive->len);
        archive->len = 0;
    }
    return listen_to_host(archive, false);
}

/* Where the next bytes go, and how many fit. NULL: the archive has been given up. */
static uint8_t *space(struct archive *archive, size_t *room)
{
    if (archive->len == CHANNEL_FRAME_MAX_PAYLOAD && !flush(archive))
        return NULL;
    *room = CHANNEL_FRAME_MAX_PAYLOAD - archive->len;
    return archive->channel->out.payload + archive->len;
}

static void filled(struct archive *archive, size_t len)
{
    archive->len += len;
    archive->offset += len;
}

static bool put(struct archive *archive, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len > 0) {
        size_t room;
        uint8_t *to = space(archive, &room);
        if (to == NULL)
            return false;
        size_t n = len < room ? len : room;
        memcpy(to, at, n);
        filled(archive, n);
        at += n;
        len -= n;
    }
    return true;
}

/* Headers and contents begin at multiples of four. */
static bool pad(struct archive *archive)
{
    static const char zeros[4];
    return put(archive, zeros, -archive->offset & 3);
}

static bool put_header(struct archive *archive, const char *name, const struct stat *st)
{
    char text[6 + 13 * 8 + 1];
    size_t len = strlen(name) + 1;
    bool special = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
    uint64_t size = S_ISREG(st->st_mode) || S_ISLNK(st->st_mode) ? (uint64_t)st->st_size : 0;
    int64_t mtime = st->st_mtim.tv_sec;
    snprintf(text, sizeof text, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
             archive->inode++, st->st_mode, st->st_uid, st->st_gid, 1,
             mtime < 0            ? 0
             : mtime > UINT32_MAX ? UINT32_MAX
                                  : (uint32_t)mtime,
             (uint32_t)size, 0, 0, special ? (unsigned)major(st->st_rdev) : 0,
             special ? (unsigned)minor(st->st_rdev) : 0, (unsigned)len, 0);
    return put(archive, text, sizeof text - 1) && put(archive, name, len) && pad(archive);
}

static bool unreadable(struct archive *archive)
{
    return give_up(archive, CHANNEL_COLLECTED_FAILED, "%.300s cannot be read in the guest: %s",
                   archive->path, strerror(errno));
}

static bool put_content(struct archive *archive, int fd, uint64_t size)
{
    while (size > 0) {
        size_t room;
        uint8_t *to = space(archive, &room);
        if (to == NULL)
            return false;
        ssize_t got = read(fd, to, size < room ? (size_t)size : room);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = EIO; /* it has become shorter */
        if (got <= 0)
            return unreadable(archive);
        filled(archive, (size_t)got);
        size -= (uint64_t)got;
    }
    return pad(archive);
}

static bool put_file(struct archive *archive, int dir, const char *name, const struct stat *st)
{
    if ((uint64_t)st->st_size > FILE_MAX)
        return give_up(archive, CHANNEL_COLLECTED_FAILED,
                       "%.300s has %llu bytes; a file of an output has 4 GiB at most",
                       archive->path, (unsigned long long)st->st_size);
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return unreadable(archive);
    bool ok =
        put_header(archive, archive->path, st) && put_content(archive, fd, (uint64_t)st->st_size);
    close(fd);
    return ok;
}

static bool put_link(struct archive *archive, int dir, const char *name, struct stat *st)
{
    char target[4096];
    ssize_t len = readlinkat(dir, name, target, sizeof target);
    if (len < 0)
        return unreadable(archive);
    st->st_size = len;
    return put_header(archive, archive->path, st) && put(archive, target, (size_t)len) &&
           pad(archive);
}

static bool put_entry(struct archive *archive, int dir, const char *name, int depth);

static bool put_directory(struct archive *archive, int dir, const char *name, int depth)
{
    size_t len = strlen(archive->path);
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (list == NULL)
        return unreadable(archive);
    bool ok = true;
    const struct dirent *entry;
    while (ok && (errno = 0, entry = readdir(list)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (depth == DEPTH_MAX || len + 1 + strlen(entry->d_name) >= sizeof archive->path) {
            ok = give_up(archive, CHANNEL_COLLECTED_FAILED, "%.300s is nested too deep",
                         archive->path);
            break;
        }
        archive->path[len] = '/';
        strcpy(archive->path + len + 1, entry->d_name);
        ok = put_entry(archive, fd, entry->d_name, depth + 1);
        archive->path[len] = '\0';
    }
    if (ok && entry == NULL && errno != 0)
        ok = unreadable(archive);
    closedir(list);
    return ok;
}

static bool put_entry(struct archive *archive, int dir, const char *name, int depth)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return unreadable(archive);
    if (S_ISREG(st.st_mode))
        return put_file(archive, dir, name, &st);
    if (S_ISLNK(st.st_mode))
        return put_link(archive, dir, name, &st);
    if (!S_ISDIR(st.st_mode))
        return put_header(archive, archive->path, &st);
    if (depth == 0)
        archive->device = st.st_dev;
    return put_header(archive, archive->path, &st) &&
           (st.st_dev != archive->device || put_directory(archive, dir, name, depth));
}

static void collect(struct archive *archive, const char *path)
{
    static const struct stat none;
    struct stat st;
    strcpy(archive->path, "o");
    if (lstat(path, &st) < 0) {
        give_up(archive,
                errno == ENOENT || errno == ENOTDIR ? CHANNEL_COLLECTED_MISSING
                                                    : CHANNEL_COLLECTED_FAILED,
                "%.300s: %s", path, strerror(errno));
        return;
    }
    if (put_entry(archive, AT_FDCWD, path, 0) && put_header(archive, TRAILER, &none))
        flush(archive);
}

void outputs_send(const struct spec *spec, struct channel *channel)
{
    uint32_t credit = CHANNEL_WINDOW;
    for (uint32_t i = 0; i < spec->outputc; i++) {
        struct archive archive = {.channel = channel, .credit = &credit, .index = i, .inode = 1};
        collect(&archive, spec->outputs[i]);
        const uint32_t result = archive.result;
        size_t len = strlen(archive.text);
        memcpy(channel->out.payload, &result, sizeof result);
        memcpy(channel->out.payload + sizeof result, archive.text, len);
        channel_send(channel, CHANNEL_FRAME_COLLECTED, sizeof result + len);
    }
}

/* True when the command itself could make path. */
static bool in_commands_reach(const struct spec *spec, const char *path)
{
    char parent[4096];
    struct stat st;
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    slash[slash == parent] = '\0';
    if (stat(parent, &st) < 0)
        return false;
    unsigned shift = st.st_uid == spec->uid ? 6 : st.st_gid == spec->gid ? 3 : 0;
    return spec->uid == 0 || (st.st_mode >> shift & 3) == 3;
}

/* mkdir -p, with root's directories but for the last. */
static void make_for_command(const struct spec *spec, const char *path)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return;
    for (char *at = part + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(part, 0755);
        *at = '/';
    }
    if (mkdir(part, 0755) == 0)
        lchown(part, spec->uid, spec->gid);
}

void outputs_prepare(const struct spec *spec)
{
    struct stat st;
    for (size_t i = 0; i < spec->outputc; i++)
        if (lstat(spec->outputs[i], &st) < 0 && errno == ENOENT &&
            !in_commands_reach(spec, spec->outputs[i]))
            make_for_command(spec, spec->outputs[i]);
}
