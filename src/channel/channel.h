/*
 * The host's side of the guest channel: a decoder and an encoder over memory. No I/O happens here:
 * the caller reads into sr_channel_space() and writes out what sr_channel_pending() shows.
 *
 * Every byte that comes in is hostile. The decoder is a state machine over protocol.h: a frame of
 * the wrong type, session, size or moment, or data beyond the credit given, is a violation, after which the
 * channel is dead and the VM is to be killed. Memory is bounded whatever the guest does: the input
 * buffer is fixed, and what is queued for the guest is at most the specification, a window of
 * stdin, and a constant (credits that the guest does not read are added up, not queued).
 */
#ifndef SR_CHANNEL_CHANNEL_H
#define SR_CHANNEL_CHANNEL_H

#include "channel/protocol.h"
#include "common/buf.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sr_channel_state {
    SR_CHANNEL_WAIT_HELLO, /* nothing heard yet */
    SR_CHANNEL_IDLE,       /* said hello; START not sent */
    SR_CHANNEL_STARTING,   /* START sent */
    SR_CHANNEL_RUNNING,    /* STARTED received */
    SR_CHANNEL_COLLECTING, /* EXIT received, and outputs are still to come */
    SR_CHANNEL_ENDED,      /* all of it, or REFUSED received */
    SR_CHANNEL_BROKEN,     /* the guest violated the protocol */
};

struct sr_channel {
    enum sr_channel_state state;
    uint32_t outputs, collected;      /* how many there are to be, and have been */
    uint32_t window[SR_STREAM_COUNT]; /* bytes that may still come or, of stdin, go */
    uint32_t owed[SR_STREAM_COUNT];   /* credit not yet queued for the guest */
    uint8_t in[2 * (sizeof(struct sr_frame_header) + SR_FRAME_MAX_PAYLOAD)];
    size_t in_start, in_end;
    struct sr_buf out;
};

enum sr_channel_event_type {
    SR_CHANNEL_HELLO,
    SR_CHANNEL_STARTED,
    SR_CHANNEL_REFUSED,
    SR_CHANNEL_OUTPUT,
    SR_CHANNEL_STDIN_CREDIT,
    SR_CHANNEL_USAGE,
    SR_CHANNEL_EXIT,
    SR_CHANNEL_ARCHIVE,
    SR_CHANNEL_COLLECTED,
};

struct sr_channel_event {
    enum sr_channel_event_type type;
    enum sr_stream stream; /* OUTPUT, ARCHIVE */
    const uint8_t *data; /* OUTPUT, ARCHIVE, REFUSED, COLLECTED (sentences, any bytes); valid until
                            the next call */
    size_t len;
    uint32_t output;             /* ARCHIVE, COLLECTED: its index */
    uint32_t status;             /* REFUSED: enum sr_refused; COLLECTED: enum sr_collected */
    struct sr_frame_usage usage; /* USAGE */
    struct sr_frame_exit exit;   /* EXIT */
};

void sr_channel_init(struct sr_channel *channel);
void sr_channel_free(struct sr_channel *channel);

/* Where to read the next bytes from the guest to, and how many fit (at least one after
 * sr_channel_next() returned 0). Invalidates event data. */
uint8_t *sr_channel_space(struct sr_channel *channel, size_t *room);
/* Tells that n bytes were read there. */
void sr_channel_received(struct sr_channel *channel, size_t n);

/* Decodes the next frame. Returns 1 with *event filled, 0 when more bytes are needed, -1 on a
 * violation with err filled (SR-RUN-001, monitor.channel). */
int sr_channel_next(struct sr_channel *channel, struct sr_channel_event *event,
                    struct sr_error *err) __attribute__((warn_unused_result));

/* What is queued for the guest. */
static inline const char *sr_channel_pending(const struct sr_channel *channel, size_t *len)
{
    *len = channel->out.len;
    return channel->out.data;
}
void sr_channel_sent(struct sr_channel *channel, size_t n);

/* Queue frames. The specification is spec_len bytes of fields, at most SR_SPEC_MAX, with this many
 * outputs. */
void sr_channel_send_start(struct sr_channel *channel, const void *spec, size_t spec_len,
                           uint32_t outputs);
/* How many bytes of stdin may be queued now. */
size_t sr_channel_stdin_room(const struct sr_channel *channel);
void sr_channel_send_stdin(struct sr_channel *channel, const void *data, size_t len);
void sr_channel_send_stdin_eof(struct sr_channel *channel);
/* A signal that the guest has not taken yet is not queued a second time while the queue is long. */
void sr_channel_send_signal(struct sr_channel *channel, uint32_t number);
/* The size of the command's terminal, in characters; left out while the queue is long. */
void sr_channel_send_resize(struct sr_channel *channel, uint16_t rows, uint16_t columns);
/* More of /etc/hosts for the guest; left out when the guest does not take what it was sent
 * before. */
void sr_channel_send_hosts(struct sr_channel *channel, const char *text, size_t len);
void sr_channel_send_close(struct sr_channel *channel, enum sr_stream stream);
void sr_channel_send_enough(struct sr_channel *channel, uint32_t output);
/* The caller has passed on n bytes of an output stream; the guest may send as many more. */
void sr_channel_credit(struct sr_channel *channel, enum sr_stream stream, size_t n);

/* Fields of a specification (protocol.h). */
void sr_spec_text(struct sr_buf *spec, enum sr_spec_tag tag, const char *text);
void sr_spec_bytes(struct sr_buf *spec, enum sr_spec_tag tag, const void *data, size_t len);

#endif
