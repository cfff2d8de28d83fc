#include "image/archive_lib.h"

#include <dlfcn.h>
#include <locale.h>
#include <stdbool.h>
#include <string.h>

#define LIBRARY "libarchive.so.13"

static const char *const names[] = {
#define NAME(name) #name,
    IMAGE_ARCHIVE_FUNCTIONS(NAME)
#undef NAME
};

const struct image_archive_lib *image_archive_load(struct sr_error *err)
{
    static struct image_archive_lib lib;
    static bool loaded;
    void *functions[sizeof names / sizeof names[0]];
    _Static_assert(sizeof functions == sizeof lib, "a pointer for each name");
    if (loaded)
        return &lib;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        functions[i] = library != NULL ? dlsym(library, names[i]) : NULL;
        if (functions[i] == NULL) {
            sr_fail(err, SR_OPS_101, "libarchive", "%s cannot be loaded: %s", LIBRARY, dlerror());
            return NULL;
        }
    }
    memcpy(&lib, functions, sizeof lib);
    /* Names in archives are bytes. In this locale they stay as they are, and no conversion table
     * has to be opened. */
    setlocale(LC_CTYPE, "C.UTF-8");
    loaded = true;
    return &lib;
}
