/* A line on a terminal that says how far something is, once it has taken half a second; gone when
 * it is over. */
#include "cli/cli.h"

#include "common/clock.h"
#include "common/printable.h"

#include <string.h>

#define PATIENCE_NSEC (SR_NSEC_PER_SEC / 2)
#define WIDTH 24u

void cli_meter_show(void *context, const char *what, uint64_t done, uint64_t total)
{
    struct cli_meter *meter = context;
    uint64_t now = sr_now();
    if (done >= total && total > 0) {
        if (meter->shown)
            fputs("\r\033[K", stderr);
        *meter = (struct cli_meter){0};
        return;
    }
    if (meter->started_nsec == 0)
        meter->started_nsec = now;
    if (now - meter->started_nsec < PATIENCE_NSEC)
        return;
    char name[64], bar[WIDTH + 1];
    size_t len = strlen(what);
    snprintf(name, sizeof name, "%s%s", len > 40 ? "..." : "", len > 40 ? what + len - 37 : what);
    sr_make_printable(name);
    size_t full = total > 0 ? (size_t)(done * WIDTH / total) : 0;
    memset(bar, '.', WIDTH);
    memset(bar, '#', full < WIDTH ? full : WIDTH);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\rpacking %s [%s] %llu of %llu MiB\033[K", name, bar,
            (unsigned long long)(done >> 20), (unsigned long long)(total >> 20));
    meter->shown = true;
}
