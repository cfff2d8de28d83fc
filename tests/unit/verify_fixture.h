/* What the tests of the verifier share. */
#ifndef SR_TEST_VERIFY_FIXTURE_H
#define SR_TEST_VERIFY_FIXTURE_H

#include "evidence_fixture.h"

#include <jansson.h>

/* A golden report; to be freed. */
char *read_golden(const char *name, size_t *len);

bool is_valid(const char *text, size_t len);

/* Whether the check was good; -1: it was not made. */
int outcome(const struct sr_verification *result, const char *check);

void expect_error(const struct sr_verification *result, enum sr_code code, const char *path);

json_t *load_sealed(void);

/* Makes chain and digest right again, as a forger would, and verifies. Takes report. */
void verify_resealed(json_t *report, struct sr_verification *result);

#endif
