#include "outputs/unpack.h"

#include "common/fs.h"
#include "image/archive_lib.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define PIECE ((size_t)256 * 1024)

struct unpacking {
    struct outputs_unpack *of;
    const struct image_archive_lib *lib;
    struct archive *archive;
    int root;   /* the output, when it is a directory */
    int parent; /* the directory of the entry before, and how long its name is in at */
    size_t parent_len;
    char at[PATH_MAX]; /* the entry before, relative to the output */
    struct sr_error *err;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct unpacking *unpacking,
                                                        const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int result = sr_vfail(unpacking->err, SR_RUN_001, unpacking->of->path, fmt, ap);
    va_end(ap);
    return result;
}

static int refuse_entry(const struct unpacking *unpacking, const char *at, const char *what)
{
    return refuse(unpacking, "refused: %.200s %s", at[0] != '\0' ? at : unpacking->of->name, what);
}

static int cannot_make(const struct unpacking *unpacking, const char *at)
{
    if (errno == EEXIST)
        return refuse_entry(unpacking, at, "is there twice");
    if (errno == ENOENT || errno == ELOOP || errno == ENOTDIR || errno == EXDEV)
        return refuse_entry(unpacking, at, "lies in no directory of the output");
    return refuse(unpacking, "it cannot be written: %.200s: %s",
                  at[0] != '\0' ? at : unpacking->of->name, strerror(errno));
}

/* The entry's name relative to the output ("" is the output itself), or NULL when it is none. */
static const char *relative_name(const char *name)
{
    if (name == NULL || name[0] != 'o' || (name[1] != '/' && name[1] != '\0'))
        return NULL;
    if (name[1] == '\0')
        return name + 1;
    unsigned depth = 0;
    for (const char *part = name + 2;; part++) {
        size_t len = strcspn(part, "/");
        if (len == 0 || len > NAME_MAX || (part[0] == '.' && len == 1) ||
            (part[0] == '.' && part[1] == '.' && len == 2) ||
            ++depth > OUTPUTS_OUTPUT_DEPTH_MAX + 1)
            return NULL;
        part += len;
        if (*part == '\0')
            return strlen(name + 2) < PATH_MAX ? name + 2 : NULL;
    }
}

/*
 * A link may lead to what lies in the output. Its target is relative, and ".." stands only at its
 * beginning and no more often than the link lies deep. Then it leads from a real directory of the
 * output up to another one, and from there only down: through other links too, of which the same is
 * true.
 */
static bool stays_inside(const char *target, const char *at)
{
    unsigned depth = 0;
    for (const char *slash = at; (slash = strchr(slash, '/')) != NULL; slash++)
        depth++;
    if (target[0] == '/' || target[0] == '\0')
        return false;
    bool down = false;
    for (const char *part = target; *part != '\0';) {
        size_t len = strcspn(part, "/");
        if (len == 2 && part[0] == '.' && part[1] == '.') {
            if (down || depth-- == 0)
                return false;
        } else if (len > 0 && !(len == 1 && part[0] == '.')) {
            down = true;
        }
        part += len;
        part += strspn(part, "/");
    }
    return true;
}

/* The descriptor of the directory an entry belongs in, and its last component. -1 with errno. */
static int find_parent(struct unpacking *unpacking, const char *at, const char **last)
{
    const char *slash = strrchr(at, '/');
    size_t len = slash != NULL ? (size_t)(slash - at) : 0;
    *last = slash != NULL ? slash + 1 : at;
    if (len == 0)
        return unpacking->root;
    if (unpacking->parent >= 0 && len == unpacking->parent_len &&
        memcmp(unpacking->at, at, len) == 0)
        return unpacking->parent;
    const struct open_how how = {
        .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    sr_close_fd(&unpacking->parent);
    memcpy(unpacking->at, at, len);
    unpacking->at[len] = '\0';
    unpacking->parent_len = len;
    unpacking->parent = (int)syscall(SYS_openat2, unpacking->root, unpacking->at, &how, sizeof how);
    return unpacking->parent;
}

static int refuse_archive(const struct unpacking *unpacking, const char *otherwise)
{
    const char *why = unpacking->lib->archive_error_string(unpacking->archive);
    return refuse(unpacking, "refused: the archive is broken: %.200s",
                  why != NULL ? why : otherwise);
}

static int make_directory(struct unpacking *unpacking, const char *at, mode_t mode)
{
    const struct outputs_unpack *of = unpacking->of;
    const char *last;
    mode = (mode & 0777) | 0700;
    if (at[0] != '\0') {
        int parent = find_parent(unpacking, at, &last);
        return parent < 0 || mkdirat(parent, last, mode) < 0 ? cannot_make(unpacking, at) : 0;
    }
    if (mkdirat(of->directory, of->name, mode) < 0)
        return cannot_make(unpacking, at);
    unpacking->root =
        openat(of->directory, of->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return unpacking->root < 0 ? cannot_make(unpacking, at) : 0;
}

static int copy_content(struct unpacking *unpacking, const char *at, int fd, uint64_t size)
{
    static char piece[PIECE];
    for (uint64_t done = 0; done < size;) {
        ssize_t got = unpacking->lib->archive_read_data(unpacking->archive, piece, sizeof piece);
        if (got <= 0 || (uint64_t)got > size - done)
            return refuse_archive(unpacking, "a file of another size than it says");
        if (sr_write_sparse(fd, piece, (size_t)got, done) < 0)
            return cannot_make(unpacking, at);
        done += (uint64_t)got;
    }
    return ftruncate(fd, (off_t)size) < 0 ? cannot_make(unpacking, at) : 0;
}

static int make_file(struct unpacking *unpacking, const char *at, struct archive_entry *entry)
{
    struct outputs_unpack *of = unpacking->of;
    const char *last = of->name;
    int64_t size = unpacking->lib->archive_entry_size(entry);
    if (size < 0 || (uint64_t)size > of->bytes_max - of->bytes)
        return refuse(unpacking, "refused: %.200s makes it more than its max of %llu bytes",
                      at[0] != '\0' ? at : of->name, (unsigned long long)of->bytes_max);
    int parent = at[0] != '\0' ? find_parent(unpacking, at, &last) : of->directory;
    sr_cleanup_fd int fd =
        parent < 0 ? -1
                   : openat(parent, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                            (unpacking->lib->archive_entry_perm(entry) & 0777) | 0600);
    if (fd < 0)
        return cannot_make(unpacking, at);
    of->bytes += (uint64_t)size;
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW},
                                      {.tv_sec = unpacking->lib->archive_entry_mtime(entry)}};
    if (copy_content(unpacking, at, fd, (uint64_t)size) < 0)
        return -1;
    return futimens(fd, times) < 0 ? cannot_make(unpacking, at) : 0;
}

