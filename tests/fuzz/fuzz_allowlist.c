/* A mount allowlist file. The reader takes a path, so the input goes through an unnamed file. */
#include "policy/check.h"

#include <stdio.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sr_cleanup_fd int fd = memfd_create("allowlist", MFD_CLOEXEC);
    char path[32];
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct policy_checker *checker = calloc(1, sizeof *checker);
    if (checker == NULL)
        return 0;
    struct policy_mount_allowlist allowlist;
    checker->sources = &(const struct sr_policy_sources){.allowlist = path};
    policy_allowlist_load(checker, &allowlist);
    if (allowlist.usable == (checker->errors.count > 0))
        abort(); /* usable, or an error that says why not */
    free(checker->errors.items);
    free(checker->warnings.items);
    policy_arena_free(&checker->arena);
    free(checker);
    return 0;
}
