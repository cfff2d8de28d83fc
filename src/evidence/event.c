#include "evidence/event.h"

#include "common/failpoint.h"
#include "common/jcs.h"
#include "evidence/event_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* A payload's own nesting; the report adds three levels and the verifier stops at
 * SR_JSON_MAX_DEPTH. */
enum { MAX_PAYLOAD_DEPTH = 32 };

struct evidence_event_log {
    int fd;
    char *run_id;
    uint32_t types;
    struct sr_hasher *hasher;
    struct sr_buf held;    /* lines not yet acknowledged */
    struct sr_buf payload; /* canonical, of the event being appended */
    struct sr_buf scratch; /* what its hash is taken over */
    uint64_t size, count;  /* acknowledged */
    uint64_t held_count;
    char last[SR_SHA256_TEXT];         /* hashSelf of the last event, held or not */
    char acknowledged[SR_SHA256_TEXT]; /* of the last one acknowledged */
    int64_t clock_offset;              /* wall clock minus boot clock when the log was opened */
    int64_t last_nsec;                 /* of the last timestamp */
    char opened[SR_TIMESTAMP_TEXT];
};

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t log_time(const struct evidence_event_log *log)
{
    int64_t now = read_clock(CLOCK_BOOTTIME) + log->clock_offset;
    return now > log->last_nsec ? now : log->last_nsec + 1;
}

void evidence_event_log_now(const struct evidence_event_log *log, char text[SR_TIMESTAMP_TEXT])
{
    sr_timestamp_format(log_time(log), text);
}

static int fail_errno(struct sr_error *err, int error, const char *what)
{
    return sr_fail(err, SR_EVD_001, "events", "%s: %s", what, strerror(error));
}

static bool run_id_is_fine(const char *run_id)
{
    size_t len = strlen(run_id);
    for (size_t i = 0; i < len; i++)
        if (run_id[i] <= 0x20 || run_id[i] >= 0x7f || strchr("|\"\\", run_id[i]) != NULL)
            return false;
    return len > 0 && len <= 128;
}

/* A log without its file. */
static struct evidence_event_log *new_log(const char *run_id, uint32_t types, struct sr_error *err)
{
    if (!run_id_is_fine(run_id)) {
        sr_fail(err, SR_EVD_001, "events", "the run id is not 1 to 128 plain ASCII characters");
        return NULL;
    }
    struct evidence_event_log *log = calloc(1, sizeof *log);
    if (log != NULL) {
        log->fd = -1;
        log->types = types;
        log->run_id = strdup(run_id);
        log->hasher = sr_hasher_new();
        memcpy(log->last, EVIDENCE_HASH_ZERO, sizeof log->last);
        memcpy(log->acknowledged, EVIDENCE_HASH_ZERO, sizeof log->acknowledged);
        log->clock_offset = read_clock(CLOCK_REALTIME) - read_clock(CLOCK_BOOTTIME);
    }
    if (log == NULL || log->run_id == NULL || log->hasher == NULL) {
        evidence_event_log_close(log);
        sr_fail(err, SR_EVD_001, "events", "out of memory, or libcrypto has no SHA-256");
        return NULL;
    }
    return log;
}

static int lock_log(int fd, struct sr_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return sr_fail(err, SR_EVD_001, "events.lock", "another process writes this log");
    return fail_errno(err, errno, "cannot lock " EVIDENCE_EVENTS_FILE);
}

int evidence_event_log_create(int run_dirfd, const char *run_id, uint32_t types,
                              struct evidence_event_log **out, struct sr_error *err)
{
    struct evidence_event_log *log = new_log(run_id, types, err);
    if (log == NULL)
        return -1;
    log->fd = openat(run_dirfd, EVIDENCE_EVENTS_FILE,
                     O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log->fd < 0) {
        fail_errno(err, errno, "cannot create " EVIDENCE_EVENTS_FILE);
    } else if (lock_log(log->fd, err) == 0) {
        if (fsync(run_dirfd) == 0) {
            sr_timestamp_format(log_time(log), log->opened);
            *out = log;
            return 0;
        }
        fail_errno(err, errno, "cannot make the run directory durable");
        unlinkat(run_dirfd, EVIDENCE_EVENTS_FILE, 0);
    }
    evidence_event_log_close(log);
    return -1;
}

