/*
 * Any bytes as a packet of the guest for the UDP relay: what is carried lies inside of them, and
 * what is made of it can be read again.
 */
#include "net/datagram.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t packet[SR_DATAGRAM_HEAD + SR_DATAGRAM_PAYLOAD_MAX];
    uint8_t error[SR_UNREACHABLE_SIZE];
    struct sr_datagram datagram, back;
    if (!sr_datagram_parse(data, size, &datagram))
        return 0;
    must(datagram.payload >= data + SR_DATAGRAM_HEAD && datagram.payload <= data + size &&
         datagram.len <= (size_t)(data + size - datagram.payload));
    must(datagram.ends.guest_port != 0 && datagram.ends.peer_port != 0);
    memcpy(packet + SR_DATAGRAM_HEAD, datagram.payload, datagram.len);
    size_t len = sr_datagram_answer(packet, &datagram.ends, 0, datagram.len);
    must(len == datagram.len + SR_DATAGRAM_HEAD);
    if (sr_datagram_parse(packet, len,
                          &back)) /* not when the guest calls itself a multicast address */
        must(back.len == datagram.len && back.ends.guest == datagram.ends.peer &&
             back.ends.peer_port == datagram.ends.guest_port &&
             memcmp(back.payload, datagram.payload, back.len) == 0);
    sr_datagram_unreachable(error, &datagram.ends, 0);
    must(sr_datagram_parse(error + SR_DATAGRAM_HEAD, SR_DATAGRAM_HEAD, &back) && back.len == 0 &&
         memcmp(&back.ends, &datagram.ends, sizeof back.ends) == 0);
    return 0;
}
