/*
 * Theory of operation
 *
 * /proc/self/mountinfo says where hierarchies are mounted, /proc/self/cgroup where in each of them the caller is. In a hierarchy
 * of version 2 the run's directory goes below the nearest of the caller's own cgroup and its ancestors that the caller may
 * write to and that hands its controllers down (cgroup.subtree_control, switched on where that is allowed: a cgroup with processes in it
 * cannot). In version 1 it goes below the caller's own cgroup. Nothing that exists is changed but subtree_control.
 */
#include "cgroup.h"

#include "failpoint.h"
#include "fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define PATH "launch.cgroup"
#define PREFIX "safe-run-"
#define ROOM "supervisor"
#define REMOVE_TRIES 50 /* of 2 ms: a process that has just been killed */
/* The kernel's list of a cgroup's children may leave one out while its neighbour is being removed (fs/kernfs/dir.c). */
#define WALKS 3

static const char *const controller_names[] = {"cpu", "memory", "pids", "cpuacct"};

/* One mounted hierarchy, and the caller's place in it. */
struct hierarchy {
    int version;
    bool controllers[SR_CONTROLLER_COUNT]; /* of version 1 */
    char own[PATH_MAX];                    /* the caller's directory */
    size_t mount_len;                      /* of own: the mount point */
};

struct hierarchies {
    struct hierarchy items[SR_CONTROLLER_COUNT + 1];
    size_t count;
};

static bool has_word(const char *list, const char *word, char separator)
{
    size_t len = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, separator)) {
        at += *at == separator;
        if (strncmp(at, word, len) == 0 &&
            (at[len] == separator || at[len] == '\0' || at[len] == '\n'))
            return true;
    }
    return false;
}

/* The caller's path in a hierarchy, of /proc/self/cgroup: "0::/path" or "4:memory:/path". */
static bool find_own(const char *text, const char *controller, char *path, size_t size)
{
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *names = strchr(line, ':'),
                   *place = names != NULL ? strchr(names + 1, ':') : NULL;
        if (place == NULL)
            continue;
        char list[256];
        size_t len = (size_t)(place - names - 1);
        if (len >= sizeof list)
            continue;
        memcpy(list, names + 1, len);
        list[len] = '\0';
        if (controller == NULL ? len == 0 && line[0] == '0' : has_word(list, controller, ',')) {
            size_t end = strcspn(place + 1, "\n");
            if (end >= size)
                return false;
            memcpy(path, place + 1, end);
            path[end] = '\0';
            return true;
        }
    }
    return false;
}

/* root: what of the hierarchy is mounted (a container sees a part); own: the caller's path in the whole of it. */
static bool place_in_mount(struct hierarchy *h, const char *mount_point, const char *root,
                           const char *own)
{
    size_t root_len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(own, root, root_len) != 0 || (own[root_len] != '/' && own[root_len] != '\0'))
        return false;
    h->mount_len = strlen(mount_point);
    int len = snprintf(h->own, sizeof h->own, "%s%s", mount_point, own + root_len);
    if (len >= (int)sizeof h->own)
        return false;
    while (len > (int)h->mount_len && h->own[len - 1] == '/')
        h->own[--len] = '\0';
    return true;
}

static void take_mount(struct hierarchies *all, char *line, const char *cgroups)
{
    char root[PATH_MAX], mount_point[PATH_MAX], type[32], options[512], own[PATH_MAX];
    char *rest = strstr(line, " - ");
    if (rest == NULL || all->count == sizeof all->items / sizeof all->items[0] ||
        sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount_point) != 2 ||
        sscanf(rest, " - %31s %*s %511s", type, options) != 2)
        return;
    struct hierarchy *h = &all->items[all->count];
    *h = (struct hierarchy){0};
    if (strcmp(type, "cgroup2") == 0) {
        h->version = 2;
        all->count +=
            find_own(cgroups, NULL, own, sizeof own) && place_in_mount(h, mount_point, root, own);
        return;
    }
    if (strcmp(type, "cgroup") != 0)
        return;
    h->version = 1;
    const char *any = NULL;
    for (int c = 0; c < SR_CONTROLLER_COUNT; c++)
        if (has_word(options, controller_names[c], ',')) {
            h->controllers[c] = true;
            any = controller_names[c];
        }
    all->count += any != NULL && find_own(cgroups, any, own, sizeof own) &&
                  place_in_mount(h, mount_point, root, own);
}

