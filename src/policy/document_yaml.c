/* YAML into the tree, from libyaml's events. */
#include "policy/document.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* More than any document needs; each alias is looked up among them one by one. */
#define MAX_ANCHORS 1000

static const char no_tags[] = "tags are not allowed; the field decides the type";

struct anchor {
    struct anchor *next;
    const char *name;
    struct policy_node *node; /* NULL while it is being read: an alias to it would be a cycle */
};

struct open_collection {
    enum policy_node_kind kind;
    unsigned line, column;
    size_t first; /* of its children on the stack */
    struct anchor *anchor;
};

struct reader {
    struct policy_arena *arena;
    struct sr_error *err;
    const char *text; /* the document */
    size_t len;
    struct policy_node_stack stack; /* children of collections still open */
    struct open_collection *open;   /* POLICY_DOCUMENT_MAX_DEPTH of them */
    size_t open_count;
    struct anchor *anchors;
    unsigned anchor_count;
    uint32_t aliased;
    bool have_document;
};

static int refuse(struct reader *reader, const yaml_mark_t *mark, const char *what)
{
    return policy_fail_at(reader->err, SR_POL_002, (unsigned)mark->line + 1,
                          (unsigned)mark->column + 1, "policy", "%s", what);
}

static int no_memory(struct reader *reader)
{
    return sr_fail(reader->err, SR_POL_001, "policy", "out of memory");
}

static int push(struct reader *reader, struct policy_node *node)
{
    return policy_node_push(&reader->stack, node) ? 0 : no_memory(reader);
}

/* True when the next node is a key of the innermost map. */
static bool at_key(const struct reader *reader)
{
    if (reader->open_count == 0)
        return false;
    const struct open_collection *open = &reader->open[reader->open_count - 1];
    return open->kind == POLICY_NODE_MAP && (reader->stack.depth - open->first) % 2 == 0;
}

/* Remembers an anchor (*anchor NULL when there is none); a name may be used again, the latest
 * counts. */
static int new_anchor(struct reader *reader, const yaml_mark_t *mark, const yaml_char_t *name,
                      struct anchor **anchor)
{
    *anchor = NULL;
    if (name == NULL)
        return 0;
    if (reader->anchor_count++ == MAX_ANCHORS)
        return refuse(reader, mark, "the document has more than 1000 anchors");
    struct anchor *made = policy_arena_alloc(reader->arena, sizeof *made);
    const char *copy =
        policy_arena_text(reader->arena, (const char *)name, strlen((const char *)name));
    if (made == NULL || copy == NULL)
        return no_memory(reader);
    *made = (struct anchor){.next = reader->anchors, .name = copy};
    reader->anchors = made;
    *anchor = made;
    return 0;
}

static int take_scalar(struct reader *reader, const yaml_event_t *event)
{
    if (event->data.scalar.tag != NULL)
        return refuse(reader, &event->start_mark, no_tags);
    struct anchor *anchor;
    if (new_anchor(reader, &event->start_mark, event->data.scalar.anchor, &anchor) < 0)
        return -1;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    struct policy_node *node = policy_node_scalar(
        reader->arena, plain ? POLICY_SCALAR_PLAIN : POLICY_SCALAR_STRING,
        (const char *)event->data.scalar.value, event->data.scalar.length,
        (unsigned)event->start_mark.line + 1, (unsigned)event->start_mark.column + 1);
    if (anchor != NULL)
        anchor->node = node;
    return push(reader, node);
}

static int take_alias(struct reader *reader, const yaml_event_t *event)
{
    const struct anchor *anchor = reader->anchors;
    while (anchor != NULL && strcmp(anchor->name, (const char *)event->data.alias.anchor) != 0)
        anchor = anchor->next;
    if (anchor == NULL)
        return refuse(reader, &event->start_mark, "this alias names no anchor before it");
    if (anchor->node == NULL)
        return refuse(reader, &event->start_mark, "this alias stands inside what it names");
    bool key = at_key(reader);
    if (key && anchor->node->kind != POLICY_NODE_SCALAR)
        return refuse(reader, &event->start_mark, "a key must be a plain text");
    if (__builtin_add_overflow(reader->aliased, anchor->node->nodes, &reader->aliased) ||
        reader->aliased > POLICY_DOCUMENT_MAX_ALIASED)
        return refuse(reader, &event->start_mark,
                      "the document's aliases expand to more than 10000 nodes");
    if (!key)
        return push(reader, anchor->node);
    const struct policy_node *text =
        anchor->node; /* a key is a node of its own: it belongs to one map */
    return push(reader, policy_node_scalar(reader->arena, text->form, text->text, text->len,
                                           (unsigned)event->start_mark.line + 1,
                                           (unsigned)event->start_mark.column + 1));
}

