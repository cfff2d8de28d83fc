#include "archive/seal.h"

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/jcs.h"
#include "evidence/chain.h"
#include "evidence/report_walk.h"

#include <errno.h>
#include <string.h>

#define REPORT_PATH "archive.report"

enum { OUT_FLUSH = 64 * 1024, MAX_MEMBERS = EVIDENCE_REPORT_MAX_MEMBERS + 3 };

struct member {
    struct sr_json_slice key; /* with its quotes */
    struct sr_json_slice value;
};

/* The report on its way out: the same bytes to the file and, but for the digest itself, to the
 * digest. */
struct output {
    int fd, error; /* negative errno of the first failed write */
    struct sr_buf buf;
    uint64_t flushed;
    uint64_t digest_at; /* offset of the digest's place in the file */
    struct sr_hasher *digest;
};

static void flush(struct output *out)
{
    if (out->error == 0 && sr_buf_ok(&out->buf))
        out->error = sr_write_all(out->fd, out->buf.data, out->buf.len);
    out->flushed += out->buf.len;
    out->buf.len = 0;
}

static void put(struct output *out, const char *text, size_t len)
{
    sr_hasher_update(out->digest, text, len);
    sr_buf_append(&out->buf, text, len);
    if (out->buf.len >= OUT_FLUSH)
        flush(out);
}

static struct sr_json_slice slice_of(const struct sr_buf *buf)
{
    return (struct sr_json_slice){buf->data, buf->len};
}

static void put_text(struct sr_buf *buf, const char *key, const char *text)
{
    sr_buf_puts(buf, key);
    sr_jcs_text(buf, text);
}

static void write_archive(const struct archive_seal *seal, struct sr_buf *out)
{
    put_text(out, "{\"bundleId\":", seal->bundle_id);
    put_text(out, ",\"originalHash\":", seal->original_hash);
    put_text(out, ",\"retention\":", seal->retention);
    put_text(out, ",\"storedAt\":", seal->stored_at);
    sr_buf_putc(out, '}');
}

static void write_verification(const struct archive_seal *seal, struct sr_buf *out)
{
    const struct sr_verification *found = seal->verification;
    sr_buf_puts(out, "{\"algorithm\":\"sha256\",\"checks\":[");
    for (size_t i = 0; i < found->check_count; i++) {
        put_text(out, i > 0 ? ",{\"name\":" : "{\"name\":", found->checks[i].name);
        sr_buf_puts(out, found->checks[i].ok ? ",\"ok\":true}" : ",\"ok\":false}");
    }
    put_text(out, "],\"result\":", found->valid ? "pass" : "fail");
    put_text(out, ",\"verifiedAt\":", seal->verified_at);
    sr_buf_putc(out, '}');
}

static void insert(struct member *members, size_t *count, struct sr_json_slice key,
                   struct sr_json_slice value)
{
    size_t at = (*count)++;
    for (; at > 0 &&
           sr_json_compare_keys(sr_json_inside(members[at - 1].key), sr_json_inside(key)) > 0;
         at--)
        members[at] = members[at - 1];
    members[at] = (struct member){key, value};
}

#define LITERAL(text) ((struct sr_json_slice){text, sizeof(text) - 1})

/* The members of the copy in canonical order, without events. */
static size_t collect(const struct evidence_report_walk *walk, struct sr_json_slice archive,
                      struct sr_json_slice verification, struct member members[MAX_MEMBERS])
{
    size_t count = 0;
    bool has_digest = false;
    for (unsigned i = 0; i < walk->member_count; i++) {
        struct sr_json_slice key = slice_of(&walk->keys[i]), value = slice_of(&walk->values[i]);
        bool integrity = sr_json_is(key, "integrity");
        if (sr_json_is(key, "archive") || sr_json_is(key, "verification") ||
            (integrity && sr_json_get(value, "digest").len == 0))
            continue;
        has_digest = has_digest || integrity;
        insert(members, &count, key, value);
    }
    if (!has_digest)
        insert(members, &count, LITERAL("\"integrity\""), LITERAL("{\"digest\":\"\"}"));
    insert(members, &count, LITERAL("\"archive\""), archive);
    insert(members, &count, LITERAL("\"verification\""), verification);
    return count;
}

