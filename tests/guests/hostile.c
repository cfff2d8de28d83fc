/*
 * Guests that misbehave, for the integration tests: each is a real init in a real VM. Which one is
 * compiled in by -DBEHAVIOUR=<name>.
 */
#include "channel.h"
#include "end.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct channel channel; /* large, and there is one */

static inline void hello(uint32_t version)
{
    const struct channel_frame_hello hello = {CHANNEL_MAGIC, version};
    memcpy(channel.out.payload, &hello, sizeof hello);
    channel_send(&channel, CHANNEL_FRAME_HELLO, sizeof hello);
}

/* Says hello and takes the specification. */
static inline void meet(void)
{
    struct channel_frame_header header = {0};
    const uint8_t *payload;
    hello(CHANNEL_VERSION);
    while (header.type != CHANNEL_FRAME_START) {
        if (!channel_next(&channel, &header, &payload)) {
            channel_fill(&channel);
            continue;
        }
        channel_done(&channel, &header);
    }
}

/* And claims that the command runs. */
static inline void start(void)
{
    meet();
    channel_send(&channel, CHANNEL_FRAME_STARTED, 0);
}

static inline struct channel_frame_header header_of(uint8_t type, uint32_t len)
{
    return (struct channel_frame_header){
        .length = len, .type = type, .session = channel_frame_session(type)};
}

static inline void output(size_t len)
{
    memset(channel.out.payload, 'x', len);
    channel_send(&channel, CHANNEL_FRAME_STDOUT, len);
}

/* Never says anything. */
static inline void silent(void)
{
    for (;;)
        pause();
}

/* Makes the kernel panic: init ends. */
static inline void panics(void)
{
    exit(1);
}

/* Ends the VM in the middle of its output, without an exit status. */
static inline void dies(void)
{
    start();
    output(1000);
    power_off();
}

/* Sends more than it has credit for. */
static inline void floods(void)
{
    start();
    for (;;)
        output(CHANNEL_FRAME_MAX_PAYLOAD);
}

/* Sends bytes that are no frames. */
static inline void babbles(void)
{
    start();
    memset(&channel.out, 0xa5, sizeof channel.out);
    for (;;)
        if (write(channel.fd, &channel.out, sizeof channel.out) <= 0)
            power_off();
}

/* Speaks a protocol from the future. */
static inline void futuristic(void)
{
    hello(CHANNEL_VERSION + 1);
    silent();
}

/* Speaks the protocol before this one. */
static inline void outdated(void)
{
    hello(CHANNEL_VERSION - 1);
    silent();
}

/* Speaks for a session that nobody started: in one piece, or channel_send() would name ours. */
static inline void strays(void)
{
    struct __attribute__((packed)) {
        struct channel_frame_header header;
        char byte;
    } frame = {.header = {.length = 1,
                          .type = CHANNEL_FRAME_STDOUT,
                          .session = CHANNEL_SESSION_COMMAND + 1},
               .byte = 'x'};
    start();
    if (write(channel.fd, &frame, sizeof frame) == sizeof frame)
        silent();
}

/* Claims to have ended and goes on talking: in one piece, or the host might not listen any more. */
static inline void lingers(void)
{
    struct __attribute__((packed)) {
        struct channel_frame_header ended;
        struct channel_frame_exit exit;
        struct channel_frame_header more;
        char text[10];
    } frames = {.ended = header_of(CHANNEL_FRAME_EXIT, sizeof frames.exit),
                .more = header_of(CHANNEL_FRAME_STDOUT, sizeof frames.text)};
    start();
    if (write(channel.fd, &frames, sizeof frames) == sizeof frames)
        silent();
}

/* Claims to have ended and never powers off. */
static inline void stays(void)
{
    start();
    memset(channel.out.payload, 0, sizeof(struct channel_frame_exit));
    channel_send(&channel, CHANNEL_FRAME_EXIT, sizeof(struct channel_frame_exit));
    silent();
}

