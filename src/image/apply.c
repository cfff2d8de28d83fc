/*
 * A name is followed from the root, component by component, in the tree that is being made; there
 * is no other place in which it could be looked up. So a traversal cannot reach anything; it is
 * refused all the same, because an archive that has one is not what its maker says, or not by
 * somebody to be trusted. For the same reason names do not go through symbolic links: what they
 * would mean depends on the layers below.
 */
#include "image/apply.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
/* A PATH_MAX that every kernel would take. */
#define NAME_MAX_TOTAL 4095
#define NAME_SHOWN 200

static int refuse(const struct image_apply *apply, enum sr_code code, const char *name,
                  const char *what, struct sr_error *err)
{
    return sr_fail(err, code, IMAGE_SOURCE_PATH, "layer %u: %.*s%s %s", apply->number, NAME_SHOWN,
                   name, strlen(name) > NAME_SHOWN ? "..." : "", what);
}

static int out_of_memory(const struct image_apply *apply, const char *name, struct sr_error *err)
{
    return refuse(apply, SR_OPS_105, name,
                  errno == EOVERFLOW ? "is one entry more than is allowed"
                                     : "takes more memory than is allowed",
                  err);
}

/* One component of a path, and where the rest begins. */
struct component {
    const char *text;
    size_t len;
};

static bool next_component(const char **rest, struct component *component)
{
    while (**rest == '/')
        ++*rest;
    component->text = *rest;
    component->len = strcspn(*rest, "/");
    *rest += component->len;
    return component->len > 0;
}

static bool is_text(const struct component *component, const char *text)
{
    return component->len == strlen(text) && memcmp(component->text, text, component->len) == 0;
}

/* Where an entry goes: its directory, and its last component (none: the root itself). */
struct target {
    struct image_node *directory;
    struct component name;
    uint32_t floor;          /* where the entry is */
    struct image_node *node; /* what is there now, or NULL */
};

/* A directory on the way that no entry tells of. */
static struct image_node *imply(struct image_apply *apply, struct image_node *parent,
                                const struct component *name)
{
    struct image_node *node =
        image_tree_add(apply->tree, parent, name->text, name->len, apply->number, S_IFDIR | 0755);
    if (node != NULL)
        node->implied = true;
    return node;
}

static int step_into(struct image_apply *apply, struct target *target, const char *name,
                     bool make_directories, struct sr_error *err)
{
    uint32_t floor = target->floor;
    struct image_node *node = image_tree_find(apply->tree, target->directory, target->name.text,
                                              target->name.len, &floor);
    if (node == NULL && !make_directories)
        return 1;
    if (node == NULL) {
        node = imply(apply, target->directory, &target->name);
        if (node == NULL)
            return out_of_memory(apply, name, err);
    }
    if (S_ISLNK(node->inode->mode))
        return refuse(apply, SR_OPS_103, name, "goes through a symbolic link", err);
    if (!S_ISDIR(node->inode->mode))
        return refuse(apply, SR_OPS_103, name, "goes through something that is no directory", err);
    if (make_directories) /* what this layer has something in is not gone with what lower ones have
                             there */
        node->layer = apply->number;
    target->directory = node;
    target->floor = floor;
    return 0;
}

/* Follows name. 0; 1: it leads through a directory that is not there (only without
 * make_directories); -1: err. */
static int locate(struct image_apply *apply, const char *name, bool make_directories,
                  struct target *target, struct sr_error *err)
{
    struct component next;
    const char *rest = name;
    unsigned depth = 0;
    if (name[0] == '/')
        return refuse(apply, SR_OPS_103, name, "is an absolute name", err);
    if (strlen(name) > NAME_MAX_TOTAL)
        return refuse(apply, SR_OPS_105, name, "is too long a name", err);
    struct image_node *root = image_tree_root(apply->tree);
    *target = (struct target){.directory = root, .node = root, .floor = image_tree_floor(root, 0)};
    while (next_component(&rest, &next)) {
        if (is_text(&next, "."))
            continue;
        if (is_text(&next, ".."))
            return refuse(apply, SR_OPS_103, name, "leads upwards", err);
        if (next.len > IMAGE_TREE_NAME_MAX || ++depth > IMAGE_TREE_DEPTH_MAX)
            return refuse(apply, SR_OPS_105, name, "is too long a name or lies too deep", err);
        if (target->name.len > 0) {
            int result = step_into(apply, target, name, make_directories, err);
            if (result != 0)
                return result;
        }
        target->name = next;
    }
    if (target->name.len > 0) {
        uint32_t floor = target->floor;
        target->node = image_tree_find(apply->tree, target->directory, target->name.text,
                                       target->name.len, &floor);
    }
    return 0;
}

