/*
 * A root directory of a process's own: a tmpfs with nothing but what is put there. For a process
 * alone in a mount namespace.
 *
 *   1. sr_jail_root_make(). It hides /proc, whose mount point every host has; what is needed of
 *      that comes before (open_tree(2)).
 *   2. Files of the host (sr_jail_root_add(), _bind(), _put()), and what mkdirat(2) and its like
 *      make below the descriptor.
 *   3. sr_jail_root_seal(): all of it is read-only, nosuid, nodev. What is bound now, at a place
 *      made before, is as its attributes say: devices.
 *   4. sr_jail_root_enter(): no path leads to a file of the host but to those, for the caller and
 *      whoever else is in its mount namespace.
 *
 * All return -1 with errno when they fail. Places are relative to the new root.
 */
#ifndef SR_JAIL_ROOT_H
#define SR_JAIL_ROOT_H

#include "common/cleanup.h"

#include <linux/mount.h>
#include <stdint.h>

/* The new root, a descriptor of O_PATH. */
int sr_jail_root_make(void) SR_MUST_CHECK;

/* An empty file to bind over, and the directories on the way. */
int sr_jail_root_place(int root, const char *place) SR_MUST_CHECK;

/* A file of the host, at the same path. */
int sr_jail_root_add(int root, const char *path) SR_MUST_CHECK;

/* Binds a file, by path or, with an empty path, by a descriptor of this mount namespace, over a
 * place, with attributes of mount_setattr(2). */
int sr_jail_root_bind(int root, int fd, const char *path, const char *place,
                      uint64_t attributes) SR_MUST_CHECK;

/* The same for a detached mount of a file (open_tree(2)). */
int sr_jail_root_put(int root, int tree, const char *place, uint64_t attributes) SR_MUST_CHECK;

int sr_jail_root_seal(int root) SR_MUST_CHECK;

/* Makes it the root directory; the old one is gone. */
int sr_jail_root_enter(int root) SR_MUST_CHECK;

#endif
