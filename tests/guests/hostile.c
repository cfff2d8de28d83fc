/*
 * Guests that misbehave, for the integration tests: each is a real init in a real VM. Which one is
 * compiled in by -DBEHAVIOUR=<name>.
 */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

static struct channel channel; /* large, and there is one */

void power_off(void)
{
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}

void die(const char *what)
{
    fprintf(stderr, "hostile: %s\n", what);
    power_off();
}

static inline void hello(uint32_t version)
{
    const struct sr_frame_hello hello = {SR_CHANNEL_MAGIC, version};
    memcpy(channel.out.payload, &hello, sizeof hello);
    channel_send(&channel, SR_FRAME_HELLO, sizeof hello);
}

/* Says hello and takes the specification. */
static inline void meet(void)
{
    struct sr_frame_header header = {0};
    const uint8_t *payload;
    hello(SR_CHANNEL_VERSION);
    while (header.type != SR_FRAME_START) {
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
    channel_send(&channel, SR_FRAME_STARTED, 0);
}

static inline void output(size_t len)
{
    memset(channel.out.payload, 'x', len);
    channel_send(&channel, SR_FRAME_STDOUT, len);
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
        output(SR_FRAME_MAX_PAYLOAD);
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
    hello(SR_CHANNEL_VERSION + 1);
    silent();
}

/* Claims to have ended and goes on talking. */
static inline void lingers(void)
{
    start();
    memset(channel.out.payload, 0, sizeof(struct sr_frame_exit));
    channel_send(&channel, SR_FRAME_EXIT, sizeof(struct sr_frame_exit));
    output(10);
    silent();
}

/* Claims to have ended and never powers off. */
static inline void stays(void)
{
    start();
    memset(channel.out.payload, 0, sizeof(struct sr_frame_exit));
    channel_send(&channel, SR_FRAME_EXIT, sizeof(struct sr_frame_exit));
    silent();
}

/* Claims to have used more than its machine has. */
static inline void boasts(void)
{
    const struct sr_frame_exit lie = {
        .user_usec = UINT64_C(1) << 40, .max_rss_kib = UINT64_C(1) << 40, .oom_kills = 7};
    start();
    memcpy(channel.out.payload, &lie, sizeof lie);
    channel_send(&channel, SR_FRAME_EXIT, sizeof lie);
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
    channel_send(&channel, SR_FRAME_REFUSED, sizeof status + sizeof sentence - 1);
    silent();
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
