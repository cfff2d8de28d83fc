#include "archive/index.h"

#include "evidence/chain.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APPLICATION_ID "1399997816" /* "SrAx": file(1) can tell */
#define INDEX_VERSION "5"
#define INDEX_PATH "archive.index"

static const char schema[] =
    "CREATE TABLE run(leaf INTEGER PRIMARY KEY, bundle TEXT NOT NULL, run_id TEXT, policy TEXT,"
    " command TEXT, cause TEXT, result TEXT, started TEXT, finished TEXT, stored TEXT,"
    " retention TEXT, pruned TEXT, origin TEXT, origin_from TEXT, signature TEXT, signer TEXT,"
    " checked_by TEXT, exit_code INTEGER, truncated INTEGER NOT NULL) STRICT;"
    "CREATE INDEX run_started ON run(started);"
    "CREATE INDEX run_truncated ON run(leaf) WHERE truncated<>0;"
    "CREATE TABLE fact(kind INTEGER NOT NULL, value TEXT NOT NULL, leaf INTEGER NOT NULL,"
    " PRIMARY KEY(kind, value, leaf)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE position(bytes INTEGER NOT NULL, entries INTEGER NOT NULL) STRICT;"
    "INSERT INTO position VALUES(0, 0);"
    "PRAGMA application_id=" APPLICATION_ID ";"
    "PRAGMA user_version=" INDEX_VERSION ";";

enum { TEXTS = 16 }; /* columns of a run that are texts: those behind the first */

struct archive_index {
    sqlite3 *db;
    sqlite3_stmt *add_run, *add_fact;
    bool damaged;
};

static int index_error(struct archive_index *index, struct sr_error *err)
{
    int code = index->db != NULL ? sqlite3_errcode(index->db) : SQLITE_NOMEM;
    index->damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR ||
                     code == SQLITE_CONSTRAINT || code == SQLITE_MISMATCH;
    return sr_fail(err, SR_OPS_301, INDEX_PATH, "%s",
                   index->db != NULL ? sqlite3_errmsg(index->db) : "out of memory");
}

bool archive_index_is_damaged(const struct archive_index *index)
{
    return index->damaged;
}

