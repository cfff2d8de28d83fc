#include "host/host.h"

#include "common/clock.h"

#include <cpuid.h>
#include <x86intrin.h>

/* Long enough that the two readings' jitter (some 30 ns) is below 20 ppm. */
#define BASELINE_NSEC (2 * SR_NSEC_PER_MSEC)

struct host_tsc_sample host_tsc_sample(void)
{
    struct host_tsc_sample best = {0};
    uint64_t best_width = UINT64_MAX;
    /* The tightest of a few readings: an interrupt between the three calls shows as width. */
    for (int i = 0; i < 5; i++) {
        uint64_t before = __rdtsc();
        uint64_t nsec = sr_clock_nsec(CLOCK_MONOTONIC_RAW);
        uint64_t width = __rdtsc() - before;
        if (width < best_width) {
            best_width = width;
            best = (struct host_tsc_sample){before + width / 2, nsec};
        }
    }
    return best;
}

uint32_t host_tsc_khz(const struct host_tsc_sample *start)
{
    unsigned eax, ebx, ecx, edx;
    const unsigned invariant_tsc = 1u << 8; /* CPUID 8000_0007h, EDX bit 8 */
    if (!__get_cpuid(0x80000007u, &eax, &ebx, &ecx, &edx) || (edx & invariant_tsc) == 0)
        return 0;
    uint64_t since = sr_clock_nsec(CLOCK_MONOTONIC_RAW) - start->nsec;
    if (since < BASELINE_NSEC)
        nanosleep(&(struct timespec){.tv_nsec = (long)(BASELINE_NSEC - since)}, NULL);
    struct host_tsc_sample end = host_tsc_sample();
    double khz = (double)(end.ticks - start->ticks) * 1e6 / (double)(end.nsec - start->nsec);
    return khz > 0 && khz < (double)UINT32_MAX ? (uint32_t)khz : 0;
}
