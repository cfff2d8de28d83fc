/*
 * A summary of a report, from which show, html and diff write for a person.
 *
 * Reads a report once, in memory that does not grow with it, and keeps what a page has room for:
 * lists are capped, with a count of what was left out, and samples are merged. Everything that
 * comes from the report is hostile; the texts kept here are printable UTF-8 (printable.h), cut
 * where they are long, and numbers are within 2^53 - 1. The verifier decides whether any of it is
 * true.
 *
 *   evidence_summary_new()  evidence_summary_read()  evidence_summary_free()
 */
#ifndef SR_EVIDENCE_SUMMARY_H
#define SR_EVIDENCE_SUMMARY_H

#include "common/sha256.h"
#include "common/timestamp.h"
#include "evidence/aggregate.h"
#include "evidence/contradiction.h"
#include "evidence/report_walk.h"
#include "saferun/policy.h"

/* Half of them are for rules as they were applied, half for those that were hit. */
#define EVIDENCE_SUMMARY_TARGETS 512
#define EVIDENCE_SUMMARY_FLOWS 256
/* The beginning and the end of the time line: why a run failed comes last. */
#define EVIDENCE_SUMMARY_FIRST_STEPS 100
#define EVIDENCE_SUMMARY_LAST_STEPS 50
#define EVIDENCE_SUMMARY_POINTS 256
#define EVIDENCE_SUMMARY_FILES 64
#define EVIDENCE_SUMMARY_TEXT 320
#define EVIDENCE_SUMMARY_OUTPUTS 64
#define EVIDENCE_SUMMARY_OUTPUT_FILES 200

struct evidence_summary_target {
    char protocol[16], target[64], host[256];
    int64_t port;
    uint64_t allowed, blocked; /* packets, added up */
    uint32_t hash;
};

struct evidence_summary_flow {
    char protocol[16], destination[64];
    int64_t port;
    uint64_t packets;
    int64_t first_nsec, last_nsec; /* stopped between these; 0: not known */
    uint32_t hash;
};

/* An event as a sentence. Events that come in large numbers (samples, rules, hits) are no steps. */
struct evidence_summary_step {
    enum sr_event_type kind;
    bool timed;
    bool guest;   /* the guest's word */
    int64_t nsec; /* since 1970 */
    char stage[16];
    char text[EVIDENCE_SUMMARY_TEXT];
};

/* A sample, or several in a row as one: the last CPU time, the most memory. */
struct evidence_summary_point {
    int64_t nsec;
    uint64_t cpu_usec, memory_bytes;
};

struct evidence_summary_mount {
    char source[128], target[128];
};

struct evidence_summary_file {
    char name[96], hash[SR_SHA256_TEXT];
};

/* An output of the policy, and why it is not there if it is not. */
struct evidence_summary_output {
    char name[128], hash[SR_SHA256_TEXT], message[EVIDENCE_SUMMARY_TEXT];
    bool collected, in_manifest; /* in_manifest: its files are listed in a file beside the report */
    int64_t files, bytes;
};

struct evidence_summary_output_file {
    char path[256], hash[SR_SHA256_TEXT]; /* path begins with the output's name */
    int64_t size;
};

/* What evidence has of a value from outside of the policy. */
struct evidence_summary_secret {
    char name[SR_SECRET_NAME_MAX + 1], from[8], path[256], hmac[SR_HMAC_TEXT];
};

struct evidence_summary_contradiction {
    char about[32], message[EVIDENCE_SUMMARY_TEXT];
};

struct evidence_summary {
    /* The report's own members. A text that the report does not have is "", a number -1. */
    char run_id[128], started[64], finished[64], cause[32], exit_seen_by[16];
    bool has_exit; /* exit{} is there */
    int64_t exit_code, code, signal;
    char kernel_hash[SR_SHA256_TEXT], rootfs_hash[SR_SHA256_TEXT], policy_hash[SR_SHA256_TEXT],
        command_hash[SR_SHA256_TEXT], digest[SR_SHA256_TEXT];
    struct evidence_summary_file files[EVIDENCE_SUMMARY_FILES];
    size_t file_count, more_files;
    char vmm[64], vmm_version[64], accel[32], jail[128], uplink[64];
    char limit_cpu[128], limit_memory[128], limit_pids[128], limit_disk[128];
    char network_mode[32];
    int64_t rules_total, allowed_hits, blocked_hits; /* these never negative */
    int64_t mounts_accepted, mounts_rejected;
    char policy_name[128];
    char bundle_id[128]; /* of the archive */

