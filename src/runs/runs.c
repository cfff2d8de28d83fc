#include "runs/runs.h"

#include "cgroup/cgroup.h"
#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"
#include "common/json_member.h"
#include "common/memo.h"
#include "common/owner.h"
#include "host/copy.h"
#include "host/inputs.h"
#include "host/kept.h"
#include "net/net.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>

#define PATH "prepare.workdir"
/* A run makes its directory, then its lock, then its events. One without events that is younger may
 * be about to. */
#define NEWBORN_SEC 60
/* Of an entry in the register: as many paths as a run records, twice over (a scope of
 * systemd's). */
#define RECORD_MAX (2 * CGROUP_TREES * (PATH_MAX + 1) + 1)
/* A run on its way out: no run any more, whatever of it is still there. */
#define REMOVED ".removed-"

/* sr-<yyyymmdd>T<hhmmss>-<6 of base32> */
bool runs_is_id(const char *name)
{
    static const char pattern[] = "sr-########T######-??????";
    size_t i = 0;
    for (; pattern[i] != '\0' && name[i] != '\0'; i++) {
        bool digit = name[i] >= '0' && name[i] <= '9';
        bool letter = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '2' && name[i] <= '7');
        if (pattern[i] == '#' ? !digit : pattern[i] == '?' ? !letter : name[i] != pattern[i])
            return false;
    }
    return pattern[i] == name[i];
}

static int refuse_base(const char *base, int fault, const char *why, struct sr_error *err)
{
    return sr_fail(err, SR_RUN_001, PATH, "%s %s%s; --workdir-base names another", base, why,
                   fault == -EPERM ? ": what lies there may be somebody else's" : "");
}

int runs_open_place(const char *base, struct sr_error *err)
{
    char why[SR_OWNER_TEXT];
    int fd = sr_open_place(base, why);
    return fd < 0 && fd != -ENOENT ? refuse_base(base, fd, why, err) : fd;
}

int runs_open_own(int base_fd, const char *name)
{
    struct stat st;
    sr_cleanup_fd int fd = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return -EPERM;
    return sr_take_fd(&fd);
}

static int refuse_register(const char *base, int error, struct sr_error *err)
{
    bool strange = error == -EPERM || error == -EACCES;
    return sr_fail(err, SR_RUN_001, PATH,
                   "%s/" RUNS_OPEN_DIR " cannot be used: %s; --workdir-base names another base",
                   base, strange ? "the runs there are somebody else's" : strerror(-error));
}

int runs_open_register(int base_fd, const char *base, struct sr_error *err)
{
    if (mkdirat(base_fd, RUNS_OPEN_DIR, 0700) < 0 && errno != EEXIST)
        return sr_fail(err, SR_RUN_001, PATH,
                       "%s cannot be written to: %s; --workdir-base names another", base,
                       strerror(errno));
    int fd = runs_open_own(base_fd, RUNS_OPEN_DIR);
    return fd < 0 ? refuse_register(base, fd, err) : fd;
}

