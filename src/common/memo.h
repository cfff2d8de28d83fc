/*
 * Memos: what is remembered of files in a directory, so that it need not be found out again. Of
 * each kind there is a fixed number of places, so the directory does not grow: a file has one
 * place, which it shares, so a memo says itself which file it is about.
 */
#ifndef SR_COMMON_MEMO_H
#define SR_COMMON_MEMO_H

#include <stdint.h>
#include <sys/types.h>

/* Two files share a place once in so many pairs; one such pair costs each of them its memo at every
 * run of the other. */
#define SR_MEMOS_MAX 1024
#define SR_MEMO_NAME 40

/* The name of the memo of a kind ("hash") about a file. */
void sr_memo_name(const char *kind, dev_t device, ino_t inode, char name[SR_MEMO_NAME]);

/* Removes from a directory the memos of a kind that were written longer than older_than_sec ago
 * (negative: none for that), those that were never finished, and those whose names no file has any
 * more. */
void sr_memos_sweep(int dirfd, const char *kind, int64_t older_than_sec);

#endif
