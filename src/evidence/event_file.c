#include "evidence/event_file.h"

#include <errno.h>
#include <stdio.h>

int evidence_event_file_open(struct evidence_event_file *file, int fd, uint64_t size)
{
    *file = (struct evidence_event_file){.text = SR_BUF_INIT, .canonical = true};
    return sr_json_reader_open(&file->reader, fd, 0, size, false);
}

void evidence_event_file_close(struct evidence_event_file *file)
{
    sr_json_reader_close(&file->reader);
    sr_buf_free(&file->text);
}

/* The line's canonical text in file->text, scanned again. */
static int canonicalise(struct evidence_event_file *file, const char **text)
{
    struct sr_json_reader *reader = &file->reader;
    file->text.len = 0;
    char path[sizeof reader->error_path];
    if (sr_json_canonical((struct sr_json_slice){*text, file->scan.len}, &file->text, path,
                          sizeof path) < 0) {
        sr_json_reader_fault(reader, "the key is there twice");
        snprintf(reader->error_path, sizeof reader->error_path, "%s", path);
        return -1;
    }
    if (!sr_buf_ok(&file->text) ||
        sr_json_scan(file->text.data, file->text.len, SR_JSON_LAST, &file->scan) != SR_JSON_OK) {
        reader->io_error = ENOMEM;
        return sr_json_reader_fault(reader, "cannot be held");
    }
    *text = file->text.data;
    return 0;
}

int evidence_event_file_next(struct evidence_event_file *file, const char **text)
{
    struct sr_json_reader *reader = &file->reader;
    /* The newline that ended the line before is taken here, so that *text stays in the window. */
    if (file->index > 0) {
        int c = sr_json_peek_byte(reader);
        if (c == '\n')
            sr_json_take(reader);
        else if (c != SR_JSON_FAULT)
            file->canonical = false;
    }
    int c = sr_json_peek(reader);
    if (c == SR_JSON_FAULT)
        return -1;
    file->canonical = file->canonical && reader->canonical;
    if (c == SR_JSON_EOF)
        return 0;
    if (sr_json_read_value(reader, &file->scan, text) < 0)
        return -1;
    if (!file->scan.canonical) {
        file->canonical = false;
        if (canonicalise(file, text) < 0)
            return -1;
    }
    file->index++;
    return 1;
}
