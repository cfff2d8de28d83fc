/*
 * Images that are kept for the next run: packed inputs, and copies of what others can write. Each
 * lies in a directory of the caller's own under a name that says what it is of, beside a note of
 * the same name.
 *
 *   1. kept_open() the directory.
 *   2. kept_find() an image, or make one and kept_add() it; whoever holds the descriptor keeps the
 *      image from being removed.
 *   3. kept_trim() when one was added.
 */
#ifndef SR_HOST_KEPT_H
#define SR_HOST_KEPT_H

#include "common/cleanup.h"
#include "host/host.h"

#include <stdbool.h>
#include <stdint.h>

#define KEPT_NAME 96 /* with its NUL */
#define KEPT_TEXT 800
/* Images of a directory, whatever their size: what a trim reads of it costs a millisecond. */
#define KEPT_COUNT_MAX 1024

/* Opens the directory, made if need be: configured, or if that is empty the one of this name in the
 * cache. A descriptor, or -1: nothing is kept, because there is no place or others could write to
 * it. */
int kept_open(const char *configured, const char *name);

/* Opens an image for reading and fills text with what its note says. -1: it is not there, or not
 * what was kept. */
int kept_find(int directory, const char *name, char text[KEPT_TEXT]);

/* Keeps an image that has no name yet, with a text of less than KEPT_TEXT bytes. fd must be open
 * for reading only, and nobody may have the file open for writing. What is there under that name
 * already stays, unless it is not what was kept or replace says so. Durable when it returns true;
 * false: it has no name. */
bool kept_add(int directory, const char *name, int fd, const char *text, bool replace);

/* Removes what was used last longer than older_than_sec ago (negative: nothing for that), then the
 * longest unused until max bytes and KEPT_COUNT_MAX images are left, and what belongs to nothing.
 * What a run holds stays. */
void kept_trim(int directory, uint64_t max, int64_t older_than_sec);

#endif
