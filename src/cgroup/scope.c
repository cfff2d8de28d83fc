/*
 * Theory of operation
 *
 * The conversation is a child's: it ends when it is over or its time is, whatever the bus does, and
 * libsystemd with all that it brings along never gets into the process that runs VMs. The library
 * is loaded when it is needed, so that other runs do not pay for it and hosts without systemd do
 * without.
 *
 *   1. The child asks for the scope, with its parent's pid, and waits for systemd to say that the
 *      job is done.
 *   2. It tells its parent "moved" or what went wrong (a struct sr_error), by a pipe.
 *   3. The parent moves on into a cgroup "supervisor" within: one with processes in it cannot hand
 *      controllers down.
 */
#include "cgroup/scope.h"

#include "cgroup/cgroup.h"
#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define PATH "launch.cgroup"
#define LIMIT_NSEC (2 * SR_NSEC_PER_SEC)
#define LIBRARY "libsystemd.so.0"

#define SYSTEMD "org.freedesktop.systemd1"
#define OBJECT "/org/freedesktop/systemd1"
#define MANAGER SYSTEMD ".Manager"

/* What is used of libsystemd. */
struct library {
    __typeof__(sd_bus_open_user) *open_user;
    __typeof__(sd_bus_match_signal) *match_signal;
    __typeof__(sd_bus_message_new_method_call) *new_method_call;
    __typeof__(sd_bus_message_append) *append;
    __typeof__(sd_bus_message_open_container) *open_container;
    __typeof__(sd_bus_message_close_container) *close_container;
    __typeof__(sd_bus_message_read) *read;
    __typeof__(sd_bus_call) *call;
    __typeof__(sd_bus_process) *process;
    __typeof__(sd_bus_wait) *wait;
};

static int load(struct library *library, struct sr_error *err)
{
    const struct {
        const char *name;
        void *to; /* a pointer to a function: of the size of dlsym's, as POSIX has it */
    } table[] = {
        {"sd_bus_open_user", &library->open_user},
        {"sd_bus_match_signal", &library->match_signal},
        {"sd_bus_message_new_method_call", &library->new_method_call},
        {"sd_bus_message_append", &library->append},
        {"sd_bus_message_open_container", &library->open_container},
        {"sd_bus_message_close_container", &library->close_container},
        {"sd_bus_message_read", &library->read},
        {"sd_bus_call", &library->call},
        {"sd_bus_process", &library->process},
        {"sd_bus_wait", &library->wait},
    };
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        void *found = handle != NULL ? dlsym(handle, table[i].name) : NULL;
        if (found == NULL)
            return sr_fail(err, SR_RUN_002, PATH, "%s cannot be used (package libsystemd0)",
                           LIBRARY);
        memcpy(table[i].to, &found, sizeof found);
    }
    return 0;
}

/* The job that is waited for, and what became of it. */
struct job {
    const struct library *library;
    const char *unit;
    bool removed;
    char result[32];
};

static int on_job_removed(sd_bus_message *message, void *context, sd_bus_error *error)
{
    struct job *job = context;
    const char *path, *unit, *result;
    uint32_t id;
    (void)error;
    if (job->library->read(message, "uoss", &id, &path, &unit, &result) < 0 ||
        strcmp(unit, job->unit) != 0)
        return 0;
    job->removed = true;
    snprintf(job->result, sizeof job->result, "%s", result);
    return 0;
}

static int build_request(const struct library *library, sd_bus *bus, const char *unit, pid_t pid,
                         sd_bus_message **request)
{
    int result =
        library->new_method_call(bus, request, SYSTEMD, OBJECT, MANAGER, "StartTransientUnit");
    if (result >= 0)
        result = library->append(*request, "ss", unit, "fail");
    if (result >= 0)
        result = library->open_container(*request, 'a', "(sv)");
    if (result >= 0)
        result = library->append(*request, "(sv)(sv)(sv)(sv)", "Description", "s", "safe-run",
                                 "PIDs", "au", 1, (uint32_t)pid, "Delegate", "b", 1, "CollectMode",
                                 "s", "inactive-or-failed");
    if (result >= 0)
        result = library->close_container(*request);
    return result < 0 ? result : library->append(*request, "a(sa(sv))", 0);
}

