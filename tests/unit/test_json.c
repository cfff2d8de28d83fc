#include "common/jcs.h"
#include "common/json_member.h"
#include "common/json_reader.h"
#include "common/json_text.h"
#include "rfc8785.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static enum sr_json_result scan(const char *text, struct sr_json_scan *out)
{
    return sr_json_scan(text, strlen(text), SR_JSON_LAST, out);
}

static void takes_json_and_nothing_else(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",
        "-0",
        "1",
        "-12",
        "1.5",
        "1e3",
        "1E+3",
        "0.1e-7",
        "\"\"",
        "\"a\"",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        "[ ]",
        "[1,2]",
        "{\"a\":1}",
        "{\"a\":{\"b\":[{}]}}",
        "\"\\u0000\"",
        "\"\\ud83d\\ude00\"",
        "\"\xf0\x9f\x98\x80\"",
        "\"\xed\x9f\xbf\"",
        "\"\x7f\"",
        "{ \"a\" : [ 1 , 2 ] }",
        "[[[[[[[[[[]]]]]]]]]]",
    };
    static const char *const bad[] = {
        "",
        " 1",
        "01",
        "-",
        "-01",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "1.e3",
        "0x1",
        "NaN",
        "Infinity",
        "1e999",
        "tru",
        "True",
        "nul",
        "\"",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800x\"",
        "\"\\udc00\"",
        "\"\n\"",
        "\"\x1f\"",
        "\"\x80\"",
        "\"\xc0\x80\"",
        "\"\xc1\xbf\"",
        "\"\xe0\x80\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf0\x80\x80\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xff\"",
        "\"\xe2\x82\"",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,]",
        "[1 2]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "]",
        "}",
        ",",
        "'a'",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "\xef\xbb\xbf{}",
    };
    struct sr_json_scan out;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (scan(good[i], &out) != SR_JSON_OK || out.len != strlen(good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (scan(bad[i], &out) == SR_JSON_OK && out.len == strlen(bad[i]))
            fail_msg("taken: %s", bad[i]);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char text[2 * SR_JSON_MAX_DEPTH + 3];
    struct sr_json_scan out;
    for (int depth = SR_JSON_MAX_DEPTH; depth <= SR_JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        assert_int_equal(scan(text, &out), depth <= SR_JSON_MAX_DEPTH ? SR_JSON_OK : SR_JSON_BAD);
    }
}

static void a_cut_text_wants_more(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":[1,-2.5e+3,true,null,\"x\\n\\u00e9\\ud83d\\ude00\xe2\x82\xac\"],"
        "\"b\":{\"c\":false}}";
    struct sr_json_scan out;
    for (size_t len = 0; len < sizeof text - 1; len++) {
        assert_int_equal(sr_json_scan(text, len, 0, &out), SR_JSON_MORE);
        assert_int_equal(sr_json_scan(text, len, SR_JSON_LAST, &out), SR_JSON_BAD);
    }
    assert_int_equal(scan(text, &out), SR_JSON_OK);
    assert_int_equal(sr_json_scan("12", 2, 0, &out), SR_JSON_MORE);
}

static void faults_say_where(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
        size_t at;
    } faults[] = {
        {"{\"a\":{\"b\":[0,1,tru]}}", ".a.b[2]", 15},
        {"{\"a\":1,\"a\":2}", ".a", 7},
        {"[[],[0,{\"x\":\"\\ud800\"}]]", "[1][1].x", 13},
        {"{\"a\":\"\x01\"}", ".a", 6},
    };
    struct sr_json_scan out;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        assert_int_equal(scan(faults[i].text, &out), SR_JSON_BAD);
        assert_string_equal(out.error_path, faults[i].path);
        assert_int_equal(out.error_at, faults[i].at);
    }
}

