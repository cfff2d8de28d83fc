#include "cli/cli.h"
#include "cli/options.h"

#include "common/clock.h"
#include "common/jcs.h"
#include "common/printable.h"
#include "evidence/fact.h"
#include "saferun/image.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct image_arguments {
    const char *from;
    uint64_t bytes_max;
    bool json, dry_run;
};

/* "16Gi" in bytes. */
static bool take_size(const char *value, void *field)
{
    static const char *const units[] = {"Ki", "Mi", "Gi"};
    uint64_t *bytes = field;
    size_t digits = strspn(value, "0123456789");
    *bytes = 0;
    for (unsigned i = 0; i < 3; i++)
        if (digits > 0 && digits <= 6 && strcmp(value + digits, units[i]) == 0)
            *bytes = strtoull(value, NULL, 10) << (10 * (i + 1));
    return *bytes > 0;
}

#define AT(field) offsetof(struct image_arguments, field)
#define JSON(text)                                                                                 \
    {                                                                                              \
        .name = "json", .at = AT(json), .help = (text)                                             \
    }
static const struct cli_command build_command = {
    .name = "image build",
    .operands = "NAME",
    .about = "Makes a read-only image and gives it a name, which a policy uses as runtime.image. "
             "Root is not needed; the source is read by a child that can do nothing else. It is "
             "one of\n"
             "\n"
             "  oci-archive:FILE      an OCI image in a tar, as skopeo and buildah write it\n"
             "  oci:DIRECTORY         the same in a directory\n"
             "  docker-archive:FILE   what docker save writes\n"
             "  dir:DIRECTORY         a directory that is the root\n"
             "  tar:FILE              a tar of the root, plain or packed by gzip, zstd, xz\n"
             "\n"
             "Of several images in one source one is named behind it: oci-archive:FILE:NAME.",
    .options =
        (const struct cli_option[]){{.name = "from",
                                     .at = AT(from),
                                     .take = cli_option_text,
                                     .value = "KIND:PATH",
                                     .help = "the source",
                                     .required = true},
                                    {.name = "max-bytes",
                                     .at = AT(bytes_max),
                                     .take = take_size,
                                     .value = "SIZE",
                                     .help = "what it may unpack to, in Ki, Mi, Gi (default 16Gi)",
                                     .takes = "512Mi, 20Gi and the like"},
                                    JSON("print what inspect --json does"),
                                    {0}},
    .status = "0; 1 it cannot be built (the store stays as it was); 64 usage.",
    .example = "  skopeo copy containers-storage:python oci-archive:python.tar\n"
               "  safe-run image build python --from oci-archive:python.tar",
};

static const struct cli_command ls_command = {
    .name = "image ls",
    .about = "Lists the images of your store, and those that come with safe-run.",
    .options = (const struct cli_option[]){JSON("an array of what inspect --json prints"), {0}},
    .example = "  safe-run image ls",
};

static const struct cli_command inspect_command = {
    .name = "image inspect",
    .operands = "NAME",
    .about = "Shows what a name stands for: digest, where it came from, and the defaults that a "
             "policy may override. Entry point and command are shown only: a policy always names "
             "its command.",
    .options = (const struct cli_option[]){JSON("one object"), {0}},
    .example = "  safe-run image inspect python",
};

static const struct cli_command rm_command = {
    .name = "image rm",
    .operands = "NAME...",
    .about = "Takes names away, and images that have none left. Runs that use one go on.",
    .options = cli_no_options,
    .example = "  safe-run image rm python",
};

static const struct cli_command prune_command = {
    .name = "image prune",
    .about = "Removes images that no name stands for any more (a name that was given to a newer "
             "one).",
    .options =
        (const struct cli_option[]){
            {.name = "dry-run", .at = AT(dry_run), .help = "only say how much it would be"},
            JSON("one object {\"count\",\"bytes\"}"),
            {0}},
    .example = "  safe-run image prune",
};

static const struct cli_command verify_command = {
    .name = "image verify",
    .operands = "[NAME...]",
    .about = "Reads images, all without a name given, and compares them with their digests.",
    .options =
        (const struct cli_option[]){JSON("an array of {\"name\",\"digest\",\"valid\"}"), {0}},
    .status = "0 all are what they were; 2 one is not; 1 I/O; 64 usage.",
    .example = "  safe-run image verify",
};

static int failed(const struct sr_error *err)
{
    cli_print_error(stderr, err);
    return CLI_EXIT_IO;
}

