#include "cli/cli.h"
#include "cli/options.h"

#include "evidence/key.h"

#include <getopt.h>

static const struct sr_option options[] = {
    {.name = "out", .take = sr_option_text, .value = "FILE", .help = "where to", .required = true},
    {0}};

static const struct cli_command generate_command = {
    .name = "key generate",
    .about = "Makes an Ed25519 key that signs reports: the private half in FILE (mode 0600, PKCS#8 "
             "in PEM), the public one in FILE.pub. Neither may exist. Prints the key's id.",
    .options = options,
    .status = "0 good, 1 a file cannot be written, 64 usage.",
    .example = "  safe-run key generate --out ci",
};

static int generate(int argc, char **argv)
{
    const char *path = NULL;
    int status = sr_options(argc, argv, &generate_command, &path);
    if (status >= 0)
        return status;
    if (path == NULL || path[0] == '\0')
        return sr_usage_error(&generate_command, "--out is missing");
    if (optind < argc)
        return sr_usage_error(&generate_command, "unexpected argument '%s'", argv[optind]);

    sr_cleanup_key struct sr_key *key = NULL;
    struct sr_error err;
    if (sr_key_generate(path, &key, &err) < 0) {
        sr_print_error(stderr, &err);
        return SR_EXIT_IO;
    }
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    sr_buf_printf(&out, "%s\n", sr_key_id(key));
    return sr_emit(&out) ? SR_EXIT_OK : SR_EXIT_IO;
}

static const struct sr_subcommand subcommands[] = {
    {"generate", generate, "make a key pair"},
    {NULL, NULL, NULL},
};

int sr_cmd_key(int argc, char **argv)
{
    return sr_dispatch("key", subcommands, "safe-run key generate --out ci", argc, argv);
}
