/*
 * The run specification: what the host wants run.
 */
#ifndef SR_GUEST_SPEC_H
#define SR_GUEST_SPEC_H

#include "channel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input {
    struct channel_spec_input where;
    char *target;
};

/* Texts are NUL-terminated and live for ever. */
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

#endif
