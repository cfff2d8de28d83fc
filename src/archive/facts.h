/* The facts of a bundle for the index, read from the bundle alone. */
#ifndef SR_ARCHIVE_FACTS_H
#define SR_ARCHIVE_FACTS_H

#include "archive/index.h"
#include "archive/log.h"

/* Adds the run that this entry of the log stored. A bundle that is not there, or is damaged, is
 * indexed by what the log says of it, with the result "missing". */
int archive_facts_add(struct archive_index *index, int root, const struct archive_log_entry *entry,
                      uint64_t leaf, struct sr_error *err) SR_MUST_CHECK;

#endif
