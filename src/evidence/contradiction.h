/*
 * Contradictions: where the guest's word and what the host saw cannot both be true, and where a run
 * took more time than its limits allow.
 *
 * The guest is hostile: what it says of itself (exit status, rusage) is recorded as its word,
 * beside what the host saw. A lie about one can contradict the other. The functions are pure. The
 * writer uses them for vm.exited, and the verifier computes the list again, so that it finds what
 * was left out. The verifier compares the sentences, too: never change one.
 *
 *   cpu     more CPU time than the VM's processors could give while it lived. Not "more than the
 *           VMM used": while the host lets a VM wait (a quota, other load), its guest's clock runs
 *           on and an honest guest counts that time too.
 *   memory  a process larger than the guest's whole memory.
 *   exit    an ordinary end of the command, from a VM that died otherwise.
 *   oom     an ordinary end of the command, in a VM whose VMM the host killed for its memory.
 *   command, collect, end
 *           a phase that took longer than it may, by more than the time that a busy machine may
 *           keep safe-run from acting. All are of CLOCK_MONOTONIC: neither a suspend nor a changed
 *           clock makes one longer. They are never held against timestamps.
 */
#ifndef SR_EVIDENCE_CONTRADICTION_H
#define SR_EVIDENCE_CONTRADICTION_H

#include "common/json_text.h"

/* What is known of a run's end. An unknown member is 0 or false and contradicts nothing. */
struct evidence_exit_facts {
    /* The host's. */
    uint64_t wall_usec; /* from the VM's start to its end */
    uint64_t vcpus;
    uint64_t ram_bytes;
    uint64_t host_oom_kills;
    bool vmm_end_known;
    bool vmm_ended_by_us;
    uint64_t vmm_status, vmm_signal;
    bool timed; /* durations and their limits are known: */
    struct evidence_exit_time {
        uint64_t used_usec, limit_usec;
    } command, collect,
        end; /* of boot and command together, of outputs, and from then on until the VMM is gone */
    /* The guest's word. */
    bool guest_spoke;
    uint64_t guest_cpu_usec;
    uint64_t guest_rss_bytes; /* of the command's largest process */
};

struct evidence_contradiction {
    const char *about;    /* "cpu", "memory", "exit", "oom", "command", "collect", "end"; static */
    const char *names[2]; /* "guest" and "host", or "used" and "limit"; static */
    uint64_t values[2];   /* in the message's units */
    char message[160];    /* a sentence */
};

#define EVIDENCE_CONTRADICTIONS_MAX 7

/* A phase may exceed its limit by this: a supervisor may have to wait for a processor. */
#define EVIDENCE_TIME_TOLERANCE_USEC UINT64_C(5000000)

/* Finds the contradictions in the facts. Returns their number. */
size_t evidence_contradictions(const struct evidence_exit_facts *facts,
                               struct evidence_contradiction found[EVIDENCE_CONTRADICTIONS_MAX]);

/* Reads the facts from the canonical payload of a vm.exited. */
void evidence_exit_facts_read(struct sr_json_slice payload, struct evidence_exit_facts *facts);

#endif
