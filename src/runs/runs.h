/*
 * For the runner: the register of unfinished runs, and closing those whose supervisor died.
 */
#ifndef SR_RUNS_RUNS_H
#define SR_RUNS_RUNS_H

#include "common/cleanup.h"
#include "evidence/report.h"
#include "saferun/runs.h"

#define RUNS_OPEN_DIR ".open"

/* An output that is not finished: run id, index. And the file in the run directory that says where,
 * if it is not outputs/. */
#define RUNS_PART ".%s.%u"
#define RUNS_OUTPUT_DIR "output-dir"

/* Room for the end of an unfinished run's evidence (reserve.c). */
#define RUNS_RESERVE "reserve"
void runs_drop_reserve(int dirfd);

/* Opens the directory that runs are in: a descriptor; -ENOENT: there is none; -1 (SR-RUN-001): also
 * for one in which somebody other than the caller and root could put or replace anything. */
int runs_open_place(const char *base, struct sr_error *err) SR_MUST_CHECK;

/* Opens the register of base, making it; a descriptor, or -1 (SR-RUN-001), also for somebody
 * else's. */
int runs_open_register(int base_fd, const char *base, struct sr_error *err) SR_MUST_CHECK;

/* True for what a run id looks like: names from a directory end up in paths and in texts for
 * people. */
bool runs_is_id(const char *name);

/* Opens a directory of the caller's own: a descriptor, or a negative errno. What somebody else made
 * may say anything of any process, and is not looked at: -EPERM. */
int runs_open_own(int base_fd, const char *name) SR_MUST_CHECK;

/* Opens base; *fd is -1 when there is none, which is no error. */
int runs_open_base(const char *base, int *fd, struct sr_error *err) SR_MUST_CHECK;

/* The pid of the supervisor of the run in dirfd; 0: it does not live; a negative errno: that cannot
 * be told. */
pid_t runs_pid_of_live(int dirfd) SR_MUST_CHECK;

/* The policy's name (may be NULL) and the beginning of the command, each of 64 bytes; empty where
 * it is not known. */
void runs_describe(int dirfd, char *name, char *command);

/* When a run with this id was begun, in seconds since 1970, as its id says. */
int64_t runs_start_of(const char *id);

/* Closes the unfinished runs whose supervisor is dead. Costs a directory read when there are none.
 * With dry_run only tells. */
int runs_close_dead(int base_fd, const struct sr_gc_options *options) SR_MUST_CHECK;

/* When a process began, in the kernel's ticks since boot: with the pid a name that nobody has
 * again. 0: there is no such process. */
uint64_t runs_birth_of(pid_t pid);

/* What reports vouch for beside the events, hashed as far as it is there. hashes has RUNS_VOUCHED
 * entries. */
enum { RUNS_VOUCHED = 7 };
size_t runs_hash_files(int dirfd, struct sr_hasher *hasher,
                       struct evidence_report_file files[RUNS_VOUCHED],
                       char hashes[RUNS_VOUCHED][SR_SHA256_TEXT]);

/* Removes the outputs that a dead run has not finished. 0 or a negative errno. */
int runs_drop_parts(int dirfd, const char *id) SR_MUST_CHECK;

/* Gives a dead run an end (run.failed) and a report. SR-EVD-001 or -002. */
int runs_close(int dirfd, const char *id, struct sr_error *err) SR_MUST_CHECK;

/* Signs a dead run's report as the run would have, by the host's wish (sign) or its policy's; what
 * is signed already stays. The errors of host_config_load(), evidence_key_load_private() and
 * sr_report_attest(). */
int runs_sign(int dirfd, struct sr_error *err) SR_MUST_CHECK;

#endif
