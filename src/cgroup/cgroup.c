/*
 * Theory of operation
 *
 * In a hierarchy of version 2 the run's directory goes below the nearest of the caller's own cgroup
 * and its ancestors that the caller may write to and that hands its controllers down
 * (cgroup.subtree_control, switched on where that is allowed: a cgroup with processes in it
 * cannot). In version 1 it goes below the caller's own cgroup. Nothing that exists is changed but
 * subtree_control.
 *
 *     safe-run-<run id>    cpu.max, for all of the run; no process of its own
 *       vmm                memory.max, pids.max: the VMM and nobody else, so nobody else is killed
 *                          for its memory
 *       helpers            safe-run itself, net cell, uplink, resolver, workers: what a guest can
 *                          make them do counts as the run's
 *
 * In version 1 the two are only made where CPU time is counted (cpuacct); a hierarchy with nothing
 * but cpu has all of the run in one directory, one with nothing but memory or pids the VMM.
 *
 * The caller joins the helpers, so that a guest cannot have it work for more than cpu.max, and
 * leaves them to remove it all, by files that were opened before it gave up its rights. In version
 * 1 a thread moves itself by "tasks" at no cost. In version 2 a process can only be moved by
 * cgroup.procs, which waits for a grace period of RCU (12 ms) and has every fork and exit of the
 * machine wait too; so there the caller's children are born in place, and the caller itself moves
 * when nobody waits.
 */
#include "cgroup/cgroup.h"

#include "cgroup/hierarchy.h"
#include "common/failpoint.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define PATH "launch.cgroup"
#define ROOM "supervisor"

static const char *procs_of(int version)
{
    return version == 2 ? "cgroup.procs" : "tasks";
}

/* Makes a directory, or finds the one that was made for another controller of the hierarchy, and
 * opens it. */
static int make_directory(int dirfd, const char *name)
{
    if (mkdirat(dirfd, name, 0755) < 0 && errno != EEXIST)
        return -1;
    return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void close_tree(struct cgroup_tree *tree)
{
    sr_close_fd(&tree->fd);
    sr_close_fd(&tree->vmm_fd);
    sr_close_fd(&tree->helpers_fd);
    sr_close_fd(&tree->enter_fd);
    sr_close_fd(&tree->leave_fd);
}

/* How the caller gets in, and out again; where it could not get out it does not go in. */
static void open_doors(struct cgroup_tree *tree, const char *own)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/%s", own, procs_of(tree->version));
    tree->leave_fd = open(path, O_WRONLY | O_CLOEXEC);
    if (tree->leave_fd >= 0)
        tree->enter_fd = openat(tree->helpers_fd, procs_of(tree->version), O_WRONLY | O_CLOEXEC);
    if (tree->enter_fd < 0)
        sr_close_fd(&tree->helpers_fd);
}

/* Before there is anything: whoever ends what a killed run has left obeys no other paths. */
static bool record_path(struct cgroup *cgroup, const char *path)
{
    char line[PATH_MAX + 1];
    int len = snprintf(line, sizeof line, "%s\n", path);
    int result =
        SR_FAILPOINT("cgroup.record") ? -errno : sr_write_all(cgroup->record, line, (size_t)len);
    if (result < 0)
        cgroup->record_error = result;
    return result == 0;
}

/* What a hierarchy is there for. */
struct purpose {
    bool share; /* the limit on CPU time: helpers have a place in it, */
    bool count; /* apart from the VMM's, where CPU time is counted */
};

/* Makes the run's directories in one hierarchy; or there are none. Returns the tree, or NULL. */
static struct cgroup_tree *make_tree(struct cgroup *cgroup, const char *parent,
                                     const struct hierarchy *h, const char *name,
                                     struct purpose purpose)
{
    struct cgroup_tree *tree = &cgroup->trees[cgroup->tree_count];
    *tree = (struct cgroup_tree)CGROUP_TREE_INIT;
    if (snprintf(tree->path, sizeof tree->path, "%s/%s", parent, name) >= (int)sizeof tree->path ||
        SR_FAILPOINT("cgroup.make") || !record_path(cgroup, tree->path) ||
        mkdir(tree->path, 0755) < 0)
        return NULL;
    tree->version = h->version;
    tree->fd =
        SR_FAILPOINT("cgroup.open") ? -1 : open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Held as long as somebody knows it: an empty one is not always one that was left behind. */
    bool good = tree->fd >= 0 && flock(tree->fd, LOCK_SH | LOCK_NB) == 0;
    if (good && h->version == 2) {
        bool handed[CGROUP_CONTROLLER_COUNT];
        cgroup_hand_down(tree->fd, handed);
    }
    if (good && purpose.count) {
        tree->vmm_fd = make_directory(tree->fd, CGROUP_VMM);
        tree->helpers_fd = make_directory(tree->fd, CGROUP_HELPERS);
    } else if (good) {
        tree->vmm_fd = fcntl(tree->fd, F_DUPFD_CLOEXEC, 0);
        tree->helpers_fd = purpose.share ? fcntl(tree->fd, F_DUPFD_CLOEXEC, 0) : -1;
    }
    good =
        good && tree->vmm_fd >= 0 && (tree->helpers_fd >= 0 || !(purpose.share || purpose.count));
    if (!good) {
        close_tree(tree);
        (void)!cgroup_remove_tree(tree->path);
        return NULL;
    }
    tree->counts = purpose.count;
    if (tree->helpers_fd >= 0)
        open_doors(tree, h->own);
    cgroup->tree_count++;
    return tree;
}

