#include "channel/channel.h"

#include <string.h>

/* Credits go out when this much is owed: few frames, and the guest never runs dry. */
#define CREDIT_STEP (SR_CHANNEL_WINDOW / 4)
/* With this much unread by the guest, small frames (credits, signals) wait or are dropped. */
#define QUEUE_LONG (SR_CHANNEL_WINDOW * 2)
/* Numbers that go into evidence must be exact in JSON. */
#define EVIDENCE_LIMIT (UINT64_C(1) << 53)

void sr_channel_init(struct sr_channel *channel)
{
    memset(channel, 0, sizeof *channel);
    channel->out.wipe = true; /* the environment may hold secrets, and stdin */
    for (int i = 0; i < SR_STREAM_COUNT; i++)
        channel->window[i] = SR_CHANNEL_WINDOW;
}

void sr_channel_free(struct sr_channel *channel)
{
    sr_buf_free(&channel->out);
}

uint8_t *sr_channel_space(struct sr_channel *channel, size_t *room)
{
    if (channel->in_start > 0) {
        memmove(channel->in, channel->in + channel->in_start, channel->in_end - channel->in_start);
        channel->in_end -= channel->in_start;
        channel->in_start = 0;
    }
    *room = sizeof channel->in - channel->in_end;
    return channel->in + channel->in_end;
}

void sr_channel_received(struct sr_channel *channel, size_t n)
{
    channel->in_end += n;
}

static void queue(struct sr_channel *channel, enum sr_frame_type type, const void *data, size_t len)
{
    const struct sr_frame_header header = {
        .length = (uint32_t)len,
        .type = (uint8_t)type,
        .session = sr_frame_session((uint8_t)type),
    };
    sr_buf_append(&channel->out, &header, sizeof header);
    sr_buf_append(&channel->out, data, len);
}

static int violation(struct sr_channel *channel, struct sr_error *err, const char *what)
{
    channel->state = SR_CHANNEL_BROKEN;
    return sr_fail_vm(err, SR_RUN_001, "monitor.channel",
                      "the guest broke the channel protocol: %s", what);
}

static int take_hello(struct sr_channel *channel, const uint8_t *payload, struct sr_error *err)
{
    struct sr_frame_hello hello;
    memcpy(&hello, payload, sizeof hello);
    if (hello.magic != SR_CHANNEL_MAGIC)
        return violation(channel, err, "hello without its magic number");
    if (hello.version != SR_CHANNEL_VERSION) {
        channel->state = SR_CHANNEL_BROKEN;
        return sr_fail_vm(
            err, SR_RUN_002, "launch.vm",
            "the guest's init speaks channel version %u, this safe-run speaks %u; install "
            "the initrd that came with it",
            hello.version, SR_CHANNEL_VERSION);
    }
    channel->state = SR_CHANNEL_IDLE;
    return 0;
}

static int take_output(struct sr_channel *channel, struct sr_channel_event *event,
                       struct sr_error *err)
{
    if (event->len == 0)
        return violation(channel, err, "empty output");
    if (event->len > channel->window[event->stream])
        return violation(channel, err, "output beyond its credit");
    channel->window[event->stream] -= (uint32_t)event->len;
    return 0;
}

static int take_credit(struct sr_channel *channel, const uint8_t *payload, struct sr_error *err)
{
    struct sr_frame_credit credit;
    memcpy(&credit, payload, sizeof credit);
    uint32_t window;
    if (credit.stream != SR_STREAM_STDIN)
        return violation(channel, err, "credit for a stream that the host does not send");
    if (__builtin_add_overflow(channel->window[SR_STREAM_STDIN], credit.bytes, &window) ||
        window > SR_CHANNEL_WINDOW)
        return violation(channel, err, "credit for more than was sent");
    channel->window[SR_STREAM_STDIN] = window;
    return 0;
}

/* The status and the sentence behind it. */
static void take_status(struct sr_channel_event *event)
{
    memcpy(&event->status, event->data, sizeof event->status);
    event->data += sizeof event->status;
    event->len -= sizeof event->status;
}

static int take_collected(struct sr_channel *channel, struct sr_channel_event *event,
                          struct sr_error *err)
{
    take_status(event);
    if (event->status > SR_COLLECTED_CUT)
        return violation(channel, err, "output with an impossible result");
    if (++channel->collected == channel->outputs)
        channel->state = SR_CHANNEL_ENDED;
    return 0;
}

static int take_refusal(struct sr_channel *channel, struct sr_channel_event *event,
                        struct sr_error *err)
{
    take_status(event);
    if (event->status < SR_REFUSED_SETUP || event->status > SR_REFUSED_MOUNT)
        return violation(channel, err, "refusal with an impossible status");
    channel->state = SR_CHANNEL_ENDED;
    return 0;
}

static int take_usage(struct sr_channel *channel, struct sr_channel_event *event,
                      struct sr_error *err)
{
    memcpy(&event->usage, event->data, sizeof event->usage);
    return event->usage.cpu_usec >= EVIDENCE_LIMIT || event->usage.memory_bytes >= EVIDENCE_LIMIT
               ? violation(channel, err, "impossible resource usage")
               : 0;
}

