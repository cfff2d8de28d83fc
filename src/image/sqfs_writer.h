/*
 * Writes a squashfs image (version 4.0) over libsquashfs.
 *
 *   1. image_sqfs_open() on an empty file.
 *   2. File contents, in any order, each between begin and end; worker threads compress meanwhile.
 *      Extended attributes likewise.
 *   3. image_sqfs_finish() writes a tree's names and inodes behind them and the superblock before
 *      them.
 *
 * The same calls in the same order give the same bytes, whatever the number of threads: there is no
 * time in the image but the entries' own, and entries are sorted.
 *
 * Foreign contents are written in a worker only (src/jail/worker.h). Errors have the codes
 * SR-OPS-105 (too large) and -108, and the path "image".
 */
#ifndef SR_IMAGE_SQFS_WRITER_H
#define SR_IMAGE_SQFS_WRITER_H

#include "image/tree.h"
#include "saferun/error.h"

/* Compressors that the guest's kernel reads. lz4 packs at the speed of the disk; zstd packs
 * smaller. */
enum image_sqfs_compressor { IMAGE_SQFS_ZSTD, IMAGE_SQFS_LZ4 };

struct image_sqfs;

/* Begins an image in fd, an empty file to read and write, which stays the caller's. threads
 * compress; at least 1. */
int image_sqfs_open(int fd, enum image_sqfs_compressor compressor, unsigned threads,
                    struct image_sqfs **out, struct sr_error *err) SR_MUST_CHECK;
void image_sqfs_close(struct image_sqfs *sqfs);

/* Frees what image_sqfs_file_begin() attached to inodes when image_sqfs_finish() was not reached.
 * Call it after image_sqfs_close(). */
void image_sqfs_forget(struct image_tree *tree);

/* Write the content of a regular file, and its size to inode, which must stay where it is until
 * image_sqfs_finish(). A file without these calls is empty. */
int image_sqfs_file_begin(struct image_sqfs *sqfs, struct image_inode *inode,
                          struct sr_error *err) SR_MUST_CHECK;
int image_sqfs_file_append(struct image_sqfs *sqfs, const void *data, size_t len,
                           struct sr_error *err) SR_MUST_CHECK;
/* Appends len zero bytes, without a buffer of that size. */
int image_sqfs_file_append_zeros(struct image_sqfs *sqfs, uint64_t len,
                                 struct sr_error *err) SR_MUST_CHECK;
int image_sqfs_file_end(struct image_sqfs *sqfs, struct sr_error *err) SR_MUST_CHECK;

/* Write the attributes of one inode: begin, any number of adds, end, which gives the token for
 * inode->xattrs. Attributes that squashfs cannot hold (namespaces other than user, trusted and
 * security) are left out. */
int image_sqfs_xattrs_begin(struct image_sqfs *sqfs, struct sr_error *err) SR_MUST_CHECK;
int image_sqfs_xattrs_add(struct image_sqfs *sqfs, const char *key, const void *value, size_t len,
                          struct sr_error *err) SR_MUST_CHECK;
int image_sqfs_xattrs_end(struct image_sqfs *sqfs, uint32_t *token,
                          struct sr_error *err) SR_MUST_CHECK;

/* Sizes of an image. */
struct image_counts {
    uint64_t image_bytes;                          /* of the image file */
    uint64_t bytes;                                /* of the contents of its files */
    uint32_t files, directories, symlinks, others; /* inodes; others: devices and pipes */
};

/* Completes the image. Nothing but image_sqfs_close() may follow. */
int image_sqfs_finish(struct image_sqfs *sqfs, struct image_tree *tree, struct image_counts *counts,
                      struct sr_error *err) SR_MUST_CHECK;

#endif
