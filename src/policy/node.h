/*
 * The tree that a document is read into, with line and column on every node.
 *
 * Scalars keep their text and how they were written; what type a text is, the schema says, not
 * YAML's guesses: `no` is a string where a string belongs.
 *
 * The tree lives in an arena and is freed with it at once. Aliased YAML nodes are shared, so it may
 * be a graph, but it has no cycle and, walked as a tree, at most POLICY_DOCUMENT_MAX_ALIASED nodes
 * behind aliases.
 */
#ifndef SR_POLICY_NODE_H
#define SR_POLICY_NODE_H

#include "policy/arena.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A policy nests five deep. Bounds the stack of every walk. */
#define POLICY_DOCUMENT_MAX_DEPTH 64
/* Nodes reached through aliases; more is an expansion bomb. */
#define POLICY_DOCUMENT_MAX_ALIASED 10000

enum policy_node_kind { POLICY_NODE_SCALAR, POLICY_NODE_LIST, POLICY_NODE_MAP };

/* How a scalar was written. */
enum policy_scalar_form {
    POLICY_SCALAR_PLAIN,  /* YAML without quotes: may be anything */
    POLICY_SCALAR_STRING, /* quoted, or a YAML block */
    POLICY_SCALAR_NUMBER, /* JSON */
    POLICY_SCALAR_BOOL,   /* JSON */
    POLICY_SCALAR_NULL,   /* JSON */
};

struct policy_node {
    enum policy_node_kind kind : 8;
    enum policy_scalar_form form : 8;
    bool repeated;         /* a key that an earlier one of its map has said already */
    unsigned line, column; /* 1-based; columns count characters */
    uint32_t nodes;        /* this one and all below, walked as a tree */
    union {
        struct {
            const char *text; /* NUL-terminated; may hold NUL before its end */
            size_t len;
        };
        struct {
            struct policy_node *
                *items;   /* LIST: items; MAP: key, value, key, value... (keys are scalars) */
            size_t count; /* of items, or of pairs */
        };
    };
};

/* Computes the line and column of a byte of a document. */
void policy_document_place(const char *text, size_t offset, unsigned *line, unsigned *column);

/* Returns the value of a key in a map, the first one when the key is repeated; NULL when there is
 * none. */
const struct policy_node *policy_node_find(const struct policy_node *map, const char *key,
                                           size_t len);
static inline const struct policy_node *policy_node_get(const struct policy_node *map,
                                                        const char *key)
{
    return policy_node_find(map, key, strlen(key)); /* inline: the length of a literal is known */
}

/* Returns true when the scalar's whole text is this. (A text may hold NUL, where strcmp() would
 * stop.) */
static inline bool policy_node_is(const struct policy_node *scalar, const char *text)
{
    return scalar->len == strlen(text) && memcmp(scalar->text, text, scalar->len) == 0;
}

/* Returns the next key of a map that repeats an earlier one, NULL when there is none. Start with
 * *state = 0. */
const struct policy_node *policy_node_repeated_key(const struct policy_node *map, size_t *state);

/* The children of collections that are being read. Zero-initialise; the owner frees items. */
struct policy_node_stack {
    struct policy_node **items;
    size_t depth, cap;
};
/* Adds a child. Returns false when node is NULL or memory is out. */
bool policy_node_push(struct policy_node_stack *stack, struct policy_node *node);

/* Makes a list or map of collected children, which are copied into the arena. NULL when memory is
 * out. */
struct policy_node *policy_node_collection(struct policy_arena *arena, enum policy_node_kind kind,
                                           struct policy_node *const *items, size_t item_count,
                                           unsigned line, unsigned column);
struct policy_node *policy_node_scalar(struct policy_arena *arena, enum policy_scalar_form form,
                                       const char *text, size_t len, unsigned line,
                                       unsigned column);

/* Fails as sr_fail() does, at a place in a document. */
int policy_fail_at(struct sr_error *err, enum sr_code code, unsigned line, unsigned column,
                   const char *path, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#endif
