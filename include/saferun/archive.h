/*
 * The archive of finished runs: what a run left is kept whole, can be found, and cannot be changed,
 * replaced or removed without that being found out.
 *
 *   sr_archive_place()   where it is
 *   sr_archive_open()    to write (one at a time; others wait) or to read
 *     sr_archive_add()     a run's report and what lies beside it become a bundle
 *     sr_archive_search()  by an index that is made from the bundles and never the truth
 *     sr_archive_verify()  everything, against a signed checkpoint
 *     sr_archive_prune()   bundles whose retention is over
 *   sr_archive_close()
 *
 * docs/EVIDENCE.md says how it is laid out and what a checkpoint proves. Errors are SR-OPS-301 with
 * a path that begins with "archive."; after one nothing is half-written.
 */
#ifndef SAFERUN_ARCHIVE_H
#define SAFERUN_ARCHIVE_H

#include "saferun/report.h"

#include <limits.h>

#define SR_ARCHIVE_RETENTION "180d" /* when nothing else is said */
#define SR_ARCHIVE_ID 72            /* "sha256:", 64 hexadecimal digits and NUL */
#define SR_ARCHIVE_TIME 31          /* RFC 3339, UTC, nanoseconds and NUL */

struct sr_archive_place {
    char root[PATH_MAX];
    char key
        [PATH_MAX]; /* Ed25519, PEM; its public half in .pub beside it. Empty: root/archive.key */
    char retention[16]; /* "180d", "12h", ... or "forever" */
    /* Of this host's runs (PEM, private, or its public half in .pub beside it): runs that it has
     * signed are known by it. Empty: none. */
    char sign_key[PATH_MAX];
};

/* root (may be NULL), else the host configuration's archive.root, else the default for this
 * user. */
int sr_archive_place(const char *root, struct sr_archive_place *place, struct sr_error *err)
    __attribute__((warn_unused_result));

struct sr_archive;

/*
 * Opens the archive. To write: makes what is not there (directory, key, empty log; in a directory
 * that holds other things nothing is made), waits for other writers to finish, and completes or
 * removes what one that died has left.
 */
int sr_archive_open(const struct sr_archive_place *place, bool write, struct sr_archive **archive,
                    struct sr_error *err) __attribute__((warn_unused_result));
void sr_archive_close(struct sr_archive *archive);
static inline void sr_archive_close_ptr(struct sr_archive **archive)
{
    sr_archive_close(*archive);
}
#define sr_cleanup_archive __attribute__((cleanup(sr_archive_close_ptr)))

/* Its directory, absolute; lives as long as the archive. */
const char *sr_archive_root(const struct sr_archive *archive);

/* ---- storing ---- */

/* Where a run came from and who vouches for it, as the log says; what an entry does not have is
 * NULL (in sr_archive_run) or empty. */
struct sr_archive_provenance {
    char origin[16];     /* "stored" or "imported"; empty: the entry is older than this */
    char from[64];       /* imported: the archive whose proof held */
    char signature[16];  /* "none", "unchecked", "good" or "bad" */
    char signer[65];     /* id of the key; unless the signature is good a mere claim */
    char checked_by[16]; /* good: "sign-key" (this host's own) or "require-key" (the caller's) */
};

struct sr_archive_added {
    char bundle[SR_ARCHIVE_ID];
    char run_id[129];
    char path[PATH_MAX]; /* of the bundle */
    bool already;        /* this very run was in the archive */
    bool repaired;       /* and its bundle was gone or damaged, and is whole again */
    bool valid;          /* what verification found: the archived report says pass or fail */
    char note[256];      /* the first thing that was wrong, or empty */
    struct sr_archive_provenance provenance;
};

/* From now on a run is stored or imported only when the holder of this public key (PEM) has signed
 * it: else SR-EVD-304 at archive.signature, and nothing of it is stored. SR-EVD-003 at key. */
int sr_archive_require_key(struct sr_archive *archive, const char *public_key, struct sr_error *err)
    __attribute__((warn_unused_result));

/* Stores the run whose report is at path, with the files beside it. retention may be NULL. */
int sr_archive_add(struct sr_archive *archive, const char *path, const char *retention,
                   struct sr_archive_added *added, struct sr_error *err)
    __attribute__((warn_unused_result));

/* ---- finding ---- */

/* NULL or 0 is no criterion; all that are given must hold. */
struct sr_archive_query {
    const char *run_id, *bundle; /* whole ones, or the beginning of a bundle's hexadecimal digits */
    const char *run_end;         /* the end of a run id */
    const char *policy, *command, *cause, *result;
    const char *const *labels; /* "key=value" or "key" */
    size_t label_count;
    const int *exit_code;
    const char *since, *until;    /* beginnings of RFC 3339 times; when the run started */
    const char *reached, *denied; /* address or name, with or without ":port" */
    const char *hash;
    bool with_pruned;
    unsigned limit; /* 0: all */
};

struct sr_archive_run {
    const char *bundle, *run_id, *policy, *command, *cause, *result;
    const char *started, *finished, *stored, *retention;
    const char *pruned;                                          /* when; NULL: it is there */
    const char *origin, *from, *signature, *signer, *checked_by; /* sr_archive_provenance */
    uint64_t leaf;
    bool has_exit_code;
    bool truncated; /* not all of its destinations, labels and hashes can be searched by */
    int64_t exit_code;
};

/* Told of each run, newest first; texts live until it returns. */
typedef void sr_archive_on_run(void *context, const struct sr_archive_run *run);