static void describe(const struct image_apply *apply, struct archive_entry *entry,
                     struct image_inode *inode, uint32_t type)
{
    const struct image_archive_lib *lib = apply->layer->lib;
    int64_t seconds = lib->archive_entry_mtime(entry);
    inode->mode = type | (uint32_t)(lib->archive_entry_perm(entry) & 07777);
    inode->uid = (uint32_t)lib->archive_entry_uid(entry);
    inode->gid = (uint32_t)lib->archive_entry_gid(entry);
    inode->mtime = seconds < 0 ? 0 : seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

static int copy_xattrs(struct image_apply *apply, struct archive_entry *entry,
                       struct image_inode *inode, struct sr_error *err)
{
    const struct image_archive_lib *lib = apply->layer->lib;
    const char *key;
    const void *value;
    size_t len;
    inode->xattrs = IMAGE_TREE_NO_XATTRS;
    if (lib->archive_entry_xattr_reset(entry) == 0)
        return 0;
    if (image_sqfs_xattrs_begin(apply->sqfs, err) < 0)
        return -1;
    while (lib->archive_entry_xattr_next(entry, &key, &value, &len) == ARCHIVE_OK)
        if (key != NULL && len <= UINT16_MAX &&
            image_sqfs_xattrs_add(apply->sqfs, key, value, len, err) < 0)
            return -1;
    return image_sqfs_xattrs_end(apply->sqfs, &inode->xattrs, err);
}

/* Adds the entry's name with a new inode, in place of what a lower layer has there. */
static struct image_node *put(struct image_apply *apply, const struct target *target, uint32_t type)
{
    if (target->node != NULL)
        image_tree_remove(target->node);
    return image_tree_add(apply->tree, target->directory, target->name.text, target->name.len,
                          apply->number, type);
}

static int put_directory(struct image_apply *apply, struct archive_entry *entry, const char *name,
                         const struct target *target, struct sr_error *err)
{
    struct image_node *node = target->node;
    if (node != NULL && !S_ISDIR(node->inode->mode) && node->layer == apply->number)
        return refuse(apply, SR_OPS_106, name, "is there twice", err);
    if (node == NULL || !S_ISDIR(node->inode->mode)) {
        node = put(apply, target, S_IFDIR);
        if (node == NULL)
            return out_of_memory(apply, name, err);
    }
    node->layer = apply->number;
    node->implied = false;
    describe(apply, entry, node->inode, S_IFDIR);
    return copy_xattrs(apply, entry, node->inode, err);
}

/* Which of the files that are wanted this is; IMAGE_CAPTURED_COUNT: none. */
static enum image_captured which_captured(const struct image_node *node)
{
    static const char *const names[] = {
        [IMAGE_CAPTURED_PASSWD] = "passwd", [IMAGE_CAPTURED_GROUP] = "group"};
    const struct image_node *etc = node->parent;
    if (etc == NULL || etc->parent == NULL || etc->parent->parent != NULL ||
        strcmp(etc->name, "etc") != 0)
        return IMAGE_CAPTURED_COUNT;
    for (unsigned i = 0; i < IMAGE_CAPTURED_COUNT; i++)
        if (strcmp(node->name, names[i]) == 0)
            return (enum image_captured)i;
    return IMAGE_CAPTURED_COUNT;
}

/* Keeps a copy of a small piece of what is captured. */
static void capture(char *kept, size_t size, int64_t offset, const void *data, size_t len)
{
    if (kept != NULL && offset >= 0 && (uint64_t)offset <= size && len <= size - (size_t)offset)
        memcpy(kept + offset, data, len);
}

/* The content of the entry whose header was read last. Pieces come in order; between them are
 * holes. */
static int copy_content(struct image_apply *apply, struct image_inode *inode, uint64_t size,
                        char *kept, const char *name, struct sr_error *err)
{
    const void *data;
    size_t len;
    int64_t offset;
    uint64_t at = 0;
    int more;
    if (image_sqfs_file_begin(apply->sqfs, inode, err) < 0)
        return -1;
    while ((more = image_layer_data(apply->layer, &data, &len, &offset, err)) == 1) {
        if (offset < 0 || (uint64_t)offset < at || (uint64_t)offset > size ||
            len > size - (uint64_t)offset)
            return refuse(apply, SR_OPS_101, name, "has a content that is not of its size", err);
        if (image_sqfs_file_append_zeros(apply->sqfs, (uint64_t)offset - at, err) < 0 ||
            image_sqfs_file_append(apply->sqfs, data, len, err) < 0)
            return -1;
        capture(kept, size, offset, data, len);
        at = (uint64_t)offset + len;
    }
    if (more < 0 || image_sqfs_file_append_zeros(apply->sqfs, size - at, err) < 0)
        return -1;
    return image_sqfs_file_end(apply->sqfs, err);
}

static int write_content(struct image_apply *apply, struct image_inode *inode,
                         enum image_captured captured, const char *name, struct sr_error *err)
{
    char *kept = NULL;
    if (captured < IMAGE_CAPTURED_COUNT && inode->file.size <= IMAGE_CAPTURE_MAX) {
        kept = calloc(1, (size_t)inode->file.size + 1);
        free(apply->captured[captured]);
        apply->captured[captured] = kept;
    }
    return copy_content(apply, inode, inode->file.size, kept, name, err);
}

/* A sparse file's holes cost nothing in the archive, but they are bytes all the same. */
static int count_content(struct image_apply *apply, const char *name, uint64_t size,
                         struct sr_error *err)
{
    uint64_t left = apply->layer->budget->bytes_max - apply->content;
    if (size > left)
        return refuse(apply, SR_OPS_105, name, "makes the image larger than is allowed", err);
    apply->content += size;
    return 0;
}

static int put_file(struct image_apply *apply, struct archive_entry *entry, const char *name,
                    const struct target *target, struct sr_error *err)
{
    int64_t size = apply->layer->lib->archive_entry_size(entry);
    if (size < 0)
        return refuse(apply, SR_OPS_101, name, "has no size", err);
    if (count_content(apply, name, (uint64_t)size, err) < 0)
        return -1;
    struct image_node *node = put(apply, target, S_IFREG);
    if (node == NULL)
        return out_of_memory(apply, name, err);
    struct image_inode *inode = node->inode;
    describe(apply, entry, inode, S_IFREG);
    inode->file.size = (uint64_t)size;
    inode->file.entry = (uint64_t)apply->number << 32 | apply->ordinal;
    if (copy_xattrs(apply, entry, inode, err) < 0)
        return -1;
    return apply->streams ? write_content(apply, inode, which_captured(node), name, err) : 0;
}

static int put_symlink(struct image_apply *apply, struct archive_entry *entry, const char *name,
                       const struct target *target, struct sr_error *err)
{
    const char *text = apply->layer->lib->archive_entry_symlink(entry);
    if (text == NULL || text[0] == '\0' || strlen(text) > NAME_MAX_TOTAL)
        return refuse(apply, SR_OPS_103, name, "is a symbolic link to nothing", err);
    struct image_node *node = put(apply, target, S_IFLNK);
    if (node == NULL)
        return out_of_memory(apply, name, err);
    describe(apply, entry, node->inode, S_IFLNK);
    node->inode->mode = S_IFLNK | 0777;
    node->inode->target = image_tree_text(apply->tree, text, strlen(text));
    if (node->inode->target == NULL)
        return out_of_memory(apply, name, err);
    return copy_xattrs(apply, entry, node->inode, err);
}

/* Another name of a file of this or a lower layer. */
static int put_link(struct image_apply *apply, const char *name, const char *to,
                    const struct target *target, struct sr_error *err)
{
    struct target linked;
    if (to[0] == '/')
        return refuse(apply, SR_OPS_103, name, "is a hard link to an absolute name", err);
    int result = locate(apply, to, false, &linked, err);
    if (result < 0)
        return sr_wrap(err, "layer %u: hard link %.100s", apply->number, name);
    if (result > 0 || linked.name.len == 0 || linked.node == NULL)
        return refuse(apply, SR_OPS_103, name, "is a hard link to what is not there", err);
    if (S_ISDIR(linked.node->inode->mode))
        return refuse(apply, SR_OPS_103, name, "is a hard link to a directory", err);
    if (linked.node == target->node)
        return refuse(apply, SR_OPS_103, name, "is a hard link to itself", err);
    struct image_inode *inode = linked.node->inode;
    if (target->node != NULL)
        image_tree_remove(target->node);
    return image_tree_link(apply->tree, target->directory, target->name.text, target->name.len,
                           apply->number, inode) != NULL
               ? 0
               : out_of_memory(apply, name, err);
}

/* The guest has its own /dev, so an image needs none there; elsewhere a device is nothing a
 * command's image has. */
static int put_device(struct image_apply *apply, const char *name, const struct target *target,
                      struct sr_error *err)
{
    const struct image_node *top = target->directory;
    while (top->parent != NULL && top->parent->parent != NULL)
        top = top->parent;
    if (top->parent == NULL || strcmp(top->name, "dev") != 0)
        return refuse(apply, SR_OPS_104, name, "is a device outside of /dev", err);
    if (target->node != NULL)
        image_tree_remove(target->node);
    apply->devices++;
    return 0;
}

static int put_fifo(struct image_apply *apply, struct archive_entry *entry, const char *name,
                    const struct target *target, struct sr_error *err)
{
    struct image_node *node = put(apply, target, S_IFIFO);
    if (node == NULL)
        return out_of_memory(apply, name, err);
    describe(apply, entry, node->inode, S_IFIFO);
    return copy_xattrs(apply, entry, node->inode, err);
}

/* A name that removes what lower layers have: the one behind it, or all that is in its directory.
 * Returns 1 when it was one. */
static int whiteout(struct image_apply *apply, const char *name, const struct target *target,
                    struct sr_error *err)
{
    const struct component *last = &target->name;
    size_t prefix = strlen(WHITEOUT);
    if (!apply->whiteouts || last->len < prefix || memcmp(last->text, WHITEOUT, prefix) != 0)
        return 0;
    if (is_text(last, OPAQUE)) {
        image_tree_hide_below(target->directory, apply->number);
        return 1;
    }
    const struct component hidden = {last->text + prefix, last->len - prefix};
    if (hidden.len == 0 || is_text(&hidden, ".") || is_text(&hidden, ".."))
        return refuse(apply, SR_OPS_103, name, "is a whiteout of nothing", err);
    uint32_t floor = target->floor;
    struct image_node *node =
        image_tree_find(apply->tree, target->directory, hidden.text, hidden.len, &floor);
    if (node != NULL && node->layer < apply->number)
        image_tree_remove(node);
    else if (node != NULL && S_ISDIR(node->inode->mode)) /* made anew by this layer, before this */
        image_tree_hide_below(node, apply->number);
    return 1;
}

static int apply_entry(struct image_apply *apply, struct archive_entry *entry, struct sr_error *err)
{
    const struct image_archive_lib *lib = apply->layer->lib;
    const char *name = lib->archive_entry_pathname(entry),
               *link = lib->archive_entry_hardlink(entry);
    unsigned type = lib->archive_entry_filetype(entry);
    struct target target;
    if (name == NULL)
        return refuse(apply, SR_OPS_103, "an entry", "has no name", err);
    if (locate(apply, name, true, &target, err) < 0)
        return -1;
    int hides = target.name.len > 0 ? whiteout(apply, name, &target, err) : 0;
    if (hides != 0)
        return hides < 0 ? -1 : 0;
    if (target.name.len == 0 && type != AE_IFDIR)
        return refuse(apply, SR_OPS_103, name, "would replace the root", err);
    if (type == AE_IFDIR && link == NULL)
        return put_directory(apply, entry, name, &target, err);
    if (target.node != NULL && target.node->layer == apply->number)
        return refuse(apply, SR_OPS_106, name, "is there twice", err);
    if (link != NULL)
        return put_link(apply, name, link, &target, err);
    switch (type) {
    case AE_IFREG:
        return put_file(apply, entry, name, &target, err);
    case AE_IFLNK:
        return put_symlink(apply, entry, name, &target, err);
    case AE_IFCHR:
    case AE_IFBLK:
        return put_device(apply, name, &target, err);
    case AE_IFIFO:
        return put_fifo(apply, entry, name, &target, err);
    default:
        return refuse(apply, SR_OPS_104, name, "is of an unknown type", err);
    }
}

int image_apply_layer(struct image_apply *apply, struct sr_error *err)
{
    struct archive_entry *entry;
    int more;
    apply->ordinal = 0;
    while ((more = image_layer_next(apply->layer, &entry, err)) == 1) {
        if (++apply->entries > apply->entries_max)
            return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "the image has more than %u entries",
                           apply->entries_max);
        apply->ordinal++;
        if (apply_entry(apply, entry, err) < 0)
            return -1;
    }
    return more;
}