static int run_sql(struct archive_index *index, const char *sql, struct sr_error *err)
{
    return sqlite3_exec(index->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
                                                                       : index_error(index, err);
}

static sqlite3_stmt *prepare(struct archive_index *index, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    return sqlite3_prepare_v2(index->db, sql, -1, &statement, NULL) == SQLITE_OK ? statement : NULL;
}

static int read_number(struct archive_index *index, const char *sql, int column, int64_t *number,
                       struct sr_error *err)
{
    sqlite3_stmt *statement = prepare(index, sql);
    *number = 0;
    bool found = statement != NULL && sqlite3_step(statement) == SQLITE_ROW &&
                 sqlite3_column_type(statement, column) == SQLITE_INTEGER;
    if (found)
        *number = sqlite3_column_int64(statement, column);
    int result = found ? 0 : index_error(index, err);
    if (!found)
        index->damaged = true;
    sqlite3_finalize(statement);
    return result;
}

/* ---- opening ---- */

/* NULL with err. */
static struct archive_index *open_database(const char *path, int flags, struct sr_error *err)
{
    struct archive_index *made = calloc(1, sizeof *made);
    if (made == NULL) {
        sr_fail(err, SR_OPS_301, INDEX_PATH, "out of memory");
        return NULL;
    }
    if (sqlite3_open_v2(path, &made->db, flags | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE,
                        NULL) != SQLITE_OK) {
        index_error(made, err);
        archive_index_close(made);
        return NULL;
    }
    /* The database may have been written by somebody else: nothing in it is executed. */
    sqlite3_db_config(made->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(made->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(made->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(made->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_busy_timeout(made->db, 10000);
    return made;
}

static int create_schema(struct archive_index *index, struct sr_error *err)
{
    if (run_sql(index, "BEGIN IMMEDIATE", err) < 0)
        return -1;
    if (run_sql(index, schema, err) == 0 && run_sql(index, "COMMIT", err) == 0)
        return 0;
    archive_index_rollback(index);
    return -1;
}

/* Is it ours, of this version? An empty file is neither, and no fault. */
static int check_version(struct archive_index *index, bool *empty, struct sr_error *err)
{
    int64_t id = 0, version = 0, tables = 0;
    if (read_number(index, "PRAGMA application_id", 0, &id, err) < 0 ||
        read_number(index, "PRAGMA user_version", 0, &version, err) < 0 ||
        read_number(index, "SELECT count(*) FROM sqlite_schema", 0, &tables, err) < 0)
        return -1;
    *empty = tables == 0 && id == 0;
    if (*empty ||
        (id == strtoll(APPLICATION_ID, NULL, 10) && version == strtoll(INDEX_VERSION, NULL, 10)))
        return 0;
    index->damaged = true;
    return sr_fail(err, SR_OPS_301, INDEX_PATH, "it is of another version");
}

static int open_checked(const char *path, bool write, struct archive_index **index,
                        struct sr_error *err)
{
    bool empty = false;
    int flags = write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    struct archive_index *made = open_database(path, flags, err);
    if (made == NULL)
        return -1;
    int result = check_version(made, &empty, err);
    if (result == 0 && empty)
        result =
            write ? create_schema(made, err) : sr_fail(err, SR_OPS_301, INDEX_PATH, "it is empty");
    if (result < 0) {
        archive_index_close(made);
        return -1;
    }
    *index = made;
    return 0;
}

int archive_index_open(const char *root, bool write, struct archive_index **index,
                       struct sr_error *err)
{
    char path[PATH_MAX + sizeof "/" ARCHIVE_INDEX_FILE];
    snprintf(path, sizeof path, "%s/" ARCHIVE_INDEX_FILE, root);
    return open_checked(path, write, index, err);
}

int archive_index_open_in_memory(struct archive_index **index, struct sr_error *err)
{
    return open_checked(":memory:", true, index, err);
}

void archive_index_close(struct archive_index *index)
{
    if (index == NULL)
        return;
    sqlite3_finalize(index->add_run);
    sqlite3_finalize(index->add_fact);
    sqlite3_close(index->db);
    free(index);
}

/* ---- writing ---- */

int archive_index_position(struct archive_index *index, uint64_t *bytes, uint64_t *entries,
                           struct sr_error *err)
{
    int64_t at = 0, count = 0;
    static const char sql[] = "SELECT bytes, entries FROM position";
    if (read_number(index, sql, 0, &at, err) < 0 || read_number(index, sql, 1, &count, err) < 0)
        return -1;
    *bytes = (uint64_t)at;
    *entries = (uint64_t)count;
    return 0;
}

int archive_index_begin(struct archive_index *index, struct sr_error *err)
{
    return run_sql(index, "BEGIN IMMEDIATE", err);
}

void archive_index_rollback(struct archive_index *index)
{
    sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
}

int archive_index_commit(struct archive_index *index, uint64_t bytes, uint64_t entries,
                         struct sr_error *err)
{
    sqlite3_stmt *statement = prepare(index, "UPDATE position SET bytes=?1, entries=?2");
    int result = statement != NULL &&
                         sqlite3_bind_int64(statement, 1, (int64_t)bytes) == SQLITE_OK &&
                         sqlite3_bind_int64(statement, 2, (int64_t)entries) == SQLITE_OK &&
                         sqlite3_step(statement) == SQLITE_DONE
                     ? 0
                     : index_error(index, err);
    sqlite3_finalize(statement);
    return result < 0 ? -1 : run_sql(index, "COMMIT", err);
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    if (text != NULL) /* else it stays NULL */
        sqlite3_bind_text(statement, at, text, -1, SQLITE_TRANSIENT);
}

/* Steps a statement that returns nothing and makes it ready for the next time. */
static int finish(struct archive_index *index, sqlite3_stmt *statement, struct sr_error *err)
{
    int result = sqlite3_step(statement) == SQLITE_DONE ? 0 : index_error(index, err);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

int archive_index_add_run(struct archive_index *index, const struct sr_archive_run *run,
                          struct sr_error *err)
{
    if (index->add_run == NULL)
        index->add_run = prepare(index, "INSERT OR REPLACE INTO run VALUES"
                                        "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,"
                                        "?16,?17,?18,?19)");
    sqlite3_stmt *statement = index->add_run;
    if (statement == NULL)
        return index_error(index, err);
    const char *const texts[] = {run->bundle, run->run_id,    run->policy,  run->command,
                                 run->cause,  run->result,    run->started, run->finished,
                                 run->stored, run->retention, run->pruned,  run->origin,
                                 run->from,   run->signature, run->signer,  run->checked_by};
    sqlite3_bind_int64(statement, 1, (int64_t)run->leaf);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        bind_text(statement, (int)i + 2, texts[i]);
    if (run->has_exit_code)
        sqlite3_bind_int64(statement, TEXTS + 2, run->exit_code);
    sqlite3_bind_int(statement, TEXTS + 3, run->truncated);
    return finish(index, statement, err);
}

int archive_index_add_fact(struct archive_index *index, enum archive_fact kind, const char *value,
                           size_t len, uint64_t leaf, struct sr_error *err)
{
    if (index->add_fact == NULL)
        index->add_fact = prepare(index, "INSERT OR IGNORE INTO fact VALUES(?1,?2,?3)");
    sqlite3_stmt *statement = index->add_fact;
    if (statement == NULL)
        return index_error(index, err);
    sqlite3_bind_int(statement, 1, (int)kind);
    sqlite3_bind_text(statement, 2, value, (int)len, SQLITE_TRANSIENT);
    sqlite3_bind_int64(statement, 3, (int64_t)leaf);
    return finish(index, statement, err);
}

int archive_index_prune(struct archive_index *index, uint64_t leaf, const char *when,
                        struct sr_error *err)
{
    sqlite3_stmt *statement = prepare(index, "UPDATE run SET pruned=?2 WHERE leaf=?1");
    if (statement == NULL)
        return index_error(index, err);
    sqlite3_bind_int64(statement, 1, (int64_t)leaf);
    bind_text(statement, 2, when);
    int result = finish(index, statement, err);
    sqlite3_finalize(statement);
    return result;
}

int archive_index_truncated(struct archive_index *index, uint64_t *runs, struct sr_error *err)
{
    int64_t count = 0;
    if (read_number(index, "SELECT count(*) FROM run WHERE truncated<>0 AND pruned IS NULL", 0,
                    &count, err) < 0)
        return -1;
    *runs = (uint64_t)count;
    return 0;
}

/* ---- searching ---- */

/* Lists longer than this are not told apart when the shortest is sought. */
#define COUNT_CAP "20000"
enum { MAX_CRITERIA = 32 };

/* One list of runs: those with a fact, or those that started in a span of time. */
struct criterion {
    int kind;       /* 0: the span of time */
    char text[512]; /* value, or the beginning of one */
    char end[520];  /* behind the last value with that beginning; empty: only text itself */
    int64_t length; /* of the list, as far as it was counted */
};

struct search {
    const struct sr_archive_query *query;
    struct criterion criteria[MAX_CRITERIA];
    int count;
    bool impossible; /* a criterion that nothing meets */
};

static void add_criterion(struct search *search, enum archive_fact kind, const char *text)
{
    if (text == NULL)
        return;
    if (search->count == MAX_CRITERIA || strlen(text) >= sizeof search->criteria[0].text) {
        search->impossible = true;
        return;
    }
    struct criterion *criterion = &search->criteria[search->count++];
    *criterion = (struct criterion){.kind = (int)kind};
    snprintf(criterion->text, sizeof criterion->text, "%s", text);
}

static const char *without_prefix(const char *hash)
{
    static const char prefix[] = "sha256:";
    return hash != NULL && strncmp(hash, prefix, sizeof prefix - 1) == 0 ? hash + sizeof prefix - 1
                                                                         : hash;
}

static void add_run_end(struct search *search, const char *run_end)
{
    char backwards[sizeof search->criteria[0].text];
    size_t len = run_end != NULL ? strlen(run_end) : 0;
    if (run_end == NULL)
        return;
    search->impossible = search->impossible || len >= sizeof backwards;
    for (size_t i = 0; i < len && !search->impossible; i++)
        backwards[i] = run_end[len - 1 - i];
    backwards[search->impossible ? 0 : len] = '\0';
    add_criterion(search, ARCHIVE_FACT_RUN_END, backwards);
    if (!search->impossible) /* an id is of printable ASCII: nothing in it comes behind this */
        snprintf(search->criteria[search->count - 1].end, sizeof search->criteria[0].end,
                 "%.510s\x7f", backwards);
}

static void collect(struct search *search)
{
    const struct sr_archive_query *query = search->query;
    char number[16];
    add_criterion(search, ARCHIVE_FACT_HASH, without_prefix(query->hash));
    add_criterion(search, ARCHIVE_FACT_RUN_ID, query->run_id);
    add_run_end(search, query->run_end);
    add_criterion(search, ARCHIVE_FACT_BUNDLE, without_prefix(query->bundle));
    if (query->bundle != NULL && search->count > 0) {
        struct criterion *bundle = &search->criteria[search->count - 1];
        snprintf(bundle->end, sizeof bundle->end, "%.510sg", without_prefix(query->bundle));
    }
    add_criterion(search, ARCHIVE_FACT_DENIED, query->denied);
    add_criterion(search, ARCHIVE_FACT_REACHED, query->reached);
    for (size_t i = 0; i < query->label_count; i++)
        add_criterion(search, ARCHIVE_FACT_LABEL, query->labels[i]);
    add_criterion(search, ARCHIVE_FACT_POLICY, query->policy);
    add_criterion(search, ARCHIVE_FACT_COMMAND, query->command);
    add_criterion(search, ARCHIVE_FACT_CAUSE, query->cause);
    if (query->exit_code != NULL) {
        snprintf(number, sizeof number, "%d", *query->exit_code);
        add_criterion(search, ARCHIVE_FACT_EXIT_CODE, number);
    }
    add_criterion(search, ARCHIVE_FACT_RESULT, query->result);
    if (query->since != NULL || query->until != NULL) {
        add_criterion(search, (enum archive_fact)0, query->since != NULL ? query->since : "");
        if (!search->impossible)
            /* Whatever begins with the end belongs to it: a day, a second. */
            snprintf(search->criteria[search->count - 1].end, sizeof search->criteria[0].end,
                     "%.510s~", query->until != NULL ? query->until : "");
    }
}

static int count_list(struct archive_index *index, struct criterion *criterion,
                      struct sr_error *err)
{
    sqlite3_stmt *statement = prepare(
        index, criterion->kind == 0
                   ? "SELECT count(*) FROM (SELECT 1 FROM run WHERE started>=?2 AND started<?3"
                     " LIMIT " COUNT_CAP ")"
               : criterion->end[0] != '\0'
                   ? "SELECT count(*) FROM (SELECT 1 FROM fact WHERE kind=?1 AND value>=?2"
                     " AND value<?3 LIMIT " COUNT_CAP ")"
                   : "SELECT count(*) FROM (SELECT 1 FROM fact WHERE kind=?1 AND value=?2"
                     " LIMIT " COUNT_CAP ")");
    if (statement == NULL)
        return index_error(index, err);
    if (criterion->kind != 0)
        sqlite3_bind_int(statement, 1, criterion->kind);
    bind_text(statement, 2, criterion->text);
    if (criterion->end[0] != '\0')
        bind_text(statement, 3, criterion->end);
    int result = sqlite3_step(statement) == SQLITE_ROW ? 0 : index_error(index, err);
    if (result == 0)
        criterion->length = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result;
}

/* The shortest list comes first: it is walked, in the others its runs are looked up. */
static int put_shortest_first(struct archive_index *index, struct search *search,
                              struct sr_error *err)
{
    int shortest = 0;
    for (int i = 0; i < search->count && search->count > 1; i++) {
        if (count_list(index, &search->criteria[i], err) < 0)
            return -1;
        if (search->criteria[i].length < search->criteria[shortest].length)
            shortest = i;
    }
    if (shortest > 0) {
        struct criterion first = search->criteria[shortest];
        search->criteria[shortest] = search->criteria[0];
        search->criteria[0] = first;
    }
    return 0;
}

/* The statement's text: only numbers of parameters come from the query. Criterion i has the
 * parameters 3i+1 (kind), 3i+2 and 3i+3; CROSS JOIN keeps the order of the lists. */
static void write_statement(const struct search *search, struct sr_buf *sql)
{
    bool by_time = search->count > 0 && search->criteria[0].kind == 0;
    sr_buf_puts(sql, "SELECT run.* FROM ");
    if (search->count == 0 || by_time)
        sr_buf_puts(sql, "run");
    for (int i = by_time ? 1 : 0; i < search->count; i++)
        if (search->criteria[i].kind != 0)
            sr_buf_printf(sql, "%sfact f%d", i > 0 ? " CROSS JOIN " : "", i);
    if (search->count > 0 && !by_time)
        sr_buf_puts(sql, " CROSS JOIN run");
    sr_buf_puts(sql, " WHERE 1");
    for (int i = 0; i < search->count; i++) {
        const struct criterion *criterion = &search->criteria[i];
        if (criterion->kind == 0)
            sr_buf_printf(sql, " AND run.started>=?%d AND run.started<?%d", 3 * i + 2, 3 * i + 3);
        else if (criterion->end[0] != '\0')
            sr_buf_printf(sql, " AND f%d.kind=?%d AND f%d.value>=?%d AND f%d.value<?%d", i,
                          3 * i + 1, i, 3 * i + 2, i, 3 * i + 3);
        else
            sr_buf_printf(sql, " AND f%d.kind=?%d AND f%d.value=?%d", i, 3 * i + 1, i, 3 * i + 2);
        if (criterion->kind != 0 && i > 0)
            sr_buf_printf(sql, by_time ? " AND f%d.leaf=run.leaf" : " AND f%d.leaf=f0.leaf", i);
    }
    if (search->count > 0 && !by_time)
        sr_buf_puts(sql, " AND run.leaf=f0.leaf");
    if (!search->query->with_pruned)
        sr_buf_puts(sql, " AND run.pruned IS NULL");
    sr_buf_puts(sql, by_time             ? " ORDER BY run.started DESC"
                     : search->count > 0 ? " ORDER BY f0.leaf DESC"
                                         : " ORDER BY run.leaf DESC");
    if (search->query->limit > 0) /* one more, to know whether there are more */
        sr_buf_printf(sql, " LIMIT %llu", (unsigned long long)search->query->limit + 1);
}

static const char *column(sqlite3_stmt *statement, int at)
{
    return (const char *)sqlite3_column_text(statement, at);
}

/* Is the row one that we write? Somebody else may have. */
static bool is_run(sqlite3_stmt *row)
{
    if (sqlite3_column_type(row, 0) != SQLITE_INTEGER || sqlite3_column_int64(row, 0) < 0)
        return false;
    for (int i = 1; i <= TEXTS; i++) { /* bundle, run_id, stored and retention are always there */
        int type = sqlite3_column_type(row, i);
        bool always = i == 1 || i == 2 || i == 9 || i == 10;
        if (type != SQLITE_TEXT && (type != SQLITE_NULL || always))
            return false;
    }
    const char *bundle = column(row, 1);
    return bundle != NULL && sr_is_sha256(bundle);
}

/* Rows as they were found. Nothing is handed over before the last one turned out to be a run, too:
 * of an index that is to be made anew the caller has heard nothing. */
struct rows {
    struct sr_buf rows, texts;
};

struct row {
    struct sr_archive_run run; /* its numbers */
    size_t at[TEXTS];          /* in texts; SIZE_MAX: NULL */
};

static void keep_row(struct rows *rows, sqlite3_stmt *from)
{
    struct row row = {
        .run = {.leaf = (uint64_t)sqlite3_column_int64(from, 0),
                .has_exit_code = sqlite3_column_type(from, TEXTS + 1) == SQLITE_INTEGER,
                .exit_code = sqlite3_column_int64(from, TEXTS + 1),
                .truncated = sqlite3_column_int(from, TEXTS + 2) != 0}};
    for (int i = 0; i < TEXTS; i++) {
        const char *text = column(from, i + 1);
        row.at[i] = text != NULL ? rows->texts.len : SIZE_MAX;
        if (text != NULL)
            sr_buf_append(&rows->texts, text, strlen(text) + 1);
    }
    sr_buf_append(&rows->rows, &row, sizeof row);
}

static void hand_over(const struct rows *rows, sr_archive_on_run *on_run, void *context)
{
    for (size_t at = 0; at < rows->rows.len; at += sizeof(struct row)) {
        struct row row;
        memcpy(&row, rows->rows.data + at, sizeof row);
        const char **const texts[TEXTS] = {
            &row.run.bundle, &row.run.run_id,    &row.run.policy,  &row.run.command,
            &row.run.cause,  &row.run.result,    &row.run.started, &row.run.finished,
            &row.run.stored, &row.run.retention, &row.run.pruned,  &row.run.origin,
            &row.run.from,   &row.run.signature, &row.run.signer,  &row.run.checked_by};
        for (size_t i = 0; i < TEXTS; i++)
            *texts[i] = row.at[i] != SIZE_MAX ? rows->texts.data + row.at[i] : NULL;
        on_run(context, &row.run);
    }
}

static int keep_rows(struct archive_index *index, sqlite3_stmt *statement, unsigned limit,
                     struct rows *rows, bool *more, struct sr_error *err)
{
    int step;
    unsigned count = 0;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW && !*more) {
        if (!is_run(statement)) {
            index->damaged = true;
            return sr_fail(err, SR_OPS_301, INDEX_PATH, "it has a row that is no run");
        }
        *more = limit > 0 && count++ == limit;
        if (!*more)
            keep_row(rows, statement);
    }
    if (step != SQLITE_DONE && !*more)
        return index_error(index, err);
    return sr_buf_ok(&rows->rows) && sr_buf_ok(&rows->texts)
               ? 0
               : sr_fail(err, SR_OPS_301, INDEX_PATH, "out of memory");
}

int archive_index_search(struct archive_index *index, const struct sr_archive_query *query,
                         sr_archive_on_run *on_run, void *context, bool *more, struct sr_error *err)
{
    struct search search = {.query = query};
    sr_cleanup_buf struct sr_buf sql = SR_BUF_INIT;
    *more = false;
    collect(&search);
    if (search.impossible)
        return 0;
    if (put_shortest_first(index, &search, err) < 0)
        return -1;
    write_statement(&search, &sql);
    sqlite3_stmt *statement = sr_buf_ok(&sql) ? prepare(index, sql.data) : NULL;
    if (statement == NULL)
        return index_error(index, err);
    for (int i = 0; i < search.count; i++) {
        const struct criterion *criterion = &search.criteria[i];
        if (criterion->kind != 0)
            sqlite3_bind_int(statement, 3 * i + 1, criterion->kind);
        bind_text(statement, 3 * i + 2, criterion->text);
        if (criterion->end[0] != '\0')
            bind_text(statement, 3 * i + 3, criterion->end);
    }
    struct rows rows = {.rows = SR_BUF_INIT, .texts = SR_BUF_INIT};
    int result = keep_rows(index, statement, query->limit, &rows, more, err);
    if (result == 0)
        hand_over(&rows, on_run, context);
    sr_buf_free(&rows.rows);
    sr_buf_free(&rows.texts);
    sqlite3_finalize(statement);
    return result;
}