static void place(struct cgroup *cgroup, enum cgroup_controller controller,
                  const struct cgroup_tree *tree)
{
    cgroup->places[controller] =
        (struct cgroup_place){.version = tree->version, .tree = (size_t)(tree - cgroup->trees)};
}

/* The directory whose files a controller has. */
static int directory_of(const struct cgroup *cgroup, enum cgroup_controller controller)
{
    const struct cgroup_tree *tree = &cgroup->trees[cgroup->places[controller].tree];
    return controller == CGROUP_CONTROLLER_CPU ? tree->fd : tree->vmm_fd;
}

/* The nearest cgroup, from the caller's own upwards, that hands down all controllers that any of
 * them does. */
static bool find_parent(const struct hierarchy *h, char best[PATH_MAX])
{
    char at[PATH_MAX];
    int most = 0;
    memcpy(at, h->own, sizeof at);
    for (;;) {
        sr_cleanup_fd int fd =
            access(at, W_OK) == 0 ? open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        bool handed[CGROUP_CONTROLLER_COUNT];
        int count = 0;
        if (fd >= 0) {
            cgroup_hand_down(fd, handed);
            for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++)
                count += handed[c];
        }
        if (count > most) {
            most = count;
            memcpy(best, at, sizeof at);
        }
        char *slash = strrchr(at, '/');
        if (strlen(at) <= h->mount_len || slash == NULL)
            return most > 0;
        *slash = '\0';
    }
}

static void create_v2(struct cgroup *cgroup, const struct hierarchy *h, const char *name)
{
    char parent[PATH_MAX], given[512];
    const struct purpose purpose = {.share = true, .count = true};
    struct cgroup_tree *tree =
        find_parent(h, parent) ? make_tree(cgroup, parent, h, name, purpose) : NULL;
    if (tree == NULL)
        return;
    place(cgroup, CGROUP_CONTROLLER_ACCOUNT, tree); /* cpu.stat is always there */
    for (int c = 0; c < CGROUP_CONTROLLER_ACCOUNT; c++) {
        int dirfd = c == CGROUP_CONTROLLER_CPU ? tree->fd : tree->vmm_fd;
        if (sr_read_small_file(dirfd, "cgroup.controllers", given, sizeof given) >= 0 &&
            cgroup_has_word(given, cgroup_controllers[c], ' '))
            place(cgroup, (enum cgroup_controller)c, tree);
    }
    cgroup->v2_fd = tree->vmm_fd;
    cgroup->v2_helpers_fd = tree->helpers_fd;
}

static void create_v1(struct cgroup *cgroup, const struct hierarchy *h, const char *name)
{
    bool wanted[CGROUP_CONTROLLER_COUNT], any = false;
    for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++) {
        wanted[c] = h->controllers[c] && cgroup->places[c].version == 0;
        any = any || wanted[c];
    }
    const struct purpose purpose = {.share = wanted[CGROUP_CONTROLLER_CPU],
                                    .count = wanted[CGROUP_CONTROLLER_ACCOUNT]};
    const struct cgroup_tree *tree = any ? make_tree(cgroup, h->own, h, name, purpose) : NULL;
    for (int c = 0; tree != NULL && c < CGROUP_CONTROLLER_COUNT; c++)
        if (wanted[c])
            place(cgroup, (enum cgroup_controller)c, tree);
}

static int set(const struct cgroup *cgroup, enum cgroup_controller controller, const char *file,
               const char *value, struct sr_error *err)
{
    int result = SR_FAILPOINT("cgroup.limit")
                     ? -errno
                     : sr_write_kernel_file(directory_of(cgroup, controller), file, value);
    if (result < 0)
        return sr_fail(err, SR_RUN_002, PATH, "%s of %s does not take %s: %s", file,
                       cgroup->trees[cgroup->places[controller].tree].path, value,
                       strerror(-result));
    return 0;
}

static int set_number(const struct cgroup *cgroup, enum cgroup_controller controller,
                      const char *file, uint64_t value, struct sr_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return set(cgroup, controller, file, text, err);
}

