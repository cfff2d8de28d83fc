#include "cli/cli.h"
#include "cli/options.h"
#include "cli/policy_file.h"

#include "common/jcs.h"
#include "saferun/explain.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What every subcommand that reads policies takes. */
struct request {
    struct cli_policy_grants grants;
    bool text;
    bool exit_code;
};

#define READING_OPTIONS                                                                            \
    CLI_POLICY_GRANT_OPTIONS(struct request),                                                      \
    {                                                                                              \
        .name = "format", .at = offsetof(struct request, text), .take = cli_option_format,         \
        .value = "text|json", .help = "how to answer (default text)", .takes = CLI_TAKES_FORMAT    \
    }
static const struct cli_option options[] = {READING_OPTIONS, {0}};

/* Options of a subcommand up to its operands, which begin at optind. Returns -1 to go on, else the
 * exit status. */
static int take_options(int argc, char **argv, const struct cli_command *command,
                        struct request *request)
{
    *request = (struct request){.text = true};
    return cli_options(argc, argv, command, request);
}

/* Sentences under the headings of their topics, or as JSON {"topic":[...],...}. */
struct listing {
    struct sr_buf out;
    const char *topic; /* the one that is open */
    bool text, colour;
};

static void list_sentence(void *context, const char *topic, const char *sentence)
{
    struct listing *listing = context;
    bool same = listing->topic != NULL && strcmp(listing->topic, topic) == 0;
    if (listing->text) {
        if (!same)
            sr_buf_printf(&listing->out, "%s%s%s:%s\n", listing->topic != NULL ? "\n" : "",
                          listing->colour ? "\033[1m" : "", topic,
                          listing->colour ? "\033[0m" : "");
        sr_buf_printf(&listing->out, "  %s\n", sentence);
    } else {
        if (!same) {
            sr_buf_puts(&listing->out, listing->topic != NULL ? "]," : "{");
            sr_jcs_text(&listing->out, topic);
            sr_buf_puts(&listing->out, ":[");
        } else {
            sr_buf_putc(&listing->out, ',');
        }
        sr_jcs_text(&listing->out, sentence);
    }
    listing->topic = topic;
}

static bool emit_listing(struct listing *listing)
{
    if (!listing->text)
        sr_buf_puts(&listing->out, listing->topic != NULL ? "]}\n" : "{}\n");
    bool written = cli_emit(&listing->out);
    sr_buf_free(&listing->out);
    return written;
}

