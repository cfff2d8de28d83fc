/*
 * Frames to and from the host.
 */
#ifndef SR_GUEST_CHANNEL_H
#define SR_GUEST_CHANNEL_H

#include "channel/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A frame being built: header and payload in one piece, because each write is one round through the
 * device. */
struct frame {
    struct channel_frame_header header;
    uint8_t payload[CHANNEL_FRAME_MAX_PAYLOAD];
};

struct channel {
    int fd;
    struct frame out;
    uint8_t in[sizeof(struct channel_frame_header) + CHANNEL_FRAME_MAX_PAYLOAD];
    size_t in_len;
};

/* Waits for the channel device to appear and opens it. */
void channel_open(struct channel *channel);
/* Sends channel->out with len bytes of payload; blocks until the host took it. Powers off when the
 * host is gone. */
void channel_send(struct channel *channel, enum channel_frame_type type, size_t len);
/* Reads more bytes; blocks. Powers off when the host is gone. */
void channel_fill(struct channel *channel);
/* Takes the next whole frame out of what was read: true, with *payload valid until the next call of
 * channel_done(). */
bool channel_next(struct channel *channel, struct channel_frame_header *header,
                  const uint8_t **payload);
/* Drops the frame that channel_next() gave. */
void channel_done(struct channel *channel, const struct channel_frame_header *header);

#endif
