/*
 * The compile bundle (docs/CONTRACT.md, "Bundle"): every plan of a run as data, a pure function of
 * the normalized policy.
 *
 * The same policy gives the same bytes on every machine: no time, no randomness, no run id, no name
 * look-ups, no host facts. What only the host knows is added by the runner and recorded in
 * evidence.
 */
#ifndef SAFERUN_BUNDLE_H
#define SAFERUN_BUNDLE_H

#include "saferun/error.h"
#include "saferun/event_type.h"
#include "saferun/policy.h"

#include <stddef.h>
#include <stdint.h>

/* Zero-initialise before use. policy must outlive the bundle. */
struct sr_bundle {
    const struct sr_policy *policy;
    unsigned vcpu_count;   /* ceil(quota / period); 1 for "max" */
    unsigned mem_size_mib; /* guest RAM */
    uint32_t events;       /* bit 1 << sr_event_type for each type that may be written */
    char *json;            /* canonical JSON of the whole bundle, NUL-terminated; owned */
    size_t json_len;
};

/* Compiles policy. Errors: SR-CMP-001 at the field, SR-CMP-002 when memory is out. On failure
 * bundle is untouched. */
int sr_compile(const struct sr_policy *policy, struct sr_bundle *bundle, struct sr_error *err)
    __attribute__((warn_unused_result));

void sr_bundle_free(struct sr_bundle *bundle);
#define sr_cleanup_bundle __attribute__((cleanup(sr_bundle_free)))

#endif
