/* The report's members; what events say is in summary_events.c. */
#include "evidence/summary_state.h"

#include "evidence/report.h"
#include "evidence/take.h"

#include <string.h>

struct evidence_summary *evidence_summary_new(void)
{
    struct evidence_summary *summary = calloc(1, sizeof *summary);
    if (summary == NULL)
        return NULL;
    summary->points_each = 1;
    summary->timeout_sec = summary->vmm_cpu_usec = summary->stdout_bytes = summary->stderr_bytes =
        summary->guest_exit_code = summary->guest_signal = summary->guest_oom_kills = -1;
    return summary;
}

void evidence_summary_free(struct evidence_summary *summary)
{
    free(summary);
}

static void take_files(struct evidence_summary *summary, struct sr_json_slice map)
{
    struct sr_json_member member;
    if (!sr_json_is_object(map))
        return;
    for (size_t at = 0; sr_json_next_member(map, &at, &member);) {
        if (summary->file_count == EVIDENCE_SUMMARY_FILES) {
            summary->more_files++;
            continue;
        }
        struct evidence_summary_file *file = &summary->files[summary->file_count++];
        evidence_take_key(member.key, file->name, sizeof file->name);
        evidence_take_string(member.value, file->hash, sizeof file->hash);
    }
}

static int64_t count_of(struct sr_json_slice object, const char *name)
{
    int64_t number = evidence_take_number(object, name);
    return number > 0 ? number : 0;
}

static void take_members(struct evidence_summary *s, const struct evidence_report_walk *walk)
{
    struct sr_json_slice artifacts = evidence_report_member(walk, "artifacts"),
                         assurance = evidence_report_member(walk, "assurance"),
                         limits = sr_json_get(assurance, "limits"),
                         network = evidence_report_member(walk, "networkAudit"),
                         mounts = evidence_report_member(walk, "mountAudit"),
                         ended = evidence_report_member(walk, "exit");
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
        {evidence_report_member(walk, "integrity"), "digest", s->digest, sizeof s->digest},
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
        {evidence_report_member(walk, "policySummary"), "name", s->policy_name,
         sizeof s->policy_name},
        {evidence_report_member(walk, "archive"), "bundleId", s->bundle_id, sizeof s->bundle_id},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        evidence_take_text(texts[i].object, texts[i].name, texts[i].text, texts[i].size);
    evidence_take_string(evidence_report_member(walk, "runId"), s->run_id, sizeof s->run_id);
    evidence_take_string(evidence_report_member(walk, "startedAt"), s->started, sizeof s->started);
    evidence_take_string(evidence_report_member(walk, "finishedAt"), s->finished,
                         sizeof s->finished);
    if (!sr_json_integer(evidence_report_member(walk, "exitCode"), &s->exit_code))
        s->exit_code = -1;
    s->has_exit = sr_json_is_object(ended);
    s->code = evidence_take_number(ended, "code");
    s->signal = evidence_take_number(ended, "signal");
    s->rules_total = count_of(network, "rulesTotal");
    s->allowed_hits = count_of(network, "allowedHits");
    s->blocked_hits = count_of(network, "blockedHits");
    s->mounts_accepted = count_of(mounts, "accepted");
    s->mounts_rejected = count_of(mounts, "rejected");
    take_files(s, sr_json_get(artifacts, "files"));
}

int evidence_summary_read(struct evidence_summary *summary, int fd, struct sr_error *err)
{
    sr_cleanup_report_walk struct evidence_report_walk walk = {.reader.copy_fd = -1};
    struct summary_reader reader = {.summary = summary};
    int result = evidence_report_walk(&walk, fd, 0, summary_event, &reader, err);
    evidence_event_free(&reader.event);
    if (result < 0)
        return -1;
    if (!sr_json_is(evidence_report_member(&walk, "schemaVersion"), EVIDENCE_REPORT_SCHEMA))
        return sr_fail(err, SR_EVD_301, "schemaVersion", "is not that of a report of safe-run");
    take_members(summary, &walk);
    summary_events_end(summary);
    return 0;
}

uint64_t evidence_summary_denied(const struct evidence_summary *s)
{
    /* Blocked hits are a part of what was denied, and all that the first reports know of it. */
    uint64_t most = s->flow_packets > s->frames_denied ? s->flow_packets : s->frames_denied;
    return (uint64_t)s->blocked_hits > most ? (uint64_t)s->blocked_hits : most;
}

uint64_t evidence_summary_dropped(const struct evidence_summary *s)
{
    uint64_t sum = 0;
    for (int i = 0; i < EVIDENCE_DROP_COUNT; i++)
        sum += s->dropped[i]; /* each at most 2^53 */
    return sum;
}

bool evidence_summary_uncounted(const struct evidence_summary *s)
{
    return s->counts[SR_EVENT_NETWORK_PLAN_GENERATED] > 0 && s->counts[SR_EVENT_VM_STARTED] > 0 &&
           s->counts[SR_EVENT_NETWORK_RULE_RELEASED] == 0 &&
           strcmp(s->failure_path, "monitor.supervisor") == 0;
}

size_t evidence_summary_steps(const struct evidence_summary *summary)
{
    const size_t most = EVIDENCE_SUMMARY_FIRST_STEPS + EVIDENCE_SUMMARY_LAST_STEPS;
    return summary->step_count < most ? (size_t)summary->step_count : most;
}

const struct evidence_summary_step *evidence_summary_step(const struct evidence_summary *summary,
                                                          size_t index)
{
    if (index < EVIDENCE_SUMMARY_FIRST_STEPS)
        return &summary->first[index];
    uint64_t behind = index - EVIDENCE_SUMMARY_FIRST_STEPS,
             dropped = summary->step_count - evidence_summary_steps(summary);
    return &summary->last[(behind + dropped) % EVIDENCE_SUMMARY_LAST_STEPS];
}
