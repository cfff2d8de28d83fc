/*
 * Reads and checks a policy for the commands, and shows its errors to a person, with the lines that
 * they are about.
 */
#ifndef SR_CLI_POLICY_FILE_H
#define SR_CLI_POLICY_FILE_H

#include "cli/options.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "saferun/ceilings.h"
#include "saferun/policy.h"

struct cli_policy_file {
    const char *name;      /* "-": standard input */
    const char *allowlist; /* NULL: the built-in one */
    char *directory;       /* the one that name is in; NULL for standard input */
    char *text;            /* NULL when it could not be read */
    size_t len;
    struct sr_check check;
    struct sr_error unreadable;
    const struct sr_error *errors; /* the check's, or unreadable */
    size_t error_count;
};

/* What of the host the caller lets a policy name: options of each command that reads policies. */
struct cli_policy_grants {
    const char *allowlist; /* NULL: SAFE_RUN_MOUNT_ALLOWLIST, or the built-in one when that is unset
                              or empty */
    struct cli_option_texts allow_mount, allow_env;
};
/* An entry of a table of options, for a command that takes no operand; the arguments have it as
 * policy. */
#define CLI_POLICY_OPTION(arguments)                                                               \
    {                                                                                              \
        .name = "policy", .at = offsetof(arguments, policy), .take = cli_option_text,              \
        .value = "P", .help = "the policy (YAML or JSON), - for standard input", .required = true  \
    }
/* Three entries of a table of options; the arguments have them as grants. */
#define CLI_POLICY_GRANT_OPTIONS(arguments)                                                        \
    {.name = "mount-allowlist",                                                                    \
     .at = offsetof(arguments, grants.allowlist),                                                  \
     .take = cli_option_text,                                                                      \
     .value = "F",                                                                                 \
     .help = "what of the host may be mounted (or $SAFE_RUN_MOUNT_ALLOWLIST)"},                    \
        {.name = "allow-mount",                                                                    \
         .at = offsetof(arguments, grants.allow_mount),                                            \
         .take = cli_option_texts,                                                                 \
         .value = "DIR",                                                                           \
         .help = "what lies in DIR may be mounted too; may be given several times",                \
         .takes = "the name of a directory, at most 64 times",                                     \
         .repeats = true},                                                                         \
    {                                                                                              \
        .name = "allow-env", .at = offsetof(arguments, grants.allow_env),                          \
        .take = cli_option_texts, .value = "NAME",                                                 \
        .help = "the guest may have this variable of the caller's environment, if the policy "     \
                "asks for it; may be given several times",                                         \
        .takes = "the name of a variable, at most 64 times", .repeats = true                       \
    }

/* Reads and checks; name, grants and ceilings (NULL: none) stay the caller's. Returns -1 only when
 * memory is out; the caller may free file then, too. */
int cli_policy_file_check(const char *name, const struct cli_policy_grants *grants,
                          const struct sr_ceilings *ceilings, struct cli_policy_file *file,
                          struct sr_error *err) SR_MUST_CHECK;
void cli_policy_file_free(struct cli_policy_file *file);
#define sr_cleanup_policy_file __attribute__((cleanup(cli_policy_file_free)))

/* Does the same for a command that needs a valid policy, and prints errors on stderr. Returns
 * CLI_EXIT_OK, _INVALID or _IO. */
int cli_policy_file_require(const char *name, const struct cli_policy_grants *grants,
                            const struct sr_ceilings *ceilings,
                            struct cli_policy_file *file) SR_MUST_CHECK;

/* Appends a finding: "file:line:column: kind: path: message [code]", the line with a caret below
 * it, the hint. colour is the terminal's sequence for its kind, or "". */
void cli_policy_file_finding(struct sr_buf *out, const struct cli_policy_file *file,
                             const struct sr_error *err, const char *kind, const char *colour);
/* Appends all errors. */
void cli_policy_file_errors(struct sr_buf *out, const struct cli_policy_file *file, bool colour);

/* Appends a text with what could control a terminal replaced by '?'. */
void cli_buf_printable(struct sr_buf *out, const char *text);

#endif
