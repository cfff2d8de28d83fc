/* Files and directories: the few operations that must be right everywhere. All descriptors are
 * close-on-exec. */
#ifndef SR_COMMON_FS_H
#define SR_COMMON_FS_H

#include "common/cleanup.h"

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Creates path with mode, and its missing parents so that all can pass them: what is private is
 * path, not what will be beside it. Directories that exist keep their modes. 0 or a negative
 * errno. */
int sr_mkdir_all(const char *path, mode_t mode) SR_MUST_CHECK;

/* True when path is prefix or below it, component by component. Both normalised. */
bool sr_path_within(const char *path, const char *prefix);

/* Waits until fd can be read, or has ended (a pidfd: its process has), even through signals. False
 * when deadline, of sr_now(), has passed before. */
bool sr_await(int fd, uint64_t deadline);

/* Writes all of data to fd, going on after short writes and EINTR. 0 or a negative errno. */
int sr_write_all(int fd, const void *data, size_t len) SR_MUST_CHECK;

/* Writes text in one call to a file of /proc, /sys or a cgroup that is there. 0 or a negative
 * errno. */
int sr_write_kernel_file(int dirfd, const char *name, const char *text) SR_MUST_CHECK;

/* Writes data at offset of fd, which has only zeros from there on, less what is zero of it in
 * blocks of the file: so holes stay holes. The file's size is the caller's to set in the end. 0 or
 * a negative errno. */
int sr_write_sparse(int fd, const void *data, size_t len, uint64_t offset) SR_MUST_CHECK;

/* An unnamed file on disk ($TMPDIR, /tmp or /var/tmp), for what is too large for memory. -1 and
 * errno. */
int sr_open_unnamed(void) SR_MUST_CHECK;

/* Creates name in dirfd (0600, must not exist) with this content and makes the content durable.
 * 0 or a negative errno; nothing is left on failure. */
int sr_write_new_file(int dirfd, const char *name, const void *data, size_t len) SR_MUST_CHECK;

/* Replaces name in dirfd by this content in one step (temporary file, rename); not durable. 0 or a
 * negative errno. */
int sr_replace_file(int dirfd, const char *name, const void *data, size_t len) SR_MUST_CHECK;

/* The same, durable when it returns 0. A negative errno may come after the rename: then the name
 * has the new content for now. */
int sr_replace_file_durably(int dirfd, const char *name, const void *data,
                            size_t len) SR_MUST_CHECK;

/* Opens a regular file below dirfd for reading: not outside of it, through no symbolic link. A
 * descriptor, or a negative errno: -ELOOP or -EXDEV for what leads elsewhere, -EINVAL for what is
 * no regular file. */
int sr_open_below(int dirfd, const char *name) SR_MUST_CHECK;

/* The entries of a directory from its beginning, whatever else dirfd, which stays open, is used
 * for; NULL with errno. */
DIR *sr_open_list(int dirfd) SR_MUST_CHECK;

/* Reads until size bytes are there or the input ends, going on after short reads and EINTR: from
 * offset, or with offset -1 from where fd stands. The number of bytes, or a negative errno. */
ssize_t sr_read_full(int fd, void *to, size_t size, int64_t offset) SR_MUST_CHECK;

/* Reads up to size-1 bytes of name in dirfd, no symbolic link, and terminates them with NUL. The
 * length, or a negative errno. */
ssize_t sr_read_small_file(int dirfd, const char *name, char *text, size_t size) SR_MUST_CHECK;

/* The identity of a file's content as far as the kernel tells it, in text: device, inode, size,
 * mtime, ctime. A change of content changes the ctime, if only by a tick of a coarse clock: 1 when
 * the file has not changed within the last two seconds, so that none can go unseen; 0 when it has;
 * or a negative errno. */
#define SR_IDENTITY_TEXT 160
int sr_file_identity(int fd, char text[SR_IDENTITY_TEXT]) SR_MUST_CHECK;

/* Whether anybody on this host has the file open for writing, or mapped so, apart from what fd
 * itself is: 1: somebody; 0: nobody, so that a later change begins with an open and moves the
 * times; negative errno: the kernel does not say (-EACCES: the file is somebody else's and the
 * caller has no CAP_LEASE). */
int sr_file_has_writer(int fd) SR_MUST_CHECK;

/* Removes name below dirfd, whatever it is and holds, down to 80 levels; links are not followed,
 * nothing there is fine. 0 or a negative errno. */
int sr_remove_tree(int dirfd, const char *name) SR_MUST_CHECK;

#endif
