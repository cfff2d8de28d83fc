#include "host/copy.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "host/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t)256 * 1024)

int host_copies_open(const struct host_config *config)
{
    return kept_open(config->copies, "copies");
}

struct copying {
    const struct host_artifact_context *context;
    const char *what;
    int source, copy; /* copy -1: only hashed, as what source is */
    unsigned char *chunk;
    int64_t at, size;
};

static bool goes_on(const struct copying *copying)
{
    const struct host_artifact_context *context = copying->context;
    return context->progress == NULL ||
           context->progress(context->context, copying->what, (uint64_t)copying->at,
                             (uint64_t)copying->size);
}

/* Bytes up to end, of a hole: hashed, and not written. */
static int take_hole(struct copying *copying, int64_t end)
{
    memset(copying->chunk, 0, CHUNK);
    while (copying->at < end) {
        int64_t left = end - copying->at;
        size_t len = left < (int64_t)CHUNK ? (size_t)left : CHUNK;
        sr_hasher_update(copying->context->hasher, copying->chunk, len);
        copying->at += (int64_t)len;
        if (!goes_on(copying))
            return -EINTR;
    }
    return 0;
}

static int write_at(int fd, const unsigned char *data, size_t len, int64_t at)
{
    while (len > 0) {
        ssize_t put = pwrite(fd, data, len, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        data += put;
        at += put;
        len -= (size_t)put;
    }
    return 0;
}

/* Bytes up to end: hashed and written from the same memory, which nobody else can change. */
static int take_data(struct copying *copying, int64_t end)
{
    while (copying->at < end) {
        int64_t left = end - copying->at;
        size_t len = left < (int64_t)CHUNK ? (size_t)left : CHUNK;
        ssize_t got = pread(copying->source, copying->chunk, len, (off_t)copying->at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ESTALE;
        sr_hasher_update(copying->context->hasher, copying->chunk, (size_t)got);
        int result = copying->copy < 0
                         ? 0
                         : write_at(copying->copy, copying->chunk, (size_t)got, copying->at);
        if (result < 0)
            return result;
        copying->at += got;
        if (!goes_on(copying))
            return -EINTR;
    }
    return 0;
}

static int take_all(struct copying *copying)
{
    while (copying->at < copying->size) {
        int64_t data = lseek(copying->source, copying->at, SEEK_DATA), hole = copying->size;
        if (data < 0 && errno == ENXIO)
            data = copying->size; /* a hole up to the end */
        else if (data < 0)
            data = copying->at; /* the file system does not tell */
        else if ((hole = lseek(copying->source, data, SEEK_HOLE)) < 0)
            hole = copying->size;
        if (data > copying->size)
            data = copying->size;
        if (hole > copying->size || hole < data)
            hole = copying->size;
        int result = take_hole(copying, data);
        if (result == 0)
            result = take_data(copying, hole);
        if (result < 0)
            return result;
    }
    return 0;
}

/* Hashes source into hash, and copies it to copy unless that is -1. */
static int take(const struct host_artifact_context *context, const char *what, int source, int copy,
                char hash[SR_SHA256_TEXT])
{
    struct stat st;
    if (fstat(source, &st) < 0)
        return -errno;
    struct copying copying = {
        .context = context,
        .what = what,
        .source = source,
        .copy = copy,
        .chunk = malloc(CHUNK),
        .size = st.st_size,
    };
    if (copying.chunk == NULL)
        return -ENOMEM;
    sr_hasher_reset(context->hasher);
    int result = take_all(&copying);
    free(copying.chunk);
    if (result == 0 && copy >= 0 && ftruncate(copy, st.st_size) < 0) /* a hole at the end */
        result = -errno;
    if (result == 0 && sr_hasher_final(context->hasher, hash) < 0)
        result = -EIO;
    return result;
}

int copy_file(int source, int directory, const struct host_artifact_context *context,
              const char *what, int *copy, char hash[SR_SHA256_TEXT])
{
    char self[40], found[SR_SHA256_TEXT];
    sr_cleanup_fd int made = SR_FAILPOINT("copy.make")
                                 ? -1
                                 : openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (made < 0)
        return -errno;
    bool is_shared = ioctl(made, FICLONE, source) == 0;
    int result =
        is_shared ? take(context, what, made, -1, found) : take(context, what, source, made, found);
    if (result == 0 && SR_FAILPOINT("copy.fill"))
        result = -errno;
    if (result < 0)
        return result;
    /* Others may read it once they get at it, as the jail's uid does: the directory is the caller's
     * alone. */
    if (fchmod(made, 0444) < 0)
        return -errno;
    snprintf(self, sizeof self, "/proc/self/fd/%d", made);
    int read_only = open(self, O_RDONLY | O_CLOEXEC);
    if (read_only < 0)
        return -errno;
    memcpy(hash, found, sizeof found);
    *copy = read_only;
    return 0;
}
