#include "archive/store.h"

#include "archive/index.h"
#include "common/fs.h"
#include "common/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define KEY_FILE "archive.key"
#define PUBLIC_KEY_FILE "archive.key.pub"
#define FOUND ".found"

int archive_fail(struct sr_error *err, const char *what, int error, const char *fmt, ...)
{
    char text[sizeof err->message], path[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(path, sizeof path, "archive.%s", what);
    return sr_fail(err, SR_OPS_301, path, "%s%s%s", text, error != 0 ? ": " : "",
                   error != 0 ? strerror(error) : "");
}

bool archive_has(int root, const char *id)
{
    char path[ARCHIVE_BUNDLE_PATH];
    archive_bundle_path(id, path);
    return faccessat(root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_there(int root, const char *name)
{
    struct stat st;
    return fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0;
}

/* An archive has a checkpoint, or at least a log: that one is refused later. */
static bool is_new(int root)
{
    return !is_there(root, ARCHIVE_CHECKPOINT_FILE) && !is_there(root, ARCHIVE_LOG_FILE);
}

/* ---- the key ---- */

static int key_path(const struct sr_archive_place *place, char path[PATH_MAX], struct sr_error *err)
{
    int len = place->key[0] != '\0' ? snprintf(path, PATH_MAX, "%s", place->key)
                                    : snprintf(path, PATH_MAX, "%s/" KEY_FILE, place->root);
    return len < PATH_MAX - (int)sizeof ".pub"
               ? 0
               : archive_fail(err, "key", ENAMETOOLONG, "cannot be used");
}

int archive_load_public(const struct sr_archive_place *place, struct sr_key **key,
                        struct sr_error *err)
{
    char path[PATH_MAX], public_path[PATH_MAX + 4];
    if (key_path(place, path, err) < 0)
        return -1;
    snprintf(public_path, sizeof public_path, "%s.pub", path);
    if (evidence_key_load_public(public_path, key, err) == 0)
        return 0;
    struct sr_error first = *err;
    if (evidence_key_load_private(path, key, err) == 0)
        return 0;
    char checkpoint[PATH_MAX];
    if (snprintf(checkpoint, sizeof checkpoint, "%s/" ARCHIVE_CHECKPOINT_FILE, place->root) <
            PATH_MAX &&
        access(checkpoint, F_OK) < 0 && errno == ENOENT)
        return archive_fail(err, "root", 0,
                            "%.200s holds no archive; --root names another directory, and 'report "
                            "archive' begins one",
                            place->root);
    return archive_fail(err, "key", 0, "%s", first.message);
}

/* A key that lies where an archive is to be made may be anybody's, who would sign for it from then
 * on. */
static int set_found_key_aside(int root, struct sr_error *err)
{
    static const char *const names[][2] = {{KEY_FILE, KEY_FILE FOUND},
                                           {PUBLIC_KEY_FILE, PUBLIC_KEY_FILE FOUND}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (renameat(root, names[i][0], root, names[i][1]) < 0 && errno != ENOENT)
            return archive_fail(err, "key", errno, "the %s that was found cannot be set aside",
                                names[i][0]);
    return 0;
}

/* A key of one's own is made with the archive; one that is configured must be there. */
static int load_private(const struct sr_archive *archive, const struct sr_archive_place *place,
                        struct sr_key **key, struct sr_error *err)
{
    char path[PATH_MAX];
    struct sr_error fault = {0};
    bool make = place->key[0] == '\0' && is_new(archive->root);
    if (key_path(place, path, err) < 0 || (make && set_found_key_aside(archive->root, err) < 0))
        return -1;
    if (make ? evidence_key_generate(path, key, &fault) < 0
             : evidence_key_load_private(path, key, &fault) < 0)
        return archive_fail(err, "key", 0, "%s", fault.message);
    return 0;
}

/* This host's key, to know its runs by. Who cannot read it cannot tell them, which the log says of
 * each. */
static void load_host_key(const struct sr_archive_place *place, struct sr_key **key)
{
    char public_path[PATH_MAX + 4];
    struct sr_error unused;
    if (place->sign_key[0] == '\0' || evidence_key_load_private(place->sign_key, key, &unused) == 0)
        return;
    snprintf(public_path, sizeof public_path, "%s.pub", place->sign_key);
    if (evidence_key_load_public(public_path, key, &unused) < 0)
        *key = NULL;
}

int sr_archive_require_key(struct sr_archive *archive, const char *public_key, struct sr_error *err)
{
    return evidence_key_load_public(public_key, &archive->required, err);
}

/* ---- what a writer that died left ---- */

/*
 * Lines behind the checkpoint promise what nobody has signed. They are cut off, and never signed
 * afterwards: whoever can write here might have put them there. The bundle that goes with one is
 * not destroyed, because somebody may also have put back an older checkpoint: it is set aside.
 */
struct tail {
    struct sr_archive *archive;
    unsigned stored;
    struct archive_log_entry entry; /* the last that stores a bundle */
};

static int judge_line(void *context, const char *line, size_t len, uint64_t end,
                      struct sr_error *err)
{
    struct tail *tail = context;
    struct archive_log_entry entry;
    (void)end;
    /* A writer that dies leaves one bundle behind the checkpoint; more are somebody else's
     * doing. */
    if (!archive_log_entry_parse(line, len, &entry) || (!entry.pruned && ++tail->stored > 1))
        return archive_fail(err, "checkpoint", 0,
                            "it is older than the log; 'safe-run archive verify' says more");
    if (!entry.pruned)
        tail->entry = entry;
    return 0;
}

struct lookup {
    const char *bundle;
    uint64_t signed_bytes;
    enum archive_state state;
    struct archive_log_entry entry;
};

static int look_up(void *context, const char *line, size_t len, uint64_t end, struct sr_error *err)
{
    struct lookup *lookup = context;
    struct archive_log_entry entry;
    (void)err;
    if (end > lookup->signed_bytes)
        return 1;
    /* Most lines are of other bundles: these are not parsed. */
    if (memmem(line, len, lookup->bundle, strlen(lookup->bundle)) == NULL ||
        !archive_log_entry_parse(line, len, &entry) || strcmp(entry.bundle, lookup->bundle) != 0)
        return 0;
    lookup->state = entry.pruned ? ARCHIVE_PRUNED : ARCHIVE_STORED;
    if (!entry.pruned)
        lookup->entry = entry;
    return 0;
}

int archive_look_up(struct sr_archive *archive, const char *bundle, enum archive_state *state,
                    struct archive_log_entry *entry, struct sr_error *err)
{
    struct lookup lookup = {.bundle = bundle, .signed_bytes = archive->log.bytes};
    if (archive_log_each(archive->log.fd, 0, look_up, &lookup, err) < 0)
        return -1;
    *state = lookup.state;
    *entry = lookup.entry;
    return 0;
}

int archive_set_aside(struct sr_archive *archive, const char *bundle, const char *time,
                      struct sr_error *err)
{
    char path[ARCHIVE_BUNDLE_PATH], name[SR_SHA256_HEX + sizeof "-" + SR_TIMESTAMP_TEXT];
    archive_bundle_path(bundle, path);
    snprintf(name, sizeof name, "%.64s-%s", bundle + sizeof SR_SHA256_PREFIX - 1, time);
    if (mkdirat(archive->root, ARCHIVE_ASIDE, 0700) < 0 && errno != EEXIST)
        return archive_fail(err, "bundle", errno, ARCHIVE_ASIDE " cannot be made");
    sr_cleanup_fd int aside =
        openat(archive->root, ARCHIVE_ASIDE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return aside < 0 || renameat(archive->root, path, aside, name) < 0 || fsync(aside) < 0
               ? archive_fail(err, "bundle", errno, "%s cannot be set aside", bundle)
               : 0;
}

static int set_unsigned_aside(struct sr_archive *archive, const struct archive_log_entry *entry,
                              struct sr_error *err)
{
    enum archive_state state;
    struct archive_log_entry ignored;
    char now[SR_TIMESTAMP_TEXT];
    if (!archive_has(archive->root, entry->bundle))
        return 0;
    if (archive_look_up(archive, entry->bundle, &state, &ignored, err) < 0)
        return -1;
    sr_timestamp_now(now); /* another of its name may lie there already */
    return state == ARCHIVE_STORED ? 0 : archive_set_aside(archive, entry->bundle, now, err);
}

static int recover_log(struct sr_archive *archive, struct sr_error *err)
{
    struct archive_log *log = &archive->log;
    struct tail tail = {.archive = archive};
    struct stat st;
    if (fstat(log->fd, &st) < 0)
        return archive_fail(err, "log", errno, "cannot be read");
    if ((uint64_t)st.st_size == log->bytes)
        return 0;
    if (archive_log_each(log->fd, log->bytes, judge_line, &tail, err) < 0 ||
        (tail.stored > 0 && set_unsigned_aside(archive, &tail.entry, err) < 0))
        return -1;
    if (ftruncate(log->fd, (off_t)log->bytes) < 0 || fdatasync(log->fd) < 0)
        return archive_fail(err, "log", errno, "cannot be cut back to its last signed entry");
    return 0;
}

/* Only what has the name of a temporary of ours, and only where an archive was found. */
static void remove_temporaries(int root)
{
    DIR *dir = sr_open_list(root);
    if (dir == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        /* What cannot be removed now can be another time; it is in nobody's way. */
        if ((archive_bundle_is_temporary(entry->d_name) ||
             archive_log_is_temporary(entry->d_name)) &&
            sr_remove_tree(root, entry->d_name) < 0)
            continue;
    closedir(dir);
}

/* ---- opening ---- */

static int open_root(struct sr_archive *archive, const char *path, struct sr_error *err)
{
    int result = archive->writable ? sr_mkdir_all(path, 0700) : 0;
    if (result < 0)
        return archive_fail(err, "root", -result, "%s cannot be made", path);
    char why[SR_OWNER_TEXT];
    archive->root = sr_open_place(path, why);
    if (archive->root < 0)
        return archive_fail(err, "root", 0, "%s %s%s", path, why,
                            archive->root == -EPERM
                                ? ": whoever can write there decides what is in the archive and "
                                  "who signs it; --root names another"
                                : "");
    sr_cleanup_free char *real = realpath(path, NULL);
    if (real == NULL || snprintf(archive->path, PATH_MAX, "%s", real) >= PATH_MAX)
        return archive_fail(err, "root", errno, "%s cannot be opened", path);
    return 0;
}

/* Is it what the creation of an archive leaves when it is interrupted, or a file system of its own
 * has? */
static bool may_be_there(const char *name)
{
    static const char *const names[] = {".",
                                        "..",
                                        ARCHIVE_LOCK,
                                        KEY_FILE,
                                        PUBLIC_KEY_FILE,
                                        KEY_FILE FOUND,
                                        PUBLIC_KEY_FILE FOUND,
                                        ARCHIVE_LOG_FILE,
                                        "lost+found"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return archive_log_is_temporary(name);
}

/* 1: something else is there, 0: nothing is; or a negative errno. */
static int holds_others(int root)
{
    DIR *dir = sr_open_list(root);
    if (dir == NULL)
        return -errno;
    int result = 0;
    for (const struct dirent *entry; result == 0 && (entry = readdir(dir)) != NULL;)
        result = !may_be_there(entry->d_name);
    closedir(dir);
    return result;
}

/* Where no archive is, one may be begun, unless the directory is somebody's for something else. */
static int check_root(const struct sr_archive *archive, struct sr_error *err)
{
    int root = archive->root;
    int others = is_new(root) ? holds_others(root) : 0;
    if (others < 0)
        return archive_fail(err, "root", -others, "%s cannot be listed", archive->path);
    /* Another writer may have made it meanwhile: its checkpoint comes before everything else. */
    return others == 0 || is_there(root, ARCHIVE_CHECKPOINT_FILE)
               ? 0
               : archive_fail(err, "root", 0,
                              "%s holds other things and no archive: name a new or empty directory",
                              archive->path);
}

/* One writer at a time, and none while somebody reads it all. Ends with the descriptor. */
static int take_lock(struct sr_archive *archive, struct sr_error *err)
{
    archive->lock = openat(archive->root, ARCHIVE_LOCK,
                           O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    int result = -1;
    if (archive->lock >= 0)
        while ((result = flock(archive->lock, LOCK_EX)) < 0 && errno == EINTR)
            continue;
    return result == 0 ? 0 : archive_fail(err, "lock", errno, "%s cannot be locked", archive->path);
}

static int open_to_write(struct sr_archive *archive, const struct sr_archive_place *place,
                         struct sr_error *err)
{
    if (check_root(archive, err) < 0 || take_lock(archive, err) < 0 ||
        load_private(archive, place, &archive->key, err) < 0 ||
        archive_log_open(&archive->log, archive->root, archive->key, archive->hasher, true, err) <
            0)
        return -1;
    load_host_key(place, &archive->host);
    remove_temporaries(archive->root);
    return recover_log(archive, err);
}

static int open_to_read(struct sr_archive *archive, const struct sr_archive_place *place,
                        struct sr_error *err)
{
    if (archive_load_public(place, &archive->key, err) < 0)
        return -1;
    return archive_log_open(&archive->log, archive->root, archive->key, archive->hasher, false,
                            err);
}

int sr_archive_open(const struct sr_archive_place *place, bool write, struct sr_archive **archive,
                    struct sr_error *err)
{
    struct sr_archive *made = calloc(1, sizeof *made);
    if (made == NULL)
        return archive_fail(err, "root", ENOMEM, "cannot be opened");
    *made = (struct sr_archive){.root = -1, .lock = -1, .writable = write, .log = {.fd = -1}};
    snprintf(made->retention, sizeof made->retention, "%s", place->retention);
    made->hasher = sr_hasher_new();
    int result = made->hasher == NULL ? archive_fail(err, "root", ENOMEM, "cannot be opened")
                                      : open_root(made, place->root, err);
    if (result == 0)
        result = write ? open_to_write(made, place, err) : open_to_read(made, place, err);
    if (result < 0) {
        sr_archive_close(made);
        return -1;
    }
    *archive = made;
    return 0;
}

void sr_archive_close(struct sr_archive *archive)
{
    if (archive == NULL)
        return;
    archive_index_close(archive->index);
    archive_log_close(&archive->log);
    evidence_key_free(archive->key);
    evidence_key_free(archive->host);
    evidence_key_free(archive->required);
    sr_hasher_free(archive->hasher);
    sr_close_fd(&archive->lock);
    sr_close_fd(&archive->root);
    free(archive);
}

const char *sr_archive_root(const struct sr_archive *archive)
{
    return archive->path;
}
