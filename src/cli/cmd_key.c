#include "cli/cli.h"
#include "cli/options.h"

#include "evidence/key.h"

#include <getopt.h>

static const struct cli_option options[] = {
    {.name = "out", .take = cli_option_text, .value = "FILE", .help = "where to", .required = true},
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
    int status = cli_options(argc, argv, &generate_command, &path);
    if (status >= 0)
        return status;
    if (path == NULL || path[0] == '\0')
        return cli_usage_error(&generate_command, "--out is missing");
    if (optind < argc)
        return cli_usage_error(&generate_command, "unexpected argument '%s'", argv[optind]);

    sr_cleanup_key struct sr_key *key = NULL;
    struct sr_error err;
    if (evidence_key_generate(path, &key, &err) < 0) {
        cli_print_error(stderr, &err);
        return CLI_EXIT_IO;
    }
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    sr_buf_printf(&out, "%s\n", evidence_key_id(key));
    return cli_emit(&out) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static const struct cli_subcommand subcommands[] = {
    {"generate", generate, "make a key pair"},
    {NULL, NULL, NULL},
};

int cli_cmd_key(int argc, char **argv)
{
    return cli_dispatch("key", subcommands, "safe-run key generate --out ci", argc, argv);
}
