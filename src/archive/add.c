/* Storing a run: copy, verify, seal, log, place, sign. */
#include "archive/store.h"

#include "archive/check.h"
#include "archive/seal.h"
#include "archive/vouch.h"
#include "common/failpoint.h"
#include "common/fs.h"
#include "evidence/event.h"
#include "evidence/report.h"
#include "evidence/report_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the run's files ---- */

/* What a run leaves beside its report, and what is made of the report afterwards. */
static const char *const companions[] = {
    EVIDENCE_EVENTS_FILE,
    "run_report.dsse.json",
    "policy.json",
    "bundle.json",
    "command.json",
    "ruleset.nft",
    "stdout.log",
    "stderr.log",
    "console.log",
    "vmm.log",
    "net.log",
};

struct source {
    struct archive_staging *staging;
    int dir; /* of the run */
    struct sr_error *err;
    bool failed;
};

/* Takes one file if it is there. A link or a device in a run's directory is nobody's evidence. */
static bool take_file(struct source *source, const char *name)
{
    if (archive_manifest_find(&source->staging->manifest, name) != NULL)
        return true;
    sr_cleanup_fd int fd = sr_open_below(source->dir, name);
    if (fd == -ENOENT)
        return true;
    if (fd < 0)
        archive_fail(source->err, "bundle", 0, "%s: %s", name,
                     fd == -EINVAL  ? "is not a regular file"
                     : fd == -ELOOP ? "is a symbolic link"
                                    : strerror(-fd));
    source->failed = fd < 0 || archive_staging_copy(source->staging, name, fd, source->err) < 0;
    return !source->failed;
}

static bool take_named_file(void *context, const struct sr_json_member *file)
{
    char name[ARCHIVE_BUNDLE_NAME];
    /* A name that is none in a bundle (outputs/...) is for the verification to judge. */
    if (file->key.len >= sizeof name)
        return true;
    memcpy(name, file->key.text, file->key.len);
    name[file->key.len] = '\0';
    return !archive_manifest_is_name(name) || take_file(context, name);
}

static int see_run(const struct archive_staging *staging, char seen[SR_SHA256_TEXT],
                   struct sr_error *err)
{
    return archive_see_source(staging->source, companions, sizeof companions / sizeof companions[0],
                              staging->hasher, seen, err);
}

static int stage_run(struct archive_staging *staging, const char *path, struct sr_error *err)
{
    struct stat st;
    const int dir = staging->source;
    /* Under the lock: what was removed before is not there any more, under whatever name. */
    sr_cleanup_fd int report = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (report < 0 || fstat(report, &st) < 0)
        return archive_fail(err, "report", errno, "%s cannot be opened", path);
    if (see_run(staging, staging->seen, err) < 0)
        return -1;
    if (!S_ISREG(st.st_mode))
        return archive_fail(err, "report", 0, "%s is not a regular file", path);
    if (archive_staging_copy(staging, ARCHIVE_BUNDLE_REPORT, report, err) < 0)
        return -1;
    struct source source = {.staging = staging, .dir = dir, .err = err};
    for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++)
        if (!take_file(&source, companions[i]))
            return -1;
    /* Of the copy: what is archived is what decides what is archived with it. */
    sr_cleanup_fd int copy = sr_open_below(staging->files, ARCHIVE_BUNDLE_REPORT);
    struct sr_error fault = {0};
    if (copy < 0 || archive_named_files(copy, take_named_file, &source, &fault) < 0)
        return archive_fail(err, "report", 0, "%s is no report: %s: %s", path, fault.path,
                            fault.message);
    if (source.failed)
        return -1;
    return archive_staging_outputs(staging, dir, err);
}

/* ---- who vouches for it ---- */

/* Of a run that is in the archive already it is asked, too: the bundle that was handed over may be
 * all that anybody looks at. */
static int check_required(const struct sr_archive *archive, const struct archive_staging *staging,
                          struct sr_error *err)
{
    if (archive->required == NULL)
        return 0;
    int result = vouch_is_signed_by(staging->files, &staging->manifest, archive->required, err);
    if (result != 0)
        return result < 0 ? -1 : 0;
    return sr_fail(err, SR_EVD_304, "archive.signature",
                   "%s is not signed by key %s, which --require-key names: it was not stored",
                   staging->manifest.id, evidence_key_id(archive->required));
}

/* ---- a staged bundle becomes part of the archive ---- */

