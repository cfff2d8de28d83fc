#include "evidence/fact.h"

#include "common/json_text.h"

struct facts facts_new(void)
{
    return (struct facts){json_object()};
}

json_t *facts_end(struct facts *facts)
{
    json_t *object = facts->object;
    facts->object = NULL;
    return object;
}

/* Takes the result of a call of jansson's, which fails for a NULL object too. */
static void check(struct facts *facts, int result)
{
    if (result < 0)
        json_decref(facts_end(facts));
}

void fact_take(struct facts *facts, const char *name, json_t *value)
{
    check(facts, json_object_set_new(facts->object, name, value));
}

void fact_text(struct facts *facts, const char *name, const char *text)
{
    fact_take(facts, name, json_string(text));
}

void fact_text_if_any(struct facts *facts, const char *name, const char *text)
{
    if (text != NULL)
        fact_text(facts, name, text);
}

void fact_text_or_null(struct facts *facts, const char *name, const char *text)
{
    fact_take(facts, name, text != NULL ? json_string(text) : json_null());
}

void fact_count(struct facts *facts, const char *name, uint64_t value)
{
    fact_integer(facts, name, value < SR_JSON_MAX_INTEGER ? (int64_t)value : SR_JSON_MAX_INTEGER);
}

void fact_integer(struct facts *facts, const char *name, int64_t value)
{
    fact_take(facts, name, json_integer(value));
}

void fact_flag(struct facts *facts, const char *name, bool value)
{
    fact_take(facts, name, json_boolean(value));
}

void fact_null(struct facts *facts, const char *name)
{
    fact_take(facts, name, json_null());
}

void fact_list(struct facts *facts, const char *name)
{
    fact_take(facts, name, json_array());
}

void fact_add_text(struct facts *facts, const char *name, const char *text)
{
    fact_add(facts, name, json_string(text));
}

void fact_add(struct facts *facts, const char *name, json_t *value)
{
    if (json_object_get(facts->object, name) == NULL)
        fact_list(facts, name);
    check(facts, json_array_append_new(json_object_get(facts->object, name), value));
}
