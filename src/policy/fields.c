#include "common/nearest.h"
#include "common/printable.h"
#include "policy/check.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void policy_path_render(const struct policy_path *path, char *text, size_t size)
{
    const struct policy_path *parts[POLICY_DOCUMENT_MAX_DEPTH];
    size_t count = 0, len = 0;
    for (; path != NULL && count < POLICY_DOCUMENT_MAX_DEPTH; path = path->parent)
        parts[count++] = path;
    text[0] = '\0';
    while (count > 0 && len < size) {
        const struct policy_path *part = parts[--count];
        int n = part->name == NULL
                    ? snprintf(text + len, size - len, "[%zu]", part->index)
                    : snprintf(text + len, size - len, "%s%s", len > 0 ? "." : "", part->name);
        len += n > 0 ? (size_t)n : 0;
    }
}

static struct sr_error *add(struct policy_checker *checker, struct policy_findings *findings)
{
    if (findings->count == findings->cap) {
        size_t cap = findings->cap == 0 ? 8 : findings->cap * 2;
        struct sr_error *grown = realloc(findings->items, cap * sizeof *grown);
        if (grown == NULL) {
            checker->out_of_memory = true;
            return NULL;
        }
        findings->items = grown;
        findings->cap = cap;
    }
    return &findings->items[findings->count++];
}

__attribute__((format(printf, 6, 0))) static void
report(struct policy_checker *checker, struct policy_findings *findings, enum sr_code code,
       const struct policy_path *path, const struct policy_node *node, const char *fmt, va_list ap)
{
    if (findings->full)
        return;
    struct sr_error *item = add(checker, findings);
    if (item == NULL)
        return;
    char where[sizeof item->path];
    policy_path_render(path, where, sizeof where);
    sr_vfail(item, code, where[0] != '\0' ? where : "policy", fmt, ap);
    if (node != NULL) {
        item->line = node->line;
        item->column = node->column;
    }
    if (findings->count > POLICY_FINDINGS_MAX) {
        findings->full = true;
        snprintf(item->message, sizeof item->message, "and more: only the first %d are shown",
                 POLICY_FINDINGS_MAX);
    }
}

void policy_check_error(struct policy_checker *checker, enum sr_code code,
                        const struct policy_path *path, const struct policy_node *node,
                        const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(checker, &checker->errors, code, path, node, fmt, ap);
    va_end(ap);
}

void policy_check_warn(struct policy_checker *checker, enum sr_code code,
                       const struct policy_path *path, const struct policy_node *node,
                       const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(checker, &checker->warnings, code, path, node, fmt, ap);
    va_end(ap);
}

void policy_check_hint(struct policy_checker *checker, const char *fmt, ...)
{
    if (checker->errors.count == 0 || checker->errors.full)
        return;
    struct sr_error *last = &checker->errors.items[checker->errors.count - 1];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(last->hint, sizeof last->hint, fmt, ap);
    va_end(ap);
    sr_make_printable(last->hint);
}

bool policy_node_is_null(const struct policy_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (node->kind != POLICY_NODE_SCALAR || node->form == POLICY_SCALAR_STRING ||
        strchr("~nN", node->text[0]) == NULL)
        return false; /* strchr() finds the NUL of an empty text too */
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++)
        if (strcmp(node->text, nulls[i]) == 0)
            return true;
    return false;
}

static const char *kind_name(const struct policy_node *node)
{
    if (policy_node_is_null(node))
        return "null";
    static const char *const forms[] = {[POLICY_SCALAR_PLAIN] = "a plain value",
                                        [POLICY_SCALAR_STRING] = "a text",
                                        [POLICY_SCALAR_NUMBER] = "a number",
                                        [POLICY_SCALAR_BOOL] = "true or false"};
    if (node->kind == POLICY_NODE_SCALAR)
        return forms[node->form];
    return node->kind == POLICY_NODE_LIST ? "a list" : "a map";
}

static void report_missing(struct policy_checker *checker, const struct policy_path *path,
                           const struct policy_node *place)
{
    policy_check_error(checker, SR_POL_001, path, place, "this field is required");
}

static void report_unknown(struct policy_checker *checker, const struct policy_node *key,
                           const struct policy_path *path, const char *const *known)
{
    const struct policy_path at = {path, key->text, 0};
    if (strlen(key->text) != key->len) {
        policy_check_error(checker, SR_POL_002, &at, key,
                           "a name must not contain a NUL character");
        return;
    }
    policy_check_error(checker, SR_POL_002, &at, key, "there is no such field");
    const char *nearest = sr_nearest_name(key->text, known);
    if (nearest != NULL)
        policy_check_hint(checker, "did you mean '%s'?", nearest);
    else if (policy_node_is(key, "<<"))
        policy_check_hint(checker,
                          "YAML's merge keys are not read; an alias stands for a whole value");
}

