#include "evidence/statement.h"

#include "common/fs.h"
#include "common/jcs.h"
#include "evidence/event.h"
#include "evidence/report.h"

#include <errno.h>
#include <string.h>

#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PREDICATE_TYPE "https://safe-run.dev/attestation/run/v1"
/* An output may be a directory: its hash is over a record of all that is in it (docs/EVIDENCE.md).
 * A file of it, or an output that is one, has its own. */
#define OUTPUT_DIGEST "safeRunOutputV1"
#define OUTPUT_PREFIX "outputs/"
/* Of what is kept of them: 64 outputs and 1,000 files. A report with more is no run's, and what is
 * beyond is no subject. */
#define OUTPUTS_MAX ((size_t)2 * 1024 * 1024)

/* The predicate, in canonical order: where each member comes from in the report. */
static const struct fact {
    const char *group, *name;
    const char *parent, *field; /* as verify_field() wants them */
} facts[] = {
    {"asked", "commandHash", "artifacts", "commandHash"},
    {"asked", "policyHash", "artifacts", "policyHash"},
    {"asked", "policySummary", "", "policySummary"},
    {"enforced", "assurance", "", "assurance"},
    {"result", "exit", "", "exit"},
    {"result", "exitCode", "", "exitCode"},
    {"result", "finishedAt", "", "finishedAt"},
    {"result", "startedAt", "", "startedAt"},
    {"run", "digest", "integrity", "digest"},
    {"run", "runId", "", "runId"},
    {"versions", "initrdHash", NULL, NULL}, /* from the events */
    {"versions", "kernelHash", "artifacts", "kernelHash"},
    {"versions", "rootfsHash", "artifacts", "rootfsHash"},
    {"versions", "safeRunVersion", "assurance", "safeRunVersion"},
    {"versions", "vmm", "assurance", "vmm"},
    {"versions", "vmmVersion", "assurance", "vmmVersion"},
};
enum { FACT_COUNT = sizeof facts / sizeof facts[0] };

/* The fact's canonical value; empty when the report does not have it. quoted has room for a hash in
 * quotes. */
static struct sr_json_slice value_of(const struct verify *v, const struct fact *fact,
                                     char quoted[SR_SHA256_TEXT + 2])
{
    if (fact->parent != NULL)
        return verify_field(v, fact->parent, fact->field);
    if (v->initrd_hash[0] == '\0')
        return (struct sr_json_slice){"", 0};
    int len = snprintf(quoted, SR_SHA256_TEXT + 2, "\"%s\"", v->initrd_hash);
    return (struct sr_json_slice){quoted, (size_t)len};
}

static void put_predicate(const struct verify *v, struct sr_buf *out)
{
    const char *group = "";
    char separator = '{', quoted[SR_SHA256_TEXT + 2];
    for (size_t i = 0; i < FACT_COUNT; i++) {
        if (strcmp(facts[i].group, group) != 0) {
            if (group[0] != '\0')
                sr_buf_puts(out, separator == '{' ? "{}," : "},");
            group = facts[i].group;
            sr_buf_printf(out, "%s\"%s\":", i == 0 ? "{" : "", group);
            separator = '{';
        }
        struct sr_json_slice value = value_of(v, &facts[i], quoted);
        if (value.len == 0)
            continue;
        sr_buf_printf(out, "%c\"%s\":", separator, facts[i].name);
        sr_buf_append(out, value.text, value.len);
        separator = ',';
    }
    sr_buf_puts(out, separator == '{' ? "{}}" : "}}");
}

/* "sha256:<hex>" as the digits, with the quote behind them. */
static void put_digits(struct sr_buf *out, struct sr_json_slice hash)
{
    const size_t prefix = sizeof SR_SHA256_PREFIX;
    sr_buf_append(out, hash.text + prefix, hash.len - prefix);
}

/* A subject; hashes may be empty, path too. Names are as canonical strings have them. */
static void put_output(struct verify *v, struct sr_json_slice name, struct sr_json_slice path,
                       struct sr_json_slice output, struct sr_json_slice file)
{
    struct sr_buf *out = &v->outputs;
    if (out->len + name.len + path.len > OUTPUTS_MAX)
        return;
    sr_buf_puts(out, ",{\"digest\":{");
    if (output.len > 0) {
        sr_buf_puts(out, "\"" OUTPUT_DIGEST "\":\"");
        put_digits(out, output);
    }
    if (file.len > 0) {
        sr_buf_puts(out, output.len > 0 ? ",\"sha256\":\"" : "\"sha256\":\"");
        put_digits(out, file);
    }
    sr_buf_puts(out, "},\"name\":\"" OUTPUT_PREFIX);
    sr_buf_append(out, name.text + 1, name.len - 2);
    if (path.len > 2) {
        sr_buf_putc(out, '/');
        sr_buf_append(out, path.text + 1, path.len - 2);
    }
    sr_buf_puts(out, "\"}");
}

