/*
 * Bundles on their way from one archive to another, in a tar archive (tar.h). For each bundle,
 * below a directory that is called by its id's digits and in this order:
 *
 *   manifest.json, run_report.json, files/<each in the manifest's order>, proof
 *
 * Nothing of that is believed. A bundle is taken when its files have the hashes of its manifest and
 * the manifest that of the directory's name; it is then verified and sealed like any other, and its
 * entry says that it was imported. The exporting archive's report is for people and other tools,
 * and skipped; so is its proof, unless the caller has that archive's public key: then it must hold,
 * and the entry says which archive that was.
 */
#include "archive/store.h"

#include "archive/tar.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PROOF_FILE "proof"
#define HEX (sizeof SR_SHA256_PREFIX - 1)

/* ---- export ---- */

struct exporting {
    struct sr_archive *archive;
    int fd;
    const char *id;
    struct sr_error *err;
};

static int put(struct exporting *out, const void *data, size_t len)
{
    int result = sr_write_all(out->fd, data, len);
    return result < 0 ? archive_fail(out->err, "export", -result, "cannot be written") : 0;
}

static int put_header(struct exporting *out, const char *below, const char *name, uint64_t size)
{
    struct archive_tar_entry entry = {.size = size};
    unsigned char block[ARCHIVE_TAR_BLOCK];
    snprintf(entry.prefix, sizeof entry.prefix, "%s%s", out->id + HEX, below);
    snprintf(entry.name, sizeof entry.name, "%s", name);
    archive_tar_header(&entry, block);
    return put(out, block, sizeof block);
}

static int put_padding(struct exporting *out, uint64_t size)
{
    static const char zeros[ARCHIVE_TAR_BLOCK];
    return put(out, zeros, archive_tar_padding(size));
}

static int put_text(struct exporting *out, const char *name, const char *text, size_t len)
{
    return put_header(out, "", name, len) < 0 || put(out, text, len) < 0 ? -1
                                                                         : put_padding(out, len);
}

