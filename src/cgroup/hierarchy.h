/*
 * Where hierarchies of cgroups are mounted, where in them the caller is, and what one of version 2
 * hands down. Only files of this room include it.
 */
#ifndef SR_CGROUP_HIERARCHY_H
#define SR_CGROUP_HIERARCHY_H

#include "cgroup/cgroup.h"

/* One mounted hierarchy, and the caller's place in it. */
struct hierarchy {
    int version;
    bool controllers[CGROUP_CONTROLLER_COUNT]; /* of version 1 */
    char own[PATH_MAX];                        /* the caller's directory */
    size_t mount_len;                          /* of own: the mount point */
};

struct hierarchies {
    struct hierarchy items[CGROUP_CONTROLLER_COUNT + 1];
    size_t count;
};

/* "cpu", "memory", "pids", "cpuacct", by enum cgroup_controller. */
extern const char *const cgroup_controllers[CGROUP_CONTROLLER_COUNT];

/* The name of a run's directory is this prefix and the run id. */
#define CGROUP_PREFIX "safe-run-"
/* Directories within it, where helpers are counted apart from the VMM. */
#define CGROUP_VMM "vmm"
#define CGROUP_HELPERS "helpers"

void cgroup_find_hierarchies(struct hierarchies *all);

/* Whether a list, which may end with a newline, has a word. */
bool cgroup_has_word(const char *list, const char *word, char separator) SR_MUST_CHECK;

/* Enables the controllers of a cgroup of version 2 for the cgroups below it, and says in handed
 * which of them are. */
void cgroup_hand_down(int dirfd, bool handed[CGROUP_CONTROLLER_COUNT]);

/* Removes a run's directory and what is in it. Returns 0 or a negative errno; a directory that is
 * gone already is no error. */
int cgroup_remove_tree(const char *path) SR_MUST_CHECK;

#endif
