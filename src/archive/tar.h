/*
 * The tar archives that bundles travel in: POSIX ustar, so that every tar can list and unpack them,
 * but one spelling only. A header follows from a directory, a name and a size; owner, times and
 * everything else are constant. A reader makes the header it expects and compares all 512 bytes:
 * there is nothing to be parsed that could be understood in two ways.
 */
#ifndef SR_ARCHIVE_TAR_H
#define SR_ARCHIVE_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARCHIVE_TAR_BLOCK ((size_t)512)
#define ARCHIVE_TAR_NAME 101   /* with NUL */
#define ARCHIVE_TAR_PREFIX 156 /* with NUL */

struct archive_tar_entry {
    char prefix[ARCHIVE_TAR_PREFIX]; /* directory */
    char name[ARCHIVE_TAR_NAME];
    uint64_t size; /* below 8 GiB */
};

void archive_tar_header(const struct archive_tar_entry *entry,
                        unsigned char block[ARCHIVE_TAR_BLOCK]);

/* Reads what archive_tar_header() wrote; false for anything else. */
bool archive_tar_parse(const unsigned char block[ARCHIVE_TAR_BLOCK],
                       struct archive_tar_entry *entry) __attribute__((warn_unused_result));

/* Bytes of zeros behind a file of this size. */
static inline size_t archive_tar_padding(uint64_t size)
{
    return (ARCHIVE_TAR_BLOCK - (size_t)(size % ARCHIVE_TAR_BLOCK)) % ARCHIVE_TAR_BLOCK;
}

#endif
