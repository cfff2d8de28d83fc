/* Base64 (RFC 4648, section 4: the standard alphabet, padded), one spelling for each sequence of
 * bytes. */
#ifndef SR_COMMON_BASE64_H
#define SR_COMMON_BASE64_H

#include "common/buf.h"

/* Appends the encoding of data. */
void sr_base64_encode(struct sr_buf *out, const void *data, size_t len);

/*
 * Appends the bytes that text encodes. Returns 0, or -1 with nothing appended when text is not what
 * sr_base64_encode() makes of some bytes: white space, the URL-safe alphabet, missing or misplaced
 * padding, bits that are set in the last character and encode nothing. When memory is out, out
 * fails.
 */
int sr_base64_decode(struct sr_buf *out, const char *text, size_t len)
    __attribute__((warn_unused_result));

#endif