static int ask(const char *unit, pid_t pid, struct sr_error *err)
{
    static struct library library;
    sd_bus *bus;
    sd_bus_message *request;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    if (load(&library, err) < 0)
        return -1;
    struct job job = {.library = &library, .unit = unit};
    int result = library.open_user(&bus);
    if (result < 0)
        return sr_fail(err, SR_RUN_002, PATH, "the user's bus cannot be reached: %s",
                       strerror(-result));
    /* Before the request, or its end might be missed. */
    result = library.match_signal(bus, NULL, SYSTEMD, OBJECT, MANAGER, "JobRemoved", on_job_removed,
                                  &job);
    if (result >= 0)
        result = build_request(&library, bus, unit, pid, &request);
    if (result >= 0)
        result = library.call(bus, request, 0, &error, NULL);
    if (result < 0)
        return sr_fail(err, SR_RUN_002, PATH, "the user's systemd gives no scope: %s",
                       error.message != NULL ? error.message : strerror(-result));
    while (!job.removed) {
        result = library.process(bus, NULL);
        if (result == 0)
            result = library.wait(bus, UINT64_MAX);
        if (result < 0)
            return sr_fail(err, SR_RUN_002, PATH, "the user's bus: %s", strerror(-result));
    }
    return strcmp(job.result, "done") == 0
               ? 0
               : sr_fail(err, SR_RUN_002, PATH, "the user's systemd gives no scope: job %s",
                         job.result);
}

/* Where nobody says where the user's bus is, it is here. */
static bool has_bus(void)
{
    char path[64];
    snprintf(path, sizeof path, "/run/user/%u", geteuid());
    if (getenv("DBUS_SESSION_BUS_ADDRESS") != NULL || getenv("XDG_RUNTIME_DIR") != NULL)
        return true;
    return access(path, F_OK) == 0 && setenv("XDG_RUNTIME_DIR", path, 0) == 0;
}

_Noreturn static void live(const char *unit, pid_t parent, int out)
{
    struct sr_error said = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    int result = ask(unit, parent, &said);
    (void)result; /* said says it */
    _exit(write(out, &said, sizeof said) == (ssize_t)sizeof said ? 0 : 1);
}

/* What the child says; with its end, or that of its time, that it said nothing. */
static int listen_to(int in, struct sr_error *err)
{
    struct sr_error said;
    if (!sr_await(in, sr_now() + LIMIT_NSEC))
        return sr_fail(err, SR_RUN_002, PATH, "the user's systemd does not answer");
    if (read(in, &said, sizeof said) != (ssize_t)sizeof said)
        return sr_fail(err, SR_RUN_002, PATH, "the user's systemd could not be asked");
    return said.code == SR_OK ? 0 : sr_fail_as_said(err, SR_RUN_002, &said);
}

int cgroup_enter_scope(const char *run_id, struct sr_error *err)
{
    char unit[128];
    int pair[2];
    snprintf(unit, sizeof unit, "safe-run-%s.scope", run_id);
    if (!has_bus())
        return sr_fail(err, SR_RUN_002, PATH, "there is no bus of the user's");
    if (pipe2(pair, O_CLOEXEC) < 0)
        return sr_fail(err, SR_RUN_002, PATH, "no pipe: %s", strerror(errno));
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        live(unit, parent, pair[1]);
    close(pair[1]);
    sr_cleanup_fd int in = pair[0];
    int result = child < 0
                     ? sr_fail(err, SR_RUN_002, PATH, "no process to ask with: %s", strerror(errno))
                     : listen_to(in, err);
    if (child > 0) {
        kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (result < 0)
        return -1;
    result = SR_FAILPOINT("scope.move") ? -errno : cgroup_make_room(unit);
    return result == 0
               ? 0
               : sr_fail(err, SR_RUN_002, PATH, "%s cannot be used: %s", unit,
                         result == -ENOENT ? "the process is not in it" : strerror(-result));
}
