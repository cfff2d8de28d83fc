/*
 * Where an image comes from, and its pieces: an OCI layout in a directory or in a tar, what `docker
 * save` writes, or a tar that is the file system itself. A piece (blob) is read from beginning to
 * end; it may be opened several times.
 *
 * Only the worker uses it. Errors are SR-OPS-101 (cannot be read), SR-OPS-102 (digest), SR-OPS-105
 * (limit) at "image.source".
 */
#ifndef SR_IMAGE_SOURCE_H
#define SR_IMAGE_SOURCE_H

#include "common/sha256.h"
#include "image/archive_lib.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define IMAGE_SOURCE_PATH "image.source"
#define IMAGE_BLOB_BUFFER 65536

struct image_source {
    const struct image_archive_lib *lib;
    int fd;            /* of the file, or of the directory */
    bool is_directory; /* pieces are files below it; else members of the archive */
};

/* A piece that is being read. */
struct image_blob {
    const struct image_source *source;
    int fd;                   /* of the file that has it */
    off_t at;                 /* in that file */
    struct archive *outer;    /* the archive that has it, or NULL: it is the file */
    struct sr_hasher *hasher; /* of its bytes */
    uint64_t size;            /* read so far */
    bool own_fd;
    char buffer[IMAGE_BLOB_BUFFER];
    char text[IMAGE_BLOB_BUFFER]; /* of the outer archive's content */
};

/* Opens the member of that name, or the whole source when it is NULL. Returns 0; 1 when there is
 * none; -1 with err. The caller closes blob, also after a failure. It is too large for a stack. */
int image_blob_open(const struct image_source *source, const char *member, struct image_blob *blob,
                    struct sr_error *err) SR_MUST_CHECK;

/* Reads the next bytes, which stay until the next call. Returns their number, 0 at the end, or -1
 * with err. */
ssize_t image_blob_read(struct image_blob *blob, const void **data,
                        struct sr_error *err) SR_MUST_CHECK;

/* Reads the rest and writes the digest of all bytes. */
int image_blob_finish(struct image_blob *blob, char digest[SR_SHA256_TEXT],
                      struct sr_error *err) SR_MUST_CHECK;

void image_blob_close(struct image_blob *blob);

/* Reads a whole member of at most max bytes into *text, with a NUL behind it, which the caller
 * frees; checks it against digest when that is not NULL. Returns 0; 1 when there is none; -1 with
 * err. */
int image_source_read(const struct image_source *source, const char *member, const char *digest,
                      size_t max, char **text, size_t *len, struct sr_error *err) SR_MUST_CHECK;

#endif
