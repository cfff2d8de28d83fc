/*
 * Headers of netlink requests, and walks over attributes. libmnl has macros for these, whose
 * implicit conversions our warnings do not let pass.
 */
#ifndef SR_NET_ATTRIBUTES_H
#define SR_NET_ATTRIBUTES_H

#include <libmnl/libmnl.h>

/* Begins a request of a type in buffer; flags beside NLM_F_REQUEST. */
static inline struct nlmsghdr *netlink_request(void *buffer, uint16_t type, int flags)
{
    struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = type;
    request->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    return request;
}

#define NET_EACH_ATTRIBUTE(at, first, end)                                                         \
    for ((at) = (first); mnl_attr_ok((at), (int)((const char *)(end) - (const char *)(at)));       \
         (at) = mnl_attr_next(at))

#define NET_EACH_NESTED(at, nest)                                                                  \
    NET_EACH_ATTRIBUTE(at, (const struct nlattr *)mnl_attr_get_payload(nest),                      \
                       (const char *)mnl_attr_get_payload(nest) + mnl_attr_get_payload_len(nest))

#define NET_EACH_OF_MESSAGE(at, message, header)                                                   \
    NET_EACH_ATTRIBUTE(at, (const struct nlattr *)mnl_nlmsg_get_payload_offset(message, header),   \
                       mnl_nlmsg_get_payload_tail(message))

#endif
