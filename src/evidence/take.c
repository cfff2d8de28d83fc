#include "evidence/take.h"

#include "common/printable.h"
#include "common/timestamp.h"

#include <stdio.h>
#include <string.h>

void evidence_take_string(struct sr_json_slice value, char *text, size_t size)
{
    text[0] = '\0';
    if (!sr_json_is_string(value))
        return;
    sr_cleanup_buf struct sr_buf decoded = SR_BUF_INIT;
    sr_json_string(value, &decoded);
    if (!sr_buf_ok(&decoded))
        return;
    bool cut = decoded.len >= size;
    size_t len = cut ? size - 1 : decoded.len;
    memcpy(text, decoded.data, len);
    text[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\0')
            text[i] = '?';
    sr_make_printable(text);
    len = strlen(text);
    if (cut && size > 4) { /* room for the dots may be in the middle of a character */
        if (len > size - 4)
            len = size - 4;
        text[len] = '\0';
        sr_make_printable(text);
        memcpy(text + strlen(text), "...", 4);
    }
}

void evidence_take_key(struct sr_json_slice key, char *text, size_t size)
{
    evidence_take_string(sr_json_quoted(key), text, size);
}

void evidence_take_text(struct sr_json_slice object, const char *name, char *text, size_t size)
{
    evidence_take_string(sr_json_get(object, name), text, size);
}

bool evidence_join_text(const char *item, char *text, size_t size)
{
    size_t len = strlen(text), room = size - len;
    bool fits = strlen(item) + sizeof ", , ..." <= room;
    snprintf(text + len, room, "%s%s", len > 0 ? ", " : "", fits ? item : "...");
    return fits;
}

int64_t evidence_take_number(struct sr_json_slice object, const char *name)
{
    int64_t number;
    return sr_json_integer(sr_json_get(object, name), &number) ? number : -1;
}

int64_t evidence_take_time(struct sr_json_slice object, const char *name)
{
    struct sr_json_slice value = sr_json_get(object, name);
    int64_t nsec;
    return sr_json_is_string(value) && sr_timestamp_parse(value.text + 1, value.len - 2, &nsec)
               ? nsec
               : 0;
}
