/*
 * The jail: namespaces, an empty root with only the files that are named, no capabilities, a system
 * call filter. For a program that handles what the guest says; jail.c has the theory of operation.
 * Its parts are for others that are confined, too.
 *
 *   1. sr_jail_files_find(), once for a program: what its loader and it will open.
 *   2. sr_jail_clone() instead of fork().
 *   3. In the child: sr_jail_enter(), then execve().
 */
#ifndef SR_JAIL_JAIL_H
#define SR_JAIL_JAIL_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Absolute paths, each of which is in the jail what it is outside. */
struct sr_jail_files {
    char **paths;
    size_t count;
};

/*
 * Adds what a program opens to start: itself, its loader, its shared libraries (as the loader finds
 * them), and of a VMM (QEMU) its TCG module and firmware where they are beside them. cache: a
 * directory to remember it in, or -1. Errors: SR-RUN-002 at launch.jail; files is then as it was,
 * or holds some of them.
 */
int sr_jail_files_find(const char *program, bool vmm, int cache, struct sr_jail_files *files,
                       struct sr_error *err) SR_MUST_CHECK;
void sr_jail_files_free(struct sr_jail_files *files);

/* A file that has been looked at already, by fd: path must still lead to it. name is one component,
 * of the jail's root. */
struct sr_jail_bind {
    int fd;
    const char *path, *name;
};

struct sr_jail_plan {
    const struct sr_jail_files *files;
    struct sr_jail_bind binds[2]; /* read-only */
    size_t bind_count;
    const char *device; /* a character device to read and write, or NULL */
    bool
        new_user; /* a user namespace: the caller is not root. Then uid and gid are the caller's, */
    uid_t uid;    /* else those to become, never 0 */
    gid_t gid;
    int parent;    /* a socket whose other end only the caller has */
    int cgroup_fd; /* of the cgroup to be born in; -1: the caller's */
};

/* Forks into the jail's namespaces. Returns 0 in the child, its pid and *pidfd in the caller, -1
 * with errno. */
pid_t sr_jail_clone(const struct sr_jail_plan *plan, int *pidfd) SR_MUST_CHECK;

/* What it means to the user that a clone into new namespaces, a user namespace among them or not,
 * ended with an error; static, or strerror()'s. */
const char *sr_jail_clone_fault(int error, bool new_user);

/* Completes the jail, in the child; nothing of the host is left but open descriptors. Returns 0, or
 * -1 with what failed in step and errno. */
int sr_jail_enter(const struct sr_jail_plan *plan, const char **step) SR_MUST_CHECK;

/* Asks to be killed when the parent dies, and fails with ESRCH when it is dead already. socket as
 * sr_jail_plan.parent. */
int sr_jail_die_with_parent(int socket) SR_MUST_CHECK;

/* The OOM killer takes the calling process before others. 0, or -1 with errno. */
int sr_jail_take_blame(void) SR_MUST_CHECK;

struct sr_jail_limit {
    int resource; /* of setrlimit(2) */
    uint64_t value;
};

/* Lowers resource limits, hard and soft, to these values, where they are not lower already. 0, or
 * -1 with errno. */
int sr_jail_limit(const struct sr_jail_limit *limits, size_t count) SR_MUST_CHECK;

/* Who is left with which system calls: seccomp.c. */
enum sr_jail_role {
    SR_JAIL_VMM, /* what QEMU needs to start and to run */
    SR_JAIL_SUPERVISOR,
    SR_JAIL_WORKER, /* given descriptors and threads only; */
    SR_JAIL_READER, /* and files, to read */
    SR_JAIL_WRITER, /* and to write, below a directory */
    SR_JAIL_NET_CELL,
    SR_JAIL_UPLINK,
    SR_JAIL_RELAY, /* UDP to peers that its sockets are connected to */
    SR_JAIL_RESOLVER,
};

/* Loads the role's filter for the rest of the process's life and of those that it starts;
 * everything that it does not list fails with EPERM. 0 or a negative errno. Needs no_new_privs. */
int sr_jail_filter(enum sr_jail_role role) SR_MUST_CHECK;

/* What the supervisor keeps; directories by descriptor. */
#define SR_JAIL_SELF_MAX 6
struct sr_jail_self {
    int write[2]; /* to read, make and write files in */
    size_t write_count;
    int read[SR_JAIL_SELF_MAX]; /* to read files in */
    size_t read_count;
    int remove[SR_JAIL_SELF_MAX]; /* to remove directories from */
    size_t remove_count;
    int tree; /* to make, rename and remove anything in; -1: none */
};

/* Confines the calling process for the rest of its life (confine.c). 0, or -1 with what failed in
 * step and errno. */
int sr_jail_confine_self(const struct sr_jail_self *self, const char **step) SR_MUST_CHECK;

/* True when the caller can become these ids: it is root, and not in a user namespace that does not
 * have them. */
bool sr_jail_has_uids(uint32_t first, uint32_t last);

/* Gives up the supplementary groups and takes these ids for good. 0, or -1 with errno. */
int sr_jail_become(uid_t uid, gid_t gid) SR_MUST_CHECK;

/* Root becomes nobody (65534), where the user namespace has that id; an ordinary user stays who he
 * is. 0, or -1 with errno. */
int sr_jail_become_nobody(void) SR_MUST_CHECK;

/* A uid that no other run has as long as the descriptor that is returned is open, of first..last;
 * -1 with err (SR-RUN-002 at launch.jail). For root. */
int sr_jail_take_uid(uint32_t first, uint32_t last, uid_t *uid, struct sr_error *err) SR_MUST_CHECK;

#endif