/* A file with a size and a hash that are known; hash may be NULL. */
static int put_file(struct exporting *out, int dir, const char *below, const char *name,
                    uint64_t size, const char *hash)
{
    enum { CHUNK = 128 * 1024 };
    char found[SR_SHA256_TEXT];
    sr_cleanup_free char *chunk = malloc(CHUNK);
    sr_cleanup_fd int fd = sr_open_below(dir, name);
    if (chunk == NULL || fd < 0)
        return archive_fail(out->err, "export", fd < 0 ? -fd : ENOMEM, "%s of %s", name, out->id);
    if (put_header(out, below, name, size) < 0)
        return -1;
    struct sr_hasher *hasher = out->archive->hasher;
    sr_hasher_reset(hasher);
    for (uint64_t at = 0; at < size;) {
        size_t want = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        ssize_t got = pread(fd, chunk, want, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return archive_fail(out->err, "export", got < 0 ? errno : 0, "%s of %s is cut off",
                                name, out->id);
        sr_hasher_update(hasher, chunk, (size_t)got);
        if (put(out, chunk, (size_t)got) < 0)
            return -1;
        at += (uint64_t)got;
    }
    if (hash != NULL && (sr_hasher_final(hasher, found) < 0 || strcmp(found, hash) != 0))
        return archive_fail(out->err, "export", 0, "%s of %s was changed", name, out->id);
    return put_padding(out, size);
}

static int export_files(struct exporting *out, int dir, struct archive_manifest *manifest)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct stat st;
    if (!archive_bundle_read(dir, out->id, out->archive->hasher, manifest, &text) ||
        !sr_buf_ok(&text) || fstatat(dir, ARCHIVE_BUNDLE_REPORT, &st, 0) < 0)
        return archive_fail(out->err, "export", 0, "%s was changed", out->id);
    sr_cleanup_fd int files =
        openat(dir, ARCHIVE_BUNDLE_FILES_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (files < 0)
        return archive_fail(out->err, "export", errno, "the files of %s", out->id);
    if (put_text(out, ARCHIVE_BUNDLE_MANIFEST, text.data, text.len) < 0 ||
        put_file(out, dir, "", ARCHIVE_BUNDLE_REPORT, (uint64_t)st.st_size, NULL) < 0)
        return -1;
    for (size_t i = 0; i < manifest->count; i++)
        if (put_file(out, files, "/" ARCHIVE_BUNDLE_FILES_DIR, manifest->files[i].name,
                     manifest->files[i].size, manifest->files[i].hash) < 0)
            return -1;
    return 0;
}

static int export_bundle(struct exporting *out)
{
    char path[ARCHIVE_BUNDLE_PATH];
    struct sr_archive_proof proof;
    archive_bundle_path(out->id, path);
    sr_cleanup_fd int dir =
        openat(out->archive->root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    sr_cleanup_free struct archive_manifest *manifest = malloc(sizeof *manifest);
    if (dir < 0 || manifest == NULL)
        return archive_fail(out->err, "export", dir < 0 ? errno : ENOMEM, "%s", out->id);
    if (export_files(out, dir, manifest) < 0 ||
        sr_archive_prove(out->archive, out->id, &proof, out->err) < 0)
        return -1;
    int result = put_text(out, PROOF_FILE, proof.text, strlen(proof.text));
    free(proof.text);
    return result;
}

/* An entry of the log; those that stored a bundle which was not pruned have its id. */
struct kept {
    char bundle[SR_SHA256_TEXT];
};

struct all {
    const struct sr_archive *archive;
    struct kept *entries;
    size_t count;
};

static int take_entry(void *context, const char *line, size_t len, uint64_t end,
                      struct sr_error *err)
{
    struct all *all = context;
    struct archive_log_entry entry;
    if (end > all->archive->log.bytes)
        return 1;
    if (!archive_log_entry_parse(line, len, &entry))
        return archive_fail(err, "log", 0, "its entry %zu is none", all->count);
    if ((all->count & (all->count - 1)) == 0) { /* grows at 0, 1, 2, 4, 8, ... */
        size_t capacity = all->count == 0 ? 1 : 2 * all->count;
        struct kept *grown = realloc(all->entries, capacity * sizeof *grown);
        if (grown == NULL)
            return archive_fail(err, "export", ENOMEM, "cannot be written");
        all->entries = grown;
    }
    struct kept *kept = &all->entries[all->count++];
    *kept = (struct kept){.bundle = ""};
    if (!entry.pruned)
        memcpy(kept->bundle, entry.bundle, sizeof kept->bundle);
    else if (entry.leaf < all->count)
        all->entries[entry.leaf].bundle[0] = '\0';
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int export_bundles(struct sr_archive *archive, const char *const *bundles, size_t count,
                          int fd, struct sr_error *err)
{
    static const char end[2 * ARCHIVE_TAR_BLOCK];
    struct exporting out = {.archive = archive, .fd = fd, .err = err};
    sr_cleanup_free const char **sorted = calloc(count + 1, sizeof *sorted);
    if (sorted == NULL)
        return archive_fail(err, "export", ENOMEM, "cannot be written");
    memcpy(sorted, bundles, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_id);
    for (size_t i = 0; i < count; i++) {
        out.id = sorted[i];
        if (i > 0 && strcmp(sorted[i - 1], sorted[i]) == 0)
            continue;
        if (export_bundle(&out) < 0)
            return -1;
    }
    return put(&out, end, sizeof end);
}

static int export_kept(const struct all *all, struct sr_archive *archive, int fd,
                       struct sr_error *err)
{
    size_t count = 0;
    sr_cleanup_free const char **bundles = calloc(all->count + 1, sizeof *bundles);
    if (bundles == NULL)
        return archive_fail(err, "export", ENOMEM, "cannot be written");
    for (size_t i = 0; i < all->count; i++)
        if (all->entries[i].bundle[0] != '\0')
            bundles[count++] = all->entries[i].bundle;
    return export_bundles(archive, bundles, count, fd, err);
}

/* What the signed log has: an index may lack some. */
static int export_all(struct sr_archive *archive, int fd, struct sr_error *err)
{
    struct all all = {.archive = archive};
    int result = archive_log_each(archive->log.fd, 0, take_entry, &all, err) < 0
                     ? -1
                     : export_kept(&all, archive, fd, err);
    free(all.entries);
    return result;
}

int sr_archive_export(struct sr_archive *archive, const char *const *bundles, size_t count, int fd,
                      struct sr_error *err)
{
    return bundles == NULL ? export_all(archive, fd, err)
                           : export_bundles(archive, bundles, count, fd, err);
}

/* ---- import ---- */

struct importing {
    struct sr_archive *archive;
    int fd;
    struct sr_error *err;
    const struct sr_key *from;        /* of the archive it must come from; NULL: any */
    struct archive_manifest manifest; /* as it came */
    struct archive_log_entry entry;   /* what is known of where it comes from */
};

static int malformed(struct importing *in, const char *what)
{
    return archive_fail(in->err, "import", 0, "%s; this is no archive that 'archive export' wrote",
                        what);
}

static int get(struct importing *in, void *to, size_t len)
{
    char *at = to;
    while (len > 0) {
        ssize_t got = read(in->fd, at, len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return archive_fail(in->err, "import", errno, "cannot be read");
        if (got == 0)
            return malformed(in, "it is cut off");
        at += got;
        len -= (size_t)got;
    }
    return 0;
}

static int get_padding(struct importing *in, uint64_t size)
{
    unsigned char padding[ARCHIVE_TAR_BLOCK];
    size_t len = archive_tar_padding(size);
    if (get(in, padding, len) < 0)
        return -1;
    for (size_t i = 0; i < len; i++)
        if (padding[i] != 0)
            return malformed(in, "something lies between its files");
    return 0;
}

/* The header that must come next, of a file of at most max bytes. */
static int get_header(struct importing *in, const char *id, const char *below, const char *name,
                      uint64_t max, uint64_t *size)
{
    unsigned char block[ARCHIVE_TAR_BLOCK];
    struct archive_tar_entry entry = {.size = 0};
    char prefix[ARCHIVE_TAR_PREFIX];
    if (get(in, block, sizeof block) < 0)
        return -1;
    snprintf(prefix, sizeof prefix, "%s%s", id + HEX, below);
    if (!archive_tar_parse(block, &entry) || strcmp(entry.prefix, prefix) != 0 ||
        strcmp(entry.name, name) != 0 || entry.size > max)
        return malformed(in, "a file is missing, too large, or not where it belongs");
    *size = entry.size;
    return 0;
}

static int skip_file(struct importing *in, const char *id, const char *name, uint64_t max)
{
    char chunk[16 * 1024];
    uint64_t size = 0;
    if (get_header(in, id, "", name, max, &size) < 0)
        return -1;
    for (uint64_t left = size; left > 0;) {
        size_t n = left < sizeof chunk ? (size_t)left : sizeof chunk;
        if (get(in, chunk, n) < 0)
            return -1;
        left -= n;
    }
    return get_padding(in, size);
}

/* The proof, when there is a key for it: that archive has signed that it stored this very
 * bundle. */
static int get_proof(struct importing *in)
{
    char text[ARCHIVE_PROOF_MAX];
    uint64_t size = 0;
    struct archive_proof proof;
    struct archive_checkpoint checkpoint;
    struct archive_log_entry entry;
    struct sr_error fault = {0};
    sr_cleanup_buf struct sr_buf leaf = SR_BUF_INIT;
    if (get_header(in, in->manifest.id, "", PROOF_FILE, sizeof text, &size) < 0 ||
        get(in, text, (size_t)size) < 0 || get_padding(in, size) < 0)
        return -1;
    if (archive_proof_parse(text, (size_t)size, &proof, &leaf, &fault) < 0 ||
        archive_proof_check(in->archive->hasher, in->from, &proof, leaf.data, leaf.len, &checkpoint,
                            &fault) < 0)
        return archive_fail(in->err, "import", 0,
                            "the proof of %s is not by the archive that --from names: %s",
                            in->manifest.id, fault.message);
    if (!archive_log_entry_parse(leaf.data, leaf.len, &entry) || entry.pruned ||
        strcmp(entry.bundle, in->manifest.id) != 0)
        return archive_fail(in->err, "import", 0, "the proof of %s is of another bundle",
                            in->manifest.id);
    archive_checkpoint_origin(in->from, in->entry.from);
    return 0;
}

/* The first file of a bundle, whose header has been read: it says what else there will be. */
static int get_manifest(struct importing *in, const struct archive_tar_entry *entry)
{
    char text[ARCHIVE_BUNDLE_MAX_MANIFEST];
    if (strcmp(entry->name, ARCHIVE_BUNDLE_MANIFEST) != 0 || entry->size > sizeof text)
        return malformed(in, "a bundle does not begin with its manifest");
    if (get(in, text, (size_t)entry->size) < 0 || get_padding(in, entry->size) < 0)
        return -1;
    if (!archive_manifest_parse(text, (size_t)entry->size, in->archive->hasher, &in->manifest) ||
        strcmp(in->manifest.id + HEX, entry->prefix) != 0)
        return malformed(in, "a manifest is not that of its bundle");
    return 0;
}

static int get_files(struct importing *in, struct archive_staging *staging)
{
    for (size_t i = 0; i < in->manifest.count; i++) {
        const struct archive_manifest_file *file = &in->manifest.files[i];
        uint64_t size = 0;
        if (get_header(in, in->manifest.id, "/" ARCHIVE_BUNDLE_FILES_DIR, file->name, file->size,
                       &size) < 0)
            return -1;
        if (size != file->size)
            return malformed(in, "a file has another size than its manifest says");
        if (archive_staging_receive(staging, file->name, in->fd, size, in->err) < 0)
            return -1;
        const struct archive_manifest_file *got =
            archive_manifest_find(&staging->manifest, file->name);
        if (got == NULL || strcmp(got->hash, file->hash) != 0)
            return archive_fail(in->err, "import", 0, "%s of %s was changed on the way", file->name,
                                in->manifest.id);
        if (get_padding(in, size) < 0)
            return -1;
    }
    return 0;
}

static int import_bundle(struct importing *in, const struct archive_tar_entry *first,
                         const char *retention, struct sr_archive_added *added)
{
    sr_cleanup_staging struct archive_staging staging = ARCHIVE_STAGING_INIT;
    struct sr_archive *archive = in->archive;
    if (get_manifest(in, first) < 0 ||
        skip_file(in, in->manifest.id, ARCHIVE_BUNDLE_REPORT, ARCHIVE_BUNDLE_MAX_FILE) < 0 ||
        archive_staging_begin(&staging, archive->root, archive->hasher, in->err) < 0 ||
        get_files(in, &staging) < 0 ||
        (in->from != NULL ? get_proof(in)
                          : skip_file(in, in->manifest.id, PROOF_FILE, ARCHIVE_PROOF_MAX)) < 0)
        return -1;
    return archive_staging_close(&staging, in->err) < 0
               ? -1
               : archive_store(archive, &staging, retention, &in->entry, added, in->err);
}

static bool is_zero(const unsigned char block[ARCHIVE_TAR_BLOCK])
{
    static const unsigned char zeros[ARCHIVE_TAR_BLOCK];
    return memcmp(block, zeros, ARCHIVE_TAR_BLOCK) == 0;
}

static int import_all(struct importing *in, const char *retention, sr_archive_on_import *on_import,
                      void *context)
{
    for (;;) {
        unsigned char block[ARCHIVE_TAR_BLOCK];
        struct archive_tar_entry entry;
        struct sr_archive_added added;
        if (get(in, block, sizeof block) < 0)
            return -1;
        if (is_zero(block))
            return get(in, block, sizeof block) < 0 ? -1
                   : is_zero(block)                 ? 0
                                                    : malformed(in, "something follows its end");
        if (!archive_tar_parse(block, &entry))
            return malformed(in, "a header is not as we write it");
        if (import_bundle(in, &entry, retention, &added) < 0)
            return -1;
        on_import(context, &added);
    }
}

int sr_archive_import(struct sr_archive *archive, int fd, const char *retention, const char *from,
                      sr_archive_on_import *on_import, void *context, struct sr_error *err)
{
    char note[256];
    sr_cleanup_key struct sr_key *key = NULL;
    sr_cleanup_free struct importing *in = calloc(1, sizeof *in);
    if (in == NULL)
        return archive_fail(err, "import", ENOMEM, "cannot be read");
    if (from != NULL && evidence_key_load_public(from, &key, err) < 0)
        return -1;
    in->from = key;
    in->entry = (struct archive_log_entry){.origin = ARCHIVE_LOG_IMPORTED};
    in->archive = archive;
    in->fd = fd;
    in->err = err;
    int result = import_all(in, retention, on_import, context);
    struct sr_error ignored; /* what was taken is stored; whoever searches next will be told */
    return archive_update_index(archive, note, result < 0 ? &ignored : err) < 0 ? -1 : result;
}
