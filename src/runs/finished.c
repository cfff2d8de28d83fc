/* Runs of every state, and finding one by what people call it. Of a finished run only the end of
 * its report is read, where what it came to is. */
#include "runs/runs.h"

#include "common/fs.h"
#include "common/json_text.h"
#include "common/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Behind its events a report has some 2 KiB, and sentences about the first 64 mounts that were
 * rejected. */
enum { TAIL = 64 * 1024 };
/* Files that are looked at below a directory of a run, to add their sizes up. */
enum { SIZED_MAX = 1000 };
enum { SUFFIX_MIN = 3, CANDIDATES = 5 };
#define LAST "last"

const char *sr_run_suffix(const char *id)
{
    const char *dash = strrchr(id, '-');
    return dash != NULL ? dash + 1 : id;
}

/* ---- one run ---- */

/* When the report was written, in nanoseconds since 1970; 0: there is none. */
static int64_t report_time(int dirfd, const char *path)
{
    struct stat st;
    if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return 0;
    return (int64_t)st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
}

/* Does the array of events end here, with the first member behind it? */
static bool is_end_of_events(const char *at, size_t len)
{
    static const char *const members[] = {"],\"exit\":", "],\"exitCode\":"};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (len > strlen(members[i]) && memcmp(at, members[i], strlen(members[i])) == 0)
            return true;
    return false;
}

/* The members behind the events, as an object. What looks like their beginning inside of an event
 * does not end where the report does, and comes before; of few such places one is it. */
static bool find_rest(char *text, size_t len, struct sr_json_slice *rest)
{
    struct sr_json_scan scan;
    for (size_t at = len, tries = 0; at-- > 0 && tries < 4;) {
        if (!is_end_of_events(text + at, len - at))
            continue;
        tries++;
        text[at + 1] = '{';
        *rest = (struct sr_json_slice){text + at + 1, len - at - 1};
        if (sr_json_scan(rest->text, rest->len, SR_JSON_LAST, &scan) == SR_JSON_OK &&
            scan.len + 1 >= rest->len)
            return true;
        text[at + 1] = ',';
    }
    return false;
}

/* What the end of a report says; of another spelling than ours nothing is told. */
static void read_summary(int dirfd, struct sr_any_run *run)
{
    struct sr_json_slice rest;
    struct stat st;
    int64_t exit_code;
    sr_cleanup_free char *text = malloc(TAIL);
    sr_cleanup_fd int fd = sr_open_below(dirfd, EVIDENCE_REPORT_FILE);
    if (text == NULL || fd < 0 || fstat(fd, &st) < 0)
        return;
    ssize_t len = sr_read_full(fd, text, TAIL, st.st_size > TAIL ? st.st_size - TAIL : 0);
    if (len <= 0 || !find_rest(text, (size_t)len, &rest))
        return;
    sr_json_copy(sr_json_get(sr_json_get(rest, "exit"), "cause"), run->cause, sizeof run->cause);
    sr_json_copy(sr_json_get(sr_json_get(rest, "policySummary"), "name"), run->name,
                 sizeof run->name);
    run->has_exit_code = sr_json_integer(sr_json_get(rest, "exitCode"), &exit_code) &&
                         exit_code >= 0 && exit_code <= 255;
    if (run->has_exit_code)
        run->exit_code = (int)exit_code;
}

struct sizing {
    struct sr_walk walk; /* first: the walk hands itself back */
    struct sr_any_run *run;
};

static int add_size(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                    const struct statx *st, int open_fd, void **own, struct sr_error *err)
{
    struct sizing *sizing = (struct sizing *)walk;
    (void)parent, (void)directory_fd, (void)name, (void)open_fd, (void)own, (void)err;
    sizing->run->bytes += st->stx_blocks * 512;
    return 0;
}

static void skip(struct sr_walk *walk, const char *why)
{
    (void)walk, (void)why;
}

/* A directory of the run by itself: of one with too many files the rest is still counted. */
static int add_top(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                   const struct statx *st, int open_fd, void **own, struct sr_error *err)
{
    struct sr_any_run *run = ((struct sizing *)walk)->run;
    struct sizing below = {.walk = {.entry = add_size, .skip = skip, .entries_max = SIZED_MAX},
                           .run = run};
    (void)!add_size(walk, parent, directory_fd, name, st, open_fd, own, err);
    if (S_ISDIR(st->stx_mode) && sr_walk(&below.walk, open_fd, NULL, err) < 0)
        run->more_bytes = true;
    return 0;
}

static void add_sizes(int dirfd, struct sr_any_run *run)
{
    struct sr_error ignored;
    struct sizing top = {
        .walk = {.entry = add_top, .skip = skip, .entries_max = SIZED_MAX, .flat = true},
        .run = run};
    if (sr_walk(&top.walk, dirfd, NULL, &ignored) < 0)
        run->more_bytes = true;
}

/* False: it is nobody's run that can be looked at. */
static bool look_at(int base_fd, const char *id, struct sr_any_run *run)
{
    sr_cleanup_fd int dirfd = runs_open_own(base_fd, id);
    if (dirfd < 0)
        return false;
    *run = (struct sr_any_run){.started = runs_start_of(id),
                               .finished = report_time(dirfd, EVIDENCE_REPORT_FILE)};
    snprintf(run->id, sizeof run->id, "%s", id);
    if (run->finished != 0) {
        run->state = SR_RUN_FINISHED;
        read_summary(dirfd, run);
        runs_describe(dirfd, run->name[0] == '\0' ? run->name : NULL, run->command);
    } else {
        run->pid = runs_pid_of_live(dirfd);
        run->state = run->pid > 0 ? SR_RUN_LIVES : SR_RUN_DEAD;
        run->pid = run->pid > 0 ? run->pid : 0;
        runs_describe(dirfd, run->name, run->command);
    }
    add_sizes(dirfd, run);
    return true;
}