static void find_hierarchies(struct hierarchies *all)
{
    char cgroups[8192];
    char line[3 * PATH_MAX];
    *all = (struct hierarchies){0};
    sr_cleanup_file FILE *mounts = fopen("/proc/self/mountinfo", "re");
    if (mounts == NULL ||
        sr_read_small_file(AT_FDCWD, "/proc/self/cgroup", cgroups, sizeof cgroups) < 0)
        return;
    while (fgets(line, sizeof line, mounts) != NULL)
        take_mount(all, line, cgroups);
}

static int write_file(int dirfd, const char *name, const char *text)
{
    sr_cleanup_fd int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
}

/* Which controllers a cgroup of version 2 hands down, after asking for those it has. */
static void hand_down(int dirfd, bool handed[SR_CONTROLLER_COUNT])
{
    char has[512], gives[512];
    for (int c = 0; c < SR_CONTROLLER_COUNT; c++)
        handed[c] = false;
    if (sr_read_small_file(dirfd, "cgroup.controllers", has, sizeof has) < 0)
        return;
    for (int c = 0; c < SR_CONTROLLER_ACCOUNT; c++) {
        char wish[16];
        snprintf(wish, sizeof wish, "+%s", controller_names[c]);
        if (sr_read_small_file(dirfd, "cgroup.subtree_control", gives, sizeof gives) >= 0 &&
            (has_word(gives, controller_names[c], ' ') ||
             (has_word(has, controller_names[c], ' ') &&
              write_file(dirfd, "cgroup.subtree_control", wish) == 0)))
            handed[c] = true;
    }
}

/* Makes the run's directory in parent and opens it as the place of a controller; or there is none. */
static bool make_place(const char *parent, const char *name, int version,
                       struct sr_cgroup_place *place)
{
    if (snprintf(place->path, sizeof place->path, "%s/%s", parent, name) >=
            (int)sizeof place->path ||
        SR_FAILPOINT("cgroup.make"))
        return false;
    bool is_new =
        mkdir(place->path, 0755) == 0; /* or made for another controller of the hierarchy */
    if (!is_new && errno != EEXIST)
        return false;
    place->fd =
        SR_FAILPOINT("cgroup.open") ? -1 : open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Held as long as somebody knows it: an empty one is not always one that was left behind. */
    if (place->fd >= 0 && flock(place->fd, LOCK_SH | LOCK_NB) == 0) {
        place->version = version;
        return true;
    }
    sr_close_fd(&place->fd);
    if (is_new)
        rmdir(place->path);
    return false;
}

static void share_place(struct sr_cgroup_place *to, const struct sr_cgroup_place *from)
{
    to->fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 0);
    to->version = to->fd < 0 ? 0 : from->version;
    memcpy(to->path, from->path, sizeof to->path);
}

/* The nearest cgroup, from the caller's own upwards, that hands down all controllers that any of them does. */
static void create_v2(struct sr_cgroup *cgroup, const struct hierarchy *h, const char *name)
{
    char best[PATH_MAX] = "", at[PATH_MAX];
    int most = 0;
    memcpy(at, h->own, sizeof at);
    for (;;) {
        sr_cleanup_fd int fd =
            access(at, W_OK) == 0 ? open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        bool handed[SR_CONTROLLER_COUNT];
        int count = 0;
        if (fd >= 0) {
            hand_down(fd, handed);
            for (int c = 0; c < SR_CONTROLLER_COUNT; c++)
                count += handed[c];
        }
        if (count > most) {
            most = count;
            memcpy(best, at, sizeof best);
        }
        char *slash = strrchr(at, '/');
        if (strlen(at) <= h->mount_len || slash == NULL)
            break;
        *slash = '\0';
    }
    struct sr_cgroup_place place = {.fd = -1};
    struct sr_cgroup_place *account = &cgroup->places[SR_CONTROLLER_ACCOUNT];
    if (most == 0 || !make_place(best, name, 2, &place))
        return;
    share_place(account, &place); /* cpu.stat is always there */
    if (account->version == 0) {
        sr_close_fd(&place.fd);
        rmdir(place.path);
        return;
    }
    char given[512];
    if (sr_read_small_file(place.fd, "cgroup.controllers", given, sizeof given) >= 0)
        for (int c = 0; c < SR_CONTROLLER_ACCOUNT; c++)
            if (has_word(given, controller_names[c], ' '))
                share_place(&cgroup->places[c], &place);
    cgroup->v2_fd = place.fd;
}

