/* The normalized policy as canonical JSON (RFC 8785): canonical names only, every default explicit.
 * Members are written in the order in which they sort, so this file is in alphabetical order at
 * each level. */
#include "common/jcs.h"
#include "policy/check.h"

#include <stdio.h>
#include <string.h>

static void text_member(struct sr_buf *out, const char *key, const char *value)
{
    sr_buf_puts(out, key); /* a literal like `"name":` */
    sr_jcs_string(out, value, strlen(value));
}

static int utf16_order(const void *a, const void *b)
{
    return sr_jcs_compare(((const struct sr_pair *)a)->key, ((const struct sr_pair *)b)->key);
}

/* Pairs are sorted by bytes; canonical JSON sorts by UTF-16 code units, which can differ. */
static void pairs(struct policy_checker *checker, struct sr_buf *out, const struct sr_pair *list,
                  size_t count)
{
    struct sr_pair *sorted = policy_arena_alloc(&checker->arena, count * sizeof *sorted);
    if (sorted == NULL) {
        out->failed = true;
        return;
    }
    if (count > 0)
        memcpy(sorted, list, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, utf16_order);
    sr_buf_putc(out, '{');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            sr_buf_putc(out, ',');
        sr_jcs_string(out, sorted[i].key, strlen(sorted[i].key));
        text_member(out, ":", sorted[i].value);
    }
    sr_buf_putc(out, '}');
}

/* A variable, with a value of the policy's or the name of its source. */
struct variable {
    const char *name, *value;
    const struct sr_secret *secret; /* NULL: value is the policy's */
};

static int variable_order(const void *a, const void *b)
{
    return sr_jcs_compare(((const struct variable *)a)->name, ((const struct variable *)b)->name);
}

static void environment(struct policy_checker *checker, struct sr_buf *out,
                        const struct sr_policy *policy)
{
    size_t count = policy->env_count + policy->secret_count;
    struct variable *all = policy_arena_alloc(&checker->arena, count * sizeof *all);
    if (all == NULL) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < policy->env_count; i++)
        all[i] = (struct variable){policy->env[i].key, policy->env[i].value, NULL};
    for (size_t i = 0; i < policy->secret_count; i++)
        all[policy->env_count + i] =
            (struct variable){policy->secrets[i].name, NULL, &policy->secrets[i]};
    qsort(all, count, sizeof *all, variable_order);
    sr_buf_puts(out, ",\"env\":{");
    for (size_t i = 0; i < count; i++) {
        text_member(out, i > 0 ? "," : "", all[i].name);
        if (all[i].secret == NULL) {
            text_member(out, ":", all[i].value);
            continue;
        }
        text_member(out, ":{\"from\":", sr_secret_from_name(all[i].secret->from));
        if (all[i].secret->path != NULL)
            text_member(out, ",\"path\":", all[i].secret->path);
        sr_buf_putc(out, '}');
    }
    sr_buf_putc(out, '}');
}

static void mounts(struct sr_buf *out, const struct sr_policy *policy)
{
    sr_buf_puts(out, ",\"mounts\":[");
    for (size_t i = 0; i < policy->mount_count; i++) {
        text_member(out,
                    i > 0 ? ",{\"read_only\":true,\"source\":" : "{\"read_only\":true,\"source\":",
                    policy->mounts[i].source);
        text_member(out, ",\"target\":", policy->mounts[i].target);
        sr_buf_putc(out, '}');
    }
    sr_buf_putc(out, ']');
}

