/*
 * Packs a directory, or a single file, into a read-only image: inputs of runs, and images made of a
 * directory.
 *
 * The source is a descriptor that the caller has checked; nothing is looked up by its path again.
 * Packing stays on the source's file system (a mount point becomes an empty directory) and follows
 * no symbolic link; a file that changes while it is read is an error. A confined worker
 * (src/jail/worker.h) does it, which can read nothing but what is below the source.
 */
#ifndef SR_IMAGE_PACK_TREE_H
#define SR_IMAGE_PACK_TREE_H

#include "common/sha256.h"
#include "image/sqfs_writer.h"

/* Name of the only entry of the image of a single file. */
#define IMAGE_PACK_FILE_NAME "file"

/* Packing a million entries takes half a GiB of memory; no command needs more as its input. */
#define IMAGE_PACK_ENTRIES_MAX 1000000u
#define IMAGE_PACK_BYTES_MAX (UINT64_C(64) << 30)
/* CPU time: 64 GiB at the rate of slow machines. */
#define IMAGE_PACK_CPU_SEC 3600u
#define IMAGE_PACK_MEMORY_MAX (UINT64_C(2) << 30)

struct image_pack_options {
    enum image_sqfs_compressor compressor;
    unsigned threads; /* 0: as many as there are CPUs */
    bool own;         /* every entry is uid:gid's; else the source's owners */
    uint32_t uid, gid;
    bool xattrs;          /* the source's extended attributes too */
    uint64_t bytes_max;   /* of contents; 0: IMAGE_PACK_BYTES_MAX */
    uint32_t entries_max; /* 0: IMAGE_PACK_ENTRIES_MAX */
    enum sr_code code;    /* of errors, and their path: "mounts[0].source" */
    const char *path;
    /* Takes the number of bytes read so far; also called every 100 ms. False ends it, as an error.
     * */
    bool (*progress)(void *context, uint64_t bytes);
    /* Takes each entry that is left out (at most IMAGE_PACK_SKIPS_TOLD), relative to the source,
     * and why. */
    void (*skipped)(void *context, const char *entry, const char *why);
    void *context;
    const int *cgroup_fd; /* as jail_worker_plan's */
};

#define IMAGE_PACK_SKIPS_TOLD 100

struct image_pack_result {
    char hash[SR_SHA256_TEXT]; /* of the image's bytes */
    struct image_counts counts;
    uint32_t skipped; /* sockets, pipes, devices, mount points */
};

/*
 * Packs source (of a directory or regular file; O_PATH will do) into image, an empty file to read
 * and write (a memfd, say). name is the source's, for sentences. Errors: options->code at
 * options->path; with SR_OPS_101 those of writing the image keep theirs (SR-OPS-105, -108 at
 * "image"). image's content is then undefined.
 */
int image_pack(int source, const char *name, int image, const struct image_pack_options *options,
               struct sr_hasher *hasher, struct image_pack_result *result,
               struct sr_error *err) SR_MUST_CHECK;

/*
 * Hashes the metadata of source and everything below it (names, types, owners, modes, sizes,
 * inodes, times to the nanosecond), without reading contents. While the hash does not change,
 * image_pack() makes the same image. settled is false when something changed within the last two
 * seconds, so that a further change could go unseen. It works in the caller's process; errors are
 * those of image_pack().
 */
struct image_fingerprint {
    char hash[SR_SHA256_TEXT];
    uint64_t bytes;
    uint32_t entries;
    bool settled;
};
int image_pack_fingerprint(int source, const char *name, const struct image_pack_options *options,
                           struct sr_hasher *hasher, struct image_fingerprint *fingerprint,
                           struct sr_error *err) SR_MUST_CHECK;

#endif
