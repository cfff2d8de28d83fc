/*
 * Walking through a report in bounded memory: its events one by one, everything else kept.
 *
 * Whatever the order and spelling of the file, everything is handed over in canonical form, and the
 * digest is taken over the canonical form of the whole with integrity.digest emptied.
 *
 * Theory of operation. In canonical form only "archive", "artifacts" and "assurance" come before
 * "events", so in reports that safe-run wrote the digest can be fed while the events stream by.
 * When a member that sorts before "events" comes after them, the digest is begun anew at the end
 * and the events are read a second time. Members other than events are small and are kept, in
 * canonical form, until the walk is freed.
 */
#ifndef SR_EVIDENCE_REPORT_WALK_H
#define SR_EVIDENCE_REPORT_WALK_H

#include "common/json_reader.h"
#include "common/sha256.h"
#include "saferun/error.h"

/* A report has 16 members; the rest is for what may be added. */
#define EVIDENCE_REPORT_MAX_MEMBERS 64
/* Size of all members other than events: a run of 256 mounts needs 0.1 MB. */
#define EVIDENCE_REPORT_MAX_REST ((size_t)2 * 1024 * 1024)
/* Size of a report: 10 million events. */
#define EVIDENCE_REPORT_MAX_BYTES (UINT64_C(4) << 30)

struct evidence_report_walk {
    struct sr_json_reader reader;
    struct sr_hasher *hasher;
    struct sr_json_scan scan;
    struct sr_buf text;                              /* canonical form of the event at hand */
    struct sr_buf keys[EVIDENCE_REPORT_MAX_MEMBERS]; /* canonical, with quotes */
    struct sr_buf values[EVIDENCE_REPORT_MAX_MEMBERS];
    unsigned member_count;
    unsigned before_events; /* members that came before events */
    size_t rest_bytes;
    bool has_events;
    uint64_t events_at; /* offset of the array */
    uint64_t event_count;
    bool canonical;  /* the file is canonical JSON and one newline */
    uint64_t odd_at; /* else: offset of the first value, key or space that is spelled otherwise */
    uint64_t size;   /* of what was read */
    char odd_number[256]; /* place of the first number that is no integer within 2^53 - 1, or "" */
    char digest[SR_SHA256_TEXT];
};

/* Takes each event: canonical text, scanned. Returns 0, or -1 with err to end the walk. */
typedef int evidence_report_on_event(void *context, uint64_t index, const struct sr_json_scan *scan,
                                     const char *text, struct sr_error *err);

/*
 * Walks through the report behind fd, which stays the caller's: a regular file from offset on, or
 * any stream. Returns 0; or -1: SR-EVD-002 at `report` when it cannot be read, SR-EVD-301 at the
 * fault's place, with line and column, when it is not the strict JSON of a report. The caller frees
 * walk either way; it holds what was found up to the fault.
 */
int evidence_report_walk(struct evidence_report_walk *walk, int fd, uint64_t offset,
                         evidence_report_on_event *on_event, void *context,
                         struct sr_error *err) SR_MUST_CHECK;
/* Does the same and feeds bytes (reset; may be NULL) with the file as it is. */
int evidence_report_walk_bytes(struct evidence_report_walk *walk, int fd, uint64_t offset,
                               struct sr_hasher *bytes, evidence_report_on_event *on_event,
                               void *context, struct sr_error *err) SR_MUST_CHECK;
void evidence_report_walk_free(struct evidence_report_walk *walk);
#define sr_cleanup_report_walk __attribute__((cleanup(evidence_report_walk_free)))

/* Returns a member's canonical value; an empty slice when the report has none of that name. */
struct sr_json_slice evidence_report_member(const struct evidence_report_walk *walk,
                                            const char *name);

#endif
