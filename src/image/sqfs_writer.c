/*
 * Order of an image: superblock, the compressor's options, data, fragments, inode table, directory
 * table, fragment table, ids, extended attributes, padding to a page (a virtio disk has whole
 * sectors).
 *
 * Inode numbers are given in one pass from the root (a directory's children are consecutive, so
 * that its listing is dense), the tables are written in a second one, children before their
 * directory, which points to them.
 */
#include "image/sqfs_writer.h"

#include "common/fs.h"

#include <errno.h>
#include <sqfs/block_processor.h>
#include <sqfs/block_writer.h>
#include <sqfs/compressor.h>
#include <sqfs/dir_writer.h>
#include <sqfs/error.h>
#include <sqfs/frag_table.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/meta_writer.h>
#include <sqfs/super.h>
#include <sqfs/xattr.h>
#include <sqfs/xattr_writer.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PATH "image"
/* zstd's own default; 15, which mksquashfs takes, packs a tenth smaller and five times as
 * slowly. */
#define ZSTD_LEVEL 3
/* Blocks in flight for each thread. */
#define BACKLOG 10
#define PAGE 4096

/* libsquashfs's view of a descriptor. The base comes first: it is handed around by that. */
struct file {
    sqfs_file_t base;
    int fd;
    int error; /* errno of the first call that failed */
    uint64_t size;
};

struct image_sqfs {
    struct file file;
    sqfs_super_t super;
    sqfs_compressor_t *compressor, *decompressor;
    sqfs_block_writer_t *blocks;
    sqfs_frag_table_t *fragments;
    sqfs_block_processor_t *processor;
    sqfs_id_table_t *ids;
    sqfs_xattr_writer_t *xattrs;
    sqfs_meta_writer_t *inode_table, *directory_table;
    sqfs_dir_writer_t *directories;
    uint64_t file_size; /* of the one that is being written */
    struct image_inode *open;
    bool has_xattrs;
    struct image_counts counts;
};

static int read_at(sqfs_file_t *base, sqfs_u64 offset, void *buffer, size_t size)
{
    struct file *file = (struct file *)base;
    char *at = buffer;
    while (size > 0) {
        ssize_t got = pread(file->fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            file->error = got < 0 ? errno : EIO;
            return SQFS_ERROR_IO;
        }
        at += got;
        offset += (sqfs_u64)got;
        size -= (size_t)got;
    }
    return 0;
}

static int write_at(sqfs_file_t *base, sqfs_u64 offset, const void *buffer, size_t size)
{
    struct file *file = (struct file *)base;
    const char *at = buffer;
    while (size > 0) {
        ssize_t put = pwrite(file->fd, at, size, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            file->error = errno;
            return SQFS_ERROR_IO;
        }
        at += put;
        offset += (sqfs_u64)put;
        size -= (size_t)put;
    }
    if (offset > file->size)
        file->size = offset;
    return 0;
}

static sqfs_u64 get_size(const sqfs_file_t *base)
{
    return ((const struct file *)base)->size;
}

static int truncate_to(sqfs_file_t *base, sqfs_u64 size)
{
    struct file *file = (struct file *)base;
    if (ftruncate(file->fd, (off_t)size) < 0) {
        file->error = errno;
        return SQFS_ERROR_IO;
    }
    file->size = size;
    return 0;
}

/* Says what a call of libsquashfs came to. */
static int check(const struct image_sqfs *sqfs, int result, struct sr_error *err)
{
    if (result >= 0)
        return 0;
    if (sqfs->file.error == EFBIG)
        return sr_fail(err, SR_OPS_105, PATH, "the image would be larger than is allowed");
    if (sqfs->file.error != 0)
        return sr_fail(err, SR_OPS_108, PATH, "the image cannot be written: %s",
                       strerror(sqfs->file.error));
    if (result == SQFS_ERROR_ALLOC)
        return sr_fail(err, SR_OPS_105, PATH, "making the image takes more memory than is allowed");
    return sr_fail(err, SR_OPS_108, PATH, "the image cannot be made: libsquashfs error %d", result);
}