/* Writes the report of the bundle, durably; entry->report is its hash then. */
static int write_sealed(struct archive_staging *staging, const struct archive_seal *seal,
                        struct archive_log_entry *entry, struct sr_error *err)
{
    sr_cleanup_fd int from = sr_open_below(staging->files, ARCHIVE_BUNDLE_REPORT);
    sr_cleanup_fd int to = openat(staging->dir, ARCHIVE_BUNDLE_REPORT,
                                  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (from < 0 || to < 0)
        return archive_fail(err, "bundle", errno, "its report cannot be written");
    if (archive_seal_report(from, seal, to, entry->report, err) < 0)
        return -1;
    return SR_FAILPOINT("archive.seal") || fsync(to) < 0
               ? archive_fail(err, "bundle", errno, "its report cannot be written")
               : 0;
}

static int seal(struct archive_staging *staging, struct archive_log_entry *entry,
                struct sr_archive_added *added, struct sr_error *err)
{
    sr_cleanup_verification struct sr_verification found = {0};
    const int *run = staging->run >= 0 ? &staging->run : NULL;
    if (archive_bundle_verify(staging->files, &staging->manifest, run, &found, err) < 0)
        return -1;
    const struct archive_manifest_file *original =
        archive_manifest_find(&staging->manifest, ARCHIVE_BUNDLE_REPORT);
    snprintf(entry->original, sizeof entry->original, "%s", original->hash);
    snprintf(entry->bundle, sizeof entry->bundle, "%s", staging->manifest.id);
    snprintf(entry->run_id, sizeof entry->run_id, "%s",
             found.run_id[0] != '\0' ? found.run_id : "unknown");
    const struct archive_seal facts = {
        .bundle_id = entry->bundle,
        .original_hash = entry->original,
        .stored_at = entry->time,
        .retention = entry->retention,
        .verified_at = entry->time,
        .verification = &found,
    };
    char seen[SR_SHA256_TEXT];
    if (staging->source >= 0 && see_run(staging, seen, err) < 0)
        return -1;
    if (staging->source >= 0 && strcmp(seen, staging->seen) != 0)
        return archive_fail(err, "bundle", 0,
                            "files of the run were changed or removed while it was stored; nothing "
                            "was stored: try again");
    added->valid = found.valid;
    if (found.error_count > 0)
        snprintf(added->note, sizeof added->note, "%s %s: %s", sr_code_name(found.errors[0].code),
                 found.errors[0].path, found.errors[0].message);
    return write_sealed(staging, &facts, entry, err);
}

/* From here on it is all or nothing: what was done is undone when a step fails. */
static int enter(struct sr_archive *archive, struct archive_staging *staging,
                 const struct archive_log_entry *entry, struct sr_error *err)
{
    struct archive_log *log = &archive->log;
    const struct archive_log before = *log;
    if (archive_log_append(log, entry, err) < 0)
        return -1;
    if (archive_staging_place(staging, err) == 0 && archive_log_commit(log, err) == 0)
        return 0;
    if (log->checkpoint.size == log->tree.size)
        return -1; /* it is stored; only whether that outlives a power failure is unknown */
    if (staging->name[0] == '\0' && archive_bundle_remove(archive->root, entry->bundle, NULL) < 0)
        return -1; /* with its line behind the checkpoint: the next writer sets it aside */
    archive_log_rewind(log, &before);
    return -1;
}

/* Takes over the report of a bundle that is there, if it still is the one that was stored. */
static bool take_sealed(struct sr_archive *archive, struct archive_staging *staging,
                        const struct archive_log_entry *stored)
{
    char from[ARCHIVE_BUNDLE_REPORT_PATH];
    archive_bundle_report_path(stored->bundle, from);
    if (linkat(archive->root, from, staging->dir, ARCHIVE_BUNDLE_REPORT, 0) < 0)
        return false;
    if (archive_bundle_has_hash(staging->dir, ARCHIVE_BUNDLE_REPORT, stored->report,
                                archive->hasher))
        return true;
    unlinkat(staging->dir, ARCHIVE_BUNDLE_REPORT, 0);
    return false;
}

/* The log has it and the bundle is gone or damaged: it is made again, the same to the last byte. */
static int repair(struct sr_archive *archive, struct archive_staging *staging,
                  const struct archive_log_entry *stored, struct sr_archive_added *added,
                  struct sr_error *err)
{
    struct archive_log_entry again = *stored;
    char now[SR_TIMESTAMP_TEXT];
    if (!take_sealed(archive, staging, stored) && seal(staging, &again, added, err) < 0)
        return -1;
    if (strcmp(again.report, stored->report) != 0)
        return archive_fail(err, "bundle", 0,
                            "%s is damaged in the archive, and its report does not come out as it "
                            "was: put the bundle back from a backup",
                            stored->bundle);
    sr_timestamp_now(now);
    if (archive_has(archive->root, stored->bundle) &&
        archive_set_aside(archive, stored->bundle, now, err) < 0)
        return -1;
    added->repaired = true;
    return archive_staging_place(staging, err);
}

/* What the archive says of a run that it has. */
static int tell_known(struct sr_archive *archive, const struct archive_log_entry *stored,
                      struct sr_archive_added *added, struct sr_error *err)
{
    char path[ARCHIVE_BUNDLE_REPORT_PATH];
    sr_cleanup_report_walk struct evidence_report_walk walk = {.reader.copy_fd = -1};
    archive_bundle_report_path(stored->bundle, path);
    sr_cleanup_fd int fd = sr_open_below(archive->root, path);
    if (fd < 0)
        return archive_fail(err, "bundle", -fd, "the report of %s cannot be opened",
                            stored->bundle);
    if (evidence_report_walk(&walk, fd, 0, NULL, NULL, err) < 0)
        return -1;
    added->already = true;
    added->valid =
        sr_json_is(sr_json_get(evidence_report_member(&walk, "verification"), "result"), "pass");
    snprintf(added->note, sizeof added->note, "%s", added->valid ? "" : "as it was stored");
    return 0;
}

/* A run that the log does not have. What lies in its place was pruned, or nobody stored it. */
static int store_new(struct sr_archive *archive, struct archive_staging *staging, bool pruned,
                     struct archive_log_entry *entry, struct sr_archive_added *added,
                     struct sr_error *err)
{
    sr_timestamp_now(entry->time);
    if (vouch_judge(staging->files, &staging->manifest, archive->host, archive->required, entry,
                    err) < 0 ||
        seal(staging, entry, added, err) < 0)
        return -1;
    if (archive_has(archive->root, entry->bundle) &&
        (pruned ? archive_bundle_remove(archive->root, entry->bundle, err)
                : archive_set_aside(archive, entry->bundle, entry->time, err)) < 0)
        return -1;
    return enter(archive, staging, entry, err);
}

int archive_store(struct sr_archive *archive, struct archive_staging *staging,
                  const char *retention, const struct archive_log_entry *from,
                  struct sr_archive_added *added, struct sr_error *err)
{
    struct sr_archive_added done = {0};
    struct archive_log_entry entry = *from, stored;
    enum archive_state state;
    const char *id = staging->manifest.id;
    int64_t seconds;
    if (retention == NULL)
        retention = archive->retention;
    if ((!sr_duration_parse(retention, &seconds) && strcmp(retention, ARCHIVE_LOG_FOREVER) != 0) ||
        strlen(retention) >= sizeof entry.retention)
        return archive_fail(err, "retention", 0, "takes 90s, 30m, 12h, 180d or forever, not '%s'",
                            retention);
    snprintf(entry.retention, sizeof entry.retention, "%s", retention);
    if (check_required(archive, staging, err) < 0 ||
        archive_look_up(archive, id, &state, &stored, err) < 0)
        return -1;
    if (state != ARCHIVE_STORED) {
        if (store_new(archive, staging, state == ARCHIVE_PRUNED, &entry, &done, err) < 0)
            return -1;
        stored = entry;
    } else if ((!archive_bundle_is_whole(archive->root, id, stored.report, archive->hasher) &&
                repair(archive, staging, &stored, &done, err) < 0) ||
               tell_known(archive, &stored, &done, err) < 0) {
        return -1;
    }
    char path[ARCHIVE_BUNDLE_PATH];
    archive_bundle_path(id, path);
    snprintf(done.path, sizeof done.path, "%s/%s", archive->path, path);
    snprintf(done.bundle, sizeof done.bundle, "%s", id);
    snprintf(done.run_id, sizeof done.run_id, "%s", stored.run_id);
    archive_provenance(&stored, &done.provenance);
    *added = done;
    return 0;
}

int sr_archive_add(struct sr_archive *archive, const char *path, const char *retention,
                   struct sr_archive_added *added, struct sr_error *err)
{
    const struct archive_log_entry from = {.origin = ARCHIVE_LOG_STORED};
    sr_cleanup_fd int lock = -1, source = archive_open_source(path, &lock, err);
    sr_cleanup_staging struct archive_staging staging = ARCHIVE_STAGING_INIT;
    if (source < 0 || archive_staging_begin(&staging, archive->root, archive->hasher, err) < 0)
        return -1;
    staging.source = source; /* which outlives it */
    if (stage_run(&staging, path, err) < 0 || archive_staging_close(&staging, err) < 0 ||
        archive_store(archive, &staging, retention, &from, added, err) < 0)
        return -1;
    char note[256];
    struct sr_error ignored;
    /* It is stored, whatever becomes of the index: whoever searches next makes that right. */
    (void)!archive_update_index(archive, note, &ignored);
    return 0;
}