static int set(const struct sr_cgroup_place *place, const char *file, const char *value,
               struct sr_error *err)
{
    int result = SR_FAILPOINT("cgroup.limit") ? -errno : write_file(place->fd, file, value);
    if (result < 0)
        return sr_fail(err, SR_RUN_002, PATH, "%s/%s does not take %s: %s", place->path, file,
                       value, strerror(-result));
    return 0;
}

static int set_number(const struct sr_cgroup_place *place, const char *file, uint64_t value,
                      struct sr_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return set(place, file, text, err);
}

/* For files that some kernels are built without. */
static int set_if_there(const struct sr_cgroup_place *place, const char *file, uint64_t value,
                        struct sr_error *err)
{
    return faccessat(place->fd, file, F_OK, 0) < 0 ? 0 : set_number(place, file, value, err);
}

/* Opens what will take the CPU limit. */
static int prepare_cpu(struct sr_cgroup *cgroup, const struct sr_cgroup_limits *limits,
                       struct sr_error *err)
{
    struct sr_cgroup_place *place = &cgroup->places[SR_CONTROLLER_CPU];
    if (limits->cpu_quota_usec == 0 || place->version == 0)
        return 0;
    if (place->version == 1 && faccessat(place->fd, "cpu.cfs_quota_us", F_OK, 0) < 0) {
        sr_close_fd(&place->fd); /* a kernel without CFS bandwidth control */
        place->version = 0;
        return rmdir(place->path) < 0 && errno != ENOENT
                   ? sr_fail(err, SR_RUN_002, PATH, "%s: %s", place->path, strerror(errno))
                   : 0;
    }
    const char *file = place->version == 2 ? "cpu.max" : "cpu.cfs_quota_us";
    int len = snprintf(cgroup->cpu_max, sizeof cgroup->cpu_max, "%" PRIu64, limits->cpu_quota_usec);
    if (place->version == 2)
        snprintf(cgroup->cpu_max + len, sizeof cgroup->cpu_max - (size_t)len, " %" PRIu64,
                 limits->cpu_period_usec);
    else if (set_number(place, "cpu.cfs_period_us", limits->cpu_period_usec, err) < 0)
        return -1;
    cgroup->cpu_fd = openat(place->fd, file, O_WRONLY | O_CLOEXEC);
    return cgroup->cpu_fd < 0
               ? sr_fail(err, SR_RUN_002, PATH, "%s/%s: %s", place->path, file, strerror(errno))
               : 0;
}

int sr_cgroup_limit_cpu(struct sr_cgroup *cgroup, struct sr_error *err)
{
    size_t len = strlen(cgroup->cpu_max);
    if (cgroup->cpu_fd < 0)
        return 0;
    if (SR_FAILPOINT("cgroup.cpu") || write(cgroup->cpu_fd, cgroup->cpu_max, len) != (ssize_t)len)
        return sr_fail(err, SR_RUN_002, PATH, "%s does not take a CPU limit of %s: %s",
                       cgroup->places[SR_CONTROLLER_CPU].path, cgroup->cpu_max, strerror(errno));
    sr_close_fd(&cgroup->cpu_fd);
    return 0;
}

static int set_memory(const struct sr_cgroup_place *place, const struct sr_cgroup_limits *limits,
                      struct sr_error *err)
{
    if (place->version == 0)
        return 0;
    if (place->version == 2)
        return set_number(place, "memory.max", limits->memory_bytes, err) < 0 ||
                       set_if_there(place, "memory.swap.max", 0, err) < 0 ||
                       set_if_there(place, "memory.oom.group", 1, err) < 0
                   ? -1
                   : 0;
    return set_number(place, "memory.limit_in_bytes", limits->memory_bytes, err) < 0
               ? -1
               : set_if_there(place, "memory.memsw.limit_in_bytes", limits->memory_bytes, err);
}

