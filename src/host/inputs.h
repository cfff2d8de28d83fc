/*
 * The host's files for a guest: each source packed into a read-only image, kept for the next run,
 * and all of them as disks.
 */
#ifndef SR_HOST_INPUTS_H
#define SR_HOST_INPUTS_H

#include "channel/protocol.h"
#include "common/cleanup.h"
#include "common/sha256.h"
#include "host/host.h"
#include "saferun/policy.h"
#include "saferun/run.h"
#include "vmm/driver.h"

/* A source, packed. */
struct host_input {
    int fd; /* the image, read-only; -1: none */
    char hash[SR_SHA256_TEXT];
    uint64_t image_bytes, bytes, files, skipped; /* bytes: of the files' contents */
    char first_skipped[200]; /* what was left out, and why: "run/sock (a socket)" */
    bool is_file;
    bool reused; /* found again */
    struct channel_spec_input where;
};

/* What packing needs to know of its run. */
struct host_input_context {
    const struct host_config *config;
    struct sr_hasher *hasher;
    int scratch_fd;       /* directory for what is not kept */
    uint32_t uid, gid;    /* of every entry: the command's, so that it can read what it was given */
    bool rehash;          /* pack again, whatever is kept */
    const int *cgroup_fd; /* the packer's, as image_pack_options' */
    bool (*progress)(void *context, const char *what, uint64_t done,
                     uint64_t total); /* false: give up */
    void *context;
};

/*
 * Packs the source of a mount, by the descriptor that was judged, or finds it again. A source that
 * changed after it was judged, was removed, or changes while it is packed is an error, as is one
 * that cannot be read: SR-RUN-101 at mount.apply.
 */
int host_input_open(const struct sr_mount *mount, const struct host_input_context *context,
                    struct host_input *input, struct sr_error *err) SR_MUST_CHECK;

/* Whether it could be: the same checks without packing. */
int host_input_check(const struct sr_mount *mount, struct sr_error *err) SR_MUST_CHECK;

/* Distributes images over at most VMM_INPUTS_MAX disks and fills their where; *joined is a new
 * file with several behind each other in it, or -1. Errors: SR-RUN-101 at mount.apply. */
int host_inputs_arrange(struct host_input *inputs, size_t count, int scratch_fd,
                        int disks[VMM_INPUTS_MAX], size_t *disk_count, int *joined,
                        struct sr_error *err) SR_MUST_CHECK;

/* The directory of kept images, made if need be; a descriptor, or -1: nothing is kept. */
int host_input_store_open(const struct host_config *config);

/* Removes what was used last longer than older_than_sec ago (negative: nothing for that), then the
 * longest unused until max bytes are left, and what belongs to nothing. */
void host_input_store_trim(int store, uint64_t max, int64_t older_than_sec);

#endif