/* For files that some kernels are built without. */
static int set_if_there(const struct cgroup *cgroup, enum cgroup_controller controller,
                        const char *file, uint64_t value, struct sr_error *err)
{
    return faccessat(directory_of(cgroup, controller), file, F_OK, 0) < 0
               ? 0
               : set_number(cgroup, controller, file, value, err);
}

/* Opens what will take the CPU limit. */
static int prepare_cpu(struct cgroup *cgroup, const struct cgroup_limits *limits,
                       struct sr_error *err)
{
    struct cgroup_place *cpu = &cgroup->places[CGROUP_CONTROLLER_CPU];
    int dirfd = directory_of(cgroup, CGROUP_CONTROLLER_CPU);
    if (limits->cpu_quota_usec == 0 || cpu->version == 0)
        return 0;
    if (cpu->version == 1 && faccessat(dirfd, "cpu.cfs_quota_us", F_OK, 0) < 0) {
        cpu->version = 0; /* a kernel without CFS bandwidth control */
        return 0;
    }
    const char *file = cpu->version == 2 ? "cpu.max" : "cpu.cfs_quota_us";
    int len = snprintf(cgroup->cpu_max, sizeof cgroup->cpu_max, "%" PRIu64, limits->cpu_quota_usec);
    if (cpu->version == 2)
        snprintf(cgroup->cpu_max + len, sizeof cgroup->cpu_max - (size_t)len, " %" PRIu64,
                 limits->cpu_period_usec);
    else if (set_number(cgroup, CGROUP_CONTROLLER_CPU, "cpu.cfs_period_us", limits->cpu_period_usec,
                        err) < 0)
        return -1;
    cgroup->cpu_fd = openat(dirfd, file, O_WRONLY | O_CLOEXEC);
    return cgroup->cpu_fd < 0 ? sr_fail(err, SR_RUN_002, PATH, "%s/%s: %s",
                                        cgroup->trees[cpu->tree].path, file, strerror(errno))
                              : 0;
}

int cgroup_limit_cpu(struct cgroup *cgroup, struct sr_error *err)
{
    size_t len = strlen(cgroup->cpu_max);
    if (cgroup->cpu_fd < 0)
        return 0;
    if (SR_FAILPOINT("cgroup.cpu") || write(cgroup->cpu_fd, cgroup->cpu_max, len) != (ssize_t)len)
        return sr_fail(err, SR_RUN_002, PATH, "%s does not take a CPU limit of %s: %s",
                       cgroup->trees[cgroup->places[CGROUP_CONTROLLER_CPU].tree].path,
                       cgroup->cpu_max, strerror(errno));
    sr_close_fd(&cgroup->cpu_fd);
    return 0;
}

static int set_memory(const struct cgroup *cgroup, const struct cgroup_limits *limits,
                      struct sr_error *err)
{
    const enum cgroup_controller memory = CGROUP_CONTROLLER_MEMORY;
    const uint64_t most = limits->memory_bytes;
    int version = cgroup->places[memory].version;
    if (version == 0)
        return 0;
    if (version == 2)
        return set_number(cgroup, memory, "memory.max", most, err) < 0 ||
                       set_if_there(cgroup, memory, "memory.swap.max", 0, err) < 0 ||
                       set_if_there(cgroup, memory, "memory.oom.group", 1, err) < 0
                   ? -1
                   : 0;
    return set_number(cgroup, memory, "memory.limit_in_bytes", most, err) < 0
               ? -1
               : set_if_there(cgroup, memory, "memory.memsw.limit_in_bytes", most, err);
}

int cgroup_create(struct cgroup *cgroup, const char *run_id, const struct cgroup_limits *limits,
                  int record, struct sr_error *err)
{
    struct hierarchies all;
    char name[128];
    *cgroup = (struct cgroup)CGROUP_INIT;
    cgroup->record = record;
    snprintf(name, sizeof name, CGROUP_PREFIX "%s", run_id);
    cgroup_find_hierarchies(&all);
    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].version == 2)
            create_v2(cgroup, &all.items[i], name);
    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].version == 1)
            create_v1(cgroup, &all.items[i], name);
    cgroup->record = -1;
    if (cgroup->record_error < 0) {
        sr_fail(err, SR_RUN_002, PATH, "the cgroup's path cannot be recorded: %s",
                strerror(-cgroup->record_error));
        cgroup_remove(cgroup);
        return -1;
    }
    if (prepare_cpu(cgroup, limits, err) < 0 || set_memory(cgroup, limits, err) < 0 ||
        (cgroup->places[CGROUP_CONTROLLER_PIDS].version != 0 &&
         set_number(cgroup, CGROUP_CONTROLLER_PIDS, "pids.max", limits->pids, err) < 0)) {
        cgroup_remove(cgroup);
        return -1;
    }
    return 0;
}

