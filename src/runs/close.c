/*
 * An end for a run whose supervisor died: what its events and documents tell goes into a report
 * like any other, with the cause "interrupted". Nothing in it is guessed: what is not known says
 * so.
 */
#include "runs/runs.h"

#include "common/fs.h"
#include "common/json_member.h"
#include "evidence/attest.h"
#include "evidence/fact.h"
#include "evidence/output_digest.h"
#include "host/host.h"
#include "saferun/policy.h"
#include "saferun/run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define ALL_TYPES ((1u << SR_EVENT_TYPE_COUNT) - 1)

/* Sorted, as reports want them. */
static const char *const vouched[RUNS_VOUCHED] = {
    "bundle.json", "command.json", EVIDENCE_OUTPUT_MANIFEST, "policy.json", "ruleset.nft",
    "stderr.log",  "stdout.log"};

size_t runs_hash_files(int dirfd, struct sr_hasher *hasher,
                       struct evidence_report_file files[RUNS_VOUCHED],
                       char hashes[RUNS_VOUCHED][SR_SHA256_TEXT])
{
    size_t count = 0;
    for (size_t i = 0; i < RUNS_VOUCHED; i++) {
        sr_cleanup_fd int fd = openat(dirfd, vouched[i], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && sr_sha256_fd(hasher, fd, hashes[count]) == 0) {
            files[count] = (struct evidence_report_file){vouched[i], hashes[count]};
            count++;
        }
    }
    return count;
}

/* What the events of a dead run tell. */
struct remains {
    char kernel_hash[SR_SHA256_TEXT], rootfs_hash[SR_SHA256_TEXT], policy_hash[SR_SHA256_TEXT],
        command_hash[SR_SHA256_TEXT], accel[16], uplink[32], started[SR_TIMESTAMP_TEXT];
    bool vm;
};

static void take_event(struct remains *remains, const json_t *event)
{
    const char *type = sr_member_text(event, "type");
    const json_t *payload = json_object_get(event, "payload");
    if (type == NULL)
        return;
    if (remains->started[0] == '\0')
        sr_member_copy(event, "timestamp", remains->started, sizeof remains->started);
    if (strcmp(type, "compile") == 0) {
        sr_member_copy(payload, "policyHash", remains->policy_hash, sizeof remains->policy_hash);
        sr_member_copy(payload, "commandHash", remains->command_hash, sizeof remains->command_hash);
    } else if (strcmp(type, "vm.started") == 0) {
        remains->vm = true;
        sr_member_copy(payload, "kernelHash", remains->kernel_hash, sizeof remains->kernel_hash);
        sr_member_copy(payload, "rootfsHash", remains->rootfs_hash, sizeof remains->rootfs_hash);
        sr_member_copy(payload, "accel", remains->accel, sizeof remains->accel);
    } else if (strcmp(type, "network.plan.generated") == 0) {
        sr_member_copy(payload, "uplink", remains->uplink, sizeof remains->uplink);
    }
}

