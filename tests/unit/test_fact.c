/* Objects of events: src/evidence/fact.c. */
#include "common/json_text.h"
#include "evidence/fact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static size_t blocks_left; /* that malloc still gives to jansson */

static void *give(size_t size)
{
    return blocks_left > 0 && blocks_left-- > 0 ? malloc(size) : NULL;
}

static json_t *every_kind(void)
{
    struct facts facts = facts_new(), inner = facts_new();
    fact_text(&facts, "text", "t");
    fact_text_if_any(&facts, "any", "a");
    fact_text_if_any(&facts, "none", NULL);
    fact_text_or_null(&facts, "some", "s");
    fact_text_or_null(&facts, "no", NULL);
    fact_count(&facts, "count", 7);
    fact_integer(&facts, "integer", -7);
    fact_flag(&facts, "flag", true);
    fact_null(&facts, "null");
    fact_list(&facts, "empty");
    fact_add_text(&facts, "texts", "one");
    fact_add_text(&facts, "texts", "two");
    fact_flag(&inner, "inner", false);
    fact_add(&facts, "objects", facts_end(&inner));
    fact_take(&facts, "taken", json_array());
    return facts_end(&facts);
}

static void each_kind_of_member(void **state)
{
    (void)state;
    json_t *made = every_kind(),
           *wanted =
               json_pack("{s:s,s:s,s:s,s:n,s:i,s:i,s:b,s:n,s:[],s:[s,s],s:[{s:b}],s:[]}", "text",
                         "t", "any", "a", "some", "s", "no", "count", 7, "integer", -7, "flag", 1,
                         "null", "empty", "texts", "one", "two", "objects", "inner", 0, "taken");
    assert_non_null(wanted);
    assert_true(json_equal(made, wanted));
    json_decref(made);
    json_decref(wanted);
}

static void counters_beyond_2_to_the_53_are_capped(void **state)
{
    (void)state;
    struct facts facts = facts_new();
    fact_count(&facts, "count", UINT64_MAX);
    json_t *made = facts_end(&facts);
    assert_int_equal(json_integer_value(json_object_get(made, "count")), SR_JSON_MAX_INTEGER);
    json_decref(made);
}

static void what_is_not_utf8_or_not_there_leaves_nothing(void **state)
{
    (void)state;
    struct facts text = facts_new(), taken = facts_new(), list = facts_new();
    fact_text(&text, "text", "\xff");
    fact_text(&text, "more", "m");
    assert_null(facts_end(&text));
    fact_take(&taken, "taken", NULL);
    assert_null(facts_end(&taken));
    fact_add_text(&list, "list", "l");
    fact_add(&list, "list", NULL);
    assert_null(facts_end(&list));
}

static void no_lack_of_memory_leaves_a_part(void **state)
{
    (void)state;
    json_t *made = NULL;
    json_set_alloc_funcs(give, free);
    size_t blocks = 0;
    for (; made == NULL; blocks++) {
        blocks_left = blocks;
        made = every_kind();
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(blocks > 10);
    json_t *whole = every_kind();
    assert_true(json_equal(made, whole));
    json_decref(made);
    json_decref(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_member),
        cmocka_unit_test(counters_beyond_2_to_the_53_are_capped),
        cmocka_unit_test(what_is_not_utf8_or_not_there_leaves_nothing),
        cmocka_unit_test(no_lack_of_memory_leaves_a_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