static void numbers_that_readers_disagree_on_are_marked(void **state)
{
    (void)state;
    static const char *const plain[] = {"0",  "9007199254740991", "-9007199254740991", "1.0", "1e3",
                                        "-0", "999999999999999"};
    static const char *const odd[] = {
        "9007199254740992",     "-9007199254740992",   "0.5", "9007199254740993", "1e16", "1e-1",
        "99999999999999999999", "-9223372036854775808"};
    struct sr_json_scan out;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (scan(plain[i], &out) != SR_JSON_OK || out.odd_number)
            fail_msg("marked: %s", plain[i]);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        if (scan(odd[i], &out) != SR_JSON_OK || !out.odd_number)
            fail_msg("not marked: %s", odd[i]);
    assert_int_equal(scan("{\"a\":[0,{\"b\":0.5}],\"c\":1.5}", &out), SR_JSON_OK);
    assert_string_equal(out.odd_path, ".a[1].b");
}

/* Each text with its canonical form; the same text twice where it is canonical. */
static void canonical_form_is_known_and_made(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical;
    } pairs[] = {
        {"{}", "{}"},
        {"{\"a\":1,\"b\":[true,null,\"x\"]}", "{\"a\":1,\"b\":[true,null,\"x\"]}"},
        {"{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}"},
        {"{ \"a\" : 1 }", "{\"a\":1}"},
        {"[1 ]", "[1]"},
        {"[\n1\t,\r2 ]", "[1,2]"},
        {"\"\\u001f\"", "\"\\u001f\""},
        {"\"\\u001F\"", "\"\\u001f\""},
        {"\"\\u000a\\n\\/\\u0041\\\"\\\\\"", "\"\\n\\n/A\\\"\\\\\""},
        {"\"\\u20ac\\ud83d\\ude00\"", "\"\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\"\\u007f\"", "\"\x7f\""},
        {"\"\\u0000\"", "\"\\u0000\""},
        {"-0", "0"},
        {"1.0", "1"},
        {"1e3", "1000"},
        {"1E30", "1e+30"},
        {"4.50", "4.5"},
        {"9007199254740993", "9007199254740992"},
        {"0.000001", "0.000001"},
        {"0.0000001", "1e-7"},
        {"{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,"
         "\"\\u00f6\":7}",
         "{\"\\r\":2,\"1\":4,\"\xc2\x80\":6,\"\xc3\xb6\":7,\"\xe2\x82\xac\":1,"
         "\"\xf0\x9f\x98\x80\":5,\"\xef\xac\xb3\":3}"},
        {"{\"a\":1,\"aa\":2,\"b\":{\"z\":[{\"y\":0,\"x\":1}],\"c\":0}}",
         "{\"a\":1,\"aa\":2,\"b\":{\"c\":0,\"z\":[{\"x\":1,\"y\":0}]}}"},
    };
    struct sr_json_scan out;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        sr_cleanup_buf struct sr_buf made = SR_BUF_INIT;
        char path[64];
        assert_int_equal(scan(pairs[i].text, &out), SR_JSON_OK);
        if (out.canonical != (strcmp(pairs[i].text, pairs[i].canonical) == 0))
            fail_msg("judged wrongly: %s", pairs[i].text);
        struct sr_json_slice value = {pairs[i].text, out.len};
        assert_int_equal(sr_json_canonical(value, &made, path, sizeof path), 0);
        assert_true(sr_buf_ok(&made));
        assert_string_equal(made.data, pairs[i].canonical);
        assert_int_equal(scan(made.data, &out), SR_JSON_OK);
        assert_true(out.canonical);
    }
}