uint32_t image_apply_layer_of(const struct image_inode *file)
{
    return (uint32_t)(file->file.entry >> 32);
}

/* A growing list of files. */
struct files {
    struct image_inode **list;
    size_t count, room;
};

static int collect(const struct image_node *directory, uint32_t floor, struct files *files)
{
    sr_cleanup_free struct image_node **children = NULL;
    size_t count;
    if (image_tree_children(directory, floor, &children, &count) < 0)
        return -1;
    uint32_t below = image_tree_floor(directory, floor);
    for (size_t i = 0; i < count; i++) {
        struct image_inode *inode = children[i]->inode;
        if (S_ISDIR(inode->mode) && collect(children[i], below, files) < 0)
            return -1;
        if (!S_ISREG(inode->mode) || inode->file.blocks != NULL)
            continue;
        if (files->count == files->room) {
            size_t room = files->room == 0 ? 1024 : files->room * 2;
            struct image_inode **grown = realloc(files->list, room * sizeof *grown);
            if (grown == NULL)
                return -1;
            files->list = grown;
            files->room = room;
        }
        files->list[files->count++] = inode;
    }
    return 0;
}

static int compare_entries(const void *a, const void *b)
{
    uint64_t x = (*(struct image_inode *const *)a)->file.entry,
             y = (*(struct image_inode *const *)b)->file.entry;
    return (x > y) - (x < y);
}