static void take_output(struct verify *v, struct sr_json_slice payload)
{
    struct sr_json_slice name = sr_json_get(payload, "name"), hash = sr_json_get(payload, "hash"),
                         entries = sr_json_get(payload, "entries"), element, none = {"", 0};
    size_t at = 0;
    if (!sr_json_is_string(name) || !evidence_is_hash(hash))
        return; /* it was not collected, or is not ours */
    bool listed = sr_json_is_array(entries) && sr_json_next(entries, &at, &element);
    /* An output that is a file has one entry, with an empty path: one subject with both hashes. */
    bool is_file = listed && sr_json_is(sr_json_get(element, "path"), "") &&
                   evidence_is_hash(sr_json_get(element, "sha256"));
    put_output(v, name, none, hash, is_file ? sr_json_get(element, "sha256") : none);
    for (bool more = listed && !is_file; more; more = sr_json_next(entries, &at, &element)) {
        struct sr_json_slice path = sr_json_get(element, "path"),
                             file = sr_json_get(element, "sha256");
        if (sr_json_is_string(path) && evidence_is_hash(file))
            put_output(v, name, path, none, file);
    }
    v->no_memory = v->no_memory || !sr_buf_ok(&v->outputs);
}

void statement_take_event(struct verify *v)
{
    struct sr_json_slice payload = v->event.payload;
    if (v->event.kind == SR_EVENT_OUTPUT_COLLECTED) {
        take_output(v, payload);
    } else if (v->event.kind == SR_EVENT_VM_STARTED) {
        struct sr_json_slice hash = sr_json_get(payload, "initrdHash");
        if (evidence_is_hash(hash))
            memcpy(v->initrd_hash, hash.text + 1, hash.len - 2);
    }
}

/* hash is "sha256:<hex>", name the inside of a JSON string. */
static void put_subject(struct sr_buf *out, bool first, struct sr_json_slice name,
                        struct sr_json_slice hash)
{
    const size_t prefix = sizeof SR_SHA256_PREFIX - 1;
    sr_buf_puts(out, first ? "{\"digest\":{\"sha256\":\"" : ",{\"digest\":{\"sha256\":\"");
    sr_buf_append(out, hash.text + prefix, hash.len - prefix);
    sr_buf_puts(out, "\"},\"name\":\"");
    sr_buf_append(out, name.text, name.len);
    sr_buf_puts(out, "\"}");
}

static struct sr_json_slice slice(const char *text)
{
    return (struct sr_json_slice){text, strlen(text)};
}

void statement_write(const struct verify *v, struct sr_buf *out)
{
    struct sr_json_slice files = verify_field(v, "artifacts", "files");
    struct sr_json_member member;
    sr_buf_puts(out, "{\"_type\":\"" STATEMENT_TYPE "\",\"predicate\":");
    put_predicate(v, out);
    sr_buf_puts(out, ",\"predicateType\":\"" PREDICATE_TYPE "\",\"subject\":[");
    put_subject(out, true, slice(EVIDENCE_REPORT_FILE), slice(v->report_hash));
    if (v->events_hash[0] != '\0')
        put_subject(out, false, slice(EVIDENCE_EVENTS_FILE), slice(v->events_hash));
    for (size_t at = 0; sr_json_is_object(files) && sr_json_next_member(files, &at, &member);)
        put_subject(out, false, member.key, sr_json_inside(member.value));
    sr_buf_append(out, v->outputs.data, v->outputs.len);
    sr_buf_puts(out, "]}");
}

/* ---- a statement against the report ---- */

static void differs(struct verify *v, const char *path, struct sr_json_slice expected,
                    struct sr_json_slice found)
{
    char should[SHOWN_SIZE], is[SHOWN_SIZE];
    verify_error(v, CHECK_SIGNATURE, SR_EVD_304, path, "expected %s, found %s",
                 verify_show(expected, should), verify_show(found, is));
}

