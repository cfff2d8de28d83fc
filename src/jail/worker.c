/*
 * Theory of operation
 *
 * The child, in this order, and what is true after each step:
 *   1. Death with the caller, which is looked after in case it has died before.
 *   2. Standard descriptors are /dev/null; every other descriptor but the plan's and the socket to
 *      the caller is closed.
 *   3. Resource limits: memory, size of files, CPU time, no core dump.
 *   4. Identity. Root's worker becomes nobody (65534) where that id exists. Two workers need more
 *      of the caller's rights:
 *      - one that walks a directory of the caller's (read_any) keeps CAP_DAC_READ_SEARCH, because
 *        the files there are anybody's; it can read only what step 6 leaves;
 *      - one that writes a directory of the caller's (write_dir) keeps the caller's uid, because
 *        that owns it; without capabilities, and step 6 leaves nothing but this directory.
 *   5. No capability but that one in any set, no_new_privs, not dumpable: no process of the same id
 *      can trace it.
 *   6. Landlock: nothing, or reading below read_dir, or making and writing below write_dir.
 *   7. seccomp: a list; files can be opened only by those two kinds; no socket, no exec, no
 *      process, only threads.
 *
 * Sanitized builds leave out the limit of memory, whose shadow is larger, and keep standard error,
 * for what they find.
 *
 * The socket keeps the bounds of messages (SOCK_SEQPACKET), so that nothing has to be parsed: a
 * header, then its bytes.
 */
#include "jail/worker.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/printable.h"
#include "common/process.h"
#include "jail/jail.h"
#include "jail/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define KEPT_MAX 16
/* A walk holds a descriptor for each level of a tree. */
#define FILES_MAX 4096
#define TICK_MSEC 100
/* For a worker that has said its last word to end by itself. */
#define END_MSEC 1000
#define THREADS_MAX 8

enum message_kind { MESSAGE_PROGRESS = 1, MESSAGE_NOTE, MESSAGE_RESULT, MESSAGE_ERROR };

struct header {
    uint32_t kind, detail;
    uint64_t done, total;
};

struct message {
    struct header header;
    char data[JAIL_WORKER_NOTE_MAX];
};

struct image_worker {
    int socket;
    uint64_t told_nsec;
    struct message out;
};

unsigned jail_worker_threads(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return (unsigned)(count < 1 ? 1 : count > THREADS_MAX ? THREADS_MAX : count);
}

/* A caller that does not take it any more has gone, and then so are we. */
static void send_message(struct image_worker *worker, struct header header, const void *data,
                         size_t len)
{
    worker->out.header = header;
    if (len > 0)
        memcpy(worker->out.data, data, len);
    ssize_t put;
    do
        put = write(worker->socket, &worker->out, sizeof header + len);
    while (put < 0 && errno == EINTR);
    if (put < 0)
        _exit(1);
}

void jail_worker_progress(struct image_worker *worker, uint64_t done, uint64_t total)
{
    uint64_t now = sr_now();
    if (now - worker->told_nsec < TICK_MSEC / 2 * SR_NSEC_PER_MSEC)
        return;
    worker->told_nsec = now;
    send_message(worker, (struct header){.kind = MESSAGE_PROGRESS, .done = done, .total = total},
                 NULL, 0);
}

void jail_worker_note(struct image_worker *worker, unsigned kind, const void *data, size_t len)
{
    send_message(worker, (struct header){.kind = MESSAGE_NOTE, .detail = kind}, data,
                 len < JAIL_WORKER_NOTE_MAX ? len : JAIL_WORKER_NOTE_MAX);
}

static int set_limits(const struct jail_worker_plan *plan)
{
    const struct jail_limit limits[] = {
        {RLIMIT_FSIZE, plan->file_max},
        {RLIMIT_NOFILE, FILES_MAX},
        {RLIMIT_CORE, 0},
#ifndef SR_WITH_FAILPOINTS
        {RLIMIT_DATA, plan->memory_max},
#endif
    };
    /* Beyond the soft limit is SIGXCPU, which says what it was; beyond the hard one SIGKILL. */
    const struct rlimit cpu = {plan->cpu_sec, plan->cpu_sec + 5};
    return setrlimit(RLIMIT_CPU, &cpu) < 0 ? -1
                                           : jail_limit(limits, sizeof limits / sizeof limits[0]);
}

static int compare_fds(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static int keep_descriptors(const struct jail_worker_plan *plan, int socket)
{
    int kept[KEPT_MAX];
    size_t count = 0;
    if (plan->fd_count > KEPT_MAX - 3) {
        errno = EMFILE;
        return -1;
    }
    for (size_t i = 0; i < plan->fd_count; i++)
        kept[count++] = plan->fds[i];
    kept[count++] = socket;
    if (plan->read_dir >= 0)
        kept[count++] = plan->read_dir;
    if (plan->write_dir >= 0)
        kept[count++] = plan->write_dir;
    qsort(kept, count, sizeof kept[0], compare_fds);
    unsigned from = STDERR_FILENO + 1;
    for (size_t i = 0; i < count; i++) {
        if ((unsigned)kept[i] > from && close_range(from, (unsigned)kept[i] - 1, 0) < 0)
            return -1;
        from = (unsigned)kept[i] + 1;
    }
    return close_range(from, ~0u, 0);
}

static int silence_standard_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return -1;
#ifndef SR_WITH_FAILPOINTS
    return dup2(null, STDERR_FILENO);
#else
    return 0;
#endif
}

