#include "archive/log.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "common/jcs.h"
#include "common/json_text.h"
#include "evidence/chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EDGE_FILE "edge"
#define LOG_PATH "archive.log"
#define CHECKPOINT_PATH "archive.checkpoint"

/* ---- entries ---- */

static void put_text(struct sr_buf *out, const char *key, const char *text)
{
    sr_buf_puts(out, key);
    sr_jcs_text(out, text);
}

static void put_optional(struct sr_buf *out, const char *key, const char *text)
{
    if (text[0] != '\0')
        put_text(out, key, text);
}

void archive_log_entry_write(const struct archive_log_entry *entry, struct sr_buf *out)
{
    put_text(out, "{\"bundleId\":", entry->bundle);
    if (entry->pruned) {
        sr_buf_puts(out, ",\"kind\":\"pruned\",\"leaf\":");
        sr_buf_u64(out, entry->leaf);
        put_text(out, ",\"prunedAt\":", entry->time);
    } else {
        put_optional(out, ",\"checkedBy\":", entry->checked_by);
        put_optional(out, ",\"from\":", entry->from);
        sr_buf_puts(out, ",\"kind\":\"stored\"");
        put_optional(out, ",\"origin\":", entry->origin);
        put_text(out, ",\"original\":", entry->original);
        put_text(out, ",\"report\":", entry->report);
        put_text(out, ",\"retention\":", entry->retention);
        put_text(out, ",\"runId\":", entry->run_id);
        put_optional(out, ",\"signature\":", entry->signature);
        put_optional(out, ",\"signer\":", entry->signer);
        put_text(out, ",\"storedAt\":", entry->time);
    }
    sr_buf_putc(out, '}');
}

/* Copies a string member into a field of this size; an absent one leaves it empty. */
static void take_text(const struct sr_json_scan *scan, const char *name, char *field, size_t size)
{
    const struct sr_json_member *member = sr_json_find(scan, name);
    if (member != NULL)
        sr_json_copy(member->value, field, size);
}

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

/* Do the words about where it came from and who signed it go together? Entries from before there
 * were any have none. */
static bool is_provenance(const struct archive_log_entry *entry)
{
    static const char *const origins[] = {ARCHIVE_LOG_STORED, ARCHIVE_LOG_IMPORTED, NULL};
    static const char *const signatures[] = {ARCHIVE_LOG_UNSIGNED, ARCHIVE_LOG_UNCHECKED,
                                             ARCHIVE_LOG_GOOD, ARCHIVE_LOG_BAD, NULL};
    static const char *const checkers[] = {ARCHIVE_LOG_SIGN_KEY, ARCHIVE_LOG_REQUIRED_KEY, NULL};
    size_t signer = strlen(entry->signer);
    bool has_id = signer == EVIDENCE_KEY_ID_SIZE - 1 &&
                  strspn(entry->signer, "0123456789abcdef") == EVIDENCE_KEY_ID_SIZE - 1;
    if (entry->origin[0] == '\0')
        return entry->signature[0] == '\0' && entry->from[0] == '\0' && signer == 0 &&
               entry->checked_by[0] == '\0';
    bool good = strcmp(entry->signature, ARCHIVE_LOG_GOOD) == 0;
    return is_one_of(entry->origin, origins) && is_one_of(entry->signature, signatures) &&
           (entry->from[0] == '\0' || strcmp(entry->origin, ARCHIVE_LOG_IMPORTED) == 0) &&
           (good ? has_id && is_one_of(entry->checked_by, checkers)
                 : (signer == 0 || has_id) && entry->checked_by[0] == '\0');
}

