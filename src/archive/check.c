#include "archive/check.h"

#include "common/fs.h"
#include "evidence/event.h"
#include "evidence/report_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUTS "outputs/"

int archive_named_files(int fd, archive_on_named_file *on_file, void *context, struct sr_error *err)
{
    sr_cleanup_report_walk struct evidence_report_walk walk;
    if (evidence_report_walk(&walk, fd, 0, NULL, NULL, err) < 0)
        return -1;
    struct sr_json_slice map = sr_json_get(evidence_report_member(&walk, "artifacts"), "files");
    struct sr_json_member file;
    if (sr_json_is_object(map))
        for (size_t at = 0; sr_json_next_member(map, &at, &file) && on_file(context, &file);)
            continue;
    return 0;
}

/* The report's outputs beside those of outputs.json; both lists are in canonical order. */
struct outputs {
    struct sr_json_slice listed; /* array; empty when there is no outputs.json */
    size_t at;
    uint64_t named; /* outputs that the report names */
    struct sr_verification *out;
    bool ok;
};

static bool starts_with(struct sr_json_slice name, const char *prefix)
{
    size_t len = strlen(prefix);
    return name.len > len && memcmp(name.text, prefix, len) == 0;
}

/* Is the output listed with this hash? Moves on to where it is or would be. */
static bool is_listed(struct outputs *outputs, const struct sr_json_member *file)
{
    struct sr_json_slice element;
    size_t before = outputs->at;
    for (; sr_json_next(outputs->listed, &outputs->at, &element); before = outputs->at) {
        struct sr_json_slice key = sr_json_get(element, "name"),
                             sum = sr_json_get(element, "sha256");
        if (!sr_json_is_string(key))
            continue;
        int order = sr_json_compare_keys(sr_json_inside(key), file->key);
        if (order < 0)
            continue;
        if (order > 0)
            outputs->at = before;
        return order == 0 && sum.len == file->value.len &&
               memcmp(sum.text, file->value.text, sum.len) == 0;
    }
    return false;
}

static bool check_output(void *context, const struct sr_json_member *file)
{
    struct outputs *outputs = context;
    if (!starts_with(file->key, OUTPUTS))
        return true;
    outputs->named++;
    if (is_listed(outputs, file))
        return true;
    outputs->ok = false;
    struct sr_verification *out = outputs->out;
    char path[160];
    snprintf(path, sizeof path, "artifacts.files[\"%.*s\"]",
             (int)(file->key.len < 120 ? file->key.len : (size_t)120), file->key.text);
    if (out->error_count < SR_REPORT_MAX_ERRORS)
        sr_fail(&out->errors[out->error_count++], SR_EVD_302, path,
                "the run's outputs have no such file with this hash");
    else
        out->more_errors++;
    return true;
}

static bool count_file(void *context, const struct sr_json_member *file)
{
    (void)file;
    ++*(uint64_t *)context;
    return true;
}

static void add_check(struct sr_verification *out, const char *name, bool ok)
{
    if (out->check_count < SR_REPORT_MAX_CHECKS)
        out->checks[out->check_count++] = (struct sr_report_check){.name = name, .ok = ok};
    out->valid = out->valid && ok;
}

static int check_outputs(int files, int report, struct sr_verification *out, struct sr_error *err)
{
    struct outputs outputs = {.listed = {"[]", 2}, .out = out, .ok = true};
    struct sr_json_scan scan;
    sr_cleanup_free char *text = malloc(ARCHIVE_BUNDLE_MAX_OUTPUTS + 2);
    if (text == NULL)
        return sr_fail(err, SR_OPS_301, "archive.bundle", "out of memory");
    ssize_t len =
        sr_read_small_file(files, ARCHIVE_BUNDLE_OUTPUTS, text, ARCHIVE_BUNDLE_MAX_OUTPUTS + 2);
    if (len > 0 && sr_json_scan(text, (size_t)len, SR_JSON_LAST, &scan) == SR_JSON_OK) {
        struct sr_json_slice listed = sr_json_get((struct sr_json_slice){text, scan.len}, "files");
        if (sr_json_is_array(listed))
            outputs.listed = listed;
    }
    if (archive_named_files(report, check_output, &outputs, NULL) < 0 || outputs.named == 0)
        return 0; /* the verification has said so */
    add_check(out, "outputs_manifest", outputs.ok);
    return 0;
}

int archive_bundle_verify(int files, const struct archive_manifest *manifest, const int *run,
                          struct sr_verification *verification, struct sr_error *err)
{
    sr_cleanup_fd int report = sr_open_below(files, ARCHIVE_BUNDLE_REPORT);
    uint64_t named = 0;
    if (report < 0)
        return sr_fail(err, SR_OPS_301, "archive.bundle", "its report cannot be opened: %s",
                       strerror(-report));
    if (archive_named_files(report, count_file, &named, NULL) < 0)
        named = 0; /* the verification says why */
    /* A report that came alone and names nothing has no files that could be asked for. */
    bool with_files = named > 0 || archive_manifest_find(manifest, "policy.json") != NULL ||
                      archive_manifest_find(manifest, "command.json") != NULL;
    bool with_outputs =
        run != NULL && archive_manifest_find(manifest, ARCHIVE_BUNDLE_OUTPUTS) != NULL;
    const struct sr_verify_options options = {
        .dirfd = &files,
        .events_path = archive_manifest_find(manifest, EVIDENCE_EVENTS_FILE) != NULL
                           ? EVIDENCE_EVENTS_FILE
                           : NULL,
        .artifacts_dir = with_files ? "." : NULL,
        .elsewhere = OUTPUTS,
        .outputs_dirfd = with_outputs ? run : NULL,
    };
    if (sr_report_verify_fd(report, &options, verification, err) < 0)
        return -1;
    if (with_outputs)
        add_check(verification, ARCHIVE_BUNDLE_OUTPUTS_CHECK, !verification->outputs_differ);
    return check_outputs(files, report, verification, err);
}
