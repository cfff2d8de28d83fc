/* The host's decoder of the guest channel: the input is what a guest sends, in pieces of varying
 * size, while the host starts the command and gives credit as it would. */
#include "channel/channel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sr_channel *channel = malloc(sizeof *channel);
    if (channel == NULL)
        return 0;
    sr_channel_init(channel);
    size_t piece = 1;
    int result = 0;
    while (size > 0 && result >= 0) {
        size_t room;
        uint8_t *space = sr_channel_space(channel, &room);
        size_t n = piece < size ? piece : size;
        n = n < room ? n : room;
        memcpy(space, data, n);
        sr_channel_received(channel, n);
        data += n;
        size -= n;
        piece = piece * 3 % 70001 + 1;
        struct sr_channel_event event;
        struct sr_error err;
        while ((result = sr_channel_next(channel, &event, &err)) > 0) {
            if (event.type == SR_CHANNEL_HELLO)
                sr_channel_send_start(channel, "spec", 4, 3);
            if (event.type == SR_CHANNEL_USAGE)
                sr_channel_send_resize(channel, 24, 80);
            if ((event.type == SR_CHANNEL_OUTPUT || event.type == SR_CHANNEL_ARCHIVE) &&
                event.len > 0 && event.data[0] != 'k')
                sr_channel_credit(channel, event.stream, event.len);
        }
        if (channel->out.len > 4 * (size_t)SR_CHANNEL_WINDOW)
            abort(); /* what is queued for the guest must stay bounded */
        if ((piece & 1) != 0)
            sr_channel_sent(channel, channel->out.len);
    }
    sr_channel_free(channel);
    free(channel);
    return 0;
}