bool archive_log_entry_parse(const char *line, size_t len, struct archive_log_entry *entry)
{
    struct sr_json_scan scan;
    struct archive_log_entry found = {0};
    char kind[8] = "";
    int64_t nsec, leaf = 0;
    if (len > ARCHIVE_LEAF_MAX || sr_json_scan(line, len, SR_JSON_LAST, &scan) != SR_JSON_OK)
        return false;
    take_text(&scan, "kind", kind, sizeof kind);
    take_text(&scan, "bundleId", found.bundle, sizeof found.bundle);
    found.pruned = strcmp(kind, "pruned") == 0;
    if (found.pruned) {
        const struct sr_json_member *number = sr_json_find(&scan, "leaf");
        if (number == NULL || !sr_json_integer(number->value, &leaf) || leaf < 0)
            return false;
        found.leaf = (uint64_t)leaf;
        take_text(&scan, "prunedAt", found.time, sizeof found.time);
    } else {
        take_text(&scan, "original", found.original, sizeof found.original);
        take_text(&scan, "report", found.report, sizeof found.report);
        take_text(&scan, "retention", found.retention, sizeof found.retention);
        take_text(&scan, "runId", found.run_id, sizeof found.run_id);
        take_text(&scan, "storedAt", found.time, sizeof found.time);
        take_text(&scan, "origin", found.origin, sizeof found.origin);
        take_text(&scan, "from", found.from, sizeof found.from);
        take_text(&scan, "signature", found.signature, sizeof found.signature);
        take_text(&scan, "signer", found.signer, sizeof found.signer);
        take_text(&scan, "checkedBy", found.checked_by, sizeof found.checked_by);
    }
    /* Written again it must be the same bytes: nothing was cut, nothing more was said. */
    sr_cleanup_buf struct sr_buf again = SR_BUF_INIT;
    archive_log_entry_write(&found, &again);
    if (!sr_buf_ok(&again) || again.len != len || memcmp(again.data, line, len) != 0 ||
        !sr_is_sha256(found.bundle) || !is_provenance(&found) ||
        !sr_timestamp_parse(found.time, strlen(found.time), &nsec))
        return false;
    *entry = found;
    return true;
}

int64_t archive_log_expiry(const struct archive_log_entry *stored)
{
    int64_t nsec, seconds;
    if (!sr_duration_parse(stored->retention, &seconds) ||
        !sr_timestamp_parse(stored->time, strlen(stored->time), &nsec) ||
        __builtin_mul_overflow(seconds, INT64_C(1000000000), &seconds) ||
        __builtin_add_overflow(nsec, seconds, &nsec))
        return INT64_MAX;
    return nsec;
}

bool archive_log_is_to_come(int64_t time, int64_t now)
{
    return time > now && time - now > INT64_C(24) * 3600 * 1000000000;
}

/* ---- reading ---- */

int archive_log_each(int fd, uint64_t from, archive_log_on_line *on_line, void *context,
                     struct sr_error *err)
{
    enum { WINDOW = 64 * 1024 };
    sr_cleanup_free char *window = malloc(WINDOW);
    if (window == NULL)
        return sr_fail(err, SR_OPS_301, LOG_PATH, "out of memory");
    for (;;) {
        ssize_t len = sr_read_full(fd, window, WINDOW, (int64_t)from);
        if (len < 0)
            return sr_fail(err, SR_OPS_301, LOG_PATH, "cannot be read: %s", strerror((int)-len));
        const char *at = window, *end = window + len, *newline;
        while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
            size_t line_len = (size_t)(newline - at);
            uint64_t behind = from + (uint64_t)(newline + 1 - window);
            int result = line_len > ARCHIVE_LEAF_MAX
                             ? sr_fail(err, SR_OPS_301, LOG_PATH, "has a line longer than 4 KiB")
                             : on_line(context, at, line_len, behind, err);
            if (result != 0)
                return result;
            at = newline + 1;
        }
        if (len < WINDOW)
            return 0; /* the rest is no whole line */
        if (at == window)
            return sr_fail(err, SR_OPS_301, LOG_PATH, "has a line longer than 4 KiB");
        from += (uint64_t)(at - window);
    }
}

static int take_signed_line(void *context, const char *line, size_t len, uint64_t end,
                            struct sr_error *err)
{
    struct archive_log *log = context;
    struct archive_merkle_hash leaf;
    if (log->tree.size == log->checkpoint.size)
        return 1;
    if (archive_merkle_leaf(log->hasher, line, len, &leaf) < 0 ||
        archive_merkle_append(log->hasher, &log->tree, &leaf) < 0)
        return sr_fail(err, SR_OPS_301, LOG_PATH, "cannot be hashed");
    log->bytes = end;
    return 0;
}

static bool is_signed(const struct archive_log *log)
{
    struct archive_merkle_hash root;
    return log->tree.size == log->checkpoint.size &&
           archive_merkle_root(log->hasher, &log->tree, &root) == 0 &&
           archive_merkle_same(&root, &log->checkpoint.root);
}