bool policy_field_map(struct policy_checker *checker, const struct policy_node *node,
                      const struct policy_path *path, const char *const *known, bool required,
                      const struct policy_node *place)
{
    if (node == NULL) {
        if (required)
            report_missing(checker, path, place);
        return false;
    }
    if (node->kind != POLICY_NODE_MAP) {
        policy_check_error(checker, SR_POL_002, path, node, "must be a map of fields, not %s",
                           kind_name(node));
        return false;
    }
    size_t state = 0;
    const struct policy_node *key;
    while ((key = policy_node_repeated_key(node, &state)) != NULL)
        policy_check_error(checker, SR_POL_002, &(struct policy_path){path, key->text, 0}, key,
                           "this key is given twice");
    for (size_t i = 0; known != NULL && i < node->count; i++) {
        key = node->items[2 * i];
        size_t k = 0;
        while (known[k] != NULL && (known[k][0] != key->text[0] || !policy_node_is(key, known[k])))
            k++;
        if (known[k] == NULL)
            report_unknown(checker, key, path, known);
    }
    return true;
}

bool policy_field_list(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path, bool required,
                       const struct policy_node *place)
{
    if (node == NULL) {
        if (required) {
            report_missing(checker, path, place);
            policy_check_hint(checker, "an empty list is written []");
        }
        return false;
    }
    if (node->kind == POLICY_NODE_LIST)
        return true;
    policy_check_error(checker, SR_POL_002, path, node, "must be a list, not %s", kind_name(node));
    policy_check_hint(checker, "an empty list is written []");
    return false;
}

bool policy_field_at_most(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *path, size_t max)
{
    if (node->count <= max)
        return true;
    policy_check_error(checker, SR_POL_002, path, node, "has %zu items; at most %zu are allowed",
                       node->count, max);
    return false;
}

const char *policy_field_any_text(struct policy_checker *checker, const struct policy_node *node,
                                  const struct policy_path *path)
{
    bool text = node->kind == POLICY_NODE_SCALAR &&
                (node->form == POLICY_SCALAR_STRING || node->form == POLICY_SCALAR_PLAIN);
    if (text && node->form == POLICY_SCALAR_PLAIN && policy_node_is_null(node)) {
        policy_check_error(checker, SR_POL_002, path, node, "must be a text, not null");
        policy_check_hint(checker, "an empty text is written \"\"");
        return NULL;
    }
    if (!text) {
        policy_check_error(checker, SR_POL_002, path, node, "must be a text, not %s",
                           kind_name(node));
        return NULL;
    }
    if (memchr(node->text, '\0', node->len) != NULL) {
        policy_check_error(checker, SR_POL_002, path, node, "must not contain a NUL character");
        return NULL;
    }
    return node->text;
}

const char *policy_field_text(struct policy_checker *checker, const struct policy_node *node,
                              const struct policy_path *path, bool required,
                              const struct policy_node *place)
{
    if (node == NULL) {
        if (required)
            report_missing(checker, path, place);
        return NULL;
    }
    if (node->kind == POLICY_NODE_SCALAR && node->form == POLICY_SCALAR_PLAIN &&
        policy_node_is_null(node)) {
        policy_check_error(checker, SR_POL_001, path, node, "must not be blank");
        return NULL;
    }
    const char *text = policy_field_any_text(checker, node, path);
    if (text != NULL && text[strspn(text, " \t\r\n\v\f")] == '\0') {
        policy_check_error(checker, SR_POL_001, path, node, "must not be blank");
        return NULL;
    }
    return text;
}

bool policy_field_integer(struct policy_checker *checker, const struct policy_node *node,
                          const struct policy_path *path, enum sr_code code, uint64_t min,
                          uint64_t max, uint64_t *value)
{
    bool number = node->kind == POLICY_NODE_SCALAR &&
                  (node->form == POLICY_SCALAR_PLAIN || node->form == POLICY_SCALAR_NUMBER);
    bool digits = number && node->len > 0 && strspn(node->text, "0123456789") == node->len;
    if (!digits || (node->text[0] == '0' && node->len > 1)) {
        policy_check_error(checker, code, path, node, "must be a whole number from %ju to %ju",
                           (uintmax_t)min, (uintmax_t)max);
        if (node->kind == POLICY_NODE_SCALAR && node->form == POLICY_SCALAR_STRING)
            policy_check_hint(checker, "write the number without quotes");
        return false;
    }
    uint64_t sum = 0;
    for (const char *at = node->text; *at != '\0' && sum <= max; at++)
        sum = sum * 10 + (uint64_t)(*at - '0');
    if (node->len > 18 || sum < min || sum > max) {
        policy_check_error(checker, code, path, node, "must be from %ju to %ju", (uintmax_t)min,
                           (uintmax_t)max);
        return false;
    }
    *value = sum;
    return true;
}

bool policy_field_bool(struct policy_checker *checker, const struct policy_node *node,
                       const struct policy_path *path, bool *value)
{
    bool may = node->kind == POLICY_NODE_SCALAR &&
               (node->form == POLICY_SCALAR_PLAIN || node->form == POLICY_SCALAR_BOOL);
    if (may && (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)) {
        *value = node->text[0] == 't';
        return true;
    }
    policy_check_error(checker, SR_POL_002, path, node, "must be true or false");
    return false;
}

