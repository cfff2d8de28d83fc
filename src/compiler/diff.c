/*
 * Two policies compared for a reviewer: first the rights, each as the validator and the run
 * understand it (a narrower rule inside a wider one is no new right), then what else changed, then
 * where the compiled plans differ.
 */
#include "saferun/explain.h"

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/ipv4.h"
#include "common/printable.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct differ {
    sr_say_fn *say;
    void *context;
    struct sr_buf text;
    size_t changes;
    bool failed;
};

__attribute__((format(printf, 3, 4))) static void say(struct differ *differ, const char *topic,
                                                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    differ->text.len = 0;
    sr_buf_vprintf(&differ->text, fmt, ap);
    va_end(ap);
    differ->failed = differ->failed || !sr_buf_ok(&differ->text);
    if (differ->failed)
        return;
    sr_make_printable(differ->text.data);
    differ->changes++;
    differ->say(differ->context, topic, differ->text.data);
}

/* -- Rules
 * ---------------------------------------------------------------------------------------- */

static uint32_t first_of(const struct sr_egress *rule)
{
    return rule->address & sr_ipv4_mask(rule->prefix);
}

static uint32_t last_of(const struct sr_egress *rule)
{
    return rule->address | ~sr_ipv4_mask(rule->prefix);
}

/* By service, names before prefixes, then by place, the wider prefix first. */
static int compare_rules(const void *a, const void *b)
{
    const struct sr_egress *x = *(const struct sr_egress *const *)a,
                           *y = *(const struct sr_egress *const *)b;
    if (x->protocol != y->protocol)
        return x->protocol < y->protocol ? -1 : 1;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    if (x->host != NULL || y->host != NULL)
        return x->host == NULL ? 1 : y->host == NULL ? -1 : strcmp(x->host, y->host);
    if (first_of(x) != first_of(y))
        return first_of(x) < first_of(y) ? -1 : 1;
    return x->prefix < y->prefix ? -1 : x->prefix > y->prefix;
}

struct rules {
    const struct sr_egress **items;
    size_t count;
};

static bool sort_rules(const struct sr_policy *policy, struct rules *rules)
{
    rules->items = malloc((policy->egress_count + 1) * sizeof *rules->items);
    if (rules->items == NULL)
        return false;
    for (size_t i = 0; i < policy->egress_count; i++)
        rules->items[i] = &policy->egress[i];
    rules->count = policy->egress_count;
    qsort(rules->items, rules->count, sizeof *rules->items, compare_rules);
    return true;
}

static bool has_rule(const struct rules *rules, const struct sr_egress *rule)
{
    return rules->count > 0 &&
           bsearch(&rule, rules->items, rules->count, sizeof *rules->items, compare_rules) != NULL;
}

/* The next address that a prefix can open. */
static uint64_t skip_closed(uint64_t next)
{
    const struct sr_ipv4_range *range;
    while (next <= UINT32_MAX && (range = sr_ipv4_find_reserved((uint32_t)next)) != NULL)
        next = (uint64_t)range->last + 1;
    return next;
}

/* Whether the prefixes inside rule's, which stand behind it in the order, leave no gap. */
static bool filled_by_parts(const struct rules *rules, const struct sr_egress *rule)
{
    size_t low = 0, high = rules->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_rules(&rules->items[middle], &rule) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    uint64_t next = skip_closed(first_of(rule));
    for (; low < rules->count && next <= last_of(rule); low++) {
        const struct sr_egress *part = rules->items[low];
        if (part->protocol != rule->protocol || part->port != rule->port || first_of(part) > next)
            break;
        if ((uint64_t)last_of(part) + 1 > next)
            next = skip_closed((uint64_t)last_of(part) + 1);
    }
    return next > last_of(rule);
}

enum cover { COVER_NONE, COVER_BUT_OWN, COVER_ALL };

/* How far rules open what a rule opens. The host's own addresses are opened by a rule for just one,
 * as reserved ones are. */
