#include "archive/facts.h"

#include "archive/bundle.h"
#include "archive/named.h"
#include "common/fs.h"
#include "evidence/report_walk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Facts of one kind that a run has: all destinations that the kernel notes of a guest (4,096 flows
 * and 256 of other protocols, four facts each), and not what a run has that tries to make an index
 * large. */
enum { MAX_FACTS = 20000, MAX_COMMAND = 400 };

struct facts {
    struct archive_index *index;
    uint64_t leaf;
    unsigned count[ARCHIVE_FACT_RUN_END +
                   1]; /* of each kind: what a guest makes many of displaces no other */
    bool truncated;
    struct archive_named *named; /* what rules were applied where */
    struct evidence_event event; /* reused */
    struct sr_buf text;          /* a string, decoded; reused */
    struct sr_error error;       /* of the index */
    bool failed;
    /* What the row says of the run. */
    char cause[32], result[16], started[SR_TIMESTAMP_TEXT + 10], finished[SR_TIMESTAMP_TEXT + 10],
        policy[256], line[MAX_COMMAND];
};

/* A string, decoded, up to the next call; NULL for anything else. */
static const char *text_of(struct facts *facts, struct sr_json_slice value)
{
    facts->text.len = 0;
    if (!sr_json_is_string(value))
        return NULL;
    sr_buf_putc(&facts->text, ' '); /* so that there is something in any case */
    facts->text.len = 0;
    sr_json_string(value, &facts->text);
    return sr_buf_ok(&facts->text) ? facts->text.data : NULL;
}

/* Reads a document of at most 1 MiB into text and finds its value; empty when there is none. */
static struct sr_json_slice read_document(int dir, const char *name, char **text)
{
    struct sr_json_scan scan;
    struct sr_json_slice none = {"", 0};
    *text = malloc(SR_JSON_MAX_VALUE + 2);
    ssize_t len = *text != NULL ? sr_read_small_file(dir, name, *text, SR_JSON_MAX_VALUE + 2) : -1;
    if (len <= 0 || sr_json_scan(*text, (size_t)len, SR_JSON_LAST, &scan) != SR_JSON_OK)
        return none;
    return (struct sr_json_slice){*text, scan.len};
}

/* ---- facts ---- */

static int add(struct facts *facts, enum archive_fact kind, const char *value, size_t len)
{
    if (value == NULL || len == 0)
        return 0;
    if (facts->count[kind] == MAX_FACTS) {
        facts->truncated = true;
        return 0;
    }
    facts->count[kind]++;
    facts->failed =
        archive_index_add_fact(facts->index, kind, value, len, facts->leaf, &facts->error) < 0;
    return facts->failed ? -1 : 0;
}

static int add_text(struct facts *facts, enum archive_fact kind, const char *value)
{
    return value == NULL ? 0 : add(facts, kind, value, strlen(value));
}

/* Backwards, so that it is found by its end. */
static int add_run_end(struct facts *facts, const char *run_id)
{
    char backwards[ARCHIVE_LOG_RUN_ID];
    size_t len = strlen(run_id);
    for (size_t i = 0; i < len; i++)
        backwards[i] = run_id[len - 1 - i];
    return add(facts, ARCHIVE_FACT_RUN_END, backwards, len);
}

/* "sha256:..." of a report, with its quotes. */
static int add_hash(struct facts *facts, struct sr_json_slice value)
{
    const size_t prefix = sizeof SR_SHA256_PREFIX - 1;
    if (!evidence_is_hash(value) || memcmp(value.text + 1, EVIDENCE_HASH_ZERO, value.len - 2) == 0)
        return 0;
    return add(facts, ARCHIVE_FACT_HASH, value.text + 1 + prefix, SR_SHA256_HEX);
}

/* Where traffic went or would have gone: its address or name, and that with the port. */
static int add_place(struct facts *facts, enum archive_fact kind, const char *name, int64_t port)
{
    static const char single[] = "/32";
    char text[320];
    size_t len = strlen(name);
    if (len > sizeof single - 1 && strcmp(name + len - (sizeof single - 1), single) == 0)
        len -= sizeof single - 1;
    int with_port = snprintf(text, sizeof text, "%.*s:%lld", (int)(len < 300 ? len : 300), name,
                             (long long)port);
    return add(facts, kind, name, len) < 0 || add(facts, kind, text, (size_t)with_port) < 0 ? -1
                                                                                            : 0;
}

