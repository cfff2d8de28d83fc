#include "common/tell.h"

#include <stdarg.h>
#include <stdio.h>

void sr_tell(const struct sr_tell *tell, const char *fmt, ...)
{
    if (tell->line == NULL)
        return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    tell->line(tell->context, text);
}
