/* A document, JSON or YAML: a tree within its bounds with a place on every node, or an error with
 * its place. */
#include "policy/document.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Depth is bounded by the readers. */
static void walk(const struct policy_node *node, unsigned depth, unsigned lines)
{
    if (depth > POLICY_DOCUMENT_MAX_DEPTH || node->line < 1 || node->line > lines ||
        node->column < 1)
        abort();
    if (node->kind == POLICY_NODE_SCALAR) {
        if (node->text[node->len] != '\0')
            abort();
        return;
    }
    size_t items = node->kind == POLICY_NODE_MAP ? 2 * node->count : node->count;
    for (size_t i = 0; i < items; i++)
        walk(node->items[i], depth + 1, lines);
    if (node->kind == POLICY_NODE_MAP)
        for (size_t i = 0, state = 0; i < 2; i++)
            (void)policy_node_repeated_key(node, &state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_arena arena = {0};
    struct policy_node *root;
    struct sr_error err = {0};
    unsigned lines = 2; /* an error may stand at the end, behind the last line */
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n' || data[i] == '\r';
    if (policy_document_parse(&arena, (const char *)data, size, &root, &err) == 0)
        walk(root, 0, lines);
    else if (err.line < 1 || err.line > lines || err.column < 1 || strcmp(err.path, "policy") != 0)
        abort();
    policy_arena_free(&arena);
    return 0;
}
