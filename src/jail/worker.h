/*
 * A confined worker: a child that does one piece of work on foreign bytes (an archive, another
 * user's directory, what a guest sent) and can harm nobody when they take it over. worker.c has the
 * theory of operation.
 *
 *   1. The caller opens everything: what is read, what is written. Libraries that are loaded late
 *      are loaded now.
 *   2. jail_worker_run() forks, confines the child, runs the function in it, and waits.
 *   3. In the child the function works on its descriptors and may report progress and send notes.
 *   4. The caller gets a result of fixed size, or an error: the function's own, or why the child
 *      died.
 *
 * A child that was taken over can send anything: sizes and texts are checked here, and the caller
 * checks what numbers and notes mean.
 */
#ifndef SR_JAIL_WORKER_H
#define SR_JAIL_WORKER_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bounds of what a child sends: a note fits into a packet, a result onto a stack. */
#define JAIL_WORKER_NOTE_MAX 65536
#define JAIL_WORKER_RESULT_MAX 8192
/* Notes of one worker, together: an image's configuration is a few KiB, a list of skipped files has
 * its own bound. */
#define JAIL_WORKER_NOTES_MAX (4u << 20)

struct jail_worker_plan {
    const char *what;  /* what sentences call it: "the packer" */
    enum sr_code code; /* of errors that are the worker's own: it died, it could not be confined */
    const char *path;
    const int *fds; /* descriptors that the child keeps, with their numbers; none below 3 */
    size_t fd_count;
    int read_dir;  /* the child may read what is below this directory; -1: no file can be opened */
    int write_dir; /* the child may make, write and remove what is below this directory; -1: nowhere
                    */
    bool read_any; /* root keeps its right to read files of any user (for read_dir) */
    uint64_t memory_max;  /* bytes of private memory */
    uint64_t file_max;    /* bytes that a file it writes may have */
    unsigned cpu_sec;     /* CPU time */
    const int *cgroup_fd; /* cgroup of version 2 that the child starts in; NULL: the caller's */

    /* Called in the caller's process, all may be NULL. progress also when nothing is reported,
     * every 100 ms; false ends the worker (as an error that says so). */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void (*note)(void *context, unsigned kind, const void *data, size_t len);
    void *context;
};

/* The child's end. */
struct image_worker;

/* Reports how far the work is (total 0: not known). Most calls send nothing and cost little. */
void jail_worker_progress(struct image_worker *worker, uint64_t done, uint64_t total);

/* Sends a note of at most JAIL_WORKER_NOTE_MAX bytes. */
void jail_worker_note(struct image_worker *worker, unsigned kind, const void *data, size_t len);

/* The work, in the child: fills result and returns 0, or -1 with err. It may leave memory and
 * descriptors behind. */
typedef int jail_worker_fn(void *context, struct image_worker *worker, void *result,
                           struct sr_error *err);

/*
 * Runs work in a confined child. 0 with result (result_size bytes) filled, or -1 with err and
 * result untouched. The child is gone when it returns. The caller must have one thread.
 */
int jail_worker_run(const struct jail_worker_plan *plan, jail_worker_fn *work, void *context,
                    void *result, size_t result_size, struct sr_error *err) SR_MUST_CHECK;

/* The two halves of jail_worker_run(), for a caller that does something else meanwhile. The two may
 * talk over a descriptor of the plan. jail_worker_wait() takes process; so does jail_worker_kill(),
 * which ends a worker whose result is not wanted any more. */
struct jail_worker_process {
    pid_t pid; /* -1: none */
    int pidfd; /* to kill it: a confined caller has no other way */
    int socket;
};
int jail_worker_start(const struct jail_worker_plan *plan, jail_worker_fn *work, void *context,
                      size_t result_size, struct jail_worker_process *process,
                      struct sr_error *err) SR_MUST_CHECK;
int jail_worker_wait(const struct jail_worker_plan *plan, struct jail_worker_process *process,
                     void *result, size_t result_size, struct sr_error *err) SR_MUST_CHECK;
void jail_worker_kill(struct jail_worker_process *process);

/* Returns how many threads to use here: one for each CPU of the caller, at most 8. */
unsigned jail_worker_threads(void);

#endif
