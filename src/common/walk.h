/*
 * Goes through a directory tree in the order of the names' bytes, by descriptors, without following
 * a link or leaving the file system. What is there is the visitor's; what is left out is told.
 */
#ifndef SR_COMMON_WALK_H
#define SR_COMMON_WALK_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Descriptors are held for all levels at once. */
#define SR_WALK_DEPTH_MAX 512

struct sr_walk {
    /* An entry: directory, regular file or symbolic link. parent is what entry() gave for its
     * directory. For directories *own is what their entries get as parent. open_fd is the
     * directory's own descriptor, or -1. */
    int (*entry)(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                 const struct statx *st, int open_fd, void **own, struct sr_error *err);
    void (*skip)(struct sr_walk *walk, const char *why);
    enum sr_code code; /* of errors, and their path */
    const char *path;
    const char *name;  /* the source's, for sentences */
    char at[PATH_MAX]; /* the current entry, relative to the source */
    uint32_t entries, entries_max;
    bool flat; /* directories are visited, and not what is in them */
};

/* Visits all below directory fd, which stays the caller's. 0, or -1 with err. */
int sr_walk(struct sr_walk *walk, int fd, void *own, struct sr_error *err) SR_MUST_CHECK;

/* Facts of an open file or directory, or of a name; 0 or -1 with errno. */
int sr_walk_stat(int fd, const char *name, struct statx *st) SR_MUST_CHECK;

/* Opens the entry that is visited, for reading. */
int sr_walk_open(int directory_fd, const char *name, int flags) SR_MUST_CHECK;

/* Fails with "<source>/<entry> <what>: <errno>". */
int sr_walk_fail(const struct sr_walk *walk, const char *what, int error, struct sr_error *err);

#endif