static int add_destination(struct facts *facts, enum archive_fact kind, struct sr_json_slice where,
                           int64_t port)
{
    const char *name = text_of(facts, where);
    return name == NULL ? 0 : add_place(facts, kind, name, port);
}

static int64_t number_of(struct sr_json_slice object, const char *name)
{
    int64_t number = 0;
    return sr_json_integer(sr_json_get(object, name), &number) ? number : 0;
}

static int add_traffic(struct facts *facts, enum archive_fact kind, struct sr_json_slice payload,
                       const char *where)
{
    int64_t port = number_of(payload, "port");
    if (add_destination(facts, kind, sr_json_get(payload, where), port) < 0)
        return -1;
    return add_destination(facts, kind, sr_json_get(payload, "host"), port);
}

static int add_reached_name(void *context, const char *name, int64_t port)
{
    return add_place(context, ARCHIVE_FACT_REACHED, name, port);
}

static int add_denied_name(void *context, const char *name, int64_t port)
{
    return add_place(context, ARCHIVE_FACT_DENIED, name, port);
}

/* A hit belongs to every rule at its destination, whose names may be several. */
static int add_hit(struct facts *facts, struct sr_json_slice payload)
{
    if (number_of(payload, "allowedHits") > 0 &&
        (add_traffic(facts, ARCHIVE_FACT_REACHED, payload, "target") < 0 ||
         archive_named_each(facts->named, payload, ARCHIVE_NAMED_REACHED, add_reached_name, facts) <
             0))
        return -1;
    if (number_of(payload, "blockedHits") > 0 &&
        (add_traffic(facts, ARCHIVE_FACT_DENIED, payload, "target") < 0 ||
         archive_named_each(facts->named, payload, ARCHIVE_NAMED_DENIED, add_denied_name, facts) <
             0))
        return -1;
    return 0;
}

/* Of an output and of its files, which may lie nowhere beside the report. */
static int add_output_hashes(struct facts *facts, struct sr_json_slice payload)
{
    struct sr_json_slice entries = sr_json_get(payload, "entries"), element;
    if (add_hash(facts, sr_json_get(payload, "hash")) < 0)
        return -1;
    for (size_t at = 0; sr_json_is_array(entries) && sr_json_next(entries, &at, &element);)
        if (add_hash(facts, sr_json_get(element, "sha256")) < 0)
            return -1;
    return 0;
}

static int on_event(void *context, uint64_t index, const struct sr_json_scan *scan,
                    const char *text, struct sr_error *err)
{
    struct facts *facts = context;
    struct evidence_event_fault fault;
    (void)index;
    (void)err;
    if (evidence_event_parse(scan, text, &facts->event, &fault) < 0)
        return 0;
    struct sr_json_slice payload = facts->event.payload;
    switch (facts->event.kind) {
    case SR_EVENT_NETWORK_RULE_APPLIED:
        if (archive_named_add(facts->named, payload) == 0)
            return 0;
        facts->failed = true;
        return sr_fail(&facts->error, SR_OPS_301, "archive.index", "out of memory");
    case SR_EVENT_NETWORK_RULE_HIT:
        return add_hit(facts, payload);
    case SR_EVENT_NETWORK_FLOW_DENIED:
        return add_traffic(facts, ARCHIVE_FACT_DENIED, payload, "destination");
    case SR_EVENT_MOUNT_APPLIED:
        return add_hash(facts, sr_json_get(payload, "imageHash"));
    case SR_EVENT_OUTPUT_COLLECTED:
        return add_output_hashes(facts, payload);
    default:
        return 0;
    }
}

