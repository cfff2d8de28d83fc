#include "archive/named.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a of 64 bits. */
static uint64_t hash(uint64_t from, struct sr_json_slice value)
{
    for (size_t i = 0; i < value.len; i++)
        from = (from ^ (unsigned char)value.text[i]) * UINT64_C(0x100000001b3);
    return from;
}

static uint64_t place_of(struct sr_json_slice payload)
{
    return hash(UINT64_C(0xcbf29ce484222325), sr_json_get(payload, "target"));
}

static uint64_t service_of(struct sr_json_slice payload)
{
    return hash(hash(place_of(payload), sr_json_get(payload, "protocol")),
                sr_json_get(payload, "port"));
}

void archive_named_free(struct archive_named *named)
{
    free(named->rules);
    sr_buf_free(&named->names);
    *named = (struct archive_named){0};
}

static bool grow(struct archive_named *named)
{
    size_t cap = named->cap == 0 ? 64 : named->cap * 2;
    struct archive_named_rule *grown = realloc(named->rules, cap * sizeof *grown);
    if (grown == NULL)
        return false;
    named->rules = grown;
    named->cap = cap;
    return true;
}

int archive_named_add(struct archive_named *named, struct sr_json_slice payload)
{
    struct sr_json_slice host = sr_json_get(payload, "host");
    int64_t port = 0;
    if (!sr_json_is_string(host) || host.len > 300)
        return 0;
    if (named->count == ARCHIVE_NAMED_MAX) {
        named->truncated = true;
        return 0;
    }
    if (named->count == named->cap && !grow(named))
        return -1;
    (void)sr_json_integer(sr_json_get(payload, "port"), &port);
    uint64_t place = place_of(payload);
    uint32_t *slot = &named->slots[place % ARCHIVE_NAMED_SLOTS];
    named->rules[named->count++] = (struct archive_named_rule){.service = service_of(payload),
                                                               .place = place,
                                                               .name = (uint32_t)named->names.len,
                                                               .next = *slot,
                                                               .port = port};
    *slot = (uint32_t)named->count;
    sr_json_string(host, &named->names);
    sr_buf_append(&named->names, "", 1);
    return sr_buf_ok(&named->names) ? 0 : -1;
}

int archive_named_each(struct archive_named *named, struct sr_json_slice payload,
                       enum archive_named_kind kind, archive_named_on_name *on_name, void *context)
{
    uint64_t place = place_of(payload), service = service_of(payload);
    int result = 0;
    for (uint32_t at = named->slots[place % ARCHIVE_NAMED_SLOTS]; result == 0 && at != 0;) {
        struct archive_named_rule *rule = &named->rules[at - 1];
        if (named->work++ == ARCHIVE_NAMED_WORK) {
            named->work--;
            named->truncated = true;
            break;
        }
        bool belongs =
            rule->place == place && (kind == ARCHIVE_NAMED_DENIED || rule->service == service);
        if (belongs && !rule->told[kind]) {
            rule->told[kind] = true;
            result = on_name(context, named->names.data + rule->name, rule->port);
        }
        at = rule->next;
    }
    return result;
}