/* *more is set when the limit left some out. An index that is missing, behind or damaged is made
 * anew first; what there is to say about that, and about runs that cannot be found by all that they
 * did, goes to note (may be empty). */
int sr_archive_search(struct sr_archive *archive, const struct sr_archive_query *query,
                      sr_archive_on_run *on_run, void *context, bool *more, char note[256],
                      struct sr_error *err) __attribute__((warn_unused_result));

/* Where the run of a bundle came from, by the log: an index may say anything. */
int sr_archive_provenance_of(struct sr_archive *archive, const char *bundle,
                             struct sr_archive_provenance *provenance, struct sr_error *err)
    __attribute__((warn_unused_result));

/* Told of each file of a bundle, in the order of names. */
typedef void sr_archive_on_file(void *context, const char *name, uint64_t size, const char *hash);

/* The files of a bundle by its manifest, and the bundle's directory. */
int sr_archive_files(struct sr_archive *archive, const char *bundle, sr_archive_on_file *on_file,
                     void *context, char path[PATH_MAX], struct sr_error *err)
    __attribute__((warn_unused_result));

/* Makes the index anew from the bundles; *runs is how many it has. */
int sr_archive_reindex(struct sr_archive *archive, uint64_t *runs, struct sr_error *err)
    __attribute__((warn_unused_result));

/* The bundle that a name means: a run id, the end of one (3 characters at least), a bundle id, or
 * the beginning of one (6 digits at least). Several are an error that lists them. */
int sr_archive_resolve(struct sr_archive *archive, const char *name, char bundle[SR_ARCHIVE_ID],
                       struct sr_error *err) __attribute__((warn_unused_result));

/* ---- checking ---- */

struct sr_archive_verify_options {
    const char *const *bundles; /* only these (whole ids); NULL: all */
    size_t bundle_count;
    const char *checkpoint; /* an older checkpoint that the log must go on from; may be NULL */
    const char
        *public_key; /* PEM; NULL: the one that lies in the archive, as much as that is worth */
    const char *require_key; /* PEM; whose holder must have signed each run; NULL: nobody */
};

#define SR_ARCHIVE_MAX_CHECKS 6
#define SR_ARCHIVE_MAX_ERRORS 50

/* Zero-initialise before use. Checks: checkpoint, log, bundles, unlogged, older_checkpoint,
 * signatures. */
struct sr_archive_verification {
    bool valid;
    struct sr_report_check checks[SR_ARCHIVE_MAX_CHECKS];
    size_t check_count;
    struct sr_error errors[SR_ARCHIVE_MAX_ERRORS];
    size_t error_count;
    uint64_t more_errors;
    uint64_t entries, bundles, pruned;
};

/* Returns 0 when there is an answer, whatever it is. Changes nothing. */
int sr_archive_verify(const struct sr_archive_place *place,
                      const struct sr_archive_verify_options *options,
                      struct sr_archive_verification *verification, struct sr_error *err)
    __attribute__((warn_unused_result));

/* ---- proving ---- */

struct sr_archive_proof {
    char bundle[SR_ARCHIVE_ID], run_id[129], stored[SR_ARCHIVE_TIME];
    char original[SR_ARCHIVE_ID]; /* SHA-256 of the run's own report */
    char report[SR_ARCHIVE_ID];   /* and of the archived one */
    char origin[64];              /* of the log */
    char verifier[160];           /* its public key, as other verifiers of signed notes take it */
    struct sr_archive_provenance provenance; /* of the run, as the entry says */
    uint64_t index, size;
    char *text; /* C2SP tlog-proof; owned, free() it. Of a checked proof: NULL */
};

/* Proves that the bundle is in the log that the checkpoint signs. */
int sr_archive_prove(struct sr_archive *archive, const char *bundle, struct sr_archive_proof *proof,
                     struct sr_error *err) __attribute__((warn_unused_result));

/* Checks a proof's text with nothing but the public key in a PEM file. SR-EVD-303. */
int sr_archive_check_proof(const char *text, size_t len, const char *public_key,
                           struct sr_archive_proof *proof, struct sr_error *err)
    __attribute__((warn_unused_result));

/* ---- pruning, taking along ---- */

/* Told of each bundle whose retention is over. */
typedef void sr_archive_on_prune(void *context, const char *bundle, const char *run_id);

struct sr_archive_prune_options {
    bool dry_run;     /* only tell */
    bool trust_clock; /* although the log gives reason to doubt it */
};

/* Removes the bundles whose retention is over and logs that. Where the log has times that are to
 * come, or a bundle's retention is over only by a gap of more than a month in it, which a wrong
 * clock may have made: SR-OPS-301 at archive.prune, and nothing is removed or told. */
int sr_archive_prune(struct sr_archive *archive, const struct sr_archive_prune_options *options,
                     sr_archive_on_prune *on_prune, void *context, struct sr_error *err)
    __attribute__((warn_unused_result));

/* Writes bundles (NULL: all) to fd as one tar archive, the same bytes each time. */
int sr_archive_export(struct sr_archive *archive, const char *const *bundles, size_t count, int fd,
                      struct sr_error *err) __attribute__((warn_unused_result));

typedef void sr_archive_on_import(void *context, const struct sr_archive_added *added);

/* Takes the bundles of such an archive from fd, each verified anew. What came before a fault stays.
 * from is the public key (PEM) of the archive that wrote it: each bundle's proof must hold by it;
 * NULL: where they come from is not known. */
int sr_archive_import(struct sr_archive *archive, int fd, const char *retention, const char *from,
                      sr_archive_on_import *on_import, void *context, struct sr_error *err)
    __attribute__((warn_unused_result));

#endif
