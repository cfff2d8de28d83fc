/*
 * Which accelerator. That /dev/kvm opens proves nothing (paravirtual and nested hosts hang a stock
 * guest), so KVM is trusted only after a guest came up under it, and what was learnt holds until
 * the host or QEMU changes: the remembered line carries the host's boot id and QEMU's identity.
 */
#include "host.h"

#include "fs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define KVM_FILE "kvm"

static bool circumstances(const char *qemu, char *text, size_t size)
{
    char boot_id[64];
    struct stat st;
    if (sr_read_small_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id) <
            0 ||
        stat(qemu, &st) < 0)
        return false;
    boot_id[strcspn(boot_id, "\n")] = '\0';
    snprintf(text, size, "%s %ju %jd.%09ld", boot_id, (uintmax_t)st.st_ino,
             (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    return true;
}

enum sr_kvm_state sr_kvm_state(const char *qemu)
{
    sr_cleanup_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return SR_KVM_ABSENT;
    sr_cleanup_fd int cache = sr_cache_open();
    char now[160], known[192];
    if (cache < 0 || !circumstances(qemu, now, sizeof now) ||
        sr_read_small_file(cache, KVM_FILE, known, sizeof known) < 0)
        return SR_KVM_UNKNOWN;
    size_t len = strlen(now);
    if (strncmp(known, now, len) != 0)
        return SR_KVM_UNKNOWN;
    if (strcmp(known + len, " works") == 0)
        return SR_KVM_WORKS;
    return strcmp(known + len, " broken") == 0 ? SR_KVM_BROKEN : SR_KVM_UNKNOWN;
}

void sr_kvm_remember(const char *qemu, enum sr_kvm_state state)
{
    sr_cleanup_fd int cache = sr_cache_open();
    char now[160], text[192];
    if (cache < 0 || !circumstances(qemu, now, sizeof now))
        return;
    int len = snprintf(text, sizeof text, "%s %s", now, state == SR_KVM_WORKS ? "works" : "broken");
    if (sr_replace_file(cache, KVM_FILE, text, (size_t)len) < 0)
        return; /* the next run probes again */
}
