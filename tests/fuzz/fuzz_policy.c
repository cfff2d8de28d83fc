/* A policy: document, validation and, when it is valid, the plans; validating its normal form
 * changes nothing. */
#include "saferun/bundle.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sr_check check = {0}, again = {0};
    struct sr_error err;
    if (sr_policy_check((const char *)data, size, NULL, &check, &err) < 0)
        return 0;
    if ((check.policy == NULL) == (check.error_count == 0))
        abort(); /* a policy or an error, never both or neither */
    if (check.policy != NULL) {
        struct sr_bundle bundle = {0};
        if (sr_compile(check.policy, &bundle, &err) < 0)
            abort(); /* what validates compiles */
        sr_bundle_free(&bundle);
        if (sr_policy_check(check.policy->json, check.policy->json_len, NULL, &again, &err) == 0 &&
            (again.policy == NULL || strcmp(again.policy->json, check.policy->json) != 0))
            abort();
        sr_check_free(&again);
    }
    sr_check_free(&check);
    return 0;
}
