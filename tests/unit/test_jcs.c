#include "common/jcs.h"

#include "rfc8785.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_number(uint64_t bits, const char *text)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    sr_cleanup_buf struct sr_buf buf = SR_BUF_INIT;
    sr_jcs_double(&buf, value);
    assert_true(sr_buf_ok(&buf));
    assert_string_equal(buf.data, text);
}

/* RFC 8785, appendix B: every finite sample. */
static void numbers_of_the_rfc(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rfc8785_numbers / sizeof rfc8785_numbers[0]; i++)
        expect_number(rfc8785_numbers[i].bits, rfc8785_numbers[i].text);
}

static void nan_and_infinity_have_no_form(void **state)
{
    (void)state;
    static const double bad[] = {__builtin_nan(""), __builtin_inf(), -__builtin_inf()};
    for (size_t i = 0; i < 3; i++) {
        sr_cleanup_buf struct sr_buf buf = SR_BUF_INIT;
        sr_jcs_double(&buf, bad[i]);
        assert_false(sr_buf_ok(&buf));
    }
}

static void expect_canonical(const char *input, const char *output)
{
    json_error_t error;
    json_t *value = json_loads(input, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    assert_non_null(value);
    sr_cleanup_buf struct sr_buf buf = SR_BUF_INIT;
    sr_jcs_value(&buf, value);
    json_decref(value);
    assert_true(sr_buf_ok(&buf));
    assert_string_equal(buf.data, output);
}

/* RFC 8785, 3.2.2 and 3.2.3. */
static void documents_of_the_rfc(void **state)
{
    (void)state;
    expect_canonical(
        "{\"numbers\":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"
        "\"string\":\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\","
        "\"literals\":[null,true,false]}",
        "{\"literals\":[null,true,false],"
        "\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
        "\"string\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
    expect_canonical("{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\","
                     "\"\\ufb33\":\"Hebrew Letter Dalet With Dagesh\",\"1\":\"One\","
                     "\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\","
                     "\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}",
                     "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\","
                     "\"\xc3\xb6\":\"Latin Small Letter O With Diaeresis\","
                     "\"\xe2\x82\xac\":\"Euro Sign\",\"\xf0\x9f\x98\x80\":\"Emoji: Grinning Face\","
                     "\"\xef\xac\xb3\":\"Hebrew Letter Dalet With Dagesh\"}");
}

static void integers_are_exact(void **state)
{
    (void)state;
    expect_canonical("[9007199254740993,-9223372036854775808,0]",
                     "[9007199254740993,-9223372036854775808,0]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_the_rfc),
        cmocka_unit_test(nan_and_infinity_have_no_form),
        cmocka_unit_test(documents_of_the_rfc),
        cmocka_unit_test(integers_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
