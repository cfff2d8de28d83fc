/* Names that were meant. */
#ifndef SR_COMMON_NEAREST_H
#define SR_COMMON_NEAREST_H

/* The known name (of a list ended by NULL) nearest to a misspelt one, or NULL when none is near. */
const char *sr_nearest_name(const char *name, const char *const *known);

#endif
