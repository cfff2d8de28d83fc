/*
 * Reads JSON from a descriptor, one piece at a time, in bounded memory.
 *
 * The reader holds a window of the input. Structure between the pieces is the caller's: it peeks at
 * the next byte that is not white space, takes it, or reads a whole value of at most
 * SR_JSON_MAX_VALUE bytes. A piece stays in memory until the next call.
 *
 *   sr_json_reader_open()  ...peek / take / value...  sr_json_reader_close()
 *
 * A regular file is read with pread, so its position is not used and a second reader may read it
 * again from an offset; anything else is read as it comes and, on request, kept in an unnamed
 * temporary file for that second reading.
 */
#ifndef SR_COMMON_JSON_READER_H
#define SR_COMMON_JSON_READER_H

#include "common/cleanup.h"
#include "common/json_text.h"
#include "common/sha256.h"

/* One event, or one member of a report other than its events. A bundle of 10,000 rules is 0.9 MB.
 */
#define SR_JSON_MAX_VALUE ((size_t)1024 * 1024)

struct sr_json_reader {
    int fd;          /* not owned */
    bool stream;     /* not a regular file */
    int copy_fd;     /* stream: what was read is kept here, or -1; owned */
    uint64_t offset; /* of the window in the input */
    char *window;    /* owned */
    size_t at, len;  /* cursor and end of the window's content */
    size_t cap;
    uint64_t max_bytes; /* of the whole input */
    bool eof;
    bool canonical;          /* no white space was skipped so far */
    uint64_t space_at;       /* else: offset of the first */
    struct sr_hasher *bytes; /* fed with the input as it is read, once; NULL: none, not owned */
    /* After a call failed: a read error (errno in io_error), or a fault of the text. */
    int io_error;
    const char *error;    /* what is wrong; static */
    uint64_t error_at;    /* offset in the input */
    char error_path[200]; /* inside the value: ".payload[3]" */
};

/*
 * Starts reading fd, which stays the caller's, at offset (regular files only). keep_copy asks for a
 * temporary copy of a stream (if that fails there is none, and sr_json_reader_again() says so).
 * Returns 0 or a negative errno; the reader may be closed either way.
 */
int sr_json_reader_open(struct sr_json_reader *reader, int fd, uint64_t offset, uint64_t max_bytes,
                        bool keep_copy) SR_MUST_CHECK;
void sr_json_reader_close(struct sr_json_reader *reader);
#define sr_cleanup_json_reader __attribute__((cleanup(sr_json_reader_close)))

/* A descriptor on which what was read can be read again: fd itself or the copy; -1 when there is
 * none. Not owned. */
int sr_json_reader_again(const struct sr_json_reader *reader);

enum { SR_JSON_EOF = -1, SR_JSON_FAULT = -2 };

/* The next byte that is not white space, without taking it; SR_JSON_EOF at the end, SR_JSON_FAULT
 * when it cannot be read. */
int sr_json_peek(struct sr_json_reader *reader) SR_MUST_CHECK;
/* The same for the very next byte. */
int sr_json_peek_byte(struct sr_json_reader *reader) SR_MUST_CHECK;

/* Takes the byte that was peeked at. */
static inline void sr_json_take(struct sr_json_reader *reader)
{
    reader->at++;
}

/* Reads the value whose first byte was peeked at. 0 with *text valid until the next call, or -1. */
int sr_json_read_value(struct sr_json_reader *reader, struct sr_json_scan *scan,
                       const char **text) SR_MUST_CHECK;

/* Marks a fault of the text at the cursor; returns -1. */
int sr_json_reader_fault(struct sr_json_reader *reader, const char *error);

/* Where the cursor stands in the input. */
static inline uint64_t sr_json_tell(const struct sr_json_reader *reader)
{
    return reader->offset + reader->at;
}

/* Line and column (1-based, in bytes) of an offset of what was read so far; both 0 when it cannot
 * be found out. */
void sr_json_reader_place(const struct sr_json_reader *reader, uint64_t offset, unsigned *line,
                          unsigned *column);

#endif
