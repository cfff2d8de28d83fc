/*
 * Descriptions of images in archives: OCI image layout (image-spec 1.0: index.json, manifests,
 * configuration), and what `docker save` writes (manifest.json). All of it is foreign JSON. Errors:
 * SR-OPS-107 at "image.source"; digests SR-OPS-102.
 */
#ifndef SR_IMAGE_OCI_H
#define SR_IMAGE_OCI_H

#include "image/layer.h"

#include <jansson.h>

/* docker builds at most 127. */
#define IMAGE_LAYERS_MAX 512
/* An index, a manifest, a configuration: kilobytes. */
#define IMAGE_DESCRIPTION_MAX ((size_t)4 << 20)

struct image_oci {
    struct image_layer_description *layers; /* lowest first */
    size_t layer_count;
    json_t *config;              /* the image's configuration, whole */
    char digest[SR_SHA256_TEXT]; /* of the manifest (OCI) or of the configuration (docker) */
};

/* Read the descriptions. tag names one of several images, or is empty. oci must be zeroed; the
 * caller frees it, also after a failure. */
int image_oci_read(const struct image_source *source, const char *tag, struct image_oci *oci,
                   struct sr_error *err) SR_MUST_CHECK;
int image_oci_read_docker(const struct image_source *source, const char *tag, struct image_oci *oci,
                          struct sr_error *err) SR_MUST_CHECK;
void image_oci_free(struct image_oci *oci);

#endif