/* Claims to have used more than its machine has. */
static inline void boasts(void)
{
    const struct channel_frame_exit lie = {
        .user_usec = UINT64_C(1) << 40, .max_rss_kib = UINT64_C(1) << 40, .oom_kills = 7};
    start();
    memcpy(channel.out.payload, &lie, sizeof lie);
    channel_send(&channel, CHANNEL_FRAME_EXIT, sizeof lie);
    power_off();
}

/* Refuses with a sentence meant for the terminal that will show it. */
static inline void draws(void)
{
    meet();
    static const char sentence[] = "\033]0;owned\007\xff\xc2\x9b\n";
    const uint32_t status = 126;
    memcpy(channel.out.payload, &status, sizeof status);
    memcpy(channel.out.payload + sizeof status, sentence, sizeof sentence - 1);
    channel_send(&channel, CHANNEL_FRAME_REFUSED, sizeof status + sizeof sentence - 1);
    silent();
}

/* -- Outputs
 * -------------------------------------------------------------------------------------- */

static size_t window = CHANNEL_WINDOW;
static bool enough;

/* Takes what the host says until there is room for len bytes of archives, or it has had enough of
 * this one. */
static inline bool may_send(size_t len, uint32_t index)
{
    struct channel_frame_header header;
    const uint8_t *payload;
    while (window < len && !enough) {
        if (!channel_next(&channel, &header, &payload)) {
            channel_fill(&channel);
            continue;
        }
        if (header.type == CHANNEL_FRAME_CREDIT)
            window += ((const struct channel_frame_credit *)payload)->bytes;
        if (header.type == CHANNEL_FRAME_ENOUGH && *(const uint32_t *)payload == index)
            enough = true;
        channel_done(&channel, &header);
    }
    return !enough;
}

static inline void archive(uint32_t index, const void *data, size_t len)
{
    if (!may_send(len, index))
        return;
    memcpy(channel.out.payload, data, len);
    window -= len;
    channel_send(&channel, CHANNEL_FRAME_ARCHIVE, len);
}

/* An entry of an archive, of mode and of this many links, that says it has size bytes. */
static inline void entry(uint32_t index, const char *name, unsigned mode, const char *content,
                         unsigned size, unsigned links)
{
    char text[512] = "";
    size_t len = (size_t)snprintf(
        text, sizeof text, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1, mode, 0,
        0, links, 0, size, 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0);
    len += strlen(strcpy(text + len, name)) + 1;
    len = (len + 3) / 4 * 4;
    len += strlen(strcpy(text + len, content));
    archive(index, text, (len + 3) / 4 * 4);
}

static inline void collected(uint32_t result)
{
    memcpy(channel.out.payload, &result, sizeof result);
    channel_send(&channel, CHANNEL_FRAME_COLLECTED, sizeof result);
    enough = false;
}

static inline void trailer(uint32_t index)
{
    entry(index, "TRAILER!!!", 0, "", 0, 1);
    collected(CHANNEL_COLLECTED_OK);
}

static inline void entry_and_end(uint32_t index, const char *name, unsigned mode,
                                 const char *content, unsigned links)
{
    entry(index, "o", S_IFDIR | 0755, "", 0, 1);
    entry(index, name, mode, content, (unsigned)strlen(content), links);
    trailer(index);
}

static inline void end(void)
{
    start();
    memset(channel.out.payload, 0, sizeof(struct channel_frame_exit));
    channel_send(&channel, CHANNEL_FRAME_EXIT, sizeof(struct channel_frame_exit));
}

/* Has outputs that want to be elsewhere, and one that is good. test_outputs.py knows their
 * order. */
