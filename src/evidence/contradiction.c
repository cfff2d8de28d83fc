#include "contradiction.h"

#include <stdarg.h>
#include <stdio.h>

/* Clocks of guest and host are read at different moments, and a guest counts CPU time in ticks: 10 ms
 * for each of a few readings. What is within this is no lie that would serve anybody. */
#define CPU_TOLERANCE_USEC 200000

struct list {
    struct sr_contradiction *found;
    size_t count;
};

__attribute__((format(printf, 5, 6))) static void
add(struct list *list, const char *about, uint64_t guest, uint64_t host, const char *fmt, ...)
{
    struct sr_contradiction *one = &list->found[list->count++];
    *one = (struct sr_contradiction){.about = about, .guest = guest, .host = host};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(one->message, sizeof one->message, fmt, ap);
    va_end(ap);
}

size_t sr_contradictions(const struct sr_exit_facts *facts,
                         struct sr_contradiction found[SR_CONTRADICTIONS_MAX])
{
    typedef unsigned long long ull;
    struct list list = {found, 0};
    if (!facts->guest_spoke)
        return 0;
    uint64_t possible;
    if (facts->wall_usec > 0 && facts->vcpus > 0 &&
        !__builtin_mul_overflow(facts->wall_usec, facts->vcpus, &possible) &&
        !__builtin_add_overflow(possible, CPU_TOLERANCE_USEC, &possible) &&
        facts->guest_cpu_usec > possible)
        add(&list, "cpu", facts->guest_cpu_usec, facts->wall_usec,
            "the guest reports %llu us of CPU time; its VM lived for %llu us on %llu vCPU",
            (ull)facts->guest_cpu_usec, (ull)facts->wall_usec, (ull)facts->vcpus);
    if (facts->ram_bytes > 0 && facts->guest_rss_bytes > facts->ram_bytes)
        add(&list, "memory", facts->guest_rss_bytes, facts->ram_bytes,
            "the guest reports a process of %llu bytes; its VM has %llu",
            (ull)facts->guest_rss_bytes, (ull)facts->ram_bytes);
    if (facts->vmm_end_known && !facts->vmm_ended_by_us && facts->vmm_signal != 0)
        add(&list, "exit", 0, facts->vmm_signal,
            "the guest reports the command's end; the host saw the VMM killed by signal %llu",
            (ull)facts->vmm_signal);
    else if (facts->vmm_end_known && !facts->vmm_ended_by_us && facts->vmm_status != 0)
        add(&list, "exit", 0, facts->vmm_status,
            "the guest reports the command's end; the host saw the VMM fail with status %llu",
            (ull)facts->vmm_status);
    if (facts->host_oom_kills > 0)
        add(&list, "oom", 0, facts->host_oom_kills,
            "the guest reports the command's end; the host killed %llu process of its VM for "
            "memory",
            (ull)facts->host_oom_kills);
    return list.count;
}

/* A count, or 0 when there is none. */
static uint64_t count_at(struct sr_json_slice object, const char *name)
{
    int64_t value;
    return sr_json_integer(sr_json_get(object, name), &value) && value > 0 ? (uint64_t)value : 0;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

void sr_exit_facts_read(struct sr_json_slice payload, struct sr_exit_facts *facts)
{
    struct sr_json_slice guest = sr_json_get(payload, "guest"), vmm = sr_json_get(payload, "vmm");
    uint64_t kib = count_at(guest, "maxRssKib");
    *facts = (struct sr_exit_facts){
        .wall_usec = count_at(payload, "wallUsec"),
        .vcpus = count_at(payload, "vcpus"),
        .ram_bytes = count_at(payload, "guestRamBytes"),
        .host_oom_kills = count_at(payload, "hostOomKills"),
        .vmm_end_known = sr_json_is_object(vmm),
        .vmm_ended_by_us = sr_json_is(sr_json_get(vmm, "endedBy"), "safe-run"),
        .vmm_status = count_at(vmm, "status"),
        .vmm_signal = count_at(vmm, "signal"),
        .guest_spoke = sr_json_is_object(guest),
        .guest_cpu_usec = plus(count_at(guest, "userUsec"), count_at(guest, "systemUsec")),
        .guest_rss_bytes = kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024,
    };
}
