/*
 * Unpacks what a guest sent of one output. Every byte is hostile: this runs in a confined worker
 * (src/jail/worker.h) that can write below one directory and do nothing else, and even there takes
 * nothing but directories, regular files and links that stay inside.
 *
 * libarchive reads the archive; where an entry goes is not left to it: each is made by its
 * directory's descriptor, which the kernel looks up beneath the output and through no link
 * (openat2), and never over something that is there.
 */
#ifndef SR_OUTPUTS_UNPACK_H
#define SR_OUTPUTS_UNPACK_H

#include "common/cleanup.h"
#include "evidence/output_digest.h"
#include "saferun/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OUTPUTS_OUTPUT_DEPTH_MAX 64u

struct outputs_unpack {
    int directory;             /* where to make it */
    const char *name;          /* what it is to be called there */
    uint64_t bytes_max;        /* of the contents of its files, holes counted like data */
    uint64_t entries_left;     /* what the host still allows of files, directories and links */
    const char *path;          /* of errors: "outputs[0].path"; their code is SR-RUN-001 */
    uint32_t entries, cleared; /* filled: entries, and of them files that lost a set-user-id,
                                  set-group-id or sticky bit */
    uint64_t bytes;
    /* Gives the next piece of the archive, valid until the next call; 0: the end; negative: it is
     * not to be had. */
    ssize_t (*next)(void *context, const void **data);
    void *context;
};

/* Makes directory/name of it. Blocks of zeros become holes. Permissions are the archive's, as far
 * as the umask has them, and the owner's to read and write. -1 with err: what is unsafe, too much
 * or broken; something may be there then, and is to be removed. */
int outputs_unpack(struct outputs_unpack *unpack, struct sr_error *err) SR_MUST_CHECK;

#endif
