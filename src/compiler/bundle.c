/*
 * The bundle as canonical JSON (RFC 8785), written straight into a buffer: members stand in the
 * order in which they sort. Nothing here looks at the host, the clock or a name server; the runner
 * adds what only the host knows.
 */
#include "saferun/bundle.h"

#include "common/jcs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* What a real Firecracker gives its guest; the QEMU driver has arguments of its own. */
#define FIRECRACKER_BOOT_ARGS                                                                      \
    "console=ttyS0 reboot=k panic=-1 quiet random.trust_cpu=on ipv6.disable=1"

static void text(struct sr_buf *out, const char *key, const char *value)
{
    sr_buf_puts(out, key);
    sr_jcs_string(out, value, strlen(value));
}

static void number(struct sr_buf *out, const char *key, uint64_t value)
{
    sr_buf_puts(out, key);
    sr_buf_u64(out, value);
}

static void cgroup_plan(struct sr_buf *out, const struct sr_policy *policy)
{
    sr_cleanup_buf struct sr_buf op = SR_BUF_INIT;
    sr_buf_printf(&op, "set_cpu_max=%s", policy->cpu_max);
    out->failed = out->failed || !sr_buf_ok(&op);
    text(out, "{\"cgroupPlan\":{\"enabled\":true,\"ops\":[", op.data != NULL ? op.data : "");
    op.len = 0;
    sr_buf_printf(&op, "set_memory_max=%s", policy->memory_max);
    out->failed = out->failed || !sr_buf_ok(&op);
    text(out, ",", op.data != NULL ? op.data : "");
    sr_buf_puts(out, "]}");
}

/* In the contract's order; what is additive comes last and only where it can occur. */
static uint32_t planned_events(const struct sr_policy *policy)
{
    const uint32_t network = 1u << SR_EVENT_NETWORK_PLAN_GENERATED |
                             1u << SR_EVENT_NETWORK_RULE_APPLIED | 1u << SR_EVENT_NETWORK_RULE_HIT |
                             1u << SR_EVENT_NETWORK_RULE_RELEASED |
                             1u << SR_EVENT_NETWORK_RULE_CLEANUP_FAILED;
    uint32_t events = (2u << SR_EVENT_RUN_FAILED) - 1;
    if (policy->network_mode == SR_NETWORK_NONE)
        events &= ~network;
    else
        events |= 1u << SR_EVENT_NETWORK_FLOW_DENIED;
    if (policy->output_count > 0)
        events |= 1u << SR_EVENT_OUTPUT_COLLECTED;
    return events | 1u << SR_EVENT_VM_ACCEL_SELECTED;
}

static void evidence_plan(struct sr_buf *out, uint32_t events)
{
    sr_buf_puts(out, ",\"evidencePlan\":{\"enabled\":true,\"events\":[");
    const char *separator = "";
    for (int type = 0; type < SR_EVENT_TYPE_COUNT; type++)
        if ((events & 1u << type) != 0) {
            text(out, separator, sr_event_type_name((enum sr_event_type)type));
            separator = ",";
        }
    sr_buf_puts(out, "]}");
}

/* Firecracker's --config-file: boot-source, drives, machine-config, and no key it does not know. */
static void firecracker_config(struct sr_buf *out, unsigned vcpu_count, unsigned mem_size_mib)
{
    text(out, ",\"firecrackerConfig\":{\"boot-source\":{\"boot_args\":", FIRECRACKER_BOOT_ARGS);
    sr_buf_puts(
        out,
        ",\"initrd_path\":\"artifacts/initrd.img\",\"kernel_image_path\":\"artifacts/vmlinux\"},"
        "\"drives\":[{\"drive_id\":\"rootfs\",\"is_read_only\":true,\"is_root_device\":true,"
        "\"path_on_host\":\"artifacts/rootfs.img\"}],");
    number(out, "\"machine-config\":{\"mem_size_mib\":", mem_size_mib);
    number(out, ",\"smt\":false,\"vcpu_count\":", vcpu_count);
    sr_buf_puts(out, "}}");
}

/* Where values come from that no plan has. Newer than the bundles of policies without them. */
static void secrets(struct sr_buf *out, const struct sr_policy *policy)
{
    for (size_t i = 0; i < policy->secret_count; i++) {
        const struct sr_secret *secret = &policy->secrets[i];
        text(out, i == 0 ? ",\"envFrom\":[{\"from\":" : ",{\"from\":",
             sr_secret_from_name(secret->from));
        text(out, ",\"name\":", secret->name);
        if (secret->path != NULL)
            text(out, ",\"path\":", secret->path);
        sr_buf_putc(out, '}');
    }
    if (policy->secret_count > 0)
        sr_buf_putc(out, ']');
}

