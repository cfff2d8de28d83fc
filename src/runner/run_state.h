/*
 * The state of one run, shared by the files of this module and by nothing else.
 *
 *   run.c       the story, top to bottom
 *   prepare.c   what the run asks for, recorded; artefacts
 *   reserve.c   room on the disk for the end of the evidence
 *   image.c     the image that the policy names, and its defaults
 *   secrets.c   values that go to the guest alone
 *   mounts.c    the host's files for the guest, packed, and what is recorded of them
 *   network.c   the run's network, and what is recorded of it
 *   launch.c    the VM: descriptors, accelerator, fallback
 *   monitor.c   the event loop, from launch to the end of the command
 *   event_room.c  how much of what goes on may be recorded
 *   outputs.c   what the command left for the host
 *   decide.c    what came out, as a function of facts
 *   outcome.c   these facts, and what came out as evidence
 *   word.c      what the guest says of a failure
 */
#ifndef SR_RUNNER_RUN_STATE_H
#define SR_RUNNER_RUN_STATE_H

#include "cgroup/cgroup.h"
#include "channel/channel.h"
#include "evidence/fact.h"
#include "host/host.h"
#include "host/inputs.h"
#include "jail/jail.h"
#include "loop/loop.h"
#include "net/net.h"
#include "record/record.h"
#include "runner/decide.h"
#include "runner/sink.h"
#include "saferun/bundle.h"
#include "saferun/explain.h"
#include "saferun/image.h"
#include "saferun/run.h"
#include "vmm/driver.h"

#include <jansson.h>
#include <signal.h>

enum run_phase {
    PHASE_PREPARE,    /* no VM yet */
    PHASE_BOOT,       /* the VM was started; init has not said hello */
    PHASE_STARTING,   /* init has the specification */
    PHASE_RUNNING,    /* the command runs */
    PHASE_COLLECTING, /* the command ended, and its outputs come */
    PHASE_ENDING,     /* the command ended, or is to end with the VM */
    PHASE_OVER,       /* the VM is gone */
};

/* A copy of a stream into a file, bounded; the last bytes are kept for error messages. */
struct run_tail {
    int in_fd, log_fd;
    uint64_t bytes, logged;
    char last[200];
};

/* What the guest said of a failure, apart from the host's own sentence in struct sr_error. */
struct run_word {
    bool decides;        /* the failure rests on it */
    const char *outcome; /* "refused", "missing", "unreadable": what it said, in our words; NULL:
                            none of these */
    uint32_t status;     /* the exit status that it gave for a refusal; else 0 */
    char text[400];      /* its own words, printable; empty: none */
};

/* What events have told of a target so far. */
struct run_hits {
    uint64_t allowed, blocked;
};

/* What runtime.image stands for. */
struct run_image {
    char path[PATH_MAX];
    char pinned[SR_IMAGE_DIGEST_TEXT]; /* by the policy; empty: not */
    const char *from;                  /* "path", "store", "built-in" */
    bool is_stored;
    struct sr_image stored;        /* when it is */
    struct sr_effective effective; /* policy and image together */
};

/* A value of the environment on its way to the guest. */
struct run_secret {
    char *text; /* mapped bytes of its own; NULL: not there, or not any more */
    size_t len, mapped;
    char hmac[SR_HMAC_TEXT]; /* empty: the value could not be had */
};

/* When the phases of the VM began, of CLOCK_MONOTONIC, which a suspend does not advance; 0: not
 * yet. */
struct run_times {
    uint64_t launched;  /* the first VM, if a second was started */
    uint64_t started;   /* the command */
    uint64_t ended;     /* the command, or the VM was told to end before it had */
    uint64_t collected; /* nothing more is wanted of the guest */
    uint64_t gone;      /* the VMM has ended */
};

enum run_net_state {
    RUN_NET_NONE,
    RUN_NET_OPEN,
    RUN_NET_CLOSING, /* the command has ended, and with it what it may send */
    RUN_NET_CLOSED,
};

/* What the event loop waits for (monitor.c). */
enum { RUN_SOURCES = 12, RUN_TIMERS = 8 };

