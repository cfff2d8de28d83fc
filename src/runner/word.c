/*
 * What the guest says of a failure. It is hostile: evidence keeps its words in an object named
 * "guest", and says in a sentence of the host's own that it said something. Somebody at a terminal
 * wants the words themselves.
 */
#include "runner/run_state.h"

#include "common/printable.h"
#include "evidence/observer.h"

#include <stdio.h>
#include <string.h>

void run_word_take(struct run_word *word, const void *text, size_t len)
{
    snprintf(word->text, sizeof word->text, "%.*s", (int)len, len > 0 ? (const char *)text : "");
    sr_make_printable(word->text);
}

json_t *run_word_facts(const struct run_word *word)
{
    if (word->outcome == NULL && word->text[0] == '\0')
        return NULL;
    json_t *facts = json_pack("{s:s,s:s*,s:s*}", SR_OBSERVED_BY, SR_OBSERVED_GUEST, "outcome",
                              word->outcome, "message", word->text[0] != '\0' ? word->text : NULL);
    if (word->status != 0)
        json_object_set_new(facts, "status", sr_event_count(word->status));
    return facts;
}

struct sr_error run_word_error(const struct run_word *word, const struct sr_error *error)
{
    static const char says[] = SR_GUEST_SAYS;
    struct sr_error told = *error;
    bool missing = word->outcome != NULL && strcmp(word->outcome, "missing") == 0;
    if (word->decides && word->text[0] != '\0' && !missing)
        snprintf(told.message, sizeof told.message, "%s", word->text);
    else if (word->decides && strncmp(error->message, says, sizeof says - 1) == 0)
        snprintf(told.message, sizeof told.message, "%s", error->message + sizeof says - 1);
    else if (word->text[0] != '\0')
        snprintf(told.message, sizeof told.message, "%.300s: %s", error->message, word->text);
    return told;
}
