/* Finding runs: the index, kept in step with the log. */
#include "archive/store.h"

#include "archive/facts.h"
#include "archive/vouch.h"
#include "common/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the log's entries into the index ---- */

struct update {
    struct sr_archive *archive;
    uint64_t next, bytes; /* entries seen, and where the log stands */
    uint64_t runs;
};

static int take_entry(void *context, const char *line, size_t len, uint64_t end,
                      struct sr_error *err)
{
    struct update *update = context;
    struct sr_archive *archive = update->archive;
    struct archive_log_entry entry;
    if (end > archive->log.bytes) /* not signed yet */
        return 1;
    if (!archive_log_entry_parse(line, len, &entry))
        return archive_fail(err, "log", 0, "its entry %llu is none",
                            (unsigned long long)update->next);
    update->runs += !entry.pruned;
    int result = entry.pruned
                     ? archive_index_prune(archive->index, entry.leaf, entry.time, err)
                     : archive_facts_add(archive->index, archive->root, &entry, update->next, err);
    update->next++;
    update->bytes = end;
    return result;
}

/* Takes what the log has and the index has not. */
static int catch_up(struct sr_archive *archive, uint64_t *runs, struct sr_error *err)
{
    struct update update = {.archive = archive};
    if (archive_index_begin(archive->index, err) < 0)
        return -1;
    if (archive_index_position(archive->index, &update.bytes, &update.next, err) == 0 &&
        archive_log_each(archive->log.fd, update.bytes, take_entry, &update, err) >= 0 &&
        !SR_FAILPOINT("archive.index") &&
        archive_index_commit(archive->index, update.bytes, update.next, err) == 0) {
        *runs = update.runs;
        return 0;
    }
    archive_index_rollback(archive->index);
    return -1;
}

static void close_index(struct sr_archive *archive)
{
    archive_index_close(archive->index);
    archive->index = NULL;
}

/* Whoever changes the file holds the archive's lock: 1 it is ours, 0 somebody is at it, -1 nobody
 * may be. */
