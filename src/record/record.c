/*
 * Theory of operation
 *
 * The register knows of a run before there is anything else of it, so that whoever starts next
 * finds what is not finished. Its entry is locked as long as the run lives: unlike the run's
 * directory it lies where nobody has anything to move or remove. The lock in the directory is how
 * ps and gc tell a live run from a dead one's remains.
 *
 * A file in the directory holds room on the disk for the end of the evidence (record_owe()). It is
 * removed when that is about to be written: by the run, or by gc when the run has died. A report
 * repeats the events, so the file grows with them, a step ahead. A file system that compresses or
 * copies on write may hold less than it says.
 */
#include "record/record.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "common/jcs.h"
#include "common/timestamp.h"
#include "evidence/attest.h"
#include "evidence/key.h"
#include "runs/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH "prepare.workdir"
/* Held ahead of the events there are, so that not every event asks for more. */
#define STEP_BYTES (UINT64_C(64) << 10)

struct record {
    char id[32], path[PATH_MAX];
    int directory, lock, registry, entry;
    int reserve; /* -1: nothing is held */
    uint64_t reserved, owed;
    struct sr_hasher *hasher;
    struct evidence_event_log *log; /* NULL: not begun */
    struct sr_key *key;             /* NULL: nobody signs */
};

struct record *record_new(void)
{
    struct record *record = calloc(1, sizeof *record);
    if (record == NULL)
        return NULL;
    record->directory = record->lock = record->registry = record->entry = record->reserve = -1;
    record->hasher = sr_hasher_new();
    if (record->hasher == NULL) {
        free(record);
        return NULL;
    }
    return record;
}

void record_free(struct record *record)
{
    if (record == NULL)
        return;
    evidence_event_log_close(record->log);
    evidence_key_free(record->key);
    sr_hasher_free(record->hasher);
    sr_close_fd(&record->lock);
    sr_close_fd(&record->reserve);
    sr_close_fd(&record->entry);
    sr_close_fd(&record->registry);
    sr_close_fd(&record->directory);
    free(record);
}

/* sr-<UTC yyyymmddThhmmss>-<6 random base32>: sorts by time, tells two runs of a second apart. */
static int make_run_id(char id[32])
{
    static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char random[6];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return -EIO;
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    size_t len = strftime(id, 32, "sr-%Y%m%dT%H%M%S-", &utc);
    for (size_t i = 0; i < sizeof random; i++)
        id[len++] = base32[random[i] % 32];
    id[len] = '\0';
    return 0;
}

static int enter_register(struct record *record, const char *id)
{
    sr_close_fd(&record->entry);
    record->entry = SR_FAILPOINT("prepare.register")
                        ? -1
                        : openat(record->registry, id, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return record->entry < 0 || flock(record->entry, LOCK_EX) < 0 ? -1 : fsync(record->registry);
}

/* The path of the run directory is in the evidence, which is UTF-8. */
static int check_text(const char *path, struct sr_error *err)
{
    return sr_is_utf8(path)
               ? 0
               : sr_fail(err, SR_RUN_001, PATH,
                         "the path %s is not UTF-8; --workdir-base names another", path);
}

/* Opens the directory that runs are in, making it: a descriptor, or -1 with err. path: where it is,
 * without links. */
static int open_place(const char *base, char path[PATH_MAX], struct sr_error *err)
{
    if (check_text(base, err) < 0)
        return -1;
    int result = sr_mkdir_all(base, 0700);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, PATH,
                       "%s cannot be created: %s; --workdir-base names another", base,
                       strerror(-result));
    sr_cleanup_fd int place = runs_open_place(base, err);
    if (place < 0 && place != -ENOENT)
        return -1;
    if (place < 0 || realpath(base, path) == NULL)
        return sr_fail(err, SR_RUN_001, PATH, "%s cannot be opened: %s", base, strerror(errno));
    if (check_text(path, err) < 0)
        return -1;
    if (strlen(path) + 1 + sizeof((struct record *)0)->id > PATH_MAX)
        return sr_fail(err, SR_RUN_001, PATH, "the path of the run directory is too long");
    return sr_take_fd(&place);
}

