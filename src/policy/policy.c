#include "policy/check.h"

#include "policy/document.h"

#include <string.h>

bool sr_error_is_allowlists(const struct sr_error *finding)
{
    static const char prefix[] = "mountAllowlist.";
    return finding->code == SR_POL_101 && strncmp(finding->path, prefix, strlen(prefix)) == 0;
}

static int compare_places(const void *a, const void *b)
{
    const struct sr_error *x = *(const struct sr_error *const *)a,
                          *y = *(const struct sr_error *const *)b;
    bool x_elsewhere = sr_error_is_allowlists(x);
    if (x_elsewhere != sr_error_is_allowlists(y)) /* another document, read before */
        return x_elsewhere ? -1 : 1;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->column != y->column)
        return x->column < y->column ? -1 : 1;
    return x < y ? -1 : x > y; /* found first, reported first */
}

/* Document order. Sorting pointers and not the items keeps equal places in the order of finding. */
static bool sort_findings(struct policy_findings *findings)
{
    if (findings->count < 2)
        return true;
    sr_cleanup_free const struct sr_error **order = malloc(findings->count * sizeof *order);
    struct sr_error *sorted = malloc(findings->count * sizeof *sorted);
    if (order == NULL || sorted == NULL) {
        free(sorted);
        return false;
    }
    for (size_t i = 0; i < findings->count; i++)
        order[i] = &findings->items[i];
    qsort(order, findings->count, sizeof *order, compare_places);
    for (size_t i = 0; i < findings->count; i++)
        sorted[i] = *order[i];
    free(findings->items);
    findings->items = sorted;
    findings->cap = findings->count;
    return true;
}

static void add_error(struct policy_checker *checker, const struct sr_error *err)
{
    policy_check_error(checker, err->code, NULL,
                       &(const struct policy_node){.line = err->line, .column = err->column}, "%s",
                       err->message);
    if (err->hint[0] != '\0')
        policy_check_hint(checker, "%s", err->hint);
}

static void publish(struct policy_checker *checker, struct sr_check *check)
{
    *check = (struct sr_check){
        .errors = checker->errors.items,
        .error_count = checker->errors.count,
        .warnings = checker->warnings.items,
        .warning_count = checker->warnings.count,
        .policy = checker->errors.count == 0 ? &checker->policy : NULL,
        .owner = checker,
    };
}

static int finish(struct policy_checker *checker, struct sr_check *check, struct sr_error *err)
{
    if (checker->errors.count == 0 && !checker->out_of_memory)
        policy_check_normalize(checker);
    if (checker->out_of_memory || !sort_findings(&checker->errors) ||
        !sort_findings(&checker->warnings)) {
        check->owner = checker;
        sr_check_free(check);
        return sr_fail(err, SR_POL_001, "policy", "out of memory");
    }
    publish(checker, check);
    return 0;
}

int sr_policy_hold(struct sr_check *check, const struct sr_ceilings *ceilings, struct sr_error *err)
{
    struct policy_checker *checker = check->owner;
    policy_check_ceilings(checker, ceilings);
    if (checker->out_of_memory || !sort_findings(&checker->errors))
        return sr_fail(err, SR_POL_001, "policy", "out of memory");
    publish(checker, check);
    return 0;
}

int sr_policy_check(const char *text, size_t len, const struct sr_policy_sources *sources,
                    struct sr_check *check, struct sr_error *err)
{
    static const struct sr_policy_sources built_in = {0};
    struct policy_checker *checker = calloc(1, sizeof *checker);
    if (checker == NULL)
        return sr_fail(err, SR_POL_001, "policy", "out of memory");
    checker->policy.image_fd = checker->directory_fd = -1;
    checker->sources = sources != NULL ? sources : &built_in;
    struct sr_error parse = {0};
    struct policy_node *root;
    struct policy_mount_allowlist allowlist;
    policy_allowlist_load(checker, &allowlist);
    if (checker->sources->allow_env_count > 0)
        policy_check_allowed_env(checker);
    if (len > SR_POLICY_MAX_BYTES) {
        sr_fail(&parse, SR_POL_002, "policy", "the document is larger than 1 MiB");
        add_error(checker, &parse);
    } else if (policy_document_parse(&checker->arena, text, len, &root, &parse) < 0) {
        add_error(checker, &parse);
    } else {
        checker->root = root;
        policy_check_document(checker, root, &allowlist);
    }
    return finish(checker, check, err);
}

void sr_check_free(struct sr_check *check)
{
    struct policy_checker *checker = check->owner;
    if (checker != NULL) {
        for (size_t i = 0; i < checker->policy.mount_count; i++) {
            int fd = checker->policy.mounts[i].fd;
            sr_close_fd(&fd);
        }
        for (size_t i = 0; i < checker->policy.secret_count; i++) {
            int fd = checker->policy.secrets[i].fd;
            sr_close_fd(&fd);
        }
        sr_close_fd(&checker->policy.image_fd);
        sr_close_fd(&checker->directory_fd);
        free(checker->json);
        free(checker->errors.items);
        free(checker->warnings.items);
        policy_arena_free(&checker->arena);
        free(checker);
    }
    *check = (struct sr_check){0};
}