/* The log is checked by now: its chain holds up to its end. */
static void read_events(int dirfd, struct remains *remains)
{
    sr_cleanup_fd int fd = openat(dirfd, EVIDENCE_EVENTS_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    sr_cleanup_file FILE *file = fd >= 0 ? fdopen(sr_take_fd(&fd), "r") : NULL;
    sr_cleanup_free char *line = NULL;
    size_t size = 0;
    ssize_t len;
    while (file != NULL && (len = getline(&line, &size, file)) > 0) {
        json_t *event = json_loadb(line, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
        take_event(remains, event);
        json_decref(event);
    }
}

/* The policy as far as it is there, to be released. */
static json_t *load_policy(int dirfd)
{
    sr_cleanup_fd int fd = openat(dirfd, "policy.json", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

/* To be released when facts is not needed any more. */
static json_t *read_policy(int dirfd, struct evidence_report_facts *facts)
{
    json_t *policy = load_policy(dirfd);
    const json_t *network = json_object_get(policy, "network");
    const char *mode = sr_member_text(network, "mode");
    facts->network_mode =
        mode != NULL && strcmp(mode, "allowlist") == 0 ? SR_NETWORK_ALLOWLIST : SR_NETWORK_NONE;
    facts->rules_total = json_array_size(json_object_get(network, "egress"));
    facts->mount_count = json_array_size(json_object_get(policy, "mounts"));
    facts->policy_name = sr_member_text(json_object_get(policy, "metadata"), "name");
    return policy;
}

static int write_report(int dirfd, struct evidence_event_log *log, struct sr_hasher *hasher,
                        struct sr_error *err)
{
    struct remains remains = {0};
    struct evidence_report_file files[RUNS_VOUCHED];
    char hashes[RUNS_VOUCHED][SR_SHA256_TEXT];
    read_events(dirfd, &remains);
    struct evidence_report_facts facts = {
        .started_at = remains.started[0] != '\0' ? remains.started : NULL,
        .exit_code = SR_EXIT_FAILED,
        .kernel_hash = remains.kernel_hash,
        .rootfs_hash = remains.rootfs_hash,
        .policy_hash = remains.policy_hash,
        .command_hash = remains.command_hash,
        .files = files,
        .file_count = runs_hash_files(dirfd, hasher, files, hashes),
        .cause = sr_cause_name(SR_CAUSE_INTERRUPTED),
        .code = -1,
        .vmm = remains.vm ? "qemu" : "none",
        .accel = remains.vm ? remains.accel : "none",
        .uplink = remains.uplink[0] != '\0' ? remains.uplink : "none",
    };
    json_t *policy = read_policy(dirfd, &facts);
    int result = evidence_report_write(dirfd, &facts, log, err);
    json_decref(policy);
    return result;
}

static int drop_parts_in(int place, const char *id)
{
    char name[NAME_MAX + 1];
    int result = 0;
    for (unsigned i = 0; result == 0 && i < SR_OUTPUTS_MAX; i++) {
        snprintf(name, sizeof name, RUNS_PART, id, i);
        result = sr_remove_tree(place, name);
    }
    return result;
}

int runs_drop_parts(int dirfd, const char *id)
{
    char path[PATH_MAX];
    sr_cleanup_fd int inside =
        openat(dirfd, "outputs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    sr_cleanup_fd int elsewhere = -1;
    if (sr_read_small_file(dirfd, RUNS_OUTPUT_DIR, path, sizeof path) > 0)
        elsewhere = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = inside >= 0 ? drop_parts_in(inside, id) : 0;
    return result == 0 && elsewhere >= 0 ? drop_parts_in(elsewhere, id) : result;
}

static json_t *failure_facts(uint64_t dropped)
{
    struct facts facts = facts_new();
    fact_text(&facts, "reason", sr_cause_name(SR_CAUSE_INTERRUPTED));
    fact_text(&facts, "errorCode", sr_code_name(SR_RUN_001));
    fact_text(&facts, "path", "monitor.supervisor");
    fact_text(&facts, "message",
              "safe-run died before the run was over; closed by a later safe-run");
    fact_count(&facts, "droppedBytes", dropped);
    return facts_end(&facts);
}

int runs_close(int dirfd, const char *id, struct sr_error *err)
{
    struct evidence_event_log *log;
    uint64_t dropped;
    struct sr_hasher *hasher = sr_hasher_new();
    if (hasher == NULL)
        return sr_fail(err, SR_EVD_002, "report", "out of memory");
    runs_drop_reserve(dirfd);
    if (evidence_event_log_reopen(dirfd, id, ALL_TYPES, &log, &dropped, err) < 0) {
        sr_hasher_free(hasher);
        return -1;
    }
    int result = evidence_event_append(log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_FAILED,
                                       failure_facts(dropped), err);
    if (result == 0)
        result = write_report(dirfd, log, hasher, err);
    evidence_event_log_close(log);
    sr_hasher_free(hasher);
    return result;
}

int runs_sign(int dirfd, struct sr_error *err)
{
    struct host_config config;
    sr_cleanup_key struct sr_key *key = NULL;
    if (faccessat(dirfd, SR_ATTESTATION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    if (host_config_load(&config, err) < 0)
        return -1;
    json_t *policy = load_policy(dirfd);
    bool wanted = config.sign ||
                  json_is_true(json_object_get(json_object_get(policy, "require"), "signature"));
    json_decref(policy);
    if (!wanted ||
        config.sign_key[0] == '\0') /* a policy that requires it without a key has not run */
        return 0;
    return evidence_key_load_private(config.sign_key, &key, err) < 0
               ? -1
               : evidence_attest(dirfd, EVIDENCE_REPORT_FILE, key, err);
}

/* Truncates first: a process that was forked with it open would keep what is only unlinked. */
void runs_drop_reserve(int dirfd)
{
    sr_cleanup_fd int fd =
        openat(dirfd, RUNS_RESERVE, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, 0) == 0)
        unlinkat(dirfd, RUNS_RESERVE, 0);
}