struct run {
    const struct sr_run_options *options;
    struct sr_run_result *result;
    struct sr_host_config config;
    struct sr_bundle bundle;
    struct record *record;
    struct sr_jail_files jail_files; /* empty: no jail */
    struct sr_jail_plan jail;
    bool confined;
    int uid_fd; /* holds jail.uid for this run */
    struct sr_cgroup cgroup;
    const char *holders[SR_CONTROLLER_COUNT]; /* of the limits, from the cgroup's creation on */
    bool helpers_held;                        /* by the limit on CPU time, too */
    const char *cgroup_end;                   /* what became of it; NULL: not yet known */
    struct sr_cgroup_usage last_usage;
    bool cgroup_left; /* it could not be removed */
    bool net_left;    /* the network could not be released */
    struct run_image image;
    struct run_secret *secrets; /* one for each secret of the policy; NULL: none yet */
    char secret_salt[65];       /* hex digits; empty: not drawn yet */
    struct sr_artifact kernel, initrd, rootfs;
    struct run_places *places; /* mounts.c's; NULL: none yet */
    struct sr_input *inputs;   /* one for each mount of the policy; NULL: none yet */
    int disks[VMM_INPUTS_MAX], joined_fd;
    size_t disk_count;
    struct run_outputs *outputs; /* NULL: none, or not yet */
    char command_hash[SR_SHA256_TEXT], policy_hash[SR_SHA256_TEXT];
    struct sr_tsc_sample tsc_start;
    uint32_t timeout_sec;

    enum run_phase phase;
    enum vmm_accel accel;
    const struct vmm_driver *driver;
    struct vmm vmm;
    struct vmm_description told; /* by the VMM, once it is gone */
    struct sr_net *net;          /* NULL: mode none, or not yet */
    struct run_hits *hits;       /* of each of its targets */
    struct denials *denials;
    unsigned denials_told;  /* of them, while the command ran */
    int64_t counters_asked; /* when the last request for counters was sent, by the log's clock */
    enum run_net_state net_state;
    struct sr_error net_failure; /* of its end; code SR_OK: none */
    struct sr_channel channel;
    int channel_fd;
    struct sr_sink out, err;
    struct run_tail console, vmm_log;
    bool stdin_open;
    struct run_times times;

    /* The loop. Deadlines are monotonic nanoseconds, LOOP_NEVER: none. */
    sigset_t signals; /* that it reads from signal_fd, and that are blocked */
    int signal_fd;
    struct loop loop;
    struct loop_source sources[RUN_SOURCES];
    struct loop_timer timers[RUN_TIMERS];
    bool vm_gone;  /* its process has ended */
    bool ended_vm; /* by us, before it ended by itself */
    bool forced;   /* the same, and nothing more is owed to anybody */
    struct sr_cpu_times
        boot_cpus; /* when a VM was started under an accelerator on trial; else not known */
    bool silent;   /* its guest said nothing although it could have */
    uint64_t boot_deadline, timeout_deadline, kill_deadline, sample_deadline, end_deadline;
    bool asked_hard;     /* the command was sent SIGKILL, so that its outputs can still be had */
    unsigned interrupts; /* SIGINTs so far */
    int ended_by_signal; /* the supervisor's own: SIGINT, SIGTERM, SIGHUP */

    /* What came out. */
    bool timed_out, has_exit, refused;
    uint32_t refused_status;
    struct run_word refusal;
    struct sr_frame_exit exit;
    struct sr_frame_usage guest_usage; /* the guest's last word on it */
    bool has_guest_usage;
    unsigned samples;        /* recorded */
    uint64_t events_omitted; /* for want of room */
    uint64_t hits_due;       /* before then no hits of rules are recorded; monotonic nanoseconds */
    struct sr_error error;   /* the first failure; code SR_OK: none */
    struct run_word word;    /* what the guest said of it */
    struct run_facts facts;  /* outcome.c's, once the VM is gone */
    struct run_verdict verdict;
};

