/* What an image's own configuration means for a policy: only what the policy leaves open. */
#include "saferun/explain.h"

#include <string.h>

void sr_policy_effective(const struct sr_policy *policy, const struct sr_image_config *image,
                         struct sr_effective *effective)
{
    *effective = (struct sr_effective){
        .workdir = policy->workdir,
        .uid = policy->uid,
        .gid = policy->gid,
    };
    if (image == NULL)
        return;
    if (!policy->workdir_given && image->workdir != NULL) {
        effective->workdir = image->workdir;
        effective->workdir_of_image = true;
    }
    /* Root is never anybody's default. */
    if (!policy->user_given && image->has_user && image->uid != 0) {
        effective->uid = image->uid;
        effective->gid = image->gid;
        effective->user_of_image = true;
    }
}

bool sr_policy_lets_env(const struct sr_policy *policy, const char *pair)
{
    size_t len = strcspn(pair, "=");
    for (size_t i = 0; i < policy->env_count; i++)
        if (strlen(policy->env[i].key) == len && memcmp(policy->env[i].key, pair, len) == 0)
            return false;
    for (size_t i = 0; i < policy->secret_count; i++)
        if (strlen(policy->secrets[i].name) == len &&
            memcmp(policy->secrets[i].name, pair, len) == 0)
            return false;
    return true;
}
