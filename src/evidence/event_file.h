/* Reads events.jsonl line by line, in bounded memory. */
#ifndef SR_EVIDENCE_EVENT_FILE_H
#define SR_EVIDENCE_EVENT_FILE_H

#include "common/json_reader.h"

struct evidence_event_file {
    struct sr_json_reader reader;
    struct sr_json_scan scan; /* of the line's canonical text */
    struct sr_buf text;       /* of the line when it was not canonical as written */
    uint64_t index;           /* lines read so far */
    bool canonical;           /* every line so far was written canonically, with one newline */
};

/* Starts reading fd (regular; stays the caller's), at most size bytes. 0 or a negative errno. */
int evidence_event_file_open(struct evidence_event_file *file, int fd, uint64_t size) SR_MUST_CHECK;
void evidence_event_file_close(struct evidence_event_file *file);
#define sr_cleanup_event_file __attribute__((cleanup(evidence_event_file_close)))

/*
 * Reads the next line in canonical form, scanned into file->scan; *text is valid until the next
 * call. Returns 1; 0 at the end of the file; -1 for a fault, which file->reader describes.
 */
int evidence_event_file_next(struct evidence_event_file *file, const char **text) SR_MUST_CHECK;

#endif
