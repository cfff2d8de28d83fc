#include "end.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

void power_off(void)
{
    /* Nothing here outlives the VM, so there is nothing to sync. Without ACPI a PC has no "off";
     * the VMM ends at the first reset (-no-reboot). */
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}

void die(const char *what)
{
    fprintf(stderr, "safe-run init: %s: %s\n", what, strerror(errno));
    power_off();
}

bool refuse(struct refusal *refusal, uint32_t status, const char *fmt, ...)
{
    refusal->status = status;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(refusal->text, sizeof refusal->text, fmt, ap);
    va_end(ap);
    return false;
}
