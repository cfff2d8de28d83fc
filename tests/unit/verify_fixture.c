#include "verify_fixture.h"

#include "common/jcs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char *read_golden(const char *name, size_t *len)
{
    const char *dir = getenv("SR_GOLDEN");
    char path[512];
    assert_non_null(dir);
    snprintf(path, sizeof path, "%s/report/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    char *text = size < 0 ? NULL : malloc((size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)size, 0), size);
    text[size] = '\0';
    close(fd);
    *len = (size_t)size;
    return text;
}

bool is_valid(const char *text, size_t len)
{
    sr_cleanup_verification struct sr_verification result;
    fixture_verify(text, len, NULL, &result);
    assert_true(result.valid || result.error_count > 0);
    return result.valid;
}

int outcome(const struct sr_verification *result, const char *check)
{
    for (size_t i = 0; i < result->check_count; i++)
        if (strcmp(result->checks[i].name, check) == 0)
            return result->checks[i].ok;
    return -1;
}

void expect_error(const struct sr_verification *result, enum sr_code code, const char *path)
{
    for (size_t i = 0; i < result->error_count; i++)
        if (result->errors[i].code == code && strcmp(result->errors[i].path, path) == 0)
            return;
    for (size_t i = 0; i < result->error_count; i++)
        print_error("%s %s: %s\n", sr_code_name(result->errors[i].code), result->errors[i].path,
                    result->errors[i].message);
    fail_msg("no %s at %s", sr_code_name(code), path);
}

json_t *load_sealed(void)
{
    size_t len;
    char *text = read_golden("sealed.json", &len);
    json_t *report = json_loadb(text, len, 0, NULL);
    assert_non_null(report);
    free(text);
    return report;
}

void verify_resealed(json_t *report, struct sr_verification *result)
{
    struct sr_hasher *hasher = sr_hasher_new();
    char hash[SR_SHA256_TEXT] = EVIDENCE_HASH_ZERO;
    size_t i;
    json_t *event;
    json_array_foreach(json_object_get(report, "events"), i, event)
    {
        sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
        json_object_set_new(event, "hashPrev", json_string(hash));
        static const char *const parts[] = {"hashPrev", "timestamp", "runId", "stage", "type"};
        for (size_t k = 0; k < 5; k++)
            sr_buf_printf(&text, "%s|", json_string_value(json_object_get(event, parts[k])));
        sr_jcs_value(&text, json_object_get(event, "payload"));
        assert_int_equal(sr_sha256(hasher, text.data, text.len, hash), 0);
        json_object_set_new(event, "hashSelf", json_string(hash));
    }
    json_t *integrity = json_object_get(report, "integrity");
    json_object_set_new(integrity, "digest", json_string(""));
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_jcs_value(&text, report);
    assert_int_equal(sr_sha256(hasher, text.data, text.len, hash), 0);
    json_object_set_new(integrity, "digest", json_string(hash));
    text.len = 0;
    sr_jcs_value(&text, report);
    sr_buf_putc(&text, '\n');
    fixture_verify(text.data, text.len, NULL, result);
    sr_hasher_free(hasher);
    json_decref(report);
}