static void network(struct sr_buf *out, const struct sr_policy *policy)
{
    sr_buf_puts(out, ",\"network\":{\"egress\":[");
    for (size_t i = 0; i < policy->egress_count; i++) {
        const struct sr_egress *rule = &policy->egress[i];
        if (i > 0)
            sr_buf_putc(out, ',');
        if (rule->cidr != NULL)
            text_member(out, "{\"cidr\":", rule->cidr);
        else
            text_member(out, "{\"host\":", rule->host);
        sr_buf_puts(out, ",\"port\":");
        sr_buf_u64(out, rule->port);
        text_member(out, ",\"protocol\":", sr_protocol_name(rule->protocol));
        sr_buf_putc(out, '}');
    }
    text_member(out,
                "],\"mode\":", policy->network_mode == SR_NETWORK_ALLOWLIST ? "allowlist" : "none");
    sr_buf_putc(out, '}');
}

static void outputs(struct sr_buf *out, const struct sr_policy *policy)
{
    sr_buf_puts(out, ",\"outputs\":[");
    for (size_t i = 0; i < policy->output_count; i++) {
        text_member(out, i > 0 ? ",{\"max\":" : "{\"max\":", policy->outputs[i].max);
        text_member(out, ",\"path\":", policy->outputs[i].path);
        sr_buf_puts(out, ",\"timeoutSec\":");
        sr_buf_u64(out, policy->outputs[i].timeout_sec);
        sr_buf_putc(out, '}');
    }
    sr_buf_putc(out, ']');
}

static void resources(struct sr_buf *out, const struct sr_policy *policy)
{
    text_member(out, ",\"resources\":{\"cpu\":{\"max\":", policy->cpu_max);
    text_member(out, "},\"disk\":{\"max\":", policy->disk_max);
    text_member(out, "},\"memory\":{\"max\":", policy->memory_max);
    sr_buf_puts(out, "},\"pids\":{\"max\":");
    sr_buf_u64(out, policy->pids_max);
    sr_buf_puts(out, "}}");
}

static void runtime(struct policy_checker *checker, struct sr_buf *out,
                    const struct sr_policy *policy)
{
    char user[32];
    snprintf(user, sizeof user, "%u:%u", policy->uid, policy->gid);
    sr_buf_puts(out, ",\"runtime\":{\"args\":[");
    for (size_t i = 0; i < policy->arg_count; i++)
        text_member(out, i > 0 ? "," : "", policy->args[i]);
    text_member(out, "],\"command\":", policy->command);
    environment(checker, out, policy);
    text_member(out, ",\"image\":", policy->image);
    if (policy->stdin_path != NULL) /* newer than the hashes of policies without it */
        text_member(out, ",\"stdin\":", policy->stdin_path);
    sr_buf_puts(out, ",\"timeoutSec\":");
    sr_buf_u64(out, policy->timeout_sec);
    text_member(out, ",\"user\":", user);
    text_member(out, ",\"workdir\":", policy->workdir);
    sr_buf_putc(out, '}');
}

void policy_check_normalize(struct policy_checker *checker)
{
    struct sr_policy *policy = &checker->policy;
    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    text_member(&out, "{\"apiVersion\":", SR_POLICY_API_VERSION);
    text_member(&out,
                ",\"audit\":{\"level\":", policy->audit_level == SR_AUDIT_FULL ? "full" : "basic");
    sr_buf_puts(&out, "},\"metadata\":{\"labels\":");
    pairs(checker, &out, policy->labels, policy->label_count);
    text_member(&out, ",\"name\":", policy->name);
    sr_buf_putc(&out, '}');
    mounts(&out, policy);
    network(&out, policy);
    outputs(&out, policy);
    text_member(&out, ",\"require\":{\"accel\":", policy->require_kvm ? "kvm" : "any");
    text_member(&out, ",\"limits\":", policy->require_limits ? "enforced" : "any");
    sr_buf_puts(&out, policy->require_signature ? ",\"signature\":true}" : ",\"signature\":false}");
    resources(&out, policy);
    runtime(checker, &out, policy);
    sr_buf_putc(&out, '}');
    policy->json_len = out.len;
    policy->json = checker->json = sr_buf_take(&out);
    checker->out_of_memory = checker->out_of_memory || policy->json == NULL;
}
