#include "policy/document.h"

#include "common/json_unit.h"

#include <string.h>

/* Characters that make YAML say one thing to libyaml and another to its reader: line ends to YAML
 * 1.1 and letters to YAML 1.2, JSON and editors (U+0085, U+2028, U+2029), and those that change the
 * direction of writing (U+202A to U+202E, U+2066 to U+2069: UAX #9), with which a comment can be
 * shown as a field. */
static const char *misleading_fault(const char *text, int n)
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
    return yaml && n > 1 ? misleading_fault(text, n) : NULL;
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
            policy_document_place(text, i, &line, &column);
            policy_fail_at(err, SR_POL_002, line, column, "policy", "%s", fault);
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

int policy_document_parse(struct policy_arena *arena, const char *text, size_t len,
                          struct policy_node **root, struct sr_error *err)
{
    if (len >= 3 &&
        memcmp(text, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark says nothing about UTF-8 */
        text += 3;
        len -= 3;
    }
    size_t start = skip_space(text, len, 0);
    if (start == len)
        return policy_fail_at(err, SR_POL_001, 1, 1, "policy", "the document is empty");
    bool json = is_json(text, len, start);
    if (check_bytes(text, len, !json, err) < 0)
        return -1;
    if (json)
        return policy_document_parse_json(arena, text, len, root, err);
    return policy_document_parse_yaml(arena, text, len, root, err);
}
