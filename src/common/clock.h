/* Time as the runner counts it: nanoseconds of the monotonic clock. */
#ifndef SR_COMMON_CLOCK_H
#define SR_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#define SR_NSEC_PER_SEC UINT64_C(1000000000)
#define SR_NSEC_PER_MSEC UINT64_C(1000000)

static inline uint64_t sr_clock_nsec(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * SR_NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static inline uint64_t sr_now(void)
{
    return sr_clock_nsec(CLOCK_MONOTONIC);
}

#endif
