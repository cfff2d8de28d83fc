#include "channel.h"

#include "end.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* Port 1 of the only virtio-serial device (port 0 is the console). The number of the device depends
 * on how many others the VMM lists before it, so it is found by the rest of its name. */
static int open_port(void)
{
    DIR *devices = opendir("/dev");
    const struct dirent *entry;
    int fd = -1;
    if (devices == NULL)
        die("/dev");
    while (fd < 0 && (entry = readdir(devices)) != NULL) {
        if (fnmatch("vport*p1", entry->d_name, 0) != 0)
            continue;
        fd = openat(dirfd(devices), entry->d_name, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            die(entry->d_name);
    }
    closedir(devices);
    return fd;
}

void channel_open(struct channel *channel)
{
    /* The driver creates ports from a work queue, so the device may come a moment after init. */
    int watch = inotify_init1(IN_CLOEXEC);
    if (watch < 0 || inotify_add_watch(watch, "/dev", IN_CREATE) < 0)
        die("inotify");
    while ((channel->fd = open_port()) < 0) {
        char event[4096];
        if (read(watch, event, sizeof event) < 0)
            die("inotify");
    }
    close(watch);
}

void channel_send(struct channel *channel, enum channel_frame_type type, size_t len)
{
    channel->out.header = (struct channel_frame_header){
        .length = (uint32_t)len,
        .type = (uint8_t)type,
        .session = channel_frame_session((uint8_t)type),
    };
    const uint8_t *at = (const uint8_t *)&channel->out;
    size_t left = sizeof channel->out.header + len;
    while (left > 0) {
        ssize_t put = write(channel->fd, at, left);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            power_off();
        at += put;
        left -= (size_t)put;
    }
}

void channel_fill(struct channel *channel)
{
    ssize_t got =
        read(channel->fd, channel->in + channel->in_len, sizeof channel->in - channel->in_len);
    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0)
        power_off();
    channel->in_len += (size_t)got;
}

bool channel_next(struct channel *channel, struct channel_frame_header *header,
                  const uint8_t **payload)
{
    if (channel->in_len < sizeof *header)
        return false;
    memcpy(header, channel->in, sizeof *header);
    if (header->length > CHANNEL_FRAME_MAX_PAYLOAD)
        die("frame too long");
    if (header->session != channel_frame_session(header->type))
        die("frame of a session that does not exist: this safe-run is older than its initrd");
    *payload = channel->in + sizeof *header;
    return channel->in_len >= sizeof *header + header->length;
}

void channel_done(struct channel *channel, const struct channel_frame_header *header)
{
    size_t used = sizeof *header + header->length;
    channel->in_len -= used;
    memmove(channel->in, channel->in + used, channel->in_len);
}
