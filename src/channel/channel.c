#include "channel/channel.h"

#include <string.h>

/* Credits go out when this much is owed: few frames, and the guest never runs dry. */
#define CREDIT_STEP (CHANNEL_WINDOW / 4)
/* With this much unread by the guest, small frames (credits, signals) wait or are dropped. */
#define QUEUE_LONG (CHANNEL_WINDOW * 2)
/* Numbers that go into evidence must be exact in JSON. */
#define EVIDENCE_LIMIT (UINT64_C(1) << 53)

void channel_init(struct channel *channel)
{
    memset(channel, 0, sizeof *channel);
    channel->out.wipe = true; /* the environment may hold secrets, and stdin */
    for (int i = 0; i < CHANNEL_STREAM_COUNT; i++)
        channel->window[i] = CHANNEL_WINDOW;
}

void channel_free(struct channel *channel)
{
    sr_buf_free(&channel->out);
}

uint8_t *channel_space(struct channel *channel, size_t *room)
{
    if (channel->in_start > 0) {
        memmove(channel->in, channel->in + channel->in_start, channel->in_end - channel->in_start);
        channel->in_end -= channel->in_start;
        channel->in_start = 0;
    }
    *room = sizeof channel->in - channel->in_end;
    return channel->in + channel->in_end;
}

void channel_received(struct channel *channel, size_t n)
{
    channel->in_end += n;
}

static void queue(struct channel *channel, enum channel_frame_type type, const void *data,
                  size_t len)
{
    const struct channel_frame_header header = {
        .length = (uint32_t)len,
        .type = (uint8_t)type,
        .session = channel_frame_session((uint8_t)type),
    };
    sr_buf_append(&channel->out, &header, sizeof header);
    sr_buf_append(&channel->out, data, len);
}

static int violation(struct channel *channel, struct sr_error *err, const char *what)
{
    channel->state = CHANNEL_BROKEN;
    return sr_fail_vm(err, SR_RUN_001, "monitor.channel",
                      "the guest broke the channel protocol: %s", what);
}

static int take_hello(struct channel *channel, const uint8_t *payload, struct sr_error *err)
{
    struct channel_frame_hello hello;
    memcpy(&hello, payload, sizeof hello);
    if (hello.magic != CHANNEL_MAGIC)
        return violation(channel, err, "hello without its magic number");
    if (hello.version != CHANNEL_VERSION) {
        channel->state = CHANNEL_BROKEN;
        return sr_fail_vm(
            err, SR_RUN_002, "launch.vm",
            "the guest's init speaks channel version %u, this safe-run speaks %u; install "
            "the initrd that came with it",
            hello.version, CHANNEL_VERSION);
    }
    channel->state = CHANNEL_IDLE;
    return 0;
}

static int take_output(struct channel *channel, struct channel_event *event, struct sr_error *err)
{
    if (event->len == 0)
        return violation(channel, err, "empty output");
    if (event->len > channel->window[event->stream])
        return violation(channel, err, "output beyond its credit");
    channel->window[event->stream] -= (uint32_t)event->len;
    return 0;
}

static int take_credit(struct channel *channel, const uint8_t *payload, struct sr_error *err)
{
    struct channel_frame_credit credit;
    memcpy(&credit, payload, sizeof credit);
    uint32_t window;
    if (credit.stream != CHANNEL_STREAM_STDIN)
        return violation(channel, err, "credit for a stream that the host does not send");
    if (__builtin_add_overflow(channel->window[CHANNEL_STREAM_STDIN], credit.bytes, &window) ||
        window > CHANNEL_WINDOW)
        return violation(channel, err, "credit for more than was sent");
    channel->window[CHANNEL_STREAM_STDIN] = window;
    return 0;
}

/* The status and the sentence behind it. */
static void take_status(struct channel_event *event)
{
    memcpy(&event->status, event->data, sizeof event->status);
    event->data += sizeof event->status;
    event->len -= sizeof event->status;
}

static int take_collected(struct channel *channel, struct channel_event *event,
                          struct sr_error *err)
{
    take_status(event);
    if (event->status > CHANNEL_COLLECTED_CUT)
        return violation(channel, err, "output with an impossible result");
    if (++channel->collected == channel->outputs)
        channel->state = CHANNEL_ENDED;
    return 0;
}

static int take_refusal(struct channel *channel, struct channel_event *event, struct sr_error *err)
{
    take_status(event);
    if (event->status < CHANNEL_REFUSED_SETUP || event->status > CHANNEL_REFUSED_MOUNT)
        return violation(channel, err, "refusal with an impossible status");
    channel->state = CHANNEL_ENDED;
    return 0;
}

static int take_usage(struct channel *channel, struct channel_event *event, struct sr_error *err)
{
    memcpy(&event->usage, event->data, sizeof event->usage);
    return event->usage.cpu_usec >= EVIDENCE_LIMIT || event->usage.memory_bytes >= EVIDENCE_LIMIT
               ? violation(channel, err, "impossible resource usage")
               : 0;
}

