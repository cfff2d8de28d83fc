/*
 * Images: read-only file systems that guests boot from, in a store that names them by the hash of
 * their bytes.
 *
 *   <store>/blobs/<hex>.img     the image, never changed (0444)
 *   <store>/names/<name>.json   what a name stands for: digest, counts, configuration, where it
 *                               came from
 *
 * The store is $SAFE_RUN_IMAGE_STORE, else /var/lib/safe-run/images for root, else
 * $XDG_DATA_HOME/safe-run/images (~/.local/share/...). An image appears in it whole or not at all.
 * Any number of processes may use it at once.
 *
 * Errors have codes SR-OPS-101 to 110; docs/OPERATIONS.md lists them.
 */
#ifndef SAFERUN_IMAGE_H
#define SAFERUN_IMAGE_H

#include "saferun/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SR_IMAGE_NAME_MAX 128
/* "sha256:", 64 digits, NUL */
#define SR_IMAGE_DIGEST_TEXT 72
/* What an image may unpack to, if nobody says otherwise. */
#define SR_IMAGE_BYTES_MAX (UINT64_C(16) << 30)
#define SR_IMAGE_ENTRIES_MAX 1000000u

/* What the image's maker wanted; a policy decides. Texts live as long as the image they belong
 * to. */
struct sr_image_config {
    const char **env; /* "KEY=VALUE", in the maker's order */
    size_t env_count;
    const char *workdir; /* absolute, or NULL */
    bool has_user;
    const char *user; /* as the maker wrote it */
    uint32_t uid, gid;
    const char **entrypoint, **cmd;
    size_t entrypoint_count, cmd_count;
};

struct sr_image {
    char name[SR_IMAGE_NAME_MAX + 1];
    char digest[SR_IMAGE_DIGEST_TEXT];
    char path[PATH_MAX]; /* of the image file */
    char identity[160];  /* of that file when it was stored: while it is this, the digest needs no
                            reading */
    char built[40];      /* RFC 3339 */
    char source_kind[16], source_digest[SR_IMAGE_DIGEST_TEXT]; /* digest may be empty */
    uint64_t image_bytes, bytes;
    uint32_t files, directories, symlinks, others;
    struct sr_image_config config;
    void *owner; /* private */
};

void sr_image_free(struct sr_image *image);
#define sr_cleanup_image __attribute__((cleanup(sr_image_free)))

/* True for what can name an image of the store: letters, digits, and . _ - : after the first. */
bool sr_image_name_ok(const char *name);

/*
 * Splits "NAME@sha256:<64 hex>" into the name (or path) and the digest it is pinned to; without '@'
 * behind the last '/' the digest is empty. False when what follows '@' is no digest.
 */
bool sr_image_split(const char *text, char name[PATH_MAX], char digest[SR_IMAGE_DIGEST_TEXT]);

struct sr_image_build {
    const char *name;
    const char *from; /* "oci-archive:F", "docker-archive:F", "oci:DIR", each with ":NAME" behind it
                         if there are several; "dir:D", "tar:F" */
    uint64_t bytes_max;   /* 0: SR_IMAGE_BYTES_MAX */
    uint32_t entries_max; /* 0: SR_IMAGE_ENTRIES_MAX */
    /* Bytes unpacked so far; also called every 100 ms. False ends it. */
    bool (*progress)(void *context, uint64_t bytes);
    void (*warn)(void *context, const char *text);
    void *context;
};

/* Builds an image and gives it the name, in place of what had it. 0 with *image, or -1 with err and
 * the store as it was. */
int sr_image_build(const struct sr_image_build *build, struct sr_image *image, struct sr_error *err)
    __attribute__((warn_unused_result));

/* Finds a name in the user's store, then in the system's. SR-OPS-109 when it is in neither. */
int sr_image_find(const char *name, struct sr_image *image, struct sr_error *err)
    __attribute__((warn_unused_result));

/* All names of the user's store, sorted; free each and the list. */
int sr_image_list(struct sr_image **images, size_t *count, struct sr_error *err)
    __attribute__((warn_unused_result));

/* The images that come with safe-run (images of the host configuration), sorted; free each and the
 * list. Their digest is computed, they have no configuration, source_kind is "built-in", and of the
 * sizes only image_bytes is known. Names of a store go before theirs. */
int sr_image_list_built_in(struct sr_image **images, size_t *count, struct sr_error *err)
    __attribute__((warn_unused_result));

/* Takes a name away, and the image when no other name stands for it. */
int sr_image_remove(const char *name, struct sr_error *err) __attribute__((warn_unused_result));

/* Removes images without a name, and what builds that were killed have left. */
struct sr_image_pruned {
    unsigned count;
    uint64_t bytes;
};
int sr_image_prune(bool dry_run, struct sr_image_pruned *pruned, struct sr_error *err)
    __attribute__((warn_unused_result));

/* Reads the whole image and compares; SR-OPS-110 when it is not what its digest says. */
int sr_image_verify(const struct sr_image *image, struct sr_error *err)
    __attribute__((warn_unused_result));

#endif
