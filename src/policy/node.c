#include "policy/node.h"

#include "common/cleanup.h"

#include <stdarg.h>
#include <stdlib.h>

struct policy_node *policy_node_scalar(struct policy_arena *arena, enum policy_scalar_form form,
                                       const char *text, size_t len, unsigned line, unsigned column)
{
    struct policy_node *node =
        policy_arena_alloc(arena, sizeof *node + len + 1); /* its text lies behind it */
    if (node == NULL)
        return NULL;
    char *copy = (char *)(node + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    *node = (struct policy_node){
        .kind = POLICY_NODE_SCALAR, .form = form, .line = line, .column = column, .nodes = 1};
    node->text = copy;
    node->len = len;
    return node;
}

bool policy_node_push(struct policy_node_stack *stack, struct policy_node *node)
{
    if (node == NULL)
        return false;
    if (stack->items == NULL || stack->depth == stack->cap) {
        size_t cap = stack->cap == 0 ? 64 : stack->cap * 2;
        struct policy_node **grown = realloc(stack->items, cap * sizeof(struct policy_node *));
        if (grown == NULL)
            return false;
        stack->items = grown;
        stack->cap = cap;
    }
    stack->items[stack->depth++] = node;
    return true;
}

static bool same_key(const struct policy_node *a, const struct policy_node *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static int compare_keys(const void *a, const void *b)
{
    const struct policy_node *x = *(const struct policy_node *const *)a,
                             *y = *(const struct policy_node *const *)b;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->text, y->text, n);
    if (order == 0)
        order = x->len < y->len ? -1 : x->len > y->len;
    if (order == 0 && x->line != y->line)
        order = x->line < y->line ? -1 : 1;
    return order != 0 ? order : x->column < y->column ? -1 : x->column > y->column;
}

/* Marks the keys that repeat an earlier one. Few are compared with each other; of many a copy is
 * sorted, because a hostile document can hold a hundred thousand. False when memory is out. */
static bool mark_repeated(struct policy_node *const *items, size_t item_count)
{
    size_t count = item_count / 2;
    if (count <= 16) {
        for (size_t i = 1; i < count; i++)
            for (size_t j = 0; j < i && !items[2 * i]->repeated; j++)
                items[2 * i]->repeated = same_key(items[2 * j], items[2 * i]);
        return true;
    }
    sr_cleanup_free struct policy_node **keys = malloc(count * sizeof *keys);
    if (keys == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        keys[i] = items[2 * i];
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 1; i < count; i++)
        keys[i]->repeated = same_key(keys[i - 1], keys[i]);
    return true;
}

struct policy_node *policy_node_collection(struct policy_arena *arena, enum policy_node_kind kind,
                                           struct policy_node *const *items, size_t item_count,
                                           unsigned line, unsigned column)
{
    struct policy_node *node = policy_arena_alloc(arena, sizeof *node);
    struct policy_node **copy = policy_arena_alloc(arena, item_count * sizeof *copy);
    if (node == NULL || copy == NULL ||
        (kind == POLICY_NODE_MAP && !mark_repeated(items, item_count)))
        return NULL;
    *node = (struct policy_node){.kind = kind, .line = line, .column = column, .nodes = 1};
    for (size_t i = 0; i < item_count; i++) {
        copy[i] = items[i];
        if (__builtin_add_overflow(node->nodes, items[i]->nodes, &node->nodes))
            node->nodes = UINT32_MAX;
    }
    node->items = copy;
    node->count = kind == POLICY_NODE_MAP ? item_count / 2 : item_count;
    return node;
}

const struct policy_node *policy_node_find(const struct policy_node *map, const char *key,
                                           size_t len)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct policy_node *name = map->items[2 * i];
        if (name->len == len && memcmp(name->text, key, len) == 0)
            return map->items[2 * i + 1];
    }
    return NULL;
}

const struct policy_node *policy_node_repeated_key(const struct policy_node *map, size_t *state)
{
    while (*state < map->count) {
        const struct policy_node *key = map->items[2 * (*state)++];
        if (key->repeated)
            return key;
    }
    return NULL;
}

int policy_fail_at(struct sr_error *err, enum sr_code code, unsigned line, unsigned column,
                   const char *path, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sr_vfail(err, code, path, fmt, ap);
    va_end(ap);
    if (err == NULL)
        return -1;
    err->line = line;
    err->column = column;
    return -1;
}

void policy_document_place(const char *text, size_t offset, unsigned *line, unsigned *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)text[i] & 0xC0) !=
                   0x80) { /* bytes inside a character do not count */
            ++*column;
        }
    }
}
