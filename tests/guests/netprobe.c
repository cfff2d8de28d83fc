/*
 * Tries to reach things from inside a guest, and says what answered: one line a probe, "<probe>
 * open|closed".
 *
 *   tcp:ADDRESS:PORT     connects and has a line echoed        udp:ADDRESS:PORT[:COUNT]  sends;
 *   waits for an echo of the last mute:ADDRESS:PORT:N  sends N datagrams, waits for nothing
 *   icmp:ADDRESS              an echo request fragments:ADDRESS:PORT  a datagram whose first
 *   fragment hides the port spoof:SOURCE:ADDRESS:PORT  a datagram with another source address
 *   arp:ADDRESS          asks who has it ether:TYPE           three raw frames of an Ethernet type
 *   (hexadecimal), 86dd is IPv6 frame:HEX[:MAC]      one raw frame to the gateway's address, or to
 *   MAC (hexadecimal), HEX from its Ethernet type on steer:HEX:OFFSET     the same to the
 *   gateway's, with an order to the kernel below to write the packet's checksum, of the bytes from
 *   34
 *                        on, at OFFSET from there (virtio-net's header, Virtual I/O Device 1.2,
 *                        5.1.6)
 *   scan:ADDRESS:PORT:COUNT  a datagram to each of COUNT ports hold:ADDRESS:PORT:FROM[:COUNT]  a
 *   datagram from each of COUNT ports; then nothing but "bye" may come to the first
 *   refused:ADDRESS:PORT  a datagram that is answered by "port unreachable"
 *   flood:ADDRESS:PORT:MEGABYTES  sends that much over TCP broadcast:PORT, multicast:ADDRESS:PORT
 *   a datagram
 *
 * Runs as root of the guest, which may do all of this. Static, so that any image runs it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { WAIT_MS = 700 };

static struct sockaddr_in to(const char *address, const char *port)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, address, &where.sin_addr);
    return where;
}

static bool answers(int fd)
{
    char buffer[256];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, WAIT_MS) == 1 && recv(fd, buffer, sizeof buffer, 0) > 0;
}

static bool tcp(char **a)
{
    struct sockaddr_in where = to(a[0], a[1]);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    connect(fd, (struct sockaddr *)&where, sizeof where);
    bool open =
        poll(&wait, 1, WAIT_MS) == 1 && send(fd, "hello\n", 6, MSG_NOSIGNAL) == 6 && answers(fd);
    close(fd);
    return open;
}

static bool udp(char **a)
{
    struct sockaddr_in where = to(a[0], a[1]);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    for (int n = a[2] != NULL ? atoi(a[2]) : 1; n > 0; n--)
        sendto(fd, "hello\n", 6, 0, (struct sockaddr *)&where, sizeof where);
    bool open = answers(fd);
    close(fd);
    return open;
}

static bool mute(char **a)
{
    struct sockaddr_in where = to(a[0], a[1]);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), sent = 0;
    for (int n = atoi(a[2]); n > 0; n--)
        sent += sendto(fd, "mute", 4, 0, (struct sockaddr *)&where, sizeof where) == 4;
    close(fd);
    return sent == atoi(a[2]);
}

static bool icmp(char **a)
{
    struct sockaddr_in where = to(a[0], "0");
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    struct icmphdr echo = {.type = ICMP_ECHO, .checksum = htons(0xf7ff)};
    sendto(fd, &echo, sizeof echo, 0, (struct sockaddr *)&where, sizeof where);
    bool open = answers(fd);
    close(fd);
    return open;
}

/* A datagram by hand; offset in units of 8 bytes. The kernel fills in checksum and length. */
static bool raw(const char *source, const char *address, const char *port, uint16_t fragment,
                const void *data, size_t len)
{
    unsigned char packet[512] = {0};
    struct sockaddr_in where = to(address, port);
    struct iphdr *ip = (struct iphdr *)packet;
    *ip = (struct iphdr){.ihl = 5,
                         .version = 4,
                         .ttl = 64,
                         .protocol = IPPROTO_UDP,
                         .id = htons(77),
                         .frag_off = htons(fragment),
                         .daddr = where.sin_addr.s_addr};
    inet_pton(AF_INET, source, &ip->saddr);
    memcpy(packet + sizeof *ip, data, len);
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    bool sent =
        sendto(fd, packet, sizeof *ip + len, 0, (struct sockaddr *)&where, sizeof where) > 0;
    close(fd);
    return sent;
}

static bool fragments(char **a)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in ours = {.sin_family = AF_INET, .sin_port = htons(40000)};
    bind(fd, (struct sockaddr *)&ours, sizeof ours);
    unsigned char datagram[24] = {0};
    struct udphdr *header = (struct udphdr *)datagram;
    *header = (struct udphdr){
        .source = htons(40000), .dest = htons((uint16_t)atoi(a[1])), .len = htons(sizeof datagram)};
    memcpy(datagram + 8, "fragmented echo\n", 16);
    raw("198.18.0.2", a[0], a[1], IP_MF, datagram, 8);
    raw("198.18.0.2", a[0], a[1], 1, datagram + 8, 16);
    bool open = answers(fd);
    close(fd);
    return open;
}

