/* A run directory with the evidence of one run, for tests and benchmarks. */
#ifndef SR_TEST_EVIDENCE_FIXTURE_H
#define SR_TEST_EVIDENCE_FIXTURE_H

#include "evidence/report.h"
#include "saferun/report.h"

#define FIXTURE_RUN_ID "sr-20260102T030405-abc234"
#define FIXTURE_POLICY                                                                             \
    "{\"apiVersion\":\"policy.safe-run.dev/v1alpha1\",\"runtime\":{\"args\":[\"hello\"],"          \
    "\"command\":\"/bin/echo\"}}"
#define ALL_EVENTS UINT32_MAX

struct fixture {
    char path[64]; /* of the run directory */
    int dir;
    struct evidence_event_log *log;
};

/* Makes an empty run directory below $TMPDIR, /dev/shm or /tmp. Aborts the test on failure, like
 * the rest. */
void fixture_open(struct fixture *fixture);
/* Removes it with everything in it. */
void fixture_close(struct fixture *fixture);

/* Writes the events of an ordinary allowlist run, with this many resource.sampled. */
void fixture_events(struct fixture *fixture, unsigned samples);
/* The facts that go with them. */
struct evidence_report_facts fixture_facts(void);
/* The payload of a run.failed that the host saw. */
json_t *fixture_failure(const char *reason);
/* Events and report, log closed. */
void fixture_report(struct fixture *fixture, unsigned samples);

/* Path of a file in the run directory; static, for one call at a time. */
const char *fixture_path(const struct fixture *fixture, const char *name);

char *fixture_read(const struct fixture *fixture, const char *name, size_t *len);
void fixture_write(const struct fixture *fixture, const char *name, const char *text, size_t len);

/* Verifies a report held in memory. */
void fixture_verify(const char *text, size_t len, const struct sr_verify_options *options,
                    struct sr_verification *result);

#endif
