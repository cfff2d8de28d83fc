/*
 * The packer walks the source in the worker, with names in order; each file's content goes into the
 * image as it is met, and the tables follow at the end. The image's hash is taken outside, of what
 * was written: the worker's word for it is not needed.
 */
#include "image/pack_tree.h"

#include "common/printable.h"
#include "common/walk.h"
#include "jail/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>

#define READ_SIZE ((size_t)256 * 1024)
/* The kernel's own bounds of a list of names, and of a value. */
#define XATTRS_MAX 65536

enum note_kind { NOTE_SKIP = 1 };

/* Files with several names, by device (a subvolume, a layer of an overlay) and inode number: open
 * addressing, a power of two of places. */
struct links {
    struct link {
        uint64_t device, number;
        struct image_inode *inode;
    } * table;
    size_t places, taken;
};

struct packing {
    struct sr_walk walk; /* first: the walk hands itself back */
    const struct image_pack_options *options;
    int source, image;
    bool is_file;    /* then the worker cannot stat: */
    struct statx st; /* of the source, when it was opened */
    unsigned threads;
    struct image_worker *worker;
    struct image_tree *tree;
    struct image_sqfs *sqfs;
    struct links links;
    uint64_t bytes, bytes_max;
    uint32_t skipped, told;
};

/* What the worker hands back. */
struct packed {
    struct image_counts counts;
    uint32_t skipped;
};

