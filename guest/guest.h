/*
 * The guest's init: PID 1 inside the microVM. It trusts the host; everything it starts is
 * untrusted.
 *
 *   main.c     the story: set up, say hello, take the specification, run, report
 *   channel.c  frames to and from the host
 *   root.c     the file systems the command sees
 *   inputs.c   file systems of the host's files, put where the policy says
 *   command.c  the command's process
 *   outputs.c  what the command left, as archives
 */
#ifndef SR_GUEST_H
#define SR_GUEST_H

#include "channel/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A frame being built: header and payload in one piece, because each write is one round through the
 * device. */
struct frame {
    struct sr_frame_header header;
    uint8_t payload[SR_FRAME_MAX_PAYLOAD];
};

struct channel {
    int fd;
    struct frame out;
    uint8_t in[sizeof(struct sr_frame_header) + SR_FRAME_MAX_PAYLOAD];
    size_t in_len;
};

/* Waits for the channel device to appear and opens it. */
void channel_open(struct channel *channel);
/* Sends channel->out with len bytes of payload; blocks until the host took it. */
void channel_send(struct channel *channel, enum sr_frame_type type, size_t len);
/* Reads more bytes; blocks. Powers off when the host is gone. */
void channel_fill(struct channel *channel);
/* Takes the next whole frame out of what was read: true, with *payload valid until the next call of
 * channel_done(). */
bool channel_next(struct channel *channel, struct sr_frame_header *header, const uint8_t **payload);
void channel_done(struct channel *channel, const struct sr_frame_header *header);

struct input {
    struct sr_spec_input where;
    char *target;
};

/* The run specification. Texts are NUL-terminated and live for ever. */
struct spec {
    char *command;
    char **argv; /* argv[0] is the command; NULL-terminated */
    size_t argc;
    char **env; /* NULL-terminated */
    size_t envc;
    char *workdir;
    char *hostname;
    char *hosts;      /* for /etc/hosts, or NULL: the image's own */
    char *stdin_path; /* what the command reads, or NULL */
    struct input *inputs;
    size_t inputc;
    char **outputs; /* paths */
    size_t outputc;
    uint32_t uid, gid;
    uint32_t pids_max;
    uint64_t disk_bytes;
    uint64_t clock_nsec;
    const uint8_t *entropy;
    size_t entropy_len;
    bool with_stdin;
};

/* Reads SPEC frames up to START. */
void spec_receive(struct channel *channel, struct spec *spec);

/* Why something could not be done: the exit status a shell would give, and a sentence. */
struct refusal {
    uint32_t status;
    char text[400];
};
bool refuse(struct refusal *refusal, uint32_t status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes what every run has: /proc, /sys, /dev, the cgroup whose pids.max bounds the command, and
 * the root image, mounted. */
bool root_prepare(struct refusal *refusal);
/* Puts the overlay and the inputs on the root image, and makes that the root. */
bool root_enter(const struct spec *spec, struct refusal *refusal);

/* Mounts every input read-only below the new root, which is at "/root" by now, in their order. */
bool inputs_enter(const struct spec *spec, struct refusal *refusal);
/* Makes the places that inputs are put at, where the root has not got them. */
bool inputs_make_targets(const struct spec *spec, const char *root, struct refusal *refusal);

/* Makes a directory of the command's user for each output that is not there and that the command
 * could not make itself. */
void outputs_prepare(const struct spec *spec);
/* Sends the archive of each output and what became of it. */
void outputs_send(const struct spec *spec, struct channel *channel);

/* Adds to /etc/hosts; a reader may see a part of it. */
void root_add_hosts(const void *text, size_t len);

struct command {
    pid_t pid;
    int in, out, err; /* our ends of its pipes; -1 when closed; in is -1 without stdin */
};

/* Starts the command as the specification says. */
bool command_start(const struct spec *spec, struct command *command, struct refusal *refusal);

/* Ends the VM. */
void power_off(void) __attribute__((noreturn));
/* Says why on the console and ends the VM. */
void die(const char *what) __attribute__((noreturn));

#endif
