#include "evidence/report.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "common/jcs.h"
#include "evidence/aggregate.h"
#include "evidence/event_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define TEMPORARY EVIDENCE_REPORT_FILE ".tmp"

enum { OUT_FLUSH = 64 * 1024 };

/* The report on its way out: the same bytes to the file and to the digest. */
struct output {
    int fd;
    struct sr_hasher *digest;
    struct sr_buf buf;
    int error; /* negative errno of the first failed write */
};

static void flush(struct output *out)
{
    if (out->error == 0)
        out->error = sr_write_all(out->fd, out->buf.data, out->buf.len);
    out->buf.len = 0;
}

static void put(struct output *out, const char *text, size_t len)
{
    sr_hasher_update(out->digest, text, len);
    sr_buf_append(&out->buf, text, len);
    if (out->buf.len >= OUT_FLUSH)
        flush(out);
}

static void put_member(struct sr_buf *buf, const char *key, const char *text)
{
    sr_buf_puts(buf, key);
    sr_jcs_text(buf, text != NULL ? text : "unknown");
}

static void put_hash(struct sr_buf *buf, const char *key, const char *hash)
{
    put_member(buf, key, hash != NULL && hash[0] != '\0' ? hash : EVIDENCE_HASH_ZERO);
}

/* Everything in front of the events' elements. */
static void put_head(struct sr_buf *buf, const struct evidence_report_facts *facts)
{
    put_hash(buf, "{\"artifacts\":{\"commandHash\":", facts->command_hash);
    if (facts->file_count > 0) {
        sr_buf_puts(buf, ",\"files\":{");
        for (size_t i = 0; i < facts->file_count; i++) {
            if (i > 0)
                sr_buf_putc(buf, ',');
            sr_jcs_text(buf, facts->files[i].name);
            put_hash(buf, ":", facts->files[i].hash);
        }
        sr_buf_putc(buf, '}');
    }
    put_hash(buf, ",\"kernelHash\":", facts->kernel_hash);
    put_hash(buf, ",\"policyHash\":", facts->policy_hash);
    put_hash(buf, ",\"rootfsHash\":", facts->rootfs_hash);
    put_member(buf, "},\"assurance\":{\"accel\":", facts->accel);
    put_member(buf, ",\"jail\":", facts->jail);
    put_member(buf, ",\"limits\":{\"cpu\":", facts->limit_cpu);
    put_member(buf, ",\"disk\":", facts->limit_disk);
    put_member(buf, ",\"memory\":", facts->limit_memory);
    put_member(buf, ",\"pids\":", facts->limit_pids);
    sr_buf_puts(buf, "},\"safeRunVersion\":\"" SR_VERSION "\"");
    put_member(buf, ",\"uplink\":", facts->uplink);
    put_member(buf, ",\"vmm\":", facts->vmm);
    put_member(buf, ",\"vmmVersion\":", facts->vmm_version);
    sr_buf_puts(buf, "},\"events\":[");
}

static void put_code(struct sr_buf *buf, const char *key, bool known, int value)
{
    sr_buf_puts(buf, key);
    if (known)
        sr_buf_i64(buf, value);
    else
        sr_buf_puts(buf, "null");
}

static void put_observer(struct sr_buf *buf, const char *field, bool guest)
{
    sr_buf_printf(buf, ",\"%s\":\"%s\"", field,
                  guest ? EVIDENCE_OBSERVED_GUEST : EVIDENCE_OBSERVED_HOST);
}

/* From the end of the events to the digest's opening quote. */
static void put_middle(struct sr_buf *buf, const struct evidence_report_facts *facts,
                       const char *finished_at)
{
    put_member(buf, "],\"exit\":{\"cause\":", facts->cause);
    put_code(buf, ",\"code\":", facts->code >= 0, facts->code);
    if (facts->guest_spoke) {
        put_observer(buf, EVIDENCE_CODE_OBSERVED_BY, true);
        put_code(buf, ",\"guest\":{\"code\":", facts->code >= 0, facts->code);
        put_observer(buf, EVIDENCE_OBSERVED_BY, true);
        put_code(buf, ",\"signal\":", facts->signal > 0, facts->signal);
        sr_buf_putc(buf, '}');
    }
    put_observer(buf, EVIDENCE_OBSERVED_BY, facts->cause_by_guest);
    put_code(buf, ",\"signal\":", facts->signal > 0, facts->signal);
    if (facts->guest_spoke)
        put_observer(buf, EVIDENCE_SIGNAL_OBSERVED_BY, true);
    put_code(buf, "},\"exitCode\":", true, facts->exit_code);
    put_observer(buf, EVIDENCE_EXIT_CODE_OBSERVED_BY, facts->status_by_guest);
    put_member(buf, ",\"finishedAt\":", finished_at);
    sr_buf_puts(buf, ",\"integrity\":{\"canonicalization\":\"" EVIDENCE_REPORT_CANONICALIZATION
                     "\",\"digest\":\"");
}

