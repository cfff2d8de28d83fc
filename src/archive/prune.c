/* Removing bundles whose retention is over, so that nobody takes that for a theft. */
#include "archive/store.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Between two entries no more time than this is taken for granted: a clock that is wrong may have
 * made the rest. */
#define QUIET_NSEC (INT64_C(31) * 24 * 3600 * 1000000000)

/* Bundles to be removed: expired ones, and such as an earlier prune had not come to. */
struct pruning {
    struct sr_archive *archive;
    int64_t now, latest; /* latest: of all entries */
    int64_t last;        /* of the entry before; 0: there was none */
    int64_t jumped;      /* how much of the time up to it only the clock tells of */
    uint64_t next;
    struct expired {
        int64_t expiry, jumped; /* jumped: when it was stored */
        uint64_t leaf;
        char bundle[SR_SHA256_TEXT], report[SR_SHA256_TEXT], run_id[ARCHIVE_LOG_RUN_ID];
        bool gone; /* the log says so already */
    } * found;
    size_t count;
};

static struct expired *find_leaf(struct pruning *pruning, uint64_t leaf)
{
    size_t low = 0, high = pruning->count; /* found in the order of the log */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pruning->found[middle].leaf < leaf)
            low = middle + 1;
        else
            high = middle;
    }
    return low < pruning->count && pruning->found[low].leaf == leaf ? &pruning->found[low] : NULL;
}

/* A jump ahead is undone by one back. */
static void pass_time(struct pruning *pruning, int64_t when)
{
    int64_t gap = pruning->last == 0 ? 0 : when - pruning->last; /* neither is before 1970 */
    if (gap > QUIET_NSEC)
        pruning->jumped += gap - QUIET_NSEC; /* of times that all end in 2262 */
    else if (gap < 0)
        pruning->jumped = pruning->jumped > -gap ? pruning->jumped + gap : 0;
    pruning->last = when;
    pruning->latest = when > pruning->latest ? when : pruning->latest;
}

/* Would it be there still, had the clock not jumped since? */
static bool is_doubtful(const struct pruning *pruning, const struct expired *expired)
{
    int64_t jumped = pruning->jumped - expired->jumped, bound;
    return !expired->gone && jumped > 0 &&
           (__builtin_add_overflow(expired->expiry, jumped, &bound) || bound > pruning->now);
}

/* Refuses what only a clock asks for that may be wrong. */
static int doubt(struct pruning *pruning, struct sr_error *err)
{
    char now[SR_TIMESTAMP_TEXT], latest[SR_TIMESTAMP_TEXT];
    size_t doubtful = 0;
    const int64_t before = pruning->latest;
    sr_timestamp_format(pruning->now, now);
    sr_timestamp_format(before, latest);
    if (pruning->count > 0 && archive_log_is_to_come(before, pruning->now))
        return archive_fail(err, "prune", 0,
                            "the log tells of %s, and the clock says %s: one of them is wrong. "
                            "Nothing was pruned; if the clock is right, ask again with "
                            "--trust-clock",
                            latest, now);
    pass_time(pruning, pruning->now);
    for (size_t i = 0; i < pruning->count; i++)
        doubtful += is_doubtful(pruning, &pruning->found[i]);
    return doubtful == 0
               ? 0
               : archive_fail(err, "prune", 0,
                              "the retention of %zu bundles is over only if the clock is right: it "
                              "says %s, the log's latest entry is of %s, and there are gaps "
                              "of more than a month. Nothing was pruned; if the clock is right, "
                              "ask again with --trust-clock",
                              doubtful, now, latest);
}

