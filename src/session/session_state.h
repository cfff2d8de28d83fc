/*
 * The state of a session, shared by the files of this room and by nothing else.
 *
 *   session.c  the command: its streams, its time, its end
 *   outputs.c  what it leaves for the host
 *   sink.c     where a stream of its output goes
 */
#ifndef SR_SESSION_SESSION_STATE_H
#define SR_SESSION_SESSION_STATE_H

#include "session/session.h"
#include "session/sink.h"

enum { SESSION_SOURCES = 4, SESSION_TIMERS = 3 };

struct session {
    struct session_plan plan;
    enum session_phase phase;
    struct session_sink out, err;
    bool stdin_open;
    struct session_outputs *outputs; /* NULL: none, or not yet */
    uint64_t started, ended;
    bool timed_out;
    uint64_t kill_deadline; /* LOOP_NEVER: not asked to end */
    bool asked_hard;        /* the command was sent SIGKILL, so that its outputs can still be had */
    bool exited;
    struct channel_frame_exit exit;
    uint32_t refused;
    struct machine_word refusal;
    struct channel_frame_usage guest_usage;
    bool has_guest_usage;
    struct loop_source sources[SESSION_SOURCES];
    struct loop_timer timers[SESSION_TIMERS];
};

/* outputs.c: each does nothing without outputs. What the guest sends of them. */
int session_outputs_take(struct session *session, const struct channel_event *event,
                         struct sr_error *err) SR_MUST_CHECK;
/* What the loop waits for: a descriptor (-1: nothing), whether to write to it, and until when. */
int session_outputs_fd(const struct session *session, bool *writable);
void session_outputs_ready(struct session *session);
bool session_outputs_pending(const struct session *session);
/* The command has ended: the time that they have begins. */
void session_outputs_begin(struct session *session);
/* The most they have in all; 0: there are none. */
uint64_t session_outputs_limit_nsec(const struct session *session);
/* When session_outputs_late() is to be called; LOOP_NEVER: not at all. Whether nothing more is to
 * be waited for. */
uint64_t session_outputs_deadline(const struct session *session);
bool session_outputs_late(struct session *session);
/* The first that was not collected, and what the guest said of it; or NULL. */
const struct sr_error *session_outputs_failure(const struct session *session,
                                               struct machine_word *word);
void session_outputs_release(struct session *session);

#endif