int policy_field_choice(struct policy_checker *checker, const struct policy_node *node,
                        const struct policy_path *path, const char *const *names, enum sr_code code,
                        bool required, const struct policy_node *place)
{
    const char *text = policy_field_text(checker, node, path, required, place);
    if (text == NULL)
        return -1;
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    char list[96] = "";
    for (int i = 0; names[i] != NULL; i++) {
        size_t len = strlen(list);
        snprintf(list + len, sizeof list - len, "%s%s", i > 0 ? " or " : "", names[i]);
    }
    policy_check_error(checker, code, path, node, "must be %s", list);
    const char *nearest = sr_nearest_name(text, names);
    if (nearest != NULL)
        policy_check_hint(checker, "did you mean '%s'?", nearest);
    return -1;
}

/* Each unit in its canonical spelling, and as container engines write it; both are powers of
 * 1024. */
static const struct {
    char written[3], canonical[3];
    unsigned shift;
} size_units[] = {{"Ki", "Ki", 10}, {"Mi", "Mi", 20}, {"Gi", "Gi", 30},
                  {"K", "Ki", 10},  {"M", "Mi", 20},  {"G", "Gi", 30}};

const char *policy_field_size(struct policy_checker *checker, const struct policy_node *node,
                              const struct policy_path *path, bool required, bool zero_ok,
                              const struct policy_node *place, uint64_t *bytes)
{
    if (zero_ok && node != NULL && node->kind == POLICY_NODE_SCALAR && policy_node_is(node, "0")) {
        *bytes = 0;
        return "0";
    }
    bool number =
        node != NULL && node->kind == POLICY_NODE_SCALAR && node->form == POLICY_SCALAR_NUMBER;
    const char *text =
        number ? node->text : policy_field_text(checker, node, path, required, place);
    if (text == NULL)
        return NULL;
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < sizeof size_units / sizeof size_units[0]; i++) {
        /* 12 digits of Gi are beyond every machine and below 2^70; of them only 2^53 bytes count.
         */
        if (digits == 0 || digits > 12 || text[0] == '0' ||
            strcmp(text + digits, size_units[i].written) != 0)
            continue;
        uint64_t value = strtoull(text, NULL, 10);
        if (value > (UINT64_C(1) << 53) >> size_units[i].shift)
            break;
        *bytes = value << size_units[i].shift;
        char canonical[20];
        int len = snprintf(canonical, sizeof canonical, "%.*s%s", (int)digits, text,
                           size_units[i].canonical);
        const char *copy = policy_arena_text(&checker->arena, canonical, (size_t)len);
        checker->out_of_memory = checker->out_of_memory || copy == NULL;
        return copy;
    }
    policy_check_error(checker, SR_POL_002, path, node,
                       "must be a size like 256Mi (an integer and Ki, Mi or Gi)");
    if (digits > 0 && text[digits] == '\0')
        policy_check_hint(checker, "the unit is missing; Mi are mebibytes");
    return NULL;
}

static int compare_pairs(const void *a, const void *b)
{
    return strcmp(((const struct sr_pair *)a)->key, ((const struct sr_pair *)b)->key);
}

bool policy_field_pair(struct policy_checker *checker, const struct policy_node *key,
                       const struct policy_node *value, const struct policy_path *path,
                       const char *forbidden, struct sr_pair *pair)
{
    const struct policy_path at = {path, key->text, 0};
    if (key->len == 0 || memchr(key->text, '\0', key->len) != NULL)
        policy_check_error(checker, SR_POL_002, &at, key,
                           "a name must not be empty or contain a NUL character");
    else if (key->text[strcspn(key->text, forbidden)] != '\0')
        policy_check_error(checker, SR_POL_002, &at, key, "a name must not contain '%c'",
                           key->text[strcspn(key->text, forbidden)]);
    *pair = (struct sr_pair){key->text, policy_field_any_text(checker, value, &at)};
    return pair->value != NULL;
}

void policy_pairs_sort(struct sr_pair *pairs, size_t count)
{
    qsort(pairs, count, sizeof *pairs, compare_pairs);
}

void policy_field_pairs(struct policy_checker *checker, const struct policy_node *node,
                        const struct policy_path *path, const char *forbidden,
                        const struct sr_pair **pairs, size_t *count)
{
    if (!policy_field_map(checker, node, path, NULL, false, NULL))
        return;
    struct sr_pair *list = policy_arena_alloc(&checker->arena, node->count * sizeof *list);
    if (list == NULL) {
        checker->out_of_memory = true;
        return;
    }
    size_t good = 0;
    for (size_t i = 0; i < node->count; i++)
        good += policy_field_pair(checker, node->items[2 * i], node->items[2 * i + 1], path,
                                  forbidden, &list[good]);
    policy_pairs_sort(list, good);
    *pairs = list;
    *count = good;
}
