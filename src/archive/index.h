/*
 * The index of an archive: a SQLite database made from the bundles, so that a run is found among
 * many.
 *
 * The index is a cache. Everything in it can be made anew at any time, it says up to which byte of
 * the log it was made, and a database that is damaged or of another version is thrown away.
 *
 *   run    a row for each stored entry, by its number in the log
 *   fact   (kind, value, run): what runs can be searched by, one ordered list for each value
 *
 * A search walks the shortest of the lists that its criteria name, newest run first, and looks each
 * run up in the others. All values are bound, none is ever part of a statement's text.
 */
#ifndef SR_ARCHIVE_INDEX_H
#define SR_ARCHIVE_INDEX_H

#include "common/buf.h"
#include "common/cleanup.h"
#include "saferun/archive.h"

#define ARCHIVE_INDEX_FILE "index.sqlite"

/* What runs are searched by. Databases have these numbers: after a change, increment
 * SR_INDEX_VERSION. */
enum archive_fact {
    ARCHIVE_FACT_RUN_ID = 1,
    ARCHIVE_FACT_BUNDLE = 2, /* hexadecimal digits; searched by their beginning */
    ARCHIVE_FACT_POLICY = 3,
    ARCHIVE_FACT_COMMAND = 4, /* its path, its last component, and the whole line */
    ARCHIVE_FACT_CAUSE = 5,
    ARCHIVE_FACT_RESULT = 6,
    ARCHIVE_FACT_EXIT_CODE = 7,
    ARCHIVE_FACT_LABEL = 8,   /* "key" and "key=value" */
    ARCHIVE_FACT_REACHED = 9, /* "address" and "address:port" */
    ARCHIVE_FACT_DENIED = 10,
    ARCHIVE_FACT_HASH = 11,    /* 64 hexadecimal digits */
    ARCHIVE_FACT_RUN_END = 12, /* the run id backwards; searched by its beginning */
};

struct archive_index;

/* Opens the index of the archive at root (a path without links); with write an empty one is made
 * when there is none. -1 when it is damaged or of another version. */
int archive_index_open(const char *root, bool write, struct archive_index **index,
                       struct sr_error *err) SR_MUST_CHECK;
/* Makes an empty index in memory. */
int archive_index_open_in_memory(struct archive_index **index, struct sr_error *err) SR_MUST_CHECK;
void archive_index_close(struct archive_index *index);

/* Reads up to which byte of the log it was made, and the number of entries up to there. */
int archive_index_position(struct archive_index *index, uint64_t *bytes, uint64_t *entries,
                           struct sr_error *err) SR_MUST_CHECK;
/* Adds and changes happen between these two, all or none of them. */
int archive_index_begin(struct archive_index *index, struct sr_error *err) SR_MUST_CHECK;
int archive_index_commit(struct archive_index *index, uint64_t bytes, uint64_t entries,
                         struct sr_error *err) SR_MUST_CHECK;
void archive_index_rollback(struct archive_index *index);

int archive_index_add_run(struct archive_index *index, const struct sr_archive_run *run,
                          struct sr_error *err) SR_MUST_CHECK;
/* Adds a fact, once; value has len bytes. */
int archive_index_add_fact(struct archive_index *index, enum archive_fact kind, const char *value,
                           size_t len, uint64_t leaf, struct sr_error *err) SR_MUST_CHECK;
/* Records that the run's bundle is gone; from then on only run id, bundle and result find it. */
int archive_index_prune(struct archive_index *index, uint64_t leaf, const char *when,
                        struct sr_error *err) SR_MUST_CHECK;

int archive_index_search(struct archive_index *index, const struct sr_archive_query *query,
                         sr_archive_on_run *on_run, void *context, bool *more,
                         struct sr_error *err) SR_MUST_CHECK;

/* Counts the runs that had more facts than are kept. */
int archive_index_truncated(struct archive_index *index, uint64_t *runs,
                            struct sr_error *err) SR_MUST_CHECK;

/* Whether an error means that the database is damaged (and not that the disk is full). */
bool archive_index_is_damaged(const struct archive_index *index) SR_MUST_CHECK;

#endif
