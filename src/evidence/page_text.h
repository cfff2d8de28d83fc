/*
 * What the HTML page of a report is written with: text, sections and tables.
 */
#ifndef SR_EVIDENCE_PAGE_TEXT_H
#define SR_EVIDENCE_PAGE_TEXT_H

#include "common/buf.h"

#include <stddef.h>
#include <stdint.h>

/* Appends text as HTML: what has a meaning there is escaped, what no page can hold is '?'. The only
 * way in for any text that comes from a run. */
void page_text(struct sr_buf *out, const char *text);

/* The same as a part of a sentence, whose direction of writing stays its own, and as code. */
void page_bdi(struct sr_buf *out, const char *text);
void page_code(struct sr_buf *out, const char *text);
/* A section that "</section>" ends; id and title are ours. */
void page_open_section(struct sr_buf *out, const char *id, const char *title);
/* A table with a caption; columns from first_number on are numbers. Of its rows, more stand in the
 * report alone. */
void page_open_table(struct sr_buf *out, const char *caption, const char *const *columns,
                     size_t count, size_t first_number);
void page_close_table(struct sr_buf *out, uint64_t more);

#endif
