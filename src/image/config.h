/*
 * The part of an image's configuration that a policy may leave open: environment, working
 * directory, user, entry point and command. The store keeps it as JSON:
 *
 *   {"cmd":["..."],"entrypoint":["..."],"env":["K=V"],
 *    "user":{"gid":1,"name":"...","uid":1}|null,"workdir":"/..."|null}
 */
#ifndef SR_IMAGE_CONFIG_H
#define SR_IMAGE_CONFIG_H

#include "common/cleanup.h"
#include "saferun/error.h"
#include "saferun/image.h"

#include <jansson.h>

/* Size of that JSON: it fits into the specification of a run beside the policy's own values. */
#define IMAGE_CONFIG_MAX 65536

/*
 * Makes it from a whole OCI configuration (NULL: none). Looks the user's names up in passwd and
 * group, the image's own files (NULL: it has none). Leaves out what cannot be used, and warns.
 * Returns a new reference, or NULL with err (SR-OPS-107 at "image.source").
 */
json_t *image_config_make(const json_t *oci, const char *passwd, const char *group,
                          void (*warn)(void *context, const char *text), void *context,
                          struct sr_error *err) SR_MUST_CHECK;

/* Reads that JSON into config, whose texts belong to json and whose lists are allocated. Returns 0,
 * or -1 when json is not of that form. */
int image_config_take(const json_t *json, struct sr_image_config *config) SR_MUST_CHECK;
void image_config_free(struct sr_image_config *config);

#endif