/* A subcommand without options or operands, which prints a text. */
static int print_text(int argc, char **argv, const struct cli_command *command, const char *text)
{
    int status = cli_options(argc, argv, command, NULL);
    if (status >= 0)
        return status;
    if (optind < argc)
        return cli_usage_error(command, "unexpected argument '%s'", argv[optind]);
    return cli_emit_text(text, strlen(text)) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static int init(int argc, char **argv)
{
    static const struct cli_command command = {
        .name = "policy init",
        .about = "Prints a commented policy to start from.",
        .options = cli_no_options,
        .example = "  safe-run policy init > policy.yaml\n"
                   "  safe-run validate policy.yaml",
    };
    return print_text(argc, argv, &command, sr_policy_starter);
}

static int schema(int argc, char **argv)
{
    static const struct cli_command command = {
        .name = "policy schema",
        .about = "Prints the JSON Schema (2020-12) of a policy, for editors and generators.",
        .options = cli_no_options,
        .example = "  safe-run policy schema > policy.schema.json",
    };
    return print_text(argc, argv, &command, sr_policy_schema);
}

static int explain(int argc, char **argv)
{
    static const struct cli_command command = {
        .name = "policy explain",
        .operands = "POLICY|-",
        .about = "Says in sentences what the command may reach, read, write and use, and what is "
                 "denied.",
        .options = options,
        .status = "0; 2 the policy is invalid; 64 usage; 1 output error.",
        .example = "  safe-run policy explain policy.yaml",
    };
    struct request request;
    int status = take_options(argc, argv, &command, &request);
    if (status >= 0)
        return status;
    if (argc - optind != 1)
        return cli_usage_error(&command,
                               argc == optind ? "no policy named" : "more than one policy named");
    sr_cleanup_policy_file struct cli_policy_file file = {0};
    status = cli_policy_file_require(argv[optind], &request.grants, NULL, &file);
    if (status != CLI_EXIT_OK)
        return status;
    struct listing listing = {.text = request.text, .colour = cli_may_colour(STDOUT_FILENO)};
    struct sr_error err;
    sr_cleanup_image struct sr_image image = {0};
    char name[PATH_MAX], pinned[SR_IMAGE_DIGEST_TEXT];
    bool stored = sr_image_split(file.check.policy->image, name, pinned) &&
                  sr_image_name_ok(name) && sr_image_find(name, &image, &err) == 0;
    if (sr_policy_explain(file.check.policy, stored ? &image : NULL, list_sentence, &listing,
                          &err) < 0) {
        sr_buf_free(&listing.out);
        cli_print_error(stderr, &err);
        return CLI_EXIT_IO;
    }
    return emit_listing(&listing) ? CLI_EXIT_OK : CLI_EXIT_IO;
}

static void verdict_json(struct sr_buf *out, const struct sr_policy *policy,
                         const struct sr_verdict *verdict)
{
    sr_buf_puts(out, verdict->allowed ? "{\"allowed\":true" : "{\"allowed\":false");
    if (verdict->rule != SR_NO_RULE)
        sr_buf_printf(out, ",\"path\":\"network.egress[%zu]\",\"line\":%u", verdict->rule,
                      policy->egress[verdict->rule].line);
    sr_buf_puts(out, ",\"reason\":");
    sr_jcs_text(out, verdict->reason);
    if (verdict->remedy[0] != '\0') {
        sr_buf_puts(out, ",\"remedy\":");
        sr_jcs_text(out, verdict->remedy);
    }
    sr_buf_puts(out, "}\n");
}

static void verdict_text(struct sr_buf *out, const char *file, const char *destination,
                         const struct sr_policy *policy, const struct sr_verdict *verdict,
                         bool colour)
{
    const char *good = colour ? "\033[32m" : "", *bad = colour ? "\033[31m" : "",
               *plain = colour ? "\033[0m" : "";
    sr_buf_printf(out, "%s%s%s %s: %s\n", verdict->allowed ? good : bad,
                  verdict->allowed ? "allowed" : "denied", plain, destination, verdict->reason);
    if (verdict->rule != SR_NO_RULE) {
        sr_buf_printf(out, "    network.egress[%zu] is at ", verdict->rule);
        cli_buf_printable(out, file);
        sr_buf_printf(out, ":%u\n", policy->egress[verdict->rule].line);
    }
    if (verdict->remedy[0] != '\0')
        sr_buf_printf(out, "%s:\n    %s\n",
                      policy->network_mode == SR_NETWORK_NONE
                          ? "this in the policy would allow it"
                          : "this line in network.egress would allow it",
                      verdict->remedy);
}

static int why(int argc, char **argv)
{
    static const struct cli_command command = {
        .name = "policy why",
        .operands = "POLICY|- PROTO:DEST:PORT",
        .about = "Names the rule that lets the guest reach a destination, or says why it is denied "
                 "and which line of the policy would allow it. PROTO is tcp or udp, DEST an IPv4 "
                 "address or a DNS name.",
        .options = options,
        .status = "0 allowed; 2 denied, or the policy is invalid; 64 usage; 1 output error.",
        .example = "  safe-run policy why policy.yaml tcp:198.51.100.7:443",
    };
    struct request request;
    int status = take_options(argc, argv, &command, &request);
    if (status >= 0)
        return status;
    if (argc - optind != 2)
        return cli_usage_error(&command, "a policy and a destination are needed");
    struct sr_destination destination;
    struct sr_error err;
    if (sr_destination_parse(argv[optind + 1], &destination, &err) < 0)
        return cli_usage_error(&command, "%s", err.message);
    sr_cleanup_policy_file struct cli_policy_file file = {0};
    status = cli_policy_file_require(argv[optind], &request.grants, NULL, &file);
    if (status != CLI_EXIT_OK)
        return status;
    struct sr_verdict verdict;
    sr_policy_why(file.check.policy, &destination, &verdict);
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    if (request.text)
        verdict_text(&out, argv[optind], argv[optind + 1], file.check.policy, &verdict,
                     cli_may_colour(STDOUT_FILENO));
    else
        verdict_json(&out, file.check.policy, &verdict);
    if (!cli_emit(&out))
        return CLI_EXIT_IO;
    return verdict.allowed ? CLI_EXIT_OK : CLI_EXIT_INVALID;
}

static int diff(int argc, char **argv)
{
    static const struct cli_option diff_options[] = {READING_OPTIONS,
                                                     {.name = "exit-code",
                                                      .at = offsetof(struct request, exit_code),
                                                      .help = "exit with 2 when they differ"},
                                                     {0}};
    static const struct cli_command command = {
        .name = "policy diff",
        .operands = "A B",
        .about = "Says what B may do that A may not, the other way round, what else changed, and "
                 "where the compiled plans differ. For reviewing a change of a policy.",
        .options = diff_options,
        .status = "0; 2 a policy is invalid, or --exit-code and they differ; 64 usage; 1 output "
                  "error.",
        .example = "  git show HEAD:policy.yaml | safe-run policy diff - policy.yaml",
    };
    struct request request;
    int status = take_options(argc, argv, &command, &request);
    if (status >= 0)
        return status;
    if (argc - optind != 2)
        return cli_usage_error(&command, "two policies are needed");
    if ((status = cli_one_stdin(&command, 2, argv + optind)) != CLI_EXIT_OK)
        return status;
    sr_cleanup_policy_file struct cli_policy_file a = {0}, b = {0};
    int other = cli_policy_file_require(argv[optind], &request.grants, NULL, &a);
    status = cli_policy_file_require(argv[optind + 1], &request.grants, NULL, &b);
    if (other != CLI_EXIT_OK || status != CLI_EXIT_OK)
        return other != CLI_EXIT_OK ? other : status;
    sr_cleanup_bundle struct sr_bundle old = {0}, new = {0};
    struct listing listing = {.text = request.text, .colour = cli_may_colour(STDOUT_FILENO)};
    struct sr_error err;
    size_t changes;
    if (sr_compile(a.check.policy, &old, &err) < 0 || sr_compile(b.check.policy, &new, &err) < 0 ||
        sr_bundle_diff(&old, &new, list_sentence, &listing, &changes, &err) < 0) {
        sr_buf_free(&listing.out);
        cli_print_error(stderr, &err);
        return CLI_EXIT_INVALID;
    }
    if (!emit_listing(&listing))
        return CLI_EXIT_IO;
    return request.exit_code && changes > 0 ? CLI_EXIT_INVALID : CLI_EXIT_OK;
}

static const struct cli_subcommand subcommands[] = {
    {"init", init, "print a commented policy to start from"},
    {"explain", explain, "say in sentences what a policy allows and denies"},
    {"why", why, "say which rule allows a destination, or why it is denied"},
    {"diff", diff, "say what one policy may do that another may not"},
    {"schema", schema, "print the JSON Schema of a policy"},
    {NULL, NULL, NULL},
};

int cli_cmd_policy(int argc, char **argv)
{
    return cli_dispatch("policy", subcommands, "safe-run policy explain policy.yaml", argc, argv);
}
