/*
 * A document (YAML or JSON) as one small tree, with line and column on every node.
 *
 * Scalars keep their text and how they were written; what type a text is, the schema says, not
 * YAML's guesses: `no` is a string where a string belongs. A document that begins with '{' and
 * a quotation mark (or '}') is JSON and is read strictly by RFC 8259 and I-JSON; anything else is
 * YAML 1.1 as libyaml reads it, less tags and a second document. A byte order mark is passed over.
 *
 * The tree lives in an arena and is freed with it at once. Aliased YAML nodes are shared, so it may
 * be a graph, but it has no cycle and, walked as a tree, at most SR_DOCUMENT_MAX_ALIASED nodes
 * behind aliases.
 */
#ifndef SR_POLICY_DOCUMENT_H
#define SR_POLICY_DOCUMENT_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A policy nests five deep. Bounds the stack of every walk. */
#define SR_DOCUMENT_MAX_DEPTH 64
/* Nodes reached through aliases; more is an expansion bomb. */
#define SR_DOCUMENT_MAX_ALIASED 10000

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

/*
 * Reads text into a tree. Errors: SR-POL-002 at "policy" with line and column; SR-POL-001 when the
 * document is empty. Repeated keys are left to the caller, who knows the path
 * (sr_node_repeated_key()).
 */
int sr_document_parse(struct sr_arena *arena, const char *text, size_t len, struct sr_node **root,
                      struct sr_error *err) SR_MUST_CHECK;

/* The two readers behind it. */
int sr_document_parse_yaml(struct sr_arena *arena, const char *text, size_t len,
                           struct sr_node **root, struct sr_error *err) SR_MUST_CHECK;
int sr_document_parse_json(struct sr_arena *arena, const char *text, size_t len,
                           struct sr_node **root, struct sr_error *err) SR_MUST_CHECK;

/* The line and column of a byte of a document. */
void sr_document_place(const char *text, size_t offset, unsigned *line, unsigned *column);

/* The value of a key in a map, or NULL. The first one when it is repeated. */
const struct sr_node *sr_node_find(const struct sr_node *map, const char *key, size_t len);
static inline const struct sr_node *sr_node_get(const struct sr_node *map, const char *key)
{
    return sr_node_find(map, key, strlen(key)); /* inline: the length of a literal is known */
}

/* True when the scalar's whole text is this; a text may hold NUL, which strcmp() takes for its
 * end. */
static inline bool sr_node_is(const struct sr_node *scalar, const char *text)
{
    return scalar->len == strlen(text) && memcmp(scalar->text, text, scalar->len) == 0;
}

/* The next key of a map that repeats an earlier one, NULL when there is none; start with *state =
 * 0. */
const struct sr_node *sr_node_repeated_key(const struct sr_node *map, size_t *state);

/* The children of collections that are still being read. Zero-initialise; items is the owner's to
 * free. */
struct sr_node_stack {
    struct sr_node **items;
    size_t depth, cap;
};
/* False when node is NULL or memory is out. */
bool sr_node_push(struct sr_node_stack *stack, struct sr_node *node);

/* Finishes a list or map: copies what was collected into the arena and counts. NULL when memory is
 * out. */
struct sr_node *sr_node_collection(struct sr_arena *arena, enum sr_node_kind kind,
                                   struct sr_node *const *items, size_t item_count, unsigned line,
                                   unsigned column);
struct sr_node *sr_node_scalar(struct sr_arena *arena, enum sr_scalar_form form, const char *text,
                               size_t len, unsigned line, unsigned column);

/* sr_fail() for a place in a document. */
int sr_fail_at(struct sr_error *err, enum sr_code code, unsigned line, unsigned column,
               const char *path, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#endif