static int start_compressor(struct image_sqfs *sqfs, enum image_sqfs_compressor wanted)
{
    sqfs_compressor_config_t config;
    SQFS_COMPRESSOR id = wanted == IMAGE_SQFS_LZ4 ? SQFS_COMP_LZ4 : SQFS_COMP_ZSTD;
    int result = sqfs_compressor_config_init(&config, id, SQFS_DEFAULT_BLOCK_SIZE, 0);
    if (result == 0 && id == SQFS_COMP_ZSTD)
        config.level = ZSTD_LEVEL;
    if (result == 0)
        result = sqfs_compressor_create(&config, &sqfs->compressor);
    config.flags |= SQFS_COMP_FLAG_UNCOMPRESS;
    if (result == 0)
        result = sqfs_compressor_create(&config, &sqfs->decompressor);
    if (result == 0)
        result = sqfs_super_init(&sqfs->super, SQFS_DEFAULT_BLOCK_SIZE, 0, id);
    if (result == 0)
        result = sqfs_super_write(&sqfs->super, &sqfs->file.base);
    if (result == 0)
        result = sqfs->compressor->write_options(sqfs->compressor, &sqfs->file.base);
    if (result > 0)
        sqfs->super.flags |= SQFS_FLAG_COMPRESSOR_OPTIONS;
    return result < 0 ? result : 0;
}

static int start_writers(struct image_sqfs *sqfs, unsigned threads)
{
    sqfs->blocks = sqfs_block_writer_create(&sqfs->file.base, PAGE, 0);
    sqfs->fragments = sqfs_frag_table_create(0);
    sqfs->ids = sqfs_id_table_create(0);
    sqfs->xattrs = sqfs_xattr_writer_create(0);
    sqfs->inode_table = sqfs_meta_writer_create(&sqfs->file.base, sqfs->compressor, 0);
    sqfs->directory_table = sqfs_meta_writer_create(&sqfs->file.base, sqfs->compressor,
                                                    SQFS_META_WRITER_KEEP_IN_MEMORY);
    if (sqfs->blocks == NULL || sqfs->fragments == NULL || sqfs->ids == NULL ||
        sqfs->xattrs == NULL || sqfs->inode_table == NULL || sqfs->directory_table == NULL)
        return SQFS_ERROR_ALLOC;
    sqfs->directories = sqfs_dir_writer_create(sqfs->directory_table, 0);
    const sqfs_block_processor_desc_t description = {
        .size = sizeof description,
        .max_block_size = SQFS_DEFAULT_BLOCK_SIZE,
        .num_workers = threads,
        .max_backlog = BACKLOG * threads,
        .cmp = sqfs->compressor,
        .wr = sqfs->blocks,
        .tbl = sqfs->fragments,
        /* To look at a file's end again before taking it for another's: their checksums have 32
         * bits. */
        .file = &sqfs->file.base,
        .uncmp = sqfs->decompressor,
    };
    return sqfs->directories == NULL
               ? SQFS_ERROR_ALLOC
               : sqfs_block_processor_create_ex(&description, &sqfs->processor);
}

int image_sqfs_open(int fd, enum image_sqfs_compressor compressor, unsigned threads,
                    struct image_sqfs **out, struct sr_error *err)
{
    struct image_sqfs *sqfs = calloc(1, sizeof *sqfs);
    if (sqfs == NULL)
        return sr_fail(err, SR_OPS_105, PATH, "out of memory");
    sqfs->file = (struct file){.base = {.read_at = read_at,
                                        .write_at = write_at,
                                        .get_size = get_size,
                                        .truncate = truncate_to},
                               .fd = fd};
    int result = start_compressor(sqfs, compressor);
    if (result == 0)
        result = start_writers(sqfs, threads);
    if (check(sqfs, result, err) < 0) {
        image_sqfs_close(sqfs);
        return -1;
    }
    *out = sqfs;
    return 0;
}

void image_sqfs_close(struct image_sqfs *sqfs)
{
    if (sqfs == NULL)
        return;
    /* The library forgets blocks that are on their way when the processor goes. */
    if (sqfs->open != NULL)
        sqfs_block_processor_end_file(sqfs->processor);
    if (sqfs->processor != NULL)
        sqfs_block_processor_finish(sqfs->processor);
    sqfs_destroy(sqfs->processor);
    sqfs_destroy(sqfs->directories);
    sqfs_destroy(sqfs->directory_table);
    sqfs_destroy(sqfs->inode_table);
    sqfs_destroy(sqfs->xattrs);
    sqfs_destroy(sqfs->ids);
    sqfs_destroy(sqfs->fragments);
    sqfs_destroy(sqfs->blocks);
    sqfs_destroy(sqfs->decompressor);
    sqfs_destroy(sqfs->compressor);
    free(sqfs);
}

