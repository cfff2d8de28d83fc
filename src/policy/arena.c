#include "policy/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct sr_arena_chunk {
    struct sr_arena_chunk *before;
    uint64_t data[];
};

void *policy_arena_alloc(struct policy_arena *arena, size_t size)
{
    size = (size + sizeof(uint64_t) - 1) / sizeof(uint64_t) * sizeof(uint64_t);
    if (arena->chunk == NULL || size > arena->size - arena->used) {
        size_t room = arena->chunk == NULL ? 16 * 1024 : 256 * 1024;
        room = size > room ? size : room;
        struct sr_arena_chunk *chunk = malloc(sizeof *chunk + room);
        if (chunk == NULL)
            return NULL;
        chunk->before = arena->chunk;
        *arena = (struct policy_arena){.chunk = chunk, .size = room};
    }
    void *memory = (char *)arena->chunk->data + arena->used;
    arena->used += size;
    return memory;
}

char *policy_arena_text(struct policy_arena *arena, const char *text, size_t len)
{
    char *copy = policy_arena_alloc(arena, len + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void policy_arena_free(struct policy_arena *arena)
{
    while (arena->chunk != NULL) {
        struct sr_arena_chunk *before = arena->chunk->before;
        free(arena->chunk);
        arena->chunk = before;
    }
    *arena = (struct policy_arena){0};
}