/* The edge as it was kept: byte count, leaf count, a hash for each bit of that. */
struct edge {
    uint64_t bytes, size;
    struct archive_merkle_hash hashes[ARCHIVE_MERKLE_DEPTH];
    char spare; /* for the NUL that sr_read_small_file() adds */
};

static bool take_edge(struct archive_log *log, uint64_t file_size)
{
    struct edge edge;
    ssize_t len = sr_read_small_file(log->root, EDGE_FILE, (char *)&edge, sizeof edge);
    if (len < 2 * (ssize_t)sizeof(uint64_t) || edge.size != log->checkpoint.size ||
        len != (ssize_t)(2 * sizeof(uint64_t) +
                         (size_t)__builtin_popcountll(edge.size) * ARCHIVE_MERKLE_HASH))
        return false;
    const struct archive_merkle_hash *next = edge.hashes;
    for (unsigned level = 0; level < ARCHIVE_MERKLE_DEPTH; level++)
        if ((edge.size >> level & 1) != 0)
            log->tree.edge[level] = *next++;
    log->tree.size = edge.size;
    log->bytes = edge.bytes;
    char last = '\n';
    return edge.bytes <= file_size && is_signed(log) &&
           (edge.bytes == 0 ||
            (pread(log->fd, &last, 1, (off_t)edge.bytes - 1) == 1 && last == '\n'));
}

static void keep_edge(const struct archive_log *log)
{
    struct edge edge = {.bytes = log->bytes, .size = log->tree.size};
    size_t count = 0;
    for (unsigned level = 0; level < ARCHIVE_MERKLE_DEPTH; level++)
        if ((edge.size >> level & 1) != 0)
            edge.hashes[count++] = log->tree.edge[level];
    if (sr_replace_file(log->root, EDGE_FILE, &edge,
                        2 * sizeof(uint64_t) + count * ARCHIVE_MERKLE_HASH) < 0)
        unlinkat(log->root, EDGE_FILE, 0);
}

static int find_tree(struct archive_log *log, struct sr_error *err)
{
    struct stat st;
    if (fstat(log->fd, &st) < 0)
        return sr_fail(err, SR_OPS_301, LOG_PATH, "cannot be read: %s", strerror(errno));
    if (take_edge(log, (uint64_t)st.st_size))
        return 0;
    log->tree = (struct archive_merkle_tree){0};
    log->bytes = 0;
    if (archive_log_each(log->fd, 0, take_signed_line, log, err) < 0)
        return -1;
    if (!is_signed(log))
        return sr_fail(err, SR_OPS_301, LOG_PATH,
                       "is not the log that the checkpoint signs; 'safe-run archive verify' says "
                       "more");
    return 0;
}

int archive_log_open(struct archive_log *log, int root, const struct sr_key *key,
                     struct sr_hasher *hasher, bool create, struct sr_error *err)
{
    struct archive_log found = {.root = root, .fd = -1, .key = key, .hasher = hasher};
    char note[ARCHIVE_NOTE_MAX + 2];
    ssize_t len = sr_read_small_file(root, ARCHIVE_CHECKPOINT_FILE, note, sizeof note);
    if (len < 0 && len != -ENOENT)
        return sr_fail(err, SR_OPS_301, CHECKPOINT_PATH, "cannot be read: %s", strerror((int)-len));
    bool is_new = len == -ENOENT && create;
    found.fd = openat(root, ARCHIVE_LOG_FILE,
                      (create ? O_RDWR : O_RDONLY) | (is_new ? O_CREAT : 0) | O_NOFOLLOW |
                          O_CLOEXEC | O_NONBLOCK,
                      0600);
    if (found.fd < 0)
        return errno == ENOENT && len == -ENOENT
                   ? sr_fail(err, SR_OPS_301, "archive.root", "there is no archive")
                   : sr_fail(err, SR_OPS_301, LOG_PATH, "cannot be opened: %s", strerror(errno));
    int result = 0;
    if (len >= 0) {
        result = archive_checkpoint_open(key, note, (size_t)len, CHECKPOINT_PATH, &found.checkpoint,
                                         err);
        if (result == 0)
            result = find_tree(&found, err);
    } else if (!create || lseek(found.fd, 0, SEEK_END) != 0) {
        result = sr_fail(err, SR_OPS_301, CHECKPOINT_PATH,
                         "is missing, but there is a log; put back a copy of it, or export the "
                         "bundles into a new archive");
    } else {
        result = archive_log_commit(&found, err);
    }
    if (result < 0) {
        if (err != NULL)
            err->code = SR_OPS_301;
        archive_log_close(&found);
        return -1;
    }
    *log = found;
    return 0;
}