static int take_exit(struct channel *channel, struct channel_event *event, struct sr_error *err)
{
    memcpy(&event->exit, event->data, sizeof event->exit);
    if (event->exit.exit_code > 255 || event->exit.signal > 64)
        return violation(channel, err, "impossible exit status");
    const uint64_t limit = EVIDENCE_LIMIT;
    if (event->exit.user_usec >= limit || event->exit.system_usec >= limit ||
        event->exit.max_rss_kib >= limit || event->exit.oom_kills >= limit)
        return violation(channel, err, "impossible resource usage");
    channel->state = channel->outputs > 0 ? CHANNEL_COLLECTING : CHANNEL_ENDED;
    return 0;
}

/* What a frame must look like to be taken: from which state on, until which, and its size. */
static const struct rule {
    uint8_t type;
    enum channel_state from, to;
    uint32_t min_len, max_len;
    enum channel_event_type event;
    enum channel_stream stream;
} rules[] = {
    {CHANNEL_FRAME_HELLO, CHANNEL_WAIT_HELLO, CHANNEL_WAIT_HELLO,
     sizeof(struct channel_frame_hello), sizeof(struct channel_frame_hello), CHANNEL_HELLO,
     CHANNEL_STREAM_STDIN},
    {CHANNEL_FRAME_STARTED, CHANNEL_STARTING, CHANNEL_STARTING, 0, 0, CHANNEL_STARTED,
     CHANNEL_STREAM_STDIN},
    {CHANNEL_FRAME_REFUSED, CHANNEL_STARTING, CHANNEL_STARTING, sizeof(uint32_t), 1024,
     CHANNEL_REFUSED, CHANNEL_STREAM_STDIN},
    {CHANNEL_FRAME_STDOUT, CHANNEL_RUNNING, CHANNEL_RUNNING, 0, CHANNEL_FRAME_MAX_PAYLOAD,
     CHANNEL_OUTPUT, CHANNEL_STREAM_STDOUT},
    {CHANNEL_FRAME_STDERR, CHANNEL_RUNNING, CHANNEL_RUNNING, 0, CHANNEL_FRAME_MAX_PAYLOAD,
     CHANNEL_OUTPUT, CHANNEL_STREAM_STDERR},
    {CHANNEL_FRAME_CREDIT, CHANNEL_RUNNING, CHANNEL_RUNNING, sizeof(struct channel_frame_credit),
     sizeof(struct channel_frame_credit), CHANNEL_STDIN_CREDIT, CHANNEL_STREAM_STDIN},
    {CHANNEL_FRAME_USAGE, CHANNEL_RUNNING, CHANNEL_RUNNING, sizeof(struct channel_frame_usage),
     sizeof(struct channel_frame_usage), CHANNEL_USAGE, CHANNEL_STREAM_STDIN},
    {CHANNEL_FRAME_EXIT, CHANNEL_RUNNING, CHANNEL_RUNNING, sizeof(struct channel_frame_exit),
     sizeof(struct channel_frame_exit), CHANNEL_EXIT, CHANNEL_STREAM_STDIN},
    {CHANNEL_FRAME_ARCHIVE, CHANNEL_COLLECTING, CHANNEL_COLLECTING, 0, CHANNEL_FRAME_MAX_PAYLOAD,
     CHANNEL_ARCHIVE, CHANNEL_STREAM_ARCHIVE},
    {CHANNEL_FRAME_COLLECTED, CHANNEL_COLLECTING, CHANNEL_COLLECTING, sizeof(uint32_t), 1024,
     CHANNEL_COLLECTED, CHANNEL_STREAM_ARCHIVE},
};

static const struct rule *rule_for(uint8_t type)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].type == type)
            return &rules[i];
    return NULL;
}

int channel_next(struct channel *channel, struct channel_event *event, struct sr_error *err)
{
    if (channel->state == CHANNEL_BROKEN)
        return violation(channel, err, "it is broken already");
    const uint8_t *at = channel->in + channel->in_start;
    size_t have = channel->in_end - channel->in_start;
    struct channel_frame_header header;
    if (have < sizeof header)
        return 0;
    memcpy(&header, at, sizeof header);
    const struct rule *rule = rule_for(header.type);
    if (rule == NULL || header.zero != 0)
        return violation(channel, err, "unknown frame");
    if (header.session != channel_frame_session(header.type))
        return violation(channel, err, "frame of a session that does not exist");
    if (channel->state < rule->from || channel->state > rule->to)
        return violation(channel, err, "frame out of turn");
    if (header.length < rule->min_len || header.length > rule->max_len)
        return violation(channel, err, "frame of a wrong size");
    if (have < sizeof header + header.length)
        return 0;
    channel->in_start += sizeof header + header.length;

    *event = (struct channel_event){
        .type = rule->event,
        .stream = rule->stream,
        .data = at + sizeof header,
        .len = header.length,
        .output = channel->collected,
    };
    int result = 0;
    switch (rule->event) {
    case CHANNEL_HELLO:
        result = take_hello(channel, event->data, err);
        break;
    case CHANNEL_STARTED:
        channel->state = CHANNEL_RUNNING;
        break;
    case CHANNEL_REFUSED:
        result = take_refusal(channel, event, err);
        break;
    case CHANNEL_OUTPUT:
    case CHANNEL_ARCHIVE:
        result = take_output(channel, event, err);
        break;
    case CHANNEL_STDIN_CREDIT:
        result = take_credit(channel, event->data, err);
        break;
    case CHANNEL_USAGE:
        result = take_usage(channel, event, err);
        break;
    case CHANNEL_EXIT:
        result = take_exit(channel, event, err);
        break;
    case CHANNEL_COLLECTED:
        result = take_collected(channel, event, err);
        break;
    }
    return result < 0 ? -1 : 1;
}

