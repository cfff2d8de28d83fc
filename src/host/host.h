/*
 * What this host brings to a run: the host configuration, the artefacts (kernel, initrd, root
 * image) with their hashes, the accelerator that works, the frequency of the TSC. None of it is the
 * policy's business.
 */
#ifndef SR_HOST_HOST_H
#define SR_HOST_HOST_H

#include "common/cleanup.h"
#include "common/sha256.h"
#include "net/net.h"
#include "saferun/archive.h"
#include "saferun/ceilings.h"
#include "saferun/error.h"
#include "saferun/run.h"
#include "vmm/driver.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The host configuration: $SAFE_RUN_CONFIG, else $XDG_CONFIG_HOME/safe-run/config.yaml, else
 * /etc/safe-run/config.yaml, else the defaults. docs/OPERATIONS.md lists the fields. */
struct host_config {
    char qemu[PATH_MAX];
    char kernel[PATH_MAX];
    char initrd[PATH_MAX];
    char images[PATH_MAX]; /* directory of <name>.img */
    char nft[PATH_MAX];
    char pasta[PATH_MAX];
    char bridge[16];      /* the uplink is this bridge; empty: pasta */
    struct net_pool pool; /* addresses on the bridge */
    uint32_t refresh_min_sec;
    uint32_t flows_max; /* of a run's UDP */
    char resolver[64];  /* address of a name server; empty: those of /etc/resolv.conf */
    bool jail;          /* the VMM runs in one */
    struct host_uid_range {
        uint32_t first, last;
    } uids; /* of jails of root's runs */
    enum sr_accel_choice accel;
    uint32_t boot_timeout_sec;
    uint32_t collect_timeout_sec;    /* for all outputs of a run together */
    struct sr_archive_place archive; /* root is empty when it is not given */
    uint64_t logs_max;               /* bytes kept of each of stdout, stderr, console and VMM log */
    bool sign;                       /* every run's report, not only where the policy requires it */
    char sign_key[PATH_MAX];         /* private key; empty: none */
    char env_key[PATH_MAX];          /* of the HMACs of secrets; empty: the usual place */
    char inputs[PATH_MAX]; /* directory of packed inputs; empty: "inputs" in host_cache_open()'s */
    uint64_t inputs_max;   /* bytes of them that are kept for the next run; 0: none are */
    char copies
        [PATH_MAX];      /* directory of copied artefacts; empty: "copies" in host_cache_open()'s */
    uint64_t copies_max; /* bytes of them that are kept for the next run */
    struct sr_ceilings ceilings;
};

/* Fills config. Errors: SR-RUN-001 at prepare.config[.field]. */
int host_config_load(struct host_config *config, struct sr_error *err) SR_MUST_CHECK;

/* ceilings.c: what the machine can spare. */
void host_ceilings_default(struct sr_ceilings *ceilings);
/* Reads the ceiling of that name ("memory"). 1: done; 0: there is none of that name; -1: the text
 * is none of its values, and why says which are. */
#define HOST_CEILING_WHY 96
int host_ceilings_read(struct sr_ceilings *ceilings, const char *name, const char *text,
                       char why[HOST_CEILING_WHY]) SR_MUST_CHECK;

/*
 * An artefact: kernel, initrd or root image, by the descriptor that the VMM gets. Nobody but root,
 * or who runs safe-run, can change what is behind it, so what was hashed is what runs.
 */
struct host_artifact {
    int fd;
    char hash[SR_SHA256_TEXT];
    char path[PATH_MAX]; /* of what is behind fd; empty: it has no name */
    dev_t device;        /* of what was found at the path that was asked for, */
    ino_t inode;         /* which is another file than fd's when that is a copy */
};

/* What somebody else remembers of an artefact: its hash when its identity (fs.h) was this. */
struct host_known_hash {
    const char *identity, *hash;
};

/* What to do about one that comes with safe-run and is not there. */
#define HOST_ARTIFACT_ADVICE "'make setup build' makes it, and the host configuration names another"

