/*
 * An arena: memory that is freed at once.
 */
#ifndef SR_POLICY_ARENA_H
#define SR_POLICY_ARENA_H

#include <stddef.h>

/* Zero-initialise. */
struct sr_arena {
    struct sr_arena_chunk *chunk;
    size_t used, size; /* of the newest chunk */
};

/* Memory aligned for pointers and 64-bit numbers, freed by sr_arena_free(); NULL when there is
 * none. */
void *sr_arena_alloc(struct sr_arena *arena, size_t size);
/* A NUL-terminated copy of len bytes. */
char *sr_arena_text(struct sr_arena *arena, const char *text, size_t len);
void sr_arena_free(struct sr_arena *arena);

#endif
