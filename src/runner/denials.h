/*
 * What the run's network stopped, and when. The kernel counts packets by destination; each sample
 * of its counters says how many there are by then. What is new in a sample was stopped since the
 * one before it.
 *
 *   denials_new()  denials_take() with each sample  denials_tell()  denials_free()
 *
 * Bounded by what the kernel's sets hold; packets to destinations beyond that are one denial, of
 * "others".
 */
#ifndef SR_RUNNER_DENIALS_H
#define SR_RUNNER_DENIALS_H

#include "net/counters.h"
#include "saferun/error.h"

#include <jansson.h>

/* The kernel's sets hold 4,096 destinations and 256 of other protocols (src/net/ruleset.c), and
 * there are the others. */
#define DENIALS_MAX (4096 + 256 + 1)
/* At most, of the event of one. */
#define DENIAL_EVENT_BYTES 544

struct denials;

/* NULL when memory is out. now: from when on packets may be stopped; nanoseconds since 1970, like
 * all times here. */
struct denials *denials_new(int64_t now);
void denials_free(struct denials *denials);

/* Takes a sample that was read between asked and now. */
void denials_take(struct denials *denials, const struct net_sample *sample, int64_t asked,
                  int64_t now);

/*
 * Gives tell a payload of network.flow.denied for every denial that it was not given yet, in the
 * order in which their destinations were first seen: what was stopped, how often since it was last
 * told, not before firstAt and not after lastAt. tell takes it. limit: payloads at most; what is
 * beyond comes with the next call. Returns how many there were, or -1 as soon as tell fails.
 */
typedef int denials_tell_one(void *context, json_t *payload, struct sr_error *err);
int denials_tell(struct denials *denials, unsigned limit, denials_tell_one *tell, void *context,
                 struct sr_error *err) SR_MUST_CHECK;

#endif
