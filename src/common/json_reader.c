#include "common/json_reader.h"

#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

/* Large enough that reading costs nothing beside scanning, small enough to stay in the cache. */
enum { FIRST_WINDOW = 64 * 1024 };

int sr_json_reader_open(struct sr_json_reader *reader, int fd, uint64_t offset, uint64_t max_bytes,
                        bool keep_copy)
{
    *reader = (struct sr_json_reader){
        .fd = fd, .copy_fd = -1, .offset = offset, .max_bytes = max_bytes, .canonical = true};
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    reader->stream = !S_ISREG(st.st_mode);
    if (reader->stream && keep_copy)
        reader->copy_fd = sr_open_unnamed();
    reader->window = malloc(FIRST_WINDOW);
    if (reader->window == NULL)
        return -ENOMEM;
    reader->cap = FIRST_WINDOW;
    return 0;
}

void sr_json_reader_close(struct sr_json_reader *reader)
{
    free(reader->window);
    reader->window = NULL;
    sr_close_fd(&reader->copy_fd);
}

int sr_json_reader_again(const struct sr_json_reader *reader)
{
    return reader->stream ? reader->copy_fd : reader->fd;
}

int sr_json_reader_fault(struct sr_json_reader *reader, const char *error)
{
    reader->error = error;
    reader->error_at = sr_json_tell(reader);
    reader->error_path[0] = '\0';
    return -1;
}

static int read_failed(struct sr_json_reader *reader, int error)
{
    reader->io_error = error;
    return sr_json_reader_fault(reader, "cannot be read");
}

/* Without room for the copy there is no second reading; whether that matters is known only later.
 */
static void keep(struct sr_json_reader *reader, const char *data, size_t len)
{
    while (len > 0 && reader->copy_fd >= 0) {
        ssize_t put = write(reader->copy_fd, data, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            sr_close_fd(&reader->copy_fd);
            return;
        }
        data += put;
        len -= (size_t)put;
    }
}

/* Reads more into the window, behind its content; what is before the cursor is dropped. 0, also at
 * the end of the input (eof is set), or -1. */
static int fill(struct sr_json_reader *reader)
{
    size_t rest = reader->len - reader->at;
    if (rest == reader->cap) {
        size_t cap = reader->cap * 2; /* bounded by sr_json_read_value() */
        char *window = realloc(reader->window, cap);
        if (window == NULL)
            return read_failed(reader, ENOMEM);
        reader->window = window;
        reader->cap = cap;
    }
    if (reader->at > 0) {
        memmove(reader->window, reader->window + reader->at, rest);
        reader->offset += reader->at;
        reader->at = 0;
        reader->len = rest;
    }
    char *to = reader->window + reader->len;
    size_t room = reader->cap - reader->len;
    /* All there is room for: a pipe gives little at a time, and whoever wants more bytes scans from
     * the beginning of the value. */
    ssize_t got = sr_read_full(reader->fd, to, room,
                               reader->stream ? -1 : (int64_t)(reader->offset + reader->len));
    if (got < 0)
        return read_failed(reader, (int)-got);
    keep(reader, to, (size_t)got);
    if (reader->bytes != NULL)
        sr_hasher_update(reader->bytes, to, (size_t)got);
    reader->eof = (size_t)got < room;
    reader->len += (size_t)got;
    if (reader->offset + reader->len > reader->max_bytes)
        return read_failed(reader, EFBIG);
    return 0;
}

int sr_json_peek_byte(struct sr_json_reader *reader)
{
    if (reader->at == reader->len && !reader->eof && fill(reader) < 0)
        return SR_JSON_FAULT;
    return reader->at < reader->len ? (unsigned char)reader->window[reader->at] : SR_JSON_EOF;
}

int sr_json_peek(struct sr_json_reader *reader)
{
    for (;;) {
        int c = sr_json_peek_byte(reader);
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
            return c;
        if (reader->canonical)
            reader->space_at = sr_json_tell(reader);
        reader->canonical = false;
        reader->at++;
    }
}

int sr_json_read_value(struct sr_json_reader *reader, struct sr_json_scan *scan, const char **text)
{
    for (;;) {
        size_t have = reader->len - reader->at;
        enum sr_json_result result =
            sr_json_scan(reader->window + reader->at, have, reader->eof, scan);
        if (result == SR_JSON_OK) {
            if (scan->len > SR_JSON_MAX_VALUE)
                return sr_json_reader_fault(reader, "the value is longer than 1 MiB");
            *text = reader->window + reader->at;
            reader->at += scan->len;
            return 0;
        }
        if (result == SR_JSON_BAD) {
            reader->error = scan->error;
            reader->error_at = sr_json_tell(reader) + scan->error_at;
            memcpy(reader->error_path, scan->error_path, sizeof reader->error_path);
            return -1;
        }
        if (have > SR_JSON_MAX_VALUE)
            return sr_json_reader_fault(reader, "the value is longer than 1 MiB");
        if (fill(reader) < 0)
            return -1;
    }
}

void sr_json_reader_place(const struct sr_json_reader *reader, uint64_t offset, unsigned *line,
                          unsigned *column)
{
    *line = *column = 0;
    int fd = sr_json_reader_again(reader);
    uint64_t lines = 1, begin = 0, at = 0;
    char chunk[4096];
    while (fd >= 0 && at < offset) {
        size_t want = offset - at < sizeof chunk ? (size_t)(offset - at) : sizeof chunk;
        ssize_t got = pread(fd, chunk, want, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        for (ssize_t i = 0; i < got; i++) {
            if (chunk[i] == '\n') {
                lines++;
                begin = at + (uint64_t)i + 1;
            }
        }
        at += (uint64_t)got;
    }
    if (fd < 0 || lines > UINT_MAX || offset - begin >= UINT_MAX)
        return;
    *line = (unsigned)lines;
    *column = (unsigned)(offset - begin + 1);
}
