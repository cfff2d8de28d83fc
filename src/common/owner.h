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

/* Judges what fd (O_PATH will do) is. 0; -EPERM with why; or another negative errno with its text
 * in why. */
int sr_judge_owner(int fd, char why[SR_OWNER_TEXT]) SR_MUST_CHECK;

/* Judges a directory, and that nobody else can put another in its place: every directory above it
 * belongs to the caller, to root or to whom "/" belongs to, and only they may write to it, or it is
 * sticky. Returns as sr_judge_owner(). */
int sr_judge_place(int dirfd, char why[SR_OWNER_TEXT]) SR_MUST_CHECK;

/* Opens a directory that sr_judge_place() finds nothing wrong with. A descriptor, or as
 * sr_judge_owner(). */
int sr_open_place(const char *path, char why[SR_OWNER_TEXT]) SR_MUST_CHECK;

/* Opens a file for reading that sr_judge_owner() finds nothing wrong with, and whose name nobody
 * else can give to another: of the directory that path names it in holds what sr_judge_place() says
 * of those above. A descriptor, or as sr_judge_owner(). */
int sr_open_owned(const char *path, char why[SR_OWNER_TEXT]) SR_MUST_CHECK;

#endif
