/* The store's directory: see saferun/image.h for what is in it. */
#ifndef SR_IMAGE_STORE_H
#define SR_IMAGE_STORE_H

#include "common/cleanup.h"
#include "common/sha256.h"
#include "saferun/image.h"

#include <jansson.h>

#define IMAGE_STORE_PATH "image.store"
#define IMAGE_SCHEMA "safe-run.image/v1"

enum image_store_which { IMAGE_STORE_OWN, IMAGE_STORE_SYSTEM };

struct image_store {
    char path[PATH_MAX];
    int names, blobs; /* directories */
    int lock;         /* for changes; taken by image_store_lock() */
};

/* Opens a store; with create, makes the user's own. Returns 0, and the caller closes it; 1 when
 * there is none, when the system's was asked for and is the user's own, or, with err, when the
 * caller may not read it; -1 with err. */
int image_store_open(enum image_store_which which, bool create, struct image_store *store,
                     struct sr_error *err) SR_MUST_CHECK;
void image_store_close(struct image_store *store);

/* Waits for others who change the store, and keeps them out until it is closed. */
int image_store_lock(struct image_store *store, struct sr_error *err) SR_MUST_CHECK;

/* Opens a file without a name for an image that is being made. Returns it, or -1 with err. */
int image_store_temporary(const struct image_store *store, struct sr_error *err) SR_MUST_CHECK;

/* Puts an image file with this digest in its place and makes name stand for it. facts is the
 * description: digest and what the image's maker knows. The function adds name, time and identity;
 * facts stays the caller's. All is durable when it returns. */
int image_store_add(struct image_store *store, int image, const char *name, const char *digest,
                    json_t *facts, struct sr_hasher *hasher, struct sr_error *err) SR_MUST_CHECK;

/* Reads what a name stands for. Returns 0; 1 when it is nothing; -1 with err. */
int image_store_read(const struct image_store *store, const char *name, struct sr_image *image,
                     struct sr_error *err) SR_MUST_CHECK;

/* Remove a name; and, under the lock, images that no name stands for. */
int image_store_unname(struct image_store *store, const char *name,
                       struct sr_error *err) SR_MUST_CHECK;
int image_store_sweep(struct image_store *store, bool dry_run, struct sr_image_pruned *pruned,
                      struct sr_error *err) SR_MUST_CHECK;

/* Lists the names, sorted. image_store_free_names() frees them. */
int image_store_names(const struct image_store *store, char ***names, size_t *count,
                      struct sr_error *err) SR_MUST_CHECK;
void image_store_free_names(char **names, size_t count);

#endif
