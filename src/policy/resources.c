/* resources: CPU time, memory, processes and scratch space. Each is a map with one field, max; a
 * plain value stands for that map. */
#include "policy/check.h"

#include <stdio.h>
#include <string.h>

/* Ranges, with their reasons. */
enum {
    PIDS_MAX = 4194304,   /* Linux's own limit, PID_MAX_LIMIT */
    PERIOD_MIN = 1000,    /* cgroup v2 takes 1 ms to 1 s */
    PERIOD_MAX = 1000000, /* likewise */
    QUOTA_MIN = 1000,     /* likewise */
    VCPU_MAX = 8,         /* CONFIG_NR_CPUS of the guest kernel */
    MEMORY_MIN_MIB = 64,  /* kernel, init and page cache of a small program */
    BOOT_SHARE = 10,      /* a tenth of a CPU boots in some five seconds; less never ends */
    CPU_PERIOD = 100000,  /* of a number of CPUs: cgroup v2's default */
};
#define MIB (UINT64_C(1) << 20)
#define MEMORY_MAX (UINT64_C(1) << 40) /* 1 TiB */

/* The value of a resource's max, and its path in max; NULL when there is none (reported when
 * required). */
static const struct policy_node *find_max(struct policy_checker *checker,
                                          const struct policy_node *resources,
                                          const struct policy_path *resource,
                                          struct policy_path *max, bool required)
{
    static const char *const known[] = {"max", NULL};
    const struct policy_node *node = policy_node_get(resources, resource->name);
    *max = (struct policy_path){resource, "max", 0};
    if (node != NULL && node->kind == POLICY_NODE_SCALAR && !policy_node_is_null(node))
        return node;
    if (!policy_field_map(checker, node, resource, known, required, resources))
        return NULL;
    const struct policy_node *value = policy_node_get(node, "max");
    if (value == NULL)
        policy_check_error(checker, SR_POL_001, max, node, "this field is required");
    return value;
}

/* cgroup v2's cpu.max: "<quota|max> <period>", microseconds, one space. */
static bool parse_quota(const char *text, uint64_t *quota, uint64_t *period)
{
    size_t first = strcspn(text, " ");
    const char *second = text + first + (text[first] == ' ');
    size_t digits = strspn(second, "0123456789");
    bool is_max = first == 3 && strncmp(text, "max", 3) == 0;
    if ((!is_max && strspn(text, "0123456789") != first) || first == 0 || first > 12 ||
        digits == 0 || digits > 9 || second[digits] != '\0' || text[0] == '0' || second[0] == '0' ||
        second == text + first)
        return false;
    *quota = is_max ? 0 : strtoull(text, NULL, 10);
    *period = strtoull(second, NULL, 10);
    return (is_max || *quota >= QUOTA_MIN) && *period >= PERIOD_MIN && *period <= PERIOD_MAX;
}

/* A number of CPUs, "2" or "1.5", with at most the five decimals that microseconds of the period
 * have. */
static bool parse_cpus(const char *text, uint64_t *quota)
{
    size_t whole = strspn(text, "0123456789");
    const char *decimals = text + whole + (text[whole] == '.');
    size_t count = strspn(decimals, "0123456789");
    if (whole == 0 || whole > 4 || (whole > 1 && text[0] == '0') || count > 5 ||
        decimals[count] != '\0' || (text[whole] == '.' && count == 0))
        return false;
    *quota = strtoull(text, NULL, 10) * CPU_PERIOD;
    uint64_t unit = CPU_PERIOD / 10;
    for (size_t i = 0; i < count; i++, unit /= 10)
        *quota += (uint64_t)(decimals[i] - '0') * unit;
    return *quota >= QUOTA_MIN;
}

