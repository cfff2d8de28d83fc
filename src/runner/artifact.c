#include "host.h"

#include "buf.h"
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int sr_cache_open(void)
{
    char path[PATH_MAX];
    const char *named = getenv("SAFE_RUN_CACHE_DIR");
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int len;
    if (named != NULL && named[0] == '/')
        len = snprintf(path, sizeof path, "%s", named);
    else if (geteuid() == 0)
        len = snprintf(path, sizeof path, "/var/cache/safe-run");
    else if (xdg != NULL && xdg[0] == '/')
        len = snprintf(path, sizeof path, "%s/safe-run", xdg);
    else if (home != NULL && home[0] == '/')
        len = snprintf(path, sizeof path, "%s/.cache/safe-run", home);
    else
        return -1;
    if (len >= (int)sizeof path || sr_mkdir_all(path, 0755) < 0)
        return -1;
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    /* Somebody else's directory could tell us anything. */
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
        return -1;
    return sr_take_fd(&fd);
}

static bool recall(int cache, const char *name, const char *who, char hash[SR_SHA256_TEXT])
{
    char text[256];
    ssize_t len = cache < 0 ? -1 : sr_read_small_file(cache, name, text, sizeof text);
    size_t who_len = strlen(who);
    if (len != (ssize_t)(SR_SHA256_TEXT + who_len) || text[SR_SHA256_TEXT - 1] != ' ' ||
        strcmp(text + SR_SHA256_TEXT, who) != 0)
        return false;
    memcpy(hash, text, SR_SHA256_TEXT - 1);
    hash[SR_SHA256_TEXT - 1] = '\0';
    return true;
}

static int hash_of(int fd, bool rehash, const struct sr_known_hash *known, struct sr_hasher *hasher,
                   char hash[SR_SHA256_TEXT])
{
    sr_cleanup_fd int cache = sr_cache_open();
    struct stat st;
    char who[SR_IDENTITY_TEXT], again[SR_IDENTITY_TEXT], name[64];
    int settled = sr_file_identity(fd, who);
    if (settled < 0 || fstat(fd, &st) < 0)
        return settled < 0 ? settled : -errno;
    if (!rehash && known != NULL && strcmp(known->identity, who) == 0) {
        memcpy(hash, known->hash, SR_SHA256_TEXT);
        return 0;
    }
    snprintf(name, sizeof name, "hash-%ju-%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    if (!rehash && settled > 0 && recall(cache, name, who, hash))
        return 0;
    int result = sr_sha256_fd(hasher, fd, hash);
    if (result < 0 || cache < 0 || settled == 0)
        return result;
    char text[SR_SHA256_TEXT + sizeof who];
    /* Only if the file stood still while it was read. */
    if (sr_file_identity(fd, again) >= 0 && strcmp(who, again) == 0) {
        int len = snprintf(text, sizeof text, "%s %s", hash, who);
        result = sr_replace_file(cache, name, text, (size_t)len);
    }
    return result < 0 ? 0 : result; /* not remembering costs time, nothing else */
}

int sr_artifact_open(struct sr_artifact *artifact, const char *path, const char *what,
                     const char *advice, bool rehash, const struct sr_known_hash *known,
                     struct sr_hasher *hasher, struct sr_error *err)
{
    char step[64];
    snprintf(step, sizeof step, "launch.preflight.%s", what);
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return sr_fail(err, SR_RUN_002, step, "the %s %s cannot be opened: %s; %s", what, path,
                       strerror(errno), advice);
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return sr_fail(err, SR_RUN_002, step, "the %s %s is not a regular file", what, path);
    if (st.st_size == 0)
        return sr_fail(err, SR_RUN_002, step, "the %s %s is empty", what, path);
    char hash[SR_SHA256_TEXT];
    int result = hash_of(fd, rehash, known, hasher, hash);
    if (result < 0)
        return sr_fail(err, SR_RUN_002, step, "the %s %s cannot be read: %s", what, path,
                       strerror(-result));
    memcpy(artifact->hash, hash, sizeof hash);
    artifact->fd = sr_take_fd(&fd);
    return 0;
}
