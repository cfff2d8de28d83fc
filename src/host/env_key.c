/*
 * The key of the HMACs of secrets: 32 random bytes in a file of their own. Whoever has it can try
 * values against the evidence of this host's runs, so it lies outside of every run directory and no
 * guest gets it (mounts.c). It comes into being whole: written to a file without a name, durable,
 * then linked, so that of several first runs one makes it and the others find it.
 */
#include "host/host.h"

#include "common/owner.h"

#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define FIELD "env.key"

bool host_env_key_path(const struct host_config *config, char path[PATH_MAX])
{
    if (config->env_key[0] == '\0')
        return host_state_path("env.key", path);
    return snprintf(path, PATH_MAX, "%s", config->env_key) < PATH_MAX;
}

/* fd is at the file's start. */
static int read_key(int fd, const char *path, unsigned char key[HOST_ENV_KEY_SIZE],
                    struct sr_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return sr_fail(err, SR_EVD_003, FIELD, "%s is not a regular file", path);
    if ((st.st_mode & 077) != 0)
        return sr_fail(err, SR_EVD_003, FIELD,
                       "%s has mode %04o: whoever reads it can try values against the evidence; "
                       "chmod 600 closes it",
                       path, (unsigned)st.st_mode & 07777);
    ssize_t got = st.st_size == HOST_ENV_KEY_SIZE ? sr_read_full(fd, key, HOST_ENV_KEY_SIZE, 0) : 0;
    if (got != HOST_ENV_KEY_SIZE)
        return sr_fail(err, SR_EVD_003, FIELD,
                       "%s is not the %d bytes of a key; what was recorded with it cannot be "
                       "checked any more; once it is moved away the next run makes another",
                       path, HOST_ENV_KEY_SIZE);
    return 0;
}

/* In a directory that nobody else writes to. -EEXIST: there is one by now. */
static int make_key(int dirfd, const char *name)
{
    unsigned char key[HOST_ENV_KEY_SIZE];
    char self[40];
    sr_cleanup_fd int fd = openat(dirfd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = getrandom(key, sizeof key, 0) == sizeof key ? 0 : -EIO;
    if (result == 0)
        result = sr_write_all(fd, key, sizeof key);
    explicit_bzero(key, sizeof key);
    if (result < 0)
        return result;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (fchmod(fd, 0600) < 0 || fsync(fd) < 0 ||
        linkat(AT_FDCWD, self, dirfd, name, AT_SYMLINK_FOLLOW) < 0 || fsync(dirfd) < 0)
        return -errno;
    return 0;
}

static int make_at(const char *path, bool usual, struct sr_error *err)
{
    char parent[PATH_MAX], why[SR_OWNER_TEXT];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof parent, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    int result = usual ? sr_mkdir_all(parent, 0755) : 0;
    if (result < 0)
        return sr_fail(err, SR_EVD_003, FIELD, "%s cannot be created: %s", parent,
                       strerror(-result));
    sr_cleanup_fd int dirfd = sr_open_place(parent, why);
    if (dirfd < 0)
        return sr_fail(err, SR_EVD_003, FIELD, "no key can be made in %s, which %s", parent, why);
    result = make_key(dirfd, slash + 1);
    if (result < 0 && result != -EEXIST)
        return sr_fail(err, SR_EVD_003, FIELD, "%s cannot be created: %s", path, strerror(-result));
    return 0;
}

int host_env_key(const struct host_config *config, unsigned char key[HOST_ENV_KEY_SIZE],
                 struct sr_error *err)
{
    char path[PATH_MAX], why[SR_OWNER_TEXT];
    if (!host_env_key_path(config, path))
        return sr_fail(err, SR_EVD_003, FIELD,
                       "there is no place for the key of secrets: set HOME, or env.key of the host "
                       "configuration");
    sr_cleanup_fd int fd = sr_open_owned(path, why);
    if (fd == -ENOENT) {
        if (make_at(path, config->env_key[0] == '\0', err) < 0)
            return -1;
        fd = sr_open_owned(path, why);
    }
    if (fd < 0)
        return sr_fail(err, SR_EVD_003, FIELD, "%s %s%s", path, why,
                       fd == -EPERM ? ": this key is its owner's alone (chown, chmod 600)" : "");
    return read_key(fd, path, key, err);
}
