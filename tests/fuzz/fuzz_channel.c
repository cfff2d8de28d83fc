/* The host's decoder of the guest channel: the input is what a guest sends, in pieces of varying
 * size, while the host starts the command and gives credit as it would. */
#include "channel/channel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct channel *channel = malloc(sizeof *channel);
    if (channel == NULL)
        return 0;
    channel_init(channel);
    size_t piece = 1;
    int result = 0;
    while (size > 0 && result >= 0) {
        size_t room;
        uint8_t *space = channel_space(channel, &room);
        size_t n = piece < size ? piece : size;
        n = n < room ? n : room;
        memcpy(space, data, n);
        channel_received(channel, n);
        data += n;
        size -= n;
        piece = piece * 3 % 70001 + 1;
        struct channel_event event;
        struct sr_error err;
        while ((result = channel_next(channel, &event, &err)) > 0) {
            if (event.type == CHANNEL_HELLO)
                channel_send_start(channel, "spec", 4, 3);
            if (event.type == CHANNEL_USAGE)
                channel_send_resize(channel, 24, 80);
            if ((event.type == CHANNEL_OUTPUT || event.type == CHANNEL_ARCHIVE) && event.len > 0 &&
                event.data[0] != 'k')
                channel_credit(channel, event.stream, event.len);
        }
        if (channel->out.len > 4 * (size_t)CHANNEL_WINDOW)
            abort(); /* what is queued for the guest must stay bounded */
        if ((piece & 1) != 0)
            channel_sent(channel, channel->out.len);
    }
    channel_free(channel);
    free(channel);
    return 0;
}
