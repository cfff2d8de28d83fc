/*
 * What the HTML page of a report is written with: text, sections and tables.
 */
#ifndef SR_EVIDENCE_PAGE_TEXT_H
#define SR_EVIDENCE_PAGE_TEXT_H

#include "common/buf.h"

#include <stddef.h>
#include <stdint.h>

/* Appends text as HTML: characters that mean something there are escaped, those that no page can
 * hold become '?'. Every text of a run enters a page by this function. */
void page_text(struct sr_buf *out, const char *text);

/* Append text as a part of a sentence that keeps its own direction of writing, and as code. */
void page_bdi(struct sr_buf *out, const char *text);
void page_code(struct sr_buf *out, const char *text);
/* Opens a section, which "</section>" ends; id and title never come from a run. */
void page_open_section(struct sr_buf *out, const char *id, const char *title);
/* Opens a table with a caption; columns from first_number on are numbers. Closing it says how many
 * more rows only the report has. */
void page_open_table(struct sr_buf *out, const char *caption, const char *const *columns,
                     size_t count, size_t first_number);
void page_close_table(struct sr_buf *out, uint64_t more);

#endif