static int open_collection(struct reader *reader, enum policy_node_kind kind,
                           const yaml_mark_t *mark, const yaml_char_t *anchor,
                           const yaml_char_t *tag)
{
    if (tag != NULL)
        return refuse(reader, mark, no_tags);
    if (at_key(reader))
        return refuse(reader, mark, "a key must be a plain text");
    if (reader->open_count == POLICY_DOCUMENT_MAX_DEPTH)
        return refuse(reader, mark, "the document nests deeper than 64 levels");
    struct open_collection *open = &reader->open[reader->open_count];
    *open = (struct open_collection){
        .kind = kind,
        .line = (unsigned)mark->line + 1,
        .column = (unsigned)mark->column + 1,
        .first = reader->stack.depth,
    };
    if (new_anchor(reader, mark, anchor, &open->anchor) < 0)
        return -1;
    reader->open_count++;
    return 0;
}

static int close_collection(struct reader *reader)
{
    const struct open_collection *open = &reader->open[--reader->open_count];
    struct policy_node *node =
        policy_node_collection(reader->arena, open->kind, reader->stack.items + open->first,
                               reader->stack.depth - open->first, open->line, open->column);
    reader->stack.depth = open->first;
    if (open->anchor != NULL)
        open->anchor->node = node;
    return push(reader, node);
}

static int take_event(struct reader *reader, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (reader->have_document)
            return refuse(reader, &event->start_mark, "there is more than one document");
        reader->have_document = true;
        return 0;
    case YAML_SCALAR_EVENT:
        return take_scalar(reader, event);
    case YAML_ALIAS_EVENT:
        return take_alias(reader, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_collection(reader, POLICY_NODE_LIST, &event->start_mark,
                               event->data.sequence_start.anchor, event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return open_collection(reader, POLICY_NODE_MAP, &event->start_mark,
                               event->data.mapping_start.anchor, event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_collection(reader);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return 0;
}

/* The column of a tab in the indentation of a line, from 1; 0: there is none. */
static unsigned tab_in_indentation(const struct reader *reader, unsigned line)
{
    const char *at = reader->text, *end = at + reader->len;
    for (; line > 1 && at < end; line--) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline == NULL ? end : newline + 1;
    }
    for (unsigned column = 1; at < end && (*at == ' ' || *at == '\t'); at++, column++)
        if (*at == '\t')
            return column;
    return 0;
}

static int parser_error(struct reader *reader, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return no_memory(reader);
    unsigned line = (unsigned)parser->problem_mark.line + 1,
             column = (unsigned)parser->problem_mark.column + 1;
    if (parser->error == YAML_READER_ERROR) /* it knows bytes, not places */
        policy_document_place(reader->text, parser->problem_offset, &line, &column);
    unsigned tab = tab_in_indentation(reader, line);
    if (tab > 0) {
        policy_fail_at(reader->err, SR_POL_002, line, tab, "policy",
                       "not valid YAML: a tab in the indentation");
        if (reader->err != NULL)
            strcpy(reader->err->hint, "indent with spaces only");
        return -1;
    }
    char context[96] = "";
    if (parser->context != NULL && parser->context_mark.line + 1 < line)
        snprintf(context, sizeof context, ", %s that begins in line %zu", parser->context,
                 parser->context_mark.line + 1);
    else if (parser->context != NULL)
        snprintf(context, sizeof context, ", %s", parser->context);
    policy_fail_at(reader->err, SR_POL_002, line, column, "policy", "not valid YAML: %s%s",
                   parser->problem, context);
    if (reader->err != NULL && parser->context != NULL &&
        strcmp(parser->context, "while scanning for the next token") == 0)
        strcpy(reader->err->hint, "a text that begins with @, ` or % is quoted");
    return -1;
}

static int read_events(struct reader *reader, yaml_parser_t *parser)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return parser_error(reader, parser);
        more = event.type != YAML_STREAM_END_EVENT;
        int result = take_event(reader, &event);
        yaml_event_delete(&event);
        if (result < 0)
            return -1;
    }
    return 0;
}

/* A directive for tags, which are refused anyway; libyaml compares each with all before it. */
static int refuse_tag_directives(const char *text, size_t len, struct sr_error *err)
{
    static const char word[] = "%TAG";
    const char *at = text;
    while ((at = memmem(at, len - (size_t)(at - text), word, strlen(word))) != NULL) {
        unsigned line, column;
        if (at == text || at[-1] == '\n') {
            policy_document_place(text, (size_t)(at - text), &line, &column);
            return policy_fail_at(err, SR_POL_002, line, column, "policy", "%s", no_tags);
        }
        at += strlen(word);
    }
    return 0;
}

int policy_document_parse_yaml(struct policy_arena *arena, const char *text, size_t len,
                               struct policy_node **root, struct sr_error *err)
{
    struct open_collection open[POLICY_DOCUMENT_MAX_DEPTH] = {{0}};
    struct reader reader = {.arena = arena, .err = err, .text = text, .len = len, .open = open};
    if (refuse_tag_directives(text, len, err) < 0)
        return -1;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return no_memory(&reader);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    int result = read_events(&reader, &parser);
    yaml_parser_delete(&parser);
    if (result == 0 && reader.stack.items != NULL && reader.stack.depth > 0)
        *root = reader.stack.items[0];
    else if (result == 0)
        result = policy_fail_at(err, SR_POL_001, 1, 1, "policy", "the document is empty");
    free(reader.stack.items);
    return result;
}
