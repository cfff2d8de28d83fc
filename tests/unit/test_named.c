/* Names of rules: who is found by a hit, once each, and what bounds there are. */
#include "archive/named.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct told {
    char text[1024];
    size_t count;
    int answer;
};

static int tell(void *context, const char *name, int64_t port)
{
    struct told *told = context;
    size_t len = strlen(told->text);
    told->count++;
    if (len < sizeof told->text / 2)
        snprintf(told->text + len, sizeof told->text - len, "%s:%lld ", name, (long long)port);
    return told->answer;
}

static struct sr_json_slice rule(char text[400], const char *host, const char *protocol,
                                 const char *target, int port)
{
    int len = snprintf(text, 400, "{\"host\":%s,\"port\":%d,\"protocol\":\"%s\",\"target\":\"%s\"}",
                       host, port, protocol, target);
    return (struct sr_json_slice){text, (size_t)len};
}

static void add(struct archive_named *named, const char *host, const char *protocol,
                const char *target, int port)
{
    char text[400];
    assert_int_equal(archive_named_add(named, rule(text, host, protocol, target, port)), 0);
}

static int each(struct archive_named *named, enum archive_named_kind kind, const char *protocol,
                const char *target, int port, struct told *told)
{
    char text[400];
    return archive_named_each(named, rule(text, "\"any\"", protocol, target, port), kind, tell,
                              told);
}

static void a_hit_belongs_to_every_name_of_its_destination(void **state)
{
    (void)state;
    struct archive_named *named = calloc(1, sizeof *named);
    struct told told = {.count = 0};
    assert_non_null(named);
    add(named, "\"a.example\"", "tcp", "198.51.100.7/32", 443);
    add(named, "\"b.ex\\u0061mple\"", "tcp", "198.51.100.7/32", 443);
    add(named, "\"udp.example\"", "udp", "198.51.100.7/32", 443);
    add(named, "\"port.example\"", "tcp", "198.51.100.7/32", 80);
    add(named, "\"else.example\"", "tcp", "198.51.100.8/32", 443);
    add(named, "7", "tcp", "198.51.100.7/32", 443); /* no name */
    assert_int_equal(each(named, ARCHIVE_NAMED_REACHED, "tcp", "198.51.100.7/32", 443, &told), 0);
    assert_string_equal(told.text, "b.example:443 a.example:443 ");
    /* Once in all. */
    assert_int_equal(each(named, ARCHIVE_NAMED_REACHED, "tcp", "198.51.100.7/32", 443, &told), 0);
    assert_int_equal(told.count, 2);
    /* What was stopped at an address was for no port of its rules. */
    told = (struct told){.count = 0};
    assert_int_equal(each(named, ARCHIVE_NAMED_DENIED, "tcp", "198.51.100.7/32", 443, &told), 0);
    assert_string_equal(told.text, "port.example:80 udp.example:443 b.example:443 a.example:443 ");
    /* A name that was applied later is told by the next hit. */
    told = (struct told){.count = 0};
    add(named, "\"late.example\"", "tcp", "198.51.100.7/32", 443);
    assert_int_equal(each(named, ARCHIVE_NAMED_REACHED, "tcp", "198.51.100.7/32", 443, &told), 0);
    assert_string_equal(told.text, "late.example:443 ");
    assert_false(named->truncated);
    archive_named_free(named);
    free(named);
}

static void a_refusal_is_handed_on(void **state)
{
    (void)state;
    struct archive_named *named = calloc(1, sizeof *named);
    struct told told = {.answer = -1};
    assert_non_null(named);
    add(named, "\"a.example\"", "tcp", "198.51.100.7/32", 443);
    add(named, "\"b.example\"", "tcp", "198.51.100.7/32", 443);
    assert_int_equal(each(named, ARCHIVE_NAMED_REACHED, "tcp", "198.51.100.7/32", 443, &told), -1);
    assert_int_equal(told.count, 1);
    archive_named_free(named);
    free(named);
}

static void rules_and_work_are_bounded(void **state)
{
    (void)state;
    struct archive_named *named = calloc(1, sizeof *named);
    struct told told = {.count = 0};
    assert_non_null(named);
    for (int i = 0; i < ARCHIVE_NAMED_MAX; i++)
        add(named, "\"a.example\"", "tcp", "198.51.100.7/32", 443);
    assert_false(named->truncated);
    add(named, "\"a.example\"", "tcp", "198.51.100.7/32", 443);
    assert_true(named->truncated);
    assert_int_equal(named->count, ARCHIVE_NAMED_MAX);
    named->truncated = false;
    for (int i = 0; i < ARCHIVE_NAMED_WORK / ARCHIVE_NAMED_MAX; i++)
        assert_int_equal(each(named, ARCHIVE_NAMED_REACHED, "tcp", "198.51.100.7/32", 443, &told),
                         0);
    assert_int_equal(told.count, ARCHIVE_NAMED_MAX);
    assert_false(named->truncated);
    assert_int_equal(each(named, ARCHIVE_NAMED_REACHED, "tcp", "198.51.100.7/32", 443, &told), 0);
    assert_true(named->truncated);
    assert_int_equal(named->work, ARCHIVE_NAMED_WORK);
    archive_named_free(named);
    free(named);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_belongs_to_every_name_of_its_destination),
        cmocka_unit_test(a_refusal_is_handed_on),
        cmocka_unit_test(rules_and_work_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
