#include "cli/archive_text.h"

#include "cli/cli.h"
#include "common/jcs.h"
#include "common/printable.h"

#include <string.h>
#include <unistd.h>

/* ---- pieces ---- */

/* A text that came from a run, at most width characters of it. */
static void put_printable(struct sr_buf *out, const char *text, size_t width)
{
    char copy[512];
    snprintf(copy, sizeof copy, "%.*s", (int)(width < sizeof copy ? width : sizeof copy - 1),
             text != NULL ? text : "-");
    sr_make_printable(copy);
    sr_buf_puts(out, copy);
}

/* One of a table's columns, at least as wide as width. */
static void put_column(struct sr_buf *out, const char *text, int width, size_t max)
{
    sr_cleanup_buf struct sr_buf column = SR_BUF_INIT;
    put_printable(&column, text, max);
    sr_buf_printf(out, "%-*s  ", width, column.data != NULL ? column.data : "");
}

static void put_line(struct sr_buf *out, const char *name, const char *text)
{
    sr_buf_printf(out, "%-10s ", name);
    put_printable(out, text, 400);
    sr_buf_putc(out, '\n');
}

/* A word of the verdict: whose word the run is. A signature that nobody could check is nobody's. */
static const char *signature_words(const char *signature, const char *signer,
                                   const char *checked_by, char text[48])
{
    if (signature == NULL || signature[0] == '\0')
        return "origin unknown"; /* it was stored before that was written down */
    if (strcmp(signature, "none") == 0)
        return "unsigned";
    if (strcmp(signature, "bad") == 0)
        return "bad signature";
    if (strcmp(signature, "good") != 0)
        return "signature unchecked";
    if (checked_by != NULL && strcmp(checked_by, "sign-key") == 0)
        return "signed here";
    snprintf(text, 48, "signed by %.16s", signer != NULL ? signer : "?");
    return text;
}

/* What a reader must not take for more than it is: "pass, unsigned, imported". */
static void put_verdict(struct sr_buf *out, const char *result, const char *origin,
                        const char *signature, const char *signer, const char *checked_by)
{
    char text[48];
    bool imported = origin != NULL && strcmp(origin, "imported") == 0;
    put_printable(out, result, 16);
    sr_buf_printf(out, ", %s%s", signature_words(signature, signer, checked_by, text),
                  imported ? ", imported" : "");
}

static void put_provenance_verdict(struct sr_buf *out, const char *result,
                                   const struct sr_archive_provenance *provenance)
{
    put_verdict(out, result, provenance->origin, provenance->signature, provenance->signer,
                provenance->checked_by);
}

static void put_member(struct sr_buf *out, const char *key, const char *text)
{
    sr_buf_printf(out, ",\"%s\":", key);
    if (text != NULL)
        sr_jcs_text(out, text);
    else
        sr_buf_puts(out, "null");
}

static const char *or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* Where it came from and who vouches for it; nothing of that is known of old entries. */
static void put_provenance(struct sr_buf *out, const char *origin, const char *from,
                           const char *signature, const char *signer, const char *checked_by)
{
    origin = or_null(origin);
    sr_buf_puts(out, ",\"provenance\":{\"origin\":");
    if (origin != NULL)
        sr_jcs_text(out, origin);
    else
        sr_buf_puts(out, "null");
    if (origin != NULL && strcmp(origin, "imported") == 0)
        put_member(out, "from", or_null(from) != NULL ? from : "unknown");
    put_member(out, "signature", or_null(signature));
    put_member(out, "signer", or_null(signer));
    put_member(out, "checkedBy", or_null(checked_by));
    sr_buf_putc(out, '}');
}

static void put_provenance_of(struct sr_buf *out, const struct sr_archive_provenance *provenance)
{
    put_provenance(out, provenance->origin, provenance->from, provenance->signature,
                   provenance->signer, provenance->checked_by);
}

static void put_run(struct sr_buf *out, const struct sr_archive_run *run)
{
    sr_buf_puts(out, "{\"bundleId\":");
    sr_jcs_text(out, run->bundle);
    put_member(out, "runId", run->run_id);
    put_member(out, "policy", run->policy);
    put_member(out, "command", run->command);
    sr_buf_puts(out, ",\"exitCode\":");
    if (run->has_exit_code)
        sr_buf_i64(out, run->exit_code);
    else
        sr_buf_puts(out, "null");
    put_member(out, "cause", run->cause);
    put_member(out, "result", run->result);
    put_provenance(out, run->origin, run->from, run->signature, run->signer, run->checked_by);
    put_member(out, "startedAt", run->started);
    put_member(out, "finishedAt", run->finished);
    put_member(out, "storedAt", run->stored);
    put_member(out, "retention", run->retention);
    if (run->pruned != NULL)
        put_member(out, "prunedAt", run->pruned);
    if (run->truncated)
        sr_buf_puts(out, ",\"truncated\":true");
    sr_buf_printf(out, ",\"leaf\":%llu", (unsigned long long)run->leaf);
}

