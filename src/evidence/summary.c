/* The report's members; what events say is in summary_events.c. */
#include "evidence/summary_state.h"

#include "evidence/report.h"
#include "evidence/take.h"

#include <string.h>

struct sr_summary *sr_summary_new(void)
{
    struct sr_summary *summary = calloc(1, sizeof *summary);
    if (summary == NULL)
        return NULL;
    summary->points_each = 1;
    summary->timeout_sec = summary->vmm_cpu_usec = summary->stdout_bytes = summary->stderr_bytes =
        summary->guest_exit_code = summary->guest_signal = summary->guest_oom_kills = -1;
    return summary;
}

void sr_summary_free(struct sr_summary *summary)
{
    free(summary);
}

static void take_files(struct sr_summary *summary, struct sr_json_slice map)
{
    struct sr_json_member member;
    if (!sr_json_is_object(map))
        return;
    for (size_t at = 0; sr_json_next_member(map, &at, &member);) {
        if (summary->file_count == SR_SUMMARY_FILES) {
            summary->more_files++;
            continue;
        }
        struct sr_summary_file *file = &summary->files[summary->file_count++];
        sr_take_key(member.key, file->name, sizeof file->name);
        sr_take_string(member.value, file->hash, sizeof file->hash);
    }
}

static int64_t count_of(struct sr_json_slice object, const char *name)
{
    int64_t number = sr_take_number(object, name);
    return number > 0 ? number : 0;
}

static void take_members(struct sr_summary *s, const struct sr_report_walk *walk)
{
    struct sr_json_slice artifacts = sr_report_member(walk, "artifacts"),
                         assurance = sr_report_member(walk, "assurance"),
                         limits = sr_json_get(assurance, "limits"),
                         network = sr_report_member(walk, "networkAudit"),
                         mounts = sr_report_member(walk, "mountAudit"),
                         ended = sr_report_member(walk, "exit");
    const struct {
        struct sr_json_slice object;
        const char *name;
        char *text;
        size_t size;
    } texts[] = {
        {artifacts, "kernelHash", s->kernel_hash, sizeof s->kernel_hash},
        {artifacts, "rootfsHash", s->rootfs_hash, sizeof s->rootfs_hash},
        {artifacts, "policyHash", s->policy_hash, sizeof s->policy_hash},
        {artifacts, "commandHash", s->command_hash, sizeof s->command_hash},
        {sr_report_member(walk, "integrity"), "digest", s->digest, sizeof s->digest},
        {ended, "cause", s->cause, sizeof s->cause},
        {ended, "observedBy", s->exit_seen_by, sizeof s->exit_seen_by},
        {assurance, "vmm", s->vmm, sizeof s->vmm},
        {assurance, "vmmVersion", s->vmm_version, sizeof s->vmm_version},
        {assurance, "accel", s->accel, sizeof s->accel},
        {assurance, "jail", s->jail, sizeof s->jail},
        {assurance, "uplink", s->uplink, sizeof s->uplink},
        {limits, "cpu", s->limit_cpu, sizeof s->limit_cpu},
        {limits, "memory", s->limit_memory, sizeof s->limit_memory},
        {limits, "pids", s->limit_pids, sizeof s->limit_pids},
        {limits, "disk", s->limit_disk, sizeof s->limit_disk},
        {network, "mode", s->network_mode, sizeof s->network_mode},
        {sr_report_member(walk, "policySummary"), "name", s->policy_name, sizeof s->policy_name},
        {sr_report_member(walk, "archive"), "bundleId", s->bundle_id, sizeof s->bundle_id},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        sr_take_text(texts[i].object, texts[i].name, texts[i].text, texts[i].size);
    sr_take_string(sr_report_member(walk, "runId"), s->run_id, sizeof s->run_id);
    sr_take_string(sr_report_member(walk, "startedAt"), s->started, sizeof s->started);
    sr_take_string(sr_report_member(walk, "finishedAt"), s->finished, sizeof s->finished);
    if (!sr_json_integer(sr_report_member(walk, "exitCode"), &s->exit_code))
        s->exit_code = -1;
    s->has_exit = sr_json_is_object(ended);
    s->code = sr_take_number(ended, "code");
    s->signal = sr_take_number(ended, "signal");
    s->rules_total = count_of(network, "rulesTotal");
    s->allowed_hits = count_of(network, "allowedHits");
    s->blocked_hits = count_of(network, "blockedHits");
    s->mounts_accepted = count_of(mounts, "accepted");
    s->mounts_rejected = count_of(mounts, "rejected");
    take_files(s, sr_json_get(artifacts, "files"));
}

int sr_summary_read(struct sr_summary *summary, int fd, struct sr_error *err)
{
    sr_cleanup_report_walk struct sr_report_walk walk = {.reader.copy_fd = -1};
    struct summary_reader reader = {.summary = summary};
    int result = sr_report_walk(&walk, fd, 0, summary_event, &reader, err);
    sr_event_free(&reader.event);
    if (result < 0)
        return -1;
    if (!sr_json_is(sr_report_member(&walk, "schemaVersion"), SR_REPORT_SCHEMA))
        return sr_fail(err, SR_EVD_301, "schemaVersion", "is not that of a report of safe-run");
    take_members(summary, &walk);
    summary_events_end(summary);
    return 0;
}

uint64_t sr_summary_denied(const struct sr_summary *s)
{
    /* Blocked hits are a part of what was denied, and all that the first reports know of it. */
    uint64_t most = s->flow_packets > s->frames_denied ? s->flow_packets : s->frames_denied;
    return (uint64_t)s->blocked_hits > most ? (uint64_t)s->blocked_hits : most;
}

uint64_t sr_summary_dropped(const struct sr_summary *s)
{
    uint64_t sum = 0;
    for (int i = 0; i < SR_DROP_COUNT; i++)
        sum += s->dropped[i]; /* each at most 2^53 */
    return sum;
}

bool sr_summary_uncounted(const struct sr_summary *s)
{
    return s->counts[SR_EVENT_NETWORK_PLAN_GENERATED] > 0 && s->counts[SR_EVENT_VM_STARTED] > 0 &&
           s->counts[SR_EVENT_NETWORK_RULE_RELEASED] == 0 &&
           strcmp(s->failure_path, "monitor.supervisor") == 0;
}

size_t sr_summary_steps(const struct sr_summary *summary)
{
    const size_t most = SR_SUMMARY_FIRST_STEPS + SR_SUMMARY_LAST_STEPS;
    return summary->step_count < most ? (size_t)summary->step_count : most;
}

const struct sr_summary_step *sr_summary_step(const struct sr_summary *summary, size_t index)
{
    if (index < SR_SUMMARY_FIRST_STEPS)
        return &summary->first[index];
    uint64_t behind = index - SR_SUMMARY_FIRST_STEPS,
             dropped = summary->step_count - sr_summary_steps(summary);
    return &summary->last[(behind + dropped) % SR_SUMMARY_LAST_STEPS];
}
