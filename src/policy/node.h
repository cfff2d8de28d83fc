/*
 * The tree that a document is read into, with line and column on every node.
 *
 * Scalars keep their text and how they were written; what type a text is, the schema says, not
 * YAML's guesses: `no` is a string where a string belongs.
 *
 * The tree lives in an arena and is freed with it at once. Aliased YAML nodes are shared, so it may
 * be a graph, but it has no cycle and, walked as a tree, at most SR_DOCUMENT_MAX_ALIASED nodes
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
#define SR_DOCUMENT_MAX_DEPTH 64
/* Nodes reached through aliases; more is an expansion bomb. */
#define SR_DOCUMENT_MAX_ALIASED 10000

enum sr_node_kind { SR_NODE_SCALAR, SR_NODE_LIST, SR_NODE_MAP };

/* How a scalar was written. */
enum sr_scalar_form {
    SR_SCALAR_PLAIN,  /* YAML without quotes: may be anything */
    SR_SCALAR_STRING, /* quoted, or a YAML block */
    SR_SCALAR_NUMBER, /* JSON */
    SR_SCALAR_BOOL,   /* JSON */
    SR_SCALAR_NULL,   /* JSON */
};

struct sr_node {
    enum sr_node_kind kind : 8;
    enum sr_scalar_form form : 8;
    bool repeated;         /* a key that an earlier one of its map has said already */
    unsigned line, column; /* 1-based; columns count characters */
    uint32_t nodes;        /* this one and all below, walked as a tree */
    union {
        struct {
            const char *text; /* NUL-terminated; may hold NUL before its end */
            size_t len;
        };
        struct {
            struct sr_node *
                *items;   /* LIST: items; MAP: key, value, key, value... (keys are scalars) */
            size_t count; /* of items, or of pairs */
        };
    };
};

/* Computes the line and column of a byte of a document. */
void sr_document_place(const char *text, size_t offset, unsigned *line, unsigned *column);

/* Returns the value of a key in a map, the first one when the key is repeated; NULL when there is
 * none. */
const struct sr_node *sr_node_find(const struct sr_node *map, const char *key, size_t len);
static inline const struct sr_node *sr_node_get(const struct sr_node *map, const char *key)
{
    return sr_node_find(map, key, strlen(key)); /* inline: the length of a literal is known */
}

/* Returns true when the scalar's whole text is this. (A text may hold NUL, where strcmp() would
 * stop.) */
static inline bool sr_node_is(const struct sr_node *scalar, const char *text)
{
    return scalar->len == strlen(text) && memcmp(scalar->text, text, scalar->len) == 0;
}

/* Returns the next key of a map that repeats an earlier one, NULL when there is none. Start with
 * *state = 0. */
const struct sr_node *sr_node_repeated_key(const struct sr_node *map, size_t *state);

/* The children of collections that are being read. Zero-initialise; the owner frees items. */
struct sr_node_stack {
    struct sr_node **items;
    size_t depth, cap;
};
/* Adds a child. Returns false when node is NULL or memory is out. */
bool sr_node_push(struct sr_node_stack *stack, struct sr_node *node);

/* Makes a list or map of collected children, which are copied into the arena. NULL when memory is
 * out. */
struct sr_node *sr_node_collection(struct sr_arena *arena, enum sr_node_kind kind,
                                   struct sr_node *const *items, size_t item_count, unsigned line,
                                   unsigned column);
struct sr_node *sr_node_scalar(struct sr_arena *arena, enum sr_scalar_form form, const char *text,
                               size_t len, unsigned line, unsigned column);

/* Fails as sr_fail() does, at a place in a document. */
int sr_fail_at(struct sr_error *err, enum sr_code code, unsigned line, unsigned column,
               const char *path, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#endif