/* Tells the user's progress function, if there is one. */
void run_progress(const struct run *run, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends an event; takes payload. NULL (memory was out) fails with SR-EVD-001. */
int run_event(struct run *run, enum sr_stage stage, enum sr_event_type type, json_t *payload,
              struct sr_error *err) SR_MUST_CHECK;

/* event_room.c: whether one more event fits that can happen again; if not, it is counted. */
bool run_has_event_room(struct run *run);
/* Refuses a network of more addresses than can be recorded: SR-RUN-201 at launch.network.apply. */
int run_refuse_many_targets(const struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Sets when hits of rules may be recorded again, after so many. */
void run_wait_for_hits(struct run *run, size_t recorded);

/* prepare.c; an artefact is opened (host.h) on behalf of a run. */
int run_open_artifact(struct run *run, const struct sr_artifact_plan *plan,
                      struct sr_artifact *artifact, struct sr_error *err) SR_MUST_CHECK;
int run_prepare(struct run *run, struct sr_error *err) SR_MUST_CHECK;

/* reserve.c: holds room on the disk for the end of the evidence; again when there is more to come. */
int run_owe(struct run *run, struct sr_error *err) SR_MUST_CHECK;

/* image.c: finds the image; opens it, and refuses what is not what it was said to be. */
int run_choose_image(struct run *run, struct sr_error *err) SR_MUST_CHECK;
int run_open_image(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* What run.prepared says of the image; what it says in its runtime of what was taken from it. */
json_t *run_image_facts(const struct run *run);
void run_runtime_record(const struct run *run, struct facts *runtime);

/* secrets.c: fetches the policy's secrets; says in run.prepared's runtime what evidence has of
 * them; hands them to the guest; overwrites them. Nothing without secrets. */
int run_secrets_take(struct run *run, struct sr_error *err) SR_MUST_CHECK;
void run_secrets_record(const struct run *run, struct facts *runtime);
void run_secrets_specify(const struct run *run, struct sr_buf *spec);
void run_secrets_drop(struct run *run);

/* Tells the user how far a copy is; false when a signal ends the run. context: the run. */
bool run_tell_progress(void *context, const char *what, uint64_t done, uint64_t total);

/* mounts.c: packs what the policy mounts; what the VM and its guest need to know of it; closes it
 * all. Nothing without mounts. */
int run_mounts_apply(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Refuses what is in or above a place where safe-run keeps what no guest may see. name says what fd
 * is. */
int run_refuse_ours(struct run *run, int fd, const char *name, struct sr_error *err) SR_MUST_CHECK;
void run_mounts_specify(const struct run *run, struct sr_buf *spec);
void run_mounts_release(struct run *run);

/* outputs.c: each does nothing without outputs. Prepare before the supervisor is confined. */
int run_outputs_prepare(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* What the guest sends of them. */
int run_outputs_take(struct run *run, const struct sr_channel_event *event,
                     struct sr_error *err) SR_MUST_CHECK;
/* What the loop waits for: a descriptor (-1: nothing), whether to write to it, and until when. */
int run_outputs_fd(const struct run *run, bool *writable);
int run_outputs_ready(struct run *run, struct sr_error *err) SR_MUST_CHECK;
bool run_outputs_pending(const struct run *run);
/* The command has ended: the time that they have begins. */
void run_outputs_begin(struct run *run);
/* The most they have in all; 0: there are none. */
uint64_t run_outputs_limit_nsec(const struct run *run);
/* When run_outputs_late() is to be called; UINT64_MAX: not at all. Whether nothing more is to be
 * waited for. */
uint64_t run_outputs_deadline(const struct run *run);
bool run_outputs_late(struct run *run);
/* Once the VM is gone: hashes what is there, gives it its name or removes it. */
void run_outputs_conclude(struct run *run);
/* The first that was not collected, and what the guest said of it; or NULL. */
const struct sr_error *run_outputs_failure(const struct run *run, struct run_word *word);
int run_outputs_record(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Of the entries that are going to be in the events of outputs; 0 before they are hashed. */
uint64_t run_outputs_entry_bytes(const struct run *run);
/* The directory that outputs are in; -1: none. */
int run_outputs_directory(const struct run *run);
void run_outputs_release(struct run *run);

/* network.c: each does nothing in mode none. Apply before the VM starts; sample at any time; close
 * when the last command has ended, settle when the VM is gone, end in the end. */
int run_network_apply(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Writes "none", "pasta" or "bridge:<name>" into text and returns it. */
#define SR_UPLINK_TEXT_MAX 32
const char *run_uplink(const struct run *run, char text[SR_UPLINK_TEXT_MAX]);
int run_network_sample(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Starts asking for names again, or goes on with it: when net->refresh_nsec has come, the resolver
 * has something, or its deadline is over. */
int run_network_refresh(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* When the net cell has something, or run_network_deadline() is over: records what came. */
int run_network_hear(struct run *run, struct sr_error *err) SR_MUST_CHECK;
uint64_t run_network_deadline(const struct run *run);
/* Begins to take the network down, once. What goes wrong from here on is in net_failure, and in
 * evidence; -1: that failed. */
int run_network_close(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Waits until the network is closed, and closes it if nobody has: for the net cell's deadline at
 * most, for less if a signal is to end the run. */
int run_network_settle(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* After the release: waits until every process of the network has ended; for a second or two at
 * most. */
int run_network_end(struct run *run, struct sr_error *err) SR_MUST_CHECK;

/* limits.c: the run's cgroup, as far as this host has one for it. */
int run_prepare_limits(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Bytes of private memory that the VMM may have, with the guest's RAM. Its cgroup has more, so that
 * TCG bounds its tables before the kernel looks for a process to kill. */
uint64_t run_vmm_data_max(const struct run *run);
struct run_limits_text {
    char cpu[64], memory[96], pids[64];
};
void run_limits_text(const struct run *run, struct run_limits_text *text);
/* CPU time and memory of the VMM, what else is known of the run, and who says so. */
int run_usage(struct run *run, struct sr_cgroup_usage *usage, const char **source) SR_MUST_CHECK;
/* Once the VMM is reaped: the last counters, in run->last_usage. */
void run_note_usage(struct run *run);
/* Once the network's processes are reaped too, and the collector. Says what became of the cgroup;
 * again the same. */
const char *run_release_limits(struct run *run);

/* launch.c: finds what the VMM's jail needs. */
int run_prepare_jail(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Starts the VM under accelerator and leaves run in PHASE_BOOT. last: no other VM will be
 * started. */
int run_launch(struct run *run, enum vmm_accel accel, const char *reason, bool last,
               struct sr_error *err) SR_MUST_CHECK;
/* Which accelerator to begin with, and whether TCG is to be tried when its guest does not come up.
 */
int run_choose_accel(struct run *run, enum vmm_accel *accel, const char **reason, bool *fallback,
                     struct sr_error *err) SR_MUST_CHECK;
/* Gives up what the supervisor does not need any more; nothing the second time. */
int run_confine(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* The specification as the guest's init wants it. */
int run_send_spec(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* When the guest has said nothing until its deadline, and before its VM is ended: whether it could
 * have. */
void run_note_silence(struct run *run);
/* Whether it is KVM's fault, as far as can be told, that no guest came up under it. The VM has
 * ended and is not dropped yet. */
bool run_blames_kvm(const struct run *run);
/* Kills what is left of the VM and forgets it. */
void run_drop_vm(struct run *run);

/* monitor.c: runs the loop until init said hello (PHASE_BOOT left), or, with to_the_end, until the
 * VM is gone. -1: the run failed, err says how; the VM may still be there. */
int run_monitor_open(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Whether a signal has come that ends the run; for all that takes its time before there is a VM. */
bool run_interrupted(struct run *run);
/* Whether another has come, for what takes its time behind the VM's end. */
bool run_interrupted_again(struct run *run);
/* Begins to watch a VM that was started. */
void run_monitor_watch_vm(struct run *run);
int run_monitor(struct run *run, bool to_the_end, struct sr_error *err) SR_MUST_CHECK;
/* Notes that the VM is gone, if the loop was left before. */
void run_monitor_end(struct run *run);
void run_monitor_close(struct run *run);
/* What a command gets when its time is over: between SIGTERM and the end of its VM; with outputs
 * the same again between SIGKILL and that. */
#define RUN_GRACE_NSEC (2 * SR_NSEC_PER_SEC)
/* What a VMM that was killed has to be gone. */
#define RUN_END_NSEC (10 * SR_NSEC_PER_SEC)

/* word.c: takes text that the guest sent; len may be 0. */
void run_word_take(struct run_word *word, const void *text, size_t len);
/* Adds the guest's word as the member `guest`; nothing when it said nothing. */
void run_word_record(const struct run_word *word, struct facts *facts);
/* The failure as the caller is told of it: the guest's words instead of the host's sentence about
 * them, or behind it. That nothing was left the caller is told without them. */
struct sr_error run_word_error(const struct run_word *word, const struct sr_error *error);

/* outcome.c: after the VM is gone. Fills the result and writes the closing events and the
 * report. */
void run_conclude(struct run *run);

#endif
