/*
 * A session: one command in a machine, its streams and its outputs.
 *
 *   1. session_new() with a plan. session_open_streams() and session_prepare_outputs() while the
 *      supervisor may still open files.
 *   2. session_watch() adds it to the loop. Its time begins with the machine's first VM.
 *   3. session_start() hands the command over to init. session_take() takes what init sends of it.
 *      session_signal() and session_ask_to_end() at any time.
 *   4. Once the VM is gone: session_conclude() gives outputs their names, session_record() records
 *      them, session_outcome() tells what came of the command. session_free().
 *
 * Output waits in a sink until the caller takes it; the guest has no credit for more than a window,
 * so memory is bounded, and a slow reader slows the guest, not us.
 */
#ifndef SR_SESSION_SESSION_H
#define SR_SESSION_SESSION_H

#include "channel/channel.h"
#include "common/clock.h"
#include "common/tell.h"
#include "host/host.h"
#include "loop/loop.h"
#include "machine/machine.h"
#include "machine/word.h"
#include "record/record.h"
#include "saferun/policy.h"
#include "saferun/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum session_phase {
    SESSION_NEW,
    SESSION_STARTING,   /* init has the specification */
    SESSION_RUNNING,    /* the command runs */
    SESSION_COLLECTING, /* the command ended, and its outputs come */
    SESSION_OVER,       /* nothing more is wanted of the guest */
};

/* All of it is the caller's and lives as long as the session. */
struct session_plan {
    const struct host_config *config;
    const struct sr_policy *policy;
    const struct sr_run_options *options; /* descriptors, output_dir */
    char *output_dir;                     /* PATH_MAX bytes: where outputs are left is put there */
    struct record *record;
    struct machine *machine;
    struct loop *loop;
    struct sr_tell tell;
    uint32_t timeout_sec;

    /* What happens. Each 0, or -1 with err, which ends the run. */
    int (*started)(void *context, struct sr_error *err);
    int (*exited)(void *context, struct sr_error *err); /* init says so */
    /* What the command may still send is over. */
    int (*silenced)(void *context, struct sr_error *err);
    int (*over)(void *context, struct sr_error *err);
    /* More entries of outputs are going to be in the evidence than were known of. */
    int (*owe)(void *context, struct sr_error *err);
    void *context;
};

struct session;

/* NULL: memory is out. */
struct session *session_new(const struct session_plan *plan);
void session_free(struct session *session);

/* Opens stdout.log and stderr.log. SR-RUN-001 at prepare.workdir. */
int session_open_streams(struct session *session, struct sr_error *err) SR_MUST_CHECK;

/* Opens the directory for outputs and starts their collector; nothing without outputs. SR-RUN-001
 * at prepare.outputs or outputs[i].path. */
int session_prepare_outputs(struct session *session, struct sr_error *err) SR_MUST_CHECK;
/* The directory; -1: none. */
int session_outputs_directory(const struct session *session);

void session_watch(struct session *session);

/* Sends the specification of the command (channel/protocol.h) to init. */
void session_start(struct session *session, const void *spec, size_t len);

enum session_phase session_phase(const struct session *session);

/* What init sends. Errors: SR-RUN-001 at monitor.*. */
int session_take(struct session *session, const struct channel_event *event,
                 struct sr_error *err) SR_MUST_CHECK;

/* Sends the command a signal, if it runs. */
void session_signal(struct session *session, int number);

/* What a command gets when its time is over: between SIGTERM and the end of its VM; with outputs
 * the same again between SIGKILL and that. */
#define SESSION_GRACE_NSEC (2 * SR_NSEC_PER_SEC)

/* Asks the command to end and gives it the grace. Without a command there is nobody to ask: the VM
 * ends at once, and what the caller has not taken of its output is dropped. */
void session_ask_to_end(struct session *session, int number);

/* The caller has not taken all output yet, or the collector has not answered. */
bool session_is_pending(const struct session *session);

/* The guest's last word on what it uses; NULL: there is none. */
const struct channel_frame_usage *session_guest_usage(const struct session *session);

/* Hashes what is there of outputs, gives it its name or removes it. */
void session_conclude(struct session *session);
/* Appends the events of outputs. SR-EVD-001. */
int session_record(struct session *session, struct sr_error *err) SR_MUST_CHECK;
/* Of the entries that are going to be in these events; 0 before they are hashed. */
uint64_t session_entry_bytes(const struct session *session);

/* What came of the command. */
struct session_outcome {
    uint64_t started, ended; /* CLOCK_MONOTONIC; 0: it did not, or had not when the VM ended */
    bool timed_out;
    bool exited; /* exit is init's word */
    struct channel_frame_exit exit;
    uint32_t refused; /* enum channel_refused: why init did not start it; 0: it does not say so */
    struct machine_word refusal;
    struct machine_log out, err;
    uint64_t grace_nsec;   /* that it had */
    uint64_t collect_nsec; /* that its outputs have in all */
    /* The first output that was not collected, and what the guest said of it; NULL: none. */
    const struct sr_error *lost;
    struct machine_word lost_word;
};
void session_outcome(const struct session *session, struct session_outcome *outcome);

#endif
