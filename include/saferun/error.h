/*
 * Error codes and the one error object of safe-run.
 *
 * An error is filled where the fault is known, says which code, which field or step (path) and a
 * sentence for the user, and is handed up unchanged. It lives on the caller's stack with fixed-size
 * text, so it cannot leak, can be filled when memory is out, and crosses a pipe from a child whole.
 * Texts that do not fit are cut; path and message are UTF-8 without control characters, whatever
 * they quote.
 */
#ifndef SAFERUN_ERROR_H
#define SAFERUN_ERROR_H

#include <stdarg.h>

/* The codes of the contract. Their spelling for users is sr_code_name(): SR_POL_001 is
 * "SR-POL-001". */
enum sr_code {
    SR_OK = 0,
    SR_POL_001, /* required field missing or blank; file unreadable */
    SR_POL_002, /* wrong type or format, unknown field, syntax */
    SR_POL_003, /* a field that contradicts another one, or what the host and the caller allow */
    SR_POL_101, /* mount source or another file of the host; allowlist file */
    SR_POL_102, /* mount target */
    SR_POL_103, /* mount not read-only */
    SR_POL_201, /* network rule */
    SR_CMP_001, /* a value cannot be mapped */
    SR_CMP_002, /* incomplete output or illegal request */
    SR_CMP_201, /* the network plan cannot be built */
    SR_RUN_001, /* preparation or internal failure; abnormal end */
    SR_RUN_002, /* the VM did not start, or the host cannot give what the policy requires */
    SR_RUN_003, /* timed out */
    SR_RUN_101, /* a mount could not be prepared or applied */
    SR_RUN_201, /* network could not be applied */
    SR_RUN_202, /* network could not be released */
    SR_EVD_001, /* an event could not be written */
    SR_EVD_002, /* a report could not be built or read */
    SR_EVD_003, /* a key could not be made, read or used */
    SR_EVD_301, /* verification: schema */
    SR_EVD_302, /* verification: hashes */
    SR_EVD_303, /* verification: event chain */
    SR_EVD_304, /* verification: signature and attestation */
    SR_OPS_101, /* images: the source cannot be read, is cut off, or is not of the kind it was
                   called */
    SR_OPS_102, /* images: content that does not have its digest */
    SR_OPS_103, /* images: a name or link that leads out of the image or through a link */
    SR_OPS_104, /* images: a device */
    SR_OPS_105, /* images: more bytes, entries or work than is allowed */
    SR_OPS_106, /* images: an entry that is there twice */
    SR_OPS_107, /* images: descriptions (index, manifest, configuration) that make no sense */
    SR_OPS_108, /* images: an image or the store cannot be written or read */
    SR_OPS_109, /* images: no image of that name, or no name */
    SR_OPS_110, /* images: a stored image is not what its digest says */
    SR_OPS_301, /* the archive could not be written */
    SR_CODE_COUNT
};

/* What failed, which the code does not tell: SR-RUN-001 and SR-RUN-002 are about either. */
enum sr_fault {
    SR_FAULT_HOST = 0, /* the work of safe-run or of its host */
    SR_FAULT_VM,       /* the VM: its start, its VMM, its guest's side of the channel */
};

struct sr_error {
    enum sr_code code;
    enum sr_fault fault;
    unsigned line, column; /* 1-based place in the document; 0 when the error has none */
    char path[256];        /* field ("network.egress[2].port") or step ("launch.vm") */
    char message[512];     /* what is wrong, and what to do */
    char hint[256];        /* a suggestion on its own ("did you mean 'args'?"), or empty */
};

/* Returns the code as users read it ("SR-RUN-002"), or "SR-OK"; static. */
const char *sr_code_name(enum sr_code code);

/* Fills err (may be NULL) and returns -1, so that a function can end with `return sr_fail(...)`. */
int sr_fail(struct sr_error *err, enum sr_code code, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int sr_vfail(struct sr_error *err, enum sr_code code, const char *path, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));

/* The same from what another process, which may have been taken over, sent as its error: texts end
 * and are printable, an unknown code becomes code, the fault is the host's. */
int sr_fail_as_said(struct sr_error *err, enum sr_code code, const struct sr_error *said);

/* The same for what the VM is at fault for. */
int sr_fail_vm(struct sr_error *err, enum sr_code code, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the message of a filled err (may be NULL) and returns -1. */
int sr_wrap(struct sr_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
