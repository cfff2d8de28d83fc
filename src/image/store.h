/* The store's directory: see saferun/image.h for what is in it. */
#ifndef SR_IMAGE_STORE_H
#define SR_IMAGE_STORE_H

#include "common/cleanup.h"
#include "common/sha256.h"
#include "saferun/image.h"

#include <jansson.h>

#define SR_STORE_PATH "image.store"
#define SR_IMAGE_SCHEMA "safe-run.image/v1"

enum sr_store_which { SR_STORE_OWN, SR_STORE_SYSTEM };

struct sr_store {
    char path[PATH_MAX];
    int names, blobs; /* directories */
    int lock;         /* of what is changed; taken by sr_store_lock() */
};

/* Opens it; own with create makes it. 0; 1: there is none (or the user's own is the system's, asked
 * for that), or none that the caller may look into, which err says then; -1: err. To be closed when
 * 0 was returned. */
int sr_store_open(enum sr_store_which which, bool create, struct sr_store *store,
                  struct sr_error *err) SR_MUST_CHECK;
void sr_store_close(struct sr_store *store);

/* Waits for everybody else who changes it; until the store is closed. */
int sr_store_lock(struct sr_store *store, struct sr_error *err) SR_MUST_CHECK;

/* A file without a name for an image that is being made; -1 with err. */
int sr_store_temporary(const struct sr_store *store, struct sr_error *err) SR_MUST_CHECK;

/* Gives an image file of that digest its place, and the name its description (facts: digest and
 * what the image's maker knows; it is completed with name, time and identity; it stays the
 * caller's). Durable when it returns. */
int sr_store_add(struct sr_store *store, int image, const char *name, const char *digest,
                 json_t *facts, struct sr_hasher *hasher, struct sr_error *err) SR_MUST_CHECK;

/* Reads what a name stands for. 0; 1: nothing; -1: err. */
int sr_store_read(const struct sr_store *store, const char *name, struct sr_image *image,
                  struct sr_error *err) SR_MUST_CHECK;

/* Removes a name; then, with the lock held, what no name stands for any more. */
int sr_store_unname(struct sr_store *store, const char *name, struct sr_error *err) SR_MUST_CHECK;
int sr_store_sweep(struct sr_store *store, bool dry_run, struct sr_image_pruned *pruned,
                   struct sr_error *err) SR_MUST_CHECK;

/* The names, sorted, to be freed each and with the list. */
int sr_store_names(const struct sr_store *store, char ***names, size_t *count,
                   struct sr_error *err) SR_MUST_CHECK;
void sr_store_free_names(char **names, size_t count);

#endif
