/*
 * The state of one run, shared by the files of this room and by nothing else.
 *
 *   run.c         the story, top to bottom
 *   artifacts.c   how files of the host are opened on behalf of a run
 *   signals.c     those that safe-run itself gets
 *   prepare.c     what the run asks for, recorded; artefacts
 *   image.c       the image that the policy names, and its defaults
 *   secrets.c     values that go to the guest alone
 *   mounts.c      the host's files for the guest, packed, and what is recorded of them
 *   network.c     the run's network, and what is recorded of it
 *   spec.c        the command, as init takes it
 *   monitor.c     what the loop serves beside machine and session
 *   reserve.c     room on the disk for the end of the evidence
 *   event_room.c  how much of what goes on may be recorded
 *   decide.c      what came out, as a function of facts
 *   outcome.c     these facts, and what came out as evidence
 */
#ifndef SR_RUNNER_RUN_STATE_H
#define SR_RUNNER_RUN_STATE_H

#include "common/tell.h"
#include "evidence/fact.h"
#include "host/host.h"
#include "host/inputs.h"
#include "loop/loop.h"
#include "machine/machine.h"
#include "net/net.h"
#include "record/record.h"
#include "runner/decide.h"
#include "saferun/bundle.h"
#include "saferun/explain.h"
#include "saferun/image.h"
#include "saferun/run.h"
#include "session/session.h"

#include <jansson.h>
#include <signal.h>

/* What runtime.image stands for. */
struct run_image {
    char path[PATH_MAX];
    char pinned[SR_IMAGE_DIGEST_TEXT]; /* by the policy; empty: not */
    const char *from;                  /* "path", "store", "built-in" */
    bool is_stored;
    struct sr_image stored;        /* when it is */
    struct sr_effective effective; /* policy and image together */
    struct host_artifact rootfs;
};

/* A value of the environment on its way to the guest. */
struct run_secret {
    char *text; /* mapped bytes of its own; NULL: not there, or not any more */
    size_t len, mapped;
    char hmac[SR_HMAC_TEXT]; /* empty: the value could not be had */
};

/* Those of the policy. */
struct run_secrets {
    struct run_secret *values; /* one for each; NULL: none yet */
    char salt[65];             /* hex digits; empty: not drawn yet */
};

/* The host's files for the guest. */
struct run_mounts {
    struct run_places *places; /* mounts.c's; NULL: none yet */
    struct host_input *inputs; /* one for each mount of the policy; NULL: none yet */
    int disks[VMM_INPUTS_MAX], joined_fd;
    size_t disk_count;
};

/* What events have told of a target so far. */
struct run_hits {
    uint64_t allowed, blocked;
};

enum run_net_state {
    RUN_NET_NONE,
    RUN_NET_OPEN,
    RUN_NET_CLOSING, /* the command has ended, and with it what it may send */
    RUN_NET_CLOSED,
};

struct run_network {
    struct net *net;       /* NULL: mode none, or not yet */
    struct run_hits *hits; /* of each of its targets */
    struct denials *denials;
    unsigned denials_told;  /* of them, while the command ran */
    int64_t counters_asked; /* when the last request for counters was sent, by the log's clock */
    uint64_t hits_due;      /* before then no hits of rules are recorded; monotonic nanoseconds */
    enum run_net_state state;
    struct sr_error failure; /* of its end; code SR_OK: none */
    bool left;               /* it could not be released */
};

/* Those that safe-run itself gets. */
struct run_signals {
    sigset_t set; /* that are read from fd, and blocked */
    int fd;
    unsigned interrupts; /* SIGINTs so far */
    int ended_by;        /* SIGINT, SIGTERM, SIGHUP; 0: none */
};

struct run_samples {
    uint64_t deadline; /* of the next; monotonic nanoseconds */
    unsigned count;    /* recorded */
    uint64_t omitted;  /* for want of room */
};

enum { RUN_SOURCES = 3, RUN_TIMERS = 3 };