int image_apply_left(struct image_apply *apply, struct image_inode ***files, size_t *count,
                     struct sr_error *err)
{
    struct files found = {0};
    if (collect(image_tree_root(apply->tree), 0, &found) < 0) {
        free(found.list);
        return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "out of memory");
    }
    if (found.count > 0)
        qsort(found.list, found.count, sizeof *found.list, compare_entries);
    size_t unique = 0; /* a file with several names was met several times */
    for (size_t i = 0; i < found.count; i++)
        if (unique == 0 || found.list[unique - 1] != found.list[i])
            found.list[unique++] = found.list[i];
    *files = found.list;
    *count = unique;
    return 0;
}

/* Whether one of the files that are wanted is this inode by now. */
static enum image_captured captured_inode(struct image_apply *apply,
                                          const struct image_inode *inode)
{
    static const char *const paths[] = {
        [IMAGE_CAPTURED_PASSWD] = "etc/passwd", [IMAGE_CAPTURED_GROUP] = "etc/group"};
    for (unsigned i = 0; i < IMAGE_CAPTURED_COUNT; i++) {
        struct target target;
        if (locate(apply, paths[i], false, &target, NULL) == 0 && target.node != NULL &&
            target.node->inode == inode)
            return (enum image_captured)i;
    }
    return IMAGE_CAPTURED_COUNT;
}

int image_apply_contents(struct image_apply *apply, struct image_inode *const *files, size_t count,
                         struct sr_error *err)
{
    struct archive_entry *entry;
    size_t done = 0;
    int more;
    apply->ordinal = 0;
    while ((more = image_layer_next(apply->layer, &entry, err)) == 1) {
        apply->ordinal++;
        if (done == count ||
            files[done]->file.entry != ((uint64_t)apply->number << 32 | apply->ordinal))
            continue;
        const char *name = apply->layer->lib->archive_entry_pathname(entry);
        struct image_inode *inode = files[done++];
        if (write_content(apply, inode, captured_inode(apply, inode), name != NULL ? name : "?",
                          err) < 0)
            return -1;
    }
    if (more == 0 && done < count)
        return sr_fail(err, SR_OPS_101, IMAGE_SOURCE_PATH, "layer %u changed while it was read",
                       apply->number);
    return more;
}

void image_apply_free(struct image_apply *apply)
{
    for (unsigned i = 0; i < IMAGE_CAPTURED_COUNT; i++)
        free(apply->captured[i]);
}
