/*
 * Which accelerator. That /dev/kvm opens proves nothing (paravirtual and nested hosts hang a stock
 * guest), so KVM is trusted only after a guest came up under it, and what was learnt holds until
 * the host or QEMU changes: the remembered line carries the host's boot id and QEMU's identity.
 *
 * That KVM is broken is believed only of a VMM that says why (vmm_qemu_blames_kvm()), or of a guest
 * that stayed silent although it could have had a CPU. A run that fails otherwise under KVM (no
 * memory, a VMM that somebody killed, a busy host) says nothing about KVM: it gets its second
 * chance under TCG, and the next run tries again.
 */
#include "host/host.h"

#include "common/clock.h"
#include "common/fs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

enum host_kvm_state host_kvm_state(const char *qemu)
{
    sr_cleanup_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return HOST_KVM_ABSENT;
    sr_cleanup_fd int cache = host_cache_open();
    char now[160], known[192];
    if (cache < 0 || !circumstances(qemu, now, sizeof now) ||
        sr_read_small_file(cache, KVM_FILE, known, sizeof known) < 0)
        return HOST_KVM_UNKNOWN;
    size_t len = strlen(now);
    if (strncmp(known, now, len) != 0)
        return HOST_KVM_UNKNOWN;
    if (strcmp(known + len, " works") == 0)
        return HOST_KVM_WORKS;
    return strcmp(known + len, " broken") == 0 ? HOST_KVM_BROKEN : HOST_KVM_UNKNOWN;
}

void host_kvm_remember(const char *qemu, enum host_kvm_state state)
{
    sr_cleanup_fd int cache = host_cache_open();
    char now[160], text[192];
    if (cache < 0 || !circumstances(qemu, now, sizeof now))
        return;
    int len =
        snprintf(text, sizeof text, "%s %s", now, state == HOST_KVM_WORKS ? "works" : "broken");
    if (sr_replace_file(cache, KVM_FILE, text, (size_t)len) < 0)
        return; /* the next run probes again */
}

struct host_cpu_times host_cpu_times(void)
{
    char text[512];
    unsigned long long idle, disk;
    long ticks = sysconf(_SC_CLK_TCK);
    ssize_t len = sr_read_small_file(AT_FDCWD, "/proc/stat", text, sizeof text);
    /* proc_stat(5): user, nice, system, idle, iowait of all CPUs, in ticks. */
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
    if (len <= 0 || ticks <= 0 || sscanf(text, "cpu %*u %*u %*u %llu %llu", &idle, &disk) != 2)
        return (struct host_cpu_times){0};
    return (struct host_cpu_times){
        .known = true,
        .idle_usec = idle * 1000000u / (unsigned long)ticks,
        .disk_usec = disk * 1000000u / (unsigned long)ticks,
        .nsec = sr_now(),
    };
}

bool host_cpu_was_free(const struct host_cpu_times *from, const struct host_cpu_times *to,
                       uint64_t used_usec)
{
    if (!from->known || !to->known || to->nsec <= from->nsec || to->idle_usec < from->idle_usec ||
        to->disk_usec < from->disk_usec)
        return false;
    uint64_t passed = (to->nsec - from->nsec) / 1000, idle = to->idle_usec - from->idle_usec;
    /* What is nine tenths of one CPU leaves room for ticks and for the start of the VMM itself. */
    return idle + used_usec >= passed / 10 * 9 && to->disk_usec - from->disk_usec < passed / 2;
}
