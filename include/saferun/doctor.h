/*
 * What this host can do for runs, found by running something: a guest under each accelerator, a
 * network with its rules. Each trial is a run like any other, in the same base directory, whose
 * remains are removed when it is over.
 */
#ifndef SAFERUN_DOCTOR_H
#define SAFERUN_DOCTOR_H

#include <stdbool.h>

enum sr_doctor_result {
    SR_DOCTOR_OK,
    SR_DOCTOR_WARNING, /* runs can run, without this */
    SR_DOCTOR_FAILURE, /* no run can */
};

struct sr_doctor_check {
    const char *name; /* one word; static */
    enum sr_doctor_result result;
    char text[600]; /* what was found; unless it is good, with what to do */
};

/* Tells each check as it is done, in the same order every time. workdir_base as in sr_run_options.
 * True when runs can run. Signals as in sr_run(), which end it; then false. */
bool sr_doctor(const char *workdir_base,
               void (*tell)(void *context, const struct sr_doctor_check *check), void *context);

#endif
