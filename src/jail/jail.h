/*
 * The jail: namespaces, an empty root with only the files that are named, no capabilities, a system
 * call filter. It confines a program that handles what the guest says; jail.c has the theory of
 * operation. Other confined processes use its parts.
 *
 *   1. jail_files_find(), once for a program: what its loader and it will open.
 *   2. jail_clone() instead of fork().
 *   3. In the child: jail_enter(), then execve().
 */
#ifndef SR_JAIL_JAIL_H
#define SR_JAIL_JAIL_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Absolute paths. Each leads to the same file inside the jail and outside. */
struct jail_files {
    char **paths;
    size_t count;
};

/*
 * Adds what a program opens to start: itself, its loader, its shared libraries (as the loader finds
 * them), and of a VMM (QEMU) its TCG module and firmware where they are beside them. cache: a
 * directory to remember it in, or -1. Errors: SR-RUN-002 at launch.jail; files is then as it was,
 * or holds some of them.
 */
int jail_files_find(const char *program, bool vmm, int cache, struct jail_files *files,
                    struct sr_error *err) SR_MUST_CHECK;
void jail_files_free(struct jail_files *files);

/* A file that has been opened and checked as fd; the jail fails when path leads to another one by
 * then. name is its name in the jail's root: one component. */
struct jail_bind {
    int fd;
    const char *path, *name;
};

struct jail_plan {
    const struct jail_files *files;
    struct jail_bind binds[2]; /* read-only */
    size_t bind_count;
    const char *device; /* a character device to read and write, or NULL */
    bool new_user;      /* a user namespace, for a caller that is not root */
    uid_t uid;          /* with new_user the caller's own; else those to become, never 0 */
    gid_t gid;
    int parent;    /* a socket whose other end only the caller has */
    int cgroup_fd; /* cgroup that the child starts in; -1: the caller's */
};

/* Forks into the jail's namespaces. Returns 0 in the child, its pid and *pidfd in the caller, -1
 * with errno. */
pid_t jail_clone(const struct jail_plan *plan, int *pidfd) SR_MUST_CHECK;

/* Returns a sentence for the user about a clone into new namespaces that failed with error.
 * new_user: one of them was a user namespace. The text is static, or strerror()'s. */
const char *jail_clone_fault(int error, bool new_user);

struct jail_ids {
    uid_t uid;
    gid_t gid;
};
/* Gives a new user namespace its only ids: inside of it, and what they are outside. process is one
 * in it, as /proc names it; the caller is it or made it. 0 or a negative errno. */
int jail_map_ids(const char *process, const struct jail_ids *inside,
                 const struct jail_ids *outside) SR_MUST_CHECK;

/* Completes the jail, in the child; nothing of the host is left but open descriptors. Returns 0, or
 * -1 with what failed in step and errno. */
int jail_enter(const struct jail_plan *plan, const char **step) SR_MUST_CHECK;

/* Asks to be killed when the parent dies, and fails with ESRCH when it is dead already. socket as
 * jail_plan.parent. */
int jail_die_with_parent(int socket) SR_MUST_CHECK;

/* Raises the OOM score of the calling process, so that the kernel kills it before others. Returns
 * 0, or -1 with errno. */
int jail_raise_oom_score(void) SR_MUST_CHECK;

struct jail_limit {
    int resource; /* of setrlimit(2) */
    uint64_t value;
};

/* Lowers resource limits, hard and soft, to these values; lower ones stay. Returns 0, or -1 with
 * errno. */
int jail_limit(const struct jail_limit *limits, size_t count) SR_MUST_CHECK;

/* Whose process is filtered; seccomp.c lists the system calls of each. */
enum jail_role {
    JAIL_VMM, /* what QEMU needs to start and to run */
    JAIL_SUPERVISOR,
    JAIL_WORKER, /* uses the descriptors it has, and threads */
    JAIL_READER, /* opens files to read, too */
    JAIL_WRITER, /* writes files below a directory, too */
    JAIL_NET_CELL,
    JAIL_UPLINK,
    JAIL_RELAY, /* UDP to peers that its sockets are connected to */
    JAIL_RESOLVER,
};

/* Loads the role's filter for the rest of the life of the process and of those that it starts.
 * System calls that the filter does not list fail with EPERM. Returns 0 or a negative errno. Needs
 * no_new_privs. */
int jail_filter(enum jail_role role) SR_MUST_CHECK;

/* What the supervisor keeps; directories by descriptor. */
#define JAIL_SELF_MAX 6
struct jail_self {
    int write[2]; /* to read, make and write files in */
    size_t write_count;
    int read[JAIL_SELF_MAX]; /* to read files in */
    size_t read_count;
    int remove[JAIL_SELF_MAX]; /* to remove directories from */
    size_t remove_count;
    int tree; /* to make, rename and remove anything in; -1: none */
};

/* Confines the calling process for the rest of its life (confine.c). 0, or -1 with what failed in
 * step and errno. */
int jail_confine_self(const struct jail_self *self, const char **step) SR_MUST_CHECK;

/* True when the caller can become these ids: it is root, and its user namespace has them. */
bool jail_has_uids(uint32_t first, uint32_t last);

/* Gives up the supplementary groups and takes these ids for good. 0, or -1 with errno. */
int jail_become(uid_t uid, gid_t gid) SR_MUST_CHECK;

/* Makes a caller that is root nobody (65534), where its user namespace has that id; an ordinary
 * user keeps the own id. Returns 0, or -1 with errno. */
int jail_become_nobody(void) SR_MUST_CHECK;

/* Reserves a uid of first..last that no other run has. Returns a descriptor, which holds it until
 * it is closed; or -1 with err (SR-RUN-002 at launch.jail). For root. */
int jail_take_uid(uint32_t first, uint32_t last, uid_t *uid, struct sr_error *err) SR_MUST_CHECK;

#endif
