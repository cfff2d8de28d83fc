/* archive and `report archive`: what the archive of runs can do. Options and help are in
 * archive_options.c, how answers look in archive_text.c. */
#include "cli/archive_options.h"

#include "cli/archive_text.h"
#include "cli/cli.h"
#include "cli/run_name.h"
#include "common/cleanup.h"
#include "common/fs.h"
#include "common/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failed(const struct sr_error *err)
{
    cli_print_error(stderr, err);
    return CLI_EXIT_IO;
}

static int open_archive(const struct archive_arguments *arguments, bool write,
                        struct sr_archive **archive, struct sr_error *err)
{
    struct sr_archive_place place;
    return sr_archive_place(arguments->root, &place, err) < 0
               ? -1
               : sr_archive_open(&place, write, archive, err);
}

/* The same to write; what is stored must be signed by the key that was named. */
static int open_to_store(const struct archive_arguments *arguments, struct sr_archive **archive,
                         struct sr_error *err)
{
    if (open_archive(arguments, true, archive, err) < 0)
        return -1;
    return arguments->require_key == NULL
               ? 0
               : sr_archive_require_key(*archive, arguments->require_key, err);
}

static int resolve(struct sr_archive *archive, const char *name, char bundle[SR_ARCHIVE_ID],
                   struct sr_error *err)
{
    char id[32];
    const char *run;
    return run_name_id(name, id, &run, err) < 0 ? -1
                                                : sr_archive_resolve(archive, run, bundle, err);
}

/* ---- report archive ---- */

int cli_cmd_report_archive(int argc, char **argv)
{
    struct archive_arguments arguments;
    struct sr_error err;
    int status = archive_parse(argc, argv, &archive_add_command, &arguments);
    if (status >= 0)
        return status;
    if (arguments.count != 1)
        return cli_usage_error(&archive_add_command, arguments.count == 0
                                                         ? "no report named"
                                                         : "more than one report named");
    sr_cleanup_archive struct sr_archive *archive = NULL;
    struct sr_archive_added added;
    char found[PATH_MAX];
    const char *report;
    if (run_name_report(arguments.names[0], found, &report, &err) < 0 ||
        open_to_store(&arguments, &archive, &err) < 0 ||
        sr_archive_add(archive, report, arguments.retention, &added, &err) < 0)
        return failed(&err);
    if (!added.valid)
        fprintf(stderr, "safe-run: the report does not verify; it is archived as 'fail': %s\n",
                added.note);
    if (!archive_print_added(&added, arguments.json))
        return CLI_EXIT_IO;
    return added.valid ? CLI_EXIT_OK : CLI_EXIT_INVALID;
}

/* ---- archive ls, search, show ---- */

