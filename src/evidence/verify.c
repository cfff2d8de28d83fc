#include "evidence/verify.h"

#include "common/printable.h"
#include "evidence/event.h"
#include "evidence/report.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static const char *const check_names[CHECK_COUNT] = {
    [CHECK_SCHEMA] = "schema",
    [CHECK_ARTIFACT_HASH] = "artifact_hash",
    [CHECK_EVENT_CHAIN] = "event_chain",
    [CHECK_CANONICAL_FORM] = "canonical_form",
    [CHECK_TERMINAL_EVENT] = "terminal_event",
    [CHECK_AGGREGATES] = "aggregates",
    [CHECK_EVENTS_FILE] = "events_file",
    [CHECK_ARTIFACT_FILES] = "artifact_files",
    [CHECK_SIGNATURE] = "signature",
};

static void take_run_id(struct verify *v)
{
    struct sr_json_slice run_id = evidence_report_member(&v->walk, "runId");
    if (!sr_json_is_string(run_id))
        return;
    size_t room = sizeof v->out->run_id - 1;
    size_t n = run_id.len - 2 < room ? run_id.len - 2 : room;
    for (size_t i = 0; i < n; i++)
        v->out->run_id[i] = sr_ascii(run_id.text[i + 1]);
}

/* Did our own writer, which promises exact bytes, write this? It says so, and no other wrote these
 * members: who takes out the promise alone has not taken the report back to a generation of which
 * less is known. */
static bool is_sealed(const struct verify *v)
{
    static const char *const ours[][2] = {{"", "assurance"},
                                          {"", "exit"},
                                          {"", EVIDENCE_OBSERVED_BY},
                                          {"artifacts", "files"},
                                          {"policySummary", "name"},
                                          {"integrity", "canonicalization"},
                                          {"integrity", EVIDENCE_OBSERVERS},
                                          {"", EVIDENCE_EXIT_CODE_OBSERVED_BY}};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (verify_field(v, ours[i][0], ours[i][1]).len > 0)
            return true;
    return v->told.observed > 0;
}

static void judge(struct verify *v, int fd, uint64_t offset)
{
    struct sr_error fault = {0};
    verify_open_events(v);
    if (evidence_report_walk_bytes(&v->walk, fd, offset, v->report_bytes, verify_event, v, &fault) <
        0) {
        verify_give_up(v, &fault);
        return;
    }
    if (v->report_bytes != NULL && sr_hasher_final(v->report_bytes, v->report_hash) < 0)
        v->no_memory = true;
    v->out->event_count = v->walk.event_count;
    v->sealed = is_sealed(v);
    take_run_id(v);
    verify_fields(v);
    verify_events_end(v);
    if (v->sealed) {
        v->wanted[CHECK_CANONICAL_FORM] = true;
        if (!v->walk.canonical)
            verify_error(v, CHECK_CANONICAL_FORM, SR_EVD_302, "report",
                         "expected canonical JSON (RFC 8785) and one newline, found another "
                         "spelling from byte %llu on: it was changed after it was sealed",
                         (unsigned long long)v->walk.odd_at);
    }
    verify_aggregates(v);
    verify_outputs_manifest(v);
    verify_files(v);
    verify_signature(v);
}

static void begin(struct verify *v, const struct sr_verify_options *options,
                  struct sr_verification *out)
{
    static const struct sr_verify_options nothing = {0};
    v->options = options != NULL ? options : &nothing;
    v->out = out;
    v->walk.reader.copy_fd = -1;
    v->events_fd = -1;
    v->events.reader.copy_fd = -1;
    memcpy(v->last, EVIDENCE_HASH_ZERO, sizeof v->last);
    v->last_known = true;
    for (int i = 0; i < CHECK_COUNT; i++) {
        v->checks[i].name = check_names[i];
        v->checks[i].ok = true;
        v->wanted[i] = i <= CHECK_EVENT_CHAIN;
    }
    v->wanted[CHECK_EVENTS_FILE] = v->options->events_path != NULL;
    v->wanted[CHECK_ARTIFACT_FILES] =
        v->options->artifacts_dir != NULL || v->options->outputs_dir != NULL;
    v->wanted[CHECK_SIGNATURE] = v->options->attestation_path != NULL;
}

