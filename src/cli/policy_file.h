/*
 * A policy as the commands take it: read, checked, and what is wrong with it shown to a person, with the line that it
 * is about.
 */
#ifndef SR_CLI_POLICY_FILE_H
#define SR_CLI_POLICY_FILE_H

#include "buf.h"
#include "cleanup.h"
#include "saferun/ceilings.h"
#include "saferun/policy.h"

struct sr_policy_file {
    const char *name;      /* "-": standard input */
    const char *allowlist; /* NULL: the built-in one */
    char *text;            /* NULL when it could not be read */
    size_t len;
    struct sr_check check;
    struct sr_error unreadable;
    const struct sr_error *errors; /* of the check, or that it could not be read */
    size_t error_count;
};

/* The mount allowlist that SAFE_RUN_MOUNT_ALLOWLIST names; NULL, for the built-in one, when it is unset or empty. */
const char *sr_policy_file_allowlist(void);

/* Reads and checks; name, allowlist and ceilings (NULL: none) stay the caller's. -1 only when memory is out; the file may be freed
 * then too. */
int sr_policy_file_check(const char *name, const char *allowlist,
                         const struct sr_ceilings *ceilings, struct sr_policy_file *file,
                         struct sr_error *err) SR_MUST_CHECK;
void sr_policy_file_free(struct sr_policy_file *file);
#define sr_cleanup_policy_file __attribute__((cleanup(sr_policy_file_free)))

/* Likewise, for a command that needs a valid policy: what is wrong goes to stderr, and is in file->errors. Returns
 * SR_EXIT_OK, _INVALID or _IO. */
int sr_policy_file_require(const char *name, const char *allowlist,
                           const struct sr_ceilings *ceilings,
                           struct sr_policy_file *file) SR_MUST_CHECK;

/* One finding: "file:line:column: kind: path: message [code]", the line with a caret below it, the hint. colour is the
 * terminal's sequence for its kind, or "". */
void sr_policy_file_finding(struct sr_buf *out, const struct sr_policy_file *file,
                            const struct sr_error *err, const char *kind, const char *colour);
/* All errors. */
void sr_policy_file_errors(struct sr_buf *out, const struct sr_policy_file *file, bool colour);

/* Appends a text with what could control a terminal replaced by '?'. */
void sr_buf_printable(struct sr_buf *out, const char *text);

#endif
