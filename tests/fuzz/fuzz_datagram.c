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
    static uint8_t packet[NET_DATAGRAM_HEAD + NET_DATAGRAM_PAYLOAD_MAX];
    uint8_t error[NET_UNREACHABLE_SIZE];
    struct net_datagram datagram, back;
    if (!net_datagram_parse(data, size, &datagram))
        return 0;
    must(datagram.payload >= data + NET_DATAGRAM_HEAD && datagram.payload <= data + size &&
         datagram.len <= (size_t)(data + size - datagram.payload));
    must(datagram.ends.guest_port != 0 && datagram.ends.peer_port != 0);
    memcpy(packet + NET_DATAGRAM_HEAD, datagram.payload, datagram.len);
    size_t len = net_datagram_answer(packet, &datagram.ends, 0, datagram.len);
    must(len == datagram.len + NET_DATAGRAM_HEAD);
    if (net_datagram_parse(packet, len,
                           &back)) /* not when the guest calls itself a multicast address */
        must(back.len == datagram.len && back.ends.guest == datagram.ends.peer &&
             back.ends.peer_port == datagram.ends.guest_port &&
             memcmp(back.payload, datagram.payload, back.len) == 0);
    net_datagram_unreachable(error, &datagram.ends, 0);
    must(net_datagram_parse(error + NET_DATAGRAM_HEAD, NET_DATAGRAM_HEAD, &back) && back.len == 0 &&
         memcmp(&back.ends, &datagram.ends, sizeof back.ends) == 0);
    return 0;
}