int cgroup_make_room(const char *name)
{
    struct hierarchies all;
    cgroup_find_hierarchies(&all);
    for (size_t i = 0; i < all.count; i++) {
        const char *last = strrchr(all.items[i].own, '/');
        if (all.items[i].version != 2 || last == NULL || strcmp(last + 1, name) != 0)
            continue;
        sr_cleanup_fd int own = open(all.items[i].own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (own < 0 || (mkdirat(own, ROOM, 0755) < 0 && errno != EEXIST))
            return -errno;
        return sr_write_kernel_file(own, ROOM "/cgroup.procs", "0");
    }
    return -ENOENT;
}

int cgroup_enter(const struct cgroup *cgroup)
{
    if (SR_FAILPOINT("cgroup.enter"))
        return -errno;
    for (size_t i = 0; i < cgroup->tree_count; i++) {
        const struct cgroup_tree *tree = &cgroup->trees[i];
        int result = tree->version == 1 ? sr_write_kernel_file(tree->vmm_fd, "tasks", "0") : 0;
        if (result < 0)
            return result;
    }
    return 0;
}

int cgroup_join(struct cgroup *cgroup, int version, struct sr_error *err)
{
    for (size_t i = 0; i < cgroup->tree_count; i++) {
        struct cgroup_tree *tree = &cgroup->trees[i];
        if (tree->version != version || tree->joined || tree->enter_fd < 0)
            continue;
        if (SR_FAILPOINT("cgroup.join") || write(tree->enter_fd, "0", 1) != 1)
            return sr_fail(err, SR_RUN_002, PATH, "safe-run cannot join %s: %s", tree->path,
                           strerror(errno));
        tree->joined = true;
    }
    return 0;
}

bool cgroup_holds_helpers(const struct cgroup *cgroup)
{
    const struct cgroup_place *cpu = &cgroup->places[CGROUP_CONTROLLER_CPU];
    return cpu->version != 0 && cgroup->trees[cpu->tree].enter_fd >= 0;
}

/* The number after a key, in a file of "key value" lines; without a key the file's only number. */
static int read_number(int dirfd, const char *file, const char *key, uint64_t *value)
{
    char text[4096];
    ssize_t len = sr_read_small_file(dirfd, file, text, sizeof text);
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

static int read_cpu(int version, int dirfd, uint64_t *usec)
{
    int result = version == 2 ? read_number(dirfd, "cpu.stat", "usage_usec", usec)
                              : read_number(dirfd, "cpuacct.usage", NULL, usec);
    if (result == 0 && version == 1)
        *usec /= 1000; /* nanoseconds there */
    return result;
}

int cgroup_read(const struct cgroup *cgroup, struct cgroup_usage *usage)
{
    const struct cgroup_place *account = &cgroup->places[CGROUP_CONTROLLER_ACCOUNT],
                              *memory = &cgroup->places[CGROUP_CONTROLLER_MEMORY];
    const struct cgroup_tree *counting = &cgroup->trees[account->tree];
    *usage = (struct cgroup_usage){0};
    int cpu = account->version != 0 ? read_cpu(account->version, counting->vmm_fd, &usage->cpu_usec)
                                    : -ENOENT;
    usage->helpers_counted =
        account->version != 0 && counting->enter_fd >= 0 &&
        read_cpu(account->version, counting->helpers_fd, &usage->helper_cpu_usec) == 0;
    if (memory->version == 0)
        return cpu < 0 ? cpu : -ENOENT;
    int dirfd = directory_of(cgroup, CGROUP_CONTROLLER_MEMORY);
    int bytes =
        read_number(dirfd, memory->version == 2 ? "memory.current" : "memory.usage_in_bytes", NULL,
                    &usage->memory_bytes);
    if (bytes == 0 &&
        read_number(dirfd, memory->version == 2 ? "memory.events" : "memory.oom_control",
                    "oom_kill", &usage->oom_kills) < 0)
        usage->oom_kills = 0; /* older kernels do not count */
    return cpu < 0 ? cpu : bytes;
}

const char *cgroup_holder(const struct cgroup *cgroup, enum cgroup_controller controller)
{
    static const char *const names[] = {NULL, "cgroup v1", "cgroup v2"};
    return names[cgroup->places[controller].version];
}

int cgroup_remove(struct cgroup *cgroup)
{
    int result = 0;
    for (size_t i = 0; i < cgroup->tree_count; i++) {
        struct cgroup_tree *tree = &cgroup->trees[i];
        bool left =
            !tree->joined || (!SR_FAILPOINT("cgroup.leave") && write(tree->leave_fd, "0", 1) == 1);
        int removed = left ? cgroup_remove_tree(tree->path) : -errno;
        close_tree(tree);
        if (removed < 0)
            result = removed;
    }
    sr_close_fd(&cgroup->cpu_fd);
    *cgroup = (struct cgroup)CGROUP_INIT;
    return result;
}
