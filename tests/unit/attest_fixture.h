/* What the tests of attestations share. */
#ifndef SR_TEST_ATTEST_FIXTURE_H
#define SR_TEST_ATTEST_FIXTURE_H

#include "evidence/attest.h"
#include "evidence_fixture.h"

/* A run directory with a report, two keys, and the report's attestation by the first. */
struct attested {
    struct fixture run;
    struct sr_key *key, *other;
    char key_path[96], other_path[96]; /* public halves */
    char *envelope;
    size_t len;
};

int open_attested(void **state);
int close_attested(void **state);

/* Fails the test with what err says unless result is 0. */
void must_succeed(int result, const struct sr_error *err);

/* Verifies the report with what lies beside it and these keys. */
void verify_attested(struct attested *a, const char *const *keys, size_t count,
                     struct sr_verification *result);

/* Whether a report with this envelope beside it is signed by the key in this path; first (may be
 * NULL) gets the place of the first error. */
bool envelope_is_good(struct attested *a, const char *text, size_t len, const char *key,
                      char first[256]);

#endif