static void compare_text(struct verify *v, struct sr_json_slice statement, const char *name,
                         const char *expected)
{
    char path[64];
    struct sr_json_slice found = sr_json_get(statement, name);
    snprintf(path, sizeof path, "attestation.payload.%s", name);
    if (!sr_json_is(found, expected))
        differs(v, path, slice(expected), found);
}

/* What the statement says of the run must be what the report says. A member that only one of them
 * has is another version's. */
static void compare_predicate(struct verify *v, struct sr_json_slice predicate)
{
    char path[96], quoted[SR_SHA256_TEXT + 2];
    if (!sr_json_is_object(predicate))
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, "attestation.payload.predicate",
                     "expected an object");
    for (size_t i = 0; i < FACT_COUNT; i++) {
        const struct fact *fact = &facts[i];
        struct sr_json_slice found = sr_json_get(sr_json_get(predicate, fact->group), fact->name);
        struct sr_json_slice expected = value_of(v, fact, quoted);
        if (found.len == 0 || expected.len == 0 ||
            (found.len == expected.len && memcmp(found.text, expected.text, found.len) == 0))
            continue;
        snprintf(path, sizeof path, "attestation.payload.predicate.%s.%s", fact->group, fact->name);
        differs(v, path, expected, found);
    }
}

/* The hash of a file below the artifacts' directory, or "" when there is none. */
static void hash_material(struct verify *v, struct sr_json_slice name, char hash[SR_SHA256_TEXT])
{
    hash[0] = '\0';
    if (v->options->artifacts_dir == NULL)
        return;
    sr_cleanup_buf struct sr_buf plain = SR_BUF_INIT;
    sr_json_string(name, &plain);
    sr_cleanup_fd int dir =
        openat(verify_base(v), v->options->artifacts_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || !sr_buf_ok(&plain) || strlen(plain.data) != plain.len)
        return;
    sr_cleanup_fd int fd = sr_open_below(dir, plain.data);
    if (fd < 0 || sr_sha256_fd(v->hasher, fd, hash) < 0)
        hash[0] = '\0';
}

/* What a subject's hash ("sha256:<hex>") must be; false when nothing tells. text has room for
 * it. */
static bool expected_hash(struct verify *v, struct sr_json_slice name, char text[SR_SHA256_TEXT])
{
    struct sr_json_slice files = verify_field(v, "artifacts", "files");
    struct sr_json_member member;
    if (sr_json_is(name, EVIDENCE_REPORT_FILE)) {
        memcpy(text, v->report_hash, sizeof v->report_hash);
    } else if (sr_json_is(name, EVIDENCE_EVENTS_FILE)) {
        memcpy(text, v->events_hash, sizeof v->events_hash);
    } else {
        text[0] = '\0';
        for (size_t at = 0; sr_json_is_object(files) && sr_json_next_member(files, &at, &member);)
            if (member.key.len + 2 == name.len &&
                memcmp(member.key.text, name.text + 1, member.key.len) == 0 &&
                member.value.len == SR_SHA256_TEXT + 1)
                snprintf(text, SR_SHA256_TEXT, "%s", member.value.text + 1);
        if (text[0] == '\0')
            hash_material(v, name, text);
    }
    return text[0] != '\0';
}

/* What the events tell of this output or file of one: its digests, an object; empty when they do
 * not. Sought from where the last one was found: a statement has them in the same order. */
static struct sr_json_slice output_digests(struct verify *v, struct sr_json_slice name)
{
    struct sr_json_slice element, found, list = {v->outputs.data, v->outputs.len};
    static const char prefix[] = "\"" OUTPUT_PREFIX;
    size_t begin = v->outputs_at < list.len ? v->outputs_at : 0;
    if (name.len < sizeof prefix || memcmp(name.text, prefix, sizeof prefix - 1) != 0)
        return (struct sr_json_slice){"", 0};
    for (int round = 0; round < 2; round++) {
        size_t at = round == 0 ? begin : 0, end = round == 0 ? list.len : begin;
        while (at < end) {
            struct sr_json_scan scan; /* behind the comma */
            if (sr_json_scan(list.text + at + 1, list.len - at - 1, SR_JSON_LAST, &scan) !=
                SR_JSON_OK)
                break;
            element = (struct sr_json_slice){list.text + at + 1, scan.len};
            at += scan.len + 1;
            found = sr_json_get(element, "name");
            if (found.len == name.len && memcmp(found.text, name.text, name.len) == 0) {
                v->outputs_at = at;
                return sr_json_get(element, "digest");
            }
        }
    }
    return (struct sr_json_slice){"", 0};
}

