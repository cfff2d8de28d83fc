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

/* Allocates memory aligned for pointers and 64-bit numbers, which sr_arena_free() frees. NULL when
 * memory is out. */
void *sr_arena_alloc(struct sr_arena *arena, size_t size);
/* Copies len bytes and a NUL. NULL when memory is out. */
char *sr_arena_text(struct sr_arena *arena, const char *text, size_t len);
void sr_arena_free(struct sr_arena *arena);

#endif