static int take_exit(struct sr_channel *channel, struct sr_channel_event *event,
                     struct sr_error *err)
{
    memcpy(&event->exit, event->data, sizeof event->exit);
    if (event->exit.exit_code > 255 || event->exit.signal > 64)
        return violation(channel, err, "impossible exit status");
    const uint64_t limit = EVIDENCE_LIMIT;
    if (event->exit.user_usec >= limit || event->exit.system_usec >= limit ||
        event->exit.max_rss_kib >= limit || event->exit.oom_kills >= limit)
        return violation(channel, err, "impossible resource usage");
    channel->state = channel->outputs > 0 ? SR_CHANNEL_COLLECTING : SR_CHANNEL_ENDED;
    return 0;
}

/* What a frame must look like to be taken: from which state on, until which, and its size. */
static const struct rule {
    uint8_t type;
    enum sr_channel_state from, to;
    uint32_t min_len, max_len;
    enum sr_channel_event_type event;
    enum sr_stream stream;
} rules[] = {
    {SR_FRAME_HELLO, SR_CHANNEL_WAIT_HELLO, SR_CHANNEL_WAIT_HELLO, sizeof(struct sr_frame_hello),
     sizeof(struct sr_frame_hello), SR_CHANNEL_HELLO, SR_STREAM_STDIN},
    {SR_FRAME_STARTED, SR_CHANNEL_STARTING, SR_CHANNEL_STARTING, 0, 0, SR_CHANNEL_STARTED,
     SR_STREAM_STDIN},
    {SR_FRAME_REFUSED, SR_CHANNEL_STARTING, SR_CHANNEL_STARTING, sizeof(uint32_t), 1024,
     SR_CHANNEL_REFUSED, SR_STREAM_STDIN},
    {SR_FRAME_STDOUT, SR_CHANNEL_RUNNING, SR_CHANNEL_RUNNING, 0, SR_FRAME_MAX_PAYLOAD,
     SR_CHANNEL_OUTPUT, SR_STREAM_STDOUT},
    {SR_FRAME_STDERR, SR_CHANNEL_RUNNING, SR_CHANNEL_RUNNING, 0, SR_FRAME_MAX_PAYLOAD,
     SR_CHANNEL_OUTPUT, SR_STREAM_STDERR},
    {SR_FRAME_CREDIT, SR_CHANNEL_RUNNING, SR_CHANNEL_RUNNING, sizeof(struct sr_frame_credit),
     sizeof(struct sr_frame_credit), SR_CHANNEL_STDIN_CREDIT, SR_STREAM_STDIN},
    {SR_FRAME_USAGE, SR_CHANNEL_RUNNING, SR_CHANNEL_RUNNING, sizeof(struct sr_frame_usage),
     sizeof(struct sr_frame_usage), SR_CHANNEL_USAGE, SR_STREAM_STDIN},
    {SR_FRAME_EXIT, SR_CHANNEL_RUNNING, SR_CHANNEL_RUNNING, sizeof(struct sr_frame_exit),
     sizeof(struct sr_frame_exit), SR_CHANNEL_EXIT, SR_STREAM_STDIN},
    {SR_FRAME_ARCHIVE, SR_CHANNEL_COLLECTING, SR_CHANNEL_COLLECTING, 0, SR_FRAME_MAX_PAYLOAD,
     SR_CHANNEL_ARCHIVE, SR_STREAM_ARCHIVE},
    {SR_FRAME_COLLECTED, SR_CHANNEL_COLLECTING, SR_CHANNEL_COLLECTING, sizeof(uint32_t), 1024,
     SR_CHANNEL_COLLECTED, SR_STREAM_ARCHIVE},
};

static const struct rule *rule_for(uint8_t type)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].type == type)
            return &rules[i];
    return NULL;
}

int sr_channel_next(struct sr_channel *channel, struct sr_channel_event *event,
                    struct sr_error *err)
{
    if (channel->state == SR_CHANNEL_BROKEN)
        return violation(channel, err, "it is broken already");
    const uint8_t *at = channel->in + channel->in_start;
    size_t have = channel->in_end - channel->in_start;
    struct sr_frame_header header;
    if (have < sizeof header)
        return 0;
    memcpy(&header, at, sizeof header);
    const struct rule *rule = rule_for(header.type);
    if (rule == NULL || header.zero != 0)
        return violation(channel, err, "unknown frame");
    if (header.session != sr_frame_session(header.type))
        return violation(channel, err, "frame of a session that does not exist");
    if (channel->state < rule->from || channel->state > rule->to)
        return violation(channel, err, "frame out of turn");
    if (header.length < rule->min_len || header.length > rule->max_len)
        return violation(channel, err, "frame of a wrong size");
    if (have < sizeof header + header.length)
        return 0;
    channel->in_start += sizeof header + header.length;

