/*
 * The pieces that the HTML page of a report is made of: html.c writes the page, chart.c its
 * pictures. Nothing outside of them needs this.
 */
#ifndef SR_EVIDENCE_PAGE_H
#define SR_EVIDENCE_PAGE_H

#include "evidence/reading.h"

/* page.css, whole; its hash is in the page's Content-Security-Policy. */
extern const char sr_page_style[];

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

/* page_lists.c: the rules of the policy, if it is known; what came out; who has signed. */
void page_rules(struct sr_buf *out, const struct sr_reading *reading);
void page_outputs(struct sr_buf *out, const struct sr_reading *reading);
void page_signers(struct sr_buf *out, const struct sr_reading *reading);

/* CPU and memory over time, as far as there are samples enough; returns whether there were. */
bool page_charts(struct sr_buf *out, const struct sr_reading *reading);
/* The run's phases as a bar with a legend; nothing when their times are not known. */
void page_phases(struct sr_buf *out, const struct sr_summary *summary);

#endif
