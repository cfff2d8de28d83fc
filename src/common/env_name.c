#include "saferun/env_name.h"

#include <string.h>

bool sr_secret_name_ok(const char *name)
{
    static const char digits[] = "0123456789",
                      all[] = "0123456789_"
                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t len = strspn(name, all);
    return len > 0 && len <= SR_SECRET_NAME_MAX && name[len] == '\0' &&
           strchr(digits, name[0]) == NULL;
}