/* ---- lists ---- */

void archive_begin_runs(struct archive_table *table)
{
    if (table->json)
        sr_buf_putc(table->out, '[');
    else
        sr_buf_printf(table->out, "%-12s  %-25s  %-20s  %-24s  %4s  %-16s  %s\n", "BUNDLE", "RUN",
                      "STARTED", "VERDICT", "EXIT", "POLICY", "COMMAND");
}

void archive_add_run(void *context, const struct sr_archive_run *run)
{
    struct archive_table *table = context;
    struct sr_buf *out = table->out;
    if (table->json) {
        if (table->rows++ > 0)
            sr_buf_putc(out, ',');
        put_run(out, run);
        sr_buf_putc(out, '}');
        return;
    }
    table->rows++;
    char exit_code[24] = "-";
    if (run->has_exit_code)
        snprintf(exit_code, sizeof exit_code, "%lld", (long long)run->exit_code);
    put_column(out, run->bundle + strlen("sha256:"), 12, 12);
    put_column(out, run->run_id, 25, 25);
    put_column(out, run->started, 20, 19);
    sr_cleanup_buf struct sr_buf verdict = SR_BUF_INIT;
    put_verdict(&verdict, run->pruned != NULL ? "pruned" : run->result, run->origin, run->signature,
                run->signer, run->checked_by);
    put_column(out, verdict.data, 24, 80);
    sr_buf_printf(out, "%4s  ", exit_code);
    put_column(out, run->policy, 16, 64);
    put_printable(out, run->command, 60);
    sr_buf_putc(out, '\n');
}

void archive_end_runs(struct archive_table *table)
{
    if (table->json)
        sr_buf_puts(table->out, "]\n");
    else if (table->rows == 0)
        table->out->len = 0; /* nothing but a heading says nothing */
}

void archive_begin_list(struct archive_table *table)
{
    if (table->json)
        sr_buf_putc(table->out, '[');
}

void archive_add_pruned(void *context, const char *bundle, const char *run_id)
{
    struct archive_table *table = context;
    if (!table->json) {
        sr_buf_printf(table->out, "%s %s ", table->dry_run ? "would prune" : "pruned", bundle);
        put_printable(table->out, run_id, 128);
        sr_buf_putc(table->out, '\n');
        return;
    }
    sr_buf_puts(table->out, table->rows++ > 0 ? ",{\"bundleId\":" : "{\"bundleId\":");
    sr_jcs_text(table->out, bundle);
    put_member(table->out, "runId", run_id);
    sr_buf_putc(table->out, '}');
}

static void put_added(struct sr_buf *out, const struct sr_archive_added *added, bool json)
{
    const char *result = added->valid ? "pass" : "fail";
    if (!json) {
        sr_buf_printf(out, "%s ", added->bundle);
        put_printable(out, added->run_id, 128);
        sr_buf_putc(out, ' ');
        put_provenance_verdict(out, result, &added->provenance);
        sr_buf_printf(out, "%s\n",
                      added->repaired  ? " (was there already, damaged; it is whole again)"
                      : added->already ? " (was there already)"
                                       : "");
        return;
    }
    sr_buf_puts(out, "{\"bundleId\":");
    sr_jcs_text(out, added->bundle);
    put_member(out, "runId", added->run_id);
    put_member(out, "result", result);
    put_provenance_of(out, &added->provenance);
    put_member(out, "path", added->path);
    sr_buf_puts(out, added->already ? ",\"already\":true" : ",\"already\":false");
    if (added->repaired)
        sr_buf_puts(out, ",\"repaired\":true");
    if (added->note[0] != '\0')
        put_member(out, "note", added->note);
    sr_buf_putc(out, '}');
}

void archive_add_imported(void *context, const struct sr_archive_added *added)
{
    struct archive_table *table = context;
    table->failures += !added->valid;
    if (table->json && table->rows++ > 0)
        sr_buf_putc(table->out, ',');
    put_added(table->out, added, table->json);
}

