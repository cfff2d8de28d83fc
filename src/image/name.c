/* Names of images. */
#include "saferun/image.h"

#include "common/sha256.h"

#include <stdio.h>
#include <string.h>

bool sr_image_name_ok(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:";
    size_t len = strlen(name);
    return len > 0 && len <= SR_IMAGE_NAME_MAX && strchr(first, name[0]) != NULL &&
           name[strspn(name, more)] == '\0';
}

bool sr_image_split(const char *text, char name[PATH_MAX], char digest[SR_IMAGE_DIGEST_TEXT])
{
    const char *at = strrchr(text, '@');
    if (at != NULL && strchr(at, '/') != NULL) /* a directory's */
        at = NULL;
    size_t len = at != NULL ? (size_t)(at - text) : strlen(text);
    if (len >= PATH_MAX || (at != NULL && !sr_is_sha256(at + 1)))
        return false;
    snprintf(digest, SR_IMAGE_DIGEST_TEXT, "%s", at != NULL ? at + 1 : "");
    memcpy(name, text, len);
    name[len] = '\0';
    return true;
}