static bool spoof(char **a)
{
    unsigned char datagram[14] = {0};
    struct udphdr *header = (struct udphdr *)datagram;
    *header = (struct udphdr){
        .source = htons(40001), .dest = htons((uint16_t)atoi(a[2])), .len = htons(sizeof datagram)};
    memcpy(datagram + 8, "spoof\n", 6);
    return raw(a[0], a[1], a[2], 0, datagram, sizeof datagram);
}

static bool ether(char **a)
{
    struct sockaddr_ll link = {
        .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("eth0"), .sll_halen = 6};
    unsigned char frame[64] = {[12] = 0};
    unsigned type = (unsigned)strtoul(a[0], NULL, 16);
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), sent = 0;
    memset(frame, 0xff, 6);
    frame[6] = 0x52;
    frame[12] = (unsigned char)(type >> 8);
    frame[13] = (unsigned char)type;
    for (int i = 0; i < 3; i++)
        sent += sendto(fd, frame, sizeof frame, 0, (struct sockaddr *)&link, sizeof link) ==
                sizeof frame;
    close(fd);
    return sent == 3;
}

static int nibble(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

static size_t from_hex(const char *text, unsigned char *bytes, size_t size)
{
    size_t len = 0;
    for (; len < size && text[0] != '\0' && text[1] != '\0'; text += 2)
        bytes[len++] = (unsigned char)(nibble(text[0]) << 4 | nibble(text[1]));
    return len;
}

/* The gateway's Ethernet address, which a datagram to anywhere makes the kernel ask for. */
static bool gateway(unsigned char mac[6])
{
    struct sockaddr_in where = to("198.18.0.1", "9");
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    for (int tries = 0; tries < 50; tries++) {
        struct arpreq request = {.arp_dev = "eth0"};
        memcpy(&request.arp_pa, &where, sizeof where);
        sendto(fd, "", 1, 0, (struct sockaddr *)&where, sizeof where);
        if (ioctl(fd, SIOCGARP, &request) == 0 && (request.arp_flags & ATF_COM) != 0) {
            memcpy(mac, request.arp_ha.sa_data, 6);
            close(fd);
            return true;
        }
        usleep(10000);
    }
    close(fd);
    return false;
}

static bool arp(char **a)
{
    struct {
        struct ether_header link;
        struct arphdr head;
        unsigned char mac[6], address[4], wanted_mac[6], wanted[4];
    } question = {.link.ether_type = htons(ETH_P_ARP),
                  .head = {htons(ARPHRD_ETHER), htons(ETH_P_IP), 6, 4, htons(ARPOP_REQUEST)},
                  .address = {198, 18, 0, 2}},
      answer;
    struct ifreq request = {.ifr_name = "eth0"};
    struct sockaddr_ll link = {.sll_family = AF_PACKET,
                               .sll_protocol = htons(ETH_P_ARP),
                               .sll_ifindex = (int)if_nametoindex("eth0"),
                               .sll_halen = 6};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
    ioctl(fd, SIOCGIFHWADDR, &request);
    memcpy(question.mac, request.ifr_hwaddr.sa_data, 6);
    memcpy(question.link.ether_shost, question.mac, 6);
    memset(question.link.ether_dhost, 0xff, 6);
    inet_pton(AF_INET, a[0], question.wanted);
    sendto(fd, &question, sizeof question, 0, (struct sockaddr *)&link, sizeof link);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    bool open = false;
    while (!open && poll(&wait, 1, WAIT_MS) == 1)
        open = recv(fd, &answer, sizeof answer, 0) == sizeof answer &&
               answer.head.ar_op == htons(ARPOP_REPLY) &&
               memcmp(answer.address, question.wanted, 4) == 0;
    close(fd);
    return open;
}

static bool steer(char **a)
{
    struct {
        struct {
            uint8_t flags, gso_type;
            uint16_t hdr_len, gso_size, csum_start, csum_offset;
        } header; /* struct virtio_net_hdr, whose header file does not agree with musl's */
        unsigned char bytes[600];
    } out = {.header = {.flags = 1, /* VIRTIO_NET_HDR_F_NEEDS_CSUM */
                        .csum_start = 34,
                        .csum_offset = (uint16_t)atoi(a[1])},
             .bytes = {[6] = 0x52}};
    struct sockaddr_ll link = {
        .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("eth0"), .sll_halen = 6};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), on = 1;
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0 || !gateway(out.bytes))
        return false;
    link.sll_protocol = htons(ETH_P_IP);
    size_t len = sizeof out.header + 12 + from_hex(a[0], out.bytes + 12, sizeof out.bytes - 12);
    bool sent = sendto(fd, &out, len, 0, (struct sockaddr *)&link, sizeof link) == (ssize_t)len;
    close(fd);
    return sent;
}