void archive_end_list(struct archive_table *table)
{
    if (table->json)
        sr_buf_puts(table->out, "]\n");
}

bool archive_print_added(const struct sr_archive_added *added, bool json)
{
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    put_added(&out, added, json);
    if (json)
        sr_buf_putc(&out, '\n');
    return cli_emit(&out);
}

/* ---- one bundle ---- */

struct description {
    struct sr_buf *out;
    struct sr_archive_provenance provenance;
    bool json;
    size_t files;
};

static void put_provenance_lines(struct sr_buf *out, const char *origin, const char *from,
                                 const char *signature, const char *signer, const char *checked_by)
{
    char text[48], line[200];
    const char *words = signature_words(signature, signer, checked_by, text);
    if (or_null(origin) == NULL) {
        put_line(out, "origin", "not known: the entry is older than that");
        return;
    }
    bool imported = strcmp(origin, "imported") == 0;
    snprintf(line, sizeof line, "imported from %s",
             or_null(from) != NULL ? from : "an unknown archive");
    put_line(out, "origin", imported ? line : "stored from a directory");
    snprintf(line, sizeof line, "%s%s%s", words, or_null(signer) != NULL ? ": key " : "",
             or_null(signer) != NULL ? signer : "");
    put_line(out, "signature", line);
}

static void describe_run(void *context, const struct sr_archive_run *found)
{
    struct description *description = context;
    struct sr_buf *out = description->out;
    const struct sr_archive_provenance *provenance = &description->provenance;
    struct sr_archive_run by_log = *found;
    const struct sr_archive_run *run = &by_log;
    by_log.origin = provenance->origin;
    by_log.from = provenance->from;
    by_log.signature = provenance->signature;
    by_log.signer = provenance->signer;
    by_log.checked_by = provenance->checked_by;
    if (description->json) {
        put_run(out, run);
        return;
    }
    const struct {
        const char *name, *text;
    } lines[] = {
        {"bundle", run->bundle},       {"run", run->run_id},        {"policy", run->policy},
        {"command", run->command},     {"cause", run->cause},       {"result", run->result},
        {"started", run->started},     {"finished", run->finished}, {"stored", run->stored},
        {"retention", run->retention}, {"pruned", run->pruned},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (lines[i].text != NULL)
            put_line(out, lines[i].name, lines[i].text);
    }
    put_provenance_lines(out, run->origin, run->from, run->signature, run->signer, run->checked_by);
    if (run->has_exit_code)
        sr_buf_printf(out, "%-10s %lld\n", "exit code", (long long)run->exit_code);
    sr_buf_printf(out, "%-10s %llu\n", "leaf", (unsigned long long)run->leaf);
}

static void describe_file(void *context, const char *name, uint64_t size, const char *hash)
{
    struct description *description = context;
    if (!description->json) {
        sr_buf_printf(description->out, "%-20s %12llu  %s\n", name, (unsigned long long)size, hash);
        return;
    }
    sr_buf_puts(description->out, description->files++ > 0 ? ",{\"name\":" : "{\"name\":");
    sr_jcs_text(description->out, name);
    sr_buf_printf(description->out, ",\"size\":%llu", (unsigned long long)size);
    put_member(description->out, "sha256", hash);
    sr_buf_putc(description->out, '}');
}

int archive_describe(struct sr_archive *archive, const char *bundle, bool json, struct sr_buf *out,
                     struct sr_error *err)
{
    struct description description = {.out = out, .json = json};
    sr_cleanup_buf struct sr_buf files = SR_BUF_INIT;
    const struct sr_archive_query query = {.bundle = bundle, .limit = 1};
    char note[256], path[PATH_MAX];
    bool more;
    if (sr_archive_provenance_of(archive, bundle, &description.provenance, err) < 0 ||
        sr_archive_search(archive, &query, describe_run, &description, &more, note, err) < 0)
        return -1;
    description.out = &files;
    if (sr_archive_files(archive, bundle, describe_file, &description, path, err) < 0)
        return -1;
    if (json) {
        put_member(out, "path", path);
        sr_buf_puts(out, ",\"files\":[");
    } else {
        sr_buf_printf(out, "%-10s %s\n\n", "path", path);
    }
    sr_buf_append(out, files.data, files.len);
    if (json)
        sr_buf_puts(out, "]}\n");
    return 0;
}

/* ---- verification ---- */

