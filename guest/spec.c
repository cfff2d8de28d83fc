#include "spec.h"

#include "end.h"

#include <stdlib.h>
#include <string.h>

/* The blob of a run is received once and kept; init never frees what the command's process needs.
 */
struct blob {
    uint8_t *data;
    size_t len;
};

static char *text_of(const uint8_t *data, size_t len)
{
    char *text = malloc(len + 1);
    if (text == NULL)
        die("out of memory for the specification");
    memcpy(text, data, len);
    text[len] = '\0';
    return text;
}

static void push(char ***list, size_t *count, char *text)
{
    char **grown = realloc(*list, (*count + 2) * sizeof *grown);
    if (grown == NULL)
        die("out of memory for the specification");
    grown[(*count)++] = text;
    grown[*count] = NULL;
    *list = grown;
}

static uint32_t u32_of(const uint8_t *data, size_t len)
{
    uint32_t value;
    if (len < sizeof value)
        die("short number in the specification");
    memcpy(&value, data, sizeof value);
    return value;
}

static uint64_t u64_of(const uint8_t *data, size_t len)
{
    uint64_t value;
    if (len < sizeof value)
        die("short number in the specification");
    memcpy(&value, data, sizeof value);
    return value;
}

static void push_input(struct spec *spec, const uint8_t *data, size_t len)
{
    struct input input;
    struct input *grown = realloc(spec->inputs, (spec->inputc + 1) * sizeof *grown);
    if (grown == NULL || len < sizeof input.where)
        die("input in the specification");
    memcpy(&input.where, data, sizeof input.where);
    input.target = text_of(data + sizeof input.where, len - sizeof input.where);
    grown[spec->inputc++] = input;
    spec->inputs = grown;
}

static void field(struct spec *spec, enum channel_spec_tag tag, const uint8_t *data, size_t len)
{
    switch (tag) {
    case CHANNEL_SPEC_COMMAND:
        spec->command = text_of(data, len);
        push(&spec->argv, &spec->argc, spec->command);
        break;
    case CHANNEL_SPEC_ARG:
        push(&spec->argv, &spec->argc, text_of(data, len));
        break;
    case CHANNEL_SPEC_ENV:
        push(&spec->env, &spec->envc, text_of(data, len));
        break;
    case CHANNEL_SPEC_WORKDIR:
        spec->workdir = text_of(data, len);
        break;
    case CHANNEL_SPEC_USER:
        spec->uid = u32_of(data, len);
        spec->gid = len >= 8 ? u32_of(data + 4, len - 4) : spec->uid;
        break;
    case CHANNEL_SPEC_PIDS:
        spec->pids_max = u32_of(data, len);
        break;
    case CHANNEL_SPEC_DISK:
        spec->disk_bytes = u64_of(data, len);
        break;
    case CHANNEL_SPEC_CLOCK:
        spec->clock_nsec = u64_of(data, len);
        break;
    case CHANNEL_SPEC_ENTROPY:
        spec->entropy = data;
        spec->entropy_len = len;
        break;
    case CHANNEL_SPEC_STDIN:
        spec->with_stdin = true;
        break;
    case CHANNEL_SPEC_HOSTS:
        spec->hosts = text_of(data, len);
        break;
    case CHANNEL_SPEC_INPUT:
        push_input(spec, data, len);
        break;
    case CHANNEL_SPEC_OUTPUT:
        push(&spec->outputs, &spec->outputc, text_of(data, len));
        break;
    case CHANNEL_SPEC_STDIN_FILE:
        spec->stdin_path = text_of(data, len);
        break;
    case CHANNEL_SPEC_HOSTNAME:
        spec->hostname = text_of(data, len);
        break;
    default:
        die("unknown field in the specification");
    }
}

static void parse(struct spec *spec, const struct blob *blob)
{
    for (size_t at = 0; at < blob->len;) {
        if (blob->len - at < 5)
            die("short field in the specification");
        uint32_t len;
        memcpy(&len, blob->data + at + 1, sizeof len);
        if (len > blob->len - at - 5)
            die("field beyond the specification's end");
        field(spec, blob->data[at], blob->data + at + 5, len);
        at += 5 + (size_t)len;
    }
    if (spec->command == NULL || spec->workdir == NULL)
        die("specification without a command or working directory");
}

void spec_receive(struct channel *channel, struct spec *spec)
{
    struct blob blob = {0};
    for (;;) {
        struct channel_frame_header header;
        const uint8_t *payload;
        if (!channel_next(channel, &header, &payload)) {
            channel_fill(channel);
            continue;
        }
        if (header.type == CHANNEL_FRAME_SPEC && blob.len + header.length <= CHANNEL_SPEC_MAX) {
            uint8_t *grown = realloc(blob.data, blob.len + header.length);
            if (grown == NULL)
                die("out of memory for the specification");
            blob.data = grown;
            memcpy(blob.data + blob.len, payload, header.length);
            blob.len += header.length;
        } else if (header.type != CHANNEL_FRAME_START) {
            die("unexpected frame before START");
        }
        channel_done(channel, &header);
        if (header.type == CHANNEL_FRAME_START)
            break;
    }
    parse(spec, &blob);
}
