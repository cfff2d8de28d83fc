#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void release(struct sr_buf *buf)
{
    if (buf->wipe && buf->data != NULL)
        explicit_bzero(buf->data, buf->cap);
    free(buf->data);
}

/* Makes room for len more bytes and a NUL; false when that cannot be had. */
static bool reserve(struct sr_buf *buf, size_t len)
{
    size_t need;
    if (buf->failed || __builtin_add_overflow(buf->len, len, &need) ||
        __builtin_add_overflow(need, (size_t)1, &need)) {
        buf->failed = true;
        return false;
    }
    if (buf->data != NULL && need <= buf->cap)
        return true;
    size_t cap = buf->cap < 256 ? 256 : buf->cap;
    while (cap < need)
        if (__builtin_mul_overflow(cap, (size_t)2, &cap))
            cap = need;
    char *data = buf->wipe ? malloc(cap) : realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    if (buf->wipe && buf->data != NULL) {
        memcpy(data, buf->data, buf->len + 1);
        release(buf);
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void sr_buf_append(struct sr_buf *buf, const void *data, size_t len)
{
    if (!reserve(buf, len))
        return;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void sr_buf_putc(struct sr_buf *buf, char c)
{
    if (!reserve(buf, 1))
        return;
    buf->data[buf->len++] = c;
    buf->data[buf->len] = '\0';
}

void sr_buf_u64(struct sr_buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    sr_buf_append(buf, digits + at, sizeof digits - at);
}

void sr_buf_i64(struct sr_buf *buf, int64_t value)
{
    if (value < 0)
        sr_buf_putc(buf, '-');
    sr_buf_u64(buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void sr_buf_printf(struct sr_buf *buf, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sr_buf_vprintf(buf, fmt, ap);
    va_end(ap);
}

void sr_buf_vprintf(struct sr_buf *buf, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    if (len < 0) {
        buf->failed = true;
    } else if (reserve(buf, (size_t)len)) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void sr_buf_consume(struct sr_buf *buf, size_t n)
{
    if (n == 0)
        return;
    memmove(buf->data, buf->data + n, buf->len - n + 1);
    buf->len -= n;
    if (buf->wipe)
        explicit_bzero(buf->data + buf->len + 1, n);
}

char *sr_buf_take(struct sr_buf *buf)
{
    if (buf->data == NULL)
        sr_buf_append(buf, "", 0);
    char *data = buf->failed ? NULL : buf->data;
    if (data == NULL)
        release(buf);
    *buf = SR_BUF_INIT;
    return data;
}

void sr_buf_free(struct sr_buf *buf)
{
    release(buf);
    *buf = SR_BUF_INIT;
}
