/*
 * An arena: memory that is freed at once.
 */
#ifndef SR_POLICY_ARENA_H
#define SR_POLICY_ARENA_H

#include <stddef.h>

/* Zero-initialise. */
struct policy_arena {
    struct sr_arena_chunk *chunk;
    size_t used, size; /* of the newest chunk */
};

/* Allocates memory aligned for pointers and 64-bit numbers, which policy_arena_free() frees. NULL
 * when memory is out. */
void *policy_arena_alloc(struct policy_arena *arena, size_t size);
/* Copies len bytes and a NUL. NULL when memory is out. */
char *policy_arena_text(struct policy_arena *arena, const char *text, size_t len);
void policy_arena_free(struct policy_arena *arena);

#endif