static enum cover cover(const struct rules *rules, const struct sr_egress *rule)
{
    if (has_rule(rules, rule))
        return COVER_ALL;
    if (rule->host != NULL)
        return COVER_NONE;
    if (sr_ipv4_opens_nothing(rule->address, rule->prefix))
        return COVER_ALL;
    bool single = rule->prefix == 32;
    if (single && sr_ipv4_find_reserved(rule->address) != NULL)
        return COVER_NONE;
    struct sr_egress wider = *rule;
    while (wider.prefix > 0) {
        wider.prefix--;
        if (has_rule(rules, &wider))
            return single ? COVER_BUT_OWN : COVER_ALL;
    }
    return !single && filled_by_parts(rules, rule) ? COVER_ALL : COVER_NONE;
}

/* -- Rights
 * ---------------------------------------------------------------------------------------- */

static void more_destinations(struct differ *differ, const char *topic,
                              const struct sr_policy *than, const struct sr_policy *policy)
{
    struct rules rules;
    if (!sort_rules(than, &rules)) {
        differ->failed = true;
        return;
    }
    for (size_t i = 0; i < policy->egress_count; i++) {
        const struct sr_egress *rule = &policy->egress[i];
        enum cover open = cover(&rules, rule);
        if (open != COVER_ALL)
            say(differ, topic, "reach %s, %s port %u%s (network.egress[%zu])",
                rule->host != NULL ? rule->host : rule->cidr, sr_protocol_name(rule->protocol),
                rule->port, open == COVER_BUT_OWN ? ", also if it is an address of this host" : "",
                i);
    }
    free(rules.items);
}

static void more_files(struct differ *differ, const char *topic, const struct sr_policy *than,
                       const struct sr_policy *policy)
{
    for (size_t i = 0; i < policy->mount_count; i++) {
        const struct sr_mount *mount = &policy->mounts[i];
        size_t j = 0;
        while (j < than->mount_count && (strcmp(mount->source, than->mounts[j].source) != 0 ||
                                         strcmp(mount->target, than->mounts[j].target) != 0))
            j++;
        if (j == than->mount_count)
            say(differ, topic, "read %s at %s (mounts[%zu])", mount->source, mount->target, i);
    }
    for (size_t i = 0; i < policy->output_count; i++) {
        const struct sr_output *output = &policy->outputs[i];
        size_t j = 0;
        while (j < than->output_count && (strcmp(output->path, than->outputs[j].path) != 0 ||
                                          output->max_bytes > than->outputs[j].max_bytes))
            j++;
        if (j == than->output_count)
            say(differ, topic, "hand out up to %s from %s (outputs[%zu])", output->max,
                output->path, i);
        else if (output->timeout_sec > than->outputs[j].timeout_sec)
            say(differ, topic, "take %u instead of %u seconds to hand out %s (outputs[%zu])",
                output->timeout_sec, than->outputs[j].timeout_sec, output->path, i);
    }
}

/* What of the caller's or the host's that no plan has. */
static void more_secrets(struct differ *differ, const char *topic, const struct sr_policy *than,
                         const struct sr_policy *policy)
{
    for (size_t i = 0; i < policy->secret_count; i++) {
        const struct sr_secret *secret = &policy->secrets[i];
        const char *path = secret->path != NULL ? secret->path : "";
        size_t j = 0;
        while (j < than->secret_count &&
               (strcmp(secret->name, than->secrets[j].name) != 0 ||
                secret->from != than->secrets[j].from ||
                (secret->path != NULL && strcmp(path, than->secrets[j].path) != 0)))
            j++;
        if (j == than->secret_count)
            say(differ, topic, "have %s%s in its environment (runtime.env.%s)",
                secret->from == SR_SECRET_FILE ? "what is in the file " : "the caller's ",
                secret->from == SR_SECRET_FILE ? path : secret->name, secret->name);
    }
}

/* a/b > c/d, of quotas and periods below 2^40. */
static bool larger_share(const struct sr_policy *policy, const struct sr_policy *than)
{
    uint64_t a = policy->cpu_quota_usec == 0 ? policy->cpu_period_usec : policy->cpu_quota_usec,
             c = than->cpu_quota_usec == 0 ? than->cpu_period_usec : than->cpu_quota_usec;
    return (__extension__(unsigned __int128) a) * than->cpu_period_usec >
           (__extension__(unsigned __int128) c) * policy->cpu_period_usec;
}