/* From the digest's closing quote to the end. */
static void put_tail(struct sr_buf *buf, const struct evidence_report_facts *facts,
                     const struct evidence_aggregate *aggregate, const char *run_id,
                     const char *started_at)
{
    const char *mode = facts->network_mode == SR_NETWORK_ALLOWLIST ? "allowlist" : "none";
    sr_buf_puts(buf,
                "\",\"" EVIDENCE_OBSERVERS "\":\"" EVIDENCE_OBSERVERS_FIELD "\"},\"mountAudit\":");
    evidence_aggregate_mounts(aggregate, buf);
    sr_buf_puts(buf, ",\"networkAudit\":");
    evidence_aggregate_network(aggregate, mode, facts->rules_total, buf);
    sr_buf_puts(buf,
                ",\"observedBy\":\"" EVIDENCE_OBSERVED_HOST "\",\"policySummary\":{\"mounts\":");
    sr_buf_u64(buf, facts->mount_count);
    if (facts->policy_name != NULL)
        put_member(buf, ",\"name\":", facts->policy_name);
    put_member(buf, ",\"network\":", mode);
    sr_buf_puts(buf, "},\"resourceUsage\":");
    evidence_aggregate_resources(aggregate, buf);
    put_member(buf, ",\"runId\":", run_id);
    sr_buf_puts(buf, ",\"schemaVersion\":\"" EVIDENCE_REPORT_SCHEMA "\"");
    put_member(buf, ",\"startedAt\":", started_at);
    sr_buf_putc(buf, '}');
}

static int fail_errno(struct sr_error *err, int error, const char *what)
{
    return sr_fail(err, SR_EVD_002, "report", "%s: %s", what, strerror(error));
}

static int changed(struct sr_error *err, uint64_t index, const char *what)
{
    return sr_fail(err, SR_EVD_002, "report",
                   EVIDENCE_EVENTS_FILE " is not what this run wrote, from event %llu on: %s",
                   (unsigned long long)index, what);
}

/* Copies the events from the log's file and adds them up. The chain is followed on the way, because
 * somebody else may have had a hand on the file. */
static int copy_events(struct output *out, const struct evidence_event_log_state *state,
                       struct evidence_aggregate *aggregate, struct sr_hasher *hasher,
                       struct evidence_event *event, struct sr_error *err)
{
    sr_cleanup_event_file struct evidence_event_file file;
    char last[SR_SHA256_TEXT] = EVIDENCE_HASH_ZERO, self[SR_SHA256_TEXT];
    int result = evidence_event_file_open(&file, state->fd, state->size);
    if (result < 0)
        return fail_errno(err, -result, "cannot read " EVIDENCE_EVENTS_FILE);
    const char *text;
    while ((result = evidence_event_file_next(&file, &text)) == 1) {
        struct evidence_event_fault fault;
        if (evidence_event_parse(&file.scan, text, event, &fault) < 0)
            return changed(err, file.index - 1, fault.what);
        if (evidence_event_hash(hasher, event, self) < 0 ||
            evidence_aggregate_add(aggregate, event) < 0)
            return fail_errno(err, ENOMEM, "cannot read " EVIDENCE_EVENTS_FILE);
        if (event->prev.len != SR_SHA256_TEXT - 1 || event->self.len != SR_SHA256_TEXT - 1 ||
            memcmp(event->prev.text, last, event->prev.len) != 0 ||
            memcmp(event->self.text, self, event->self.len) != 0)
            return changed(err, file.index - 1, "its hash does not match");
        memcpy(last, self, sizeof last);
        if (file.index > 1)
            put(out, ",", 1);
        put(out, text, event->text.len);
    }
    if (result < 0 && file.reader.io_error != 0)
        return fail_errno(err, file.reader.io_error, "cannot read " EVIDENCE_EVENTS_FILE);
    if (result < 0)
        return changed(err, file.index, file.reader.error);
    if (file.index != state->count || strcmp(last, state->last) != 0)
        return changed(err, file.index, "some are missing");
    return 0;
}