/* Integers that every JSON reader agrees on, and no deeper than the verifier goes. */
/* NOLINTNEXTLINE(misc-no-recursion): bounded by MAX_PAYLOAD_DEPTH */
static const char *payload_fault(const json_t *value, int depth)
{
    if (depth > MAX_PAYLOAD_DEPTH)
        return "is nested too deeply";
    const char *fault = NULL;
    if (json_is_object(value)) {
        for (void *at = json_object_iter((json_t *)value); at != NULL && fault == NULL;
             at = json_object_iter_next((json_t *)value, at))
            fault = payload_fault(json_object_iter_value(at), depth + 1);
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value) && fault == NULL; i++)
            fault = payload_fault(json_array_get(value, i), depth + 1);
    } else if (json_is_real(value)) {
        fault = "has a number that is not an integer";
    } else if (json_is_integer(value)) {
        json_int_t n = json_integer_value(value);
        if (n > SR_JSON_MAX_INTEGER || n < -SR_JSON_MAX_INTEGER)
            fault = "has a number beyond 2^53 - 1";
    }
    return fault;
}

static struct sr_json_slice slice_of(const char *text)
{
    return (struct sr_json_slice){text, strlen(text)};
}

static void put_member(struct sr_buf *buf, const char *before, const char *text)
{
    sr_buf_puts(buf, before);
    sr_buf_puts(buf, text);
}

/* Appends the line to what is held. Everything but the payload is plain ASCII that needs no escape;
 * the keys are in canonical order. */
static void put_line(struct evidence_event_log *log, const char *self, const char *stage,
                     const char *timestamp, const char *type)
{
    struct sr_buf *held = &log->held;
    put_member(held, "{\"hashPrev\":\"", log->last);
    put_member(held, "\",\"hashSelf\":\"", self);
    sr_buf_puts(held, "\",\"payload\":");
    sr_buf_append(held, log->payload.data, log->payload.len);
    put_member(held, ",\"runId\":\"", log->run_id);
    put_member(held, "\",\"stage\":\"", stage);
    put_member(held, "\",\"timestamp\":\"", timestamp);
    put_member(held, "\",\"type\":\"", type);
    sr_buf_puts(held, "\"}\n");
}

static int append(struct evidence_event_log *log, const char *stage, const char *type,
                  const json_t *payload, struct sr_error *err)
{
    if (payload == NULL || !json_is_object(payload))
        return sr_fail(err, SR_EVD_001, "events",
                       "%s has no payload: out of memory, or a text that is not UTF-8", type);
    const char *fault = payload_fault(payload, 0);
    if (fault != NULL)
        return sr_fail(err, SR_EVD_001, "events", "the payload of %s %s", type, fault);

    log->payload.len = 0;
    sr_jcs_value(&log->payload, payload);
    int64_t now = log_time(log);
    char timestamp[SR_TIMESTAMP_TEXT], self[SR_SHA256_TEXT];
    sr_timestamp_format(now, timestamp);
    struct evidence_chain_parts parts = {
        slice_of(log->last), slice_of(timestamp), slice_of(log->run_id),
        slice_of(stage),     slice_of(type),      {log->payload.data, log->payload.len}};
    size_t before = log->held.len;
    bool ok = sr_buf_ok(&log->payload) &&
              evidence_chain_hash(log->hasher, &parts, &log->scratch, self) == 0;
    if (ok)
        put_line(log, self, stage, timestamp, type);
    size_t len = log->held.len - before;
    if (!ok || !sr_buf_ok(&log->held) || len > SR_JSON_MAX_VALUE ||
        log->held.len > EVIDENCE_EVENT_LOG_MAX_HELD) {
        bool memory = !ok || !sr_buf_ok(&log->held);
        log->held.len = before;
        log->held.failed = log->payload.failed = log->scratch.failed = false;
        return sr_fail(err, SR_EVD_001, "events", "%s cannot be appended: %s", type,
                       memory                    ? "out of memory"
                       : len > SR_JSON_MAX_VALUE ? "it is longer than 1 MiB"
                                                 : "too much waits to be written");
    }
    memcpy(log->last, self, sizeof log->last);
    log->last_nsec = now;
    log->held_count++;
    return log->held.len >= EVIDENCE_EVENT_LOG_HOLD ? evidence_event_log_sync(log, err) : 0;
}

