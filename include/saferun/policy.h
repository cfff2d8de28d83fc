/*
 * Policies: read a document, validate it, hold it in normal form.
 *
 *   1. sr_policy_check() takes the bytes of a document (YAML or JSON) and the mount allowlist and
 *      finds every error and warning at once.
 *   2. When there is no error, check->policy is the normalized policy: aliases resolved, every
 *      default explicit. It is const from then on, and its canonical JSON is what policyHash is
 *      taken over.
 *   3. sr_check_free() frees all of it, the descriptors of the mount sources included.
 *
 * Apart from opening mount sources and other files that the policy names (openat2) nothing is read
 * but what the caller hands in: no value of a secret is here.
 */
#ifndef SAFERUN_POLICY_H
#define SAFERUN_POLICY_H

#include "saferun/env_name.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each mount and each output costs the run; a longer list is a mistake or an attack. */
#define SR_MOUNTS_MAX 64
#define SR_OUTPUTS_MAX 64
/* Values of the environment that come from outside of the policy; each is kept in locked memory. */
#define SR_SECRETS_MAX 64
/* Its bytes: a key, a token, a certificate. Linux takes no variable of more than 128 KiB. */
#define SR_SECRET_VALUE_MAX (64 * 1024)

#define SR_POLICY_API_VERSION "policy.safe-run.dev/v1alpha1"
/* A policy is written by hand or by a generator for one run; 1 MiB holds 10,000 rules. */
#define SR_POLICY_MAX_BYTES (1024 * 1024)

enum sr_network_mode { SR_NETWORK_NONE, SR_NETWORK_ALLOWLIST };
enum sr_protocol { SR_PROTOCOL_TCP, SR_PROTOCOL_UDP };

/* As policies spell it. */
static inline const char *sr_protocol_name(enum sr_protocol protocol)
{
    return protocol == SR_PROTOCOL_UDP ? "udp" : "tcp";
}
enum sr_audit_level { SR_AUDIT_BASIC, SR_AUDIT_FULL };

struct sr_pair {
    const char *key, *value;
};

enum sr_secret_from { SR_SECRET_ENV, SR_SECRET_FILE };

/* As policies and evidence spell it. */
static inline const char *sr_secret_from_name(enum sr_secret_from from)
{
    return from == SR_SECRET_FILE ? "file" : "env";
}

/* A variable whose value comes from outside of the policy, and goes to the guest alone: no document
 * and no evidence has it. */
struct sr_secret {
    const char *name;
    enum sr_secret_from from; /* the caller's variable of that name, or a file */
    const char *path; /* FILE: as written, absolute or below the policy's directory; else NULL */
    int fd;           /* FILE: O_PATH descriptor of what was judged; owned by the check. ENV: -1 */
    int64_t changed_nsec; /* FILE: its ctime then, nanoseconds since 1970 */
};

struct sr_egress {
    enum sr_protocol protocol;
    uint16_t port;
    const char *host; /* NULL when the rule names a cidr */
    const char *cidr; /* NULL when the rule names a host; as written, "a.b.c.d/n" */
    uint32_t address; /* of the cidr, host byte order, host bits as written */
    uint8_t prefix;   /* 0..32 */
    unsigned line;    /* where the document has the rule */
};

struct sr_mount {
    const char *source;   /* as written in the policy: absolute, or below its directory */
    const char *target;   /* lexically normalised guest path */
    int fd;               /* O_PATH descriptor of the source that was judged; owned by the check */
    int64_t changed_nsec; /* its ctime then, nanoseconds since 1970 */
};

struct sr_output {
    const char *path;     /* lexically normalised guest path */
    const char *max;      /* as written, "64Mi" */
    uint64_t max_bytes;   /* UINT64_MAX never occurs: there is always a default */
    uint32_t timeout_sec; /* what its collection may take */
};

/* A normalized policy. Every pointer lives as long as the sr_check it came from. */
struct sr_policy {
    const char *name;
    const struct sr_pair *labels; /* sorted by key */
    size_t label_count;

