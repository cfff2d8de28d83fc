#include "evidence/attestation.h"

#include "evidence/envelope.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int unreadable(struct sr_error *err, const char *what)
{
    return sr_fail(err, SR_EVD_002, "attestation", "cannot be read: %s", what);
}

int attestation_read(int dirfd, const char *path, struct sr_buf *text, struct sr_error *err)
{
    sr_cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return unreadable(err, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return unreadable(err, "it is not a regular file");
    char chunk[16 * 1024];
    while (text->len <= EVIDENCE_ENVELOPE_MAX) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return unreadable(err, strerror(errno));
        if (got == 0)
            return sr_buf_ok(text) ? 0 : unreadable(err, "out of memory");
        sr_buf_append(text, chunk, (size_t)got);
    }
    return unreadable(err, "it is larger than 8 MiB");
}