/* RFC 8785, appendix B, as somebody else's printf wrote them. */
static void numbers_of_the_rfc_as_text(void **state)
{
    (void)state;
    struct sr_json_scan out;
    for (size_t i = 0; i < sizeof rfc8785_numbers / sizeof rfc8785_numbers[0]; i++) {
        sr_cleanup_buf struct sr_buf made = SR_BUF_INIT;
        double value;
        char text[64], path[64];
        memcpy(&value, &rfc8785_numbers[i].bits, sizeof value);
        snprintf(text, sizeof text, "%.17e", value);
        assert_int_equal(scan(text, &out), SR_JSON_OK);
        assert_false(out.canonical);
        assert_int_equal(
            sr_json_canonical((struct sr_json_slice){text, strlen(text)}, &made, path, sizeof path),
            0);
        assert_string_equal(made.data, rfc8785_numbers[i].text);
        assert_int_equal(scan(rfc8785_numbers[i].text, &out), SR_JSON_OK);
        assert_true(out.canonical);
    }
}

static void repeated_keys_are_found_wherever_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
    } repeated[] = {
        {"{\"b\":1,\"a\":2,\"b\":3}", ".b"},
        {"{\"b\":1,\"a\":2,\"\\u0062\":3}", "."},
        {"[0,{\"z\":{\"b\":1,\"a\":2,\"b\":3},\"a\":0}]", "[1].z.b"},
    };
    struct sr_json_scan out;
    for (size_t i = 0; i < sizeof repeated / sizeof repeated[0]; i++) {
        sr_cleanup_buf struct sr_buf made = SR_BUF_INIT;
        char path[64] = "";
        assert_int_equal(scan(repeated[i].text, &out), SR_JSON_OK);
        assert_false(out.canonical);
        struct sr_json_slice value = {repeated[i].text, out.len};
        assert_int_equal(sr_json_canonical(value, &made, path, sizeof path), -1);
        assert_int_equal(strncmp(path, repeated[i].path, strlen(repeated[i].path)), 0);
    }
}

/* A reader whose input comes through a window of every size gives the same pieces. */
static void a_reader_gives_whole_values(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    int fd = memfd_create("json", MFD_CLOEXEC);
    assert_true(fd >= 0);
    FILE *file = fdopen(dup(fd), "w");
    assert_non_null(file);
    for (int i = 0; i < COUNT; i++) /* up to 9 KB a line: more than a window in all */
        fprintf(file, "{\"i\":%d,\"x\":\"%0*d\"}\n", i, i * 97 % 9000 + 1, 0);
    fclose(file);
    sr_cleanup_json_reader struct sr_json_reader reader;
    assert_int_equal(sr_json_reader_open(&reader, fd, 0, UINT64_MAX, false), 0);
    struct sr_json_scan out;
    const char *text;
    for (int i = 0; i < COUNT; i++) {
        int64_t number = -1;
        assert_int_equal(sr_json_peek(&reader), '{');
        assert_int_equal(sr_json_read_value(&reader, &out, &text), 0);
        assert_true(sr_json_integer(sr_json_find(&out, "i")->value, &number));
        assert_int_equal(number, i);
        assert_int_equal(sr_json_peek_byte(&reader), '\n');
        sr_json_take(&reader);
    }
    assert_int_equal(sr_json_peek(&reader), SR_JSON_EOF);
    assert_true(reader.canonical);
    close(fd);
}

static void a_value_without_end_is_refused_in_bounded_memory(void **state)
{
    (void)state;
    int fd = memfd_create("json", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\"", 1, 0), 1);
    char many[4096];
    memset(many, 'x', sizeof many);
    for (off_t at = 1; at < (off_t)(8 * SR_JSON_MAX_VALUE); at += (off_t)sizeof many)
        assert_int_equal(pwrite(fd, many, sizeof many, at), sizeof many);
    sr_cleanup_json_reader struct sr_json_reader reader;
    struct sr_json_scan out;
    const char *text;
    assert_int_equal(sr_json_reader_open(&reader, fd, 0, UINT64_MAX, false), 0);
    assert_int_equal(sr_json_peek(&reader), '"');
    assert_int_equal(sr_json_read_value(&reader, &out, &text), -1);
    assert_true(reader.cap <= 4 * SR_JSON_MAX_VALUE);
    assert_non_null(strstr(reader.error, "1 MiB"));
    close(fd);
}

