/* Documents from files of the host, and from standard input. */
#include "common/cleanup.h"
#include "common/owner.h"
#include "saferun/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_document(int fd, const char *name, char **text, size_t *len, struct sr_error *err)
{
    int error = errno; /* why there is no fd */
    sr_cleanup_free char *buffer = malloc(SR_POLICY_MAX_BYTES + 1);
    if (buffer == NULL)
        return sr_fail(err, SR_POL_001, "policy", "out of memory");
    size_t used = 0;
    ssize_t got = fd < 0 ? -1 : 1;
    errno = error;
    while (got > 0 && used <= SR_POLICY_MAX_BYTES) {
        got = read(fd, buffer + used, SR_POLICY_MAX_BYTES + 1 - used);
        if (got > 0)
            used += (size_t)got;
        else if (got < 0 && errno == EINTR)
            got = 1;
    }
    if (got < 0)
        return sr_fail(err, SR_POL_001, "policy", "%s cannot be read: %s", name, strerror(errno));
    if (used > SR_POLICY_MAX_BYTES)
        return sr_fail(err, SR_POL_002, "policy", "the document is larger than 1 MiB");
    buffer[used] = '\0';
    *text = buffer;
    buffer = NULL;
    *len = used;
    return 0;
}

int sr_policy_read(const char *path, char **text, size_t *len, struct sr_error *err)
{
    if (strcmp(path, "-") == 0)
        return read_document(STDIN_FILENO, "standard input", text, len, err);
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return read_document(fd, path, text, len, err);
}

int sr_policy_read_owned(const char *path, char **text, size_t *len, struct sr_error *err)
{
    char why[SR_OWNER_TEXT];
    sr_cleanup_fd int fd = sr_open_owned(path, why);
    if (fd == -EPERM)
        return sr_fail(err, SR_POL_001, "policy",
                       "%s %s: it says what this user's runs may do, so nobody but this user and "
                       "root may change it",
                       path, why);
    errno = fd < 0 ? -fd : 0;
    return read_document(fd, path, text, len, err);
}
