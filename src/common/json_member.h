/* Members of JSON values, of which anything may be missing or of another kind than it should be. */
#ifndef SR_COMMON_JSON_MEMBER_H
#define SR_COMMON_JSON_MEMBER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The text of a string, which stays object's; NULL when object is none or has no such string. */
static inline const char *sr_member_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* Copies that into text, cut to its size. False when it was cut, or when there is none: then text
 * is as it was. */
static inline bool sr_member_copy(const json_t *object, const char *name, char *text, size_t size)
{
    const char *found = sr_member_text(object, name);
    return found != NULL && snprintf(text, size, "%s", found) < (int)size;
}

/* A whole number from 0 to max; false when there is none, and number is as it was. */
static inline bool sr_member_number(const json_t *object, const char *name, uint64_t max,
                                    uint64_t *number)
{
    const json_t *found = json_object_get(object, name);
    if (!json_is_integer(found) || json_integer_value(found) < 0 ||
        (uint64_t)json_integer_value(found) > max)
        return false;
    *number = (uint64_t)json_integer_value(found);
    return true;
}

#endif
