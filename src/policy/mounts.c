/*
 * Theory of operation: mount sources, and images and secrets that are named by a path
 *
 * All of them show a file of the host to the guest, so one allowlist judges them all. A source is
 * opened once, by the kernel (openat2, no magic links), and judged by what was opened, never by the
 * text in the policy: its real path is read back from the descriptor and compared with the
 * allowlist's prefixes, which were resolved the same way, component by component. Symbolic links
 * may be followed as long as they end inside the allowlist. The descriptor is kept and is what a
 * later step reads, so nothing can be swapped in between. `..` in the text is refused outright: it
 * has no honest use here. Kernel file systems are recognised by their type too, because a bind
 * mount may show them anywhere.
 */
#include "common/fs.h"
#include "common/jcs.h"
#include "common/nearest.h"
#include "policy/check.h"
#include "policy/document.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#define ALLOWLIST_SCHEMA "safe-run.mount-allowlist/v1"

static int open_path(int directory, const char *path)
{
    const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

/* The path the kernel knows the descriptor's file by. False when it has none any more. */
static bool real_path(int fd, char path[PATH_MAX])
{
    char link[40];
    struct stat opened, named;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len <= 0 || path[0] != '/')
        return false;
    path[len] = '\0';
    /* A deleted file's path is followed by " (deleted)", and a name may end so too: ask. */
    return fstat(fd, &opened) == 0 && lstat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* A copy of the path that the kernel knows the descriptor's file by; NULL when it has none. */
static const char *real_path_copy(struct policy_checker *checker, int fd)
{
    char real[PATH_MAX];
    if (fd < 0 || !real_path(fd, real))
        return NULL;
    if (!sr_is_utf8(real)) { /* evidence could not say it */
        errno = EILSEQ;
        return NULL;
    }
    const char *copy = policy_arena_text(&checker->arena, real, strlen(real));
    checker->out_of_memory = checker->out_of_memory || copy == NULL;
    return copy;
}

/* A prefix of the allowlist, which may be a link, as the kernel finds it; NULL when there is
 * nothing: that allows nothing. */
static const char *resolve_prefix(struct policy_checker *checker, const char *prefix)
{
    sr_cleanup_fd int fd = open_path(AT_FDCWD, prefix);
    return real_path_copy(checker, fd);
}

/* The directory in which relative paths begin; -1 with errno. */
static int open_directory(struct policy_checker *checker)
{
    if (checker->directory_fd < 0)
        checker->directory_fd = open(checker->sources->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (checker->policy.directory == NULL)
        checker->policy.directory = real_path_copy(checker, checker->directory_fd);
    return checker->policy.directory != NULL ? checker->directory_fd : -1;
}

static bool is_kernel_file_system(int fd)
{
    static const long magics[] = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,        CGROUP_SUPER_MAGIC,
                                  CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,
                                  TRACEFS_MAGIC,       SECURITYFS_MAGIC,   BPF_FS_MAGIC,
                                  PSTOREFS_MAGIC,      EFIVARFS_MAGIC,     BINDERFS_SUPER_MAGIC,
                                  NSFS_MAGIC,          SELINUX_MAGIC,      SMACK_MAGIC,
                                  BINFMTFS_MAGIC,      XENFS_SUPER_MAGIC};
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return true;
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++)
        if (fs.f_type == magics[i])
            return true;
    return false;
}

static bool has_dot_dot(const char *path)
{
    for (; *path != '\0'; path += strcspn(path, "/"), path += *path == '/')
        if (path[0] == '.' && path[1] == '.' && (path[2] == '/' || path[2] == '\0'))
            return true;
    return false;
}

