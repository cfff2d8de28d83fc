/*
 * What a network costs: apply, sample and release with 1, 100 and 10,000 rules; and, where an
 * address is given that answers UDP on port 7, datagrams there and back, by frames of the program's
 * own on the TAP. To be run in a network namespace with a default route (bench/network makes one).
 *
 * Usage: bench-network [ADDRESS]
 */
#include "net/net.h"

#include "common/clock.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 7 };

static const struct net_config config = {
    .stop_fd = -1,
    .cgroup_fd = -1,
    .nft = "/usr/sbin/nft",
    .pasta = "/usr/bin/pasta",
    .refresh_min_sec = 30,
    .flows_max = 512,
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

static void fail(const struct sr_error *err)
{
    fprintf(stderr, "%s: %s\n", err->path, err->message);
    exit(1);
}

/* Waits until the cell has answered. */
static void wait_for(struct net *net, enum net_news wanted)
{
    struct sr_error err = {0};
    enum net_news news = NET_NOTHING;
    while (news != wanted) {
        struct pollfd wait = {.fd = net->fd, .events = POLLIN};
        if (news == NET_NOTHING)
            poll(&wait, 1, 1000);
        if (net_hear(net, &news, &err) < 0)
            fail(&err);
    }
}

static void release(struct net *net)
{
    struct sr_error err = {0};
    if (net_ask_release(net, &err) < 0)
        fail(&err);
    wait_for(net, NET_RELEASED);
}

/* Single addresses, with one prefix in eight. */
static struct sr_egress *rules(size_t count)
{
    struct sr_egress *egress = calloc(count, sizeof *egress);
    for (size_t i = 0; egress != NULL && i < count; i++)
        egress[i] = (struct sr_egress){.protocol = i % 2 == 0 ? SR_PROTOCOL_TCP : SR_PROTOCOL_UDP,
                                       .port = (uint16_t)(1 + i % 50000),
                                       .cidr = "x",
                                       .address = 0x0B000000 + (uint32_t)i * 256,
                                       .prefix = i % 8 == 7 ? 24 : 32};
    return egress;
}

static int measure(size_t count, double apply_limit, double sample_limit)
{
    char dir[] = "/tmp/bench-network-XXXXXX";
    struct sr_error err = {0};
    struct sr_egress *egress = rules(count);
    const struct sr_policy policy = {
        .egress = egress, .egress_count = count, .network_mode = SR_NETWORK_ALLOWLIST};
    struct sr_hasher *hasher = sr_hasher_new();
    if (mkdtemp(dir) == NULL || egress == NULL || hasher == NULL)
        return 1;
    double apply[ROUNDS], sample[ROUNDS], end[ROUNDS];
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < ROUNDS; i++) {
        struct net *net;
        uint64_t a = sr_now();
        if (net_apply(&policy, "sr-20260101T000000-bench2", dirfd, &config, hasher, &net, &err) < 0)
            fail(&err);
        uint64_t b = sr_now();
        if (net_ask_counters(net, &err) < 0)
            fail(&err);
        wait_for(net, NET_COUNTED);
        uint64_t c = sr_now();
        release(net);
        uint64_t d = sr_now();
        net_free(net);
        apply[i] = (double)(b - a) / 1e6;
        sample[i] = (double)(c - b) / 1e6;
        end[i] = (double)(d - c) / 1e6;
        unlinkat(dirfd, "ruleset.nft", 0);
        unlinkat(dirfd, "net.log", 0);
    }
    close(dirfd);
    rmdir(dir);
    free(egress);
    sr_hasher_free(hasher);
    double a = median(apply), s = median(sample), r = median(end);
    double release_limit = sample_limit + 20; /* the last counters are read in it */
    bool over = a > apply_limit || s > sample_limit || r > release_limit;
    printf("network: %5zu rules: apply %.1f ms (limit %.0f), sample %.1f ms (limit %.0f), release "
           "%.1f ms (limit %.0f): %s\n",
           count, a, apply_limit, s, sample_limit, r, release_limit, over ? "OVER" : "ok");
    fflush(stdout);
    return over;
}

/* The guest's end of the TAP. */
struct guest {
    int tap;
    uint32_t peer; /* network byte order */
    uint8_t frame[2048];
};

enum { ETH = 14, IP = 20, UDP = 8, MAC = 6, ARP = 42 };

static void put_frame(const struct guest *guest, const void *frame, size_t len)
{
    if (write(guest->tap, frame, len) != (ssize_t)len)
        exit(1);
}

static void answer_arp(struct guest *guest)
{
    static const uint8_t mac[MAC] = {2, 0, 0, 0, 0, 2}, address[4] = {198, 18, 0, 2};
    uint8_t *arp = guest->frame + ETH;
    memcpy(guest->frame, guest->frame + MAC, MAC);
    memcpy(guest->frame + MAC, mac, MAC);
    arp[7] = 2;
    memcpy(arp + 18, arp + 8, 10); /* who has asked */
    memcpy(arp + 8, mac, MAC);
    memcpy(arp + 14, address, 4);
    put_frame(guest, guest->frame, ARP);
}

