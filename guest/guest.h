/*
 * The guest's init: PID 1 inside the microVM. It trusts the host; everything it starts is
 * untrusted.
 *
 *   main.c     the story: set up, say hello, take the specification, run, report
 *   root.c     the file systems the command sees
 *   inputs.c   file systems of the host's files, put where the policy says
 *   command.c  the command's process
 *   outputs.c  what the command left, as archives
 *   spec.c     the run specification
 *   channel.c  frames to and from the host
 *   end.c      early ends
 *
 * This header has the steps of the story.
 */
#ifndef SR_GUEST_H
#define SR_GUEST_H

#include "channel.h"
#include "end.h"
#include "spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Makes what every run has: /proc, /sys, /dev, the cgroup whose pids.max bounds the command, and
 * the root image, mounted. */
bool root_prepare(struct refusal *refusal);
/* Puts the overlay and the inputs on the root image, and makes that the root. */
bool root_enter(const struct spec *spec, struct refusal *refusal);
/* Adds to /etc/hosts; a reader may see a part of it. */
void root_add_hosts(const void *text, size_t len);

/* Mounts every input read-only below the new root, which is at "/root" by now, in their order. */
bool inputs_enter(const struct spec *spec, struct refusal *refusal);
/* Makes the places that inputs are put at, where the root has not got them. */
bool inputs_make_targets(const struct spec *spec, const char *root, struct refusal *refusal);

/* Makes a directory of the command's user for each output that is not there and that the command
 * could not make itself. */
void outputs_prepare(const struct spec *spec);
/* Sends the archive of each output and what became of it. */
void outputs_send(const struct spec *spec, struct channel *channel);

struct command {
    pid_t pid;
    int in, out, err; /* our ends of its pipes; -1 when closed; in is -1 without stdin */
};

/* Starts the command as the specification says. */
bool command_start(const struct spec *spec, struct command *command, struct refusal *refusal);

#endif