/* False when memory is out. What is no object append() refuses. */
static bool say_who_saw_it(json_t *payload)
{
    return !json_is_object(payload) || json_object_get(payload, EVIDENCE_OBSERVED_BY) != NULL ||
           json_object_set_new(payload, EVIDENCE_OBSERVED_BY,
                               json_string(EVIDENCE_OBSERVED_HOST)) == 0;
}

int evidence_event_append(struct evidence_event_log *log, enum evidence_stage stage,
                          enum sr_event_type type, json_t *payload, struct sr_error *err)
{
    int result = 0;
    if ((log->types & UINT32_C(1) << type) != 0 && !say_who_saw_it(payload))
        result = sr_fail(err, SR_EVD_001, "events", "%s cannot be appended: out of memory",
                         sr_event_type_name(type));
    else if ((log->types & UINT32_C(1) << type) != 0)
        result = append(log, evidence_stage_name(stage), sr_event_type_name(type), payload, err);
    json_decref(payload);
    return result;
}

/* Writes what is held behind what is acknowledged. 0 or a negative errno. */
static int write_held(struct evidence_event_log *log)
{
    size_t done = 0;
    if (SR_FAILPOINT("evidence.events"))
        return -errno;
    while (done < log->held.len) {
        ssize_t put =
            pwrite(log->fd, log->held.data + done, log->held.len - done, (off_t)(log->size + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -ENOSPC;
        done += (size_t)put;
    }
    if (SR_FAILPOINT("evidence.barrier"))
        return -errno;
    while (fdatasync(log->fd) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int evidence_event_log_sync(struct evidence_event_log *log, struct sr_error *err)
{
    if (log->held.len == 0)
        return 0;
    int result = write_held(log);
    if (result < 0) {
        /* If this fails too, a torn tail stays, which reopen removes. */
        int ignored = ftruncate(log->fd, (off_t)log->size);
        (void)ignored;
        return fail_errno(err, -result, "cannot write " EVIDENCE_EVENTS_FILE);
    }
    log->size += log->held.len;
    log->count += log->held_count;
    memcpy(log->acknowledged, log->last, sizeof log->acknowledged);
    log->held.len = 0;
    log->held_count = 0;
    return 0;
}

struct evidence_event_log_state evidence_event_log_state(const struct evidence_event_log *log)
{
    return (struct evidence_event_log_state){.fd = log->fd,
                                             .size = log->size,
                                             .count = log->count,
                                             .run_id = log->run_id,
                                             .last = log->acknowledged,
                                             .opened = log->opened};
}

uint64_t evidence_event_log_bytes(const struct evidence_event_log *log)
{
    return log->size + log->held.len;
}

void evidence_event_log_close(struct evidence_event_log *log)
{
    if (log == NULL)
        return;
    sr_close_fd(&log->fd);
    sr_hasher_free(log->hasher);
    sr_buf_free(&log->held);
    sr_buf_free(&log->payload);
    sr_buf_free(&log->scratch);
    free(log->run_id);
    free(log);
}

/* ---- reopening ---- */

static int damaged(struct sr_error *err, uint64_t line, const char *what)
{
    char path[40];
    snprintf(path, sizeof path, "events[%llu]", (unsigned long long)line);
    return sr_fail(err, SR_EVD_001, path, "%s is damaged, and not by a crash: %s",
                   EVIDENCE_EVENTS_FILE, what);
}

/* Is what begins at offset the torn tail of a write that a crash cut off? Then it has no newline,
 * or a hole that reads as NUL bytes, which our lines never contain. */
static int tail_is_torn(int fd, uint64_t offset)
{
    bool newline = false;
    char chunk[4096];
    for (;;) {
        ssize_t got = pread(fd, chunk, sizeof chunk, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return !newline;
        if (memchr(chunk, '\0', (size_t)got) != NULL)
            return 1;
        newline = newline || memchr(chunk, '\n', (size_t)got) != NULL;
        offset += (uint64_t)got;
    }
}

/* Checks one line against the chain; NULL when it is its next link. */
static const char *link_fault(struct evidence_event_log *log, struct evidence_event *event,
                              const struct sr_json_scan *scan, const char *text)
{
    struct evidence_event_fault fault;
    char self[SR_SHA256_TEXT];
    if (evidence_event_parse(scan, text, event, &fault) < 0)
        return "not an event";
    if (event->run_id.len != strlen(log->run_id) ||
        memcmp(event->run_id.text, log->run_id, event->run_id.len) != 0)
        return "an event of another run";
    if (evidence_event_hash(log->hasher, event, self) < 0)
        return "out of memory";
    if (event->self.len != SR_SHA256_TEXT - 1 ||
        memcmp(event->self.text, self, event->self.len) != 0)
        return "hashSelf does not match the event";
    if (event->prev.len != SR_SHA256_TEXT - 1 ||
        memcmp(event->prev.text, log->last, event->prev.len) != 0)
        return "hashPrev does not match the event before it";
    memcpy(log->last, self, sizeof log->last);
    int64_t nsec;
    if (sr_timestamp_parse(event->timestamp.text, event->timestamp.len, &nsec) &&
        nsec > log->last_nsec)
        log->last_nsec = nsec;
    return NULL;
}

/* Reads the file into the log's state: size, count and last are those of its whole lines. */
static int recover(struct evidence_event_log *log, uint64_t file_size, struct sr_error *err)
{
    sr_cleanup_event_file struct evidence_event_file file;
    struct evidence_event event = {0};
    int result = evidence_event_file_open(&file, log->fd, file_size);
    if (result < 0)
        return fail_errno(err, -result, "cannot read " EVIDENCE_EVENTS_FILE);
    const char *text, *fault = NULL;
    while ((result = evidence_event_file_next(&file, &text)) == 1) {
        char before[SR_SHA256_TEXT];
        memcpy(before, log->last, sizeof before);
        fault = link_fault(log, &event, &file.scan, text);
        if (fault == NULL && sr_json_peek_byte(&file.reader) != '\n') {
            memcpy(log->last, before, sizeof before);
            fault = "the line does not end";
        }
        if (fault == NULL && !file.canonical)
            fault = "not written as we write";
        if (fault != NULL)
            break;
        log->size = sr_json_tell(&file.reader) + 1;
        log->count++;
    }
    evidence_event_free(&event);
    if (result < 0) {
        if (file.reader.io_error != 0)
            return fail_errno(err, file.reader.io_error, "cannot read " EVIDENCE_EVENTS_FILE);
        fault = file.reader.error;
    } else if (fault == NULL && !file.canonical) {
        fault = "not written as we write";
    }
    memcpy(log->acknowledged, log->last, sizeof log->acknowledged);
    if (fault == NULL)
        return 0;
    int torn = tail_is_torn(log->fd, log->size);
    if (torn < 0)
        return fail_errno(err, -torn, "cannot read " EVIDENCE_EVENTS_FILE);
    return torn ? 0 : damaged(err, log->count, fault);
}

static int reopen(struct evidence_event_log *log, int run_dirfd, uint64_t *dropped,
                  struct sr_error *err)
{
    log->fd = openat(run_dirfd, EVIDENCE_EVENTS_FILE,
                     O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (log->fd < 0 || fstat(log->fd, &st) < 0)
        return fail_errno(err, errno, "cannot open " EVIDENCE_EVENTS_FILE);
    if (!S_ISREG(st.st_mode))
        return sr_fail(err, SR_EVD_001, "events", EVIDENCE_EVENTS_FILE " is not a regular file");
    if (lock_log(log->fd, err) < 0)
        return -1;
    if (fstat(log->fd, &st) < 0) /* it may have grown until the lock was ours */
        return fail_errno(err, errno, "cannot open " EVIDENCE_EVENTS_FILE);
    if (recover(log, (uint64_t)st.st_size, err) < 0)
        return -1;
    *dropped = (uint64_t)st.st_size - log->size;
    if (*dropped > 0 && (ftruncate(log->fd, (off_t)log->size) < 0 || fdatasync(log->fd) < 0))
        return fail_errno(err, errno, "cannot remove the torn tail of " EVIDENCE_EVENTS_FILE);
    sr_timestamp_format(log_time(log), log->opened);
    return 0;
}

int evidence_event_log_reopen(int run_dirfd, const char *run_id, uint32_t types,
                              struct evidence_event_log **out, uint64_t *dropped,
                              struct sr_error *err)
{
    uint64_t torn = 0;
    struct evidence_event_log *log = new_log(run_id, types, err);
    if (log == NULL)
        return -1;
    if (reopen(log, run_dirfd, &torn, err) < 0) {
        evidence_event_log_close(log);
        return -1;
    }
    if (dropped != NULL)
        *dropped = torn;
    *out = log;
    return 0;
}