static int write_report(struct output *out, const struct evidence_report_facts *facts,
                        const struct evidence_event_log *log, struct sr_error *err)
{
    struct evidence_event_log_state state = evidence_event_log_state(log);
    sr_cleanup_aggregate struct evidence_aggregate aggregate = EVIDENCE_AGGREGATE_INIT;
    sr_cleanup_buf struct sr_buf piece = SR_BUF_INIT;
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    if (hasher == NULL)
        return fail_errno(err, ENOMEM, "cannot hash");
    if (facts->run_id != NULL && strcmp(facts->run_id, state.run_id) != 0)
        return sr_fail(err, SR_EVD_002, "report", "the run id is not that of the events");
    char now[SR_TIMESTAMP_TEXT], digest[SR_SHA256_TEXT];
    evidence_event_log_now(log, now);

    sr_hasher_reset(out->digest);
    put_head(&piece, facts);
    put(out, piece.data, piece.len);

    struct evidence_event event = {0};
    int result = copy_events(out, &state, &aggregate, hasher, &event, err);
    evidence_event_free(&event);
    if (result < 0)
        return -1;

    piece.len = 0;
    put_middle(&piece, facts, facts->finished_at != NULL ? facts->finished_at : now);
    put(out, piece.data, piece.len);

    piece.len = 0;
    put_tail(&piece, facts, &aggregate, state.run_id,
             facts->started_at != NULL ? facts->started_at : state.opened);
    sr_hasher_update(out->digest, piece.data, piece.len);
    if (sr_hasher_final(out->digest, digest) < 0)
        return fail_errno(err, EIO, "cannot hash");
    sr_buf_puts(&out->buf, digest);
    sr_buf_append(&out->buf, piece.data, piece.len);
    sr_buf_putc(&out->buf, '\n');
    if (!sr_buf_ok(&piece) || !sr_buf_ok(&out->buf))
        return fail_errno(err, ENOMEM, "cannot be built");
    flush(out);
    if (out->error == 0 && (SR_FAILPOINT("evidence.report") || fsync(out->fd) < 0))
        out->error = -errno;
    return out->error == 0 ? 0 : fail_errno(err, -out->error, "cannot be written");
}

int evidence_report_write(int run_dirfd, const struct evidence_report_facts *facts,
                          struct evidence_event_log *log, struct sr_error *err)
{
    if (evidence_event_log_sync(log, err) < 0)
        return -1;
    struct output out = {.digest = sr_hasher_new()};
    if (out.digest == NULL)
        return fail_errno(err, ENOMEM, "cannot hash");
    /* One left by a writer that died: ours is the only one now, we hold the log's lock. */
    unlinkat(run_dirfd, TEMPORARY, 0);
    out.fd =
        openat(run_dirfd, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int result = out.fd < 0 ? fail_errno(err, errno, "cannot create " TEMPORARY)
                            : write_report(&out, facts, log, err);
    if (result == 0 && (SR_FAILPOINT("evidence.rename") ||
                        renameat(run_dirfd, TEMPORARY, run_dirfd, EVIDENCE_REPORT_FILE) < 0))
        result = fail_errno(err, errno, "cannot rename " TEMPORARY);
    if (result < 0 && out.fd >= 0)
        unlinkat(run_dirfd, TEMPORARY, 0);
    if (result == 0 && fsync(run_dirfd) < 0)
        result = fail_errno(err, errno, "cannot make the run directory durable");
    sr_close_fd(&out.fd);
    sr_buf_free(&out.buf);
    sr_hasher_free(out.digest);
    return result;
}

int evidence_policy_hash(struct sr_hasher *hasher, const char *json, size_t len,
                         char text[SR_SHA256_TEXT])
{
    return sr_sha256(hasher, json, len, text);
}
