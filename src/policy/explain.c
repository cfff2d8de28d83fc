/* A policy in plain sentences. */
#include "saferun/explain.h"

#include "common/buf.h"
#include "common/ipv4.h"
#include "common/printable.h"

#include <stdio.h>
#include <string.h>

struct speaker {
    sr_say_fn *say;
    void *context;
    struct sr_buf text;
    bool failed;
};

__attribute__((format(printf, 3, 4))) static void say(struct speaker *speaker, const char *topic,
                                                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    speaker->text.len = 0;
    sr_buf_vprintf(&speaker->text, fmt, ap);
    va_end(ap);
    speaker->failed = speaker->failed || !sr_buf_ok(&speaker->text);
    if (speaker->failed)
        return;
    sr_make_printable(speaker->text.data);
    speaker->say(speaker->context, topic, speaker->text.data);
}

/* A word as a shell would take it. */
static void quote(struct sr_buf *out, const char *word)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        sr_buf_puts(out, word);
        return;
    }
    sr_buf_putc(out, '\'');
    for (; *word != '\0'; word++)
        if (*word == '\'')
            sr_buf_puts(out, "'\\''");
        else
            sr_buf_putc(out, *word);
    sr_buf_putc(out, '\'');
}

static void runs(struct speaker *speaker, const struct sr_policy *policy,
                 const struct sr_image *image)
{
    static const char topic[] = "Runs";
    struct sr_buf words = SR_BUF_INIT;
    quote(&words, policy->command);
    for (size_t i = 0; i < policy->arg_count; i++) {
        sr_buf_putc(&words, ' ');
        quote(&words, policy->args[i]);
    }
    say(speaker, topic, "%s", sr_buf_ok(&words) ? words.data : policy->command);
    sr_buf_free(&words);
    struct sr_effective effective;
    sr_policy_effective(policy, image != NULL ? &image->config : NULL, &effective);
    say(speaker, topic, "in a microVM of its own, from the image %s, in %s%s", policy->image,
        effective.workdir, effective.workdir_of_image ? ", as the image has it" : "");
    if (effective.uid == 0)
        say(speaker, topic, "as root of the guest (user 0:%u), which is not root of this host",
            effective.gid);
    else
        say(speaker, topic, "as the unprivileged user %u:%u of the guest%s%s", effective.uid,
            effective.gid, effective.gid == 0 ? ", but in root's group" : "",
            effective.user_of_image ? ", as the image has it" : "");
    for (size_t i = 0; image != NULL && i < image->config.env_count; i++)
        if (sr_policy_lets_env(policy, image->config.env[i]))
            say(speaker, topic, "with %s in its environment, as the image has it",
                image->config.env[i]);
    if (policy->stdin_path != NULL)
        say(speaker, topic, "reading the guest's file %s as its standard input",
            policy->stdin_path);
    for (size_t i = 0; i < policy->env_count; i++)
        say(speaker, topic, "with %s=%s in its environment", policy->env[i].key,
            policy->env[i].value);
    for (size_t i = 0; i < policy->secret_count; i++) {
        const struct sr_secret *secret = &policy->secrets[i];
        if (secret->from == SR_SECRET_FILE)
            say(speaker, topic, "with %s in its environment: what the file %s of this host has",
                secret->name, secret->path);
        else
            say(speaker, topic,
                "with %s in its environment: the caller's own, if --allow-env %s or env.allow of "
                "the host configuration grants it",
                secret->name, secret->name);
    }
}

/* What of a prefix stays closed. */
static void reaches_prefix(struct speaker *speaker, const char *topic, const struct sr_egress *rule)
{
    uint32_t mask = sr_ipv4_mask(rule->prefix), first = rule->address & mask;
    sr_cleanup_buf struct sr_buf closed = SR_BUF_INIT;
    char network[SR_IPV4_TEXT_MAX];
    for (size_t i = 0; i < sr_ipv4_reserved_count; i++)
        if (sr_ipv4_reserved[i].first <= (first | ~mask) && sr_ipv4_reserved[i].last >= first)
            sr_buf_printf(&closed, "%s, ", sr_ipv4_reserved[i].name);
    if (closed.failed)
        speaker->failed = true;
    else
        say(speaker, topic,
            "%s/%u (%llu addresses), %s port %u; but not %sthis host's own addresses or its runs'",
            sr_ipv4_format(first, network), rule->prefix, 1ULL << (32 - rule->prefix),
            sr_protocol_name(rule->protocol), rule->port, closed.len > 0 ? closed.data : "");
}

static void reaches(struct speaker *speaker, const struct sr_policy *policy)
{
    static const char topic[] = "May reach";
    if (policy->network_mode == SR_NETWORK_NONE)
        say(speaker, topic, "nothing: the guest has no network at all");
    for (size_t i = 0; i < policy->egress_count; i++) {
        const struct sr_egress *rule = &policy->egress[i];
        char network[SR_IPV4_TEXT_MAX];
        if (rule->host != NULL)
            say(speaker, topic,
                "%s, %s port %u, at every address the name has when the run starts or gets while "
                "it goes on; earlier ones stay open",
                rule->host, sr_protocol_name(rule->protocol), rule->port);
        else if (sr_ipv4_opens_nothing(rule->address, rule->prefix))
            say(speaker, topic, "nothing of %s, which such a rule does not open", rule->cidr);
        else if (rule->prefix == 32)
            say(speaker, topic, "%s, %s port %u", sr_ipv4_format(rule->address, network),
                sr_protocol_name(rule->protocol), rule->port);
        else
            reaches_prefix(speaker, topic, rule);
    }
}