/* Queues the credit owed once it is worth a frame and the guest has read what is there. */
static void queue_credits(struct channel *channel)
{
    for (uint32_t stream = CHANNEL_STREAM_STDOUT; stream < CHANNEL_STREAM_COUNT; stream++) {
        if (channel->owed[stream] < CREDIT_STEP || channel->out.len > QUEUE_LONG)
            continue;
        const struct channel_frame_credit credit = {stream, channel->owed[stream]};
        channel->window[stream] += channel->owed[stream];
        channel->owed[stream] = 0;
        queue(channel, CHANNEL_FRAME_CREDIT, &credit, sizeof credit);
    }
}

void channel_sent(struct channel *channel, size_t n)
{
    sr_buf_consume(&channel->out, n);
    queue_credits(channel);
}

void channel_credit(struct channel *channel, enum channel_stream stream, size_t n)
{
    channel->owed[stream] += (uint32_t)n;
    queue_credits(channel);
}

void channel_send_start(struct channel *channel, const void *spec, size_t spec_len,
                        uint32_t outputs)
{
    channel->outputs = outputs;
    const uint8_t *at = spec;
    while (spec_len > 0) {
        size_t piece = spec_len < CHANNEL_FRAME_MAX_PAYLOAD ? spec_len : CHANNEL_FRAME_MAX_PAYLOAD;
        queue(channel, CHANNEL_FRAME_SPEC, at, piece);
        at += piece;
        spec_len -= piece;
    }
    queue(channel, CHANNEL_FRAME_START, "", 0);
    channel->state = CHANNEL_STARTING;
}

size_t channel_stdin_room(const struct channel *channel)
{
    if (channel->state != CHANNEL_RUNNING)
        return 0;
    size_t window = channel->window[CHANNEL_STREAM_STDIN];
    return window < CHANNEL_FRAME_MAX_PAYLOAD ? window : CHANNEL_FRAME_MAX_PAYLOAD;
}

void channel_send_stdin(struct channel *channel, const void *data, size_t len)
{
    channel->window[CHANNEL_STREAM_STDIN] -= (uint32_t)len;
    queue(channel, CHANNEL_FRAME_STDIN, data, len);
}

void channel_send_stdin_eof(struct channel *channel)
{
    queue(channel, CHANNEL_FRAME_STDIN_EOF, "", 0);
}

void channel_send_signal(struct channel *channel, uint32_t number)
{
    if (channel->state == CHANNEL_RUNNING && channel->out.len <= QUEUE_LONG)
        queue(channel, CHANNEL_FRAME_SIGNAL, &number, sizeof number);
}

void channel_send_resize(struct channel *channel, uint16_t rows, uint16_t columns)
{
    const struct channel_frame_resize resize = {rows, columns};
    if (channel->state == CHANNEL_RUNNING && channel->out.len <= QUEUE_LONG)
        queue(channel, CHANNEL_FRAME_RESIZE, &resize, sizeof resize);
}

void channel_send_hosts(struct channel *channel, const char *text, size_t len)
{
    if (channel->state != CHANNEL_RUNNING || channel->out.len > QUEUE_LONG)
        return;
    for (size_t piece; len > 0; text += piece, len -= piece) {
        piece = len < CHANNEL_FRAME_MAX_PAYLOAD ? len : CHANNEL_FRAME_MAX_PAYLOAD;
        queue(channel, CHANNEL_FRAME_HOSTS, text, piece);
    }
}

void channel_send_close(struct channel *channel, enum channel_stream stream)
{
    const uint32_t number = stream;
    queue(channel, CHANNEL_FRAME_CLOSE, &number, sizeof number);
}

void channel_send_enough(struct channel *channel, uint32_t output)
{
    queue(channel, CHANNEL_FRAME_ENOUGH, &output, sizeof output);
}

void channel_spec_bytes(struct sr_buf *spec, enum channel_spec_tag tag, const void *data,
                        size_t len)
{
    const uint32_t length = (uint32_t)len;
    sr_buf_putc(spec, (char)tag);
    sr_buf_append(spec, &length, sizeof length);
    sr_buf_append(spec, data, len);
}

void channel_spec_text(struct sr_buf *spec, enum channel_spec_tag tag, const char *text)
{
    channel_spec_bytes(spec, tag, text, strlen(text));
}