static void add_texts(struct facts *facts, const char *name, const char *const *list, size_t count)
{
    fact_list(facts, name);
    for (size_t i = 0; i < count; i++)
        fact_add_text(facts, name, list[i]);
}

/* Nobody has counted what is in an image that comes with safe-run. */
static bool is_counted(const struct sr_image *image)
{
    return strcmp(image->source_kind, "built-in") != 0;
}

static void add_count(struct facts *facts, const char *name, const struct sr_image *image,
                      uint64_t count)
{
    if (is_counted(image))
        fact_count(facts, name, count);
    else
        fact_null(facts, name);
}

static json_t *source_of(const struct sr_image *image)
{
    struct facts facts = facts_new();
    fact_text(&facts, "kind", image->source_kind);
    fact_text_or_null(&facts, "digest",
                      image->source_digest[0] != '\0' ? image->source_digest : NULL);
    return facts_end(&facts);
}

static json_t *user_of(const struct sr_image_config *config)
{
    if (!config->has_user)
        return json_null();
    struct facts facts = facts_new();
    fact_text(&facts, "name", config->user);
    fact_count(&facts, "uid", config->uid);
    fact_count(&facts, "gid", config->gid);
    return facts_end(&facts);
}

static json_t *config_of(const struct sr_image_config *config)
{
    struct facts facts = facts_new();
    add_texts(&facts, "env", config->env, config->env_count);
    add_texts(&facts, "entrypoint", config->entrypoint, config->entrypoint_count);
    add_texts(&facts, "cmd", config->cmd, config->cmd_count);
    fact_text_or_null(&facts, "workdir", config->workdir);
    fact_take(&facts, "user", user_of(config));
    return facts_end(&facts);
}

static json_t *describe(const struct sr_image *image)
{
    struct facts facts = facts_new();
    fact_text(&facts, "name", image->name);
    fact_text(&facts, "digest", image->digest);
    fact_text(&facts, "path", image->path);
    fact_text(&facts, "builtAt", image->built);
    fact_count(&facts, "imageBytes", image->image_bytes);
    add_count(&facts, "bytes", image, image->bytes);
    add_count(&facts, "files", image, image->files);
    add_count(&facts, "directories", image, image->directories);
    add_count(&facts, "symlinks", image, image->symlinks);
    add_count(&facts, "others", image, image->others);
    fact_take(&facts, "source", source_of(image));
    fact_take(&facts, "config", config_of(&image->config));
    return facts_end(&facts);
}

/* Prints a value as one line of canonical JSON; takes it. */
static int emit_json(json_t *value)
{
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    if (value == NULL)
        out.failed = true;
    else
        sr_jcs_value(&out, value);
    json_decref(value);
    sr_buf_putc(&out, '\n');
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

/* A line whose texts came from an image. */
__attribute__((format(printf, 2, 3))) static void say(struct sr_buf *out, const char *fmt, ...)
{
    sr_cleanup_buf struct sr_buf line = SR_BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    sr_buf_vprintf(&line, fmt, ap);
    va_end(ap);
    if (sr_buf_ok(&line)) {
        sr_make_printable(line.data);
        sr_buf_puts(out, line.data);
    }
    sr_buf_putc(out, '\n');
}

static void say_words(struct sr_buf *out, const char *what, const char *const *words, size_t count)
{
    sr_cleanup_buf struct sr_buf line = SR_BUF_INIT;
    for (size_t i = 0; i < count; i++)
        sr_buf_printf(&line, " %s", words[i]);
    if (count > 0 && sr_buf_ok(&line))
        say(out, "%-12s%s", what, line.data);
}

static void say_image(struct sr_buf *out, const struct sr_image *image)
{
    const struct sr_image_config *config = &image->config;
    say(out, "%-12s %s", "name", image->name);
    say(out, "%-12s %s", "digest", image->digest);
    say(out, "%-12s %s", "file", image->path);
    say(out, "%-12s %s %s", "source", image->source_kind, image->source_digest);
    say(out, "%-12s %s", "built", image->built);
    if (!is_counted(image)) {
        say(out, "%-12s %" PRIu64 " bytes", "size", image->image_bytes);
        return;
    }
    say(out, "%-12s %" PRIu64 " bytes, of files of %" PRIu64, "size", image->image_bytes,
        image->bytes);
    say(out, "%-12s %u files, %u directories, %u symbolic links, %u others", "entries",
        image->files, image->directories, image->symlinks, image->others);
    for (size_t i = 0; i < config->env_count; i++)
        say(out, "%-12s %s", "env", config->env[i]);
    if (config->workdir != NULL)
        say(out, "%-12s %s", "workdir", config->workdir);
    if (config->has_user)
        say(out, "%-12s %s (%u:%u)%s", "user", config->user, config->uid, config->gid,
            config->uid == 0 ? ", which a policy would have to ask for" : "");
    say_words(out, "entrypoint", config->entrypoint, config->entrypoint_count);
    say_words(out, "cmd", config->cmd, config->cmd_count);
}

/* A line on a terminal, when it takes long. */
struct progress {
    uint64_t started_nsec;
    bool shown;
};

static bool show_progress(void *context, uint64_t bytes)
{
    struct progress *progress = context;
    uint64_t nsec = sr_now() - progress->started_nsec;
    if (!isatty(STDERR_FILENO) || nsec < SR_NSEC_PER_SEC / 2)
        return true;
    progress->shown = true;
    fprintf(stderr, "\r%8.1f MB, %.0f MB/s ", (double)bytes / 1e6,
            (double)bytes * 1e3 / (double)nsec);
    return true;
}

static void print_warning(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "safe-run: warning: %s\n", text);
}

