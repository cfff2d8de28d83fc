#include "policy/document.h"

#include "common/json_unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sr_arena_chunk {
    struct sr_arena_chunk *before;
    uint64_t data[];
};

void *sr_arena_alloc(struct sr_arena *arena, size_t size)
{
    size = (size + sizeof(uint64_t) - 1) / sizeof(uint64_t) * sizeof(uint64_t);
    if (arena->chunk == NULL || size > arena->size - arena->used) {
        size_t room = arena->chunk == NULL ? 16 * 1024 : 256 * 1024;
        room = size > room ? size : room;
        struct sr_arena_chunk *chunk = malloc(sizeof *chunk + room);
        if (chunk == NULL)
            return NULL;
        chunk->before = arena->chunk;
        *arena = (struct sr_arena){.chunk = chunk, .size = room};
    }
    void *memory = (char *)arena->chunk->data + arena->used;
    arena->used += size;
    return memory;
}

char *sr_arena_text(struct sr_arena *arena, const char *text, size_t len)
{
    char *copy = sr_arena_alloc(arena, len + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void sr_arena_free(struct sr_arena *arena)
{
    while (arena->chunk != NULL) {
        struct sr_arena_chunk *before = arena->chunk->before;
        free(arena->chunk);
        arena->chunk = before;
    }
    *arena = (struct sr_arena){0};
}

struct sr_node *sr_node_scalar(struct sr_arena *arena, enum sr_scalar_form form, const char *text,
                               size_t len, unsigned line, unsigned column)
{
    struct sr_node *node =
        sr_arena_alloc(arena, sizeof *node + len + 1); /* its text lies behind it */
    if (node == NULL)
        return NULL;
    char *copy = (char *)(node + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    *node = (struct sr_node){
        .kind = SR_NODE_SCALAR, .form = form, .line = line, .column = column, .nodes = 1};
    node->text = copy;
    node->len = len;
    return node;
}

bool sr_node_push(struct sr_node_stack *stack, struct sr_node *node)
{
    if (node == NULL)
        return false;
    if (stack->items == NULL || stack->depth == stack->cap) {
        size_t cap = stack->cap == 0 ? 64 : stack->cap * 2;
        struct sr_node **grown = realloc(stack->items, cap * sizeof(struct sr_node *));
        if (grown == NULL)
            return false;
        stack->items = grown;
        stack->cap = cap;
    }
    stack->items[stack->depth++] = node;
    return true;
}

static bool same_key(const struct sr_node *a, const struct sr_node *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static int compare_keys(const void *a, const void *b)
{
    const struct sr_node *x = *(const struct sr_node *const *)a,
                         *y = *(const struct sr_node *const *)b;
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
static bool mark_repeated(struct sr_node *const *items, size_t item_count)
{
    size_t count = item_count / 2;
    if (count <= 16) {
        for (size_t i = 1; i < count; i++)
            for (size_t j = 0; j < i && !items[2 * i]->repeated; j++)
                items[2 * i]->repeated = same_key(items[2 * j], items[2 * i]);
        return true;
    }
    sr_cleanup_free struct sr_node **keys = malloc(count * sizeof *keys);
    if (keys == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        keys[i] = items[2 * i];
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 1; i < count; i++)
        keys[i]->repeated = same_key(keys[i - 1], keys[i]);
    return true;
}

struct sr_node *sr_node_collection(struct sr_arena *arena, enum sr_node_kind kind,
                                   struct sr_node *const *items, size_t item_count, unsigned line,
                                   unsigned column)
{
    struct sr_node *node = sr_arena_alloc(arena, sizeof *node);
    struct sr_node **copy = sr_arena_alloc(arena, item_count * sizeof *copy);
    if (node == NULL || copy == NULL || (kind == SR_NODE_MAP && !mark_repeated(items, item_count)))
        return NULL;
    *node = (struct sr_node){.kind = kind, .line = line, .column = column, .nodes = 1};
    for (size_t i = 0; i < item_count; i++) {
        copy[i] = items[i];
        if (__builtin_add_overflow(node->nodes, items[i]->nodes, &node->nodes))
            node->nodes = UINT32_MAX;
    }
    node->items = copy;
    node->count = kind == SR_NODE_MAP ? item_count / 2 : item_count;
    return node;
}

const struct sr_node *sr_node_find(const struct sr_node *map, const char *key, size_t len)
{
    for (size_t i = 0; i < map->count; i++) {
        const struct sr_node *name = map->items[2 * i];
        if (name->len == len && memcmp(name->text, key, len) == 0)
            return map->items[2 * i + 1];
    }
    return NULL;
}

const struct sr_node *sr_node_repeated_key(const struct sr_node *map, size_t *state)
{
    while (*state < map->count) {
        const struct sr_node *key = map->items[2 * (*state)++];
        if (key->repeated)
            return key;
    }
    return NULL;
}

int sr_fail_at(struct sr_error *err, enum sr_code code, unsigned line, unsigned column,
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

void sr_document_place(const char *text, size_t offset, unsigned *line, unsigned *column)
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

/* Characters that make YAML say one thing to libyaml and another to its reader: line ends to YAML
 * 1.1 and letters to YAML 1.2, JSON and editors (U+0085, U+2028, U+2029), and those that change the
 * direction of writing (U+202A to U+202E, U+2066 to U+2069: UAX #9), with which a comment can be
 * shown as a field. */
static const char *deceit(const char *text, int n)
{
    const unsigned char *u = (const unsigned char *)text;
    bool general = n == 3 && u[0] == 0xE2;
    if ((n == 2 && u[0] == 0xC2 && u[1] == 0x85) ||
        (general && u[1] == 0x80 && (u[2] == 0xA8 || u[2] == 0xA9)))
        return "some readers of YAML take this character for the end of a line; write it as an "
               "escape (\"\\u2028\")";
    if (general && ((u[1] == 0x80 && u[2] >= 0xAA && u[2] <= 0xAE) ||
                    (u[1] == 0x81 && u[2] >= 0xA6 && u[2] <= 0xA9)))
        return "this character changes the direction of writing, which hides what a policy says; "
               "write it as an escape (\"\\u202e\")";
    return NULL;
}

/* What is wrong with the character of n bytes (-1 or 0: it is none) at text, or NULL. JSON is left
 * as RFC 8259 has it: DEL may stand in its strings, and canonical JSON has it there. */
static const char *character_fault(const char *text, size_t len, int n, bool yaml)
{
    unsigned char c = (unsigned char)text[0];
    if (n <= 0)
        return "the document is not valid UTF-8";
    if (c == 0)
        return "the document has a NUL byte";
    if ((c < ' ' && c != '\t' && c != '\r') || (yaml && c == 0x7f))
        return "the document has a control character; a text may hold it as an escape";
    if (yaml && c == '\r' && (len < 2 || text[1] != '\n'))
        return "this carriage return ends a line for YAML, but not for other programs; end lines "
               "with a line feed";
    return yaml && n > 1 ? deceit(text, n) : NULL;
}

/* Both languages: UTF-8 (RFC 3629) without control characters. */
static int check_bytes(const char *text, size_t len, bool yaml, struct sr_error *err)
{
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        if ((c >= ' ' && c < 0x7f) || c == '\n') {
            i++;
            continue;
        }
        int n = c < 0x80 ? 1 : sr_json_utf8(text + i, len - i);
        const char *fault = character_fault(text + i, len - i, n, yaml);
        if (fault != NULL) {
            unsigned line, column;
            sr_document_place(text, i, &line, &column);
            sr_fail_at(err, SR_POL_002, line, column, "policy", "%s", fault);
            bool utf16 = i == 0 && len > 1 &&
                         (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0);
            if (utf16 && err != NULL)
                strcpy(err->hint, "it is UTF-16; save it as UTF-8");
            return -1;
        }
        i += (size_t)n;
    }
    return 0;
}

static size_t skip_space(const char *text, size_t len, size_t at)
{
    while (at < len &&
           (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r'))
        at++;
    return at;
}

/* In JSON a text or the end follows the first brace. With anything else there it is one of YAML's
 * flow mappings. */
static bool is_json(const char *text, size_t len, size_t start)
{
    if (text[start] != '{')
        return false;
    size_t next = skip_space(text, len, start + 1);
    return next == len || text[next] == '"' || text[next] == '}';
}

int sr_document_parse(struct sr_arena *arena, const char *text, size_t len, struct sr_node **root,
                      struct sr_error *err)
{
    if (len >= 3 &&
        memcmp(text, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark says nothing about UTF-8 */
        text += 3;
        len -= 3;
    }
    size_t start = skip_space(text, len, 0);
    if (start == len)
        return sr_fail_at(err, SR_POL_001, 1, 1, "policy", "the document is empty");
    bool json = is_json(text, len, start);
    if (check_bytes(text, len, !json, err) < 0)
        return -1;
    if (json)
        return sr_document_parse_json(arena, text, len, root, err);
    return sr_document_parse_yaml(arena, text, len, root, err);
}
