/*
 * The checker: what the files of this module share while one policy is validated. Findings are
 * collected, never returned one by one; a field that is wrong is reported and the rest is checked
 * all the same.
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

/* Where in the document: a field of a parent, or an item of one. Rendered only when there is
 * something to report. */
struct sr_path {
    const struct sr_path *parent; /* NULL: the document */
    const char *name;             /* NULL: an item */
    size_t index;
};
void sr_path_render(const struct sr_path *path, char *text, size_t size);

/* Report at a path; node is the place (may be NULL). */
void sr_check_error(struct sr_checker *checker, enum sr_code code, const struct sr_path *path,
                    const struct sr_node *node, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void sr_check_warn(struct sr_checker *checker, enum sr_code code, const struct sr_path *path,
                   const struct sr_node *node, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Adds a hint to the error reported last. */
void sr_check_hint(struct sr_checker *checker, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* fields.c: one field each, with its error when it is not what it should be. */

/* The map at node; unknown and repeated fields are reported against known (NULL-terminated; NULL:
 * any name goes). False when it is no map (reported). missing_is_error: an absent one is
 * SR-POL-001, else just false. place is where an absent field is reported. */
bool sr_field_map(struct sr_checker *checker, const struct sr_node *node,
                  const struct sr_path *path, const char *const *known, bool required,
                  const struct sr_node *place);
bool sr_field_list(struct sr_checker *checker, const struct sr_node *node,
                   const struct sr_path *path, bool required, const struct sr_node *place);

/* False, reported, when a list has more items than any run can use. */
bool sr_field_at_most(struct sr_checker *checker, const struct sr_node *node,
                      const struct sr_path *path, size_t max);

/* True for what YAML or JSON mean by null: nothing, ~, null. */
bool sr_node_is_null(const struct sr_node *node);

/* A text without NUL, not blank when required. NULL when absent or wrong (reported). */
const char *sr_field_text(struct sr_checker *checker, const struct sr_node *node,
                          const struct sr_path *path, bool required, const struct sr_node *place);
/* True when the node is a plain or quoted text at all; used for lists of texts, where "" is fine.
 */
const char *sr_field_any_text(struct sr_checker *checker, const struct sr_node *node,
                              const struct sr_path *path);
/* An integer written as digits; false when wrong (reported). */
bool sr_field_integer(struct sr_checker *checker, const struct sr_node *node,
                      const struct sr_path *path, enum sr_code code, uint64_t min, uint64_t max,
                      uint64_t *value);
bool sr_field_bool(struct sr_checker *checker, const struct sr_node *node,
                   const struct sr_path *path, bool *value);
/* One of names (NULL-terminated): its index, or -1 (reported with code). */
int sr_field_choice(struct sr_checker *checker, const struct sr_node *node,
                    const struct sr_path *path, const char *const *names, enum sr_code code,
                    bool required, const struct sr_node *place);
/* "<integer>Ki|Mi|Gi" in bytes, or K, M, G for the same; zero_ok allows "0" and 0. NULL when absent
 * or wrong (reported), else the text with Ki, Mi or Gi. */
const char *sr_field_size(struct sr_checker *checker, const struct sr_node *node,
                          const struct sr_path *path, bool required, bool zero_ok,
                          const struct sr_node *place, uint64_t *bytes);
/* An entry of such a map, if it is good: no key is empty or has one of the forbidden characters.
 * False when its value is no text. */
bool sr_field_pair(struct sr_checker *checker, const struct sr_node *key,
                   const struct sr_node *value, const struct sr_path *path, const char *forbidden,
                   struct sr_pair *pair);
void sr_pairs_sort(struct sr_pair *pairs, size_t count);
/* A map of texts as pairs sorted by key. */
void sr_field_pairs(struct sr_checker *checker, const struct sr_node *node,
                    const struct sr_path *path, const char *forbidden, const struct sr_pair **pairs,
                    size_t *count);

/* paths.c: pure functions over guest and host paths. */

/* What keeps a text from being an absolute path of a Linux guest; NULL when nothing does. */
const char *sr_path_fault(const char *path);
/* Lexically normalised copy of an absolute path ("/a/../b//c/" is "/b/c"), or NULL when memory is
 * out. */
char *sr_path_normalize(struct sr_arena *arena, const char *path);
/* True for "/" and for the places the guest's system lives in, with all below. */
bool sr_path_protected(const char *path);

/* A DNS name: LDH labels of 1..63 octets, 253 octets in all, and a last label that is not a number
 * (RFC 1123, 2.1: then it would be an address). NULL when it is good, else what is wrong. */
const char *sr_host_fault(const char *name);

/* network.c, mounts.c, resources.c: their sections of the policy. */
void sr_check_resources(struct sr_checker *checker, const struct sr_node *node,
                        const struct sr_path *root, const struct sr_node *document);
void sr_check_network(struct sr_checker *checker, const struct sr_node *node,
                      const struct sr_path *root, const struct sr_node *document);
void sr_check_mounts(struct sr_checker *checker, const struct sr_node *node,
                     const struct sr_path *root, const struct sr_mount_allowlist *allowlist);

/* Judges a file of the host like a mount's source; found->fd and changed_nsec are its own then, and
 * the caller's. */
void sr_check_host_file(struct sr_checker *checker, const struct sr_node *node,
                        const struct sr_path *path, const char *file,
                        const struct sr_mount_allowlist *allowlist, struct sr_mount *found);

/* env.c: the command's environment, and which variables the caller grants (policy.allowed_env). */
void sr_check_env(struct sr_checker *checker, const struct sr_node *node,
                  const struct sr_path *path, const struct sr_mount_allowlist *allowlist);
void sr_check_allowed_env(struct sr_checker *checker);

/* mounts.c: the allowlist. */
struct sr_mount_allowlist {
    const char *const
        *host; /* prefixes, resolved unless built_in; those that do not exist are left out */
    size_t host_count;
    const char *const *guest; /* normalised prefixes */
    size_t guest_count;
    bool usable;   /* false: it was malformed, and that is reported already */
    bool built_in; /* host is looked up when there is something to mount */
};
/* Reads the allowlist of checker->sources, and looks up what the caller granted besides
 * (policy.granted). */
void sr_allowlist_load(struct sr_checker *checker, struct sr_mount_allowlist *allowlist);

/* validate.c: the whole document. */
void sr_check_document(struct sr_checker *checker, const struct sr_node *root,
                       const struct sr_mount_allowlist *allowlist);

/* ceilings.c: an error for each field that asks for more. */
void sr_check_ceilings(struct sr_checker *checker, const struct sr_ceilings *ceilings);

/* normalize.c: canonical JSON of checker->policy into its json and json_len. */
void sr_check_normalize(struct sr_checker *checker);

#endif
