/*
 * A growable byte buffer. Errors stick: after a failed allocation every further append does nothing
 * and sr_buf_ok() is false, so a writer checks once at the end. data is always NUL-terminated when
 * not NULL.
 */
#ifndef SR_COMMON_BUF_H
#define SR_COMMON_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sr_buf {
    char *data;
    size_t len, cap;
    bool failed;
    bool wipe; /* it holds secrets: memory that it gives up is overwritten before */
};

#define SR_BUF_INIT                                                                                \
    (struct sr_buf)                                                                                \
    {                                                                                              \
        0                                                                                          \
    }

void sr_buf_append(struct sr_buf *buf, const void *data, size_t len);
static inline void sr_buf_puts(struct sr_buf *buf, const char *text)
{
    sr_buf_append(buf, text, strlen(text)); /* inline: the length of a literal is known */
}
void sr_buf_putc(struct sr_buf *buf, char c);
void sr_buf_u64(struct sr_buf *buf, uint64_t value); /* decimal */
void sr_buf_i64(struct sr_buf *buf, int64_t value);  /* decimal */
void sr_buf_printf(struct sr_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sr_buf_vprintf(struct sr_buf *buf, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

/* Drops the first n bytes (n <= len). */
void sr_buf_consume(struct sr_buf *buf, size_t n);

/* True when no append failed. */
static inline bool sr_buf_ok(const struct sr_buf *buf)
{
    return !buf->failed;
}

/* Hands the text to the caller, who frees it; NULL after a failure. The buffer is empty afterwards.
 */
char *sr_buf_take(struct sr_buf *buf);

void sr_buf_free(struct sr_buf *buf);
#define sr_cleanup_buf __attribute__((cleanup(sr_buf_free)))

#endif