static inline void smuggles(void)
{
    static const uint8_t noise[4096] = {0xa5, 0x07};
    char name[32];
    uint32_t i = 0;
    end();
    entry_and_end(i++, "o/../../escaped", S_IFREG | 0644, "x", 1);
    entry_and_end(i++, "/tmp/escaped", S_IFREG | 0644, "x", 1);
    entry_and_end(i++, "o/passwd", S_IFLNK | 0777, "/etc/passwd", 1);
    entry_and_end(i++, "o/disk", S_IFBLK | 0666, "", 1);
    entry_and_end(i++, "o/su", S_IFREG | 06755, "x", 1);
    entry(i, "o", S_IFDIR | 0755, "", 0, 1);
    entry(i, "o/huge", S_IFREG | 0644, "", 0xffffffff, 1);
    trailer(i++);
    for (; !enough;) /* noise without an end */
        archive(i, noise, sizeof noise);
    i++;
    collected(CHANNEL_COLLECTED_CUT);
    entry(i, "o", S_IFDIR | 0755, "", 0, 1);
    for (unsigned n = 0; n < 1000000 && !enough; n++) {
        snprintf(name, sizeof name, "o/%u", n);
        entry(i, name, S_IFREG | 0644, "", 0, 1);
    }
    i++;
    collected(CHANNEL_COLLECTED_CUT);
    entry(i, "o", S_IFDIR | 0755, "", 0, 1); /* ends in the middle, and says it is all */
    collected(CHANNEL_COLLECTED_OK);
    i++;
    collected(CHANNEL_COLLECTED_OK); /* says it is there, and sends nothing */
    i++;
    entry_and_end(i++, "o/new\nline\xff\x1b[2J", S_IFREG | 0644, "good", 1);
    power_off();
}

/* Ends without its outputs. */
static inline void keeps(void)
{
    end();
    power_off();
}

static inline void wait_msec(unsigned msec)
{
    const struct timespec time = {.tv_sec = msec / 1000, .tv_nsec = msec % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Goes on when it has ended: a byte of an archive now and then, for ever, and all the CPU time it
 * gets. */
static inline void trickles(void)
{
    end();
    for (;;) {
        const time_t next = time(NULL) + 1;
        archive(0, "0", 1);
        while (time(NULL) < next)
            ;
    }
}

/* Calls somebody before it has ended, and does not stop; in tenths of a second since. */
static inline void calls(void)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(5353),
                                   .sin_addr.s_addr = htonl(0xc6336408)}; /* 198.51.100.8 */
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    start();
    for (int i = -10;; i++) {
        char text[32];
        int len = snprintf(text, sizeof text, "%d\n", i);
        sendto(fd, text, (size_t)len, 0, (const struct sockaddr *)&to, sizeof to);
        if (i == 0) {
            memset(channel.out.payload, 0, sizeof(struct channel_frame_exit));
            channel_send(&channel, CHANNEL_FRAME_EXIT, sizeof(struct channel_frame_exit));
        }
        if (i >= 0)
            archive(0, "0", 1);
        wait_msec(100);
    }
}

/* Output in frames of one byte, as fast as credit allows, until the end of its time. */
static inline void crumbles(void)
{
    static struct __attribute__((packed)) {
        struct channel_frame_header header;
        char byte;
    } frames[4000];
    size_t credit = CHANNEL_WINDOW;
    const size_t count = sizeof frames / sizeof frames[0];
    for (size_t i = 0; i < count; i++) {
        frames[i].header = header_of(CHANNEL_FRAME_STDOUT, 1);
        frames[i].byte = 'x';
    }
    start();
    for (;;) {
        struct channel_frame_header header;
        const uint8_t *payload;
        while (credit < count) {
            if (!channel_next(&channel, &header, &payload)) {
                channel_fill(&channel);
                continue;
            }
            if (header.type == CHANNEL_FRAME_CREDIT)
                credit += ((const struct channel_frame_credit *)payload)->bytes;
            channel_done(&channel, &header);
        }
        for (size_t done = 0; done < sizeof frames;) {
            ssize_t put = write(channel.fd, (const char *)frames + done, sizeof frames - done);
            if (put <= 0)
                power_off();
            done += (size_t)put;
        }
        credit -= count;
    }
}

int main(void)
{
    mkdir("/dev", 0755);
    if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) < 0)
        die("/dev");
    channel_open(&channel);
    BEHAVIOUR();
    return 0;
}
