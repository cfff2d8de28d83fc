/* The state of reading a summary, which only the summary*.c files share. */
#ifndef SR_EVIDENCE_SUMMARY_STATE_H
#define SR_EVIDENCE_SUMMARY_STATE_H

#include "evidence/chain.h"
#include "evidence/summary.h"

struct summary_reader {
    struct evidence_summary *summary;
    struct evidence_event event;
};

evidence_report_on_event summary_event;
/* summary_outputs.c: an output.collected. */
void summary_take_output(struct evidence_summary *summary, struct sr_json_slice payload);
/* After the last event: puts lists in order, looks for contradictions that were not recorded. */
void summary_events_end(struct evidence_summary *summary);

#endif
