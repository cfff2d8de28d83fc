#include "common/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* RFC 4648, section 10. */
static void vectors_of_the_rfc(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        sr_cleanup_buf struct sr_buf text = SR_BUF_INIT, back = SR_BUF_INIT;
        sr_base64_encode(&text, vectors[i][0], strlen(vectors[i][0]));
        assert_int_equal(text.len, strlen(vectors[i][1]));
        assert_memory_equal(text.data != NULL ? text.data : "", vectors[i][1], text.len);
        assert_int_equal(sr_base64_decode(&back, vectors[i][1], strlen(vectors[i][1])), 0);
        assert_int_equal(back.len, strlen(vectors[i][0]));
        assert_memory_equal(back.data != NULL ? back.data : "", vectors[i][0], back.len);
    }
}

/* Whatever decodes is the one encoding of what it decodes to: every text of four characters. */
static void one_spelling_only(void **state)
{
    (void)state;
    static const char interesting[] = "ABPQZaghz059+/=-_ \n\t.";
    const size_t n = sizeof interesting; /* with the NUL */
    size_t accepted = 0;
    for (size_t i = 0; i < n * n * n * n; i++) {
        const char text[4] = {interesting[i % n], interesting[i / n % n],
                              interesting[i / n / n % n], interesting[i / n / n / n]};
        sr_cleanup_buf struct sr_buf bytes = SR_BUF_INIT, again = SR_BUF_INIT;
        if (sr_base64_decode(&bytes, text, 4) < 0) {
            assert_int_equal(bytes.len, 0);
            continue;
        }
        accepted++;
        sr_base64_encode(&again, bytes.data, bytes.len);
        assert_int_equal(again.len, 4);
        assert_memory_equal(again.data, text, 4);
    }
    /* 14 characters of the alphabet are among them: all of four; of three those whose last has no
     * low 2 bits, of two those whose last has no low 4. */
    assert_int_equal(accepted, 14 * 14 * 14 * 14 + 14 * 14 * 4 + 14 * 3);
}

static void other_spellings(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "Z",     "Zg",   "Zg=",  "Zh==", "Zm9=", "Zg==\n", "Zm9v\nYg==", "Zg==Zg==",
        "Zm9v=", "====", "Z===", "=Zg=", "Zm-_", "Zm9vYg", " Zg="};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sr_cleanup_buf struct sr_buf out = SR_BUF_INIT;
        sr_buf_puts(&out, "before");
        assert_int_equal(sr_base64_decode(&out, texts[i], strlen(texts[i])), -1);
        assert_string_equal(out.data, "before");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_the_rfc),
        cmocka_unit_test(one_spelling_only),
        cmocka_unit_test(other_spellings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