static void a_member_is_found_behind_any_number_of_others(void **state)
{
    (void)state;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_buf_puts(&text, "{\"a\":{\"z\":0},");
    for (int i = 0; i < 1000; i++)
        sr_buf_printf(&text, "\"b%d\":[{\"z\":1}],", i);
    sr_buf_puts(&text, "\"y\" : \"z\" ,\"z\" : 2 }");
    struct sr_json_slice object = {text.data, text.len}, value = sr_json_get(object, "z");
    assert_int_equal(value.len, 1);
    assert_memory_equal(value.text, "2", 1);
    assert_int_equal(sr_json_get(object, "b").len, 0);
    assert_int_equal(sr_json_get(value, "z").len, 0);
    assert_int_equal(sr_json_get((struct sr_json_slice){"{}", 2}, "z").len, 0);
    assert_int_equal(sr_json_get((struct sr_json_slice){"[{\"z\":1}]", 9}, "z").len, 0);
}

static void a_string_is_copied_as_text_or_as_written(void **state)
{
    (void)state;
    const struct sr_json_slice plain = {"\"abc\"", 5}, escaped = {"\"a\\u0062\"", 9},
                               number = {"12", 2};
    char text[4] = "old", small[3] = "ol";
    sr_json_copy(number, text, sizeof text);
    assert_false(sr_json_copy_plain(number, text, sizeof text));
    assert_false(sr_json_copy_plain(escaped, text, sizeof text));
    assert_false(sr_json_copy_plain(plain, small, sizeof small));
    assert_string_equal(text, "old");
    assert_string_equal(small, "ol");
    assert_true(sr_json_copy_plain(plain, text, sizeof text));
    assert_string_equal(text, "abc");
    sr_json_copy(escaped, text, sizeof text);
    assert_string_equal(text, "ab");
    sr_json_copy(plain, small, sizeof small);
    assert_string_equal(small, "ab");
}

static void members_of_values_are_of_the_kind_that_is_asked_for(void **state)
{
    (void)state;
    json_t *object = json_pack("{s:s,s:i,s:i}", "text", "abc", "number", 7, "negative", -1);
    char text[4] = "old", small[3] = "ol";
    uint64_t number = 1;
    assert_null(sr_member_text(object, "number"));
    assert_null(sr_member_text(NULL, "text"));
    assert_false(sr_member_copy(object, "none", text, sizeof text));
    assert_string_equal(text, "old");
    assert_true(sr_member_copy(object, "text", text, sizeof text));
    assert_string_equal(text, "abc");
    assert_false(sr_member_copy(object, "text", small, sizeof small));
    assert_string_equal(small, "ab");
    assert_false(sr_member_number(object, "number", 6, &number));
    assert_false(sr_member_number(object, "negative", 6, &number));
    assert_false(sr_member_number(object, "text", 6, &number));
    assert_int_equal(number, 1);
    assert_true(sr_member_number(object, "number", 7, &number));
    assert_int_equal(number, 7);
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_json_and_nothing_else),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(a_cut_text_wants_more),
        cmocka_unit_test(faults_say_where),
        cmocka_unit_test(numbers_that_readers_disagree_on_are_marked),
        cmocka_unit_test(canonical_form_is_known_and_made),
        cmocka_unit_test(a_member_is_found_behind_any_number_of_others),
        cmocka_unit_test(a_string_is_copied_as_text_or_as_written),
        cmocka_unit_test(members_of_values_are_of_the_kind_that_is_asked_for),
        cmocka_unit_test(numbers_of_the_rfc_as_text),
        cmocka_unit_test(repeated_keys_are_found_wherever_they_are),
        cmocka_unit_test(a_reader_gives_whole_values),
        cmocka_unit_test(a_value_without_end_is_refused_in_bounded_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