static void guest_plan(struct sr_buf *out, const struct sr_policy *policy)
{
    sr_buf_puts(out, ",\"guestPlan\":{\"args\":[");
    for (size_t i = 0; i < policy->arg_count; i++)
        text(out, i > 0 ? "," : "", policy->args[i]);
    text(out, "],\"command\":", policy->command);
    number(out, ",\"diskMaxBytes\":", policy->disk_bytes);
    sr_buf_puts(out, ",\"env\":["); /* a list: "KEY=value", as the guest gets it */
    for (size_t i = 0; i < policy->env_count; i++) {
        sr_cleanup_buf struct sr_buf pair = SR_BUF_INIT;
        sr_buf_printf(&pair, "%s=%s", policy->env[i].key, policy->env[i].value);
        out->failed = out->failed || !sr_buf_ok(&pair);
        text(out, i > 0 ? "," : "", pair.data != NULL ? pair.data : "");
    }
    sr_buf_putc(out, ']');
    secrets(out, policy);
    number(out, ",\"gid\":", policy->gid);
    text(out, ",\"image\":", policy->image);
    sr_buf_puts(out, ",\"outputs\":[");
    for (size_t i = 0; i < policy->output_count; i++) {
        number(out, i > 0 ? ",{\"maxBytes\":" : "{\"maxBytes\":", policy->outputs[i].max_bytes);
        text(out, ",\"path\":", policy->outputs[i].path);
        sr_buf_putc(out, '}');
    }
    number(out, "],\"pidsMax\":", policy->pids_max);
    if (policy->stdin_path != NULL)
        text(out, ",\"stdin\":", policy->stdin_path);
    else
        sr_buf_puts(out, ",\"stdin\":null");
    number(out, ",\"timeoutSec\":", policy->timeout_sec);
    number(out, ",\"uid\":", policy->uid);
    text(out, ",\"workdir\":", policy->workdir);
    sr_buf_putc(out, '}');
}

static void mount_plan(struct sr_buf *out, const struct sr_policy *policy)
{
    sr_buf_puts(out, ",\"jailerPlan\":{\"enabled\":true,\"ops\":[\"prepare_jailer_context\"]}"
                     ",\"mountPlan\":{\"enabled\":true,\"mounts\":[");
    for (size_t i = 0; i < policy->mount_count; i++) {
        text(out, i > 0 ? ",{\"read_only\":true,\"source\":" : "{\"read_only\":true,\"source\":",
             policy->mounts[i].source);
        text(out, ",\"target\":", policy->mounts[i].target);
        sr_buf_putc(out, '}');
    }
    sr_buf_puts(out, "]}");
}

static void network_plan(struct sr_buf *out, const struct sr_policy *policy)
{
    if (policy->network_mode == SR_NETWORK_NONE) {
        sr_buf_puts(out, ",\"networkPlan\":null}");
        return;
    }
    sr_buf_puts(out, ",\"networkPlan\":{\"nft\":{\"chains\":[\"forward\"],\"rules\":[");
    for (size_t i = 0; i < policy->egress_count; i++) {
        const struct sr_egress *rule = &policy->egress[i];
        sr_buf_puts(out, i > 0 ? ",{" : "{");
        if (rule->cidr != NULL)
            text(out, "\"cidr\":", rule->cidr);
        else
            text(out, "\"host\":", rule->host);
        number(out, ",\"port\":", rule->port);
        text(out, ",\"protocol\":", sr_protocol_name(rule->protocol));
        sr_buf_putc(out, '}');
    }
    /* <runId> stays a placeholder: the runner knows the run. */
    sr_buf_puts(out, "],\"table\":\"safe_run\"},\"tap\":{\"name\":\"sr-tap-<runId>\"}}}");
}

int sr_compile(const struct sr_policy *policy, struct sr_bundle *bundle, struct sr_error *err)
{
    struct sr_bundle made = {.policy = policy, .vcpu_count = 1, .events = planned_events(policy)};
    if (policy->cpu_quota_usec > 0)
        made.vcpu_count = (unsigned)((policy->cpu_quota_usec + policy->cpu_period_usec - 1) /
                                     policy->cpu_period_usec);
    uint64_t mib = policy->memory_bytes / MIB;
    if (mib == 0 || mib > UINT32_MAX)
        return sr_fail(err, SR_CMP_001, "resources.memory.max", "%s cannot be a guest's memory",
                       policy->memory_max);
    made.mem_size_mib = (unsigned)mib;

    sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
    cgroup_plan(&out, policy);
    evidence_plan(&out, made.events);
    firecracker_config(&out, made.vcpu_count, made.mem_size_mib);
    guest_plan(&out, policy);
    mount_plan(&out, policy);
    network_plan(&out, policy);
    made.json_len = out.len;
    made.json = sr_buf_take(&out);
    if (made.json == NULL)
        return sr_fail(err, SR_CMP_002, "compile", "out of memory");
    *bundle = made;
    return 0;
}

void sr_bundle_free(struct sr_bundle *bundle)
{
    free(bundle->json);
    *bundle = (struct sr_bundle){0};
}
