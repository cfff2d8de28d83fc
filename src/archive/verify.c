/*
 * Everything in an archive against the checkpoint that signs it. Nothing is changed: an archive on
 * a read-only disk can be verified.
 *
 *   checkpoint        SR-EVD-303  is signed by the archive's key
 *   log               SR-EVD-303  its entries are those that were signed; what was pruned was old
 *                     enough
 *   older_checkpoint  SR-EVD-303  the log goes on from one that was kept elsewhere
 *   bundles           SR-EVD-302  each that was stored and not pruned is there, with the same
 *                     bytes, and its report says of the run what verification finds now
 *   unlogged          SR-EVD-303  there are no others
 *   signatures        SR-EVD-304  with a key that is required: its holder has signed each run
 */
#include "archive/store.h"

#include "archive/check.h"
#include "archive/vouch.h"
#include "common/clock.h"
#include "common/fs.h"
#include "common/owner.h"
#include "common/printable.h"
#include "evidence/report.h"
#include "evidence/report_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum check { CHECKPOINT, LOG, OLDER, BUNDLES, UNLOGGED, SIGNATURES, CHECK_COUNT };

static const char *const check_names[CHECK_COUNT] = {
    [CHECKPOINT] = "checkpoint", [LOG] = "log",           [OLDER] = "older_checkpoint",
    [BUNDLES] = "bundles",       [UNLOGGED] = "unlogged", [SIGNATURES] = "signatures",
};

/* What the log says of one entry; 100,000 of them are 10 MB. */
struct stored {
    unsigned char id[SR_SHA256_HEX / 2];
    unsigned char report[SR_SHA256_HEX / 2];
    int64_t expiry;
    bool tombstone, pruned;
    bool is_unsigned; /* behind the checkpoint: not stored yet, whatever lies in its place */
};

struct verifier {
    const struct sr_archive_verify_options *options;
    struct sr_archive_verification *out;
    bool wanted[CHECK_COUNT], ok[CHECK_COUNT];
    char note[CHECK_COUNT][160];
    int root;
    struct sr_key *key;
    const struct sr_key *required; /* NULL: no run has to be signed */
    struct sr_hasher *hasher;
    struct archive_merkle_tree tree;
    struct archive_checkpoint checkpoint, older;
    bool has_checkpoint, has_older;
    struct stored *entries;
    size_t count, capacity;
    int64_t now;
    unsigned to_come;         /* entries of a time that is */
    unsigned unsigned_stored; /* entries behind the checkpoint that are no tombstones */
    bool no_memory;
};