int sr_cgroup_create(struct sr_cgroup *cgroup, const char *run_id,
                     const struct sr_cgroup_limits *limits, struct sr_error *err)
{
    struct hierarchies all;
    char name[128];
    *cgroup = (struct sr_cgroup)SR_CGROUP_INIT;
    snprintf(name, sizeof name, PREFIX "%s", run_id);
    find_hierarchies(&all);
    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].version == 2)
            create_v2(cgroup, &all.items[i], name);
    for (size_t i = 0; i < all.count; i++)
        for (int c = 0; all.items[i].version == 1 && c < SR_CONTROLLER_COUNT; c++)
            if (all.items[i].controllers[c] && cgroup->places[c].version == 0)
                make_place(all.items[i].own, name, 1, &cgroup->places[c]);
    struct sr_cgroup_place *places = cgroup->places;
    if (prepare_cpu(cgroup, limits, err) < 0 ||
        set_memory(&places[SR_CONTROLLER_MEMORY], limits, err) < 0 ||
        (places[SR_CONTROLLER_PIDS].version != 0 &&
         set_number(&places[SR_CONTROLLER_PIDS], "pids.max", limits->pids, err) < 0)) {
        sr_cgroup_remove(cgroup);
        return -1;
    }
    return 0;
}

int sr_cgroup_make_room(const char *name)
{
    struct hierarchies all;
    find_hierarchies(&all);
    for (size_t i = 0; i < all.count; i++) {
        const char *last = strrchr(all.items[i].own, '/');
        if (all.items[i].version != 2 || last == NULL || strcmp(last + 1, name) != 0)
            continue;
        sr_cleanup_fd int own = open(all.items[i].own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (own < 0 || (mkdirat(own, ROOM, 0755) < 0 && errno != EEXIST))
            return -errno;
        return write_file(own, ROOM "/cgroup.procs", "0");
    }
    return -ENOENT;
}

/* By "tasks" and not "cgroup.procs": a thread that moves itself needs no lock over all processes, which costs some 10 ms. */
int sr_cgroup_enter(const struct sr_cgroup *cgroup)
{
    if (SR_FAILPOINT("cgroup.enter"))
        return -errno;
    for (int c = 0; c < SR_CONTROLLER_COUNT; c++) {
        int result =
            cgroup->places[c].version == 1 ? write_file(cgroup->places[c].fd, "tasks", "0") : 0;
        if (result < 0)
            return result;
    }
    return 0;
}

/* The number after a key, in a file of "key value" lines; without a key the file's only number. */
static int read_number(const struct sr_cgroup_place *place, const char *file, const char *key,
                       uint64_t *value)
{
    char text[4096];
    if (place->version == 0)
        return -ENOENT;
    ssize_t len = sr_read_small_file(place->fd, file, text, sizeof text);
    if (len < 0)
        return (int)len;
    const char *at = text;
    size_t key_len = key != NULL ? strlen(key) : 0;
    while (key != NULL && !(strncmp(at, key, key_len) == 0 && at[key_len] == ' ')) {
        at = strchr(at, '\n');
        if (at++ == NULL)
            return -ENOENT;
    }
    *value = strtoull(at + key_len, NULL, 10);
    return 0;
}

int sr_cgroup_read(const struct sr_cgroup *cgroup, struct sr_cgroup_usage *usage)
{
    const struct sr_cgroup_place *account = &cgroup->places[SR_CONTROLLER_ACCOUNT],
                                 *memory = &cgroup->places[SR_CONTROLLER_MEMORY];
    *usage = (struct sr_cgroup_usage){0};
    int cpu = account->version == 2
                  ? read_number(account, "cpu.stat", "usage_usec", &usage->cpu_usec)
                  : read_number(account, "cpuacct.usage", NULL, &usage->cpu_usec);
    if (cpu == 0 && account->version == 1)
        usage->cpu_usec /= 1000; /* nanoseconds there */
    int bytes =
        read_number(memory, memory->version == 2 ? "memory.current" : "memory.usage_in_bytes", NULL,
                    &usage->memory_bytes);
    if (bytes == 0 &&
        read_number(memory, memory->version == 2 ? "memory.events" : "memory.oom_control",
                    "oom_kill", &usage->oom_kills) < 0)
        usage->oom_kills = 0; /* older kernels do not count */
    return cpu < 0 ? cpu : bytes;
}

const char *sr_cgroup_holder(const struct sr_cgroup *cgroup, enum sr_controller controller)
{
    static const char *const names[] = {NULL, "cgroup v1", "cgroup v2"};
    return names[cgroup->places[controller].version];
}

/* A cgroup with processes in it is busy until they are reaped. */
static int remove_directory(const char *path)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    if (SR_FAILPOINT("cgroup.remove"))
        return -errno;
    for (int i = 0; i < REMOVE_TRIES; i++) {
        if (rmdir(path) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY)
            break;
        nanosleep(&pause, NULL);
    }
    return -errno;
}