static int make_directory(struct record *record, int place, const char *base, const char *path,
                          struct sr_error *err)
{
    char id[32];
    int result;
    do { /* a second run of this second may have drawn the same letters */
        if (make_run_id(id) < 0)
            return sr_fail(err, SR_RUN_001, PATH, "the kernel gives no random bytes");
        result = enter_register(record, id);
        if (result == 0)
            memcpy(record->id, id, sizeof id);
        if (result == 0)
            result = SR_FAILPOINT("prepare.directory") ? -1 : mkdirat(place, id, 0700);
    } while (result < 0 && errno == EEXIST);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, PATH, "a run directory cannot be made in %s: %s", base,
                       strerror(errno));
    snprintf(record->path, sizeof record->path, "%.*s/%s", PATH_MAX - 33, path, id);
    record->directory = openat(place, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (record->directory < 0 || fsync(place) < 0)
        return sr_fail(err, SR_RUN_001, PATH, "the run directory %s/%s cannot be used: %s", base,
                       id, strerror(errno));
    return 0;
}

/* ps and gc take it for a moment to see, so it is waited for. Its text says who holds it. */
static int take_lock(struct record *record, struct sr_error *err)
{
    record->lock =
        SR_FAILPOINT("prepare.lock")
            ? -1
            : openat(record->directory, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (record->lock < 0 || flock(record->lock, LOCK_EX) < 0)
        return sr_fail(err, SR_RUN_001, "prepare.lock", "the run's lock cannot be taken: %s",
                       strerror(errno));
    char text[48];
    int len =
        snprintf(text, sizeof text, "%d %" PRIu64 "\n", (int)getpid(), runs_birth_of(getpid()));
    int result = sr_write_all(record->lock, text, (size_t)len);
    if (result < 0)
        return sr_fail(err, SR_RUN_001, "prepare.lock", "the run's lock cannot be written: %s",
                       strerror(-result));
    return 0;
}

int record_open(struct record *record, const char *base, int *unclosed, struct sr_error *err)
{
    const struct sr_gc_options quietly = {.older_than_sec = -1};
    char path[PATH_MAX];
    sr_cleanup_fd int place = open_place(base, path, err);
    if (place < 0)
        return -1;
    *unclosed = runs_close_dead(place, &quietly);
    record->registry = runs_open_register(place, base, err);
    if (record->registry < 0 || make_directory(record, place, base, path, err) < 0)
        return -1;
    return take_lock(record, err);
}

void record_abandon(struct record *record)
{
    if (record->registry < 0 || record->id[0] == '\0')
        return;
    if (record->directory >= 0)
        unlinkat(record->directory, "lock", 0);
    if (record->path[0] != '\0' && rmdir(record->path) < 0)
        return; /* gc finds it */
    record_close(record);
    record->id[0] = record->path[0] = '\0';
}

const char *record_id(const struct record *record)
{
    return record->id;
}

const char *record_path(const struct record *record)
{
    return record->path;
}

int record_directory(const struct record *record)
{
    return record->directory;
}

int record_register(const struct record *record)
{
    return record->registry;
}

int record_entry(const struct record *record)
{
    return record->entry;
}

struct sr_hasher *record_hasher(struct record *record)
{
    return record->hasher;
}

int record_begin(struct record *record, uint32_t types, struct sr_error *err)
{
    return evidence_event_log_create(record->directory, record->id, types, &record->log, err);
}

bool record_has_begun(const struct record *record)
{
    return record->log != NULL;
}

/* Grows the file that holds the room to so many bytes. */
static int hold(struct record *record, uint64_t bytes, struct sr_error *err)
{
    int result = SR_FAILPOINT("prepare.reserve") ? -1 : 0;
    while (result == 0 && (result = fallocate(record->reserve, 0, 0, (off_t)bytes)) < 0 &&
           errno == EINTR)
        result = 0;
    if (result == 0)
        record->reserved = bytes;
    else if (errno == EOPNOTSUPP)
        record->reserved = UINT64_MAX; /* never asked again */
    else
        return sr_fail(err, SR_EVD_001, "events.reserve",
                       "the disk of %s has no %llu KiB for the end of the run's evidence: %s; make "
                       "room, or name another with --workdir-base",
                       record->path, (unsigned long long)bytes >> 10, strerror(errno));
    return 0;
}

static int follow(struct record *record, struct sr_error *err)
{
    uint64_t needed = record->owed + evidence_event_log_bytes(record->log);
    if (record->reserve < 0 || needed <= record->reserved)
        return 0;
    return hold(record, needed + STEP_BYTES, err);
}

int record_owe(struct record *record, uint64_t bytes, struct sr_error *err)
{
    if (record->reserve < 0 && record->owed == 0) {
        record->reserve =
            openat(record->directory, RUNS_RESERVE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (record->reserve < 0)
            return sr_fail(err, SR_EVD_001, "events.reserve", RUNS_RESERVE " cannot be made: %s",
                           strerror(errno));
    }
    record->owed = bytes;
    return follow(record, err);
}

void record_spend(struct record *record)
{
    sr_close_fd(&record->reserve);
    runs_drop_reserve(record->directory);
}

int record_event(struct record *record, enum evidence_stage stage, enum sr_event_type type,
                 json_t *payload, struct sr_error *err)
{
    if (payload == NULL)
        return sr_fail(err, SR_EVD_001, "events",
                       "the payload of %s cannot be built: out of memory",
                       sr_event_type_name(type));
    return evidence_event_append(record->log, stage, type, payload, err) < 0 ? -1
                                                                             : follow(record, err);
}

int record_barrier(struct record *record, struct sr_error *err)
{
    return evidence_event_log_sync(record->log, err);
}

int64_t record_now(const struct record *record)
{
    char text[SR_TIMESTAMP_TEXT];
    int64_t nsec = 0;
    evidence_event_log_now(record->log, text);
    (void)sr_timestamp_parse(text, sizeof text - 1, &nsec);
    return nsec;
}

uint64_t record_event_bytes(const struct record *record)
{
    return evidence_event_log_bytes(record->log);
}

int record_file(struct record *record, const char *name, const void *data, size_t len,
                char hash[SR_SHA256_TEXT], struct sr_error *err)
{
    if (hash != NULL && sr_sha256(record->hasher, data, len, hash) < 0)
        return sr_fail(err, SR_RUN_001, PATH, "%s cannot be hashed: out of memory", name);
    int result = sr_write_new_file(record->directory, name, data, len);
    return result == 0 ? 0
                       : sr_fail(err, SR_RUN_001, PATH, "the run directory cannot be written: %s",
                                 strerror(-result));
}

int record_stream(struct record *record, const char *name, struct sr_error *err)
{
    int fd = openat(record->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd >= 0
               ? fd
               : sr_fail(err, SR_RUN_001, PATH, "%s cannot be created: %s", name, strerror(errno));
}

int record_load_key(struct record *record, const char *path, struct sr_error *err)
{
    return evidence_key_load_private(path, &record->key, err);
}

int record_seal(struct record *record, const struct evidence_report_facts *facts,
                struct sr_error *err)
{
    struct evidence_report_facts all = *facts;
    struct evidence_report_file files[RUNS_VOUCHED];
    char hashes[RUNS_VOUCHED][SR_SHA256_TEXT];
    all.run_id = record->id;
    all.files = files;
    all.file_count = runs_hash_files(record->directory, record->hasher, files, hashes);
    return evidence_report_write(record->directory, &all, record->log, err);
}

int record_sign(struct record *record, struct sr_error *err)
{
    if (record->key == NULL)
        return 0;
    return evidence_attest(record->directory, EVIDENCE_REPORT_FILE, record->key, err) < 0 ? -1 : 1;
}

const char *record_key_id(const struct record *record)
{
    return evidence_key_id(record->key);
}

void record_close(struct record *record)
{
    unlinkat(record->registry, record->id, 0);
}