static void forget(const struct image_node *directory)
{
    for (struct image_node *node = directory->inode->directory.first; node != NULL;
         node = node->next) {
        if (S_ISDIR(node->inode->mode))
            forget(node);
        if (!S_ISREG(node->inode->mode))
            continue;
        sqfs_free(node->inode->file.blocks);
        node->inode->file.blocks = NULL;
    }
}

void image_sqfs_forget(struct image_tree *tree)
{
    forget(image_tree_root(tree));
}

int image_sqfs_file_begin(struct image_sqfs *sqfs, struct image_inode *inode, struct sr_error *err)
{
    sqfs->file_size = 0;
    /* void * and a pointer to a structure have one representation here; the processor keeps the
     * address. */
    int result = sqfs_block_processor_begin_file(
        sqfs->processor, (sqfs_inode_generic_t **)&inode->file.blocks, NULL, 0);
    if (result == 0)
        sqfs->open = inode;
    return check(sqfs, result, err);
}

int image_sqfs_file_append(struct image_sqfs *sqfs, const void *data, size_t len,
                           struct sr_error *err)
{
    sqfs->file_size += len;
    return check(sqfs, sqfs_block_processor_append(sqfs->processor, data, len), err);
}

int image_sqfs_file_append_zeros(struct image_sqfs *sqfs, uint64_t len, struct sr_error *err)
{
    static const char zeros[65536];
    while (len > 0) {
        size_t piece = len < sizeof zeros ? (size_t)len : sizeof zeros;
        if (image_sqfs_file_append(sqfs, zeros, piece, err) < 0)
            return -1;
        len -= piece;
    }
    return 0;
}

int image_sqfs_file_end(struct image_sqfs *sqfs, struct sr_error *err)
{
    if (sqfs->open != NULL)
        sqfs->open->file.size = sqfs->file_size;
    sqfs->open = NULL;
    return check(sqfs, sqfs_block_processor_end_file(sqfs->processor), err);
}

int image_sqfs_xattrs_begin(struct image_sqfs *sqfs, struct sr_error *err)
{
    sqfs->has_xattrs = false;
    return check(sqfs, sqfs_xattr_writer_begin(sqfs->xattrs, 0), err);
}

int image_sqfs_xattrs_add(struct image_sqfs *sqfs, const char *key, const void *value, size_t len,
                          struct sr_error *err)
{
    if (sqfs_get_xattr_prefix_id(key) < 0)
        return 0;
    sqfs->has_xattrs = true;
    return check(sqfs, sqfs_xattr_writer_add(sqfs->xattrs, key, value, len), err);
}

int image_sqfs_xattrs_end(struct image_sqfs *sqfs, uint32_t *token, struct sr_error *err)
{
    sqfs_u32 index = IMAGE_TREE_NO_XATTRS;
    if (check(sqfs, sqfs_xattr_writer_end(sqfs->xattrs, &index), err) < 0)
        return -1;
    *token = sqfs->has_xattrs ? index : IMAGE_TREE_NO_XATTRS;
    return 0;
}

/* Numbers what is below a directory and counts names. */
static int number(struct image_sqfs *sqfs, struct image_node *directory, uint32_t floor,
                  uint32_t *next)
{
    sr_cleanup_free struct image_node **children = NULL;
    size_t count;
    if (image_tree_children(directory, floor, &children, &count) < 0)
        return SQFS_ERROR_ALLOC;
    uint32_t below = image_tree_floor(directory, floor);
    directory->inode->links = 2;
    for (size_t i = 0; i < count; i++) {
        struct image_inode *inode = children[i]->inode;
        if (S_ISDIR(inode->mode))
            directory->inode->links++;
        else
            inode->links++;
        if (inode->number == 0)
            inode->number = ++*next;
    }
    for (size_t i = 0; i < count; i++) {
        int result = S_ISDIR(children[i]->inode->mode) ? number(sqfs, children[i], below, next) : 0;
        if (result < 0)
            return result;
    }
    return 0;
}

/* As the kernel's new_encode_dev(). */
static uint32_t encode_device(uint32_t device)
{
    unsigned major_number = major(device), minor_number = minor(device);
    return (minor_number & 0xff) | major_number << 8 | (minor_number & ~0xffu) << 12;
}

