/*
 * The host's side of the guest channel: a decoder and an encoder over memory. No I/O happens here:
 * the caller reads into channel_space() and writes out what channel_pending() shows.
 *
 * Every byte that comes in is hostile. The decoder is a state machine over protocol.h: a frame of
 * the wrong type, session, size or moment, or data beyond the credit given, is a violation, after
 * which the channel is dead and the VM is to be killed. Memory is bounded whatever the guest does:
 * the input buffer is fixed, and what is queued for the guest is at most the specification, a
 * window of stdin, and a constant (credits that the guest does not read are added up, not queued).
 */
#ifndef SR_CHANNEL_CHANNEL_H
#define SR_CHANNEL_CHANNEL_H

#include "channel/protocol.h"
#include "common/buf.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum channel_state {
    CHANNEL_WAIT_HELLO, /* nothing heard yet */
    CHANNEL_IDLE,       /* said hello; START not sent */
    CHANNEL_STARTING,   /* START sent */
    CHANNEL_RUNNING,    /* STARTED received */
    CHANNEL_COLLECTING, /* EXIT received, and outputs are still to come */
    CHANNEL_ENDED,      /* all of it, or REFUSED received */
    CHANNEL_BROKEN,     /* the guest violated the protocol */
};

struct channel {
    enum channel_state state;
    uint32_t outputs, collected;           /* how many there are to be, and have been */
    uint32_t window[CHANNEL_STREAM_COUNT]; /* bytes that may still come or, of stdin, go */
    uint32_t owed[CHANNEL_STREAM_COUNT];   /* credit not yet queued for the guest */
    uint8_t in[2 * (sizeof(struct channel_frame_header) + CHANNEL_FRAME_MAX_PAYLOAD)];
    size_t in_start, in_end;
    struct sr_buf out;
};

enum channel_event_type {
    CHANNEL_HELLO,
    CHANNEL_STARTED,
    CHANNEL_REFUSED,
    CHANNEL_OUTPUT,
    CHANNEL_STDIN_CREDIT,
    CHANNEL_USAGE,
    CHANNEL_EXIT,
    CHANNEL_ARCHIVE,
    CHANNEL_COLLECTED,
};

struct channel_event {
    enum channel_event_type type;
    enum channel_stream stream; /* OUTPUT, ARCHIVE */
    const uint8_t *data; /* OUTPUT, ARCHIVE, REFUSED, COLLECTED (sentences, any bytes); valid until
                            the next call */
    size_t len;
    uint32_t output; /* ARCHIVE, COLLECTED: its index */
    uint32_t status; /* REFUSED: enum channel_refused; COLLECTED: enum channel_collected */
    struct channel_frame_usage usage; /* USAGE */
    struct channel_frame_exit exit;   /* EXIT */
};

void channel_init(struct channel *channel);
void channel_free(struct channel *channel);

/* Where to read the next bytes from the guest to, and how many fit (at least one after
 * channel_next() returned 0). Invalidates event data. */
uint8_t *channel_space(struct channel *channel, size_t *room);
/* Tells that n bytes were read there. */
void channel_received(struct channel *channel, size_t n);

/* Decodes the next frame. Returns 1 with *event filled, 0 when more bytes are needed, -1 on a
 * violation with err filled (SR-RUN-001, monitor.channel). */
int channel_next(struct channel *channel, struct channel_event *event, struct sr_error *err)
    __attribute__((warn_unused_result));

/* What is queued for the guest. */
static inline const char *channel_pending(const struct channel *channel, size_t *len)
{
    *len = channel->out.len;
    return channel->out.data;
}
void channel_sent(struct channel *channel, size_t n);

/* Queue frames. The specification is spec_len bytes of fields, at most CHANNEL_SPEC_MAX, with this
 * many outputs. */
void channel_send_start(struct channel *channel, const void *spec, size_t spec_len,
                        uint32_t outputs);
/* How many bytes of stdin may be queued now. */
size_t channel_stdin_room(const struct channel *channel);
void channel_send_stdin(struct channel *channel, const void *data, size_t len);
void channel_send_stdin_eof(struct channel *channel);
/* A signal that the guest has not taken yet is not queued a second time while the queue is long. */
void channel_send_signal(struct channel *channel, uint32_t number);
/* The size of the command's terminal, in characters; left out while the queue is long. */
void channel_send_resize(struct channel *channel, uint16_t rows, uint16_t columns);
/* More of /etc/hosts for the guest; left out when the guest does not take what it was sent
 * before. */
void channel_send_hosts(struct channel *channel, const char *text, size_t len);
void channel_send_close(struct channel *channel, enum channel_stream stream);
void channel_send_enough(struct channel *channel, uint32_t output);
/* The caller has passed on n bytes of an output stream; the guest may send as many more. */
void channel_credit(struct channel *channel, enum channel_stream stream, size_t n);

/* Fields of a specification (protocol.h). */
void channel_spec_text(struct sr_buf *spec, enum channel_spec_tag tag, const char *text);
void channel_spec_bytes(struct sr_buf *spec, enum channel_spec_tag tag, const void *data,
                        size_t len);

#endif
