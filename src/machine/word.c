#include "machine/word.h"

#include "common/printable.h"
#include "evidence/observer.h"

#include <stdio.h>
#include <string.h>

void machine_word_take(struct machine_word *word, const void *text, size_t len)
{
    snprintf(word->text, sizeof word->text, "%.*s", (int)len, len > 0 ? (const char *)text : "");
    sr_make_printable(word->text);
}

void machine_word_record(const struct machine_word *word, struct facts *facts)
{
    if (word->outcome == NULL && word->text[0] == '\0')
        return;
    struct facts guest = facts_new();
    fact_text(&guest, EVIDENCE_OBSERVED_BY, EVIDENCE_OBSERVED_GUEST);
    fact_text_if_any(&guest, "outcome", word->outcome);
    fact_text_if_any(&guest, "message", word->text[0] != '\0' ? word->text : NULL);
    if (word->status != 0)
        fact_count(&guest, "status", word->status);
    fact_take(facts, "guest", facts_end(&guest));
}

struct sr_error machine_word_error(const struct machine_word *word, const struct sr_error *error)
{
    static const char says[] = EVIDENCE_GUEST_SAYS;
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
