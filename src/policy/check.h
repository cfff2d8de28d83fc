/*
 * The checker, which the files of this room share while they validate a policy. It collects
 * findings: after a wrong field is reported, the rest is checked as well.
 */
#ifndef SR_POLICY_CHECK_H
#define SR_POLICY_CHECK_H

#include "common/cleanup.h"
#include "policy/node.h"
#include "saferun/ceilings.h"
#include "saferun/policy.h"

/* Findings kept of each kind; a document of a megabyte could otherwise make hundreds of
 * thousands. */
#define POLICY_FINDINGS_MAX 1000

struct policy_findings {
    struct sr_error *items;
    size_t count, cap;
    bool full; /* the last one says that there are more */
};

struct policy_mount_allowlist;

struct policy_checker {
    struct policy_arena arena;
    struct policy_findings errors, warnings;
    bool out_of_memory;
    const struct sr_policy_sources *sources;
    int directory_fd; /* of sources->directory, once a relative path asked for it; -1: not yet */
    const struct policy_node *root; /* of the document; NULL: it could not be read */
    struct sr_policy policy;        /* filled as far as it is good */
    char *json;                     /* of the policy; owned */
};

/* A place in the document: a field or an item of its parent. It is rendered only for a report. */
struct policy_path {
    const struct policy_path *parent; /* NULL: the document */
    const char *name;                 /* NULL: an item */
    size_t index;
};
void policy_path_render(const struct policy_path *path, char *text, size_t size);

/* Report at a path; node has line and column (may be NULL). */
void policy_check_error(struct policy_checker *checker, enum sr_code code,
                        const struct policy_path *path, const struct policy_node *node,
                        const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void policy_check_warn(struct policy_checker *checker, enum sr_code code,
                       const struct policy_path *path, const struct policy_node *node,
                       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Adds a hint to the error reported last. */
void policy_check_hint(struct policy_checker *checker, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* fields.c: each checks one field and reports an error when it is wrong. */

/* Checks the map at node, and reports repeated fields and those that are not in known
 * (NULL-terminated; NULL: any name will do). Returns false when it is no map, which is reported, or
 * absent, which is reported (SR-POL-001 at place) when required. */
bool policy_field_map(struct policy_checker *checker, const struct policy_node *node,
                      const struct policy_path *path, const char *const *known, bool required,
                      const struct policy_node *place);
bool policy_field_list(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path, bool required,
                       const struct policy_node *place);

/* False, reported, when a list has more items than any run can use. */
bool policy_field_at_most(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *path, size_t max);

/* Returns true for null in YAML or JSON: nothing, ~, null. */
bool policy_node_is_null(const struct policy_node *node);

/* Returns a text without NUL, not blank when required; NULL when absent or wrong (reported). */
const char *policy_field_text(struct policy_checker *checker, const struct policy_node *node,
                              const struct policy_path *path, bool required,
                              const struct policy_node *place);
/* Returns a plain or quoted text, which may be empty, for lists of texts; NULL when wrong
 * (reported). */
const char *policy_field_any_text(struct policy_checker *checker, const struct policy_node *node,
                                  const struct policy_path *path);
/* Reads an integer written as digits. Returns false when wrong (reported). */
bool policy_field_integer(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *path, enum sr_code code, uint64_t min,
                          uint64_t max, uint64_t *value);
bool policy_field_bool(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path, bool *value);
/* Returns the index of the text in names (NULL-terminated), or -1 (reported with code). */
int policy_field_choice(struct policy_checker *checker, const struct policy_node *node,
                        const struct policy_path *path, const char *const *names, enum sr_code code,
                        bool required, const struct policy_node *place);
/* Reads "<integer>Ki|Mi|Gi", or K, M, G for the same, as bytes; zero_ok allows "0" and 0. Returns
 * the text with Ki, Mi or Gi; NULL when absent or wrong (reported). */
const char *policy_field_size(struct policy_checker *checker, const struct policy_node *node,
                              const struct policy_path *path, bool required, bool zero_ok,
                              const struct policy_node *place, uint64_t *bytes);
/* Reads an entry of a map of texts. Its key is not empty and has none of the forbidden characters.
 * Returns false when the entry is wrong (reported). */
bool policy_field_pair(struct policy_checker *checker, const struct policy_node *key,
                       const struct policy_node *value, const struct policy_path *path,
                       const char *forbidden, struct sr_pair *pair);
void policy_pairs_sort(struct sr_pair *pairs, size_t count);
/* Reads a map of texts as pairs sorted by key. */
void policy_field_pairs(struct policy_checker *checker, const struct policy_node *node,
                        const struct policy_path *path, const char *forbidden,
                        const struct sr_pair **pairs, size_t *count);

/* paths.c: pure functions over guest and host paths. */

/* Returns why a text is no absolute path of a Linux guest; NULL when it is one. */
const char *policy_path_fault(const char *path);
/* Copies an absolute path, lexically normalised ("/a/../b//c/" becomes "/b/c"). NULL when memory is
 * out. */
char *policy_path_normalize(struct policy_arena *arena, const char *path);
/* Returns true for "/" and for the places of the guest's system, with all below. */
bool policy_path_protected(const char *path);

/* Returns what is wrong with a DNS name, or NULL. It has labels of 1 to 63 letters, digits and
 * hyphens, 253 octets in all, and its last label is no number (RFC 1123, 2.1: then it would be an
 * address). */
const char *policy_host_fault(const char *name);

/* network.c, mounts.c, resources.c: their sections of the policy. */
void policy_check_resources(struct policy_checker *checker, const struct policy_node *node,
                            const struct policy_path *root, const struct policy_node *document);
void policy_check_network(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *root, const struct policy_node *document);
void policy_check_mounts(struct policy_checker *checker, const struct policy_node *node,
                         const struct policy_path *root,
                         const struct policy_mount_allowlist *allowlist);

/* Opens a file of the host if it could be the source of a mount, else reports. Sets found->fd,
 * which the caller closes (-1: none), and found->changed_nsec. */
void policy_check_host_file(struct policy_checker *checker, const struct policy_node *node,
                            const struct policy_path *path, const char *file,
                            const struct policy_mount_allowlist *allowlist, struct sr_mount *found);

/* env.c: the command's environment, and which variables the caller grants (policy.allowed_env). */
void policy_check_env(struct policy_checker *checker, const struct policy_node *node,
                      const struct policy_path *path,
                      const struct policy_mount_allowlist *allowlist);
void policy_check_allowed_env(struct policy_checker *checker);

/* mounts.c: the allowlist. */
struct policy_mount_allowlist {
    const char *const *host; /* prefixes that exist, resolved unless built_in */
    size_t host_count;
    const char *const *guest; /* normalised prefixes */
    size_t guest_count;
    bool usable;   /* false: it was malformed, which is reported */
    bool built_in; /* host is resolved when there is something to mount */
};
/* Reads the allowlist of checker->sources, and resolves the directories that the caller grants
 * besides (policy.granted). */
void policy_allowlist_load(struct policy_checker *checker,
                           struct policy_mount_allowlist *allowlist);

/* validate.c: the whole document. */
void policy_check_document(struct policy_checker *checker, const struct policy_node *root,
                           const struct policy_mount_allowlist *allowlist);

/* ceilings.c: an error for each field that asks for more. */
void policy_check_ceilings(struct policy_checker *checker, const struct sr_ceilings *ceilings);

/* normalize.c: canonical JSON of checker->policy into its json and json_len. */
void policy_check_normalize(struct policy_checker *checker);

#endif
