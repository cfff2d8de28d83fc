/* For artifact.c: copies of files that others can write, named by their own hash. */
#ifndef SR_HOST_COPY_H
#define SR_HOST_COPY_H

#include "common/cleanup.h"
#include "host/host.h"

/* The directory of kept copies, made if need be; a descriptor, or -1: there is none. */
int host_copies_open(const struct host_config *config);

/*
 * Copies source into a new file without a name in directory, holes staying holes, and hashes the
 * copy. The file system shares the blocks where it can; otherwise each piece is hashed from the
 * same memory from which it is written. So the hash is the copy's whatever happens to source
 * meanwhile, and so is its size. *copy is open for reading only, and nobody has it open for
 * writing. 0 or a negative errno: -ENOSPC, -EDQUOT for no room, -EINTR when progress said to give
 * up, -ESTALE when source became shorter.
 */
int copy_file(int source, int directory, const struct host_artifact_context *context,
              const char *what, int *copy, char hash[SR_SHA256_TEXT]) SR_MUST_CHECK;

#endif
