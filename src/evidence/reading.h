/*
 * Reading a report as a person: what ran, where it could go and went, what was stopped, what it
 * used, and whether the evidence holds.
 *
 *   1. evidence_reading_open() reads the report and what lies beside it, and verifies both.
 *   2. evidence_show(), evidence_html(), evidence_diff() write from it; none of them does I/O.
 *   3. evidence_reading_close().
 *
 * Every text that comes from the run is hostile. In a reading it is printable UTF-8 already
 * (summary.h); html.c escapes it as well.
 */
#ifndef SR_EVIDENCE_READING_H
#define SR_EVIDENCE_READING_H

#include "evidence/companion.h"
#include "evidence/event.h"
#include "saferun/report.h"

/* An attestation has at most 16 signatures. */
#define EVIDENCE_READING_SIGNERS 16

struct evidence_reading {
    int fd; /* the report, a regular file */
    struct sr_verification verification;
    struct evidence_summary *summary;
    struct evidence_companions companions;
    bool with_events;   /* events.jsonl was compared */
    bool with_files;    /* the files beside the report were hashed */
    bool with_envelope; /* there is a signature beside the report; checking it takes a key */
    bool with_key;      /* the signature was checked, */
    char key_id[65];    /* with this key */
    /* Ids of the keys that the signature names. They are claims, but for key_id once checked. */
    char signers[EVIDENCE_READING_SIGNERS][65];
    size_t signer_count;
};

#define EVIDENCE_READING_INIT                                                                      \
    (struct evidence_reading)                                                                      \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/*
 * Reads the report in path ("-": standard input) with the files of artifacts (NULL: those beside
 * the report, as far as they are there), and with the signature there if key names a public key's
 * file (NULL: it is not checked). 0, whatever the verification says; -1 with SR-EVD-002 or
 * SR-EVD-301 when it is no report that can be read to its end. The caller closes reading either
 * way.
 */
int evidence_reading_open(const char *path, const char *artifacts, const char *key,
                          struct evidence_reading *reading, struct sr_error *err) SR_MUST_CHECK;
void evidence_reading_close(struct evidence_reading *reading);
#define sr_cleanup_reading __attribute__((cleanup(evidence_reading_close)))

/* For a terminal or a pipe: at most width columns, as far as words allow. */
struct evidence_show_options {
    unsigned width;
    bool colour;
};
void evidence_show(const struct evidence_reading *reading,
                   const struct evidence_show_options *options, struct sr_buf *out);

/* One self-contained page: no script, nothing loaded from anywhere. version is safe-run's. -1:
 * memory is out. */
int evidence_html(const struct evidence_reading *reading, const char *version,
                  struct sr_buf *out) SR_MUST_CHECK;

/*
 * Says in sentences what differs between two runs, under topics in a fixed order. Run ids, times
 * and what was used always differ; *differs is set when anything else does.
 */
typedef void evidence_diff_say(void *context, const char *topic, const char *sentence);
void evidence_diff(const struct evidence_reading *a, const struct evidence_reading *b,
                   evidence_diff_say *say, void *context, bool *differs);

/* A limit, what was used of it, and who held it; texts may be "". */
struct evidence_limit_row {
    const char *name; /* static */
    char limit[96], used[160], holder[160];
};
enum { EVIDENCE_LIMIT_ROWS = 5 };
void evidence_limit_rows(const struct evidence_reading *reading,
                         struct evidence_limit_row rows[EVIDENCE_LIMIT_ROWS]);

/* Write what the command ran as, by the run's events, and what the policy has where that differs:
 * "33:33 (by the image; the default of the policy is 1000:1000)". Where the events do not say, what
 * the policy has; "" when neither is known. Return text. */
enum { EVIDENCE_RAN = 320 };
const char *evidence_ran_user(const struct evidence_reading *reading, char text[EVIDENCE_RAN]);
const char *evidence_ran_workdir(const struct evidence_reading *reading, char text[EVIDENCE_RAN]);

/* "1.5 MiB", "12 bytes"; "2.31 s", "450 ms", "7 us". Returns text. */
enum { EVIDENCE_QUANTITY = 32 };
const char *evidence_bytes_text(uint64_t bytes, char text[EVIDENCE_QUANTITY]);
const char *evidence_usec_text(uint64_t usec, char text[EVIDENCE_QUANTITY]);
static inline const char *evidence_plural(int64_t count)
{
    return count == 1 ? "" : "s";
}
/* "2026-01-02 03:04:05 UTC" of one of our timestamps; any other as it is. */
const char *evidence_when_text(const char *timestamp, char text[EVIDENCE_QUANTITY]);
/* "tcp 192.0.2.1/32 port 443 (api.example.com)", "icmp 192.0.2.1". */
enum { EVIDENCE_DESTINATION = 400 };
const char *evidence_target_text(const struct evidence_summary_target *target,
                                 char text[EVIDENCE_DESTINATION]);
const char *evidence_flow_text(const struct evidence_summary_flow *flow,
                               char text[EVIDENCE_DESTINATION]);
/* ", from +1.0 s to +2.0 s" of the run; "" where that is not known. */
enum { EVIDENCE_FLOW_TIME = 80 };
const char *evidence_flow_time(const struct evidence_summary *summary,
                               const struct evidence_summary_flow *flow,
                               char text[EVIDENCE_FLOW_TIME]);
/* Returns the time from the first to the last event; 0 when that is not known. */
uint64_t evidence_reading_usec(const struct evidence_reading *reading);

#endif
