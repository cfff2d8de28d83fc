#include "common/fs.h"
#include "policy/check.h"

#include <limits.h>
#include <string.h>

const char *policy_path_fault(const char *path)
{
    if (path[0] != '/')
        return "must be an absolute path in the guest";
    if (strlen(path) >= PATH_MAX)
        return "is longer than the 4095 bytes that a path can have";
    for (size_t name; *path != '\0'; path += name) {
        path += strspn(path, "/");
        name = strcspn(path, "/");
        if (name > NAME_MAX)
            return "has a name longer than the 255 bytes that a file's can have";
    }
    return NULL;
}

char *policy_path_normalize(struct policy_arena *arena, const char *path)
{
    char *out = policy_arena_alloc(arena, strlen(path) + 2);
    if (out == NULL)
        return NULL;
    size_t len = 0;
    while (*path != '\0') {
        size_t part = strcspn(path, "/");
        if (part == 2 && path[0] == '.' && path[1] == '.') {
            while (len > 0 && out[--len] != '/')
                ;
        } else if (part > 0 && !(part == 1 && path[0] == '.')) {
            out[len++] = '/';
            memcpy(out + len, path, part);
            len += part;
        }
        path += part;
        path += *path == '/';
    }
    if (len == 0)
        out[len++] = '/';
    out[len] = '\0';
    return out;
}

bool policy_path_protected(const char *path)
{
    static const char *const places[] = {"/proc", "/sys",  "/dev", "/run",   "/boot", "/etc",
                                         "/bin",  "/sbin", "/lib", "/lib64", "/usr"};
    if (strcmp(path, "/") == 0)
        return true;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (sr_path_within(path, places[i]))
            return true;
    return false;
}