static bool in_system_place(const char *path)
{
    static const char *const places[] = {"/proc", "/sys", "/dev", "/run"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (sr_path_within(path, places[i]))
            return true;
    return false;
}

/* The directory of the built-in allowlist is also where safe-run keeps its own: other runs and the
 * archive with its key. */
static bool is_ours(const char *path, const char *home)
{
    static const char *const places[] = {"/archive", "/env.key", "/images", "/runs"};
    const char *below = path + strlen(home);
    bool ours = *below == '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        ours = ours || sr_path_within(below, places[i]);
    return ours;
}

/* What is wrong with an opened source, or NULL, and when it was changed last. */
static const char *source_fault(const struct policy_checker *checker, int fd,
                                const struct policy_mount_allowlist *allowlist,
                                int64_t *changed_nsec)
{
    const struct sr_policy *policy = &checker->policy;
    char path[PATH_MAX];
    struct stat st;
    if (!real_path(fd, path))
        return "was removed or replaced while it was looked at";
    if (in_system_place(path) || is_kernel_file_system(fd))
        return "is part of the system (/proc, /sys, /dev, /run) and never mounted";
    bool allowed = false;
    for (size_t i = 0; i < allowlist->host_count; i++)
        allowed = allowed || sr_path_within(path, allowlist->host[i]);
    for (size_t i = 0; i < policy->granted_count; i++)
        allowed = allowed || sr_path_within(path, policy->granted[i]);
    if (!allowed)
        return "is outside the host allowlist";
    if (allowlist->built_in && allowlist->host_count > 0 &&
        sr_path_within(path, allowlist->host[0]) && is_ours(path, allowlist->host[0]))
        return "holds what safe-run keeps of other runs and never mounts";
    if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return "is neither a file nor a directory";
    *changed_nsec = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
    return NULL;
}

static void hint_at_allowlist(struct policy_checker *checker,
                              const struct policy_mount_allowlist *allowlist)
{
    static const char other[] = "--allow-mount DIR allows another directory";
    size_t count = allowlist->host_count;
    if (count == 0)
        policy_check_hint(checker, "no directory of the allowlist exists; %s", other);
    else if (count == 1)
        policy_check_hint(checker, "allowed is what lies in %s; %s", allowlist->host[0], other);
    else
        policy_check_hint(checker, "allowed is what lies in %s or in %zu more; %s",
                          allowlist->host[0], count - 1, other);
}

/* Opens a file of the host and keeps the descriptor if the allowlist lets it be seen. */
static void judge(struct policy_checker *checker, const struct policy_node *node,
                  const struct policy_path *path, const char *file,
                  const struct policy_mount_allowlist *allowlist, struct sr_mount *mount)
{
    bool relative = file[0] != '/';
    if (has_dot_dot(file)) {
        policy_check_error(checker, SR_POL_101, path, node, "must be a path without '..'");
        return;
    }
    if (relative && checker->sources->directory == NULL) {
        policy_check_error(
            checker, SR_POL_101, path, node,
            "must be an absolute path: a policy from standard input has no directory "
            "for it to begin in");
        return;
    }
    if (!allowlist->usable)
        return;
    int directory = relative ? open_directory(checker) : AT_FDCWD;
    sr_cleanup_fd int fd = directory == -1 ? -1 : open_path(directory, file);
    if (fd < 0) {
        if (errno == ENOENT)
            policy_check_error(checker, SR_POL_101, path, node, "does not exist on this host");
        else if (errno == ELOOP)
            policy_check_error(
                checker, SR_POL_101, path, node,
                "leads through a link of /proc, in a circle, or through more than 40 "
                "links");
        else
            policy_check_error(checker, SR_POL_101, path, node, "cannot be opened: %s",
                               strerror(errno));
        return;
    }
    const char *fault = source_fault(checker, fd, allowlist, &mount->changed_nsec);
    if (fault != NULL) {
        policy_check_error(checker, SR_POL_101, path, node, "what this resolves to %s", fault);
        hint_at_allowlist(checker, allowlist);
        return;
    }
    mount->fd = sr_take_fd(&fd);
}

static void check_target(struct policy_checker *checker, const struct policy_node *node,
                         const struct policy_path *path,
                         const struct policy_mount_allowlist *allowlist, struct sr_mount *mount)
{
    const char *fault = policy_path_fault(node->text);
    if (fault != NULL) {
        policy_check_error(checker, SR_POL_102, path, node, "%s", fault);
        return;
    }
    char *target = policy_path_normalize(&checker->arena, node->text);
    if (target == NULL) {
        checker->out_of_memory = true;
        return;
    }
    mount->target = target;
    if (policy_path_protected(target)) {
        policy_check_error(checker, SR_POL_102, path, node,
                           "%.100s is a protected place of the guest", target);
        return;
    }
    bool allowed = false;
    for (size_t i = 0; i < allowlist->guest_count; i++)
        allowed = allowed || sr_path_within(target, allowlist->guest[i]);
    if (!allowed && allowlist->usable)
        policy_check_error(checker, SR_POL_102, path, node, "%.100s is outside the guest allowlist",
                           target);
}

/* Mounts are made in order: a later one on the target of an earlier one, or above it, leaves
 * nothing of that to see. */
static void compare_targets(struct policy_checker *checker, const struct policy_node *node,
                            const struct policy_path *path, const struct sr_mount *mounts,
                            size_t index)
{
    for (size_t j = 0; j < index && mounts[index].target != NULL; j++) {
        if (mounts[j].target == NULL || !sr_path_within(mounts[j].target, mounts[index].target))
            continue;
        if (strcmp(mounts[index].target, mounts[j].target) == 0)
            policy_check_error(checker, SR_POL_003, path, node, "mounts[%zu] has the same target",
                               j);
        else
            policy_check_warn(
                checker, SR_POL_003, path, node,
                "hides mounts[%zu], whose target lies below; name that one after this", j);
        break;
    }
}

/* The field under its name or its alias; both at once are one too many. */
static const struct policy_node *aliased(struct policy_checker *checker,
                                         const struct policy_node *map,
                                         const struct policy_path *path, const char *name,
                                         const char *alias)
{
    const struct policy_node *value = policy_node_get(map, name),
                             *other = policy_node_get(map, alias);
    if (value != NULL && other != NULL)
        policy_check_error(checker, SR_POL_002, &(struct policy_path){path, alias, 0}, other,
                           "is another name of %s, which is given too", name);
    return value != NULL ? value : other;
}

static void check_mount(struct policy_checker *checker, const struct policy_node *node,
                        const struct policy_path *path,
                        const struct policy_mount_allowlist *allowlist, struct sr_mount *mounts,
                        size_t index)
{
    struct sr_mount *mount = &mounts[index];
    static const char *const known[] = {"source",    "target",   "read_only", "hostPath",
                                        "guestPath", "readOnly", NULL};
    const struct policy_path source = {path, "source", 0}, target = {path, "target", 0},
                             read_only = {path, "read_only", 0};
    if (!policy_field_map(checker, node, path, known, true, node))
        return;
    const struct policy_node *value = aliased(checker, node, path, "source", "hostPath");
    if (policy_field_text(checker, value, &source, true, node) != NULL)
        judge(checker, value, &source, mount->source = value->text, allowlist, mount);
    value = aliased(checker, node, path, "target", "guestPath");
    if (policy_field_text(checker, value, &target, true, node) != NULL)
        check_target(checker, value, &target, allowlist, mount);
    compare_targets(checker, value, &target, mounts, index);
    value = aliased(checker, node, path, "read_only", "readOnly");
    bool is_read_only = true;
    if (value != NULL && policy_field_bool(checker, value, &read_only, &is_read_only) &&
        !is_read_only)
        policy_check_error(checker, SR_POL_103, &read_only, value,
                           "must be true: a writable mount of the host is never granted");
}

/* The built-in prefix is looked up only when there is something to judge: else no file is touched.
 * prefix is what it needs. */
static struct policy_mount_allowlist resolve(struct policy_checker *checker,
                                             const struct policy_mount_allowlist *allowlist,
                                             const char **prefix)
{
    struct policy_mount_allowlist resolved = *allowlist;
    if (allowlist->built_in) {
        *prefix = resolve_prefix(checker, allowlist->host[0]);
        resolved.host = prefix;
        resolved.host_count = *prefix != NULL ? 1 : 0;
    }
    return resolved;
}

void policy_check_host_file(struct policy_checker *checker, const struct policy_node *node,
                            const struct policy_path *path, const char *file,
                            const struct policy_mount_allowlist *allowlist, struct sr_mount *found)
{
    const char *prefix = NULL;
    const struct policy_mount_allowlist resolved = resolve(checker, allowlist, &prefix);
    *found = (struct sr_mount){.fd = -1};
    judge(checker, node, path, file, &resolved, found);
}

void policy_check_mounts(struct policy_checker *checker, const struct policy_node *node,
                         const struct policy_path *root,
                         const struct policy_mount_allowlist *allowlist)
{
    const struct policy_path path = {root, "mounts", 0};
    if (!policy_field_list(checker, node, &path, false, NULL) || node->count == 0 ||
        !policy_field_at_most(checker, node, &path, SR_MOUNTS_MAX))
        return;
    struct sr_mount *mounts = policy_arena_alloc(&checker->arena, node->count * sizeof *mounts);
    if (mounts == NULL) {
        checker->out_of_memory = true;
        return;
    }
    checker->policy.mounts = mounts;
    const char *prefix = NULL;
    const struct policy_mount_allowlist resolved = resolve(checker, allowlist, &prefix);
    for (size_t i = 0; i < node->count; i++) {
        mounts[i] = (struct sr_mount){.fd = -1};
        checker->policy.mount_count = i + 1; /* what is open so far is owned by the check */
        const struct policy_path item = {&path, NULL, i};
        check_mount(checker, node->items[i], &item, &resolved, mounts, i);
    }
}

/* -- The allowlist
 * ------------------------------------------------------------------------------------------------
 */

static const char *const default_host[] = {"/var/lib/safe-run"};
static const char *const default_guest[] = {"/data"};

static void allowlist_error(struct policy_checker *checker, const struct policy_path *path,
                            const struct policy_node *node, const char *what)
{
    policy_check_error(checker, SR_POL_101, path, node, "%s", what);
}

static bool read_prefixes(struct policy_checker *checker, const struct policy_node *root,
                          const char *field, bool host, const char *const **list, size_t *count)
{
    const struct policy_path top = {NULL, "mountAllowlist", 0}, path = {&top, field, 0};
    const struct policy_node *node = policy_node_get(root, field);
    if (node == NULL || node->kind != POLICY_NODE_LIST) {
        allowlist_error(checker, &path, node != NULL ? node : root,
                        "must be a list of absolute paths");
        return false;
    }
    const char **prefixes = policy_arena_alloc(&checker->arena, node->count * sizeof *prefixes);
    bool good = prefixes != NULL;
    size_t found = 0;
    for (size_t i = 0; prefixes != NULL && i < node->count; i++) {
        const struct policy_node *item = node->items[i];
        if (item->kind != POLICY_NODE_SCALAR || item->text[0] != '/' ||
            strlen(item->text) != item->len) {
            allowlist_error(checker, &(struct policy_path){&path, NULL, i}, item,
                            "must be an absolute path");
            good = false;
            continue;
        }
        prefixes[found] = host ? resolve_prefix(checker, item->text)
                               : policy_path_normalize(&checker->arena, item->text);
        if (prefixes[found] != NULL)
            found++;
        else if (!host)
            checker->out_of_memory = true;
    }
    checker->out_of_memory = checker->out_of_memory || prefixes == NULL;
    *list = prefixes;
    *count = found;
    return good;
}

static void read_allowlist(struct policy_checker *checker, const char *path,
                           struct policy_mount_allowlist *allowlist)
{
    static const char *const known[] = {"schemaVersion", "hostAllowPrefixes", "guestAllowPrefixes",
                                        NULL};
    const struct policy_path top = {NULL, "mountAllowlist", 0};
    const struct policy_path file_path = {&top, "file", 0};
    sr_cleanup_free char *text = NULL;
    size_t len;
    struct sr_error err = {0};
    struct policy_node *root;
    if (sr_policy_read_owned(path, &text, &len, &err) < 0 ||
        policy_document_parse(&checker->arena, text, len, &root, &err) < 0) {
        policy_check_error(checker, SR_POL_101, &file_path,
                           &(const struct policy_node){.line = err.line, .column = err.column},
                           "%.200s: %s", path, err.message);
        policy_check_hint(checker, "%s", err.hint);
        return;
    }
    if (root->kind != POLICY_NODE_MAP) {
        allowlist_error(checker, &file_path, root, "must be a map");
        return;
    }
    bool good = true;
    size_t state = 0;
    const struct policy_node *key;
    while ((key = policy_node_repeated_key(root, &state)) != NULL) {
        allowlist_error(checker, &(struct policy_path){&top, key->text, 0}, key,
                        "this key is given twice");
        good = false;
    }
    for (size_t i = 0; i < root->count; i++) {
        size_t k = 0;
        key = root->items[2 * i];
        while (known[k] != NULL && !policy_node_is(key, known[k]))
            k++;
        if (known[k] == NULL) {
            allowlist_error(checker, &(struct policy_path){&top, key->text, 0}, key,
                            "there is no such field");
            const char *nearest = sr_nearest_name(key->text, known);
            if (nearest != NULL)
                policy_check_hint(checker, "did you mean '%s'?", nearest);
            good = false;
        }
    }
    const struct policy_node *schema = policy_node_get(root, "schemaVersion");
    if (schema == NULL || schema->kind != POLICY_NODE_SCALAR ||
        !policy_node_is(schema, ALLOWLIST_SCHEMA)) {
        allowlist_error(checker, &(struct policy_path){&top, "schemaVersion", 0},
                        schema != NULL ? schema : root, "must be " ALLOWLIST_SCHEMA);
        good = false;
    }
    good = read_prefixes(checker, root, "hostAllowPrefixes", true, &allowlist->host,
                         &allowlist->host_count) &&
           good;
    good = read_prefixes(checker, root, "guestAllowPrefixes", false, &allowlist->guest,
                         &allowlist->guest_count) &&
           good;
    allowlist->usable = good;
}

/* What the caller granted by name has to be there: a word misspelt is not to allow nothing in
 * silence. */
static void load_grants(struct policy_checker *checker)
{
    const struct sr_policy_sources *sources = checker->sources;
    const char **granted =
        policy_arena_alloc(&checker->arena, sources->allow_count * sizeof *granted);
    checker->out_of_memory = checker->out_of_memory || granted == NULL;
    size_t count = 0;
    for (size_t i = 0; granted != NULL && i < sources->allow_count; i++) {
        const struct policy_path list = {NULL, "allowMount", 0}, path = {&list, NULL, i};
        granted[count] = resolve_prefix(checker, sources->allow[i]);
        if (granted[count] != NULL)
            count++;
        else
            policy_check_error(checker, SR_POL_101, &path, NULL, "%.200s cannot be opened: %s",
                               sources->allow[i], strerror(errno));
    }
    checker->policy.granted = granted;
    checker->policy.granted_count = count;
}

void policy_allowlist_load(struct policy_checker *checker, struct policy_mount_allowlist *allowlist)
{
    const char *path = checker->sources->allowlist;
    *allowlist = (struct policy_mount_allowlist){.host = default_host,
                                                 .host_count = 1,
                                                 .guest = default_guest,
                                                 .guest_count = 1,
                                                 .usable = true,
                                                 .built_in = true};
    if (checker->sources->allow_count > 0)
        load_grants(checker);
    if (path == NULL)
        return;
    allowlist->usable = allowlist->built_in = false;
    read_allowlist(checker, path, allowlist);
}