static void fault(struct verifier *v, enum check check, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void fault(struct verifier *v, enum check check, const char *path, const char *fmt, ...)
{
    struct sr_archive_verification *out = v->out;
    v->wanted[check] = true;
    v->ok[check] = false;
    if (out->error_count == SR_ARCHIVE_MAX_ERRORS) {
        out->more_errors++;
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    sr_vfail(&out->errors[out->error_count++],
             check == BUNDLES      ? SR_EVD_302
             : check == SIGNATURES ? SR_EVD_304
                                   : SR_EVD_303,
             path, fmt, ap);
    va_end(ap);
    sr_make_printable(out->errors[out->error_count - 1].message); /* names may be anybody's */
}

static unsigned digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Of a well-formed hash. */
static void to_bytes(const char *hash, unsigned char bytes[SR_SHA256_HEX / 2])
{
    const char *hex = hash + sizeof SR_SHA256_PREFIX - 1;
    for (size_t i = 0; i < SR_SHA256_HEX / 2; i++)
        bytes[i] = (unsigned char)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
}

static void to_text(const unsigned char bytes[SR_SHA256_HEX / 2], char text[SR_SHA256_TEXT])
{
    memcpy(text, SR_SHA256_PREFIX, sizeof SR_SHA256_PREFIX);
    sr_hex(bytes, SR_SHA256_HEX / 2, text + sizeof SR_SHA256_PREFIX - 1);
}

static void check_older(struct verifier *v)
{
    struct archive_merkle_hash root;
    if (!v->has_older || v->older.size != v->tree.size)
        return;
    if (archive_merkle_root(v->hasher, &v->tree, &root) < 0 ||
        !archive_merkle_same(&root, &v->older.root))
        fault(v, OLDER, "older_checkpoint",
              "the first %llu entries are not those that it signs: entries were changed or removed",
              (unsigned long long)v->older.size);
}

static void check_signed(struct verifier *v)
{
    struct archive_merkle_hash root;
    if (v->has_checkpoint && v->checkpoint.size == v->tree.size &&
        (archive_merkle_root(v->hasher, &v->tree, &root) < 0 ||
         !archive_merkle_same(&root, &v->checkpoint.root)))
        fault(v, LOG, "log",
              "its %llu entries are not those that the checkpoint signs: they were changed",
              (unsigned long long)v->tree.size);
}

static int remember(struct verifier *v, const struct stored *stored)
{
    if (v->count == v->capacity) {
        size_t capacity = v->capacity == 0 ? 1024 : 2 * v->capacity;
        struct stored *grown = realloc(v->entries, capacity * sizeof *grown);
        if (grown == NULL)
            return -1;
        v->entries = grown;
        v->capacity = capacity;
    }
    v->entries[v->count++] = *stored;
    return 0;
}

/* Is the entry at hand behind the checkpoint, and behind the one that was kept elsewhere? */
static bool is_unsigned(const struct verifier *v)
{
    return v->has_checkpoint && v->tree.size >= v->checkpoint.size &&
           !(v->has_older && v->tree.size < v->older.size);
}

/* A bundle was pruned: it must have been stored, and its retention over. */
static void take_tombstone(struct verifier *v, const struct archive_log_entry *entry)
{
    char path[40];
    unsigned char id[SR_SHA256_HEX / 2];
    int64_t when = 0;
    snprintf(path, sizeof path, "log[%zu]", v->count);
    to_bytes(entry->bundle, id);
    bool known = entry->leaf < v->count && !v->entries[entry->leaf].tombstone &&
                 memcmp(v->entries[entry->leaf].id, id, sizeof id) == 0;
    if (!known || v->entries[entry->leaf].pruned)
        fault(v, LOG, path, "prunes a bundle that was not stored, or not any more");
    if (!known)
        return;
    /* One that nobody has signed excuses nothing: bundles are removed after that. */
    v->entries[entry->leaf].pruned = !is_unsigned(v);
    if (!sr_timestamp_parse(entry->time, strlen(entry->time), &when) ||
        when < v->entries[entry->leaf].expiry)
        fault(v, LOG, path, "prunes %s before its retention was over", entry->bundle);
    else if (archive_log_is_to_come(when, v->now) && !is_unsigned(v))
        fault(v, LOG, path,
              "prunes %s at %s, which is still to come: the clock was wrong then, or is now",
              entry->bundle, entry->time);
}

static int take_line(void *context, const char *line, size_t len, uint64_t end,
                     struct sr_error *err)
{
    struct verifier *v = context;
    struct archive_log_entry entry;
    struct archive_merkle_hash leaf;
    struct stored stored = {.tombstone = true};
    char path[40];
    (void)end;
    snprintf(path, sizeof path, "log[%zu]", v->count);
    if (!archive_log_entry_parse(line, len, &entry)) {
        fault(v, LOG, path, "is no entry");
    } else if (entry.pruned) {
        take_tombstone(v, &entry);
        v->out->pruned++;
    } else {
        stored =
            (struct stored){.expiry = archive_log_expiry(&entry), .is_unsigned = is_unsigned(v)};
        to_bytes(entry.bundle, stored.id);
        to_bytes(entry.report, stored.report);
        v->unsigned_stored += is_unsigned(v);
        int64_t when = 0;
        v->to_come += sr_timestamp_parse(entry.time, strlen(entry.time), &when) &&
                      archive_log_is_to_come(when, v->now);
    }
    v->no_memory = remember(v, &stored) < 0 ||
                   archive_merkle_leaf(v->hasher, line, len, &leaf) < 0 ||
                   archive_merkle_append(v->hasher, &v->tree, &leaf) < 0;
    if (v->no_memory)
        return archive_fail(err, "log", ENOMEM, "cannot be held");
    check_signed(v);
    check_older(v);
    return 0;
}

static int check_log(struct verifier *v, struct sr_error *err)
{
    struct sr_error broken = {0};
    v->wanted[LOG] = true;
    sr_cleanup_fd int fd =
        openat(v->root, ARCHIVE_LOG_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    check_signed(v);
    check_older(v);
    if (fd < 0)
        fault(v, LOG, "log", "cannot be opened: %s", strerror(errno));
    else if (archive_log_each(fd, 0, take_line, v, &broken) < 0) {
        if (v->no_memory) {
            *err = broken;
            return -1;
        }
        fault(v, LOG, "log", "%s", broken.message);
    }
    v->out->entries = v->tree.size;
    if (v->has_checkpoint && v->tree.size < v->checkpoint.size)
        fault(v, LOG, "log", "has %llu entries, but the checkpoint signs %llu: it was rolled back",
              (unsigned long long)v->tree.size, (unsigned long long)v->checkpoint.size);
    if (v->has_older && v->has_checkpoint && v->checkpoint.size < v->older.size)
        fault(v, OLDER, "older_checkpoint",
              "signs %llu entries, but the archive's own checkpoint %llu: that was put back",
              (unsigned long long)v->older.size, (unsigned long long)v->checkpoint.size);
    if (v->has_older && v->tree.size < v->older.size)
        fault(v, OLDER, "older_checkpoint",
              "signs %llu entries, but the log has %llu: it was rolled back",
              (unsigned long long)v->older.size, (unsigned long long)v->tree.size);
    if (v->unsigned_stored > 1)
        fault(v, CHECKPOINT, "checkpoint",
              "is older than the log by %u stored bundles: it was put back", v->unsigned_stored);
    else if (v->has_checkpoint && v->tree.size > v->checkpoint.size)
        snprintf(v->note[LOG], sizeof v->note[LOG],
                 "%llu behind the checkpoint: a writer died before it signed, or an older "
                 "checkpoint was "
                 "put back; the next sets that aside",
                 (unsigned long long)(v->tree.size - v->checkpoint.size));
    if (v->to_come > 0 && v->note[LOG][0] == '\0')
        snprintf(v->note[LOG], sizeof v->note[LOG],
                 "%u bundles were stored at a time that is still to come: the clock was wrong "
                 "then, or is now",
                 v->to_come);
    return 0;
}

static bool read_checkpoint(struct verifier *v, int dir, const char *name, enum check check,
                            struct archive_checkpoint *checkpoint)
{
    char note[ARCHIVE_NOTE_MAX + 2];
    struct sr_error err;
    v->wanted[check] = true;
    ssize_t len = sr_read_small_file(dir, name, note, sizeof note);
    if (len < 0) {
        fault(v, check, check_names[check], "cannot be read: %s", strerror((int)-len));
        return false;
    }
    if (archive_checkpoint_open(v->key, note, (size_t)len, check_names[check], checkpoint, &err) ==
        0)
        return true;
    fault(v, check, err.path, "%s", err.message);
    return false;
}

struct bundle_check {
    struct verifier *v;
    char id[SR_SHA256_TEXT];
    char path[128]; /* "bundles[sha256:...]" */
    int dir, files;
    struct archive_manifest manifest;
};

static bool check_file(struct bundle_check *check, const struct archive_manifest_file *file)
{
    char hash[SR_SHA256_TEXT] = "";
    sr_cleanup_fd int fd = sr_open_below(check->files, file->name);
    int result = fd < 0 ? fd : sr_sha256_fd(check->v->hasher, fd, hash);
    if (result < 0)
        fault(check->v, BUNDLES, check->path, "files/%s: %s", file->name, strerror(-result));
    else if (strcmp(hash, file->hash) != 0)
        fault(check->v, BUNDLES, check->path, "files/%s was changed: expected %s, found %s",
              file->name, file->hash, hash);
    return result == 0 && strcmp(hash, file->hash) == 0;
}

/* The next entry; hidden ones are entries, too. NULL: no more. */
static const char *next_name(DIR *listing)
{
    const struct dirent *entry = readdir(listing);
    while (entry != NULL && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0))
        entry = readdir(listing);
    return entry != NULL ? entry->d_name : NULL;
}

static bool is_in_files(const struct bundle_check *check, const char *name)
{
    return archive_manifest_find(&check->manifest, name) != NULL;
}

static bool is_in_bundle(const struct bundle_check *check, const char *name)
{
    (void)check;
    return strcmp(name, ARCHIVE_BUNDLE_MANIFEST) == 0 ||
           strcmp(name, ARCHIVE_BUNDLE_FILES_DIR) == 0 || strcmp(name, ARCHIVE_BUNDLE_REPORT) == 0;
}

/* Nothing lies in a bundle, or in its files/, but what belongs there. */
static void check_strangers(const struct bundle_check *check, int dir, const char *below,
                            bool (*belongs)(const struct bundle_check *, const char *))
{
    DIR *listing = sr_open_list(dir);
    if (listing == NULL) {
        fault(check->v, BUNDLES, check->path, "%s cannot be listed: %s",
              below[0] != '\0' ? below : "it", strerror(errno));
        return;
    }
    for (const char *name; (name = next_name(listing)) != NULL;)
        if (!belongs(check, name))
            fault(check->v, BUNDLES, check->path, "%s%s is not in the manifest", below, name);
    closedir(listing);
}

/* Of outputs only the report knows any more: they were there when the run was stored, and are not
 * here. */
static void check_result(struct bundle_check *check, struct sr_json_slice said, bool valid)
{
    struct sr_json_slice element, checks = sr_json_get(said, "checks");
    for (size_t at = 0; sr_json_is_array(checks) && sr_json_next(checks, &at, &element);)
        if (sr_json_is(sr_json_get(element, "name"), ARCHIVE_BUNDLE_OUTPUTS_CHECK))
            valid = valid && sr_json_get(element, "ok").len == sizeof "true" - 1;
    if (!sr_json_is(sr_json_get(said, "result"), valid ? "pass" : "fail"))
        fault(check->v, BUNDLES, check->path,
              "run_report.json does not say \"%s\", but that is what verification finds",
              valid ? "pass" : "fail");
}

/* The sealed report: the bytes that were logged, valid by itself, and true about the run. */
static int check_report(struct bundle_check *check, const struct stored *stored, bool intact,
                        struct sr_error *err)
{
    char hash[SR_SHA256_TEXT] = "", expected[SR_SHA256_TEXT];
    sr_cleanup_verification struct sr_verification found = {0};
    sr_cleanup_report_walk struct evidence_report_walk walk;
    memset(&walk, 0, sizeof walk);
    walk.reader.copy_fd = -1;
    sr_cleanup_fd int fd = sr_open_below(check->dir, ARCHIVE_BUNDLE_REPORT);
    int result = fd < 0 ? fd : sr_sha256_fd(check->v->hasher, fd, hash);
    to_text(stored->report, expected);
    if (result < 0 || strcmp(hash, expected) != 0) {
        fault(check->v, BUNDLES, check->path, "run_report.json was changed: expected %s, found %s",
              expected, result < 0 ? strerror(-result) : hash);
        return 0;
    }
    if (!intact)
        return 0; /* of what was changed nothing follows */
    if (archive_bundle_verify(check->files, &check->manifest, NULL, &found, err) < 0)
        return -1;
    struct sr_error broken;
    if (evidence_report_walk(&walk, fd, 0, NULL, NULL, &broken) < 0 ||
        !sr_json_is(sr_json_get(evidence_report_member(&walk, "integrity"), "digest"), walk.digest))
        fault(check->v, BUNDLES, check->path, "run_report.json has the wrong digest");
    else
        check_result(check, evidence_report_member(&walk, "verification"), found.valid);
    return 0;
}

/* Of what was changed the bytes that are there are asked, which is what anybody would look at. */
static int check_signature(struct bundle_check *check, struct sr_error *err)
{
    struct verifier *v = check->v;
    if (v->required == NULL)
        return 0;
    int result = vouch_is_signed_by(check->files, &check->manifest, v->required, err);
    if (result == 0)
        fault(v, SIGNATURES, check->path, "is not signed by key %s", evidence_key_id(v->required));
    return result < 0 ? -1 : 0;
}

static int check_bundle(struct verifier *v, const struct stored *stored, struct sr_error *err)
{
    struct bundle_check check = {.v = v, .dir = -1, .files = -1};
    char path[ARCHIVE_BUNDLE_PATH];
    to_text(stored->id, check.id);
    snprintf(check.path, sizeof check.path, "bundles[%s]", check.id);
    archive_bundle_path(check.id, path);
    v->out->bundles++;
    sr_cleanup_fd int dir = openat(v->root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    sr_cleanup_fd int files = dir < 0 ? -1
                                      : openat(dir, ARCHIVE_BUNDLE_FILES_DIR,
                                               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (files < 0) {
        fault(v, BUNDLES, check.path, "was removed, and not by retention: %s", strerror(errno));
        return 0;
    }
    check.dir = dir;
    check.files = files;
    if (!archive_bundle_read(dir, check.id, v->hasher, &check.manifest, NULL)) {
        fault(v, BUNDLES, check.path, "its manifest was changed: the bundle's id does not follow");
        return 0;
    }
    bool intact = true;
    for (size_t i = 0; i < check.manifest.count; i++)
        intact = check_file(&check, &check.manifest.files[i]) && intact;
    check_strangers(&check, dir, "", is_in_bundle);
    check_strangers(&check, files, "files/", is_in_files);
    return check_report(&check, stored, intact, err) < 0 ? -1 : check_signature(&check, err);
}

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct stored *)a)->id, ((const struct stored *)b)->id,
                  SR_SHA256_HEX / 2);
}

