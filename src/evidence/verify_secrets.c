/*
 * What run.prepared says of values from outside of the policy: names and sources in the form that
 * the writer gives them, and an HMAC of each as soon as a VM was started. Whether an HMAC is that
 * of a value only the host's key can tell, which no report has.
 */
#include "evidence/verify.h"

#include "common/sha256.h"
#include "saferun/policy.h"

#include <stdio.h>
#include <string.h>

enum { FIELD_SIZE = 96 };

static const char *place(char path[FIELD_SIZE], uint64_t index, const char *field)
{
    snprintf(path, FIELD_SIZE, "events[%llu].payload.%s", (unsigned long long)index, field);
    return path;
}

static bool take_name(struct sr_json_slice value, char name[SR_SECRET_NAME_MAX + 1])
{
    return sr_json_copy_plain(value, name, SR_SECRET_NAME_MAX + 1) && sr_secret_name_ok(name);
}

/* What is wrong with an entry, or NULL. */
static const char *entry_fault(struct verify *v, struct sr_json_slice entry, bool salted,
                               char last[SR_SECRET_NAME_MAX + 1])
{
    char name[SR_SECRET_NAME_MAX + 1], hmac[SR_HMAC_TEXT];
    struct sr_json_slice path = sr_json_get(entry, "path"), mac = sr_json_get(entry, "hmac");
    bool is_env = sr_json_is(sr_json_get(entry, "from"), "env");
    if (!take_name(sr_json_get(entry, "name"), name))
        return "expected a name of letters, digits and _";
    if (strcmp(name, last) <= 0)
        return "expected names in their order, each once";
    memcpy(last, name, sizeof name);
    if (!is_env && !sr_json_is(sr_json_get(entry, "from"), "file"))
        return "expected from: env or file";
    if (is_env ? path.len > 0 : !sr_json_is_string(path) || path.len <= 2)
        return "expected a path where the source is a file, and none else";
    if (mac.len == 0) {
        v->secret_open = true;
        return NULL;
    }
    if (!sr_json_copy_plain(mac, hmac, sizeof hmac) || !sr_is_hmac_sha256(hmac))
        return "expected " SR_HMAC_PREFIX " and 64 lower-case hexadecimal digits";
    return salted ? NULL : "an HMAC without the salt that it was taken with";
}

static void check_entries(struct verify *v, uint64_t index, struct sr_json_slice list, bool salted)
{
    char last[SR_SECRET_NAME_MAX + 1] = "", field[FIELD_SIZE], path[FIELD_SIZE], found[SHOWN_SIZE];
    struct sr_json_slice entry;
    unsigned long long i = 0;
    if (list.len > 0 && !sr_json_is_array(list))
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, place(path, index, "runtime.envFrom"),
                     "expected an array, found %s", verify_show(list, found));
    for (size_t at = 0; sr_json_is_array(list) && sr_json_next(list, &at, &entry); i++) {
        const char *fault = entry_fault(v, entry, salted, last);
        if (fault == NULL)
            continue;
        snprintf(field, sizeof field, "runtime.envFrom[%llu]", i);
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, place(path, index, field), "%s, found %s", fault,
                     verify_show(entry, found));
        return;
    }
}

static void check_grants(struct verify *v, uint64_t index, struct sr_json_slice list)
{
    char name[SR_SECRET_NAME_MAX + 1], path[FIELD_SIZE], found[SHOWN_SIZE];
    struct sr_json_slice one;
    bool good = list.len == 0 || sr_json_is_array(list);
    for (size_t at = 0; sr_json_is_array(list) && good && sr_json_next(list, &at, &one);)
        good = take_name(one, name);
    if (!good)
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, place(path, index, "allowEnv"),
                     "expected a list of names of variables, found %s", verify_show(list, found));
}

void verify_secrets_take(struct verify *v, uint64_t index)
{
    struct sr_json_slice runtime = sr_json_get(v->event.payload, "runtime"),
                         salt = sr_json_get(runtime, "envSalt");
    char path[FIELD_SIZE], found[SHOWN_SIZE], text[SR_SHA256_HEX + 1];
    if (v->event.kind == SR_EVENT_VM_STARTED && v->secret_open) {
        v->secret_open = false; /* said once */
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, place(path, index, "pid"),
                     "a VM was started although a value of run.prepared's envFrom has no HMAC");
    }
    if (v->event.kind != SR_EVENT_RUN_PREPARED)
        return;
    bool salted = sr_json_copy_plain(salt, text, sizeof text) && strlen(text) == SR_SHA256_HEX &&
                  strspn(text, "0123456789abcdef") == SR_SHA256_HEX;
    if (salt.len > 0 && !salted)
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, place(path, index, "runtime.envSalt"),
                     "expected 64 lower-case hexadecimal digits, found %s",
                     verify_show(salt, found));
    check_entries(v, index, sr_json_get(runtime, "envFrom"), salted);
    check_grants(v, index, sr_json_get(v->event.payload, "allowEnv"));
}