/* The digest's value is left blank in the file and empty in what the digest is taken over. */
static void put_integrity(struct output *out, struct sr_json_slice value)
{
    struct sr_json_slice digest = sr_json_get(value, "digest");
    size_t before = (size_t)(digest.text - value.text), after = before + digest.len;
    put(out, value.text, before);
    put(out, "\"", 1);
    out->digest_at = out->flushed + out->buf.len;
    sr_buf_puts(&out->buf, EVIDENCE_HASH_ZERO);
    put(out, "\"", 1);
    put(out, value.text + after, value.len - after);
}

static int put_event(void *context, uint64_t index, const struct sr_json_scan *scan,
                     const char *text, struct sr_error *err)
{
    struct output *out = context;
    if (index > 0)
        put(out, ",", 1);
    put(out, text, scan->len);
    return out->error == 0 ? 0 : sr_fail(err, SR_OPS_301, REPORT_PATH, "%s", strerror(-out->error));
}

static int put_events(struct output *out, int from, struct sr_error *err)
{
    sr_cleanup_report_walk struct evidence_report_walk walk;
    put(out, "\"events\":[", sizeof "\"events\":[" - 1);
    int result = evidence_report_walk(&walk, from, 0, put_event, out, err);
    put(out, "]", 1);
    return result;
}

static int put_report(struct output *out, int from, bool has_events, const struct member *members,
                      size_t count, struct sr_error *err)
{
    bool owing = has_events;
    put(out, "{", 1);
    for (size_t i = 0; i < count; i++) {
        if (owing && sr_json_compare_keys(sr_json_inside(members[i].key), LITERAL("events")) > 0) {
            if (put_events(out, from, err) < 0)
                return -1;
            owing = false;
            put(out, ",", 1);
        }
        put(out, members[i].key.text, members[i].key.len);
        put(out, ":", 1);
        if (sr_json_is(members[i].key, "integrity"))
            put_integrity(out, members[i].value);
        else
            put(out, members[i].value.text, members[i].value.len);
        if (i + 1 < count)
            put(out, ",", 1);
    }
    put(out, "}", 1); /* verification sorts behind events: none are owed any more */
    return 0;
}

static int finish(struct output *out, char hash[SR_SHA256_TEXT], struct sr_error *err)
{
    char digest[SR_SHA256_TEXT];
    sr_buf_putc(&out->buf, '\n');
    if (sr_hasher_final(out->digest, digest) < 0)
        return sr_fail(err, SR_OPS_301, REPORT_PATH, "cannot be hashed");
    flush(out);
    if (out->error == 0 && !sr_buf_ok(&out->buf))
        out->error = -ENOMEM;
    if (out->error == 0 && pwrite(out->fd, digest, sizeof digest - 1, (off_t)out->digest_at) !=
                               (ssize_t)sizeof digest - 1)
        out->error = -EIO;
    if (out->error == 0)
        out->error = sr_sha256_fd(out->digest, out->fd, hash);
    return out->error == 0 ? 0
                           : sr_fail(err, SR_OPS_301, REPORT_PATH, "cannot be written: %s",
                                     strerror(-out->error));
}

int archive_seal_report(int from, const struct archive_seal *seal, int to,
                        char hash[SR_SHA256_TEXT], struct sr_error *err)
{
    sr_cleanup_report_walk struct evidence_report_walk walk;
    sr_cleanup_buf struct sr_buf archive = SR_BUF_INIT, verification = SR_BUF_INIT;
    struct member members[MAX_MEMBERS];
    if (evidence_report_walk(&walk, from, 0, NULL, NULL, err) < 0) {
        struct sr_error fault = err != NULL ? *err : (struct sr_error){0};
        return sr_fail(err, SR_OPS_301, REPORT_PATH, "is no report: %s: %s", fault.path,
                       fault.message);
    }
    write_archive(seal, &archive);
    write_verification(seal, &verification);
    struct output out = {.fd = to, .digest = sr_hasher_new()};
    if (out.digest == NULL || !sr_buf_ok(&archive) || !sr_buf_ok(&verification)) {
        sr_hasher_free(out.digest);
        return sr_fail(err, SR_OPS_301, REPORT_PATH, "out of memory");
    }
    sr_hasher_reset(out.digest);
    size_t count = collect(&walk, slice_of(&archive), slice_of(&verification), members);
    int result = put_report(&out, from, walk.has_events, members, count, err);
    if (result == 0)
        result = finish(&out, hash, err);
    sr_buf_free(&out.buf);
    sr_hasher_free(out.digest);
    return result;
}