static const struct stored *find(const struct verifier *v, const char *id)
{
    struct stored wanted = {.expiry = 0};
    to_bytes(id, wanted.id);
    return v->count == 0 ? NULL : bsearch(&wanted, v->entries, v->count, sizeof *v->entries, by_id);
}

/* Bundles that a writer found behind the checkpoint are not the archive's any more, but
 * somebody's. */
static void note_aside(struct verifier *v)
{
    unsigned count = 0;
    sr_cleanup_fd int fd =
        openat(v->root, ARCHIVE_ASIDE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = fd < 0 ? NULL : sr_open_list(fd);
    if (listing == NULL)
        return;
    while (next_name(listing) != NULL)
        count++;
    closedir(listing);
    if (count > 0)
        snprintf(v->note[UNLOGGED], sizeof v->note[UNLOGGED],
                 "%u in " ARCHIVE_ASIDE "/: were behind a checkpoint or damaged; to store one "
                 "again: report archive " ARCHIVE_ASIDE "/.../files/run_report.json",
                 count);
}

/* Is it the place of a bundle that the log knows: its id, below the id's first two digits? */
static bool is_logged(const struct verifier *v, const char *shard, const char *name)
{
    char id[SR_SHA256_TEXT + NAME_MAX];
    snprintf(id, sizeof id, SR_SHA256_PREFIX "%s", name);
    return strlen(shard) == 2 && memcmp(shard, name, 2) == 0 && sr_is_sha256(id) &&
           find(v, id) != NULL;
}

static void check_shard(struct verifier *v, int bundles, const char *shard)
{
    sr_cleanup_fd int fd = openat(bundles, shard, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = fd < 0 ? NULL : sr_open_list(fd);
    if (listing == NULL) {
        fault(v, UNLOGGED, "bundles", "%s does not belong there: %s", shard, strerror(errno));
        return;
    }
    for (const char *name; (name = next_name(listing)) != NULL;)
        if (!is_logged(v, shard, name))
            fault(v, UNLOGGED, "bundles", "%s/%s is not in the log", shard, name);
    closedir(listing);
}

/* What lies in bundles/ without being in the log. */
static void check_unlogged(struct verifier *v)
{
    v->wanted[UNLOGGED] = true;
    sr_cleanup_fd int fd =
        openat(v->root, "bundles", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = fd < 0 ? NULL : sr_open_list(fd);
    if (listing == NULL)
        return;
    for (const char *shard; (shard = next_name(listing)) != NULL;)
        check_shard(v, fd, shard);
    closedir(listing);
}

static int check_bundles(struct verifier *v, struct sr_error *err)
{
    const struct sr_archive_verify_options *options = v->options;
    v->wanted[BUNDLES] = true;
    /* In the order of ids: a bundle that was pruned and stored again has two entries. */
    uint64_t leftovers = 0;
    if (v->count > 0)
        qsort(v->entries, v->count, sizeof *v->entries, by_id);
    for (size_t i = 0; i < options->bundle_count; i++)
        if (find(v, options->bundles[i]) == NULL)
            fault(v, BUNDLES, "bundles", "%s is not in the log", options->bundles[i]);
    for (size_t i = 0; i < v->count; i++) {
        const struct stored *stored = &v->entries[i];
        char id[SR_SHA256_TEXT];
        bool wanted = options->bundle_count == 0;
        if (stored->tombstone || stored->is_unsigned)
            continue;
        to_text(stored->id, id);
        for (size_t k = 0; k < options->bundle_count; k++)
            wanted = wanted || strcmp(options->bundles[k], id) == 0;
        if (stored->pruned) {
            leftovers += archive_has(v->root, id) && (i == 0 || by_id(&stored[-1], stored) != 0) &&
                         (i + 1 == v->count || by_id(&stored[1], stored) != 0);
            continue;
        }
        if (wanted && check_bundle(v, stored, err) < 0)
            return -1;
    }
    if (leftovers > 0)
        snprintf(v->note[BUNDLES], sizeof v->note[BUNDLES],
                 "%llu pruned but still there; the next 'archive prune' removes them",
                 (unsigned long long)leftovers);
    if (options->bundle_count == 0) {
        check_unlogged(v);
        note_aside(v);
    }
    return 0;
}

static int verify(struct verifier *v, struct sr_error *err)
{
    v->has_checkpoint =
        read_checkpoint(v, v->root, ARCHIVE_CHECKPOINT_FILE, CHECKPOINT, &v->checkpoint);
    if (v->options->checkpoint != NULL)
        v->has_older = read_checkpoint(v, AT_FDCWD, v->options->checkpoint, OLDER, &v->older);
    return check_log(v, err) < 0 ? -1 : check_bundles(v, err);
}

static void conclude(struct verifier *v)
{
    struct sr_archive_verification *out = v->out;
    out->valid = true;
    for (int i = 0; i < CHECK_COUNT; i++) {
        if (!v->wanted[i])
            continue;
        struct sr_report_check *check = &out->checks[out->check_count++];
        *check = (struct sr_report_check){.name = check_names[i], .ok = v->ok[i]};
        memcpy(check->note, v->note[i], sizeof check->note);
        out->valid = out->valid && check->ok;
    }
}

int sr_archive_verify(const struct sr_archive_place *place,
                      const struct sr_archive_verify_options *options,
                      struct sr_archive_verification *verification, struct sr_error *err)
{
    struct verifier v = {.options = options, .out = verification};
    for (int i = 0; i < CHECK_COUNT; i++)
        v.ok[i] = true;
    sr_cleanup_key struct sr_key *key = NULL;
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    sr_cleanup_fd int root = open(place->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (hasher == NULL || root < 0)
        return archive_fail(err, "root", hasher == NULL ? ENOMEM : errno, "%s cannot be opened",
                            place->root);
    /* Whoever can write there has laid the key there, too. */
    char why[SR_OWNER_TEXT];
    if (options->public_key == NULL && place->key[0] == '\0' && sr_judge_place(root, why) < 0)
        return archive_fail(err, "key", 0,
                            "%s %s, and its key is worth no more than that: name the one you trust "
                            "with --key",
                            place->root, why);
    if (options->public_key != NULL ? evidence_key_load_public(options->public_key, &key, err) < 0
                                    : archive_load_public(place, &key, err) < 0)
        return -1;
    sr_cleanup_key struct sr_key *required = NULL;
    if (options->require_key != NULL &&
        evidence_key_load_public(options->require_key, &required, err) < 0)
        return -1;
    /* No writer meanwhile. Where the lock cannot be had nobody can write either. */
    sr_cleanup_fd int lock =
        openat(root, ARCHIVE_LOCK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    while (lock >= 0 && flock(lock, LOCK_SH) < 0 && errno == EINTR)
        continue;
    v.now = (int64_t)sr_clock_nsec(CLOCK_REALTIME);
    v.key = key;
    v.required = required;
    v.wanted[SIGNATURES] = required != NULL;
    v.hasher = hasher;
    v.root = root;
    int result = verify(&v, err);
    free(v.entries);
    if (result == 0)
        conclude(&v);
    return result;
}
