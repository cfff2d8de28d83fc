#include "net/counters.h"

#include "net/attributes.h"
#include "net/rtnl.h"
#include "net/ruleset.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

static const char *const set_names[NET_SET_COUNT] = {
    [NET_SET_ALLOW_ADDRESS] = "allow_address",
    [NET_SET_ALLOW_RANGE] = "allow_range",
    [NET_SET_BLOCK_ADDRESS] = "block_address",
    [NET_SET_BLOCK_RANGE] = "block_range",
    [NET_SET_FLOWS] = "flows",
    [NET_SET_ODD_FLOWS] = "odd_flows",
};

static const char *const total_names[NET_TOTAL_COUNT] = {
    [NET_FRAMES_ARP] = "frames_arp",     [NET_FRAMES_IPV4] = "frames_ipv4",
    [NET_FRAMES_OTHER] = "frames_other", [NET_REPLIES] = "replies",
    [NET_SPOOFED] = "spoofed",           [NET_ESTABLISHED] = "established",
    [NET_INVALID] = "invalid",           [NET_DENIED] = "denied",
    [NET_UNLISTED] = "unlisted",         [NET_TO_GATEWAY] = "to_gateway",
};

struct reader {
    struct net_sample *sample;
    uint8_t set;
    bool full;
};

/* The attribute of a type inside a nest, or NULL. */
static const struct nlattr *find(const struct nlattr *nest, uint16_t type)
{
    const struct nlattr *attribute;
    NET_EACH_NESTED(attribute, nest)
    if (mnl_attr_get_type(attribute) == type) {
        return attribute;
    }
    return NULL;
}

/* Packets in a nest that holds NFTA_COUNTER_PACKETS. */
static uint64_t packets_of(const struct nlattr *counter)
{
    const struct nlattr *packets = counter != NULL ? find(counter, NFTA_COUNTER_PACKETS) : NULL;
    return packets != NULL && mnl_attr_get_payload_len(packets) == sizeof(uint64_t)
               ? be64toh(mnl_attr_get_u64(packets))
               : 0;
}

static void take_element(struct reader *reader, const struct nlattr *element)
{
    const struct nlattr *expression = find(element, NFTA_SET_ELEM_EXPR),
                        *key = find(element, NFTA_SET_ELEM_KEY);
    const struct nlattr *value = key != NULL ? find(key, NFTA_DATA_VALUE) : NULL;
    if (expression == NULL || value == NULL)
        return; /* the end of a range */
    uint64_t packets = packets_of(find(expression, NFTA_EXPR_DATA));
    size_t len = mnl_attr_get_payload_len(value);
    const uint8_t *bytes = mnl_attr_get_payload(value);
    if (packets == 0 || len < 4)
        return;
    if (reader->sample->count == reader->sample->cap) {
        reader->full = true;
        return;
    }
    struct net_count count = {.set = reader->set, .packets = packets};
    uint32_t address;
    uint16_t port = 0;
    memcpy(&address, bytes, sizeof address); /* fields of a concatenation are padded to 4 bytes */
    if (len >= 8)
        count.protocol = bytes[4];
    if (len >= 12)
        memcpy(&port, bytes + 8, sizeof port);
    count.first = ntohl(address);
    count.port = ntohs(port);
    reader->sample->counts[reader->sample->count++] = count;
}

static int take_elements(const struct nlmsghdr *message, void *data)
{
    const struct nlattr *attribute, *element;
    NET_EACH_OF_MESSAGE(attribute, message, sizeof(struct nfgenmsg))
    if (mnl_attr_get_type(attribute) == NFTA_SET_ELEM_LIST_ELEMENTS)
        NET_EACH_NESTED(element, attribute)
    take_element(data, element);
    return MNL_CB_OK;
}

static int take_counter(const struct nlmsghdr *message, void *data)
{
    struct net_sample *sample = data;
    const struct nlattr *attribute, *counter = NULL;
    const char *name = NULL;
    NET_EACH_OF_MESSAGE(attribute, message, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attribute) == NFTA_OBJ_NAME &&
            mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0)
            name = mnl_attr_get_str(attribute);
        else if (mnl_attr_get_type(attribute) == NFTA_OBJ_DATA)
            counter = attribute;
    }
    for (int i = 0; name != NULL && i < NET_TOTAL_COUNT; i++)
        if (strcmp(name, total_names[i]) == 0)
            sample->totals[i] = packets_of(counter);
    return MNL_CB_OK;
}