void archive_log_close(struct archive_log *log)
{
    sr_close_fd(&log->fd);
}

bool archive_log_is_temporary(const char *name)
{
    static const char *const prefixes[] = {"." ARCHIVE_CHECKPOINT_FILE ".", "." EDGE_FILE "."};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t len = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], len) == 0 && name[len] != '\0' &&
            name[len + strspn(name + len, "0123456789")] == '\0')
            return true;
    }
    return false;
}

/* ---- writing ---- */

int archive_log_append(struct archive_log *log, const struct archive_log_entry *entry,
                       struct sr_error *err)
{
    const struct archive_log before = *log;
    struct archive_merkle_hash leaf;
    sr_cleanup_buf struct sr_buf line = SR_BUF_INIT;
    archive_log_entry_write(entry, &line);
    if (!sr_buf_ok(&line) || archive_merkle_leaf(log->hasher, line.data, line.len, &leaf) < 0 ||
        archive_merkle_append(log->hasher, &log->tree, &leaf) < 0) {
        archive_log_rewind(log, &before);
        return sr_fail(err, SR_OPS_301, LOG_PATH, "out of memory");
    }
    sr_buf_putc(&line, '\n');
    int result = lseek(log->fd, (off_t)log->bytes, SEEK_SET) < 0
                     ? -errno
                     : sr_write_all(log->fd, line.data, line.len);
    if (result == 0 && (SR_FAILPOINT("archive.log") || fdatasync(log->fd) < 0))
        result = -errno;
    if (result < 0) {
        archive_log_rewind(log, &before);
        return sr_fail(err, SR_OPS_301, LOG_PATH, "cannot be written: %s", strerror(-result));
    }
    log->bytes += line.len;
    return 0;
}

void archive_log_rewind(struct archive_log *log, const struct archive_log *before)
{
    log->tree = before->tree;
    log->bytes = before->bytes;
    /* What stays in the file if this fails is cut off by the next writer. */
    if (ftruncate(log->fd, (off_t)log->bytes) < 0 || fdatasync(log->fd) < 0)
        return;
}

ssize_t archive_log_read_checkpoint(const struct archive_log *log, char *note, size_t size,
                                    struct archive_checkpoint *checkpoint)
{
    ssize_t len = sr_read_small_file(log->root, ARCHIVE_CHECKPOINT_FILE, note, size);
    return len >= 0 && archive_checkpoint_open(log->key, note, (size_t)len, CHECKPOINT_PATH,
                                               checkpoint, NULL) < 0
               ? -EBADMSG
               : len;
}

int archive_log_commit(struct archive_log *log, struct sr_error *err)
{
    struct archive_checkpoint next = {.size = log->tree.size}, now;
    sr_cleanup_buf struct sr_buf note = SR_BUF_INIT;
    if (archive_merkle_root(log->hasher, &log->tree, &next.root) < 0)
        return sr_fail(err, SR_OPS_301, CHECKPOINT_PATH, "out of memory");
    if (archive_checkpoint_sign(log->key, &next, &note, err) < 0)
        return -1;
    int result =
        SR_FAILPOINT("archive.checkpoint")
            ? -errno
            : sr_replace_file_durably(log->root, ARCHIVE_CHECKPOINT_FILE, note.data, note.len);
    if (result == 0) {
        log->checkpoint = next;
        keep_edge(log);
        return 0;
    }
    char text[ARCHIVE_NOTE_MAX + 2];
    if (archive_log_read_checkpoint(log, text, sizeof text, &now) >= 0 && now.size == next.size &&
        archive_merkle_same(&now.root, &next.root))
        log->checkpoint = next;
    return sr_fail(err, SR_OPS_301, CHECKPOINT_PATH, "cannot be written: %s", strerror(-result));
}