static bool frame(char **a)
{
    unsigned char bytes[600] = {[6] = 0x52};
    struct sockaddr_ll link = {
        .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("eth0"), .sll_halen = 6};
    if (a[1] != NULL)
        from_hex(a[1], bytes, 6);
    else if (!gateway(bytes))
        return false;
    size_t len = 12 + from_hex(a[0], bytes + 12, sizeof bytes - 12);
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    bool sent = sendto(fd, bytes, len, 0, (struct sockaddr *)&link, sizeof link) == (ssize_t)len;
    close(fd);
    return sent;
}

static bool scan(char **a)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), count = atoi(a[2]), sent = 0;
    struct sockaddr_in where = to(a[0], a[1]);
    for (int i = 0; i < count; i++) {
        sent += sendto(fd, "scan", 4, 0, (struct sockaddr *)&where, sizeof where) == 4;
        where.sin_port = htons((uint16_t)(ntohs(where.sin_port) + 1));
    }
    close(fd);
    return sent == count;
}

/* A socket on one of the guest's ports that has sent a datagram; -1: it has not. */
static int sent_from(uint16_t port, const struct sockaddr_in *where)
{
    struct sockaddr_in ours = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, (struct sockaddr *)&ours, sizeof ours) == 0 &&
        sendto(fd, "hold", 4, 0, (const struct sockaddr *)where, sizeof *where) == 4)
        return fd;
    close(fd);
    return -1;
}

static bool hold(char **a)
{
    struct sockaddr_in where = to(a[0], a[1]);
    int from = atoi(a[2]), count = a[3] != NULL ? atoi(a[3]) : 1, sent = 1;
    int first = sent_from((uint16_t)from, &where);
    for (; sent < count; sent++) {
        int fd = sent_from((uint16_t)(from + sent), &where);
        if (fd < 0)
            return false;
        close(fd);
        if (sent % 50 == 0)
            usleep(5000); /* queues on the way are short */
    }
    char answer[16] = "";
    struct pollfd wait = {.fd = first, .events = POLLIN};
    return first >= 0 && poll(&wait, 1, 20000) == 1 &&
           recv(first, answer, sizeof answer - 1, 0) == 3 && strcmp(answer, "bye") == 0;
}

static bool refused(char **a)
{
    struct sockaddr_in where = to(a[0], a[1]);
    char answer;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    bool open = connect(fd, (struct sockaddr *)&where, sizeof where) == 0 &&
                send(fd, "hello", 5, 0) == 5 && poll(&wait, 1, 2000) == 1 &&
                recv(fd, &answer, 1, 0) < 0 && errno == ECONNREFUSED;
    close(fd);
    return open;
}

static bool flood(char **a)
{
    static char data[1 << 20];
    struct sockaddr_in where = to(a[0], a[1]);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    long left = atol(a[2]) << 20;
    if (connect(fd, (struct sockaddr *)&where, sizeof where) < 0)
        return false;
    while (left > 0) {
        ssize_t sent =
            send(fd, data, left < (long)sizeof data ? (size_t)left : sizeof data, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        left -= sent;
    }
    close(fd);
    return true;
}

static bool broadcast(char **a)
{
    char *const args[] = {"255.255.255.255", a[0], NULL};
    return udp((char **)args);
}

static const struct {
    const char *name;
    bool (*run)(char **arguments);
    int arguments;
} probes[] = {{"tcp", tcp, 2},
              {"udp", udp, 2},
              {"mute", mute, 3},
              {"icmp", icmp, 1},
              {"fragments", fragments, 2},
              {"spoof", spoof, 3},
              {"ether", ether, 1},
              {"broadcast", broadcast, 1},
              {"frame", frame, 1},
              {"arp", arp, 1},
              {"steer", steer, 2},
              {"scan", scan, 3},
              {"hold", hold, 3},
              {"refused", refused, 2},
              {"flood", flood, 3},
              {"multicast", udp, 2}};

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char text[1400], *words[6] = {NULL};
        snprintf(text, sizeof text, "%s", argv[i]);
        int count = 0;
        for (char *word = strtok(text, ":"); word != NULL && count < 5; word = strtok(NULL, ":"))
            words[count++] = word;
        const char *verdict = "unknown";
        for (size_t p = 0; p < sizeof probes / sizeof probes[0]; p++)
            if (strcmp(words[0], probes[p].name) == 0 && count > probes[p].arguments)
                verdict = probes[p].run(words + 1) ? "open" : "closed";
        printf("%s %s\n", argv[i], verdict);
        fflush(stdout);
    }
    return 0;
}
