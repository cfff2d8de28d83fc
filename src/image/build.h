/* Making an image of an archive, in a confined worker. */
#ifndef SR_IMAGE_BUILD_H
#define SR_IMAGE_BUILD_H

#include "image/sqfs_writer.h"
#include "saferun/image.h"

#include <jansson.h>

enum image_build_kind {
    IMAGE_BUILD_OCI_ARCHIVE,
    IMAGE_BUILD_OCI,
    IMAGE_BUILD_DOCKER_ARCHIVE,
    IMAGE_BUILD_TAR
};

/* What was built. */
struct image_built {
    struct image_counts counts;
    uint32_t devices; /* left out */
    char source_digest
        [SR_IMAGE_DIGEST_TEXT]; /* of the manifest, the configuration, or the archive */
};

/* Reads source (a file, or for IMAGE_BUILD_OCI a directory) and writes image. *config is a new
 * reference to the configuration in the store's form. */
int image_build_archive(const struct sr_image_build *build, enum image_build_kind kind, int source,
                        const char *tag, int image, struct image_built *built, json_t **config,
                        struct sr_error *err) SR_MUST_CHECK;

/* Does the work in the caller's process, for tests with archives of their own. Drops warnings. */
int image_build_unconfined(const struct sr_image_build *build, enum image_build_kind kind,
                           int source, const char *tag, int image, struct image_built *built,
                           json_t **config, struct sr_error *err) SR_MUST_CHECK;

#endif