/* The run's lock, taken: its supervisor is dead. -EWOULDBLOCK: it lives. */
static int take_dead_lock(int dirfd)
{
    sr_cleanup_fd int fd = openat(dirfd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    return sr_take_fd(&fd);
}

/* Opens a run's directory and takes its lock, each as far as it is there. 1: the run is dead. 0: it
 * lives, or is somebody else's. A negative errno: neither can be told, and nothing may be done
 * about it. */
static int open_dead(int base_fd, const char *id, int *dirfd, int *lock)
{
    *dirfd = runs_open_own(base_fd, id);
    if (*dirfd == -EPERM)
        return 0;
    if (*dirfd == -ENOENT || *dirfd == -ENOTDIR) /* removed, or a link in its place */
        return 1;
    if (*dirfd < 0)
        return *dirfd;
    *lock = take_dead_lock(*dirfd);
    if (*lock == -EWOULDBLOCK)
        return 0;
    return *lock >= 0 || *lock == -ENOENT ? 1 : *lock;
}

/* The lock of a run's entry in the register, which its supervisor holds as long as it lives,
 * whatever becomes of the run's directory: taken; -EWOULDBLOCK: it lives; or another negative
 * errno. */
static int take_entry_lock(int register_fd, const char *id)
{
    sr_cleanup_fd int fd = openat(register_fd, id, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    return sr_take_fd(&fd);
}

/* Out of the way in one step, so that nobody takes what is left of it for the run; then file by
 * file. 0 or a negative errno. */
static int remove_run(int base_fd, const char *id)
{
    char name[sizeof REMOVED + NAME_MAX];
    snprintf(name, sizeof name, REMOVED "%s", id);
    int result = sr_remove_tree(base_fd, name);
    if (result == 0 && renameat(base_fd, id, base_fd, name) < 0)
        result = -errno;
    if (result == 0 && SR_FAILPOINT("gc.remove"))
        result = -errno;
    return result < 0 ? result : sr_remove_tree(base_fd, name);
}

/* 1: it is there; 0: it is not; a negative errno: that cannot be told, and nothing may be done for
 * want of it. */
static int look_for(int dirfd, const char *name)
{
    if (faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT ? 0 : -errno;
}

static int64_t age_of(int dirfd, const char *name)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    return (int64_t)time(NULL) - (int64_t)st.st_mtim.tv_sec;
}

static void tell(const struct sr_gc_options *options, const char *id, enum sr_gc_action action,
                 const struct sr_error *error)
{
    if (options->tell != NULL)
        options->tell(options->context, id, action, error);
}

/* Returns 1, one failure more. */
static int tell_unknown(const struct sr_gc_options *options, const char *id, int error)
{
    struct sr_error why;
    sr_fail(&why, SR_RUN_001, "gc.lock",
            "whether %s is alive cannot be told, and it is left as it is: %s", id,
            strerror(-error));
    tell(options, id, SR_GC_FAILED, &why);
    return 1;
}

static int tell_unlisted(const struct sr_gc_options *options, const char *what, int error)
{
    struct sr_error why;
    sr_fail(&why, SR_RUN_001, "gc.list", "%s cannot be listed: %s", what, strerror(-error));
    tell(options, "", SR_GC_FAILED, &why);
    return 1;
}

/* What one dead run's remains are, as far as they are there. */
struct dead_run {
    const char *id;
    int base_fd, dirfd; /* dirfd -1: its directory is gone */
    int entry;          /* in the register, locked: the paths of its cgroups */
    bool has_log, has_report;
    int failures;
};

static void fail_dead(struct dead_run *run, const struct sr_gc_options *options,
                      const struct sr_error *error)
{
    run->failures++;
    tell(options, run->id, SR_GC_FAILED, error);
}

/* What it holds of the host. Each by itself: what cannot be removed keeps nothing else from it. */
static void clear_remains(struct dead_run *run, const struct sr_gc_options *options)
{
    struct sr_error error;
    int result = net_sweep(run->id);
    if (result < 0) {
        sr_fail(&error, SR_RUN_001, "gc.network", "the interfaces of %s cannot be removed: %s",
                run->id, strerror(-result));
        fail_dead(run, options, &error);
    }
    char paths[RECORD_MAX];
    ssize_t len = sr_read_full(run->entry, paths, sizeof paths - 1, 0);
    paths[len > 0 ? len : 0] = '\0';
    result = len < 0 ? (int)len : cgroup_sweep(run->id, paths);
    if (result < 0) {
        sr_fail(&error, SR_RUN_001, "gc.cgroup", "the cgroup of %s cannot be removed: %s", run->id,
                strerror(-result));
        fail_dead(run, options, &error);
    }
    result = run->has_log ? runs_drop_parts(run->dirfd, run->id) : 0;
    if (result < 0) {
        sr_fail(&error, SR_RUN_001, "gc.outputs", "unfinished outputs of %s cannot be removed: %s",
                run->id, strerror(-result));
        fail_dead(run, options, &error);
    }
}

/* Its evidence gets an end; without any there is nothing to keep. */
static void seal_dead(struct dead_run *run, const struct sr_gc_options *options)
{
    struct sr_error error = {0};
    bool closing = run->has_log && !run->has_report;
    int result = 0;
    if (closing)
        result = runs_close(run->dirfd, run->id, &error);
    if (result == 0 && run->has_log)
        result = runs_sign(run->dirfd, &error);
    if (result < 0)
        sr_wrap(&error, "%s cannot be closed", run->id);
    if (run->dirfd >= 0 && !run->has_log && (result = remove_run(run->base_fd, run->id)) < 0)
        sr_fail(&error, SR_RUN_001, "gc.remove", "%s cannot be removed: %s", run->id,
                strerror(-result));
    if (result < 0)
        fail_dead(run, options, &error);
    else if (closing || (run->dirfd >= 0 && !run->has_log))
        tell(options, run->id, run->has_log ? SR_GC_CLOSED : SR_GC_REMOVED, NULL);
}

/* Returns the number of things that could not be done. What has any stays in the register. */
static int close_dead(int base_fd, int register_fd, const char *id,
                      const struct sr_gc_options *options)
{
    sr_cleanup_fd int entry = take_entry_lock(register_fd, id);
    if (entry == -EWOULDBLOCK || entry == -ENOENT)
        return 0; /* it lives, or has been closed meanwhile */
    if (entry < 0)
        return tell_unknown(options, id, entry);
    sr_cleanup_fd int dirfd = -1, lock = -1;
    int dead = open_dead(base_fd, id, &dirfd, &lock);
    if (dead <= 0)
        return dead == 0 ? 0 : tell_unknown(options, id, dead);
    int log = dirfd < 0 ? 0 : look_for(dirfd, EVIDENCE_EVENTS_FILE),
        report = dirfd < 0 ? 0 : look_for(dirfd, EVIDENCE_REPORT_FILE);
    if (log < 0 || report < 0)
        return tell_unknown(options, id, log < 0 ? log : report);
    struct dead_run run = {.id = id,
                           .base_fd = base_fd,
                           .dirfd = dirfd < 0 ? -1 : dirfd,
                           .entry = entry,
                           .has_log = log == 1,
                           .has_report = report == 1};
    bool born = run.has_log || (lock >= 0 && lseek(lock, 0, SEEK_END) > 0); /* it had its lock */
    if (!born && age_of(register_fd, id) < NEWBORN_SEC)
        return 0;
    if (options->dry_run) {
        if (dirfd >= 0 && !run.has_report)
            tell(options, id, run.has_log ? SR_GC_CLOSED : SR_GC_REMOVED, NULL);
        return 0;
    }
    clear_remains(&run, options);
    seal_dead(&run, options);
    if (run.failures == 0)
        unlinkat(register_fd, id, 0);
    return run.failures;
}

int runs_close_dead(int base_fd, const struct sr_gc_options *options)
{
    sr_cleanup_fd int register_fd = runs_open_own(base_fd, RUNS_OPEN_DIR);
    if (register_fd == -ENOENT || register_fd == -EPERM) /* whoever uses that refuses it */
        return 0;
    DIR *dir = register_fd < 0 ? NULL : sr_open_list(register_fd);
    if (dir == NULL)
        return tell_unlisted(options, RUNS_OPEN_DIR, register_fd < 0 ? register_fd : -errno);
    int failures = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (runs_is_id(entry->d_name))
            failures += close_dead(base_fd, register_fd, entry->d_name, options);
    closedir(dir);
    return failures;
}

static int remove_old(int base_fd, const char *id, const struct sr_gc_options *options)
{
    struct sr_error error = {0};
    sr_cleanup_fd int dirfd = -1, lock = -1;
    int dead = open_dead(base_fd, id, &dirfd, &lock);
    if (dead < 0 && dirfd != -EACCES) /* which is somebody else's, too */
        return tell_unknown(options, id, dead);
    if (dead <= 0 || dirfd < 0 || look_for(dirfd, "keep") != 0 ||
        age_of(dirfd, EVIDENCE_REPORT_FILE) < options->older_than_sec ||
        look_for(dirfd, EVIDENCE_REPORT_FILE) == 0)
        return 0;
    int result = options->dry_run ? 0 : remove_run(base_fd, id);
    if (result < 0)
        sr_fail(&error, SR_RUN_001, "gc.remove", "%s cannot be removed: %s", id, strerror(-result));
    tell(options, id, result < 0 ? SR_GC_FAILED : SR_GC_REMOVED, result < 0 ? &error : NULL);
    return result < 0;
}

/* What a gc that died had moved out of the way. */
static int remove_removed(int base_fd, const char *name, const struct sr_gc_options *options)
{
    sr_cleanup_fd int own = runs_open_own(base_fd, name);
    int result = own < 0 ? 0 : sr_remove_tree(base_fd, name);
    if (result == 0 || result == -ENOENT) /* another gc is at it, too */
        return 0;
    struct sr_error error;
    sr_fail(&error, SR_RUN_001, "gc.remove", "%s cannot be removed: %s", name, strerror(-result));
    tell(options, name, SR_GC_FAILED, &error);
    return 1;
}

int runs_open_base(const char *base, int *fd, struct sr_error *err)
{
    char path[PATH_MAX];
    *fd = -1;
    if (sr_runs_base(base, path, err) < 0)
        return -1;
    *fd = runs_open_place(path, err);
    if (*fd < 0 && *fd != -ENOENT)
        return -1;
    sr_cleanup_fd int own = *fd < 0 ? -ENOENT : runs_open_own(*fd, RUNS_OPEN_DIR);
    return own < 0 && own != -ENOENT ? refuse_register(path, own, err) : 0;
}

/* What is kept in the cache is no run's, but of the same age. A configuration that cannot be read
 * is for the next run to complain of. */
static void trim_cache(const struct sr_gc_options *options)
{
    struct host_config config;
    struct sr_error err;
    if (options->dry_run || host_config_load(&config, &err) < 0)
        return;
    sr_cleanup_fd int cache = host_cache_open(), inputs = host_input_store_open(&config),
                      copies = host_copies_open(&config);
    if (inputs >= 0)
        host_input_store_trim(inputs, config.inputs_max, options->older_than_sec);
    if (copies >= 0)
        kept_trim(copies, config.copies_max, options->older_than_sec);
    if (cache < 0)
        return;
    sr_memos_sweep(cache, "hash", options->older_than_sec);
    sr_memos_sweep(cache, "files", options->older_than_sec);
}

int sr_runs_gc(const char *base, const struct sr_gc_options *options, struct sr_error *err)
{
    sr_cleanup_fd int base_fd = -1;
    if (runs_open_base(base, &base_fd, err) < 0)
        return -1;
    if (base_fd < 0)
        return 0;
    int failures = runs_close_dead(base_fd, options);
    if (!options->dry_run)
        cgroup_sweep_empty(NEWBORN_SEC);
    trim_cache(options);
    DIR *dir = sr_open_list(base_fd);
    if (dir == NULL)
        return failures + tell_unlisted(options, "the runs", -errno);
    const size_t prefix = strlen(REMOVED);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name;
        if (options->older_than_sec >= 0 && runs_is_id(name))
            failures += remove_old(base_fd, name, options);
        else if (!options->dry_run && strncmp(name, REMOVED, prefix) == 0 &&
                 runs_is_id(name + prefix))
            failures += remove_removed(base_fd, name, options);
    }
    closedir(dir);
    return failures;
}

int64_t runs_start_of(const char *id)
{
    struct tm utc = {0};
    if (strptime(id + 3, "%Y%m%dT%H%M%S", &utc) == NULL)
        return 0;
    return (int64_t)timegm(&utc);
}

/* Of a document that is larger than this a line about a run says nothing. */
enum { DOCUMENT_MAX = 1024 * 1024, SHOWN = 64 };

static json_t *read_json(int dirfd, const char *name)
{
    struct stat st;
    sr_cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 || fstat(fd, &st) < 0 || st.st_size > DOCUMENT_MAX
               ? NULL
               : json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
}

static void describe_command(int dirfd, char *text)
{
    json_t *command = read_json(dirfd, "command.json");
    const char *program = sr_member_text(command, "command");
    int len = snprintf(text, SHOWN, "%s", program != NULL ? program : "");
    const json_t *args = json_object_get(command, "args");
    for (size_t i = 0; i < json_array_size(args) && len < SHOWN; i++) {
        const char *arg = json_string_value(json_array_get(args, i));
        len += snprintf(text + len, SHOWN - (size_t)len, " %s", arg != NULL ? arg : "");
    }
    json_decref(command);
}

void runs_describe(int dirfd, char *name, char *command)
{
    describe_command(dirfd, command);
    if (name == NULL)
        return;
    json_t *policy = read_json(dirfd, "policy.json");
    const char *text = sr_member_text(json_object_get(policy, "metadata"), "name");
    snprintf(name, SHOWN, "%s", text != NULL ? text : "");
    json_decref(policy);
}

uint64_t runs_birth_of(pid_t pid)
{
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    unsigned long long birth;
    const char *rest = sr_read_small_file(AT_FDCWD, path, text, sizeof text) > 0
                           ? strrchr(text, ')') /* the name before it may have anything in it */
                           : NULL;
    if (rest == NULL || sscanf(rest, /* NOLINT(cert-err34-c): the kernel's own number */
                               ") %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                               "%*s %*s %*s %llu",
                               &birth) != 1)
        return 0;
    return birth;
}

pid_t runs_pid_of_live(int dirfd)
{
    char text[64], *rest;
    sr_cleanup_fd int lock = take_dead_lock(dirfd);
    if (lock != -EWOULDBLOCK)
        return lock >= 0 || lock == -ENOENT ? 0 : lock;
    if (sr_read_small_file(dirfd, "lock", text, sizeof text) <= 0)
        return 0;
    long pid = strtol(text, &rest, 10);
    uint64_t birth = pid > 1 && pid <= INT_MAX ? runs_birth_of((pid_t)pid) : 0;
    /* Whoever has the number since then is somebody else. */
    return birth != 0 && strtoull(rest, NULL, 10) == birth ? (pid_t)pid : 0;
}

static int by_start(const void *a, const void *b)
{
    return strcmp(((const struct sr_live_run *)a)->id, ((const struct sr_live_run *)b)->id);
}

int sr_runs_list(const char *base, struct sr_live_run **runs, size_t *count, struct sr_error *err)
{
    sr_cleanup_fd int base_fd = -1;
    *runs = NULL;
    *count = 0;
    if (runs_open_base(base, &base_fd, err) < 0)
        return -1;
    int fd = base_fd < 0 ? -1 : openat(base_fd, RUNS_OPEN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (!runs_is_id(entry->d_name))
            continue;
        sr_cleanup_fd int dirfd = runs_open_own(base_fd, entry->d_name);
        pid_t pid = dirfd < 0 ? 0 : runs_pid_of_live(dirfd);
        if (pid <= 0)
            continue;
        struct sr_live_run *grown = realloc(*runs, (*count + 1) * sizeof *grown);
        if (grown == NULL)
            break;
        *runs = grown;
        struct sr_live_run *run = &grown[(*count)++];
        *run = (struct sr_live_run){.pid = pid, .started = runs_start_of(entry->d_name)};
        snprintf(run->id, sizeof run->id, "%s", entry->d_name);
        runs_describe(dirfd, run->name, run->command);
    }
    if (dir != NULL)
        closedir(dir);
    if (*count > 1)
        qsort(*runs, *count, sizeof **runs, by_start);
    return 0;
}

int sr_run_stop(const struct sr_live_run *run, const char *base, bool kill, uint32_t timeout_sec,
                struct sr_error *err)
{
    sr_cleanup_fd int base_fd = -1;
    if (runs_open_base(base, &base_fd, err) < 0)
        return -1;
    sr_cleanup_fd int dirfd = runs_open_own(base_fd, run->id);
    sr_cleanup_fd int process = pidfd_open(run->pid, 0);
    int unwatched = process < 0 ? -errno : 0;
    /* The pid is the supervisor's only if the lock is still held now that the process is pinned. */
    pid_t pid = dirfd >= 0 ? runs_pid_of_live(dirfd) : dirfd == -ENOENT ? 0 : dirfd;
    if ((pid >= 0 && pid != run->pid) || unwatched == -ESRCH)
        return 0; /* it has ended */
    if (pid < 0 || unwatched < 0)
        return sr_fail(err, SR_RUN_001, "stop", "whether %s (pid %d) is alive cannot be told: %s",
                       run->id, (int)run->pid, strerror(pid < 0 ? -pid : -unwatched));
    if (pidfd_send_signal(process, kill ? SIGKILL : SIGTERM, NULL, 0) < 0 && errno != ESRCH)
        return sr_fail(err, SR_RUN_001, "stop", "%s (pid %d) cannot be signalled: %s", run->id,
                       (int)run->pid, strerror(errno));
    struct pollfd end = {.fd = process, .events = POLLIN};
    if (poll(&end, 1, (int)(timeout_sec * 1000)) == 0)
        return sr_fail(err, SR_RUN_001, "stop",
                       "%s (pid %d) has not ended in %u s; --kill ends it at once", run->id,
                       (int)run->pid, timeout_sec);
    return 0;
}
