/* Events and outcomes in plain words. */
#include "evidence/summary.h"
#include "evidence/take.h"

#include <stdio.h>
#include <string.h>

/* The texts a sentence is made of; longer ones are cut, so that a sentence stays one. */
enum { WORD = 128 };

static const char *or_unknown(const char *text)
{
    return text[0] != '\0' ? text : "unknown";
}

const char *evidence_drop_sentence(enum evidence_drop drop)
{
    static const char *const sentences[EVIDENCE_DROP_COUNT] = {
        [EVIDENCE_DROP_INVALID] = "of no connection, or with options",
        [EVIDENCE_DROP_NOT_IPV4] = "neither IPv4 nor ARP",
        [EVIDENCE_DROP_SPOOFED] = "with a source address that is not the guest's",
        [EVIDENCE_DROP_TO_GATEWAY] = "to the gateway itself",
        [EVIDENCE_DROP_UNACCOUNTED] = "that the kernel's own checks stopped, or parts of a packet",
    };
    return sentences[drop];
}

void evidence_secret_sentence(const struct evidence_summary_secret *secret, char *text, size_t size)
{
    const char *digits = secret->hmac;
    if (strncmp(digits, SR_HMAC_PREFIX, strlen(SR_HMAC_PREFIX)) == 0)
        digits += strlen(SR_HMAC_PREFIX);
    snprintf(text, size, "%s from %s%s%s%s%s", secret->name, secret->from,
             secret->path[0] != '\0' ? " " : "", secret->path,
             digits[0] != '\0' ? ", HMAC " : ", which gave no value", digits);
}

void evidence_take_message(struct sr_json_slice payload, char *text, size_t size)
{
    char words[WORD];
    evidence_take_text(payload, "message", text, size);
    evidence_take_text(sr_json_get(payload, "guest"), "message", words, sizeof words);
    size_t len = strlen(text);
    if (words[0] != '\0')
        snprintf(text + len, size - len, ": \"%s\"", words);
}

static void say_mount(enum sr_event_type kind, struct sr_json_slice payload, char *text,
                      size_t size)
{
    char source[WORD], target[WORD], code[32], message[WORD];
    evidence_take_text(payload, "source", source, sizeof source);
    evidence_take_text(payload, "target", target, sizeof target);
    evidence_take_text(payload, "errorCode", code, sizeof code);
    evidence_take_text(payload, "message", message, sizeof message);
    if (kind == SR_EVENT_MOUNT_REJECTED)
        snprintf(text, size, "mount of %s at %s refused: %s %s", source, target, code, message);
    else
        snprintf(text, size,
                 kind == SR_EVENT_MOUNT_APPLIED ? "%s is at %s in the guest, read-only"
                                                : "mount of %s at %s accepted",
                 source, target);
}

static void say_network(enum sr_event_type kind, struct sr_json_slice payload, char *text,
                        size_t size)
{
    char one[WORD], two[WORD];
    long long rules = (long long)evidence_take_number(payload, "rulesTotal");
    if (kind == SR_EVENT_NETWORK_PLAN_GENERATED) {
        evidence_take_text(payload, "uplink", one, sizeof one);
        snprintf(text, size, "network set up: %lld %s%s%s", rules < 0 ? 0 : rules,
                 rules == 1 ? "rule" : "rules", one[0] != '\0' ? ", uplink " : "", one);
    } else if (kind == SR_EVENT_NETWORK_RULE_RELEASED) {
        rules = (long long)evidence_take_number(sr_json_get(payload, "frames"), "denied");
        snprintf(text, size,
                 rules > 0 ? "network taken down; packets denied: %lld" : "network taken down",
                 rules);
    } else {
        evidence_take_text(payload, "errorCode", one, sizeof one);
        evidence_take_text(payload, "message", two, sizeof two);
        snprintf(text, size, "network could not be taken down: %s %s", one, two);
    }
}

/* Events that the time line does not list one by one still have a sentence, for log systems. */
static void say_count(enum sr_event_type kind, struct sr_json_slice payload, char *text,
                      size_t size)
{
    char protocol[32], target[WORD];
    long long port = (long long)evidence_take_number(payload, "port");
    evidence_take_text(payload, "protocol", protocol, sizeof protocol);
    if (kind == SR_EVENT_RESOURCE_SAMPLED) {
        snprintf(text, size, "%lld us of CPU time, %lld bytes of memory",
                 (long long)evidence_take_number(payload, "cpuUsageUsec"),
                 (long long)evidence_take_number(payload, "memoryCurrentBytes"));
    } else if (kind == SR_EVENT_NETWORK_FLOW_DENIED) {
        evidence_take_text(payload, "destination", target, sizeof target);
        snprintf(text, size, "%s %s port %lld denied, %lld packets", protocol, target, port,
                 (long long)evidence_take_number(payload, "packets"));
    } else if (kind == SR_EVENT_NETWORK_RULE_HIT) {
        evidence_take_text(payload, "target", target, sizeof target);
        snprintf(text, size, "%s %s port %lld: %lld packets allowed, %lld blocked", protocol,
                 target, port, (long long)evidence_take_number(payload, "allowedHits"),
                 (long long)evidence_take_number(payload, "blockedHits"));
    } else {
        evidence_take_text(payload, "target", target, sizeof target);
        snprintf(text, size, "%s %s port %lld may be reached", protocol, target, port);
    }
}