/* Returns false when there is nothing to compare with. */
static bool compare_digest(struct verify *v, const char *path, struct sr_json_slice name,
                           struct sr_json_slice expected, struct sr_json_slice digest)
{
    char shown[SHOWN_SIZE], should[SHOWN_SIZE], found[SHOWN_SIZE];
    if (expected.len == 0 || digest.len == 0)
        return false;
    if (digest.len != expected.len || memcmp(digest.text, expected.text, digest.len) != 0)
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, path, "%s: expected %s, found %s",
                     verify_show(name, shown), verify_show(expected, should),
                     verify_show(digest, found));
    return true;
}

/* Returns false when the subject could not be compared with anything. */
static bool compare_subject(struct verify *v, size_t index, struct sr_json_slice subject,
                            bool *has_report)
{
    char path[80], hash[SR_SHA256_TEXT], quoted[SR_SHA256_TEXT + 2];
    struct sr_json_slice name = sr_json_get(subject, "name");
    struct sr_json_slice digests = sr_json_get(subject, "digest");
    struct sr_json_slice digest = sr_json_get(digests, "sha256"), expected = {"", 0};
    struct sr_json_slice of_output = sr_json_get(digests, OUTPUT_DIGEST);
    snprintf(path, sizeof path, "attestation.payload.subject[%zu]", index);
    if (!sr_json_is_string(name) || (!sr_json_is_string(digest) && !sr_json_is_string(of_output))) {
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, path,
                     "expected an object with name and digest.sha256 or digest." OUTPUT_DIGEST);
        return true;
    }
    *has_report = *has_report || (digest.len > 0 && sr_json_is(name, EVIDENCE_REPORT_FILE));
    struct sr_json_slice told = output_digests(v, name);
    bool compared = compare_digest(v, path, name, sr_json_get(told, OUTPUT_DIGEST), of_output);
    if (told.len > 0) {
        expected = sr_json_get(told, "sha256");
    } else if (digest.len > 0 && expected_hash(v, name, hash)) {
        snprintf(quoted, sizeof quoted, "\"%s\"", hash + sizeof SR_SHA256_PREFIX - 1);
        expected = slice(quoted);
    }
    return compare_digest(v, path, name, expected, digest) || compared;
}

static void compare_subjects(struct verify *v, struct sr_json_slice subjects)
{
    struct sr_json_slice subject;
    size_t index = 0, unknown = 0;
    bool has_report = false;
    if (sr_json_is_array(subjects))
        for (size_t at = 0; sr_json_next(subjects, &at, &subject); index++)
            unknown += !compare_subject(v, index, subject, &has_report);
    if (!has_report)
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, "attestation.payload.subject",
                     "expected " EVIDENCE_REPORT_FILE " among the subjects: the statement is of "
                     "something else");
    if (unknown > 0)
        verify_note(v, CHECK_SIGNATURE, "%zu of the subjects are not at hand", unknown);
}

void statement_compare(struct verify *v, const struct sr_buf *statement)
{
    struct sr_json_scan scan;
    sr_cleanup_buf struct sr_buf canonical = SR_BUF_INIT;
    char path[200];
    const char *fault = NULL;
    if (sr_json_scan(statement->data, statement->len, SR_JSON_LAST, &scan) != SR_JSON_OK)
        fault = scan.error;
    else if (scan.len != statement->len || statement->data[0] != '{')
        fault = "expected one object";
    else if (sr_json_canonical((struct sr_json_slice){statement->data, statement->len}, &canonical,
                               path, sizeof path) < 0)
        fault = "a key is there twice";
    if (fault != NULL) {
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, "attestation.payload", "%s", fault);
        return;
    }
    if (!sr_buf_ok(&canonical)) {
        v->no_memory = true;
        return;
    }
    struct sr_json_slice all = {canonical.data, canonical.len};
    compare_text(v, all, "_type", STATEMENT_TYPE);
    compare_text(v, all, "predicateType", PREDICATE_TYPE);
    compare_subjects(v, sr_json_get(all, "subject"));
    compare_predicate(v, sr_json_get(all, "predicate"));
}