static int build(int argc, char **argv)
{
    struct image_arguments arguments = {0};
    int status = cli_options(argc, argv, &build_command, &arguments);
    if (status >= 0)
        return status;
    if (argc - optind != 1 || arguments.from == NULL)
        return cli_usage_error(&build_command, "a name and --from are needed");
    struct progress progress = {.started_nsec = sr_now()};
    const struct sr_image_build request = {.name = argv[optind],
                                           .from = arguments.from,
                                           .bytes_max = arguments.bytes_max,
                                           .progress = show_progress,
                                           .warn = print_warning,
                                           .context = &progress};
    sr_cleanup_image struct sr_image image = {0};
    struct sr_error err = {0};
    int result = sr_image_build(&request, &image, &err);
    if (progress.shown)
        fputs("\r\033[K", stderr);
    if (result < 0)
        return failed(&err);
    if (arguments.json)
        return emit_json(describe(&image));
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    say(&out, "%s %s", image.name, image.digest);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static void free_images(struct sr_image *images, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sr_image_free(&images[i]);
    free(images);
}

static void list_one(struct sr_buf *out, json_t *array, const struct sr_image *image)
{
    json_array_append_new(array, describe(image));
    char files[16] = "-";
    if (is_counted(image))
        snprintf(files, sizeof files, "%u", image->files);
    say(out, "%-24s %.19s %10.1f %8s  %.19sZ %s", image->name, image->digest,
        (double)image->image_bytes / 1e6, files, image->built, image->source_kind);
}

static bool has_name(const struct sr_image *images, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(images[i].name, name) == 0)
            return true;
    return false;
}

/* A name as a run finds it: in a store, else among the images that come with safe-run. */
static int find(const char *name, struct sr_image *image, struct sr_error *err)
{
    struct sr_image *built_in;
    size_t count;
    struct sr_error unusable;
    if (sr_image_find(name, image, err) == 0)
        return 0;
    if (err->code != SR_OPS_109 || sr_image_list_built_in(&built_in, &count, &unusable) < 0)
        return -1;
    int result = -1;
    for (size_t i = 0; i < count; i++)
        if (strcmp(built_in[i].name, name) == 0) {
            *image = built_in[i]; /* it owns nothing */
            result = 0;
        }
    free_images(built_in, count);
    return result;
}