static int take_entry(void *context, const char *line, size_t len, uint64_t end,
                      struct sr_error *err)
{
    struct pruning *pruning = context;
    struct archive_log_entry entry;
    uint64_t leaf = pruning->next++;
    if (end > pruning->archive->log.bytes)
        return 1;
    int64_t when;
    if (!archive_log_entry_parse(line, len, &entry) ||
        !sr_timestamp_parse(entry.time, strlen(entry.time), &when))
        return archive_fail(err, "log", 0, "its entry %llu is none", (unsigned long long)leaf);
    pass_time(pruning, when);
    if (entry.pruned) {
        struct expired *expired = find_leaf(pruning, entry.leaf);
        if (expired != NULL)
            expired->gone = true;
        return 0;
    }
    if (archive_log_expiry(&entry) > pruning->now)
        return 0;
    if ((pruning->count & (pruning->count - 1)) == 0) { /* grows at 0, 1, 2, 4, 8, ... */
        size_t capacity = pruning->count == 0 ? 1 : 2 * pruning->count;
        struct expired *grown = realloc(pruning->found, capacity * sizeof *grown);
        if (grown == NULL)
            return archive_fail(err, "prune", ENOMEM, "cannot be decided");
        pruning->found = grown;
    }
    struct expired *expired = &pruning->found[pruning->count++];
    *expired = (struct expired){
        .expiry = archive_log_expiry(&entry), .jumped = pruning->jumped, .leaf = leaf};
    memcpy(expired->bundle, entry.bundle, sizeof expired->bundle);
    memcpy(expired->report, entry.report, sizeof expired->report);
    memcpy(expired->run_id, entry.run_id, sizeof expired->run_id);
    return 0;
}

/* Is the bundle that is there the one that this entry stored? After it was pruned the same run may
 * have been stored again, with another report. */
static bool is_there(const struct pruning *pruning, const struct expired *expired)
{
    char path[ARCHIVE_BUNDLE_REPORT_PATH];
    archive_bundle_report_path(expired->bundle, path);
    return archive_bundle_has_hash(pruning->archive->root, path, expired->report,
                                   pruning->archive->hasher);
}

static int log_tombstones(struct pruning *pruning, struct sr_error *err)
{
    struct archive_log *log = &pruning->archive->log;
    const struct archive_log before = *log;
    struct archive_log_entry entry = {.pruned = true};
    sr_timestamp_now(entry.time);
    for (size_t i = 0; i < pruning->count; i++) {
        const struct expired *expired = &pruning->found[i];
        if (expired->gone)
            continue;
        entry.leaf = expired->leaf;
        memcpy(entry.bundle, expired->bundle, sizeof entry.bundle);
        if (SR_FAILPOINT("archive.prune")
                ? archive_fail(err, "prune", errno, "the log cannot be written") < 0
                : archive_log_append(log, &entry, err) < 0) {
            archive_log_rewind(log, &before);
            return -1;
        }
    }
    if (log->tree.size == before.tree.size || archive_log_commit(log, err) == 0)
        return 0;
    if (log->checkpoint.size != log->tree.size)
        archive_log_rewind(log, &before);
    return -1;
}

static int remove_bundles(struct pruning *pruning, struct sr_error *err)
{
    for (size_t i = 0; i < pruning->count; i++)
        if (archive_has(pruning->archive->root, pruning->found[i].bundle) &&
            archive_bundle_remove(pruning->archive->root, pruning->found[i].bundle, err) < 0)
            return -1; /* its tombstone stays: the next prune removes it */
    return 0;
}

int sr_archive_prune(struct sr_archive *archive, const struct sr_archive_prune_options *options,
                     sr_archive_on_prune *on_prune, void *context, struct sr_error *err)
{
    struct pruning pruning = {.archive = archive, .now = (int64_t)sr_clock_nsec(CLOCK_REALTIME)};
    int result = archive_log_each(archive->log.fd, 0, take_entry, &pruning, err) < 0 ? -1 : 0;
    size_t kept = 0;
    for (size_t i = 0; result == 0 && i < pruning.count; i++)
        if (!pruning.found[i].gone || is_there(&pruning, &pruning.found[i]))
            pruning.found[kept++] = pruning.found[i];
    pruning.count = kept;
    if (result == 0 && !options->trust_clock)
        result = doubt(&pruning, err);
    for (size_t i = 0; result == 0 && i < pruning.count; i++)
        on_prune(context, pruning.found[i].bundle, pruning.found[i].run_id);
    if (result == 0 && !options->dry_run && pruning.count > 0) {
        result = log_tombstones(&pruning, err) < 0 ? -1 : remove_bundles(&pruning, err);
        char note[256];
        if (result == 0)
            result = archive_update_index(archive, note, err);
    }
    free(pruning.found);
    return result;
}
