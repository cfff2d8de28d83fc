/*
 * The verifier on any bytes: an answer, and one that holds together. Input up to a NUL byte (which
 * no report contains) is the report, the rest is events.jsonl.
 */
#include "saferun/report.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file_of(const uint8_t *data, size_t size)
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    size_t len = nul != NULL ? (size_t)(nul - data) : size;
    struct sr_verify_options options = {0};
    struct sr_verification result = {0};
    struct sr_error err;
    char path[32];
    int report = file_of(data, len), events = -1;
    if (nul != NULL) {
        events = file_of(nul + 1, size - len - 1);
        snprintf(path, sizeof path, "/proc/self/fd/%d", events);
        options.events_path = path;
    }
    if (sr_report_verify_fd(report, &options, &result, &err) == 0) {
        int all_ok = 1;
        for (size_t i = 0; i < result.check_count; i++)
            all_ok = all_ok && result.checks[i].ok;
        if (result.check_count < 3 || result.valid != (all_ok && result.error_count == 0))
            abort();
        for (size_t i = 0; i < result.error_count; i++) /* never a text that a terminal obeys */
            for (const char *c = result.errors[i].path; *c != '\0'; c++)
                if (*c < 0x20 || *c > 0x7e)
                    abort();
    }
    sr_verification_free(&result);
    close(report);
    if (events >= 0)
        close(events);
    return 0;
}
