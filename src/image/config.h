/*
 * What an image's configuration says of how it is run, as far as a policy may leave it open:
 * environment, working directory, user, entry point and command. Its JSON, as it is kept in the
 * store:
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

/* What fits into the specification of a run, with room for the policy's own. */
#define SR_IMAGE_CONFIG_MAX 65536

/*
 * Makes that of a whole OCI configuration (NULL: none). The user's names are looked up in passwd
 * and group, the image's own files (NULL: it has none). What cannot be used is left out and told. A
 * new reference, or NULL with err (SR-OPS-107 at "image.source").
 */
json_t *sr_image_config_make(const json_t *oci, const char *passwd, const char *group,
                             void (*warn)(void *context, const char *text), void *context,
                             struct sr_error *err) SR_MUST_CHECK;

/* Takes it apart, in place: config's texts are json's. 0, or -1 when it is not of that form. Lists
 * are allocated. */
int sr_image_config_take(const json_t *json, struct sr_image_config *config) SR_MUST_CHECK;
void sr_image_config_free(struct sr_image_config *config);

#endif