int sr_cgroup_remove(struct sr_cgroup *cgroup)
{
    int result = 0;
    for (int c = 0; c < SR_CONTROLLER_COUNT; c++) {
        struct sr_cgroup_place *place = &cgroup->places[c];
        int removed = place->version != 0 ? remove_directory(place->path) : 0;
        sr_close_fd(&place->fd);
        place->version = 0;
        if (removed < 0)
            result = removed;
    }
    sr_close_fd(&cgroup->v2_fd);
    sr_close_fd(&cgroup->cpu_fd);
    return result;
}

/* Ends what a dead supervisor's run may still have in a cgroup; its parent-death signal should have. */
static void kill_members(const char *path)
{
    char file[PATH_MAX];
    sr_cleanup_fd int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0 && write_file(dir, "cgroup.kill", "1") == 0) /* all at once, forks included */
        return;
    if (snprintf(file, sizeof file, "%s/cgroup.procs", path) >= (int)sizeof file)
        return;
    sr_cleanup_file FILE *members = fopen(file, "re");
    long pid;
    while (members != NULL &&
           fscanf(members, "%ld", &pid) == 1) /* NOLINT(cert-err34-c): the kernel's own numbers */
        if (pid > 1)
            kill((pid_t)pid, SIGKILL);
}

/* What a walk looks for, and what came of it. */
struct sweep {
    const char *name; /* NULL: any run's, if it has no process and is older than min_age_sec */
    int64_t min_age_sec;
    int found, failed;
};

/* Old, and nobody has it open from when it was made. */
static bool is_forgotten(const char *path, int64_t min_age_sec)
{
    struct stat st;
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &st) == 0 &&
           (int64_t)time(NULL) - (int64_t)st.st_mtim.tv_sec >= min_age_sec &&
           flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static void visit(struct sweep *sweep, const FTSENT *at)
{
    if (sweep->name == NULL) {
        if (strncmp(at->fts_name, PREFIX "sr-", strlen(PREFIX "sr-")) == 0 &&
            is_forgotten(at->fts_path, sweep->min_age_sec) &&
            rmdir(at->fts_path) == 0) /* which fails where there is a process */
            sweep->found++;
    } else if (strcmp(at->fts_name, sweep->name) == 0) {
        sweep->found++;
        kill_members(at->fts_path);
        int result = remove_directory(at->fts_path);
        if (result < 0)
            sweep->failed = result;
    }
}

/* Other runs make and remove theirs meanwhile: what has gone is passed over, which fts(3) does and nftw(3) does not. */
static void walk(struct sweep *sweep)
{
    struct hierarchies all;
    find_hierarchies(&all);
    for (size_t i = 0; i < all.count; i++) {
        char *const roots[] = {all.items[i].own, NULL};
        roots[0][all.items[i].mount_len] =
            '\0'; /* whose cgroup it was below is not known any more */
        FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR | FTS_NOSTAT, NULL);
        const FTSENT *at = NULL;
        while (tree != NULL && (errno = 0, at = fts_read(tree)) != NULL)
            if (at->fts_info == FTS_DP)
                visit(sweep, at);
        if (tree == NULL || errno != 0)
            sweep->failed = -errno;
        if (tree != NULL)
            fts_close(tree);
    }
}

int sr_cgroup_sweep(const char *run_id)
{
    char name[128];
    struct sweep sweep = {.name = name};
    snprintf(name, sizeof name, PREFIX "%s", run_id);
    for (int i = 0; i < WALKS; i++)
        walk(&sweep);
    return sweep.failed < 0 ? sweep.failed : sweep.found;
}

int sr_cgroup_sweep_empty(int64_t min_age_sec)
{
    struct sweep sweep = {.min_age_sec = min_age_sec};
    walk(&sweep);
    return sweep.found;
}