static void reads_and_writes(struct speaker *speaker, const struct sr_policy *policy)
{
    say(speaker, "May read", "the files of the image %s", policy->image);
    for (size_t i = 0; i < policy->mount_count; i++)
        say(speaker, "May read", "a copy of %s, at %s, read-only", policy->mounts[i].source,
            policy->mounts[i].target);
    if (policy->disk_bytes == 0)
        say(speaker, "May write", "nothing on the root, which is read-only");
    else
        say(speaker, "May write", "up to %s of scratch space, which is gone when the run ends",
            policy->disk_max);
    say(speaker, "May write", "up to 16Mi in /dev/shm, which is memory");
    for (size_t i = 0; i < policy->output_count; i++)
        say(speaker, "May write",
            "%s, of which up to %s is copied out when the command has ended, in %u seconds at most",
            policy->outputs[i].path, policy->outputs[i].max, policy->outputs[i].timeout_sec);
}

static void uses(struct speaker *speaker, const struct sr_policy *policy)
{
    static const char topic[] = "May use";
    if (policy->cpu_quota_usec == 0) {
        say(speaker, topic, "one CPU, without a quota");
    } else {
        uint64_t percent = policy->cpu_quota_usec * 100 / policy->cpu_period_usec;
        say(speaker, topic, "%llu.%02llu CPUs (%s)", (unsigned long long)percent / 100,
            (unsigned long long)percent % 100, policy->cpu_max);
    }
    say(speaker, topic, "%s of memory, its kernel's included", policy->memory_max);
    say(speaker, topic, "%u processes at once", policy->pids_max);
    say(speaker, topic, "%u seconds, then it is stopped%s", policy->timeout_sec,
        policy->network_mode == SR_NETWORK_ALLOWLIST ? ", and its network with it" : "");
}

static void denied(struct speaker *speaker, const struct sr_policy *policy)
{
    static const char topic[] = "Is denied";
    say(speaker, topic, "every file, process and device of this host%s",
        policy->mount_count > 0 ? " but the copies above" : "");
    if (policy->network_mode == SR_NETWORK_ALLOWLIST)
        say(speaker, topic,
            "every other destination, port and protocol; IPv6, ICMP and incoming connections; "
            "looking up names, unless a rule above is a name server");
}

/* What the image would do by itself. */
static void image_wishes(struct speaker *speaker, const struct sr_image *image)
{
    static const char topic[] = "The image";
    const struct sr_image_config *config = &image->config;
    struct sr_buf words = SR_BUF_INIT;
    say(speaker, topic, "is %s", image->digest);
    for (size_t i = 0; i < config->entrypoint_count + config->cmd_count; i++) {
        sr_buf_putc(&words, ' ');
        quote(&words, i < config->entrypoint_count ? config->entrypoint[i]
                                                   : config->cmd[i - config->entrypoint_count]);
    }
    if (words.len > 0 && sr_buf_ok(&words))
        say(speaker, topic, "would run%s, which does not happen: the policy names the command",
            words.data);
    sr_buf_free(&words);
    if (config->has_user && config->uid == 0)
        say(speaker, topic, "would run as root, which a policy has to ask for: user: \"0:0\"");
}

static void records(struct speaker *speaker, const struct sr_policy *policy)
{
    static const char topic[] = "Is recorded", required[] = "Requires";
    const bool full = policy->audit_level == SR_AUDIT_FULL;
    if (policy->network_mode == SR_NETWORK_NONE)
        say(speaker, topic,
            "what was asked, enforced, allowed and blocked (audit level %s; without a network both "
            "levels record the same)",
            full ? "full" : "basic");
    else
        say(speaker, topic,
            "what was asked, enforced, allowed and blocked, with the network's counters %s",
            full ? "as they change (audit level full)" : "in sum (audit level basic)");
    if (policy->require_kvm)
        say(speaker, required, "KVM, or the run is refused");
    if (policy->require_limits)
        say(speaker, required, "a host kernel that enforces every limit, or the run is refused");
    if (policy->require_signature)
        say(speaker, required, "a signed report, or the run is refused");
}

int sr_policy_explain(const struct sr_policy *policy, const struct sr_image *image, sr_say_fn *to,
                      void *context, struct sr_error *err)
{
    struct speaker speaker = {.say = to, .context = context, .text = SR_BUF_INIT};
    runs(&speaker, policy, image);
    reaches(&speaker, policy);
    reads_and_writes(&speaker, policy);
    uses(&speaker, policy);
    denied(&speaker, policy);
    records(&speaker, policy);
    if (image != NULL)
        image_wishes(&speaker, image);
    sr_buf_free(&speaker.text);
    return speaker.failed ? sr_fail(err, SR_POL_001, "policy", "out of memory") : 0;
}