static int change_identity(const struct jail_worker_plan *plan)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return -1;
    if (plan->write_dir < 0 && jail_become_nobody() < 0)
        return -1;
    if (syscall(SYS_capget, &header, data) < 0)
        return -1;
    uint32_t reading = 1u << CAP_DAC_READ_SEARCH;
    if ((data[0].permitted & reading) == 0)
        reading = 1u << CAP_DAC_OVERRIDE; /* what a container's root has instead */
    uint32_t kept = plan->read_any ? data[0].permitted & reading : 0;
    data[0] = (struct __user_cap_data_struct){.permitted = kept, .effective = kept};
    data[1] = (struct __user_cap_data_struct){0};
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM)
            return -1; /* EPERM: an ordinary user, who has none to bring along */
    if (syscall(SYS_capset, &header, data) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int confine(const struct jail_worker_plan *plan, int socket, const char **step)
{
    *step = "resource limits";
    if (SR_FAILPOINT("worker.confine") || set_limits(plan) < 0)
        return -1;
    *step = "identity";
    if (change_identity(plan) < 0)
        return -1;
    *step = "parent"; /* here because a change of identity undoes it */
    if (jail_die_with_parent(socket) < 0)
        return -1;
    struct jail_access places[2];
    size_t count = 0;
    if (plan->read_dir >= 0)
        places[count++] = (struct jail_access){plan->read_dir, JAIL_READ_FILE | JAIL_READ_DIR};
    if (plan->write_dir >= 0)
        places[count++] = (struct jail_access){plan->write_dir, JAIL_WRITE_TREE};
    *step = "landlock";
    if (jail_landlock(places, count, true) < 0)
        return -1;
    *step = "seccomp";
    int result = jail_filter(plan->write_dir >= 0  ? JAIL_WRITER
                             : plan->read_dir >= 0 ? JAIL_READER
                                                   : JAIL_WORKER);
    errno = -result;
    return result < 0 ? -1 : 0;
}

/* The child. */
_Noreturn static void serve(const struct jail_worker_plan *plan, int socket, jail_worker_fn *work,
                            void *context, size_t result_size)
{
    static struct image_worker worker;
    static union {
        max_align_t alignment;
        char bytes[JAIL_WORKER_RESULT_MAX];
    } result;
    struct sr_error err = {0};
    const char *step = "descriptors";
    worker.socket = socket;
    int good = silence_standard_descriptors() < 0 || keep_descriptors(plan, socket) < 0 ||
                       confine(plan, socket, &step) < 0
                   ? sr_fail(&err, plan->code, plan->path, "%s cannot be confined: %s: %s",
                             plan->what, step, strerror(errno))
                   : work(context, &worker, &result, &err);
    if (good == 0)
        send_message(&worker, (struct header){.kind = MESSAGE_RESULT}, &result, result_size);
    else
        send_message(&worker, (struct header){.kind = MESSAGE_ERROR}, &err, sizeof err);
    _exit(0);
}

struct listener {
    const struct jail_worker_plan *plan;
    int socket;
    uint64_t done, total;
    size_t noted;
    struct message in;
};

/* Fills err from what a child that may have been taken over calls an error. */
static int take_error(const struct listener *listener, size_t len, struct sr_error *err)
{
    struct sr_error said;
    if (len != sizeof said)
        return sr_fail(err, listener->plan->code, listener->plan->path, "%s spoke nonsense",
                       listener->plan->what);
    memcpy(&said, listener->in.data, sizeof said);
    return sr_fail_as_said(err, listener->plan->code, &said);
}

static bool tell_progress(const struct listener *listener)
{
    const struct jail_worker_plan *plan = listener->plan;
    return plan->progress == NULL || plan->progress(plan->context, listener->done, listener->total);
}

/* One message. 1: more may come; 0: the result is there; -1: err; -2: the child has gone. */
static int listen_once(struct listener *listener, void *result, size_t result_size,
                       struct sr_error *err)
{
    const struct jail_worker_plan *plan = listener->plan;
    ssize_t got = read(listener->socket, &listener->in, sizeof listener->in);
    if (got < 0 && errno == EINTR)
        return 1;
    if (got <= 0)
        return -2;
    size_t len = (size_t)got - sizeof(struct header);
    const struct header *header = &listener->in.header;
    if ((size_t)got < sizeof *header)
        return sr_fail(err, plan->code, plan->path, "%s spoke nonsense", plan->what);
    switch (header->kind) {
    case MESSAGE_PROGRESS:
        listener->done = header->done;
        listener->total = header->total;
        return tell_progress(listener)
                   ? 1
                   : sr_fail(err, plan->code, plan->path, "%s was told to stop", plan->what);
    case MESSAGE_NOTE:
        listener->noted += len;
        if (listener->noted > JAIL_WORKER_NOTES_MAX)
            return sr_fail(err, plan->code, plan->path, "%s says too much", plan->what);
        if (plan->note != NULL)
            plan->note(plan->context, header->detail, listener->in.data, len);
        return 1;
    case MESSAGE_RESULT:
        if (len != result_size)
            return sr_fail(err, plan->code, plan->path, "%s spoke nonsense", plan->what);
        memcpy(result, listener->in.data, len);
        return 0;
    case MESSAGE_ERROR:
        return take_error(listener, len, err);
    default:
        return sr_fail(err, plan->code, plan->path, "%s spoke nonsense", plan->what);
    }
}

static int say_death(const struct jail_worker_plan *plan, int status, struct sr_error *err)
{
    int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signal_number == SIGXCPU)
        return sr_fail(err, plan->code, plan->path, "%s took more than %u s of CPU time",
                       plan->what, plan->cpu_sec);
    if (signal_number != 0)
        return sr_fail(err, plan->code, plan->path, "%s was ended by signal %d (%s)", plan->what,
                       signal_number, strsignal(signal_number));
    return sr_fail(err, plan->code, plan->path, "%s ended without a result", plan->what);
}

