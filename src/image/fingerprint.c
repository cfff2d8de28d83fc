/* What the kernel tells of a source, hashed: the same walk as packing, without reading. */
#include "image/pack_tree.h"

#include "common/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

/* A change within the tick of the file system's clock may leave the times as they were. */
#define SETTLED_SEC 2

struct printing {
    struct sr_walk walk; /* first: the walk hands itself back */
    struct sr_hasher *hasher;
    uint64_t bytes;
    int64_t newest;
};

static void add(struct printing *printing, const char *what, const struct statx *st)
{
    const struct {
        uint64_t inode, size;
        int64_t changed, modified;
        uint32_t changed_nsec, modified_nsec, device_major, device_minor, uid, gid, mode, links;
    } facts = {
        .inode = st->stx_ino,
        .size = S_ISREG(st->stx_mode) ? st->stx_size : 0,
        .changed = st->stx_ctime.tv_sec,
        .modified = st->stx_mtime.tv_sec,
        .changed_nsec = st->stx_ctime.tv_nsec,
        .modified_nsec = st->stx_mtime.tv_nsec,
        .device_major = st->stx_dev_major,
        .device_minor = st->stx_dev_minor,
        .uid = st->stx_uid,
        .gid = st->stx_gid,
        .mode = st->stx_mode,
        .links = st->stx_nlink,
    };
    sr_hasher_update(printing->hasher, what, strlen(what) + 1);
    sr_hasher_update(printing->hasher, &facts, sizeof facts);
    printing->bytes += facts.size;
    if (facts.changed > printing->newest)
        printing->newest = facts.changed;
}

static int print_entry(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                       const struct statx *st, int open_fd, void **own, struct sr_error *err)
{
    (void)parent, (void)directory_fd, (void)name, (void)open_fd, (void)own, (void)err;
    add((struct printing *)walk, walk->at, st);
    return 0;
}

static void print_skip(struct sr_walk *walk, const char *why)
{
    struct printing *printing = (struct printing *)walk;
    sr_hasher_update(printing->hasher, walk->at, strlen(walk->at) + 1);
    sr_hasher_update(printing->hasher, why, strlen(why) + 1);
}

int image_pack_fingerprint(int source, const char *name, const struct image_pack_options *options,
                           struct sr_hasher *hasher, struct image_fingerprint *fingerprint,
                           struct sr_error *err)
{
    struct printing printing = {
        .walk = {.entry = print_entry,
                 .skip = print_skip,
                 .code = options->code,
                 .path = options->path,
                 .name = name,
                 .entries_max =
                     options->entries_max > 0 ? options->entries_max : IMAGE_PACK_ENTRIES_MAX},
        .hasher = hasher,
        .newest = INT64_MIN,
    };
    struct statx st;
    struct timespec now;
    if (sr_walk_stat(source, "", &st) < 0 || clock_gettime(CLOCK_REALTIME, &now) < 0)
        return sr_walk_fail(&printing.walk, "cannot be read", errno, err);
    sr_hasher_reset(hasher);
    add(&printing, ".", &st);
    if (S_ISDIR(st.stx_mode) && sr_walk(&printing.walk, source, NULL, err) < 0)
        return -1;
    struct image_fingerprint done = {
        .bytes = printing.bytes,
        .entries = printing.walk.entries,
        .settled = now.tv_sec - printing.newest > SETTLED_SEC,
    };
    if (sr_hasher_final(hasher, done.hash) < 0)
        return sr_walk_fail(&printing.walk, "cannot be hashed", 0, err);
    *fingerprint = done;
    return 0;
}
