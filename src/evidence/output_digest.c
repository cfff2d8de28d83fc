#include "evidence/output_digest.h"

#include "common/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PIECE ((size_t)256 * 1024)

struct digesting {
    struct sr_walk walk; /* first: the walk hands itself back */
    struct sr_hasher *hasher;
    struct sr_hasher *each; /* of the file at hand; NULL when nobody is told of files */
    const struct evidence_output_listener *listener;
    struct evidence_output_digest *digest;
    uint64_t bytes_max;
    struct sr_error strange; /* the first entry that is no result */
};

static void add(struct digesting *digesting, const void *data, size_t len)
{
    sr_hasher_update(digesting->hasher, data, len);
}

static void add_head(struct digesting *digesting, char kind, const char *path)
{
    add(digesting, &kind, 1);
    add(digesting, path, strlen(path) + 1);
}

void evidence_output_manifest_line(struct sr_buf *out, const char *output,
                                   const struct evidence_output_file *file)
{
    const char *const parts[] = {output, file->path[0] != '\0' ? "/" : "", file->path};
    bool escaped = strpbrk(output, "\\\n") != NULL || strpbrk(file->path, "\\\n") != NULL;
    sr_buf_printf(out, "%s%s  ", escaped ? "\\" : "", file->hash + sizeof SR_SHA256_PREFIX - 1);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        for (const char *c = parts[i]; *c != '\0'; c++) {
            if (*c == '\n' || *c == '\\')
                sr_buf_putc(out, '\\');
            sr_buf_putc(out, *c == '\n' ? 'n' : *c);
        }
    sr_buf_putc(out, '\n');
}

static int tell_file(struct digesting *digesting, const char *path, uint64_t size,
                     struct sr_error *err)
{
    struct evidence_output_file file = {.path = path, .size = size};
    if (digesting->each == NULL)
        return 0;
    if (sr_hasher_final(digesting->each, file.hash) < 0)
        return sr_walk_fail(&digesting->walk, "cannot be hashed", 0, err);
    return digesting->listener->on_file(digesting->listener->context, &file, err);
}

static int add_file(struct digesting *digesting, int fd, const char *path, struct sr_error *err)
{
    static char piece[PIECE];
    struct statx st;
    char size[24];
    if (fd < 0 || sr_walk_stat(fd, "", &st) < 0)
        return sr_walk_fail(&digesting->walk, "cannot be read", errno, err);
    if (st.stx_size > digesting->bytes_max - digesting->digest->bytes) {
        char what[64];
        snprintf(what, sizeof what, "makes it more than %llu bytes",
                 (unsigned long long)digesting->bytes_max);
        return sr_walk_fail(&digesting->walk, what, 0, err);
    }
    add_head(digesting, (st.stx_mode & S_IXUSR) != 0 ? 'x' : 'f', path);
    int len = snprintf(size, sizeof size, "%llu", (unsigned long long)st.stx_size);
    add(digesting, size, (size_t)len + 1);
    uint64_t read_so_far = 0;
    if (digesting->each != NULL)
        sr_hasher_reset(digesting->each);
    ssize_t got;
    while (read_so_far <= st.stx_size && (got = read(fd, piece, sizeof piece)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sr_walk_fail(&digesting->walk, "cannot be read", errno, err);
        add(digesting, piece, (size_t)got);
        if (digesting->each != NULL)
            sr_hasher_update(digesting->each, piece, (size_t)got);
        read_so_far += (uint64_t)got;
    }
    if (read_so_far != st.stx_size)
        return sr_walk_fail(&digesting->walk, "changed while it was hashed", 0, err);
    digesting->digest->files++;
    digesting->digest->bytes += read_so_far;
    return tell_file(digesting, path, read_so_far, err);
}

static int add_entry(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                     const struct statx *st, int open_fd, void **own, struct sr_error *err)
{
    struct digesting *digesting = (struct digesting *)walk;
    char target[PATH_MAX];
    (void)parent, (void)open_fd, (void)own;
    if (S_ISDIR(st->stx_mode)) {
        add_head(digesting, 'd', walk->at);
        digesting->digest->directories++;
        return 0;
    }
    if (S_ISREG(st->stx_mode)) {
        sr_cleanup_fd int fd = sr_walk_open(directory_fd, name, 0);
        return add_file(digesting, fd, walk->at, err);
    }
    ssize_t len = readlinkat(directory_fd, name, target, sizeof target - 1);
    if (len < 0)
        return sr_walk_fail(walk, "cannot be read", errno, err);
    target[len] = '\0';
    add_head(digesting, 'l', walk->at);
    add(digesting, target, (size_t)len + 1);
    digesting->digest->links++;
    return 0;
}

static void note_strange(struct sr_walk *walk, const char *why)
{
    struct digesting *digesting = (struct digesting *)walk;
    char what[32];
    snprintf(what, sizeof what, "is %s", why);
    if (digesting->strange.code == SR_OK)
        sr_walk_fail(walk, what, 0, &digesting->strange);
}

int evidence_output_digest(int directory, const char *name, const char *path, uint64_t bytes_max,
                           struct sr_hasher *hasher,
                           const struct evidence_output_listener *listener,
                           struct evidence_output_digest *digest, struct sr_error *err)
{
    struct evidence_output_digest done = {0};
    bool told = listener != NULL && listener->on_file != NULL;
    sr_cleanup_hasher struct sr_hasher *each = told ? sr_hasher_new() : NULL;
    struct digesting digesting = {
        .walk = {.entry = add_entry,
                 .skip = note_strange,
                 .code = SR_RUN_001,
                 .path = path,
                 .name = name,
                 .entries_max = EVIDENCE_OUTPUT_ENTRIES_MAX},
        .hasher = hasher,
        .each = each,
        .listener = listener,
        .digest = &done,
        .bytes_max = bytes_max,
    };
    struct statx st;
    sr_cleanup_fd int fd = sr_walk_open(directory, name, 0);
    if (fd < 0 || sr_walk_stat(fd, "", &st) < 0)
        return sr_walk_fail(&digesting.walk, "cannot be read", errno, err);
    if (told && each == NULL)
        return sr_walk_fail(&digesting.walk, "cannot be hashed", ENOMEM, err);
    sr_hasher_reset(hasher);
    int result = S_ISDIR(st.stx_mode)   ? sr_walk(&digesting.walk, fd, NULL, err)
                 : S_ISREG(st.stx_mode) ? add_file(&digesting, fd, "", err)
                                        : sr_walk_fail(&digesting.walk, "is no file", 0, err);
    if (result < 0)
        return -1;
    if (digesting.strange.code != SR_OK) {
        *err = digesting.strange;
        return -1;
    }
    if (sr_hasher_final(hasher, done.hash) < 0)
        return sr_walk_fail(&digesting.walk, "cannot be hashed", 0, err);
    *digest = done;
    return 0;
}
