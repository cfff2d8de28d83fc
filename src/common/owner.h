/*
 * Whose something is: what safe-run takes orders from, signs with and keeps evidence in belongs to
 * its caller or to root, and nobody else may write to it. Judged by descriptor, so that what was
 * judged is what is used.
 */
#ifndef SR_COMMON_OWNER_H
#define SR_COMMON_OWNER_H

#include "common/cleanup.h"

/* What is wrong, to follow the name of the thing: "belongs to uid 1000", "lies in /srv, which
 * others may write to (mode 0777)". */
#define SR_OWNER_TEXT 320

/* Judges what fd is; a descriptor opened with O_PATH is enough. Returns 0; -EPERM with why; or
 * another negative errno with its text in why. */
int sr_judge_owner(int fd, char why[SR_OWNER_TEXT]) SR_MUST_CHECK;

/* Judges a directory, and whether somebody else could put another in its place: every directory
 * above it must belong to the caller, to root or to the owner of "/", and nobody else may write to
 * it unless it is sticky. Returns as sr_judge_owner(). */
int sr_judge_place(int dirfd, char why[SR_OWNER_TEXT]) SR_MUST_CHECK;

/* Opens a directory, which must pass sr_judge_place(). Returns a descriptor, or as
 * sr_judge_owner(). */
int sr_open_place(const char *path, char why[SR_OWNER_TEXT]) SR_MUST_CHECK;

/* Opens a file for reading, which must pass sr_judge_owner(), in a directory that must pass what
 * sr_judge_place() asks of the directories above: nobody else can put another file in its place.
 * Returns a descriptor, or as sr_judge_owner(). */
int sr_open_owned(const char *path, char why[SR_OWNER_TEXT]) SR_MUST_CHECK;

#endif
