/*
 * What a network costs: apply, sample and release with 1, 100 and 10,000 rules. To be run in a network namespace with a default
 * route (bench/network makes one).
 *
 * Usage: bench-network
 */
#include "net.h"

#include "clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 7 };

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
    const struct sr_net_config config = {
        .stop_fd = -1, .nft = "/usr/sbin/nft", .pasta = "/usr/bin/pasta", .refresh_min_sec = 30};
    struct sr_hasher *hasher = sr_hasher_new();
    if (mkdtemp(dir) == NULL || egress == NULL || hasher == NULL)
        return 1;
    double apply[ROUNDS], sample[ROUNDS], release[ROUNDS];
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < ROUNDS; i++) {
        struct sr_net *net;
        uint64_t a = sr_now();
        if (sr_net_apply(&policy, "sr-20260101T000000-bench2", dirfd, &config, hasher, &net, &err) <
            0)
            fail(&err);
        uint64_t b = sr_now();
        if (sr_net_sample(net, &err) < 0)
            fail(&err);
        uint64_t c = sr_now();
        if (sr_net_release(net, &err) < 0)
            fail(&err);
        uint64_t d = sr_now();
        sr_net_free(net);
        apply[i] = (double)(b - a) / 1e6;
        sample[i] = (double)(c - b) / 1e6;
        release[i] = (double)(d - c) / 1e6;
        unlinkat(dirfd, "ruleset.nft", 0);
        unlinkat(dirfd, "net.log", 0);
    }
    close(dirfd);
    rmdir(dir);
    free(egress);
    sr_hasher_free(hasher);
    double a = median(apply), s = median(sample), r = median(release);
    bool over = a > apply_limit || s > sample_limit || r > 20;
    printf("network: %5zu rules: apply %.1f ms (limit %.0f), sample %.1f ms (limit %.0f), release "
           "%.1f ms (limit 20): %s\n",
           count, a, apply_limit, s, sample_limit, r, over ? "OVER" : "ok");
    fflush(stdout);
    return over;
}

int main(void)
{
    int over = measure(1, 150, 10);
    over |= measure(100, 150, 10);
    over |= measure(10000, 150, 100);
    return over;
}
