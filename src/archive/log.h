/*
 * The log of an archive: which bundles were stored and which were pruned, in the order in which it
 * happened, and the checkpoint that signs it.
 *
 *   log.jsonl   an entry a line, canonical JSON; each line (without its newline) is a leaf of a
 *               Merkle tree. Lines are only ever appended.
 *   checkpoint  the signed size and root of that tree (note.h)
 *   edge        the tree's right edge, so that an append need not read the log. Never the truth: it
 *               is used when the root that follows from it is the one that was signed.
 *
 * Theory of operation. An entry counts once a checkpoint covers it. Whatever an entry promises is
 * done between archive_log_append(), which makes the line durable, and archive_log_commit(), which
 * signs: a crash leaves lines behind the checkpoint, and whoever opens the log to write next undoes
 * what they promise and cuts them off.
 */
#ifndef SR_ARCHIVE_LOG_H
#define SR_ARCHIVE_LOG_H

#include "archive/note.h"
#include "common/timestamp.h"
#include "evidence/key.h"

#define ARCHIVE_LOG_FILE "log.jsonl"
#define ARCHIVE_CHECKPOINT_FILE "checkpoint"
#define ARCHIVE_LOG_FOREVER "forever" /* a retention */
#define ARCHIVE_LOG_RUN_ID 129
#define ARCHIVE_LOG_RETENTION 16
#define ARCHIVE_LOG_WORD 16

/* How a run came into the archive (origin). Only a signature says where it was made. */
#define ARCHIVE_LOG_STORED "stored"     /* from a directory that somebody named */
#define ARCHIVE_LOG_IMPORTED "imported" /* from another archive */
/* What was found of its attestation (signature). */
#define ARCHIVE_LOG_UNSIGNED "none" /* there is no attestation */
#define ARCHIVE_LOG_UNCHECKED                                                                      \
    "unchecked"                 /* there is one, by none of the keys that could be asked */
#define ARCHIVE_LOG_GOOD "good" /* of this very report, by signer */
#define ARCHIVE_LOG_BAD                                                                            \
    "bad" /* it is none, or claims a key that was asked and has not signed this */
/* Which key was asked (checkedBy). */
#define ARCHIVE_LOG_SIGN_KEY "sign-key"        /* this host's own: signKey of its configuration */
#define ARCHIVE_LOG_REQUIRED_KEY "require-key" /* the caller's, by --require-key */

struct archive_log_entry {
    bool pruned;                  /* a bundle was removed when its retention was over */
    char bundle[SR_SHA256_TEXT];  /* its id */
    char time[SR_TIMESTAMP_TEXT]; /* when it was stored or pruned */
    /* stored: */
    char report[SR_SHA256_TEXT];     /* of the bundle's run_report.json, all bytes */
    char original[SR_SHA256_TEXT];   /* of the run's own run_report.json, all bytes */
    char run_id[ARCHIVE_LOG_RUN_ID]; /* printable ASCII */
    char retention[ARCHIVE_LOG_RETENTION];
    /* stored, since entries say so (origin and signature are both there, or nothing of this is): */
    char origin[ARCHIVE_LOG_WORD], signature[ARCHIVE_LOG_WORD];
    char from[ARCHIVE_NOTE_NAME]; /* imported: the archive whose proof held; empty: not known */
    char signer[EVIDENCE_KEY_ID_SIZE]; /* who signed, or unchecked and bad: who is said to have */
    char checked_by[ARCHIVE_LOG_WORD]; /* of a good signature */
    /* pruned: */
    uint64_t leaf; /* the entry that stored it */
};

/* Appends the entry's line without its newline. */
void archive_log_entry_write(const struct archive_log_entry *entry, struct sr_buf *out);
/* Reads what archive_log_entry_write() wrote; false for anything else. */
bool archive_log_entry_parse(const char *line, size_t len, struct archive_log_entry *entry);

/* When a stored bundle may be pruned, in nanoseconds since 1970; INT64_MAX is never. */
int64_t archive_log_expiry(const struct archive_log_entry *stored);

/* Is a time still to come, by more than clocks differ? Both in nanoseconds since 1970. */
bool archive_log_is_to_come(int64_t time, int64_t now);

struct archive_log {
    int root;                 /* directory of the archive; not owned */
    int fd;                   /* of log.jsonl, or -1 */
    const struct sr_key *key; /* not owned */
    struct sr_hasher *hasher; /* not owned */
    uint64_t bytes;           /* of the lines in tree */
    struct archive_merkle_tree tree;
    struct archive_checkpoint checkpoint;
};

/*
 * Opens the log of root at its checkpoint. With create an archive that has no log gets an empty
 * one, signed; key is private then. -1 with err when there is none, the checkpoint is not signed by
 * key, or is not of this log: SR-OPS-301 at archive.log or archive.checkpoint.
 */
int archive_log_open(struct archive_log *log, int root, const struct sr_key *key,
                     struct sr_hasher *hasher, bool create, struct sr_error *err) SR_MUST_CHECK;
void archive_log_close(struct archive_log *log);

/* Returns true for the name of a file that is being written to replace another
 * (sr_replace_file()). */
bool archive_log_is_temporary(const char *name) SR_MUST_CHECK;
#define sr_cleanup_log __attribute__((cleanup(archive_log_close)))

/* Appends an entry, durably. After a failure the log is as before. */
int archive_log_append(struct archive_log *log, const struct archive_log_entry *entry,
                       struct sr_error *err) SR_MUST_CHECK;

/* Cuts the log back to an earlier state. */
void archive_log_rewind(struct archive_log *log, const struct archive_log *before);

/* Signs the log as it is. After a failure the old checkpoint is in place; or the new one, as
 * log->checkpoint says, when only the directory could not be made durable. */
int archive_log_commit(struct archive_log *log, struct sr_error *err) SR_MUST_CHECK;

/* Reads the checkpoint's text as it is now, at most size bytes with its NUL. Returns its length or
 * a negative errno. */
ssize_t archive_log_read_checkpoint(const struct archive_log *log, char *note, size_t size,
                                    struct archive_checkpoint *checkpoint) SR_MUST_CHECK;

/* Takes each line, with the offset behind it. Returns 0 to go on, 1 to stop, -1 with err. */
typedef int archive_log_on_line(void *context, const char *line, size_t len, uint64_t end,
                                struct sr_error *err);

/* Calls on_line for each whole line of a log from an offset on; text behind the last newline is no
 * line. Returns 0 at the end, what on_line returned to end it, or -1 with err. */
int archive_log_each(int fd, uint64_t from, archive_log_on_line *on_line, void *context,
                     struct sr_error *err) SR_MUST_CHECK;

#endif
