/*
 * /proc/self/mountinfo says where hierarchies are mounted, /proc/self/cgroup where in each of them
 * the caller is.
 */
#include "cgroup/hierarchy.h"

#include "common/failpoint.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define REMOVE_TRIES 50 /* of 2 ms: a process that has just been killed */

const char *const cgroup_controllers[] = {"cpu", "memory", "pids", "cpuacct"};

bool cgroup_has_word(const char *list, const char *word, char separator)
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
        if (controller == NULL ? len == 0 && line[0] == '0'
                               : cgroup_has_word(list, controller, ',')) {
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

/* root: what of the hierarchy is mounted (a container sees a part); own: the caller's path in the
 * whole of it. */
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
    for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++)
        if (cgroup_has_word(options, cgroup_controllers[c], ',')) {
            h->controllers[c] = true;
            any = cgroup_controllers[c];
        }
    all->count += any != NULL && find_own(cgroups, any, own, sizeof own) &&
                  place_in_mount(h, mount_point, root, own);
}

void cgroup_find_hierarchies(struct hierarchies *all)
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

void cgroup_hand_down(int dirfd, bool handed[CGROUP_CONTROLLER_COUNT])
{
    char has[512], gives[512];
    for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++)
        handed[c] = false;
    if (sr_read_small_file(dirfd, "cgroup.controllers", has, sizeof has) < 0)
        return;
    for (int c = 0; c < CGROUP_CONTROLLER_ACCOUNT; c++) {
        char wish[16];
        snprintf(wish, sizeof wish, "+%s", cgroup_controllers[c]);
        if (sr_read_small_file(dirfd, "cgroup.subtree_control", gives, sizeof gives) >= 0 &&
            (cgroup_has_word(gives, cgroup_controllers[c], ' ') ||
             (cgroup_has_word(has, cgroup_controllers[c], ' ') &&
              sr_write_kernel_file(dirfd, "cgroup.subtree_control", wish) == 0)))
            handed[c] = true;
    }
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

int cgroup_remove_tree(const char *path)
{
    static const char *const leaves[] = {CGROUP_HELPERS, CGROUP_VMM};
    char leaf[PATH_MAX + 16];
    int result = 0;
    for (size_t i = 0; result == 0 && i < sizeof leaves / sizeof leaves[0]; i++) {
        snprintf(leaf, sizeof leaf, "%s/%s", path, leaves[i]);
        result = remove_directory(leaf);
    }
    return result == 0 ? remove_directory(path) : result;
}
