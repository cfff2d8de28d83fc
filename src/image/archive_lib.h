/*
 * libarchive, which is loaded when the first archive is read: its own libraries (XML, Unicode
 * tables, a C++ runtime) would cost every start of the program 1.5 ms. A process that will be
 * confined loads it before.
 */
#ifndef SR_IMAGE_ARCHIVE_LIB_H
#define SR_IMAGE_ARCHIVE_LIB_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <archive.h>
#include <archive_entry.h>

#define IMAGE_ARCHIVE_FUNCTIONS(F)                                                                 \
    F(archive_error_string)                                                                        \
    F(archive_read_new)                                                                            \
    F(archive_read_free)                                                                           \
    F(archive_read_support_filter_gzip)                                                            \
    F(archive_read_support_filter_xz)                                                              \
    F(archive_read_support_filter_zstd)                                                            \
    F(archive_read_support_format_cpio)                                                            \
    F(archive_read_support_format_empty)                                                           \
    F(archive_read_support_format_raw)                                                             \
    F(archive_read_support_format_tar)                                                             \
    F(archive_read_open)                                                                           \
    F(archive_read_next_header)                                                                    \
    F(archive_read_data)                                                                           \
    F(archive_read_data_block)                                                                     \
    F(archive_entry_filetype)                                                                      \
    F(archive_entry_gid)                                                                           \
    F(archive_entry_hardlink)                                                                      \
    F(archive_entry_mtime)                                                                         \
    F(archive_entry_pathname)                                                                      \
    F(archive_entry_perm)                                                                          \
    F(archive_entry_size)                                                                          \
    F(archive_entry_symlink)                                                                       \
    F(archive_entry_uid)                                                                           \
    F(archive_entry_xattr_next)                                                                    \
    F(archive_entry_xattr_reset)

struct image_archive_lib {
#define IMAGE_ARCHIVE_MEMBER(name)                                                                 \
    __typeof__(&(name)) name; /* NOLINT(bugprone-macro-parentheses) */
    IMAGE_ARCHIVE_FUNCTIONS(IMAGE_ARCHIVE_MEMBER)
#undef IMAGE_ARCHIVE_MEMBER
};

/* Loads it once. Returns NULL with err when that fails (SR-OPS-101 at "libarchive"). */
const struct image_archive_lib *image_archive_load(struct sr_error *err) SR_MUST_CHECK;

#endif