static int search(const struct archive_arguments *arguments)
{
    sr_cleanup_archive struct sr_archive *archive = NULL;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    struct archive_table table = {.out = &out, .json = arguments->json};
    struct sr_error err;
    char note[256];
    bool more;
    archive_begin_runs(&table);
    if (open_archive(arguments, false, &archive, &err) < 0 ||
        sr_archive_search(archive, &arguments->query, archive_add_run, &table, &more, note, &err) <
            0)
        return failed(&err);
    archive_end_runs(&table);
    if (note[0] != '\0')
        fprintf(stderr, "safe-run: %s\n", note);
    if (more)
        fprintf(stderr, "safe-run: there are more than %u; --limit shows more\n",
                arguments->query.limit);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static int archive_ls(int argc, char **argv)
{
    struct archive_arguments arguments;
    int status = archive_parse(argc, argv, &archive_ls_command, &arguments);
    if (status >= 0)
        return status;
    return arguments.count > 0 ? cli_usage_error(&archive_ls_command, "unexpected argument '%s'",
                                                 arguments.names[0])
                               : search(&arguments);
}

static int archive_search(int argc, char **argv)
{
    struct archive_arguments arguments;
    int status = archive_parse(argc, argv, &archive_search_command, &arguments);
    if (status >= 0)
        return status;
    return arguments.count > 0 ? cli_usage_error(&archive_search_command,
                                                 "unexpected argument '%s'; criteria are options",
                                                 arguments.names[0])
                               : search(&arguments);
}

static int archive_show(int argc, char **argv)
{
    struct archive_arguments arguments;
    struct sr_error err;
    int status = archive_parse(argc, argv, &archive_show_command, &arguments);
    if (status >= 0)
        return status;
    if (arguments.count != 1)
        return cli_usage_error(&archive_show_command, "name one bundle or run");
    sr_cleanup_archive struct sr_archive *archive = NULL;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    char bundle[SR_ARCHIVE_ID];
    if (open_archive(&arguments, false, &archive, &err) < 0 ||
        resolve(archive, arguments.names[0], bundle, &err) < 0 ||
        archive_describe(archive, bundle, arguments.json, &out, &err) < 0)
        return failed(&err);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

/* ---- archive verify, prove ---- */

/* Reads a file of at most max bytes; -1 with err. */
static int read_file(const char *path, size_t max, struct sr_buf *text, struct sr_error *err)
{
    char chunk[4096];
    ssize_t got;
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return sr_fail(err, SR_EVD_303, "proof", "%s cannot be opened: %s", path, strerror(errno));
    while ((got = read(fd, chunk, sizeof chunk)) > 0 && text->len <= max)
        sr_buf_append(text, chunk, (size_t)got);
    return got < 0 || !sr_buf_ok(text) || text->len > max
               ? sr_fail(err, SR_EVD_303, "proof", "%s cannot be read, or is no proof", path)
               : 0;
}

static int check_report(const char *path, const struct sr_archive_proof *proof,
                        struct sr_error *err)
{
    char hash[SR_ARCHIVE_ID];
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    if (fd < 0 || hasher == NULL || sr_sha256_fd(hasher, fd, hash) < 0)
        return sr_fail(err, SR_EVD_303, "report", "%s cannot be read", path);
    return strcmp(hash, proof->original) == 0 || strcmp(hash, proof->report) == 0
               ? 0
               : sr_fail(err, SR_EVD_302, "report",
                         "%s is neither the run's report nor the archived one that is proved",
                         path);
}

static int verify_proof(const struct archive_arguments *arguments)
{
    enum { MAX_PROOF = 64 * 1024 };
    struct sr_archive_proof proof;
    struct sr_error err;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    if (arguments->key == NULL)
        return cli_usage_error(&archive_verify_command,
                               "--proof needs --key, the archive's public key");
    if (read_file(arguments->proof, MAX_PROOF, &text, &err) < 0 ||
        sr_archive_check_proof(text.data != NULL ? text.data : "", text.len, arguments->key, &proof,
                               &err) < 0 ||
        (arguments->report != NULL && check_report(arguments->report, &proof, &err) < 0)) {
        if (arguments->json && !archive_print_bad_proof(&err))
            return CLI_EXIT_IO;
        cli_print_error(stderr, &err);
        return CLI_EXIT_INVALID;
    }
    return archive_print_proof(&proof, arguments->json, true) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

/* What names mean, as whole ids; to be freed with the ids. */
static char (*resolve_all(const struct archive_arguments *arguments, const char ***ids,
                          struct sr_archive *archive, struct sr_error *err))[SR_ARCHIVE_ID]
{
    size_t count = (size_t)arguments->count;
    char(*bundles)[SR_ARCHIVE_ID] = calloc(count + 1, sizeof *bundles);
    *ids = calloc(count + 1, sizeof **ids);
    bool ok = bundles != NULL && *ids != NULL;
    if (!ok)
        sr_fail(err, SR_OPS_301, "archive.bundle", "out of memory");
    for (size_t i = 0; ok && i < count; i++) {
        ok = resolve(archive, arguments->names[i], bundles[i], err) == 0;
        (*ids)[i] = bundles[i];
    }
    if (ok)
        return bundles;
    free(bundles);
    free(*ids);
    *ids = NULL;
    return NULL;
}

static int verify_archive(const struct archive_arguments *arguments)
{
    sr_cleanup_free struct sr_archive_verification *found = calloc(1, sizeof *found);
    sr_cleanup_archive struct sr_archive *archive = NULL;
    sr_cleanup_free const char **ids = NULL;
    sr_cleanup_free char(*bundles)[SR_ARCHIVE_ID] = NULL;
    struct sr_archive_place place;
    struct sr_error err;
    if (arguments->count > 0) {
        if (open_archive(arguments, false, &archive, &err) < 0)
            return failed(&err);
        bundles = resolve_all(arguments, &ids, archive, &err);
        if (bundles == NULL)
            return failed(&err);
    }
    const struct sr_archive_verify_options options = {.bundles = ids,
                                                      .bundle_count = (size_t)arguments->count,
                                                      .checkpoint = arguments->checkpoint,
                                                      .public_key = arguments->key,
                                                      .require_key = arguments->require_key};
    if (found == NULL || sr_archive_place(arguments->root, &place, &err) < 0 ||
        sr_archive_verify(&place, &options, found, &err) < 0)
        return failed(&err);
    if (!archive_print_verification(found, arguments->json))
        return CLI_EXIT_IO;
    return found->valid ? CLI_EXIT_OK : CLI_EXIT_INVALID;
}

static int archive_verify(int argc, char **argv)
{
    struct archive_arguments arguments;
    int status = archive_parse(argc, argv, &archive_verify_command, &arguments);
    if (status >= 0)
        return status;
    if (arguments.proof == NULL && arguments.report != NULL)
        return cli_usage_error(&archive_verify_command, "--report goes with --proof");
    if (arguments.proof != NULL &&
        (arguments.count > 0 || arguments.checkpoint != NULL || arguments.require_key != NULL))
        return cli_usage_error(&archive_verify_command, "--proof is checked alone");
    return arguments.proof != NULL ? verify_proof(&arguments) : verify_archive(&arguments);
}

/* Where an answer goes: a new file, or standard output unless that is a terminal. -1 with err. */
static int open_out(const char *path, bool binary, struct sr_error *err)
{
    if (path == NULL && binary && isatty(STDOUT_FILENO))
        return sr_fail(err, SR_OPS_301, "archive.export", "not to a terminal: name a file with -o");
    if (path == NULL || strcmp(path, "-") == 0)
        return dup(STDOUT_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return fd >= 0 ? fd
                   : sr_fail(err, SR_OPS_301, "archive.export", "%s cannot be made: %s", path,
                             strerror(errno));
}

static int archive_prove(int argc, char **argv)
{
    struct archive_arguments arguments;
    struct sr_error err;
    int status = archive_parse(argc, argv, &archive_prove_command, &arguments);
    if (status >= 0)
        return status;
    if (arguments.count != 1)
        return cli_usage_error(&archive_prove_command, "name one bundle or run");
    sr_cleanup_archive struct sr_archive *archive = NULL;
    char bundle[SR_ARCHIVE_ID];
    struct sr_archive_proof proof = {0};
    if (open_archive(&arguments, false, &archive, &err) < 0 ||
        resolve(archive, arguments.names[0], bundle, &err) < 0 ||
        sr_archive_prove(archive, bundle, &proof, &err) < 0)
        return failed(&err);
    sr_cleanup_free char *text = proof.text;
    if (arguments.out == NULL)
        return archive_print_proof(&proof, arguments.json, false) ? CLI_EXIT_OK : CLI_EXIT_IO;
    sr_cleanup_fd int fd = open_out(arguments.out, false, &err);
    if (fd < 0)
        return failed(&err);
    int result = sr_write_all(fd, text, strlen(text));
    if (result == 0)
        return CLI_EXIT_OK;
    unlink(arguments.out);
    sr_fail(&err, SR_OPS_301, "archive.prove", "%s cannot be written: %s", arguments.out,
            strerror(-result));
    return failed(&err);
}

/* ---- archive prune, export, import, reindex ---- */

static int archive_prune(int argc, char **argv)
{
    struct archive_arguments arguments;
    struct sr_error err;
    int status = archive_parse(argc, argv, &archive_prune_command, &arguments);
    if (status >= 0)
        return status;
    if (arguments.count > 0)
        return cli_usage_error(&archive_prune_command, "unexpected argument '%s'",
                               arguments.names[0]);
    sr_cleanup_archive struct sr_archive *archive = NULL;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    const struct sr_archive_prune_options options = {.dry_run = arguments.dry_run,
                                                     .trust_clock = arguments.trust_clock};
    struct archive_table table = {
        .out = &out, .json = arguments.json, .dry_run = arguments.dry_run};
    archive_begin_list(&table);
    if (open_archive(&arguments, !arguments.dry_run, &archive, &err) < 0 ||
        sr_archive_prune(archive, &options, archive_add_pruned, &table, &err) < 0)
        return failed(&err);
    archive_end_list(&table);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static int export_to(const struct archive_arguments *arguments, struct sr_archive *archive,
                     struct sr_error *err)
{
    sr_cleanup_free const char **ids = NULL;
    sr_cleanup_free char(*bundles)[SR_ARCHIVE_ID] = NULL;
    if (!arguments->all) {
        bundles = resolve_all(arguments, &ids, archive, err);
        if (bundles == NULL)
            return -1;
    }
    sr_cleanup_fd int fd = open_out(arguments->out, true, err);
    if (fd < 0)
        return -1;
    if (sr_archive_export(archive, ids, (size_t)arguments->count, fd, err) == 0)
        return 0;
    if (arguments->out != NULL && strcmp(arguments->out, "-") != 0)
        unlink(arguments->out); /* half of one is worth nothing */
    return -1;
}

static int archive_export(int argc, char **argv)
{
    struct archive_arguments arguments;
    struct sr_error err;
    int status = archive_parse(argc, argv, &archive_export_command, &arguments);
    if (status >= 0)
        return status;
    if ((arguments.count == 0) != arguments.all)
        return cli_usage_error(&archive_export_command, "name bundles or runs, or --all");
    sr_cleanup_archive struct sr_archive *archive = NULL;
    return open_archive(&arguments, false, &archive, &err) < 0 ||
                   export_to(&arguments, archive, &err) < 0
               ? failed(&err)
               : CLI_EXIT_OK;
}

static int archive_import(int argc, char **argv)
{
    struct archive_arguments arguments;
    struct sr_error err;
    int status = archive_parse(argc, argv, &archive_import_command, &arguments);
    if (status >= 0)
        return status;
    if (arguments.count != 1)
        return cli_usage_error(&archive_import_command, "name one file, or -");
    const char *path = arguments.names[0];
    sr_cleanup_archive struct sr_archive *archive = NULL;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    struct archive_table table = {.out = &out, .json = arguments.json};
    sr_cleanup_fd int fd =
        strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        sr_fail(&err, SR_OPS_301, "archive.import", "%s cannot be opened: %s", path,
                strerror(errno));
        return failed(&err);
    }
    archive_begin_list(&table);
    int result = open_to_store(&arguments, &archive, &err) < 0
                     ? -1
                     : sr_archive_import(archive, fd, arguments.retention, arguments.from,
                                         archive_add_imported, &table, &err);
    archive_end_list(&table);
    if (result < 0)
        cli_print_error(stderr, &err);
    return !cli_emit(&out) || result < 0 ? CLI_EXIT_IO
           : table.failures > 0          ? CLI_EXIT_INVALID
                                         : CLI_EXIT_OK;
}

static int archive_reindex(int argc, char **argv)
{
    struct archive_arguments arguments;
    struct sr_error err;
    int status = archive_parse(argc, argv, &archive_reindex_command, &arguments);
    if (status >= 0)
        return status;
    if (arguments.count > 0)
        return cli_usage_error(&archive_reindex_command, "unexpected argument '%s'",
                               arguments.names[0]);
    sr_cleanup_archive struct sr_archive *archive = NULL;
    uint64_t runs;
    if (open_archive(&arguments, true, &archive, &err) < 0 ||
        sr_archive_reindex(archive, &runs, &err) < 0)
        return failed(&err);
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    sr_buf_printf(&out, arguments.json ? "{\"runs\":%llu}\n" : "%llu runs\n",
                  (unsigned long long)runs);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static const struct cli_subcommand subcommands[] = {
    {"ls", archive_ls, "list the archived runs, newest first"},
    {"search", archive_search, "find runs by what they did"},
    {"show", archive_show, "what a bundle holds"},
    {"verify", archive_verify, "everything against the signed checkpoint, or a proof"},
    {"prove", archive_prove, "prove that a bundle is in the archive"},
    {"prune", archive_prune, "remove bundles whose retention is over"},
    {"export", archive_export, "write bundles as one tar archive"},
    {"import", archive_import, "take bundles from one"},
    {"reindex", archive_reindex, "make the index anew from the bundles"},
    {NULL, NULL, NULL},
};

int cli_cmd_archive(int argc, char **argv)
{
    return cli_dispatch("archive", subcommands,
                        "safe-run archive search --policy build --denied 192.0.2.1", argc, argv);
}
