#include "statement.h"

#include "event.h"
#include "fs.h"
#include "jcs.h"
#include "report.h"

#include <errno.h>
#include <string.h>

#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PREDICATE_TYPE "https://safe-run.dev/attestation/run/v1"

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
    put_subject(out, true, slice(SR_REPORT_FILE), slice(v->report_hash));
    if (v->events_hash[0] != '\0')
        put_subject(out, false, slice(SR_EVENTS_FILE), slice(v->events_hash));
    for (size_t at = 0; sr_json_is_object(files) && sr_json_next_member(files, &at, &member);)
        put_subject(out, false, member.key,
                    (struct sr_json_slice){member.value.text + 1, member.value.len - 2});
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

/* What a subject's hash ("sha256:<hex>") must be; false when nothing tells. text has room for it. */
static bool expected_hash(struct verify *v, struct sr_json_slice name, char text[SR_SHA256_TEXT])
{
    struct sr_json_slice files = verify_field(v, "artifacts", "files");
    struct sr_json_member member;
    if (sr_json_is(name, SR_REPORT_FILE)) {
        memcpy(text, v->report_hash, sizeof v->report_hash);
    } else if (sr_json_is(name, SR_EVENTS_FILE)) {
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

/* Returns false when the subject could not be compared with anything. */
static bool compare_subject(struct verify *v, size_t index, struct sr_json_slice subject,
                            bool *has_report)
{
    char path[80], expected[SR_SHA256_TEXT], shown[SHOWN_SIZE];
    struct sr_json_slice name = sr_json_get(subject, "name");
    struct sr_json_slice digest = sr_json_get(sr_json_get(subject, "digest"), "sha256");
    snprintf(path, sizeof path, "attestation.payload.subject[%zu]", index);
    if (!sr_json_is_string(name) || !sr_json_is_string(digest)) {
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, path,
                     "expected an object with name and digest.sha256");
        return true;
    }
    *has_report = *has_report || sr_json_is(name, SR_REPORT_FILE);
    if (!expected_hash(v, name, expected))
        return false;
    const char *hex = expected + sizeof SR_SHA256_PREFIX - 1;
    if (!sr_json_is(digest, hex)) {
        char found[SHOWN_SIZE];
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, path, "%s: expected %s, found %s",
                     verify_show(name, shown), hex, verify_show(digest, found));
    }
    return true;
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
                     "expected " SR_REPORT_FILE " among the subjects: the statement is of "
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