    *event = (struct sr_channel_event){
        .type = rule->event,
        .stream = rule->stream,
        .data = at + sizeof header,
        .len = header.length,
        .output = channel->collected,
    };
    int result = 0;
    switch (rule->event) {
    case SR_CHANNEL_HELLO:
        result = take_hello(channel, event->data, err);
        break;
    case SR_CHANNEL_STARTED:
        channel->state = SR_CHANNEL_RUNNING;
        break;
    case SR_CHANNEL_REFUSED:
        result = take_refusal(channel, event, err);
        break;
    case SR_CHANNEL_OUTPUT:
    case SR_CHANNEL_ARCHIVE:
        result = take_output(channel, event, err);
        break;
    case SR_CHANNEL_STDIN_CREDIT:
        result = take_credit(channel, event->data, err);
        break;
    case SR_CHANNEL_USAGE:
        result = take_usage(channel, event, err);
        break;
    case SR_CHANNEL_EXIT:
        result = take_exit(channel, event, err);
        break;
    case SR_CHANNEL_COLLECTED:
        result = take_collected(channel, event, err);
        break;
    }
    return result < 0 ? -1 : 1;
}

/* Queues the credit owed once it is worth a frame and the guest has read what is there. */
static void queue_credits(struct sr_channel *channel)
{
    for (uint32_t stream = SR_STREAM_STDOUT; stream < SR_STREAM_COUNT; stream++) {
        if (channel->owed[stream] < CREDIT_STEP || channel->out.len > QUEUE_LONG)
            continue;
        const struct sr_frame_credit credit = {stream, channel->owed[stream]};
        channel->window[stream] += channel->owed[stream];
        channel->owed[stream] = 0;
        queue(channel, SR_FRAME_CREDIT, &credit, sizeof credit);
    }
}

void sr_channel_sent(struct sr_channel *channel, size_t n)
{
    sr_buf_consume(&channel->out, n);
    queue_credits(channel);
}

void sr_channel_credit(struct sr_channel *channel, enum sr_stream stream, size_t n)
{
    channel->owed[stream] += (uint32_t)n;
    queue_credits(channel);
}

void sr_channel_send_start(struct sr_channel *channel, const void *spec, size_t spec_len,
                           uint32_t outputs)
{
    channel->outputs = outputs;
    const uint8_t *at = spec;
    while (spec_len > 0) {
        size_t piece = spec_len < SR_FRAME_MAX_PAYLOAD ? spec_len : SR_FRAME_MAX_PAYLOAD;
        queue(channel, SR_FRAME_SPEC, at, piece);
        at += piece;
        spec_len -= piece;
    }
    queue(channel, SR_FRAME_START, "", 0);
    channel->state = SR_CHANNEL_STARTING;
}

size_t sr_channel_stdin_room(const struct sr_channel *channel)
{
    if (channel->state != SR_CHANNEL_RUNNING)
        return 0;
    size_t window = channel->window[SR_STREAM_STDIN];
    return window < SR_FRAME_MAX_PAYLOAD ? window : SR_FRAME_MAX_PAYLOAD;
}

void sr_channel_send_stdin(struct sr_channel *channel, const void *data, size_t len)
{
    channel->window[SR_STREAM_STDIN] -= (uint32_t)len;
    queue(channel, SR_FRAME_STDIN, data, len);
}

void sr_channel_send_stdin_eof(struct sr_channel *channel)
{
    queue(channel, SR_FRAME_STDIN_EOF, "", 0);
}

void sr_channel_send_signal(struct sr_channel *channel, uint32_t number)
{
    if (channel->state == SR_CHANNEL_RUNNING && channel->out.len <= QUEUE_LONG)
        queue(channel, SR_FRAME_SIGNAL, &number, sizeof number);
}

void sr_channel_send_resize(struct sr_channel *channel, uint16_t rows, uint16_t columns)
{
    const struct sr_frame_resize resize = {rows, columns};
    if (channel->state == SR_CHANNEL_RUNNING && channel->out.len <= QUEUE_LONG)
        queue(channel, SR_FRAME_RESIZE, &resize, sizeof resize);
}

void sr_channel_send_hosts(struct sr_channel *channel, const char *text, size_t len)
{
    if (channel->state != SR_CHANNEL_RUNNING || channel->out.len > QUEUE_LONG)
        return;
    for (size_t piece; len > 0; text += piece, len -= piece) {
        piece = len < SR_FRAME_MAX_PAYLOAD ? len : SR_FRAME_MAX_PAYLOAD;
        queue(channel, SR_FRAME_HOSTS, text, piece);
    }
}

void sr_channel_send_close(struct sr_channel *channel, enum sr_stream stream)
{
    const uint32_t number = stream;
    queue(channel, SR_FRAME_CLOSE, &number, sizeof number);
}

void sr_channel_send_enough(struct sr_channel *channel, uint32_t output)
{
    queue(channel, SR_FRAME_ENOUGH, &output, sizeof output);
}

void sr_spec_bytes(struct sr_buf *spec, enum sr_spec_tag tag, const void *data, size_t len)
{
    const uint32_t length = (uint32_t)len;
    sr_buf_putc(spec, (char)tag);
    sr_buf_append(spec, &length, sizeof length);
    sr_buf_append(spec, data, len);
}

void sr_spec_text(struct sr_buf *spec, enum sr_spec_tag tag, const char *text)
{
    sr_spec_bytes(spec, tag, text, strlen(text));
}