static void verification_json(struct sr_buf *out, const struct sr_archive_verification *found)
{
    sr_buf_puts(out,
                found->valid ? "{\"valid\":true,\"checks\":[" : "{\"valid\":false,\"checks\":[");
    for (size_t i = 0; i < found->check_count; i++) {
        const struct sr_report_check *check = &found->checks[i];
        sr_buf_puts(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        sr_jcs_text(out, check->name);
        sr_buf_puts(out, check->ok ? ",\"ok\":true" : ",\"ok\":false");
        if (check->note[0] != '\0')
            put_member(out, "note", check->note);
        sr_buf_putc(out, '}');
    }
    sr_buf_puts(out, "],\"errors\":");
    cli_error_items(out, found->errors, found->error_count);
    if (found->more_errors > 0)
        sr_buf_printf(out, ",\"moreErrors\":%llu", (unsigned long long)found->more_errors);
    sr_buf_printf(out, ",\"entries\":%llu,\"bundles\":%llu,\"pruned\":%llu}\n",
                  (unsigned long long)found->entries, (unsigned long long)found->bundles,
                  (unsigned long long)found->pruned);
}

static void verification_text(struct sr_buf *out, const struct sr_archive_verification *found,
                              bool colour)
{
    const char *good = colour ? "\033[32m" : "", *bad = colour ? "\033[31m" : "";
    const char *plain = colour ? "\033[0m" : "";
    for (size_t i = 0; i < found->check_count; i++) {
        const struct sr_report_check *check = &found->checks[i];
        sr_buf_printf(out, "%s%-6s%s %s", check->ok ? good : bad, check->ok ? "ok" : "FAILED",
                      plain, check->name);
        sr_buf_printf(out, check->note[0] != '\0' ? " (%s)\n" : "%s\n", check->note);
    }
    for (size_t i = 0; i < found->error_count; i++)
        sr_buf_printf(out, "%s %s: %s\n", sr_code_name(found->errors[i].code),
                      found->errors[i].path, found->errors[i].message);
    if (found->more_errors > 0)
        sr_buf_printf(out, "and %llu more errors\n", (unsigned long long)found->more_errors);
    sr_buf_printf(out, "%s%s%s %llu bundles verified, %llu pruned, %llu entries in the log\n",
                  found->valid ? good : bad, found->valid ? "valid" : "INVALID", plain,
                  (unsigned long long)found->bundles, (unsigned long long)found->pruned,
                  (unsigned long long)found->entries);
}

bool archive_print_verification(const struct sr_archive_verification *found, bool json)
{
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    if (json)
        verification_json(&out, found);
    else
        verification_text(&out, found, cli_may_colour(STDOUT_FILENO));
    return cli_emit(&out);
}

/* ---- proofs ---- */

bool archive_print_proof(const struct sr_archive_proof *proof, bool json, bool checked)
{
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    if (json) {
        sr_buf_puts(&out, checked ? "{\"valid\":true,\"bundleId\":" : "{\"bundleId\":");
        sr_jcs_text(&out, proof->bundle);
        put_member(&out, "runId", proof->run_id);
        put_member(&out, "storedAt", proof->stored);
        put_member(&out, "originalHash", proof->original);
        put_member(&out, "reportHash", proof->report);
        put_member(&out, "origin", proof->origin);
        put_provenance_of(&out, &proof->provenance);
        put_member(&out, "verifierKey", proof->verifier);
        sr_buf_printf(&out, ",\"leafIndex\":%llu,\"treeSize\":%llu",
                      (unsigned long long)proof->index, (unsigned long long)proof->size);
        if (proof->text != NULL)
            put_member(&out, "proof", proof->text);
        sr_buf_puts(&out, "}\n");
    } else if (proof->text != NULL) {
        sr_buf_puts(&out, proof->text);
    } else {
        sr_buf_printf(&out, "valid: %s\nis entry %llu of the %llu that %s has signed\n",
                      proof->bundle, (unsigned long long)proof->index,
                      (unsigned long long)proof->size, proof->origin);
        put_line(&out, "run", proof->run_id);
        put_line(&out, "stored", proof->stored);
        put_line(&out, "report", proof->original);
        put_line(&out, "archived", proof->report);
        put_provenance_lines(&out, proof->provenance.origin, proof->provenance.from,
                             proof->provenance.signature, proof->provenance.signer,
                             proof->provenance.checked_by);
    }
    return cli_emit(&out);
}

bool archive_print_bad_proof(const struct sr_error *error)
{
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    sr_buf_puts(&out, "{\"valid\":false,\"errors\":");
    cli_error_items(&out, error, 1);
    sr_buf_puts(&out, "}\n");
    return cli_emit(&out);
}
