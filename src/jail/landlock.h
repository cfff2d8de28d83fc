/*
 * Landlock (Linux 5.13, Documentation/userspace-api/landlock.rst) limits what a process may do
 * below which directories.
 */
#ifndef SR_JAIL_LANDLOCK_H
#define SR_JAIL_LANDLOCK_H

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JAIL_EXECUTE = 1,
    JAIL_READ_FILE = 2,
    JAIL_READ_DIR = 4,
    JAIL_WRITE = 8, /* make, write, rename and remove files */
    JAIL_REMOVE_DIR = 16,
    JAIL_USE_DEVICE = 32, /* read, write, ioctl */
    JAIL_WRITE_TREE = 64  /* files, directories and symbolic links: make, read, write, remove */
};

struct jail_access {
    int fd; /* of the file or directory, O_PATH will do */
    unsigned rights;
};

/* Restricts the calling process, for the rest of its life, to these places. With no_tcp it cannot
 * bind or connect TCP sockets either, where the kernel can forbid that. Returns 0, also on kernels
 * without Landlock; or -1 with errno. Needs no_new_privs. */
int jail_landlock(const struct jail_access *places, size_t count, bool no_tcp) SR_MUST_CHECK;

#endif
