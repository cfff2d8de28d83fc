/*
 * QEMU's words about KVM, as versions 7.2 to 10.0 write them: some with the program's name in
 * front, some without. Only a whole line of a known form counts; the reason in it is that of
 * strerror(3).
 */
#include "vmm/qemu.h"

#include <string.h>

/* How a line begins, behind the program's name and the option that it is about. */
struct form {
    const char *begin;
    bool has_reason; /* what follows is why, else a number or nothing */
};

static const struct form forms[] = {
    {"Could not access KVM kernel module: ", true},
    {"failed to initialize kvm: ", true},
    {"ioctl(KVM_CREATE_VM) failed: ", true},
    {"invalid accelerator kvm", false},
    {"kvm version too old", false},
    {"kvm version not supported", false},
    {"kvm does not support ", false},
    {"KVM: entry failed, hardware error 0x", false},
    {"KVM internal error. Suberror: ", false},
    {"error: kvm run failed ", true},
};

/* These pass: they say that something is short at this moment. */
static const char *const passing[] = {
    "Cannot allocate memory",           "No space left on device", "Device or resource busy",
    "Resource temporarily unavailable", "Interrupted system call", "Too many open files",
    "Too many open files in system"};

static bool ends_with(const char *line, size_t len, const char *end)
{
    size_t end_len = strlen(end);
    return len >= end_len && memcmp(line + len - end_len, end, end_len) == 0;
}

static bool starts_with(const char *line, size_t len, const char *begin)
{
    size_t begin_len = strlen(begin);
    return len >= begin_len && memcmp(line, begin, begin_len) == 0;
}

static bool is_passing(const char *line, size_t len)
{
    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
        if (ends_with(line, len, passing[i]))
            return true;
    return false;
}

static bool is_form(const char *line, size_t len)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (starts_with(line, len, forms[i].begin))
            return !forms[i].has_reason || len > strlen(forms[i].begin);
    return false;
}

/* Whether a line says that KVM does not work: as it is, behind the program's name, and behind the
 * option that it is about. */
static bool is_blame(const char *line, size_t len)
{
    static const char option[] = "-accel kvm: ";
    if (is_form(line, len))
        return true;
    size_t name = 0;
    while (name + 1 < len && line[name] != ':' && line[name] != ' ')
        name++;
    if (name == 0 || name + 1 >= len || memcmp(line + name, ": ", 2) != 0)
        return false;
    line += name + 2;
    len -= name + 2;
    size_t skipped = starts_with(line, len, option) ? sizeof option - 1 : 0;
    return is_form(line + skipped, len - skipped);
}

bool vmm_qemu_blames_kvm(const char *log, size_t len)
{
    bool found = false;
    for (size_t at = 0; at < len;) {
        const char *end = memchr(log + at, '\n', len - at);
        size_t line = end != NULL ? (size_t)(end - (log + at)) : len - at;
        if (is_passing(log + at, line)) /* the first reason may have led to the others */
            return false;
        found = found || is_blame(log + at, line);
        at += line + 1;
    }
    return found;
}
