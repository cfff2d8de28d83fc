/* What a policy asks for, held against what the host allows. */
#include "saferun/ceilings.h"
#include "policy/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

char *sr_size_text(uint64_t bytes, char text[SR_SIZE_TEXT])
{
    static const char *const units[] = {"Ki", "Mi", "Gi"};
    uint64_t count = bytes >> 10;
    int unit = 0;
    if (count == 0)
        snprintf(text, SR_SIZE_TEXT, "0");
    else {
        for (; unit < 2 && count % 1024 == 0; unit++)
            count /= 1024;
        snprintf(text, SR_SIZE_TEXT, "%" PRIu64 "%s", count, units[unit]);
    }
    return text;
}

char *sr_cpus_text(uint64_t milli_cpus, char text[SR_SIZE_TEXT])
{
    int len = snprintf(text, SR_SIZE_TEXT, "%" PRIu64 ".%03" PRIu64, milli_cpus / 1000,
                       milli_cpus % 1000);
    while (text[len - 1] == '0')
        text[--len] = '\0';
    if (text[len - 1] == '.')
        text[--len] = '\0';
    return text;
}

/* Whom to tell, of what. */
struct telling {
    sr_breach_fn *tell;
    void *context;
};

__attribute__((format(printf, 3, 4))) static void tell(const struct telling *telling,
                                                       const char *path, const char *fmt, ...)
{
    char message[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    telling->tell(telling->context, path, message);
}

static void hold_size(const struct telling *telling, const char *path, const char *limit,
                      uint64_t asked, uint64_t allowed)
{
    char text[SR_SIZE_TEXT];
    if (asked > allowed)
        tell(telling, path, "is more than the %s that this host allows (limits.%s)",
             sr_size_text(allowed, text), limit);
}

static void hold_count(const struct telling *telling, const char *path, const char *limit,
                       const char *what, uint64_t asked, uint64_t allowed)
{
    if (asked > allowed)
        tell(telling, path,
             "%" PRIu64 "%s is more than the %" PRIu64 " that this host allows "
             "(limits.%s)",
             asked, what, allowed, limit);
}

static void hold_cpus(const struct telling *telling, const struct sr_policy *policy,
                      uint64_t allowed)
{
    char text[SR_SIZE_TEXT];
    if (policy->cpu_max == NULL)
        return;
    /* "max" leaves the one CPU that the VM has. A quota has at most 12 digits, a period 7. */
    uint64_t quota = policy->cpu_quota_usec, period = policy->cpu_period_usec;
    if (quota == 0 ? allowed < 1000 : quota * 1000 > allowed * period)
        tell(telling, "resources.cpu.max",
             "is more than the %s CPUs that this host allows (limits.cpus)",
             sr_cpus_text(allowed, text));
}

/* The sum is over at one output, and only that one is told of. */
static void hold_outputs(const struct telling *telling, const struct sr_policy *policy,
                         uint64_t allowed)
{
    uint64_t sum = 0;
    bool over = false;
    for (size_t i = 0; i < policy->output_count; i++) {
        const uint64_t max = policy->outputs[i].max_bytes;
        char path[48], all[SR_SIZE_TEXT], most[SR_SIZE_TEXT];
        snprintf(path, sizeof path, "outputs[%zu].max", i);
        hold_size(telling, path, "outputs", max, allowed);
        sum += max; /* 64 of at most 2^53 */
        if (sum > allowed && max <= allowed && !over)
            tell(telling, path,
                 "makes the outputs %s in all, more than the %s that this host allows "
                 "(limits.outputs)",
                 sr_size_text(sum, all), sr_size_text(allowed, most));
        over = over || sum > allowed;
    }
}

static bool is_allowed_env(const struct sr_policy *policy, const char *allow, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < policy->allowed_env_count; i++)
        if (strcmp(policy->allowed_env[i], name) == 0)
            return true;
    for (const char *at = allow; *at != '\0'; at += strcspn(at, " ") + 1)
        if (strncmp(at, name, len) == 0 && at[len] == ' ')
            return true;
    return false;
}

static void hold_env(const struct telling *telling, const struct sr_policy *policy,
                     const char *allow)
{
    for (size_t i = 0; i < policy->secret_count; i++) {
        const struct sr_secret *secret = &policy->secrets[i];
        char path[sizeof "runtime.env." + SR_SECRET_NAME_MAX];
        if (secret->from != SR_SECRET_ENV || is_allowed_env(policy, allow, secret->name))
            continue;
        snprintf(path, sizeof path, "runtime.env.%s", secret->name);
        tell(telling, path,
             "no guest gets the caller's %s unless --allow-env %s grants it, or env.allow of the "
             "host configuration",
             secret->name, secret->name);
    }
}

void sr_ceilings_check(const struct sr_policy *policy, const struct sr_ceilings *ceilings,
                       sr_breach_fn *to, void *context)
{
    const struct telling telling = {to, context};
    hold_count(&telling, "runtime.timeoutSec", "time", " seconds", policy->timeout_sec,
               ceilings->time_sec);
    hold_cpus(&telling, policy, ceilings->milli_cpus);
    hold_size(&telling, "resources.memory.max", "memory", policy->memory_bytes,
              ceilings->memory_bytes);
    hold_size(&telling, "resources.disk.max", "disk", policy->disk_bytes, ceilings->disk_bytes);
    hold_count(&telling, "resources.pids.max", "processes", "", policy->pids_max,
               ceilings->processes);
    hold_count(&telling, "network.egress", "rules", " rules", policy->egress_count,
               ceilings->rules);
    hold_outputs(&telling, policy, ceilings->output_bytes);
    hold_env(&telling, policy, ceilings->env_allow);
}

/* The node of a path like "outputs[2].max", or the last one on the way to it that is there: what is
 * not has its default. */
static const struct policy_node *find_place(const struct policy_node *node, const char *path)
{
    while (*path != '\0') {
        const struct policy_node *next = NULL;
        if (*path == '[') {
            char *end;
            unsigned long index = strtoul(path + 1, &end, 10);
            next =
                node->kind == POLICY_NODE_LIST && index < node->count ? node->items[index] : NULL;
            path = end + 1;
        } else {
            size_t len = strcspn(path, ".[");
            next = node->kind == POLICY_NODE_MAP ? policy_node_find(node, path, len) : NULL;
            path += len;
        }
        if (next == NULL)
            break;
        node = next;
        path += *path == '.';
    }
    return node;
}

static void add_breach(void *context, const char *path, const char *message)
{
    struct policy_checker *checker = context;
    for (size_t i = 0; i < checker->errors.count; i++)
        if (strcmp(checker->errors.items[i].path, path) == 0)
            return; /* wrong on every host */
    policy_check_error(checker, SR_POL_003, &(const struct policy_path){NULL, path, 0},
                       find_place(checker->root, path), "%s", message);
}

void policy_check_ceilings(struct policy_checker *checker, const struct sr_ceilings *ceilings)
{
    if (checker->root != NULL)
        sr_ceilings_check(&checker->policy, ceilings, add_breach, checker);
}
