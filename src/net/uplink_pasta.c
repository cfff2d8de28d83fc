/*
 * The uplink by pasta: a child that stays in the host's network namespace, whose sockets it uses,
 * waits until the rules are in place, and then executes pasta, which joins the run's namespace and
 * makes the interface there. pasta carries TCP; for UDP there is a relay of ours (relay.c says
 * why).
 */
#include "net/uplink.h"

#include "common/clock.h"
#include "net/room.h"
#include "net/rtnl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "launch.network.apply"
#define READY_NSEC (5 * SR_NSEC_PER_SEC)

int uplink_pasta_find(const char *pasta, char program[PATH_MAX])
{
    char faster[PATH_MAX];
    if (realpath(pasta, program) == NULL)
        return -errno;
    if (__builtin_cpu_supports("avx2") &&
        snprintf(faster, sizeof faster, "%s.avx2", program) < (int)sizeof faster &&
        access(faster, X_OK) == 0)
        memcpy(program, faster, sizeof faster);
    return 0;
}

/* Runs as a child of the cell until its end. */
_Noreturn static void become_pasta(const struct cell_plan *plan, int gate)
{
    char go;
    if (read(gate, &go, 1) != 1)
        _exit(127); /* the cell did not come that far */
    const char *const argv[] = {
        plan->pasta, "--foreground", "--quiet", "--ipv4-only", "--config-net", "--no-map-gw",
        "--no-udp", "--no-icmp", "-u", "none", "-U", "none", "--no-dhcp", "--no-dhcpv6", "--no-ra",
        "--no-ndp", "-t", "none", "-T", "none", "-D", "none", "-I", NET_UPLINK, "-a",
        NET_UPLINK_TEXT, "-n", "30", "-g", NET_UPLINK_GATEWAY_TEXT, "--netns", ROOM_NETNS,
        /* As nobody it could not join the namespace; it gives up its capabilities and its root
                                 * directory, and filters its system calls, by itself. */
        "--runas", "0", NULL};
    if (plan->new_user && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
        _exit(127); /* root of the user namespace only */
    if (room_confine_uplink(plan) < 0) {
        dprintf(STDERR_FILENO, "pasta cannot be confined: %s\n", strerror(errno));
        _exit(127);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL); /* this pasta takes an ignored one for an error */
    char *const environment[] = {NULL};
    execve(plan->pasta_program, (char *const *)argv, environment);
    dprintf(STDERR_FILENO, "cannot execute %s: %s\n", plan->pasta_program, strerror(errno));
    _exit(127);
}

static int prepare(struct uplink *uplink, struct sr_error *err)
{
    if (uplink->plan->relay && relay_start(uplink->plan, &uplink->relay, err) < 0)
        return -1;
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

static int wait_for_route(struct uplink *uplink, int routes, struct sr_error *err)
{
    uint64_t deadline = sr_now() + READY_NSEC;
    for (;;) {
        int there = net_rtnl_has_default_route();
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
    if (uplink->plan->relay && relay_connect(uplink->plan, &uplink->relay, err) < 0)
        return -1;
    sr_cleanup_fd int routes = net_rtnl_watch(RTMGRP_IPV4_ROUTE);
    if (routes < 0)
        return sr_fail(err, SR_RUN_201, PATH, "routes cannot be watched: %s", strerror(-routes));
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
    if (uplink->relay.child > 0)
        kill(uplink->relay.child, SIGKILL);
    return 0;
}

const struct uplink_kind uplink_pasta = {prepare, connect_pasta, disconnect};