    const char *command;
    const char *const *args;
    size_t arg_count;
    const char *image;
    int image_fd; /* O_PATH descriptor of the file that was judged; -1: image is a name. Owned by
                     the check */
    const struct sr_pair *env; /* sorted by key */
    size_t env_count;
    const struct sr_secret *secrets; /* sorted by name; no name is in env, too */
    size_t secret_count;
    const char *workdir;
    const char *stdin_path; /* normalised guest path of what the command reads as stdin, or NULL */
    uint32_t uid, gid;
    bool workdir_given,
        user_given; /* by the document; else an image's own wins over these defaults */
    uint32_t timeout_sec;

    uint64_t cpu_quota_usec; /* 0: "max" */
    uint64_t cpu_period_usec;
    const char *cpu_max; /* canonical spelling "<quota|max> <period>" */
    uint64_t memory_bytes;
    const char *memory_max; /* as written, "256Mi" */
    uint32_t pids_max;
    uint64_t disk_bytes; /* writable scratch; 0: read-only root */
    const char *disk_max;

    enum sr_network_mode network_mode;
    const struct sr_egress *egress; /* policy order */
    size_t egress_count;
    const struct sr_mount *mounts; /* policy order */
    size_t mount_count;
    const struct sr_output *outputs;
    size_t output_count;
    enum sr_audit_level audit_level;

    bool require_kvm;
    bool require_limits;
    bool require_signature;

    const char
        *directory; /* real path in which relative sources and images begin; NULL: there are none */
    const char *const *granted; /* real paths of the directories that the caller granted */
    size_t granted_count;
    const char *const *allowed_env; /* names of the caller's variables that the caller granted */
    size_t allowed_env_count;

    const char *json; /* canonical JSON (RFC 8785) of the normalized policy, NUL-terminated */
    size_t json_len;
};

/* True for a finding in the mount allowlist, "mountAllowlist.<field>": its line and column are of
 * that file. The code is asked too, because a policy may have such a (wrong) field. */
bool sr_error_is_allowlists(const struct sr_error *finding);

/* What one check found. Zero-initialise before use. */
struct sr_check {
    struct sr_error *errors; /* document order */
    size_t error_count;
    struct sr_error *warnings;
    size_t warning_count;
    const struct sr_policy *policy; /* NULL when there is an error */
    void *owner;                    /* private */
};

/* What of the host a policy may name. All of it is the caller's word, and stays the caller's. */
struct sr_policy_sources {
    const char *allowlist;    /* file of the mount allowlist; NULL: the built-in one */
    const char *directory;    /* in which relative paths begin; NULL: they are refused */
    const char *const *allow; /* directories that are allowed besides */
    size_t allow_count;
    const char *const *allow_env; /* variables of the caller's environment that a guest may have */
    size_t allow_env_count;
};

/*
 * Checks a document of len bytes. sources may be NULL: the built-in allowlist, no relative paths.
 * Returns 0 when the check ran (whatever it found), -1 with err filled when memory ran out.
 */
int sr_policy_check(const char *text, size_t len, const struct sr_policy_sources *sources,
                    struct sr_check *check, struct sr_error *err)
    __attribute__((warn_unused_result));

/*
 * Reads a file ("-" is standard input) of at most SR_POLICY_MAX_BYTES into *text, which the caller
 * frees; it ends with a NUL that *len does not count. SR-POL-001 at "policy" when it cannot be
 * read, SR-POL-002 when it is larger.
 */
int sr_policy_read(const char *path, char **text, size_t *len, struct sr_error *err)
    __attribute__((warn_unused_result));

/* Reads a file that decides what policies may ask for. Also SR-POL-001: it or its place belongs to
 * somebody other than the caller and root, or others can write to it. */
int sr_policy_read_owned(const char *path, char **text, size_t *len, struct sr_error *err)
    __attribute__((warn_unused_result));

void sr_check_free(struct sr_check *check);
#define sr_cleanup_check __attribute__((cleanup(sr_check_free)))

#endif
