#include "archive/tar.h"

#include <stdio.h>
#include <string.h>

/* Offsets of ustar's fields (POSIX.1-2017, pax). */
enum {
    NAME = 0,
    MODE = 100,
    UID = 108,
    GID = 116,
    SIZE = 124,
    MTIME = 136,
    CHECKSUM = 148,
    TYPE = 156,
    MAGIC = 257,
    DEVMAJOR = 329,
    DEVMINOR = 337,
    PREFIX = 345,
    NAME_SIZE = 100,
    SIZE_DIGITS = 11,
    PREFIX_SIZE = 155,
};

void archive_tar_header(const struct archive_tar_entry *entry,
                        unsigned char block[ARCHIVE_TAR_BLOCK])
{
    char *header = (char *)block;
    memset(header, 0, ARCHIVE_TAR_BLOCK);
    for (int i = 0; i < NAME_SIZE && entry->name[i] != '\0'; i++)
        header[NAME + i] = entry->name[i]; /* fields have no NUL when they are full */
    for (int i = 0; i < PREFIX_SIZE && entry->prefix[i] != '\0'; i++)
        header[PREFIX + i] = entry->prefix[i];
    memcpy(header + MODE, "0000600", 8);
    memcpy(header + UID, "0000000", 8);
    memcpy(header + GID, "0000000", 8);
    snprintf(header + SIZE, SIZE_DIGITS + 1, "%011llo",
             (unsigned long long)entry->size & UINT64_C(077777777777));
    memcpy(header + MTIME, "00000000000", 12);
    memset(header + CHECKSUM, ' ', 8);
    header[TYPE] = '0';
    memcpy(header + MAGIC, "ustar", 6);
    memset(header + MAGIC + 6, '0', 2);
    memcpy(header + DEVMAJOR, "0000000", 8);
    memcpy(header + DEVMINOR, "0000000", 8);
    unsigned sum = 0;
    for (size_t i = 0; i < ARCHIVE_TAR_BLOCK; i++)
        sum += block[i];
    char digits[8];
    snprintf(digits, sizeof digits, "%06o", sum);
    memcpy(header + CHECKSUM, digits, 7);
}

bool archive_tar_parse(const unsigned char block[ARCHIVE_TAR_BLOCK],
                       struct archive_tar_entry *entry)
{
    struct archive_tar_entry found = {.size = 0};
    unsigned char expected[ARCHIVE_TAR_BLOCK];
    memcpy(found.name, block + NAME, NAME_SIZE);
    memcpy(found.prefix, block + PREFIX, PREFIX_SIZE);
    for (int i = 0; i < SIZE_DIGITS; i++) {
        unsigned digit = block[SIZE + i] - (unsigned)'0';
        if (digit > 7)
            return false;
        found.size = found.size << 3 | digit;
    }
    archive_tar_header(&found, expected);
    if (found.name[0] == '\0' || memcmp(block, expected, ARCHIVE_TAR_BLOCK) != 0)
        return false;
    *entry = found;
    return true;
}