static void check_cpu(struct policy_checker *checker, const struct policy_node *resources,
                      const struct policy_path *parent)
{
    const struct policy_path path = {parent, "cpu", 0};
    struct policy_path max;
    struct sr_policy *policy = &checker->policy;
    const struct policy_node *value = find_max(checker, resources, &path, &max, true);
    if (value == NULL)
        return;
    bool number = value->kind == POLICY_NODE_SCALAR && value->form == POLICY_SCALAR_NUMBER;
    const char *text =
        number ? value->text : policy_field_text(checker, value, &max, true, resources);
    if (text == NULL)
        return;
    if (parse_cpus(text, &policy->cpu_quota_usec)) {
        char canonical[40];
        int len = snprintf(canonical, sizeof canonical, "%ju %d", (uintmax_t)policy->cpu_quota_usec,
                           CPU_PERIOD);
        policy->cpu_period_usec = CPU_PERIOD;
        text = policy_arena_text(&checker->arena, canonical, (size_t)len);
        checker->out_of_memory = checker->out_of_memory || text == NULL;
    } else if (!parse_quota(text, &policy->cpu_quota_usec, &policy->cpu_period_usec)) {
        policy_check_error(checker, SR_POL_002, &max, value,
                           "must be a number of CPUs like 1.5, or \"<quota|max> <period>\" in "
                           "microseconds, quota from 1000, period 1000 to 1000000");
        policy_check_hint(checker, "one CPU is 1 or \"100000 100000\"");
        return;
    }
    policy->cpu_max = text;
    if (policy->cpu_quota_usec == 0)
        policy_check_warn(checker, SR_POL_003, &max, value,
                          "max sets no limit but the VM's one CPU");
    else if (policy->cpu_quota_usec < policy->cpu_period_usec / BOOT_SHARE)
        policy_check_error(checker, SR_POL_003, &max, value,
                           "is less than a tenth of a CPU, with which a guest does not boot");
    else if (policy->cpu_quota_usec > VCPU_MAX * policy->cpu_period_usec)
        policy_check_error(checker, SR_POL_003, &max, value,
                           "is more than the %d CPUs a guest can have", VCPU_MAX);
}

static void check_memory(struct policy_checker *checker, const struct policy_node *resources,
                         const struct policy_path *parent)
{
    const struct policy_path path = {parent, "memory", 0};
    struct policy_path max;
    struct sr_policy *policy = &checker->policy;
    const struct policy_node *value = find_max(checker, resources, &path, &max, true);
    if (value == NULL)
        return;
    policy->memory_max =
        policy_field_size(checker, value, &max, true, false, resources, &policy->memory_bytes);
    if (policy->memory_max == NULL)
        return;
    if (policy->memory_bytes < MEMORY_MIN_MIB * MIB)
        policy_check_error(checker, SR_POL_003, &max, value,
                           "is less than the %d MiB a guest needs", MEMORY_MIN_MIB);
    else if (policy->memory_bytes > MEMORY_MAX)
        policy_check_error(checker, SR_POL_003, &max, value,
                           "is more than the 1024 GiB a guest can have");
}

void policy_check_resources(struct policy_checker *checker, const struct policy_node *node,
                            const struct policy_path *root, const struct policy_node *document)
{
    static const char *const known[] = {"cpu", "memory", "pids", "disk", NULL};
    const struct policy_path path = {root, "resources", 0}, pids = {&path, "pids", 0},
                             disk = {&path, "disk", 0};
    struct sr_policy *policy = &checker->policy;
    if (!policy_field_map(checker, node, &path, known, true, document))
        return;
    check_cpu(checker, node, &path);
    check_memory(checker, node, &path);
    struct policy_path max;
    const struct policy_node *value = find_max(checker, node, &pids, &max, false);
    uint64_t count;
    if (value != NULL &&
        policy_field_integer(checker, value, &max, SR_POL_002, 1, PIDS_MAX, &count))
        policy->pids_max = (uint32_t)count;
    value = find_max(checker, node, &disk, &max, false);
    if (value != NULL)
        policy->disk_max =
            policy_field_size(checker, value, &max, true, true, node, &policy->disk_bytes);
}