static int make_link(struct unpacking *unpacking, const char *at, const char *target)
{
    const char *last;
    if (at[0] == '\0')
        return refuse_entry(unpacking, at, "is a symbolic link");
    if (target == NULL || !stays_inside(target, at))
        return refuse_entry(unpacking, at, "is a symbolic link that leads out of the output");
    int parent = find_parent(unpacking, at, &last);
    return parent < 0 || symlinkat(target, parent, last) < 0 ? cannot_make(unpacking, at) : 0;
}

static int make_entry(struct unpacking *unpacking, struct archive_entry *entry)
{
    struct outputs_unpack *of = unpacking->of;
    const char *name = unpacking->lib->archive_entry_pathname(entry), *at = relative_name(name);
    if (at == NULL)
        return refuse(unpacking, "refused: an entry's name leads out of the output: %.200s",
                      name != NULL ? name : "(none)");
    if (++of->entries > EVIDENCE_OUTPUT_ENTRIES_MAX)
        return refuse(unpacking, "refused: it has more than %u files and directories",
                      EVIDENCE_OUTPUT_ENTRIES_MAX);
    if (of->entries > of->entries_left)
        return refuse(unpacking,
                      "refused: it has more files and directories than the %llu that this host "
                      "allows it (limits.entries)",
                      (unsigned long long)of->entries_left);
    if (at[0] != '\0' && unpacking->root < 0)
        return refuse_entry(unpacking, at, "lies in no directory of the output");
    if (unpacking->lib->archive_entry_hardlink(entry) != NULL)
        return refuse_entry(unpacking, at, "is another name of a file");
    mode_t mode = unpacking->lib->archive_entry_perm(entry);
    of->cleared += (mode & 07000) != 0;
    switch (unpacking->lib->archive_entry_filetype(entry)) {
    case AE_IFDIR:
        return make_directory(unpacking, at, mode);
    case AE_IFREG:
        return make_file(unpacking, at, entry);
    case AE_IFLNK:
        return make_link(unpacking, at, unpacking->lib->archive_entry_symlink(entry));
    case AE_IFCHR:
    case AE_IFBLK:
        return refuse_entry(unpacking, at, "is a device");
    default:
        return refuse_entry(unpacking, at, "is neither a file nor a directory nor a link");
    }
}

static la_ssize_t read_piece(struct archive *archive, void *context, const void **data)
{
    struct outputs_unpack *of = context;
    ssize_t got = of->next(of->context, data);
    (void)archive;
    return got < 0 ? ARCHIVE_FATAL : got;
}

static int make_all(struct unpacking *unpacking)
{
    const struct image_archive_lib *lib = unpacking->lib;
    struct archive *archive = unpacking->archive;
    if (archive == NULL)
        return refuse(unpacking, "the archive cannot be read: out of memory");
    if (lib->archive_read_support_format_cpio(archive) != ARCHIVE_OK ||
        lib->archive_read_open(archive, unpacking->of, NULL, read_piece, NULL) != ARCHIVE_OK)
        return refuse_archive(unpacking, "it was cut off");
    struct archive_entry *entry;
    int result;
    while ((result = lib->archive_read_next_header(archive, &entry)) == ARCHIVE_OK)
        if (make_entry(unpacking, entry) < 0)
            return -1;
    if (result != ARCHIVE_EOF)
        return refuse_archive(unpacking, "it was cut off");
    return unpacking->of->entries > 0 ? 0 : refuse(unpacking, "refused: the archive is empty");
}

int outputs_unpack(struct outputs_unpack *unpack, struct sr_error *err)
{
    struct unpacking unpacking = {.of = unpack, .root = -1, .parent = -1, .err = err};
    unpack->entries = unpack->cleared = 0;
    unpack->bytes = 0;
    unpacking.lib = image_archive_load(err);
    if (unpacking.lib == NULL)
        return -1;
    unpacking.archive = unpacking.lib->archive_read_new();
    int result = make_all(&unpacking);
    unpacking.lib->archive_read_free(unpacking.archive);
    sr_close_fd(&unpacking.parent);
    sr_close_fd(&unpacking.root);
    return result;
}