static struct nlmsghdr *request_header(char *buffer, uint16_t type, uint8_t family)
{
    static uint32_t sequence;
    struct nlmsghdr *request =
        netlink_request(buffer, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_DUMP);
    request->nlmsg_seq = ++sequence;
    struct nfgenmsg *message = mnl_nlmsg_put_extra_header(request, sizeof *message);
    *message = (struct nfgenmsg){.nfgen_family = family, .version = NFNETLINK_V0};
    return request;
}

static int read_all(struct mnl_socket *socket, struct net_sample *sample)
{
    char buffer[512];
    static const uint8_t families[] = {NFPROTO_INET, NFPROTO_NETDEV};
    sample->count = 0;
    memset(sample->totals, 0, sizeof sample->totals);
    for (size_t i = 0; i < 2; i++) {
        struct nlmsghdr *request = request_header(buffer, NFT_MSG_GETOBJ, families[i]);
        mnl_attr_put_strz(request, NFTA_OBJ_TABLE, NET_TABLE);
        mnl_attr_put_u32(request, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
        int result = net_netlink_ask(socket, request, take_counter, sample);
        if (result < 0)
            return result;
    }
    struct reader reader = {.sample = sample};
    for (unsigned set = 0; set < NET_SET_COUNT; set++) {
        reader.set = (uint8_t)set;
        struct nlmsghdr *request = request_header(buffer, NFT_MSG_GETSETELEM, NFPROTO_INET);
        mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, NET_TABLE);
        mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, set_names[set]);
        int result = net_netlink_ask(socket, request, take_elements, &reader);
        if (result < 0)
            return result;
    }
    return reader.full ? -E2BIG : 0;
}

/* Puts one message of a transaction at buffer; the whole transaction is sent and acknowledged at
 * once. */
static struct nlmsghdr *batch_message(char *buffer, uint16_t type, uint16_t flags, uint8_t family,
                                      uint16_t resource)
{
    struct nlmsghdr *message = netlink_request(buffer, type, flags);
    struct nfgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof *header);
    *header = (struct nfgenmsg){
        .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
    return message;
}

static int take_table(const struct nlmsghdr *message, void *data)
{
    const struct nlattr *attribute;
    NET_EACH_OF_MESSAGE(attribute, message, sizeof(struct nfgenmsg))
    if (mnl_attr_get_type(attribute) == NFTA_TABLE_NAME &&
        mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0 &&
        strcmp(mnl_attr_get_str(attribute), NET_TABLE) == 0)
        *(bool *)data = true;
    return MNL_CB_OK;
}

int net_tables_delete(void)
{
    static const uint8_t families[] = {NFPROTO_INET, NFPROTO_NETDEV};
    char buffer[1024], answer[1024];
    size_t len =
        batch_message(buffer, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
    for (size_t i = 0; i < 2; i++) {
        struct nlmsghdr *message =
            batch_message(buffer + len, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE,
                          i == 1 ? NLM_F_ACK : 0, families[i], 0);
        mnl_attr_put_strz(message, NFTA_TABLE_NAME, NET_TABLE);
        len += message->nlmsg_len;
    }
    len += batch_message(buffer + len, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)
               ->nlmsg_len;
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (socket == NULL)
        return -errno;
    ssize_t got;
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_sendto(socket, buffer, len) < 0 ||
        (got = mnl_socket_recvfrom(socket, answer, sizeof answer)) < 0 ||
        mnl_cb_run(answer, (size_t)got, 0, 0, NULL, NULL) < 0)
        return -errno;
    bool left = false;
    struct nlmsghdr *request = request_header(buffer, NFT_MSG_GETTABLE, NFPROTO_UNSPEC);
    int result = net_netlink_ask(socket, request, take_table, &left);
    return result < 0 ? result : left ? -EBUSY : 0;
}

int net_counters_read(struct net_sample *sample)
{
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (socket == NULL)
        return -errno;
    int result = -EAGAIN;
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
        result = -errno;
    else /* a dump that a change of the set interrupted is taken again */
        for (int tries = 0; tries < 5 && (result == -EINTR || result == -EAGAIN); tries++)
            result = read_all(socket, sample);
    mnl_socket_close(socket);
    return result;
}
