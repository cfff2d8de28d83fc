#include "saferun/error.h"

#include "common/printable.h"

#include <stdio.h>
#include <string.h>

static const char *const code_names[SR_CODE_COUNT] = {
    [SR_OK] = "SR-OK",           [SR_POL_001] = "SR-POL-001", [SR_POL_002] = "SR-POL-002",
    [SR_POL_003] = "SR-POL-003", [SR_POL_101] = "SR-POL-101", [SR_POL_102] = "SR-POL-102",
    [SR_POL_103] = "SR-POL-103", [SR_POL_201] = "SR-POL-201", [SR_CMP_001] = "SR-CMP-001",
    [SR_CMP_002] = "SR-CMP-002", [SR_CMP_201] = "SR-CMP-201", [SR_RUN_001] = "SR-RUN-001",
    [SR_RUN_002] = "SR-RUN-002", [SR_RUN_003] = "SR-RUN-003", [SR_RUN_101] = "SR-RUN-101",
    [SR_RUN_201] = "SR-RUN-201", [SR_RUN_202] = "SR-RUN-202", [SR_EVD_001] = "SR-EVD-001",
    [SR_EVD_002] = "SR-EVD-002", [SR_EVD_003] = "SR-EVD-003", [SR_EVD_301] = "SR-EVD-301",
    [SR_EVD_302] = "SR-EVD-302", [SR_EVD_303] = "SR-EVD-303", [SR_EVD_304] = "SR-EVD-304",
    [SR_OPS_101] = "SR-OPS-101", [SR_OPS_102] = "SR-OPS-102", [SR_OPS_103] = "SR-OPS-103",
    [SR_OPS_104] = "SR-OPS-104", [SR_OPS_105] = "SR-OPS-105", [SR_OPS_106] = "SR-OPS-106",
    [SR_OPS_107] = "SR-OPS-107", [SR_OPS_108] = "SR-OPS-108", [SR_OPS_109] = "SR-OPS-109",
    [SR_OPS_110] = "SR-OPS-110", [SR_OPS_301] = "SR-OPS-301",
};

const char *sr_code_name(enum sr_code code)
{
    return (unsigned)code < SR_CODE_COUNT ? code_names[code] : code_names[SR_OK];
}

int sr_vfail(struct sr_error *err, enum sr_code code, const char *path, const char *fmt, va_list ap)
{
    if (err == NULL)
        return -1;
    *err = (struct sr_error){.code = code};
    snprintf(err->path, sizeof err->path, "%s", path);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    sr_make_printable(err->path);
    sr_make_printable(err->message);
    return -1;
}

int sr_fail(struct sr_error *err, enum sr_code code, const char *path, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sr_vfail(err, code, path, fmt, ap);
    va_end(ap);
    return -1;
}

int sr_fail_as_said(struct sr_error *err, enum sr_code code, const struct sr_error *said)
{
    struct sr_error whole = *said;
    whole.path[sizeof whole.path - 1] = whole.message[sizeof whole.message - 1] = '\0';
    bool known = (unsigned)whole.code < SR_CODE_COUNT && whole.code != SR_OK;
    return sr_fail(err, known ? whole.code : code, whole.path, "%s", whole.message);
}

int sr_fail_vm(struct sr_error *err, enum sr_code code, const char *path, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sr_vfail(err, code, path, fmt, ap);
    va_end(ap);
    if (err != NULL)
        err->fault = SR_FAULT_VM;
    return -1;
}

int sr_wrap(struct sr_error *err, const char *fmt, ...)
{
    if (err == NULL)
        return -1;
    char text[sizeof err->message];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (len >= 0 && (size_t)len < sizeof text)
        snprintf(text + len, sizeof text - (size_t)len, ": %s", err->message);
    memcpy(err->message, text, sizeof text);
    sr_make_printable(err->message);
    return -1;
}
