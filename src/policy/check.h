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
#define SR_FINDINGS_MAX 1000

struct sr_findings {
    struct sr_error *items;
    size_t count, cap;
    bool full; /* the last one says that there are more */
};

struct sr_mount_allowlist;

struct sr_checker {
    struct sr_arena arena;
    struct sr_findings errors, warnings;
    bool out_of_memory;
    const struct sr_policy_sources *sources;
    int directory_fd; /* of sources->directory, once a relative path asked for it; -1: not yet */
    const struct sr_node *root; /* of the document; NULL: it could not be read */
    struct sr_policy policy;    /* filled as far as it is good */
    char *json;                 /* of the policy; owned */
};

/* A place in the document: a field or an item of its parent. It is rendered only for a report. */
struct sr_path {
    const struct sr_path *parent; /* NULL: the document */
    const char *name;             /* NULL: an item */
    size_t index;
};
void sr_path_render(const struct sr_path *path, char *text, size_t size);

/* Report at a path; node has line and column (may be NULL). */
void sr_check_error(struct sr_checker *checker, enum sr_code code, const struct sr_path *path,
                    const struct sr_node *node, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void sr_check_warn(struct sr_checker *checker, enum sr_code code, const struct sr_path *path,
                   const struct sr_node *node, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Adds a hint to the error reported last. */
void sr_check_hint(struct sr_checker *checker, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* fields.c: each checks one field and reports an error when it is wrong. */

/* Checks the map at node, and reports repeated fields and those that are not in known
 * (NULL-terminated; NULL: any name will do). Returns false when it is no map, which is reported, or
 * absent, which is reported (SR-POL-001 at place) when required. */
bool sr_field_map(struct sr_checker *checker, const struct sr_node *node,
                  const struct sr_path *path, const char *const *known, bool required,
                  const struct sr_node *place);
bool sr_field_list(struct sr_checker *checker, const struct sr_node *node,
                   const struct sr_path *path, bool required, const struct sr_node *place);

/* False, reported, when a list has more items than any run can use. */
bool sr_field_at_most(struct sr_checker *checker, const struct sr_node *node,
                      const struct sr_path *path, size_t max);

/* Returns true for null in YAML or JSON: nothing, ~, null. */
bool sr_node_is_null(const struct sr_node *node);

/* Returns a text without NUL, not blank when required; NULL when absent or wrong (reported). */
const char *sr_field_text(struct sr_checker *checker, const struct sr_node *node,
                          const struct sr_path *path, bool required, const struct sr_node *place);
/* Returns a plain or quoted text, which may be empty, for lists of texts; NULL when wrong
 * (reported). */
const char *sr_field_any_text(struct sr_checker *checker, const struct sr_node *node,
                              const struct sr_path *path);
/* Reads an integer written as digits. Returns false when wrong (reported). */
bool sr_field_integer(struct sr_checker *checker, const struct sr_node *node,
                      const struct sr_path *path, enum sr_code code, uint64_t min, uint64_t max,
                      uint64_t *value);
bool sr_field_bool(struct sr_checker *checker, const struct sr_node *node,
                   const struct sr_path *path, bool *value);
/* Returns the index of the text in names (NULL-terminated), or -1 (reported with code). */
int sr_field_choice(struct sr_checker *checker, const struct sr_node *node,
                    const struct sr_path *path, const char *const *names, enum sr_code code,
                    bool required, const struct sr_node *place);
/* Reads "<integer>Ki|Mi|Gi", or K, M, G for the same, as bytes; zero_ok allows "0" and 0. Returns
 * the text with Ki, Mi or Gi; NULL when absent or wrong (reported). */
const char *sr_field_size(struct sr_checker *checker, const struct sr_node *node,
                          const struct sr_path *path, bool required, bool zero_ok,
                          const struct sr_node *place, uint64_t *bytes);
/* Reads an entry of a map of texts. Its key is not empty and has none of the forbidden characters.
 * Returns false when the entry is wrong (reported). */
bool sr_field_pair(struct sr_checker *checker, const struct sr_node *key,
                   const struct sr_node *value, const struct sr_path *path, const char *forbidden,
                   struct sr_pair *pair);
void sr_pairs_sort(struct sr_pair *pairs, size_t count);
/* Reads a map of texts as pairs sorted by key. */
void sr_field_pairs(struct sr_checker *checker, const struct sr_node *node,
                    const struct sr_path *path, const char *forbidden, const struct sr_pair **pairs,
                    size_t *count);

/* paths.c: pure functions over guest and host paths. */

/* Returns why a text is no absolute path of a Linux guest; NULL when it is one. */
const char *sr_path_fault(const char *path);
/* Copies an absolute path, lexically normalised ("/a/../b//c/" becomes "/b/c"). NULL when memory is
 * out. */
char *sr_path_normalize(struct sr_arena *arena, const char *path);
/* Returns true for "/" and for the places of the guest's system, with all below. */
bool sr_path_protected(const char *path);

/* Returns what is wrong with a DNS name, or NULL. It has labels of 1 to 63 letters, digits and
 * hyphens, 253 octets in all, and its last label is no number (RFC 1123, 2.1: then it would be an
 * address). */
const char *sr_host_fault(const char *name);

/* network.c, mounts.c, resources.c: their sections of the policy. */
void sr_check_resources(struct sr_checker *checker, const struct sr_node *node,
                        const struct sr_path *root, const struct sr_node *document);
void sr_check_network(struct sr_checker *checker, const struct sr_node *node,
                      const struct sr_path *root, const struct sr_node *document);
void sr_check_mounts(struct sr_checker *checker, const struct sr_node *node,
                     const struct sr_path *root, const struct sr_mount_allowlist *allowlist);

/* Opens a file of the host if it could be the source of a mount, else reports. Sets found->fd,
 * which the caller closes (-1: none), and found->changed_nsec. */
void sr_check_host_file(struct sr_checker *checker, const struct sr_node *node,
                        const struct sr_path *path, const char *file,
                        const struct sr_mount_allowlist *allowlist, struct sr_mount *found);

/* env.c: the command's environment, and which variables the caller grants (policy.allowed_env). */
void sr_check_env(struct sr_checker *checker, const struct sr_node *node,
                  const struct sr_path *path, const struct sr_mount_allowlist *allowlist);
void sr_check_allowed_env(struct sr_checker *checker);

/* mounts.c: the allowlist. */
struct sr_mount_allowlist {
    const char *const *host; /* prefixes that exist, resolved unless built_in */
    size_t host_count;
    const char *const *guest; /* normalised prefixes */
    size_t guest_count;
    bool usable;   /* false: it was malformed, which is reported */
    bool built_in; /* host is resolved when there is something to mount */
};
/* Reads the allowlist of checker->sources, and resolves the directories that the caller grants
 * besides (policy.granted). */
void sr_allowlist_load(struct sr_checker *checker, struct sr_mount_allowlist *allowlist);

/* validate.c: the whole document. */
void sr_check_document(struct sr_checker *checker, const struct sr_node *root,
                       const struct sr_mount_allowlist *allowlist);

/* ceilings.c: an error for each field that asks for more. */
void sr_check_ceilings(struct sr_checker *checker, const struct sr_ceilings *ceilings);

/* normalize.c: canonical JSON of checker->policy into its json and json_len. */
void sr_check_normalize(struct sr_checker *checker);

#endif
