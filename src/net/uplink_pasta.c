/*
 * The uplink by pasta: a child that stays in the host's network namespace, whose sockets it uses, waits until the rules are
 * in place, and then executes pasta, which joins the run's namespace and makes the interface there.
 */
#include "uplink.h"

#include "clock.h"
#include "rtnl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "launch.network.apply"
#define READY_NSEC (5 * SR_NSEC_PER_SEC)
#define NETNS_FILE "/tmp/netns"

/* Runs as a child of the cell until its end. */
_Noreturn static void become_pasta(const struct cell_plan *plan, int gate)
{
    char go;
    if (read(gate, &go, 1) != 1)
        _exit(127); /* the cell did not come that far */
    const char *const argv[] = {
        plan->pasta, "--foreground", "--quiet", "--ipv4-only", "--config-net", "--no-map-gw",
        "--no-dhcp", "--no-dhcpv6", "--no-ra", "--no-ndp", "-t", "none", "-u", "none", "-T", "none",
        "-U", "none", "-I", SR_NET_UPLINK, "-a", SR_NET_UPLINK_TEXT, "-n", "30", "-g",
        SR_NET_UPLINK_GATEWAY_TEXT, "--netns", NETNS_FILE,
        /* As nobody it could not join the namespace; it gives up its capabilities and its root
                                 * directory, and filters its system calls, by itself. */
        "--runas", "0", NULL};
    if (plan->new_user && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
        _exit(127); /* root of the user namespace only */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL); /* this pasta takes an ignored one for an error */
    char *const environment[] = {NULL};
    execve(plan->pasta, (char *const *)argv, environment);
    dprintf(STDERR_FILENO, "cannot execute %s: %s\n", plan->pasta, strerror(errno));
    _exit(127);
}

static int prepare(struct uplink *uplink, struct sr_error *err)
{
    int gate[2];
    if (pipe2(gate, O_CLOEXEC) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "no pipe for the uplink: %s", strerror(errno));
    uplink->child = fork();
    if (uplink->child == 0) {
        close(gate[1]);
        become_pasta(uplink->plan, gate[0]);
    }
    close(gate[0]);
    uplink->gate = gate[1];
    if (uplink->child < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the uplink cannot be started: %s", strerror(errno));
    return 0;
}

/* A path by which pasta finds the namespace, on a file system that only the cell and its children see. */
static int name_namespace(struct sr_error *err)
{
    if (mount("none", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=0755") < 0)
        return sr_fail(err, SR_RUN_201, PATH, "a private /tmp cannot be mounted: %s",
                       strerror(errno));
    sr_cleanup_fd int fd = open(NETNS_FILE, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0444);
    if (fd < 0 || mount("/proc/self/ns/net", NETNS_FILE, NULL, MS_BIND, NULL) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the network namespace cannot be named: %s",
                       strerror(errno));
    return 0;
}

static int wait_for_route(struct uplink *uplink, int routes, struct sr_error *err)
{
    uint64_t deadline = sr_now() + READY_NSEC;
    for (;;) {
        int there = sr_rtnl_has_default_route();
        if (there > 0)
            return 0;
        if (there < 0)
            return sr_fail(err, SR_RUN_201, PATH, "routes cannot be read: %s", strerror(-there));
        int status;
        if (waitpid(uplink->child, &status, WNOHANG) == uplink->child) {
            uplink->child = -1;
            return sr_fail(err, SR_RUN_201, PATH,
                           "pasta, the uplink, ended at once; what it said is in net.log (it needs "
                           "a host with a "
                           "default IPv4 route)");
        }
        uint64_t now = sr_now();
        if (now >= deadline)
            return sr_fail(err, SR_RUN_201, PATH, "pasta, the uplink, brought no route within 5 s");
        struct pollfd wait[] = {{.fd = routes, .events = POLLIN},
                                {.fd = uplink->signals, .events = POLLIN}};
        poll(wait, 2, (int)((deadline - now) / SR_NSEC_PER_MSEC) + 1);
        char drain[4096];
        while (read(routes, drain, sizeof drain) > 0 ||
               read(uplink->signals, drain, sizeof drain) > 0)
            ;
    }
}

static int connect_pasta(struct uplink *uplink, struct sr_error *err)
{
    sr_cleanup_fd int routes = sr_rtnl_watch(RTMGRP_IPV4_ROUTE);
    if (routes < 0)
        return sr_fail(err, SR_RUN_201, PATH, "routes cannot be watched: %s", strerror(-routes));
    if (name_namespace(err) < 0)
        return -1;
    if (write(uplink->gate, "", 1) != 1)
        return sr_fail(err, SR_RUN_201, PATH, "the uplink has ended early");
    sr_close_fd(&uplink->gate);
    return wait_for_route(uplink, routes, err);
}

/* For its end nobody waits. */
static int disconnect(struct uplink *uplink, struct sr_error *err)
{
    (void)err;
    if (uplink->child > 0)
        kill(uplink->child, SIGKILL);
    return 0;
}

const struct uplink_kind uplink_pasta = {prepare, connect_pasta, disconnect};
