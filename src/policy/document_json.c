/* JSON into the tree: the strict scanner of src/common judges the text; the walk over what it found
 * good only has to follow it and to count lines. */
#include "common/json_text.h"
#include "common/json_unit.h"
#include "policy/document.h"

#include <string.h>

struct walk {
    struct policy_arena *arena;
    const char *at, *end;
    unsigned line, column;
    struct sr_buf text; /* scratch for decoded strings */
    struct policy_node_stack stack;
};

static void step(struct walk *walk)
{
    unsigned char c = (unsigned char)*walk->at++;
    if (c == '\n') {
        walk->line++;
        walk->column = 1;
    } else if ((c & 0xC0) != 0x80) { /* bytes inside a character do not count */
        walk->column++;
    }
}

static void skip_space(struct walk *walk)
{
    while (walk->at < walk->end && strchr(" \t\r\n", *walk->at) != NULL)
        step(walk);
}

static bool string_node(struct walk *walk)
{
    const char *start = walk->at;
    unsigned line = walk->line, column = walk->column;
    step(walk);
    while (*walk->at != '"') {
        if (*walk->at == '\\')
            step(walk);
        step(walk);
    }
    step(walk);
    walk->text.len = 0;
    sr_json_string((struct sr_json_slice){start, (size_t)(walk->at - start)}, &walk->text);
    if (!sr_buf_ok(&walk->text))
        return false;
    return policy_node_push(&walk->stack,
                            policy_node_scalar(walk->arena, POLICY_SCALAR_STRING,
                                               walk->text.data == NULL ? "" : walk->text.data,
                                               walk->text.len, line, column));
}

static bool word_node(struct walk *walk)
{
    const char *start = walk->at;
    unsigned line = walk->line, column = walk->column;
    enum policy_scalar_form form = *start == 't' || *start == 'f' ? POLICY_SCALAR_BOOL
                                   : *start == 'n'                ? POLICY_SCALAR_NULL
                                                                  : POLICY_SCALAR_NUMBER;
    while (walk->at < walk->end && strchr(" \t\r\n,]}", *walk->at) == NULL)
        step(walk);
    return policy_node_push(
        &walk->stack,
        policy_node_scalar(walk->arena, form, start, (size_t)(walk->at - start), line, column));
}

/* Recursion is bounded by the scanner's SR_JSON_MAX_DEPTH. */
static bool value_node(struct walk *walk) // NOLINT(misc-no-recursion)
{
    if (*walk->at == '"')
        return string_node(walk);
    if (*walk->at != '{' && *walk->at != '[')
        return word_node(walk);
    bool map = *walk->at == '{';
    unsigned line = walk->line, column = walk->column;
    size_t first = walk->stack.depth;
    step(walk);
    for (skip_space(walk); *walk->at != '}' && *walk->at != ']'; skip_space(walk)) {
        if (*walk->at == ',') {
            step(walk);
            continue;
        }
        if (map) {
            if (!string_node(walk))
                return false;
            skip_space(walk);
            step(walk); /* the colon */
            skip_space(walk);
        }
        if (!value_node(walk))
            return false;
    }
    step(walk);
    struct policy_node *node =
        policy_node_collection(walk->arena, map ? POLICY_NODE_MAP : POLICY_NODE_LIST,
                               walk->stack.items + first, walk->stack.depth - first, line, column);
    walk->stack.depth = first;
    return policy_node_push(&walk->stack, node);
}

int policy_document_parse_json(struct policy_arena *arena, const char *text, size_t len,
                               struct policy_node **root, struct sr_error *err)
{
    struct walk walk = {.arena = arena, .at = text, .end = text + len, .line = 1, .column = 1};
    unsigned line, column;
    skip_space(&walk);
    struct sr_json_scan scan;
    size_t start = (size_t)(walk.at - text);
    enum sr_json_result result =
        sr_json_scan(walk.at, len - start, SR_JSON_LAST | SR_JSON_REPEATS, &scan);
    if (result != SR_JSON_OK) {
        policy_document_place(text, result == SR_JSON_BAD ? start + scan.error_at : len, &line,
                              &column);
        policy_fail_at(err, SR_POL_002, line, column, "policy", "not valid JSON: %s",
                       result == SR_JSON_BAD ? scan.error
                                             : "the document ends before its value does");
        if (err != NULL)
            strcpy(err->hint,
                   "a document that begins with {\" is read as JSON, which has no comments "
                   "and no comma before a bracket");
        return -1;
    }
    bool ok = value_node(&walk) && walk.stack.items != NULL;
    if (ok)
        *root = walk.stack.items[0];
    free(walk.stack.items);
    sr_buf_free(&walk.text);
    if (!ok)
        return sr_fail(err, SR_POL_001, "policy", "out of memory");
    skip_space(&walk);
    if (walk.at < walk.end)
        return policy_fail_at(err, SR_POL_002, walk.line, walk.column, "policy",
                              "not valid JSON: there is more behind the document's value");
    return 0;
}
