/*
 * The pieces that the HTML page of a report is made of: html.c writes the page, chart.c its pictures.
 * Nothing outside of them needs this.
 */
#ifndef SR_EVIDENCE_PAGE_H
#define SR_EVIDENCE_PAGE_H

#include "reading.h"

/* page.css, whole; its hash is in the page's Content-Security-Policy. */
extern const char sr_page_style[];

/* Appends text as HTML: what has a meaning there is escaped, what no page can hold is '?'. The only way
 * in for any text that comes from a run. */
void page_text(struct sr_buf *out, const char *text);

/* CPU and memory over time, as far as there are samples enough; returns whether there were. */
bool page_charts(struct sr_buf *out, const struct sr_reading *reading);
/* The run's phases as a bar with a legend; nothing when their times are not known. */
void page_phases(struct sr_buf *out, const struct sr_summary *summary);

#endif
