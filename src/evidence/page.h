/*
 * The parts of the HTML page of a report that html.c, which writes the page, has from others.
 */
#ifndef SR_EVIDENCE_PAGE_H
#define SR_EVIDENCE_PAGE_H

#include "evidence/reading.h"

/* page.css, whole; its hash is in the page's Content-Security-Policy. */
extern const char evidence_page_style[];

/* page_lists.c: the rules of the policy, if it is known; what came out; who has signed. */
void page_rules(struct sr_buf *out, const struct evidence_reading *reading);
void page_outputs(struct sr_buf *out, const struct evidence_reading *reading);
void page_signers(struct sr_buf *out, const struct evidence_reading *reading);

/* chart.c. Draws CPU and memory over time; returns whether there were samples enough. */
bool page_charts(struct sr_buf *out, const struct evidence_reading *reading);
/* Draws the run's phases as a bar with a legend; nothing when their times are not known. */
void page_phases(struct sr_buf *out, const struct evidence_summary *summary);

#endif
