#include "archive_text.h"

#include "cli.h"
#include "jcs.h"
#include "printable.h"

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

static void put_member(struct sr_buf *out, const char *key, const char *text)
{
    sr_buf_printf(out, ",\"%s\":", key);
    if (text != NULL)
        sr_jcs_text(out, text);
    else
        sr_buf_puts(out, "null");
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
        sr_buf_printf(table->out, "%-12s  %-25s  %-20s  %-6s  %4s  %-16s  %s\n", "BUNDLE", "RUN",
                      "STARTED", "RESULT", "EXIT", "POLICY", "COMMAND");
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
    put_column(out, run->pruned != NULL ? "pruned" : run->result, 6, 6);
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
        sr_buf_printf(out, " %s%s\n", result,
                      added->repaired  ? " (was there already, damaged; it is whole again)"
                      : added->already ? " (was there already)"
                                       : "");
        return;
    }
    sr_buf_puts(out, "{\"bundleId\":");
    sr_jcs_text(out, added->bundle);
    put_member(out, "runId", added->run_id);
    put_member(out, "result", result);
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
    return sr_emit(&out);
}

/* ---- one bundle ---- */

struct description {
    struct sr_buf *out;
    bool json;
    size_t files;
};

static void describe_run(void *context, const struct sr_archive_run *run)
{
    struct description *description = context;
    struct sr_buf *out = description->out;
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
    if (sr_archive_search(archive, &query, describe_run, &description, &more, note, err) < 0)
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
    sr_error_items(out, found->errors, found->error_count);
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
        verification_text(&out, found, sr_may_colour(STDOUT_FILENO));
    return sr_emit(&out);
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
    }
    return sr_emit(&out);
}

bool archive_print_bad_proof(const struct sr_error *error)
{
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    sr_buf_puts(&out, "{\"valid\":false,\"errors\":");
    sr_error_items(&out, error, 1);
    sr_buf_puts(&out, "}\n");
    return sr_emit(&out);
}