static int own_index(struct sr_archive *archive)
{
    if (archive->lock < 0)
        archive->lock =
            openat(archive->root, ARCHIVE_LOCK, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (archive->lock < 0)
        return -1;
    return archive->writable || flock(archive->lock, LOCK_EX | LOCK_NB) == 0 ? 1 : 0;
}

static void release_index(struct sr_archive *archive)
{
    if (!archive->writable)
        sr_close_fd(&archive->lock);
}

/* Makes the index anew: its file when that is ours, else one in memory. */
static int make_anew(struct sr_archive *archive, bool own, uint64_t *runs, struct sr_error *err)
{
    static const char *const files[] = {ARCHIVE_INDEX_FILE, ARCHIVE_INDEX_FILE "-journal",
                                        ARCHIVE_INDEX_FILE "-wal", ARCHIVE_INDEX_FILE "-shm"};
    close_index(archive);
    for (size_t i = 0; own && i < sizeof files / sizeof files[0]; i++)
        own = unlinkat(archive->root, files[i], 0) == 0 || errno == ENOENT;
    if (own && archive_index_open(archive->path, true, &archive->index, err) == 0 &&
        catch_up(archive, runs, err) == 0)
        return 0;
    close_index(archive);
    return archive_index_open_in_memory(&archive->index, err) < 0 ? -1
                                                                  : catch_up(archive, runs, err);
}

enum state { CURRENT, BEHIND, USELESS };

/* An index that is ahead of what was read of the log has been updated meanwhile. */
static enum state state_of(struct sr_archive *archive, struct sr_error *err)
{
    uint64_t bytes, entries;
    struct stat st;
    if (archive->index == NULL &&
        archive_index_open(archive->path, false, &archive->index, err) < 0)
        return USELESS;
    if (archive_index_position(archive->index, &bytes, &entries, err) < 0 ||
        fstat(archive->log.fd, &st) < 0)
        return USELESS;
    if (bytes > (uint64_t)st.st_size) {
        archive_fail(err, "index", 0, "it is of another archive");
        return USELESS;
    }
    return bytes < archive->log.bytes ? BEHIND : CURRENT;
}

int archive_update_index(struct sr_archive *archive, char note[256], struct sr_error *err)
{
    struct sr_error fault = {0};
    uint64_t runs;
    note[0] = '\0';
    enum state state = state_of(archive, &fault);
    if (state == CURRENT)
        return 0;
    int own = own_index(archive);
    if (state == BEHIND && own == 0)
        return 0; /* what is being stored is not found yet */
    if (state == BEHIND && own == 1) {
        close_index(archive);
        if (archive_index_open(archive->path, true, &archive->index, &fault) == 0 &&
            catch_up(archive, &runs, &fault) == 0) {
            release_index(archive);
            return 0;
        }
    }
    if (faccessat(archive->root, ARCHIVE_INDEX_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && own == 1)
        snprintf(note, 256, "the index was made anew: %.200s", fault.message);
    int result = make_anew(archive, own == 1, &runs, err);
    release_index(archive);
    return result;
}

/* ---- what the callers want ---- */

static int search(struct sr_archive *archive, const struct sr_archive_query *query,
                  sr_archive_on_run *on_run, void *context, bool *more, char note[256],
                  struct sr_error *err)
{
    uint64_t truncated = 0;
    bool by_many = query->reached != NULL || query->denied != NULL || query->hash != NULL ||
                   query->label_count > 0;
    if ((by_many && archive_index_truncated(archive->index, &truncated, err) < 0) ||
        archive_index_search(archive->index, query, on_run, context, more, err) < 0)
        return -1;
    if (truncated > 0 && note[0] == '\0')
        snprintf(note, 256,
                 "%llu runs did more than the index holds: of those, some are not found by "
                 "destination, label or hash",
                 (unsigned long long)truncated);
    return 0;
}

int sr_archive_search(struct sr_archive *archive, const struct sr_archive_query *query,
                      sr_archive_on_run *on_run, void *context, bool *more, char note[256],
                      struct sr_error *err)
{
    if (archive_update_index(archive, note, err) < 0)
        return -1;
    if (search(archive, query, on_run, context, more, note, err) == 0)
        return 0;
    if (!archive_index_is_damaged(archive->index))
        return -1;
    snprintf(note, 256, "the index was made anew: %.200s", err->message);
    uint64_t runs;
    int result = make_anew(archive, own_index(archive) == 1, &runs, err);
    release_index(archive);
    return result < 0 ? -1 : search(archive, query, on_run, context, more, note, err);
}

int sr_archive_reindex(struct sr_archive *archive, uint64_t *runs, struct sr_error *err)
{
    *runs = 0;
    if (make_anew(archive, true, runs, err) < 0)
        return -1;
    /* One in memory is of no use to anybody else. */
    return faccessat(archive->root, ARCHIVE_INDEX_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0
               ? 0
               : archive_fail(err, "index", errno, "cannot be written");
}

/* Bundles that a name may mean; of many, a few are told. */
enum { CANDIDATES = 4, SHOWN_DIGITS = 12, RUN_END_MIN = 3, DIGITS_MIN = 6 };

struct resolution {
    const char *name;
    char bundle[SR_ARCHIVE_ID];
    char list[CANDIDATES * (SHOWN_DIGITS + ARCHIVE_LOG_RUN_ID + sizeof " (), ")];
    unsigned count;
    bool more;
};

static void note_run(void *context, const struct sr_archive_run *run)
{
    struct resolution *found = context;
    if (found->count > 0 && strcmp(found->bundle, run->bundle) == 0)
        return; /* found by its id and by its run's */
    snprintf(found->bundle, sizeof found->bundle, "%s", run->bundle);
    size_t len = strlen(found->list);
    bool told = strcmp(run->run_id, found->name) == 0; /* by whoever asked */
    if (found->count++ < CANDIDATES)
        snprintf(found->list + len, sizeof found->list - len, "%s%.*s%s%.128s%s",
                 len > 0 ? ", " : "", SHOWN_DIGITS, run->bundle + sizeof SR_SHA256_PREFIX - 1,
                 told ? "" : " (", told ? "" : run->run_id, told ? "" : ")");
    else
        found->more = true;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return end_len <= len && strcmp(text + len - end_len, end) == 0;
}

/* The index may be anybody's: what is done with a bundle goes by the log. */
static int check_resolution(struct sr_archive *archive, const char *bundle, const char *digits,
                            const char *name, struct sr_error *err)
{
    enum archive_state state;
    struct archive_log_entry entry;
    if (archive_look_up(archive, bundle, &state, &entry, err) < 0)
        return -1;
    bool same = (digits != NULL &&
                 strncmp(bundle + sizeof SR_SHA256_PREFIX - 1, digits, strlen(digits)) == 0) ||
                ends_with(entry.run_id, name);
    return state == ARCHIVE_STORED && same
               ? 0
               : archive_fail(err, "index", 0,
                              "it does not say what the log says: 'safe-run archive reindex' makes "
                              "it anew");
}

static int look(struct sr_archive *archive, struct sr_archive_query query, struct resolution *found,
                struct sr_error *err)
{
    char note[256];
    bool more;
    query.limit = CANDIDATES;
    if (sr_archive_search(archive, &query, note_run, found, &more, note, err) < 0)
        return -1;
    found->more = found->more || more;
    return 0;
}

int sr_archive_resolve(struct sr_archive *archive, const char *name, char bundle[SR_ARCHIVE_ID],
                       struct sr_error *err)
{
    static const char prefix[] = SR_SHA256_PREFIX;
    struct resolution found = {.name = name};
    const char *digits =
        strncmp(name, prefix, sizeof prefix - 1) == 0 ? name + sizeof prefix - 1 : name;
    size_t len = strlen(digits);
    bool is_id = len >= DIGITS_MIN && strspn(digits, "0123456789abcdef") == len;
    digits = is_id ? digits : NULL;
    if (look(archive, (struct sr_archive_query){.run_id = name}, &found, err) < 0)
        return -1;
    /* No whole run id: what begins so, and what ends so. */
    if (found.count == 0 &&
        ((is_id && look(archive, (struct sr_archive_query){.bundle = digits}, &found, err) < 0) ||
         (strlen(name) >= RUN_END_MIN &&
          look(archive, (struct sr_archive_query){.run_end = name}, &found, err) < 0)))
        return -1;
    if (found.count == 0)
        return archive_fail(err, "bundle", 0, "the archive has no bundle or run '%s'", name);
    if (found.count > 1)
        return archive_fail(err, "bundle", 0, "several bundles are '%s': name one of %s%s", name,
                            found.list, found.more ? ", ..." : "");
    if (check_resolution(archive, found.bundle, digits, name, err) < 0)
        return -1;
    memcpy(bundle, found.bundle, SR_ARCHIVE_ID);
    return 0;
}

int sr_archive_provenance_of(struct sr_archive *archive, const char *bundle,
                             struct sr_archive_provenance *provenance, struct sr_error *err)
{
    enum archive_state state;
    struct archive_log_entry entry;
    if (archive_look_up(archive, bundle, &state, &entry, err) < 0)
        return -1;
    archive_provenance(&entry, provenance);
    return 0;
}

int sr_archive_files(struct sr_archive *archive, const char *bundle, sr_archive_on_file *on_file,
                     void *context, char path[PATH_MAX], struct sr_error *err)
{
    char below[ARCHIVE_BUNDLE_PATH];
    archive_bundle_path(bundle, below);
    sr_cleanup_fd int dir =
        openat(archive->root, below, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    sr_cleanup_free struct archive_manifest *manifest = malloc(sizeof *manifest);
    if (dir < 0 || manifest == NULL)
        return archive_fail(err, "bundle", dir < 0 ? errno : ENOMEM, "%s", bundle);
    if (!archive_bundle_read(dir, bundle, archive->hasher, manifest, NULL))
        return archive_fail(err, "bundle", 0, "%s was changed; 'safe-run archive verify' says more",
                            bundle);
    snprintf(path, PATH_MAX, "%s/%s", archive->path, below);
    for (size_t i = 0; i < manifest->count; i++)
        on_file(context, manifest->files[i].name, manifest->files[i].size, manifest->files[i].hash);
    return 0;
}