static struct link *link_place(struct links *links, uint64_t device, uint64_t number)
{
    size_t mask = links->places - 1;
    size_t at = (size_t)((number + device) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & mask;
    while (links->table[at].inode != NULL &&
           (links->table[at].number != number || links->table[at].device != device))
        at = (at + 1) & mask;
    return &links->table[at];
}

/* The inode of a file that was seen under another name, or the place for it; NULL: out of
 * memory. */
static struct link *find_link(struct links *links, uint64_t device, uint64_t number)
{
    if (links->taken * 2 >= links->places) {
        struct links grown = {.places = links->places == 0 ? 256 : links->places * 2};
        grown.table = calloc(grown.places, sizeof *grown.table);
        if (grown.table == NULL)
            return NULL;
        for (size_t i = 0; i < links->places; i++)
            if (links->table[i].inode != NULL) {
                *link_place(&grown, links->table[i].device, links->table[i].number) =
                    links->table[i];
                grown.taken++;
            }
        free(links->table);
        *links = grown;
    }
    return link_place(links, device, number);
}

static void describe(const struct packing *packing, const struct statx *st,
                     struct image_inode *inode)
{
    const struct image_pack_options *options = packing->options;
    int64_t seconds = st->stx_mtime.tv_sec;
    inode->mode = st->stx_mode;
    inode->uid = options->own ? options->uid : st->stx_uid;
    inode->gid = options->own ? options->gid : st->stx_gid;
    inode->mtime = seconds < 0 ? 0 : seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

static int copy_xattrs(struct packing *packing, int fd, struct image_inode *inode,
                       struct sr_error *err)
{
    static char names[XATTRS_MAX], value[XATTRS_MAX];
    ssize_t len = flistxattr(fd, names, sizeof names);
    if (len <= 0)
        return len == 0 || errno == EOPNOTSUPP
                   ? 0
                   : sr_walk_fail(&packing->walk, "has unreadable attributes", errno, err);
    if (image_sqfs_xattrs_begin(packing->sqfs, err) < 0)
        return -1;
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        ssize_t size = fgetxattr(fd, name, value, sizeof value);
        if (size < 0)
            return sr_walk_fail(&packing->walk, "has unreadable attributes", errno, err);
        if (image_sqfs_xattrs_add(packing->sqfs, name, value, (size_t)size, err) < 0)
            return -1;
    }
    return image_sqfs_xattrs_end(packing->sqfs, &inode->xattrs, err);
}

static bool same_content(const struct statx *a, const struct statx *b)
{
    return a->stx_size == b->stx_size && a->stx_mtime.tv_sec == b->stx_mtime.tv_sec &&
           a->stx_mtime.tv_nsec == b->stx_mtime.tv_nsec &&
           a->stx_ctime.tv_sec == b->stx_ctime.tv_sec &&
           a->stx_ctime.tv_nsec == b->stx_ctime.tv_nsec;
}

/* The content of a file, all of one moment: what changes meanwhile is refused. */
static int copy_content(struct packing *packing, int fd, const struct statx *st,
                        struct image_inode *inode, struct sr_error *err)
{
    static char piece[READ_SIZE];
    struct statx after;
    uint64_t size = 0;
    if (image_sqfs_file_begin(packing->sqfs, inode, err) < 0)
        return -1;
    ssize_t got;
    while ((got = read(fd, piece, sizeof piece)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sr_walk_fail(&packing->walk, "cannot be read", errno, err);
        size += (uint64_t)got;
        packing->bytes += (uint64_t)got;
        if (packing->bytes > packing->bytes_max)
            return sr_fail(err, packing->options->code, packing->options->path,
                           "%s has more than %llu bytes", packing->walk.name,
                           (unsigned long long)packing->bytes_max);
        if (image_sqfs_file_append(packing->sqfs, piece, (size_t)got, err) < 0)
            return -1;
        jail_worker_progress(packing->worker, packing->bytes, 0);
    }
    if (size != st->stx_size ||
        (!packing->is_file && (sr_walk_stat(fd, "", &after) < 0 || !same_content(st, &after))))
        return sr_walk_fail(&packing->walk, "changed while it was read", 0, err);
    return image_sqfs_file_end(packing->sqfs, err);
}

static int out_of_memory(const struct packing *packing, struct sr_error *err)
{
    return sr_walk_fail(&packing->walk, "cannot be packed", errno, err);
}

static int pack_file(struct packing *packing, struct image_node *parent, int fd, const char *name,
                     const struct statx *st, struct sr_error *err)
{
    size_t len = strlen(name);
    uint64_t device = makedev(st->stx_dev_major, st->stx_dev_minor);
    struct link *link = st->stx_nlink > 1 ? find_link(&packing->links, device, st->stx_ino) : NULL;
    if (st->stx_nlink > 1 && link == NULL)
        return out_of_memory(packing, err);
    if (link != NULL && link->inode != NULL)
        return image_tree_link(packing->tree, parent, name, len, 0, link->inode) != NULL
                   ? 0
                   : out_of_memory(packing, err);
    struct image_node *node = image_tree_add(packing->tree, parent, name, len, 0, st->stx_mode);
    if (node == NULL)
        return out_of_memory(packing, err);
    if (link != NULL) {
        *link = (struct link){device, st->stx_ino, node->inode};
        packing->links.taken++;
    }
    describe(packing, st, node->inode);
    if (packing->options->xattrs && copy_xattrs(packing, fd, node->inode, err) < 0)
        return -1;
    return copy_content(packing, fd, st, node->inode, err);
}

static int pack_symlink(struct packing *packing, struct image_node *parent, int directory_fd,
                        const char *name, const struct statx *st, struct sr_error *err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(directory_fd, name, target, sizeof target);
    if (len < 0 || len == sizeof target)
        return sr_walk_fail(&packing->walk, "cannot be read", len < 0 ? errno : ENAMETOOLONG, err);
    struct image_node *node =
        image_tree_add(packing->tree, parent, name, strlen(name), 0, S_IFLNK | 0777);
    if (node == NULL)
        return out_of_memory(packing, err);
    describe(packing, st, node->inode);
    node->inode->target = image_tree_text(packing->tree, target, (size_t)len);
    return node->inode->target != NULL ? 0 : out_of_memory(packing, err);
}

static int pack_entry(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                      const struct statx *st, int open_fd, void **own, struct sr_error *err)
{
    struct packing *packing = (struct packing *)walk;
    if (S_ISREG(st->stx_mode)) {
        struct statx opened;
        sr_cleanup_fd int fd = sr_walk_open(directory_fd, name, 0);
        if (fd < 0 || sr_walk_stat(fd, "", &opened) < 0)
            return sr_walk_fail(walk, "cannot be read", errno, err);
        return S_ISREG(opened.stx_mode) ? pack_file(packing, parent, fd, name, &opened, err)
                                        : sr_walk_fail(walk, "changed while it was read", 0, err);
    }
    if (S_ISLNK(st->stx_mode))
        return pack_symlink(packing, parent, directory_fd, name, st, err);
    struct image_node *node =
        image_tree_add(packing->tree, parent, name, strlen(name), 0, st->stx_mode);
    if (node == NULL)
        return out_of_memory(packing, err);
    describe(packing, st, node->inode);
    *own = node;
    return packing->options->xattrs && open_fd >= 0
               ? copy_xattrs(packing, open_fd, node->inode, err)
               : 0;
}

static void pack_skip(struct sr_walk *walk, const char *why)
{
    struct packing *packing = (struct packing *)walk;
    packing->skipped++;
    if (packing->told++ >= IMAGE_PACK_SKIPS_TOLD)
        return;
    char note[PATH_MAX + 64];
    int len = snprintf(note, sizeof note, "%s", walk->at);
    len += 1 + snprintf(note + len + 1, sizeof note - (size_t)len - 1, "%s", why);
    jail_worker_note(packing->worker, NOTE_SKIP, note, (size_t)len + 1);
}

static int pack_source(struct packing *packing, struct sr_error *err)
{
    struct image_node *root = image_tree_root(packing->tree);
    if (packing->is_file) {
        if (packing->options->own) {
            root->inode->uid = packing->options->uid;
            root->inode->gid = packing->options->gid;
        }
        return pack_file(packing, root, packing->source, IMAGE_PACK_FILE_NAME, &packing->st, err);
    }
    describe(packing, &packing->st, root->inode);
    if (packing->options->xattrs && copy_xattrs(packing, packing->source, root->inode, err) < 0)
        return -1;
    return sr_walk(&packing->walk, packing->source, root, err);
}

/* The worker's work. */
static int pack(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    struct packing *packing = context;
    struct packed *packed = result;
    packing->worker = worker;
    packing->tree = image_tree_new(packing->walk.entries_max);
    if (packing->tree == NULL)
        return sr_walk_fail(&packing->walk, "cannot be packed", ENOMEM, err);
    if (image_sqfs_open(packing->image, packing->options->compressor, packing->threads,
                        &packing->sqfs, err) < 0 ||
        pack_source(packing, err) < 0 ||
        image_sqfs_finish(packing->sqfs, packing->tree, &packed->counts, err) < 0)
        return -1;
    packed->skipped = packing->skipped;
    return 0;
}

static bool tell_progress(void *context, uint64_t done, uint64_t total)
{
    const struct image_pack_options *options = context;
    (void)total;
    return options->progress == NULL || options->progress(options->context, done);
}

static void tell_note(void *context, unsigned kind, const void *data, size_t len)
{
    const struct image_pack_options *options = context;
    const char *text = data;
    size_t first = strnlen(text, len);
    if (kind != NOTE_SKIP || options->skipped == NULL || first >= len || len > PATH_MAX + 64 ||
        text[len - 1] != '\0')
        return;
    char note[PATH_MAX + 64];
    memcpy(note, text, len);
    char *why = note + first + 1;
    sr_make_printable(note);
    sr_make_printable(why);
    options->skipped(options->context, note, why);
}

/* Opens the source for reading by its descriptor. */
static int reopen(struct packing *packing, int source, struct sr_error *err)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", source);
    if (sr_walk_stat(source, "", &packing->st) < 0)
        return sr_walk_fail(&packing->walk, "cannot be read", errno, err);
    packing->is_file = S_ISREG(packing->st.stx_mode);
    if (!packing->is_file && !S_ISDIR(packing->st.stx_mode))
        return sr_walk_fail(&packing->walk, "is neither a directory nor a file", 0, err);
    int fd = packing->is_file ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
                              : openat(source, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : sr_walk_fail(&packing->walk, "cannot be read", errno, err);
}

static struct sr_walk make_walk(const struct image_pack_options *options, const char *name)
{
    return (struct sr_walk){
        .code = options->code,
        .path = options->path,
        .name = name,
        .entries_max = options->entries_max > 0 ? options->entries_max : IMAGE_PACK_ENTRIES_MAX,
    };
}

/* The image writer's errors have a code and a path of their own, which only those know who build an
 * image for the store. */
static int rename_error(const struct image_pack_options *options, struct sr_error *err)
{
    if (err != NULL && err->code != options->code && options->code != SR_OPS_101) {
        err->code = options->code;
        snprintf(err->path, sizeof err->path, "%s", options->path);
    }
    return -1;
}

int image_pack(int source, const char *name, int image, const struct image_pack_options *options,
               struct sr_hasher *hasher, struct image_pack_result *result, struct sr_error *err)
{
    struct packing packing = {
        .walk = make_walk(options, name),
        .options = options,
        .image = image,
        .threads = options->threads > 0 ? options->threads : jail_worker_threads(),
        .bytes_max = options->bytes_max > 0 ? options->bytes_max : IMAGE_PACK_BYTES_MAX};
    packing.walk.entry = pack_entry;
    packing.walk.skip = pack_skip;
    sr_cleanup_fd int fd = reopen(&packing, source, err);
    if (fd < 0)
        return -1;
    packing.source = fd;
    const int kept[] = {image, fd};
    const struct jail_worker_plan plan = {
        .what = "the packer",
        .code = options->code,
        .path = options->path,
        .fds = kept,
        .fd_count = packing.is_file ? 2 : 1,
        .read_dir = packing.is_file ? -1 : fd,
        .write_dir = -1,
        .read_any = true,
        .memory_max = IMAGE_PACK_MEMORY_MAX,
        .file_max = packing.bytes_max + packing.bytes_max / 8 + IMAGE_PACK_MEMORY_MAX,
        .cpu_sec = IMAGE_PACK_CPU_SEC,
        .progress = tell_progress,
        .note = tell_note,
        .context = (void *)options,
        .cgroup_fd = options->cgroup_fd,
    };
    struct packed packed;
    struct image_pack_result done = {0};
    if (jail_worker_run(&plan, pack, &packing, &packed, sizeof packed, err) < 0)
        return rename_error(options, err);
    struct statx after;
    if (packing.is_file && (sr_walk_stat(fd, "", &after) < 0 || !same_content(&packing.st, &after)))
        return sr_walk_fail(&packing.walk, "changed while it was read", 0, err);
    int hashed = sr_sha256_fd(hasher, image, done.hash);
    if (hashed < 0)
        return sr_fail(err, options->code, options->path, "the image of %s cannot be read: %s",
                       name, strerror(-hashed));
    done.counts = packed.counts;
    done.skipped = packed.skipped;
    *result = done;
    return 0;
}
