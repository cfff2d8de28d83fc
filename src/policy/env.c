/*
 * The command's environment: values that the policy has, and such as come from the caller's
 * environment or from a file. Of the latter only the source is looked at here. Whether the caller
 * grants a variable ceilings.c says, because a document is good or bad without that; which files a
 * policy may name the mount allowlist says (mounts.c).
 */
#include "policy/check.h"

#include <string.h>
#include <sys/stat.h>

/* The caller's words; one that is none may be NAME=VALUE, so it is not repeated. */
void policy_check_allowed_env(struct policy_checker *checker)
{
    const struct sr_policy_sources *sources = checker->sources;
    const char **names =
        policy_arena_alloc(&checker->arena, sources->allow_env_count * sizeof *names);
    checker->out_of_memory = checker->out_of_memory || names == NULL;
    size_t count = 0;
    for (size_t i = 0; names != NULL && i < sources->allow_env_count; i++) {
        const struct policy_path list = {NULL, "allowEnv", 0}, path = {&list, NULL, i};
        if (sr_secret_name_ok(sources->allow_env[i]))
            names[count++] = sources->allow_env[i];
        else
            policy_check_error(
                checker, SR_POL_101, &path, NULL,
                "is not the name of a variable: letters, digits and _, at most %d; its "
                "value is taken from the environment",
                SR_SECRET_NAME_MAX);
    }
    checker->policy.allowed_env = names;
    checker->policy.allowed_env_count = count;
}

static void check_file(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path,
                       const struct policy_mount_allowlist *allowlist, struct sr_secret *secret)
{
    struct sr_mount found;
    struct stat st;
    secret->path = node->text;
    policy_check_host_file(checker, node, path, node->text, allowlist, &found);
    secret->fd = found.fd;
    secret->changed_nsec = found.changed_nsec;
    if (found.fd >= 0 && (fstat(found.fd, &st) < 0 || !S_ISREG(st.st_mode)))
        policy_check_error(checker, SR_POL_101, path, node, "is not a regular file");
    else if (found.fd >= 0 && st.st_size > SR_SECRET_VALUE_MAX + 1)
        policy_check_error(checker, SR_POL_101, path, node,
                           "is larger than the %d bytes of a value", SR_SECRET_VALUE_MAX);
}

static void check_secret(struct policy_checker *checker, const struct policy_node *key,
                         const struct policy_node *node, const struct policy_path *path,
                         const struct policy_mount_allowlist *allowlist, struct sr_secret *secret)
{
    static const char *const known[] = {"from", "path", NULL}, *const sources[] = {"env", "file",
                                                                                   NULL};
    const struct policy_path at = {path, key->text, 0}, from = {&at, "from", 0},
                             file = {&at, "path", 0};
    if (strlen(key->text) != key->len || !sr_secret_name_ok(key->text))
        policy_check_error(checker, SR_POL_002, &at, key,
                           "the name of a value from outside is letters, digits and _, at most %d, "
                           "and begins with no digit",
                           SR_SECRET_NAME_MAX);
    if (!policy_field_map(checker, node, &at, known, true, key))
        return;
    int choice = policy_field_choice(checker, policy_node_get(node, "from"), &from, sources,
                                     SR_POL_002, true, node);
    const struct policy_node *value = policy_node_get(node, "path");
    if (choice == 0 && value != NULL)
        policy_check_error(checker, SR_POL_003, &file, value,
                           "belongs to from: file; from: env takes the variable of the same name");
    if (choice != 1)
        return;
    secret->from = SR_SECRET_FILE;
    if (policy_field_text(checker, value, &file, true, node) != NULL)
        check_file(checker, value, &file, allowlist, secret);
}

static int compare_secrets(const void *a, const void *b)
{
    return strcmp(((const struct sr_secret *)a)->name, ((const struct sr_secret *)b)->name);
}

void policy_check_env(struct policy_checker *checker, const struct policy_node *node,
                      const struct policy_path *path,
                      const struct policy_mount_allowlist *allowlist)
{
    struct sr_policy *policy = &checker->policy;
    if (!policy_field_map(checker, node, path, NULL, false, NULL))
        return;
    size_t outside = 0;
    for (size_t i = 0; i < node->count; i++)
        outside += node->items[2 * i + 1]->kind == POLICY_NODE_MAP;
    if (outside > SR_SECRETS_MAX) {
        policy_check_error(checker, SR_POL_002, path, node,
                           "has %zu values from outside; at most %d are allowed", outside,
                           SR_SECRETS_MAX);
        return;
    }
    struct sr_pair *pairs =
        policy_arena_alloc(&checker->arena, (node->count - outside) * sizeof *pairs);
    struct sr_secret *secrets = policy_arena_alloc(&checker->arena, outside * sizeof *secrets);
    if (pairs == NULL || secrets == NULL) {
        checker->out_of_memory = true;
        return;
    }
    policy->env = pairs;
    policy->secrets = secrets;
    for (size_t i = 0; i < node->count; i++) {
        const struct policy_node *key = node->items[2 * i], *value = node->items[2 * i + 1];
        if (value->kind != POLICY_NODE_MAP) {
            policy->env_count +=
                policy_field_pair(checker, key, value, path, "=", &pairs[policy->env_count]);
            continue;
        }
        /* What is open so far is owned by the check. */
        struct sr_secret *secret = &secrets[policy->secret_count++];
        *secret = (struct sr_secret){.name = key->text, .fd = -1};
        check_secret(checker, key, value, path, allowlist, secret);
    }
    policy_pairs_sort(pairs, policy->env_count);
    qsort(secrets, policy->secret_count, sizeof *secrets, compare_secrets);
}
