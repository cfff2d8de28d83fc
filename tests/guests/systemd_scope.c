/*
 * What systemd does when it is asked for a scope, on a bus of the test's: StartTransientUnit and
 * its JobRemoved, as the user's service manager has them. Usage: systemd-scope DIRECTORY UID
 * RESULT. The process goes into a cgroup of the unit's name in DIRECTORY (of version 2), which is
 * UID's then; RESULT is that of the job, "never" for none. Prints what it was asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define JOB "/org/freedesktop/systemd1/job/1"

static const char *directory, *result;
static uid_t owner;

static int move(const char *unit, uint32_t pid)
{
    static const char *const handed[] = {"", "/cgroup.procs", "/cgroup.threads",
                                         "/cgroup.subtree_control"};
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, unit);
    if (mkdir(path, 0755) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof handed / sizeof handed[0]; i++) {
        snprintf(path, sizeof path, "%s/%s%s", directory, unit, handed[i]);
        if (chown(path, owner, owner) < 0)
            return -errno;
    }
    snprintf(path, sizeof path, "%s/%s/cgroup.procs", directory, unit);
    FILE *file = fopen(path, "we");
    if (file == NULL || fprintf(file, "%u", pid) < 0 || fclose(file) != 0)
        return -errno;
    return 0;
}

static int read_properties(sd_bus_message *message, uint32_t *pid, int *delegate)
{
    const char *name, *contents;
    int more = sd_bus_message_enter_container(message, 'a', "(sv)");
    while (more >= 0 && (more = sd_bus_message_enter_container(message, 'r', "sv")) > 0) {
        if (sd_bus_message_read(message, "s", &name) < 0 ||
            sd_bus_message_peek_type(message, NULL, &contents) < 0)
            return -EINVAL;
        int got = strcmp(name, "PIDs") == 0       ? sd_bus_message_read(message, "v", "au", 1, pid)
                  : strcmp(name, "Delegate") == 0 ? sd_bus_message_read(message, "v", "b", delegate)
                                                  : sd_bus_message_skip(message, "v");
        if (got < 0 || sd_bus_message_exit_container(message) < 0)
            return -EINVAL;
    }
    return more < 0 ? more : sd_bus_message_exit_container(message);
}

static int start_transient_unit(sd_bus_message *message, void *context, sd_bus_error *error)
{
    const char *unit, *mode;
    uint32_t pid = 0;
    int delegate = 0;
    (void)context;
    int got = sd_bus_message_read(message, "ss", &unit, &mode);
    if (got >= 0)
        got = read_properties(message, &pid, &delegate);
    if (got < 0)
        return sd_bus_error_set_errno(error, got);
    printf("%s %s %u %d\n", unit, mode, pid, delegate);
    if (strcmp(result, "refused") == 0)
        return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "not today");
    int moved = strcmp(result, "done") == 0 ? move(unit, pid) : 0;
    if (moved < 0)
        return sd_bus_error_set_errno(error, moved);
    got = sd_bus_reply_method_return(message, "o", JOB);
    if (got >= 0 && strcmp(result, "never") != 0)
        got = sd_bus_emit_signal(sd_bus_message_get_bus(message), "/org/freedesktop/systemd1",
                                 "org.freedesktop.systemd1.Manager", "JobRemoved", "uoss",
                                 (uint32_t)1, JOB, unit, result);
    return got;
}

static const sd_bus_vtable manager[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("StartTransientUnit", "ssa(sv)a(sa(sv))", "o", start_transient_unit,
                  SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("JobRemoved", "uoss", 0),
    SD_BUS_VTABLE_END,
};

int main(int argc, char **argv)
{
    sd_bus *bus;
    if (argc != 4)
        return 64;
    directory = argv[1];
    owner = (uid_t)strtoul(argv[2], NULL, 10);
    result = argv[3];
    setvbuf(stdout, NULL, _IOLBF, 0);
    int status = sd_bus_open_user(&bus);
    if (status >= 0)
        status = sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1",
                                          "org.freedesktop.systemd1.Manager", manager, NULL);
    if (status >= 0)
        status = sd_bus_request_name(bus, "org.freedesktop.systemd1", 0);
    if (status >= 0)
        puts("ready");
    while (status >= 0) {
        status = sd_bus_process(bus, NULL);
        if (status == 0)
            status = sd_bus_wait(bus, UINT64_MAX);
    }
    fprintf(stderr, "the bus: %s\n", strerror(-status));
    return 1;
}