    /* Of run.prepared: what the command ran as and whose word that was ("policy", "image" or
     * "default"), and the variables that the image sets. */
    char ran_user[32], ran_user_from[16], ran_workdir[128], ran_workdir_from[16],
        ran_image_env[512];
    struct evidence_summary_secret secrets[SR_SECRETS_MAX];
    size_t secret_count;

    /* Of the events. */
    uint64_t event_count, odd_events; /* those that are no events */
    uint64_t counts[SR_EVENT_TYPE_COUNT];
    int64_t first_nsec, last_nsec, vm_started_nsec, vm_exited_nsec; /* 0: not known */
    int64_t timeout_sec;
    bool timed_out;
    struct evidence_summary_target targets[EVIDENCE_SUMMARY_TARGETS];
    size_t target_count;
    uint64_t more_targets, more_allowed, more_blocked;
    struct evidence_summary_flow flows[EVIDENCE_SUMMARY_FLOWS]; /* the largest, in that order */
    size_t flow_count;
    uint64_t more_flows, more_flow_packets, flow_packets; /* flow_packets: all of them */
    /* What counters say beside these, of the frames that the guest sent. */
    bool framed;
    uint64_t frames_denied, dropped[EVIDENCE_DROP_COUNT];
    struct evidence_summary_step first[EVIDENCE_SUMMARY_FIRST_STEPS];
    struct evidence_summary_step last[EVIDENCE_SUMMARY_LAST_STEPS]; /* a ring */
    uint64_t step_count;
    struct evidence_summary_point points[EVIDENCE_SUMMARY_POINTS];
    size_t point_count;
    uint64_t points_each, points_held; /* samples in a point; in the last one so far */
    char sample_source[64];
    uint64_t cpu_usec, peak_memory_bytes; /* of the samples */

    /* Of vm.exited. */
    struct evidence_exit_facts exit;
    bool vm_exited;
    int64_t vmm_cpu_usec, stdout_bytes, stderr_bytes, guest_exit_code, guest_signal,
        guest_oom_kills;
    struct evidence_summary_contradiction contradictions[16];
    size_t contradiction_count;

    struct evidence_summary_output outputs[EVIDENCE_SUMMARY_OUTPUTS];
    size_t output_count;
    struct evidence_summary_output_file output_files[EVIDENCE_SUMMARY_OUTPUT_FILES];
    size_t output_file_count;
    uint64_t more_outputs, more_output_files;

    char failure_code[32], failure_path[128], failure[EVIDENCE_SUMMARY_TEXT]; /* of run.failed */
};

/* NULL when memory is out. */
struct evidence_summary *evidence_summary_new(void);
void evidence_summary_free(struct evidence_summary *summary);

/* Reads the report behind fd (from its start; regular file). Fails as evidence_report_walk() does,
 * and with SR-EVD-301 at `schemaVersion` for another document. After a failure, only free
 * summary. */
int evidence_summary_read(struct evidence_summary *summary, int fd,
                          struct sr_error *err) SR_MUST_CHECK;

/* Return the packets that the network stopped: denied ones, whether their destinations are known or
 * not; and frames that were dropped for another reason. */
uint64_t evidence_summary_denied(const struct evidence_summary *summary);
uint64_t evidence_summary_dropped(const struct evidence_summary *summary);
/* Returns true when the network's counters were not read at the end, because safe-run died. Only
 * events say then what was let out and stopped. */
bool evidence_summary_uncounted(const struct evidence_summary *summary);
/* Returns why frames were dropped, to follow their number: "neither IPv4 nor ARP". */
const char *evidence_drop_sentence(enum evidence_drop drop);

/* Return how many steps are kept, and each of them in order. */
size_t evidence_summary_steps(const struct evidence_summary *summary);
const struct evidence_summary_step *evidence_summary_step(const struct evidence_summary *summary,
                                                          size_t index);

/* Writes an event's message, and behind it what the guest said, as a quotation (sentence.c). */
void evidence_take_message(struct sr_json_slice payload, char *text, size_t size);
/* Writes what an event says as one sentence (sentence.c). */
void evidence_event_sentence(enum sr_event_type kind, struct sr_json_slice payload, char *text,
                             size_t size);
/* Writes name, source, and the digits of the HMAC (sentence.c): "TOKEN from env, HMAC 0123...". */
void evidence_secret_sentence(const struct evidence_summary_secret *secret, char *text,
                              size_t size);
/* Writes how the run ended as one sentence (sentence.c). */
void evidence_exit_sentence(const struct evidence_summary *summary, char *text, size_t size);

#endif
