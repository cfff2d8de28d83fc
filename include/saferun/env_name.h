/* The names of variables whose values come from outside of a policy. */
#ifndef SAFERUN_ENV_NAME_H
#define SAFERUN_ENV_NAME_H

#include <stdbool.h>

/* Bytes. */
#define SR_SECRET_NAME_MAX 128

/* Whether a text can be the name of one: letters, digits and _, and no digit first. */
bool sr_secret_name_ok(const char *name);

#endif