static void more_resources(struct differ *differ, const char *topic, const struct sr_policy *than,
                           const struct sr_policy *policy)
{
    if (larger_share(policy, than))
        say(differ, topic, "use more CPU: %s instead of %s", policy->cpu_max, than->cpu_max);
    if (policy->memory_bytes > than->memory_bytes)
        say(differ, topic, "use more memory: %s instead of %s", policy->memory_max,
            than->memory_max);
    if (policy->pids_max > than->pids_max)
        say(differ, topic, "start more processes: %u instead of %u", policy->pids_max,
            than->pids_max);
    if (policy->disk_bytes > than->disk_bytes)
        say(differ, topic, "write more scratch data: %s instead of %s", policy->disk_max,
            than->disk_max);
    if (policy->timeout_sec > than->timeout_sec)
        say(differ, topic, "run longer: %u instead of %u seconds", policy->timeout_sec,
            than->timeout_sec);
    if (policy->uid == 0 && than->uid != 0)
        say(differ, topic, "be root of the guest");
    if (policy->gid == 0 && policy->uid != 0 && than->gid != 0 && than->uid != 0)
        say(differ, topic, "be in root's group in the guest");
    if (policy->audit_level < than->audit_level)
        say(differ, topic, "run with less recorded: audit level basic instead of full");
    if (!policy->require_kvm && than->require_kvm)
        say(differ, topic, "run without KVM");
    if (!policy->require_limits && than->require_limits)
        say(differ, topic, "run where no host kernel enforces the limits");
    if (!policy->require_signature && than->require_signature)
        say(differ, topic, "run without a signed report");
}

static void more(struct differ *differ, const char *topic, const struct sr_policy *than,
                 const struct sr_policy *policy)
{
    more_destinations(differ, topic, than, policy);
    more_files(differ, topic, than, policy);
    more_secrets(differ, topic, than, policy);
    more_resources(differ, topic, than, policy);
}

/* -- Plans
 * ------------------------------------------------------------------------------------------ */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The items of a list as sorted texts, NULL-terminated; NULL when memory is out. */
