/*
 * What the guest says of a failure. It is hostile: evidence keeps its words in an object named
 * "guest", and says in a sentence of the host's own that it said something. Somebody at a terminal
 * wants the words themselves.
 */
#ifndef SR_MACHINE_WORD_H
#define SR_MACHINE_WORD_H

#include "evidence/fact.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Apart from the host's own sentence in struct sr_error. */
struct machine_word {
    bool decides;        /* the failure rests on it */
    const char *outcome; /* "refused", "missing", "unreadable": what it said, in our words; NULL:
                            none of these */
    uint32_t status;     /* the exit status that it gave for a refusal; else 0 */
    char text[400];      /* its own words, printable; empty: none */
};

/* Takes text that the guest sent; len may be 0. */
void machine_word_take(struct machine_word *word, const void *text, size_t len);

/* Adds the guest's word to an event as an object, if it said anything. */
void machine_word_record(const struct machine_word *word, struct facts *facts);

/* The failure as the caller is told of it: the guest's words instead of the host's sentence about
 * them, or behind it. That nothing was left the caller is told without them. */
struct sr_error machine_word_error(const struct machine_word *word, const struct sr_error *error);

#endif