static sqfs_inode_generic_t *make_symlink(const struct image_inode *inode)
{
    size_t len = strlen(inode->target);
    sqfs_inode_generic_t *made = calloc(1, sizeof *made + len + 1);
    if (made == NULL)
        return NULL;
    made->base.type = SQFS_INODE_SLINK;
    made->data.slink.nlink = inode->links;
    made->data.slink.target_size = (sqfs_u32)len;
    memcpy(made->extra, inode->target, len);
    return made;
}

static sqfs_inode_generic_t *make_special(const struct image_inode *inode)
{
    sqfs_inode_generic_t *made = calloc(1, sizeof *made);
    if (made == NULL)
        return NULL;
    made->base.type = S_ISCHR(inode->mode)    ? SQFS_INODE_CDEV
                      : S_ISBLK(inode->mode)  ? SQFS_INODE_BDEV
                      : S_ISSOCK(inode->mode) ? SQFS_INODE_SOCKET
                                              : SQFS_INODE_FIFO;
    made->data.dev.nlink = inode->links; /* the first member of ipc too */
    if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode))
        made->data.dev.devno = encode_device(inode->device);
    return made;
}

/* The file's inode as the block processor made it, which is libsquashfs's to allocate and ours to
 * free. */
static int take_file(const struct image_inode *inode, sqfs_inode_generic_t **made)
{
    *made = inode->file.blocks;
    int result = inode->links > 1 ? sqfs_inode_make_extended(*made) : 0;
    if (result == 0 && (*made)->base.type == SQFS_INODE_EXT_FILE)
        (*made)->data.file_ext.nlink = inode->links;
    return result;
}

static int write_inode(struct image_sqfs *sqfs, struct image_inode *inode,
                       sqfs_inode_generic_t *made)
{
    int result = sqfs_id_table_id_to_index(sqfs->ids, inode->uid, &made->base.uid_idx);
    if (result == 0)
        result = sqfs_id_table_id_to_index(sqfs->ids, inode->gid, &made->base.gid_idx);
    if (result == 0 && inode->xattrs != IMAGE_TREE_NO_XATTRS)
        result = sqfs_inode_set_xattr_index(made, inode->xattrs);
    made->base.mode = (sqfs_u16)inode->mode;
    made->base.mod_time = inode->mtime;
    made->base.inode_number = inode->number;
    sqfs_u64 block;
    sqfs_u32 offset;
    sqfs_meta_writer_get_position(sqfs->inode_table, &block, &offset);
    inode->place = block << 16 | offset;
    return result < 0 ? result : sqfs_meta_writer_write_inode(sqfs->inode_table, made);
}

static void count_inode(struct image_counts *counts, const struct image_inode *inode)
{
    if (S_ISREG(inode->mode)) {
        counts->files++;
        counts->bytes += inode->file.size;
    } else if (S_ISLNK(inode->mode)) {
        counts->symlinks++;
    } else if (S_ISDIR(inode->mode)) {
        counts->directories++;
    } else {
        counts->others++;
    }
}

/* An inode that is no directory, once. */
static int write_leaf(struct image_sqfs *sqfs, struct image_inode *inode)
{
    if (inode->place != UINT64_MAX)
        return 0;
    count_inode(&sqfs->counts, inode);
    if (S_ISREG(inode->mode)) {
        sqfs_inode_generic_t *made;
        int result = take_file(inode, &made);
        if (result == 0)
            result = write_inode(sqfs, inode, made);
        sqfs_free(made);
        inode->file.blocks = NULL;
        return result;
    }
    sr_cleanup_free sqfs_inode_generic_t *made =
        S_ISLNK(inode->mode) ? make_symlink(inode) : make_special(inode);
    return made == NULL ? SQFS_ERROR_ALLOC : write_inode(sqfs, inode, made);
}