struct host_artifact_plan {
    const char *path, *what; /* "kernel", "initrd", "image" */
    const char *advice;      /* for whoever finds that it cannot be opened */
    const struct host_known_hash
        *known;   /* of an image in a store, which nobody writes to; or NULL */
    bool by_path; /* the VMM's jail needs it by its path */
};

struct host_artifact_context {
    const struct host_config *config;
    struct sr_hasher *hasher;
    int scratch_fd; /* directory for a copy that cannot be kept */
    bool rehash;    /* trust no note: copy and hash again */
    bool (*progress)(void *context, const char *what, uint64_t done,
                     uint64_t total); /* false: give up; or NULL */
    void *context;
};

/*
 * Opens an artefact and learns its hash. One that only root can write is taken as it is, and an
 * image of a store if it is read-only and the caller's; any other is copied (copy.h), and the copy
 * is what is opened. The hash is known, or remembered from an earlier run when device, inode, size,
 * mtime and ctime are unchanged, or computed. artifact->fd must be -1. Errors: SR-RUN-002 at
 * launch.preflight.<what>.
 */
int host_artifact_open(struct host_artifact *artifact, const struct host_artifact_plan *plan,
                       const struct host_artifact_context *context,
                       struct sr_error *err) SR_MUST_CHECK;

/* Opens the directory of remembered facts (hashes, what KVM is worth here), creating it;
 * $SAFE_RUN_CACHE_DIR, else /var/cache/safe-run for root, else $XDG_CACHE_HOME/safe-run. A
 * descriptor to close, or -1: then nothing is remembered. */
int host_cache_open(void);

/* A file or directory of this name in the directory where safe-run keeps what lasts:
 * /var/lib/safe-run for root, else $XDG_STATE_HOME/safe-run. False: there is no place for it. */
bool host_state_path(const char *name, char path[PATH_MAX]);

/* env_key.c: the key of the HMACs that evidence has of secrets, which stays on this host. */
#define HOST_ENV_KEY_SIZE 32
/* Where it is: as configured, or the usual place for this user. False: there is no place for
 * one. */
bool host_env_key_path(const struct host_config *config, char path[PATH_MAX]);
/* Reads it, made if there is none yet. It belongs to the caller or to root and nobody else may read
 * it. The caller wipes key. Errors: SR-EVD-003 at env.key. */
int host_env_key(const struct host_config *config, unsigned char key[HOST_ENV_KEY_SIZE],
                 struct sr_error *err) SR_MUST_CHECK;

/* Where the archive is: as configured, or the default for this user. False: there is no place for
 * one. */
bool host_archive_root(const struct host_config *config, char root[PATH_MAX]);

/* How long the CPUs of this host have had nothing to do since it came up, and at what time that
 * was. */
struct host_cpu_times {
    bool known;
    uint64_t idle_usec,
        disk_usec; /* of all CPUs together: idle, and idle while somebody waits for a disk */
    uint64_t nsec; /* monotonic */
};
struct host_cpu_times host_cpu_times(void);
/* Whether a process that used so much CPU time between the two could have had more: a CPU was free
 * for it, and it was not the disk that it waited for. False when that is not known. */
bool host_cpu_was_free(const struct host_cpu_times *from, const struct host_cpu_times *to,
                       uint64_t used_usec);

/* What is known of KVM on this boot of the host with this QEMU. */
enum host_kvm_state { HOST_KVM_ABSENT, HOST_KVM_UNKNOWN, HOST_KVM_WORKS, HOST_KVM_BROKEN };
enum host_kvm_state host_kvm_state(const char *qemu);
/* Remembers that a guest did (WORKS) or did not (BROKEN) come up under KVM. */
void host_kvm_remember(const char *qemu, enum host_kvm_state state);

/* A reading of the TSC beside the monotonic clock. */
struct host_tsc_sample {
    uint64_t ticks, nsec;
};
struct host_tsc_sample host_tsc_sample(void);
/* Frequency in kHz from the time since start (at least 2 ms: waits for the rest); 0 when this CPU's
 * TSC does not tick evenly, so that a guest must calibrate for itself. */
uint32_t host_tsc_khz(const struct host_tsc_sample *start);

#endif