static void say_vm_exit(struct sr_json_slice payload, char *text, size_t size)
{
    struct sr_json_slice guest = sr_json_get(payload, "guest");
    long long code = (long long)evidence_take_number(guest, "exitCode"),
              number = (long long)evidence_take_number(guest, "signal");
    if (!sr_json_is_object(guest))
        snprintf(text, size, "VM ended");
    else if (number > 0)
        snprintf(text, size, "VM ended; its guest says that signal %lld ended the command", number);
    else
        snprintf(text, size, "VM ended; its guest says that the command ended with status %lld",
                 code);
}

static void say_output(struct sr_json_slice payload, char *text, size_t size)
{
    char path[WORD], message[2 * WORD + 8];
    struct sr_json_slice collected = sr_json_get(payload, "collected");
    long long bytes = (long long)evidence_take_number(payload, "bytes");
    evidence_take_text(payload, "path", path, sizeof path);
    evidence_take_message(payload, message, sizeof message);
    if (collected.len > 0 && collected.text[0] == 'f')
        snprintf(text, size, "output %s not collected%s%s", path, message[0] != '\0' ? ": " : "",
                 message);
    else if (bytes >= 0)
        snprintf(text, size, "output %s collected, %lld bytes", path, bytes);
    else
        snprintf(text, size, "output %s collected", path);
}

void evidence_event_sentence(enum sr_event_type kind, struct sr_json_slice payload, char *text,
                             size_t size)
{
    char one[WORD], two[WORD], three[2 * WORD + 8];
    switch (kind) {
    case SR_EVENT_COMPILE:
        snprintf(text, size, "policy compiled");
        return;
    case SR_EVENT_RUN_PREPARED:
        snprintf(text, size, "run prepared, with %lld s to run",
                 (long long)evidence_take_number(payload, "timeoutSec"));
        return;
    case SR_EVENT_MOUNT_VALIDATED:
    case SR_EVENT_MOUNT_REJECTED:
    case SR_EVENT_MOUNT_APPLIED:
        say_mount(kind, payload, text, size);
        return;
    case SR_EVENT_NETWORK_PLAN_GENERATED:
    case SR_EVENT_NETWORK_RULE_RELEASED:
    case SR_EVENT_NETWORK_RULE_CLEANUP_FAILED:
        say_network(kind, payload, text, size);
        return;
    case SR_EVENT_NETWORK_RULE_APPLIED:
    case SR_EVENT_NETWORK_RULE_HIT:
    case SR_EVENT_NETWORK_FLOW_DENIED:
    case SR_EVENT_RESOURCE_SAMPLED:
        say_count(kind, payload, text, size);
        return;
    case SR_EVENT_VM_STARTED:
        evidence_take_text(payload, "launcher", one, sizeof one);
        evidence_take_text(payload, "accel", two, sizeof two);
        snprintf(text, size, "VM started by %s%s%s", or_unknown(one),
                 two[0] != '\0' ? ", accelerator " : "", two);
        return;
    case SR_EVENT_VM_ACCEL_SELECTED:
        evidence_take_text(payload, "accel", one, sizeof one);
        evidence_take_text(payload, "reason", two, sizeof two);
        evidence_take_message(payload, three, sizeof three);
        snprintf(text, size, "accelerator %s: %s%s", or_unknown(one), two, three);
        return;
    case SR_EVENT_VM_EXITED:
        say_vm_exit(payload, text, size);
        return;
    case SR_EVENT_RUN_CLEANED:
        snprintf(text, size, "nothing left on the host but the run's directory");
        return;
    case SR_EVENT_RUN_FAILED:
        evidence_take_text(payload, "errorCode", one, sizeof one);
        evidence_take_text(payload, "path", two, sizeof two);
        evidence_take_message(payload, three, sizeof three);
        snprintf(text, size, "failed: %s %s: %s", one, two, three);
        return;
    case SR_EVENT_OUTPUT_COLLECTED:
        say_output(payload, text, size);
        return;
    case SR_EVENT_TYPE_COUNT:
        break;
    }
    text[0] = '\0';
}

void evidence_exit_sentence(const struct evidence_summary *s, char *text, size_t size)
{
    static const struct {
        const char *cause, *sentence;
    } ends[] = {
        {"timeout", "stopped: its time was up"},
        {"interrupted", "interrupted from outside"},
        {"guest-oom", "the guest's memory was used up"},
        {"host-oom", "the VM took more memory than the host allows it"},
        {"vmm", "the VM failed"},
        {"setup", "the run did not begin, or the host failed it"},
        {"cleanup", "the command ended, but not all could be taken down"},
    };
    if (strcmp(s->cause, "workload") == 0 && s->signal > 0) {
        snprintf(text, size, "ended by signal %lld", (long long)s->signal);
        return;
    }
    if (!s->has_exit && s->exit_code < 0) {
        snprintf(text, size, "how it ended is not recorded");
        return;
    }
    if (strcmp(s->cause, "workload") == 0 || !s->has_exit) {
        snprintf(text, size, "ended with status %lld",
                 (long long)(s->code >= 0 ? s->code : s->exit_code));
        return;
    }
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (strcmp(s->cause, ends[i].cause) == 0) {
            snprintf(text, size, "%s", ends[i].sentence);
            return;
        }
    }
    snprintf(text, size, "ended: %s", or_unknown(s->cause));
}
