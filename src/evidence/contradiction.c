#include "evidence/contradiction.h"

#include <stdarg.h>
#include <stdio.h>

/* Clocks of guest and host are read at different moments, and a guest counts CPU time in ticks: 10
 * ms for each of a few readings. What is within this is no lie that would serve anybody. */
#define CPU_TOLERANCE_USEC 200000

struct list {
    struct evidence_contradiction *found;
    size_t count;
};

static const char *const by_guest[] = {"guest", "host"}, *const by_time[] = {"used", "limit"};

__attribute__((format(printf, 6, 7))) static void add(struct list *list, const char *about,
                                                      const char *const names[2], uint64_t first,
                                                      uint64_t second, const char *fmt, ...)
{
    struct evidence_contradiction *one = &list->found[list->count++];
    *one = (struct evidence_contradiction){
        .about = about, .names = {names[0], names[1]}, .values = {first, second}};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(one->message, sizeof one->message, fmt, ap);
    va_end(ap);
}

static void compare_time(struct list *list, const char *about, const char *what,
                         const struct evidence_exit_time *time)
{
    uint64_t most;
    if (__builtin_add_overflow(time->limit_usec, EVIDENCE_TIME_TOLERANCE_USEC, &most) ||
        time->used_usec <= most)
        return;
    add(list, about, by_time, time->used_usec, time->limit_usec,
        "%s took %llu us; its limits allow %llu us, and 5 s are forgiven", what,
        (unsigned long long)time->used_usec, (unsigned long long)time->limit_usec);
}

/* What the guest says of the command's end, against the host's word. */
static void compare_words(struct list *list, const struct evidence_exit_facts *facts)
{
    typedef unsigned long long ull;
    uint64_t possible;
    if (facts->wall_usec > 0 && facts->vcpus > 0 &&
        !__builtin_mul_overflow(facts->wall_usec, facts->vcpus, &possible) &&
        !__builtin_add_overflow(possible, CPU_TOLERANCE_USEC, &possible) &&
        facts->guest_cpu_usec > possible)
        add(list, "cpu", by_guest, facts->guest_cpu_usec, facts->wall_usec,
            "the guest reports %llu us of CPU time; its VM lived for %llu us on %llu vCPU",
            (ull)facts->guest_cpu_usec, (ull)facts->wall_usec, (ull)facts->vcpus);
    if (facts->ram_bytes > 0 && facts->guest_rss_bytes > facts->ram_bytes)
        add(list, "memory", by_guest, facts->guest_rss_bytes, facts->ram_bytes,
            "the guest reports a process of %llu bytes; its VM has %llu",
            (ull)facts->guest_rss_bytes, (ull)facts->ram_bytes);
    if (facts->vmm_end_known && !facts->vmm_ended_by_us && facts->vmm_signal != 0)
        add(list, "exit", by_guest, 0, facts->vmm_signal,
            "the guest reports the command's end; the host saw the VMM killed by signal %llu",
            (ull)facts->vmm_signal);
    else if (facts->vmm_end_known && !facts->vmm_ended_by_us && facts->vmm_status != 0)
        add(list, "exit", by_guest, 0, facts->vmm_status,
            "the guest reports the command's end; the host saw the VMM fail with status %llu",
            (ull)facts->vmm_status);
    if (facts->host_oom_kills > 0)
        add(list, "oom", by_guest, 0, facts->host_oom_kills,
            "the guest reports the command's end; the host killed %llu process of its VM for "
            "memory",
            (ull)facts->host_oom_kills);
}

size_t evidence_contradictions(const struct evidence_exit_facts *facts,
                               struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX])
{
    struct list list = {found, 0};
    if (facts->guest_spoke)
        compare_words(&list, facts);
    if (facts->timed) {
        compare_time(&list, "command", "the command", &facts->command);
        compare_time(&list, "collect", "the collection of outputs", &facts->collect);
        compare_time(&list, "end", "the end of the VM", &facts->end);
    }
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

void evidence_exit_facts_read(struct sr_json_slice payload, struct evidence_exit_facts *facts)
{
    struct sr_json_slice guest = sr_json_get(payload, "guest"), vmm = sr_json_get(payload, "vmm");
    struct sr_json_slice took = sr_json_get(payload, "durations"),
                         may = sr_json_get(payload, "limits");
    uint64_t kib = count_at(guest, "maxRssKib"), seconds = count_at(may, "timeoutSec");
    uint64_t timeout = seconds > UINT64_MAX / 1000000u ? UINT64_MAX : seconds * 1000000u;
    *facts = (struct evidence_exit_facts){
        .wall_usec = count_at(payload, "wallUsec"),
        .vcpus = count_at(payload, "vcpus"),
        .ram_bytes = count_at(payload, "guestRamBytes"),
        .host_oom_kills = count_at(payload, "hostOomKills"),
        .vmm_end_known = sr_json_is_object(vmm),
        .vmm_ended_by_us = sr_json_is(sr_json_get(vmm, "endedBy"), "safe-run"),
        .vmm_status = count_at(vmm, "status"),
        .vmm_signal = count_at(vmm, "signal"),
        .timed = sr_json_is_object(took) && sr_json_is_object(may),
        .command = {plus(count_at(took, "bootUsec"), count_at(took, "commandUsec")),
                    plus(timeout, count_at(may, "graceUsec"))},
        .collect = {count_at(took, "collectUsec"), count_at(may, "collectUsec")},
        .end = {count_at(took, "endUsec"), count_at(may, "endUsec")},
        .guest_spoke = sr_json_is_object(guest),
        .guest_cpu_usec = plus(count_at(guest, "userUsec"), count_at(guest, "systemUsec")),
        .guest_rss_bytes = kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024,
    };
}
