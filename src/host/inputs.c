/*
 * Theory of operation: an input from its source to a disk
 *
 *   1. The descriptor is the one that validation judged; the source is never looked up by its path
 *      again. It must still have a name, and nothing about it may have changed since.
 *   2. Its fingerprint is what the kernel tells of it and all below it. An image that was packed
 *      from a source of the same fingerprint, for the same owner, is taken again.
 *   3. Otherwise it is packed by a confined worker into a file without a name. A file that changes
 *      while it is read is an error there; that nothing else has changed meanwhile the fingerprint
 *      says, taken again.
 *   4. The image gets a name in the store, if its source has been still for long enough that a
 *      change would show.
 *
 * A microvm has places for a few disks only. The largest images get one each, by their own
 * descriptor; what is over is copied behind each other into one file.
 */
#include "host/inputs.h"

#include "common/failpoint.h"
#include "host/input_store.h"
#include "image/pack_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PATH "mount.apply"
/* Where a file system may begin on a disk: the block size of the guest's page cache. */
#define ALIGNMENT 4096u

int host_input_check(const struct sr_mount *mount, struct sr_error *err)
{
    struct stat st;
    if (fstat(mount->fd, &st) < 0)
        return sr_fail(err, SR_RUN_101, PATH, "%s cannot be read: %s", mount->source,
                       strerror(errno));
    if (st.st_nlink == 0)
        return sr_fail(err, SR_RUN_101, PATH, "%s was removed after it was checked", mount->source);
    if ((int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec != mount->changed_nsec)
        return sr_fail(err, SR_RUN_101, PATH, "%s changed after it was checked", mount->source);
    return 0;
}

struct packing {
    const struct host_input_context *context;
    const char *what;
    uint64_t total;
    struct host_input *input;
};

static bool tell_progress(void *context, uint64_t bytes)
{
    const struct packing *packing = context;
    const struct host_input_context *of = packing->context;
    return of->progress == NULL || of->progress(of->context, packing->what, bytes, packing->total);
}

static void note_skipped(void *context, const char *entry, const char *why)
{
    struct host_input *input = ((struct packing *)context)->input;
    if (input->first_skipped[0] == '\0')
        snprintf(input->first_skipped, sizeof input->first_skipped, "%.150s (%s)", entry, why);
}

/* The same file, for reading only: what the VMM gets cannot be written to. */
static int reopen_read_only(int fd)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Packs into a file without a name, in the store or beside the run's other files. */
static int pack(const struct sr_mount *mount, const struct host_input_context *context,
                const struct image_fingerprint *before, int directory, struct host_input *input,
                struct sr_error *err)
{
    struct packing packing = {context, mount->source, before->bytes, input};
    const struct image_pack_options options = {
        .compressor = IMAGE_SQFS_LZ4,
        .own = true,
        .uid = context->uid,
        .gid = context->gid,
        .code = SR_RUN_101,
        .path = PATH,
        .progress = tell_progress,
        .skipped = note_skipped,
        .context = &packing,
        .cgroup_fd = context->cgroup_fd,
    };
    sr_cleanup_fd int image = SR_FAILPOINT("inputs.pack")
                                  ? -1
                                  : openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (image < 0)
        return sr_fail(err, SR_RUN_101, PATH, "there is no place to pack %s: %s", mount->source,
                       strerror(errno));
    struct image_pack_result result;
    struct image_fingerprint after;
    if (image_pack(mount->fd, mount->source, image, &options, context->hasher, &result, err) < 0 ||
        image_pack_fingerprint(mount->fd, mount->source, &options, context->hasher, &after, err) <
            0)
        return -1;
    if (strcmp(before->hash, after.hash) != 0)
        return sr_fail(err, SR_RUN_101, PATH, "%s changed while it was packed", mount->source);
    input->fd = reopen_read_only(image);
    if (input->fd < 0)
        return sr_fail(err, SR_RUN_101, PATH, "the image of %s cannot be opened: %s", mount->source,
                       strerror(errno));
    memcpy(input->hash, result.hash, sizeof input->hash);
    input->image_bytes = result.counts.image_bytes;
    input->bytes = result.counts.bytes;
    input->files = result.counts.files;
    input->skipped = result.skipped;
    return 0;
}

int host_input_open(const struct sr_mount *mount, const struct host_input_context *context,
                    struct host_input *input, struct sr_error *err)
{
    const struct image_pack_options options = {.code = SR_RUN_101, .path = PATH};
    struct image_fingerprint fingerprint;
    struct stat st;
    char name[INPUT_STORE_NAME];
    if (host_input_check(mount, err) < 0 ||
        image_pack_fingerprint(mount->fd, mount->source, &options, context->hasher, &fingerprint,
                               err) < 0)
        return -1;
    if (fstat(mount->fd, &st) < 0)
        return sr_fail(err, SR_RUN_101, PATH, "%s: %s", mount->source, strerror(errno));
    struct host_input found = {.fd = -1, .is_file = S_ISREG(st.st_mode)};
    sr_cleanup_fd int store = host_input_store_open(context->config);
    input_store_name(fingerprint.hash, context->uid, context->gid, name);
    if (!context->rehash && fingerprint.settled && input_store_find(store, name, &found)) {
        *input = found;
        return 0;
    }
    if (pack(mount, context, &fingerprint, store >= 0 ? store : context->scratch_fd, &found, err) <
        0)
        return -1;
    if (store >= 0 && fingerprint.settled && found.image_bytes <= context->config->inputs_max) {
        input_store_keep(store, name, &found);
        host_input_store_trim(store, context->config->inputs_max, -1);
    }
    *input = found;
    return 0;
}

/* -- Disks
 * ---------------------------------------------------------------------------------------- */

static int larger_first(const void *a, const void *b)
{
    const struct host_input *x = *(struct host_input *const *)a,
                            *y = *(struct host_input *const *)b;
    if (x->image_bytes != y->image_bytes)
        return x->image_bytes > y->image_bytes ? -1 : 1;
    return x < y ? -1 : x > y; /* of the same array */
}

static ssize_t copy_piece(int from, off_t *at, int to, off_t *end, size_t size)
{
    char piece[65536];
    ssize_t len = pread(from, piece, size < sizeof piece ? size : sizeof piece, *at);
    if (len > 0)
        len = pwrite(to, piece, (size_t)len, *end);
    if (len > 0) {
        *at += len;
        *end += len;
    }
    return len;
}

static int append(int from, int to, uint64_t offset, uint64_t size)
{
    off_t at = 0, end = (off_t)offset;
    while ((uint64_t)at < size) {
        size_t left = (size_t)(size - (uint64_t)at);
        ssize_t put = copy_file_range(from, &at, to, &end, left, 0);
        /* The store may be on another file system than the run, or on one that cannot. */
        if (put < 0 &&
            (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
            put = copy_piece(from, &at, to, &end, left);
        if (put < 0 && errno == EINTR)
            continue;
        if (put == 0)
            errno = EIO;
        if (put <= 0)
            return -1;
    }
    return 0;
}

/* Copies images behind each other into one file. */
static int join(struct host_input *const *inputs, size_t count, uint32_t disk, int scratch_fd,
                int *joined)
{
    sr_cleanup_fd int file = SR_FAILPOINT("inputs.join")
                                 ? -1
                                 : openat(scratch_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    uint64_t offset = 0;
    if (file < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        uint64_t size = inputs[i]->image_bytes;
        uint64_t room = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        if (append(inputs[i]->fd, file, offset, size) < 0)
            return -1;
        inputs[i]->where.disk = disk;
        inputs[i]->where.offset = offset;
        inputs[i]->where.length = room;
        offset += room;
    }
    if (ftruncate(file, (off_t)offset) < 0)
        return -1;
    *joined = reopen_read_only(file);
    return *joined < 0 ? -1 : 0;
}

int host_inputs_arrange(struct host_input *inputs, size_t count, int scratch_fd,
                        int disks[VMM_INPUTS_MAX], size_t *disk_count, int *joined,
                        struct sr_error *err)
{
    sr_cleanup_free struct host_input **order = calloc(count + 1, sizeof *order);
    if (order == NULL)
        return sr_fail(err, SR_RUN_101, PATH, "out of memory");
    for (size_t i = 0; i < count; i++) {
        order[i] = &inputs[i];
        inputs[i].where = (struct channel_spec_input){.is_file = inputs[i].is_file};
    }
    qsort(order, count, sizeof *order, larger_first);
    bool all_fit = count <= VMM_INPUTS_MAX;
    size_t alone = all_fit ? count : VMM_INPUTS_MAX - 1;
    for (size_t i = 0; i < alone; i++) {
        order[i]->where.disk = (uint32_t)i;
        disks[i] = order[i]->fd;
    }
    *disk_count = alone;
    *joined = -1;
    if (all_fit)
        return 0;
    if (join(order + alone, count - alone, (uint32_t)alone, scratch_fd, joined) < 0)
        return sr_fail(err, SR_RUN_101, PATH, "the inputs cannot be joined into one disk: %s",
                       strerror(errno));
    disks[(*disk_count)++] = *joined;
    return 0;
}
