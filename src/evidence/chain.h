/*
 * The hash chain of events (docs/CONTRACT.md, "Events"): one rule, used by the writer, the report
 * and the verifier.
 *
 *   hashSelf = "sha256:" + hex SHA-256 of hashPrev|timestamp|runId|stage|type|<canonical payload>
 *
 * hashPrev of the first event is EVIDENCE_HASH_ZERO, of every other one the hashSelf before it.
 */
#ifndef SR_EVIDENCE_CHAIN_H
#define SR_EVIDENCE_CHAIN_H

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/json_text.h"
#include "common/sha256.h"
#include "saferun/event_type.h"

enum evidence_stage {
    EVIDENCE_STAGE_COMPILE,
    EVIDENCE_STAGE_PREPARE,
    EVIDENCE_STAGE_MOUNT,
    EVIDENCE_STAGE_NETWORK,
    EVIDENCE_STAGE_LAUNCH,
    EVIDENCE_STAGE_MONITOR,
    EVIDENCE_STAGE_CLEANUP,
    EVIDENCE_STAGE_COUNT
};

/* As written in evidence ("launch"); static. */
const char *evidence_stage_name(enum evidence_stage stage);

/* hashPrev of the first event, and the hash of an artefact that a run did not get to. */
#define EVIDENCE_HASH_ZERO "sha256:0000000000000000000000000000000000000000000000000000000000000000"

/* The parts that an event's hash covers. */
struct evidence_chain_parts {
    struct sr_json_slice prev, timestamp, run_id, stage, type, payload;
};

/* Writes hashSelf into text; scratch is overwritten. 0, or -1 when memory is out or libcrypto
 * fails. */
int evidence_chain_hash(struct sr_hasher *hasher, const struct evidence_chain_parts *parts,
                        struct sr_buf *scratch, char text[SR_SHA256_TEXT]) SR_MUST_CHECK;

/* Returns true for the string of "sha256:" and 64 lower-case hex digits. */
bool evidence_is_hash(struct sr_json_slice value);

/* An event in canonical form, taken apart. Slices are into the text, the values of strings without
 * their quotes but still with their escapes; decoded[] holds those that have some. */
struct evidence_event {
    struct sr_json_slice text;
    struct sr_json_slice prev, self, payload, run_id, stage, timestamp, type;
    enum sr_event_type kind;
    struct sr_buf decoded[3]; /* timestamp, run id, and the hash's text; reused between events */
};

void evidence_event_free(struct evidence_event *event);

/* The first fault of an event: its field ("": the event itself), and a static sentence that says
 * what was expected there. */
struct evidence_event_fault {
    const char *field, *what;
};

/*
 * Takes apart an event, scanned and canonical. Returns 0, or -1 with the first fault in *fault
 * (field missing, of the wrong type, empty, with a '|', not of the closed sets).
 */
int evidence_event_parse(const struct sr_json_scan *scan, const char *text,
                         struct evidence_event *event,
                         struct evidence_event_fault *fault) SR_MUST_CHECK;

/* Returns the event's time in nanoseconds since 1970, of timestamps that safe-run writes now
 * (RFC 3339) and before (unix:<sec>.<nsec>); 0 for any other. */
int64_t evidence_event_nsec(const struct evidence_event *event);

/* Computes hashSelf of an event into text. Returns as evidence_chain_hash() does. */
int evidence_event_hash(struct sr_hasher *hasher, struct evidence_event *event,
                        char text[SR_SHA256_TEXT]) SR_MUST_CHECK;

#endif