static int ls(int argc, char **argv)
{
    struct image_arguments arguments = {0};
    int status = cli_options(argc, argv, &ls_command, &arguments);
    if (status >= 0)
        return status;
    if (optind < argc)
        return cli_usage_error(&ls_command, "unexpected argument '%s'", argv[optind]);
    struct sr_image *images, *built_in;
    size_t count, built_in_count;
    struct sr_error err = {0};
    if (sr_image_list(&images, &count, &err) < 0)
        return failed(&err);
    if (sr_image_list_built_in(&built_in, &built_in_count, &err) < 0) {
        free_images(images, count);
        return failed(&err);
    }
    json_t *array = json_array();
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    sr_buf_printf(&out, "%-24s %-19s %10s %8s  %-20s %s\n", "NAME", "DIGEST", "MB", "FILES",
                  "BUILT", "FROM");
    for (size_t i = 0; i < count; i++)
        list_one(&out, array, &images[i]);
    for (size_t i = 0; i < built_in_count; i++)
        if (!has_name(images, count, built_in[i].name))
            list_one(&out, array, &built_in[i]);
    free_images(images, count);
    free_images(built_in, built_in_count);
    if (arguments.json)
        return emit_json(array);
    json_decref(array);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static int inspect(int argc, char **argv)
{
    struct image_arguments arguments = {0};
    int status = cli_options(argc, argv, &inspect_command, &arguments);
    if (status >= 0)
        return status;
    if (argc - optind != 1)
        return cli_usage_error(&inspect_command, "one name is needed");
    sr_cleanup_image struct sr_image image = {0};
    struct sr_error err = {0};
    if (find(argv[optind], &image, &err) < 0)
        return failed(&err);
    if (arguments.json)
        return emit_json(describe(&image));
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    say_image(&out, &image);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static int rm(int argc, char **argv)
{
    struct image_arguments arguments = {0};
    int status = cli_options(argc, argv, &rm_command, &arguments);
    if (status >= 0)
        return status;
    if (optind == argc)
        return cli_usage_error(&rm_command, "no name");
    for (int i = optind; i < argc; i++) {
        struct sr_error err = {0};
        if (sr_image_remove(argv[i], &err) < 0)
            status = failed(&err);
    }
    return status < 0 ? CLI_EXIT_OK : status;
}

static int prune(int argc, char **argv)
{
    struct image_arguments arguments = {0};
    int status = cli_options(argc, argv, &prune_command, &arguments);
    if (status >= 0)
        return status;
    if (optind < argc)
        return cli_usage_error(&prune_command, "unexpected argument '%s'", argv[optind]);
    struct sr_image_pruned pruned;
    struct sr_error err = {0};
    if (sr_image_prune(arguments.dry_run, &pruned, &err) < 0)
        return failed(&err);
    if (arguments.json)
        return emit_json(json_pack("{s:I,s:I}", "count", (json_int_t)pruned.count, "bytes",
                                   (json_int_t)pruned.bytes));
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    sr_buf_printf(&out, "%u image%s%s, %" PRIu64 " bytes\n", pruned.count,
                  pruned.count == 1 ? "" : "s", arguments.dry_run ? " would go" : "", pruned.bytes);
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

/* Verifies one; its verdict goes into out or array. */
static bool verify_one(const struct sr_image *image, struct sr_buf *out, json_t *array)
{
    struct sr_error err = {0};
    bool valid = sr_image_verify(image, &err) == 0;
    if (!valid)
        cli_print_error(stderr, &err);
    say(out, "%s %s %s", valid ? "ok     " : "DAMAGED", image->name, image->digest);
    json_array_append_new(array, json_pack("{s:s,s:s,s:b}", "name", image->name, "digest",
                                           image->digest, "valid", valid));
    return valid;
}

static int verify(int argc, char **argv)
{
    struct image_arguments arguments = {0};
    int status = cli_options(argc, argv, &verify_command, &arguments);
    if (status >= 0)
        return status;
    struct sr_image *images = NULL;
    size_t count = 0;
    struct sr_error err = {0};
    if (optind == argc && sr_image_list(&images, &count, &err) < 0)
        return failed(&err);
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    json_t *array = json_array();
    bool valid = true;
    for (size_t i = 0; i < count; i++)
        valid = verify_one(&images[i], &out, array) && valid;
    free_images(images, count);
    for (int i = optind; i < argc; i++) {
        sr_cleanup_image struct sr_image image = {0};
        if (sr_image_find(argv[i], &image, &err) < 0) {
            json_decref(array);
            return failed(&err);
        }
        valid = verify_one(&image, &out, array) && valid;
    }
    if (arguments.json)
        status = emit_json(array);
    else
        status = cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
    if (!arguments.json)
        json_decref(array);
    return status == CLI_EXIT_OK && !valid ? CLI_EXIT_INVALID : status;
}

int cli_cmd_image(int argc, char **argv)
{
    static const struct cli_subcommand subcommands[] = {
        {"build", build, "make an image of an archive or a directory"},
        {"ls", ls, "list the images"},
        {"inspect", inspect, "show what a name stands for"},
        {"rm", rm, "take names away"},
        {"prune", prune, "remove images without a name"},
        {"verify", verify, "compare images with their digests"},
        {NULL, NULL, NULL},
    };
    return cli_dispatch("image", subcommands,
                        "safe-run image build python --from oci-archive:python.tar", argc, argv);
}