static int listen_to_the_end(struct listener *listener, void *result, size_t result_size,
                             struct sr_error *err)
{
    const struct jail_worker_plan *plan = listener->plan;
    int more = 1;
    while (more == 1) {
        struct pollfd event = {.fd = listener->socket, .events = POLLIN};
        int ready = poll(&event, 1, TICK_MSEC);
        if (ready > 0)
            more = listen_once(listener, result, result_size, err);
        else if (ready == 0 && !tell_progress(listener))
            more = sr_fail(err, plan->code, plan->path, "%s was told to stop", plan->what);
        else if (ready < 0 && errno != EINTR)
            more = sr_fail(err, plan->code, plan->path, "%s cannot be waited for: %s", plan->what,
                           strerror(errno));
    }
    return more;
}

int jail_worker_start(const struct jail_worker_plan *plan, jail_worker_fn *work, void *context,
                      size_t result_size, struct jail_worker_process *process, struct sr_error *err)
{
    int pair[2];
    if (result_size > JAIL_WORKER_RESULT_MAX)
        return sr_fail(err, plan->code, plan->path, "%s: its result is too large", plan->what);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return sr_fail(err, plan->code, plan->path, "%s cannot be started: %s", plan->what,
                       strerror(errno));
    int pidfd = -1;
    pid_t pid = SR_FAILPOINT("worker.fork")
                    ? -1
                    : sr_fork_into(plan->cgroup_fd != NULL ? *plan->cgroup_fd : -1, &pidfd);
    if (pid == 0) {
        close(pair[0]);
        serve(plan, pair[1], work, context, result_size);
    }
    int error = errno;
    close(pair[1]);
    sr_cleanup_fd int socket = pair[0];
    if (pid < 0)
        return sr_fail(err, plan->code, plan->path, "%s cannot be started: %s", plan->what,
                       strerror(error));
    *process =
        (struct jail_worker_process){.pid = pid, .pidfd = pidfd, .socket = sr_take_fd(&socket)};
    return 0;
}

/* One that does not end by itself, because it was stopped say, is killed. */
static int reap(struct jail_worker_process *process)
{
    int status = 0;
    if (!sr_reap(process->pid, process->pidfd, END_MSEC, &status)) {
        pidfd_send_signal(process->pidfd, SIGKILL, NULL, 0);
        sr_reap(process->pid, process->pidfd, SR_REAP_MSEC, &status);
    }
    process->pid = -1;
    sr_close_fd(&process->pidfd);
    sr_close_fd(&process->socket);
    return status;
}

int jail_worker_wait(const struct jail_worker_plan *plan, struct jail_worker_process *process,
                     void *result, size_t result_size, struct sr_error *err)
{
    sr_cleanup_free struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        jail_worker_kill(process);
        return sr_fail(err, plan->code, plan->path, "%s: out of memory", plan->what);
    }
    *listener = (struct listener){.plan = plan, .socket = process->socket};
    int ended = listen_to_the_end(listener, result, result_size, err);
    if (ended == -1)
        pidfd_send_signal(process->pidfd, SIGKILL, NULL, 0);
    int status = reap(process);
    return ended == -2 ? say_death(plan, status, err) : ended;
}

void jail_worker_kill(struct jail_worker_process *process)
{
    if (process->pid <= 0)
        return;
    pidfd_send_signal(process->pidfd, SIGKILL, NULL, 0);
    reap(process);
}

int jail_worker_run(const struct jail_worker_plan *plan, jail_worker_fn *work, void *context,
                    void *result, size_t result_size, struct sr_error *err)
{
    struct jail_worker_process process = {.pid = -1, .pidfd = -1, .socket = -1};
    if (jail_worker_start(plan, work, context, result_size, &process, err) < 0)
        return -1;
    return jail_worker_wait(plan, &process, result, result_size, err);
}