static int add_hashes(struct facts *facts, struct sr_json_slice artifacts)
{
    static const char *const names[] = {"policyHash", "commandHash", "kernelHash", "rootfsHash"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (add_hash(facts, sr_json_get(artifacts, names[i])) < 0)
            return -1;
    struct sr_json_slice map = sr_json_get(artifacts, "files");
    struct sr_json_member file;
    if (sr_json_is_object(map))
        for (size_t at = 0; sr_json_next_member(map, &at, &file);)
            if (add_hash(facts, file.value) < 0)
                return -1;
    return 0;
}

static int add_labels(struct facts *facts, struct sr_json_slice labels)
{
    struct sr_json_member member;
    if (!sr_json_is_object(labels))
        return 0;
    for (size_t at = 0; sr_json_next_member(labels, &at, &member);) {
        sr_cleanup_buf struct sr_buf label = SR_BUF_INIT;
        sr_json_string(sr_json_quoted(member.key), &label);
        if (!sr_buf_ok(&label) || add(facts, ARCHIVE_FACT_LABEL, label.data, label.len) < 0)
            return -1;
        const char *value = text_of(facts, member.value);
        sr_buf_putc(&label, '=');
        sr_buf_puts(&label, value != NULL ? value : "");
        if (!sr_buf_ok(&label) || add(facts, ARCHIVE_FACT_LABEL, label.data, label.len) < 0)
            return -1;
    }
    return 0;
}

/* The command as a line, cut; and as facts its path, that path's last component, and the line. */
static int add_command(struct facts *facts, struct sr_json_slice command)
{
    char *line = facts->line;
    const char *path = text_of(facts, sr_json_get(command, "command"));
    struct sr_json_slice args = sr_json_get(command, "args"), element;
    if (path == NULL)
        return 0;
    int len = snprintf(line, MAX_COMMAND, "%s", path);
    const char *slash = strrchr(path, '/');
    if (add_text(facts, ARCHIVE_FACT_COMMAND, path) < 0 ||
        (slash != NULL && add_text(facts, ARCHIVE_FACT_COMMAND, slash + 1) < 0))
        return -1;
    for (size_t at = 0;
         len < MAX_COMMAND && sr_json_is_array(args) && sr_json_next(args, &at, &element);) {
        const char *arg = text_of(facts, element);
        len += snprintf(line + len, (size_t)(MAX_COMMAND - len), " %s", arg != NULL ? arg : "");
    }
    return add_text(facts, ARCHIVE_FACT_COMMAND, line);
}

/* What came out, file by file. */
static int add_outputs(struct facts *facts, int files)
{
    struct sr_json_scan scan;
    struct sr_json_slice element;
    sr_cleanup_free char *text = malloc(ARCHIVE_BUNDLE_MAX_OUTPUTS + 2);
    ssize_t len = text != NULL ? sr_read_small_file(files, ARCHIVE_BUNDLE_OUTPUTS, text,
                                                    ARCHIVE_BUNDLE_MAX_OUTPUTS + 2)
                               : -1;
    if (len <= 0 || sr_json_scan(text, (size_t)len, SR_JSON_LAST, &scan) != SR_JSON_OK)
        return 0;
    struct sr_json_slice document = {text, scan.len}, list = sr_json_get(document, "files");
    facts->truncated = facts->truncated || sr_json_get(document, "truncated").len > 0;
    for (size_t at = 0; sr_json_is_array(list) && sr_json_next(list, &at, &element);)
        if (add_hash(facts, sr_json_get(element, "sha256")) < 0)
            return -1;
    return 0;
}

/* Copies a string of the report into a field. */
static const char *keep_text(struct facts *facts, struct sr_json_slice value, char *field,
                             size_t size)
{
    const char *text = text_of(facts, value);
    if (text == NULL)
        return NULL;
    snprintf(field, size, "%s", text);
    return field;
}

static int add_documents(struct facts *facts, int files, struct sr_archive_run *run)
{
    sr_cleanup_free char *policy_text = NULL, *command_text = NULL;
    struct sr_json_slice policy = read_document(files, "policy.json", &policy_text);
    struct sr_json_slice command = read_document(files, "command.json", &command_text);
    struct sr_json_slice metadata = sr_json_get(policy, "metadata");
    run->policy =
        keep_text(facts, sr_json_get(metadata, "name"), facts->policy, sizeof facts->policy);
    if (add_text(facts, ARCHIVE_FACT_POLICY, run->policy) < 0 ||
        add_labels(facts, sr_json_get(metadata, "labels")) < 0 ||
        add_command(facts, command.len > 0 ? command : sr_json_get(policy, "runtime")) < 0 ||
        add_outputs(facts, files) < 0)
        return -1;
    run->command = facts->line[0] != '\0' ? facts->line : NULL;
    return 0;
}

/* Only the report: what it has in sum, and where its events say traffic went. 1: it is no
 * report. */
static int add_report(struct facts *facts, int dir, struct sr_archive_run *run)
{
    sr_cleanup_report_walk struct evidence_report_walk walk;
    sr_cleanup_fd int fd = sr_open_below(dir, ARCHIVE_BUNDLE_REPORT);
    struct sr_error fault;
    char number[24];
    if (fd < 0)
        return 1;
    if (evidence_report_walk(&walk, fd, 0, on_event, facts, &fault) < 0)
        return facts->failed ? -1 : 1;
    run->cause = keep_text(facts, sr_json_get(evidence_report_member(&walk, "exit"), "cause"),
                           facts->cause, sizeof facts->cause);
    run->result =
        keep_text(facts, sr_json_get(evidence_report_member(&walk, "verification"), "result"),
                  facts->result, sizeof facts->result);
    run->started = keep_text(facts, evidence_report_member(&walk, "startedAt"), facts->started,
                             sizeof facts->started);
    run->finished = keep_text(facts, evidence_report_member(&walk, "finishedAt"), facts->finished,
                              sizeof facts->finished);
    run->has_exit_code =
        sr_json_integer(evidence_report_member(&walk, "exitCode"), &run->exit_code);
    snprintf(number, sizeof number, "%lld", (long long)run->exit_code);
    if ((run->has_exit_code && add_text(facts, ARCHIVE_FACT_EXIT_CODE, number) < 0) ||
        add_text(facts, ARCHIVE_FACT_CAUSE, run->cause) < 0 ||
        add_hashes(facts, evidence_report_member(&walk, "artifacts")) < 0)
        return -1;
    return 0;
}

static int add_bundle(struct facts *facts, int dir, struct sr_archive_run *run,
                      const struct archive_log_entry *entry)
{
    const size_t prefix = sizeof SR_SHA256_PREFIX - 1;
    sr_cleanup_fd int files = dir < 0 ? -1
                                      : openat(dir, ARCHIVE_BUNDLE_FILES_DIR,
                                               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    /* What names the run comes first, so that no number of other hashes keeps it from being
     * found. */
    if (add_text(facts, ARCHIVE_FACT_RUN_ID, entry->run_id) < 0 ||
        add_run_end(facts, entry->run_id) < 0 ||
        add_text(facts, ARCHIVE_FACT_BUNDLE, entry->bundle + prefix) < 0 ||
        add_text(facts, ARCHIVE_FACT_HASH, entry->bundle + prefix) < 0 ||
        add_text(facts, ARCHIVE_FACT_HASH, entry->report + prefix) < 0 ||
        add_text(facts, ARCHIVE_FACT_HASH, entry->original + prefix) < 0)
        return -1;
    int result = dir < 0 ? 1 : add_report(facts, dir, run);
    if (result < 0 || (result == 0 && files >= 0 && add_documents(facts, files, run) < 0))
        return -1;
    if (result == 1)
        run->result = "missing";
    if (add_text(facts, ARCHIVE_FACT_RESULT, run->result) < 0)
        return -1;
    run->truncated = facts->truncated || facts->named->truncated;
    return archive_index_add_run(facts->index, run, &facts->error);
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

int archive_facts_add(struct archive_index *index, int root, const struct archive_log_entry *entry,
                      uint64_t leaf, struct sr_error *err)
{
    char path[ARCHIVE_BUNDLE_PATH];
    sr_cleanup_free struct archive_named *named = calloc(1, sizeof *named);
    struct facts facts = {.index = index, .leaf = leaf, .named = named};
    if (named == NULL)
        return sr_fail(err, SR_OPS_301, "archive.index", "out of memory");
    struct sr_archive_run run = {.leaf = leaf,
                                 .bundle = entry->bundle,
                                 .run_id = entry->run_id,
                                 .stored = entry->time,
                                 .retention = entry->retention,
                                 .origin = or_null(entry->origin),
                                 .from = or_null(entry->from),
                                 .signature = or_null(entry->signature),
                                 .signer = or_null(entry->signer),
                                 .checked_by = or_null(entry->checked_by)};
    archive_bundle_path(entry->bundle, path);
    sr_cleanup_fd int dir = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int result = add_bundle(&facts, dir, &run, entry);
    if (result < 0 && err != NULL)
        *err = facts.error;
    archive_named_free(named);
    evidence_event_free(&facts.event);
    sr_buf_free(&facts.text);
    return result;
}