static char **sorted_items(const json_t *list)
{
    size_t count = json_array_size(list);
    char **texts = calloc(count + 1, sizeof *texts);
    for (size_t i = 0; texts != NULL && i < count; i++) {
        texts[i] =
            json_dumps(json_array_get(list, i), JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        if (texts[i] == NULL) {
            while (i > 0)
                free(texts[--i]);
            free(texts);
            return NULL;
        }
    }
    if (texts != NULL)
        qsort(texts, count, sizeof *texts, compare_texts);
    return texts;
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
        free(texts[i]);
    free(texts);
}

static const char plans[] = "Compiled plans";

/* Items that only one of two lists has, as sets with repetition. */
static void compare_lists(struct differ *differ, const char *path, const json_t *a, const json_t *b)
{
    char **old = sorted_items(a), **new = sorted_items(b);
    size_t changes = differ->changes;
    differ->failed = differ->failed || old == NULL || new == NULL;
    for (char **x = old, **y = new; !differ->failed && (*x != NULL || *y != NULL);) {
        int order = *x == NULL ? 1 : *y == NULL ? -1 : strcmp(*x, *y);
        if (order < 0)
            say(differ, plans, "%s: - %s", path, *x);
        else if (order > 0)
            say(differ, plans, "%s: + %s", path, *y);
        x += order <= 0;
        y += order >= 0;
    }
    if (!differ->failed && differ->changes == changes)
        say(differ, plans, "%s: the same items in another order", path);
    free_texts(old);
    free_texts(new);
}

/* As deep as a bundle nests. */
static void compare_plans(struct differ *differ, const char *path, // NOLINT(misc-no-recursion)
                          json_t *a, json_t *b)
{
    if (json_equal(a, b))
        return;
    if ((a == NULL || json_is_array(a)) && (b == NULL || json_is_array(b))) {
        compare_lists(differ, path, a, b);
        return;
    }
    if (!json_is_object(a) || !json_is_object(b)) {
        char *old = json_dumps(a, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY),
             *new = json_dumps(b, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        say(differ, plans, "%s: %s instead of %s", path, new != NULL ? new : "?",
            old != NULL ? old : "?");
        free(old);
        free(new);
        return;
    }
    const char *key;
    json_t *value;
    /* Plans have the same members, whatever the policy, but for lists that one without items leaves
     * out. */
    char below[256];
    json_object_foreach(b, key, value)
    {
        snprintf(below, sizeof below, "%s%s%s", path, path[0] != '\0' ? "." : "", key);
        compare_plans(differ, below, json_object_get(a, key), value);
    }
    json_object_foreach(a, key, value)
    {
        snprintf(below, sizeof below, "%s%s%s", path, path[0] != '\0' ? "." : "", key);
        if (json_object_get(b, key) == NULL)
            compare_plans(differ, below, value, NULL);
    }
}

/* -- The rest
 * ---------------------------------------------------------------------------------------- */

static void changed_pairs(struct differ *differ, const char *field, const struct sr_pair *a,
                          size_t a_count, const struct sr_pair *b, size_t b_count)
{
    static const char topic[] = "Changes";
    for (size_t i = 0, j = 0; i < a_count || j < b_count;) {
        int order = i == a_count ? 1 : j == b_count ? -1 : strcmp(a[i].key, b[j].key);
        if (order < 0)
            say(differ, topic, "%s.%s is gone (%s)", field, a[i].key, a[i].value);
        else if (order > 0)
            say(differ, topic, "%s.%s is new: %s", field, b[j].key, b[j].value);
        else if (strcmp(a[i].value, b[j].value) != 0)
            say(differ, topic, "%s.%s: %s instead of %s", field, a[i].key, b[j].value, a[i].value);
        i += order <= 0;
        j += order >= 0;
    }
}

static const char *workdir_of(const struct sr_policy *policy)
{
    return policy->workdir_given ? policy->workdir : "the image's, else /";
}

static const char *user_of(const struct sr_policy *policy, char text[64])
{
    snprintf(text, 64, "%s%u:%u", policy->user_given ? "" : "the image's, else ", policy->uid,
             policy->gid);
    return text;
}

static const char *stdin_of(const struct sr_policy *policy)
{
    return policy->stdin_path != NULL ? policy->stdin_path : "/dev/null";
}

static void changed(struct differ *differ, const struct sr_policy *a, const struct sr_policy *b)
{
    static const char topic[] = "Changes";
    char a_user[64], b_user[64];
    const struct {
        const char *field, *a, *b;
    } texts[] = {{"metadata.name", a->name, b->name},
                 {"runtime.command", a->command, b->command},
                 {"runtime.image", a->image, b->image},
                 {"runtime.workdir", workdir_of(a), workdir_of(b)},
                 {"runtime.user", user_of(a, a_user), user_of(b, b_user)},
                 {"runtime.stdin", stdin_of(a), stdin_of(b)}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(texts[i].a, texts[i].b) != 0)
            say(differ, topic, "%s: %s instead of %s", texts[i].field, texts[i].b, texts[i].a);
    for (size_t i = 0; i < a->arg_count || i < b->arg_count; i++) {
        if (i >= a->arg_count)
            say(differ, topic, "runtime.args[%zu] is new: %s", i, b->args[i]);
        else if (i >= b->arg_count)
            say(differ, topic, "runtime.args[%zu] is gone (%s)", i, a->args[i]);
        else if (strcmp(a->args[i], b->args[i]) != 0)
            say(differ, topic, "runtime.args[%zu]: %s instead of %s", i, b->args[i], a->args[i]);
    }
    changed_pairs(differ, "runtime.env", a->env, a->env_count, b->env, b->env_count);
    changed_pairs(differ, "metadata.labels", a->labels, a->label_count, b->labels, b->label_count);
}

int sr_bundle_diff(const struct sr_bundle *a, const struct sr_bundle *b, sr_say_fn *to,
                   void *context, size_t *changes, struct sr_error *err)
{
    struct differ differ = {.say = to, .context = context, .text = SR_BUF_INIT};
    json_t *old = json_loadb(a->json, a->json_len, 0, NULL),
           *new = json_loadb(b->json, b->json_len, 0, NULL);
    differ.failed = old == NULL || new == NULL;
    if (!differ.failed) {
        more(&differ, "B may, A may not", a->policy, b->policy);
        more(&differ, "A may, B may not", b->policy, a->policy);
        changed(&differ, a->policy, b->policy);
        compare_plans(&differ, "", old, new);
    }
    json_decref(old);
    json_decref(new);
    sr_buf_free(&differ.text);
    if (differ.failed)
        return sr_fail(err, SR_CMP_002, "compile", "out of memory");
    *changes = differ.changes;
    return 0;
}