static void conclude(struct verify *v)
{
    struct sr_verification *out = v->out;
    out->valid = out->error_count == 0 && !v->no_memory;
    out->check_count = 0;
    for (int i = 0; i < CHECK_COUNT; i++) {
        if (!v->wanted[i])
            continue;
        out->checks[out->check_count++] = v->checks[i];
        out->valid = out->valid && v->checks[i].ok;
    }
}

static void release(struct verify *v)
{
    evidence_report_walk_free(&v->walk);
    evidence_event_file_close(&v->events);
    sr_close_fd(&v->events_fd);
    evidence_event_free(&v->event);
    evidence_aggregate_free(&v->aggregate);
    verify_told_free(&v->told);
    sr_buf_free(&v->run_id);
    sr_buf_free(&v->outputs);
    verify_outputs_free(v);
    sr_hasher_free(v->hasher);
    sr_hasher_free(v->report_bytes);
    sr_hasher_free(v->events_bytes);
    free(v);
}

/* The hashers; those of whole files only when somebody will ask. */
static bool make_hashers(struct verify *v, bool attesting)
{
    v->hasher = sr_hasher_new();
    if (v->hasher == NULL)
        return false;
    if (!attesting && v->options->attestation_path == NULL)
        return true;
    v->report_bytes = sr_hasher_new();
    v->events_bytes = sr_hasher_new();
    if (v->report_bytes == NULL || v->events_bytes == NULL)
        return false;
    sr_hasher_reset(v->report_bytes);
    sr_hasher_reset(v->events_bytes);
    return true;
}

/* fd is -1 when the file could not be opened, and unreadable says why. */
static int verify(int fd, const char *unreadable, const struct sr_verify_options *options,
                  struct sr_verification *verification, verify_then *then, void *context,
                  struct sr_error *err)
{
    verification->errors = calloc(SR_REPORT_MAX_ERRORS, sizeof *verification->errors);
    struct verify *v = calloc(1, sizeof *v);
    if (v == NULL || verification->errors == NULL) {
        free(v);
        return sr_fail(err, SR_EVD_002, "report", "out of memory");
    }
    begin(v, options, verification);
    if (!make_hashers(v, then != NULL)) {
        v->no_memory = true;
    } else if (fd < 0) {
        struct sr_error fault;
        sr_fail(&fault, SR_EVD_002, "report", "%s", unreadable);
        verify_give_up(v, &fault);
    } else {
        off_t at = lseek(fd, 0, SEEK_CUR);
        judge(v, fd, at > 0 ? (uint64_t)at : 0);
    }
    conclude(v);
    int result = v->no_memory ? sr_fail(err, SR_EVD_002, "report", "out of memory") : 0;
    if (result == 0 && verification->valid && then != NULL)
        result = then(context, v, err);
    release(v);
    return result;
}

int verify_report(int fd, const struct sr_verify_options *options,
                  struct sr_verification *verification, verify_then *then, void *context,
                  struct sr_error *err)
{
    return verify(fd, "is not open", options, verification, then, context, err);
}

int sr_report_verify_fd(int fd, const struct sr_verify_options *options,
                        struct sr_verification *verification, struct sr_error *err)
{
    return verify_report(fd, options, verification, NULL, NULL, err);
}

int sr_report_verify(const char *path, const struct sr_verify_options *options,
                     struct sr_verification *verification, struct sr_error *err)
{
    if (strcmp(path, "-") == 0)
        return verify_report(STDIN_FILENO, options, verification, NULL, NULL, err);
    /* Without O_NONBLOCK opening a FIFO would wait for a writer. */
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    char reason[128] = "";
    if (fd < 0 || fstat(fd, &st) < 0) {
        snprintf(reason, sizeof reason, "cannot be opened: %s", strerror(errno));
        sr_close_fd(&fd);
    } else if (!S_ISREG(st.st_mode)) {
        snprintf(reason, sizeof reason, "is not a regular file; '-' reads standard input");
        sr_close_fd(&fd);
    }
    return verify(fd, reason, options, verification, NULL, NULL, err);
}

void sr_verification_free(struct sr_verification *verification)
{
    free(verification->errors);
    verification->errors = NULL;
    verification->error_count = 0;
}
