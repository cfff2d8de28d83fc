#include "evidence/finding.h"

#include "common/printable.h"
#include "evidence/verify_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Records an error if there are fewer than limit. */
static struct sr_error *add_error(struct verify *v, enum check check, size_t limit)
{
    struct sr_verification *out = v->out;
    v->checks[check].ok = false;
    v->wanted[check] = true;
    if (out->error_count >= limit) {
        out->more_errors++;
        return NULL;
    }
    return &out->errors[out->error_count++];
}

void verify_error(struct verify *v, enum check check, enum sr_code code, const char *path,
                  const char *fmt, ...)
{
    char message[sizeof v->out->errors->message];
    /* The last place is for the fault that ends everything. */
    struct sr_error *error = add_error(v, check, SR_REPORT_MAX_ERRORS - 1);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (error != NULL)
        sr_fail(error, code, path, "%s", message);
}

void verify_note(struct verify *v, enum check check, const char *fmt, ...)
{
    struct sr_report_check *to = &v->checks[check];
    v->wanted[check] = true;
    size_t len = strlen(to->note);
    if (len > 0 && len + 2 < sizeof to->note) {
        memcpy(to->note + len, "; ", 3);
        len += 2;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(to->note + len, sizeof to->note - len, fmt, ap);
    va_end(ap);
}

void verify_give_up(struct verify *v, const struct sr_error *fault)
{
    struct sr_error *error = add_error(v, CHECK_SCHEMA, SR_REPORT_MAX_ERRORS);
    if (error != NULL)
        *error = *fault;
    for (int i = CHECK_SCHEMA + 1; i < CHECK_COUNT; i++) {
        if (!v->wanted[i])
            continue;
        v->checks[i].ok = false;
        v->checks[i].note[0] = '\0';
        verify_note(v, (enum check)i, "not decided: the report could not be read to its end");
    }
}

const char *verify_show(struct sr_json_slice value, char out[SHOWN_SIZE])
{
    size_t n = value.len < SHOWN_SIZE - 4 ? value.len : SHOWN_SIZE - 4;
    for (size_t i = 0; i < n; i++)
        out[i] = sr_ascii(value.text[i]);
    memcpy(out + n, n < value.len ? "..." : "", n < value.len ? 4 : 1);
    return value.len == 0 ? "nothing" : out;
}

struct sr_json_slice verify_field(const struct verify *v, const char *parent, const char *name)
{
    if (parent[0] == '\0')
        return evidence_report_member(&v->walk, name);
    return sr_json_get(evidence_report_member(&v->walk, parent), name);
}

void verify_differs(struct verify *v, const char *path, const char *expected,
                    struct sr_json_slice found)
{
    char shown[SHOWN_SIZE];
    verify_error(v, CHECK_AGGREGATES, SR_EVD_303, path, "expected %s by the events, found %s",
                 expected, verify_show(found, shown));
}

void verify_missing(struct verify *v, const char *path, const char *why)
{
    verify_error(v, CHECK_SCHEMA, SR_EVD_301, path, "is missing, or of another type: %s", why);
}