static int write_directory(struct image_sqfs *sqfs, struct image_node *directory, uint32_t floor)
{
    sr_cleanup_free struct image_node **children = NULL;
    size_t count;
    if (image_tree_children(directory, floor, &children, &count) < 0)
        return SQFS_ERROR_ALLOC;
    uint32_t below = image_tree_floor(directory, floor);
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++)
        result = S_ISDIR(children[i]->inode->mode) ? write_directory(sqfs, children[i], below)
                                                   : write_leaf(sqfs, children[i]->inode);
    if (result == 0)
        result = sqfs_dir_writer_begin(sqfs->directories, 0);
    for (size_t i = 0; result == 0 && i < count; i++) {
        const struct image_inode *inode = children[i]->inode;
        result = sqfs_dir_writer_add_entry(sqfs->directories, children[i]->name, inode->number,
                                           inode->place, (sqfs_u16)inode->mode);
    }
    if (result == 0)
        result = sqfs_dir_writer_end(sqfs->directories);
    if (result < 0)
        return result;
    struct image_inode *inode = directory->inode;
    uint32_t parent = directory->parent == NULL ? inode->number + 1 /* as mksquashfs has it */
                                                : directory->parent->inode->number;
    sr_cleanup_free sqfs_inode_generic_t *made =
        sqfs_dir_writer_create_inode(sqfs->directories, inode->links, inode->xattrs, parent);
    count_inode(&sqfs->counts, inode);
    if (made == NULL)
        return SQFS_ERROR_ALLOC;
    /* The library counts every entry. */
    if (made->base.type == SQFS_INODE_EXT_DIR)
        made->data.dir_ext.nlink = inode->links;
    else
        made->data.dir.nlink = inode->links;
    return write_inode(sqfs, inode, made);
}

/* Every inode gets a place that says "not written yet", and every file has a content. */
static int prepare_inodes(struct image_sqfs *sqfs, struct image_node *directory, uint32_t floor,
                          struct sr_error *err)
{
    sr_cleanup_free struct image_node **children = NULL;
    size_t count;
    if (image_tree_children(directory, floor, &children, &count) < 0)
        return check(sqfs, SQFS_ERROR_ALLOC, err);
    uint32_t below = image_tree_floor(directory, floor);
    for (size_t i = 0; i < count; i++) {
        struct image_inode *inode = children[i]->inode;
        inode->place = UINT64_MAX;
        if (S_ISREG(inode->mode) && inode->file.blocks == NULL &&
            (image_sqfs_file_begin(sqfs, inode, err) < 0 || image_sqfs_file_end(sqfs, err) < 0))
            return -1;
        if (S_ISDIR(inode->mode) && prepare_inodes(sqfs, children[i], below, err) < 0)
            return -1;
    }
    return 0;
}

static int write_tables(struct image_sqfs *sqfs, struct image_node *root)
{
    sqfs_file_t *file = &sqfs->file.base;
    uint32_t last = 0;
    int result = number(sqfs, root, 0, &last);
    root->inode->number = ++last;
    sqfs->super.inode_count = last;
    sqfs->super.inode_table_start = get_size(file);
    if (result == 0)
        result = write_directory(sqfs, root, 0);
    sqfs->super.root_inode_ref = root->inode->place;
    if (result == 0)
        result = sqfs_meta_writer_flush(sqfs->inode_table);
    if (result == 0)
        result = sqfs_meta_writer_flush(sqfs->directory_table);
    sqfs->super.directory_table_start = get_size(file);
    if (result == 0)
        result = sqfs_meta_write_write_to_file(sqfs->directory_table);
    if (result == 0)
        result = sqfs_frag_table_write(sqfs->fragments, file, &sqfs->super, sqfs->compressor);
    if (result == 0)
        result = sqfs_id_table_write(sqfs->ids, file, &sqfs->super, sqfs->compressor);
    if (result == 0)
        result = sqfs_xattr_writer_flush(sqfs->xattrs, file, &sqfs->super, sqfs->compressor);
    sqfs->super.bytes_used = get_size(file);
    if (result == 0)
        result = sqfs_super_write(&sqfs->super, file);
    return result < 0 ? result : truncate_to(file, (get_size(file) + PAGE - 1) / PAGE * PAGE);
}

int image_sqfs_finish(struct image_sqfs *sqfs, struct image_tree *tree, struct image_counts *counts,
                      struct sr_error *err)
{
    struct image_node *root = image_tree_root(tree);
    if (prepare_inodes(sqfs, root, 0, err) < 0 ||
        check(sqfs, sqfs_block_processor_finish(sqfs->processor), err) < 0 ||
        check(sqfs, write_tables(sqfs, root), err) < 0)
        return -1;
    sqfs->counts.image_bytes = sqfs->file.size;
    *counts = sqfs->counts;
    return 0;
}
