/*
 * A root directory of a process's own: a tmpfs that holds only what is put there. For a process
 * that is alone in its mount namespace.
 *
 *   1. jail_root_make(). It hides /proc, whose mount point every host has; what is needed of
 *      that comes before (open_tree(2)).
 *   2. Files of the host (jail_root_add(), _bind(), _put()), and what mkdirat(2) and its like
 *      make below the descriptor.
 *   3. jail_root_seal() makes all of it read-only, nosuid and nodev. A file that is bound after
 *      that, at a place made before, keeps the attributes it is given: devices.
 *   4. jail_root_enter(). From here on, paths of the caller, and of whoever else is in its mount
 *      namespace, lead to nothing of the host but these files.
 *
 * All return -1 with errno when they fail. Places are relative to the new root.
 */
#ifndef SR_JAIL_ROOT_H
#define SR_JAIL_ROOT_H

#include "common/cleanup.h"

#include <linux/mount.h>
#include <stdint.h>

/* Makes the new root. Returns an O_PATH descriptor of it. */
int jail_root_make(void) SR_MUST_CHECK;

/* Makes an empty file to bind over, and the directories on the way. */
int jail_root_place(int root, const char *place) SR_MUST_CHECK;

/* Binds a file of the host at the same path. */
int jail_root_add(int root, const char *path) SR_MUST_CHECK;

/* Binds a file, by path or, with an empty path, by a descriptor of this mount namespace, over a
 * place, with attributes of mount_setattr(2). */
int jail_root_bind(int root, int fd, const char *path, const char *place,
                   uint64_t attributes) SR_MUST_CHECK;

/* The same for a detached mount of a file (open_tree(2)). */
int jail_root_put(int root, int tree, const char *place, uint64_t attributes) SR_MUST_CHECK;

int jail_root_seal(int root) SR_MUST_CHECK;

/* Makes it the root directory and detaches the old one. */
int jail_root_enter(int root) SR_MUST_CHECK;

#endif