/* ---- all of them ---- */

/* The newest first; of those that began in one second the one that ended last. */
static int by_age(const void *a, const void *b)
{
    const struct sr_any_run *x = a, *y = b;
    int64_t first = x->finished != 0 ? x->finished : INT64_MAX,
            second = y->finished != 0 ? y->finished : INT64_MAX;
    if (x->started != y->started)
        return x->started < y->started ? 1 : -1;
    if (first != second)
        return first < second ? 1 : -1;
    return strcmp(y->id, x->id);
}

int sr_runs_list_all(const char *base, struct sr_any_run **runs, size_t *count,
                     struct sr_error *err)
{
    sr_cleanup_fd int base_fd = -1;
    *runs = NULL;
    *count = 0;
    if (runs_open_base(base, &base_fd, err) < 0)
        return -1;
    DIR *dir = base_fd < 0 ? NULL : sr_open_list(base_fd);
    size_t room = 0;
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (!runs_is_id(entry->d_name))
            continue;
        if (*count == room) {
            room = room == 0 ? 64 : 2 * room;
            struct sr_any_run *grown = realloc(*runs, room * sizeof *grown);
            if (grown == NULL)
                break;
            *runs = grown;
        }
        *count += look_at(base_fd, entry->d_name, &(*runs)[*count]);
    }
    if (dir != NULL)
        closedir(dir);
    if (*count > 1)
        qsort(*runs, *count, sizeof **runs, by_age);
    return 0;
}

/* ---- one by its name ---- */

/* The end of an id, or all of one: nothing that is a path to a file with an ending. */
static bool may_be_name(const char *name)
{
    size_t len = strlen(name);
    return len >= SUFFIX_MIN && len < sizeof(((struct sr_any_run *)NULL)->id) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzT0123456789-") == len;
}

struct search {
    const char *name;
    char found[32];
    unsigned count; /* that end so */
    char list[CANDIDATES * 34];
    int64_t newest;
};

static void take_newest(struct search *search, int base_fd, const char *id)
{
    char report[64];
    snprintf(report, sizeof report, "%s/" EVIDENCE_REPORT_FILE, id);
    int64_t when = report_time(base_fd, report);
    if (when == 0 || when < search->newest ||
        (when == search->newest && strcmp(id, search->found) < 0))
        return;
    sr_cleanup_fd int own = runs_open_own(base_fd, id);
    if (own < 0)
        return;
    search->newest = when;
    search->count = 1;
    snprintf(search->found, sizeof search->found, "%s", id);
}

static void take_ending(struct search *search, int base_fd, const char *id)
{
    size_t len = strlen(search->name), id_len = strlen(id);
    if (len > id_len || strcmp(id + id_len - len, search->name) != 0)
        return;
    sr_cleanup_fd int own = runs_open_own(base_fd, id);
    if (own < 0)
        return;
    size_t listed = strlen(search->list);
    if (search->count++ < CANDIDATES)
        snprintf(search->list + listed, sizeof search->list - listed, "%s%s",
                 listed > 0 ? ", " : "", id);
    snprintf(search->found, sizeof search->found, "%s", id);
}

static int check_found(int base_fd, const struct search *search, struct sr_error *err)
{
    if (search->count > 1)
        return sr_fail(err, SR_RUN_001, "run", "%u runs end in '%s': name one of %s%s",
                       search->count, search->name, search->list,
                       search->count > CANDIDATES ? ", ..." : "");
    sr_cleanup_fd int dirfd = runs_open_own(base_fd, search->found);
    if (dirfd < 0 || report_time(dirfd, EVIDENCE_REPORT_FILE) != 0)
        return 0; /* whoever opens its report will be told */
    return runs_pid_of_live(dirfd) > 0
               ? sr_fail(err, SR_RUN_001, "run", "%s still runs and has no report yet",
                         search->found)
               : sr_fail(err, SR_RUN_001, "run",
                         "%s has no report, because its safe-run died; 'safe-run gc' closes it",
                         search->found);
}

int sr_runs_find(const char *base, const char *name, char path[PATH_MAX], struct sr_error *err)
{
    sr_cleanup_fd int base_fd = -1;
    char where[PATH_MAX];
    struct search search = {.name = name};
    bool last = strcmp(name, LAST) == 0;
    if (!may_be_name(name))
        return 0;
    if (sr_runs_base(base, where, err) < 0 || runs_open_base(base, &base_fd, err) < 0)
        return -1;
    DIR *dir = base_fd < 0 ? NULL : sr_open_list(base_fd);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (runs_is_id(entry->d_name))
            (last ? take_newest : take_ending)(&search, base_fd, entry->d_name);
    if (dir != NULL)
        closedir(dir);
    if (search.count == 0)
        return 0;
    if (check_found(base_fd, &search, err) < 0)
        return -1;
    return snprintf(path, PATH_MAX, "%s/%s", where, search.found) < PATH_MAX
               ? 1
               : sr_fail(err, SR_RUN_001, "run", "%s: %s", where, strerror(ENAMETOOLONG));
}
