/* What is made of a valid policy: its plans, its explanation, and how it differs from another,
 * whose document follows behind a line "%%%". */
#include "saferun/explain.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(void *context, const char *topic, const char *sentence)
{
    *(size_t *)context += strlen(topic);
    for (; *sentence != '\0'; sentence++)
        if ((unsigned char)*sentence < ' ')
            abort(); /* nothing of a policy controls a terminal */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *mark = memmem(text, size, "\n%%%\n", 5);
    size_t first = mark != NULL ? (size_t)(mark - text) : size, said = 0, changes;
    struct sr_check a = {0}, b = {0};
    struct sr_bundle old = {0}, new = {0};
    struct sr_error err;
    struct sr_destination to;
    struct sr_verdict verdict;
    if (sr_policy_check(text, first, NULL, &a, &err) == 0 && a.policy != NULL) {
        if (sr_compile(a.policy, &old, &err) < 0 ||
            sr_policy_explain(a.policy, NULL, take, &said, &err) < 0 ||
            sr_destination_parse("tcp:198.51.100.7:443", &to, &err) < 0)
            abort();
        sr_policy_why(a.policy, &to, &verdict);
        if (sr_bundle_diff(&old, &old, take, &said, &changes, &err) < 0 || changes != 0)
            abort();
        if (mark != NULL && sr_policy_check(mark + 5, size - first - 5, NULL, &b, &err) == 0 &&
            b.policy != NULL &&
            (sr_compile(b.policy, &new, &err) < 0 ||
             sr_bundle_diff(&old, &new, take, &said, &changes, &err) < 0))
            abort();
    }
    sr_bundle_free(&old);
    sr_bundle_free(&new);
    sr_check_free(&a);
    sr_check_free(&b);
    return 0;
}