/* Waits for the next answer to an ARP question, or else the next IPv4 packet. */
static void take_frame(struct guest *guest, bool arp)
{
    struct pollfd wait = {.fd = guest->tap, .events = POLLIN};
    while (poll(&wait, 1, 1000) == 1) {
        ssize_t got = read(guest->tap, guest->frame, sizeof guest->frame);
        bool is_arp = got >= ARP && guest->frame[12] == 8 && guest->frame[13] == 6;
        if (is_arp && guest->frame[ETH + 7] == 1)
            answer_arp(guest);
        else if (arp ? is_arp : got > ETH && guest->frame[12] == 8 && guest->frame[13] == 0)
            return;
    }
    fprintf(stderr, "nothing has come\n");
    exit(1);
}

/* Writes a datagram of size bytes from this port into frame; gateway is the TAP's address.
 * Checksums: IP's only. */
static size_t make_datagram(const struct guest *guest, const uint8_t gateway[MAC], uint16_t port,
                            size_t size, uint8_t *frame)
{
    static const uint8_t mac[MAC] = {2, 0, 0, 0, 0, 2}, source[4] = {198, 18, 0, 2};
    uint8_t *ip = frame + ETH, *udp = ip + IP;
    size_t len = IP + UDP + size;
    memset(frame, 0, ETH + len);
    memcpy(frame, gateway, MAC);
    memcpy(frame + MAC, mac, MAC);
    frame[12] = 8;
    ip[0] = 0x45;
    ip[2] = (uint8_t)(len >> 8);
    ip[3] = (uint8_t)len;
    ip[8] = 64;
    ip[9] = 17;
    memcpy(ip + 12, source, 4);
    memcpy(ip + 16, &guest->peer, 4);
    uint32_t sum = 0;
    for (int i = 0; i < IP; i += 2)
        sum += (uint32_t)ip[i] << 8 | ip[i + 1];
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = ~(sum + (sum >> 16)) & 0xFFFF;
    ip[10] = (uint8_t)(sum >> 8);
    ip[11] = (uint8_t)sum;
    udp[0] = (uint8_t)(port >> 8);
    udp[1] = (uint8_t)port;
    udp[3] = 7;
    udp[4] = (uint8_t)((len - IP) >> 8);
    udp[5] = (uint8_t)(len - IP);
    return ETH + len;
}

/* Round trips one after the other, and with a window of many. */
static int measure_udp(const char *address)
{
    enum { TRIPS = 5000, WINDOW = 32, SIZE = 1000 };
    static const uint8_t question[ARP] = {
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0,   0,  0, 0, 2, 8, 6, 0, 1, 8, 0,   6,  4, 0,
        1,    2,    0,    0,    0,    0,    2, 198, 18, 0, 2, 0, 0, 0, 0, 0, 0, 198, 18, 0, 1};
    uint8_t gateway[MAC], frame[ETH + IP + UDP + SIZE];
    char dir[] = "/tmp/bench-network-XXXXXX";
    struct sr_error err = {0};
    struct guest guest = {.peer = inet_addr(address)};
    struct sr_egress rule = {.protocol = SR_PROTOCOL_UDP,
                             .port = 7,
                             .cidr = "x",
                             .address = ntohl(guest.peer),
                             .prefix = 32};
    const struct sr_policy policy = {
        .egress = &rule, .egress_count = 1, .network_mode = SR_NETWORK_ALLOWLIST};
    struct sr_hasher *hasher = sr_hasher_new();
    struct net *net;
    int dirfd = mkdtemp(dir) == NULL ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (net_apply(&policy, "sr-20260101T000000-bench3", dirfd, &config, hasher, &net, &err) < 0)
        fail(&err);
    guest.tap = net->tap_fd;
    put_frame(&guest, question, sizeof question);
    take_frame(&guest, true);
    memcpy(gateway, guest.frame + MAC, MAC);
    size_t len = make_datagram(&guest, gateway, 5000, SIZE, frame);
    double rates[2];
    for (int round = 0; round < 2; round++) {
        int window = round == 0 ? 1 : WINDOW, sent = 0, got = 0;
        uint64_t a = sr_now();
        for (; got < TRIPS; got++) {
            while (sent < TRIPS && sent < got + window) {
                put_frame(&guest, frame, len);
                sent++;
            }
            take_frame(&guest, false);
        }
        rates[round] = TRIPS / ((double)(sr_now() - a) / 1e9);
    }
    release(net);
    net_free(net);
    unlinkat(dirfd, "ruleset.nft", 0);
    unlinkat(dirfd, "net.log", 0);
    close(dirfd);
    rmdir(dir);
    sr_hasher_free(hasher);
    printf(
        "network: UDP of %d bytes there and back: %.0f /s one by one, %.0f /s with %d under way\n",
        SIZE, rates[0], rates[1], WINDOW);
    return 0;
}

int main(int argc, char **argv)
{
    int over = measure(1, 150, 10);
    over |= measure(100, 150, 10);
    over |= measure(10000, 150, 100);
    if (argc > 1)
        over |= measure_udp(argv[1]);
    return over;
}