struct run {
    const struct sr_run_options *options;
    struct sr_run_result *result;
    struct sr_tell tell;
    struct host_config config;
    struct sr_bundle bundle;
    uint32_t timeout_sec;
    struct record *record;
    struct machine *machine;
    struct session *session;
    struct run_image image;
    struct run_secrets secrets;
    struct run_mounts mounts;
    struct run_network network;
    char command_hash[SR_SHA256_TEXT], policy_hash[SR_SHA256_TEXT];
    struct loop loop;
    struct loop_source sources[RUN_SOURCES];
    struct loop_timer timers[RUN_TIMERS];
    struct run_signals signals;
    struct run_samples samples;
    struct sr_error error;    /* the first failure; code SR_OK: none */
    struct machine_word word; /* what the guest said of it */
    struct run_facts facts;   /* outcome.c's, once the VM is gone */
    struct run_verdict verdict;
};

/* prepare.c */
int run_prepare(struct run *run, struct sr_error *err) SR_MUST_CHECK;

/* artifacts.c: how an artefact is opened (host/host.h). */
struct host_artifact_context run_artifact_context(struct run *run);
/* Tells the user how far a copy is; false when a signal ends the run. context: the run. */
bool run_tell_progress(void *context, const char *what, uint64_t done, uint64_t total);

/* event_room.c: whether one more event fits that can happen again; if not, it is counted. */
bool run_has_event_room(struct run *run);
/* Refuses a network of more addresses than can be recorded: SR-RUN-201 at launch.network.apply. */
int run_refuse_many_targets(const struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Sets when hits of rules may be recorded again, after so many. */
void run_wait_for_hits(struct run *run, size_t recorded);

/* reserve.c: holds room on the disk for the end of the evidence; again when there is more to come.
 * context: the run. */
int run_owe(void *context, struct sr_error *err) SR_MUST_CHECK;

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

/* mounts.c: packs what the policy mounts; what the VM and its guest need to know of it; closes it
 * all. Nothing without mounts. */
int run_mounts_apply(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Refuses what is in or above a place where safe-run keeps what no guest may see. name says what fd
 * is. */
int run_refuse_ours(struct run *run, int fd, const char *name, struct sr_error *err) SR_MUST_CHECK;
void run_mounts_specify(const struct run *run, struct sr_buf *spec);
void run_mounts_release(struct run *run);

/* network.c: each does nothing in mode none. Apply before the VM starts; sample at any time; close
 * when the last command has ended, settle when the VM is gone, end in the end. */
int run_network_apply(struct run *run, struct sr_error *err) SR_MUST_CHECK;
/* Writes "none", "pasta" or "bridge:<name>" into text and returns it. */
#define RUNNER_UPLINK_TEXT_MAX 32
const char *run_uplink(const struct run *run, char text[RUNNER_UPLINK_TEXT_MAX]);
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
/* Frees what is left of it. */
void run_network_release(struct run *run);

/* spec.c: hands the command over. */
int run_send_spec(struct run *run, struct sr_error *err) SR_MUST_CHECK;

/* signals.c: blocks the signals that a run reads; lets them through again, but for those that came
 * when it was over. */
sigset_t run_hold_signals(sigset_t *before);
void run_release_signals(const sigset_t *ours, const sigset_t *before);
/* Whether one has come; and whether one has come that ends the run, for all that takes its time
 * before there is a VM. */
bool run_next_signal(struct run *run, int *number);
bool run_interrupted(struct run *run);

/* monitor.c: makes the loop, with machine and session in it; serves it until the VM is gone. -1:
 * the run failed, err says how; the VM may still be there. */
int run_monitor_open(struct run *run, struct sr_error *err) SR_MUST_CHECK;
int run_monitor(struct run *run, struct sr_error *err) SR_MUST_CHECK;
void run_monitor_close(struct run *run);
/* What machine and session call (their plans). context: the run. */
int run_frame(void *context, const struct channel_event *event, struct sr_error *err);
int run_started(void *context, struct sr_error *err);
int run_exited(void *context, struct sr_error *err);
int run_silenced(void *context, struct sr_error *err);
int run_over(void *context, struct sr_error *err);

/* outcome.c: after the VM is gone. Fills the result and writes the closing events and the
 * report. */
void run_conclude(struct run *run);

#endif
