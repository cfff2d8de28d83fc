/*
 * Theory of operation
 *
 *   1. The kernel starts us from the initramfs. We mount just enough to find the channel and say
 *      HELLO; while the host answers, we make what no specification is needed for.
 *   2. SPEC and START come. Clock and random pool are the host's from now on; the root is built
 *      and entered.
 *   3. The command runs. One poll loop moves its output to the host as far as the host has given
 *      credit, its input from the host as far as the pipe takes it, and reaps every orphan.
 *   4. The command ends: everything else it left running is killed, its pipes are read to their
 *      end, and only then EXIT is sent. So EXIT means that both streams are complete.
 *   5. The outputs follow, if there are any; nothing of the command runs any more.
 *   6. The host, which has it all then, ends the VM. Whenever the channel ends, the machine resets.
 *
 * Writing to the channel may block; the host always reads it, because credit bounds what we send.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define USAGE_MSEC 1000

struct run {
    struct channel channel;
    struct command command;
    uint32_t credit[CHANNEL_STREAM_COUNT];
    uint8_t input[CHANNEL_WINDOW]; /* from the host, not yet taken by the command */
    size_t input_len;
    size_t input_taken; /* taken by the command, not yet credited to the host */
    bool input_ended;
    bool ended; /* the command's own process */
    struct channel_frame_exit exit;
};

static struct run run; /* large, and there is one */

static void say_hello(void)
{
    const struct channel_frame_hello hello = {CHANNEL_MAGIC, CHANNEL_VERSION};
    memcpy(run.channel.out.payload, &hello, sizeof hello);
    channel_send(&run.channel, CHANNEL_FRAME_HELLO, sizeof hello);
}

static void set_clock(uint64_t nsec)
{
    const struct timespec now = {(time_t)(nsec / 1000000000u), (long)(nsec % 1000000000u)};
    clock_settime(CLOCK_REALTIME, &now);
}

/* Credits the host's random bytes and reseeds at once, so that no output depends on an earlier
 * state. */
static void seed_random(const uint8_t *bytes, size_t len)
{
    struct {
        struct rand_pool_info info;
        uint8_t bytes[64];
    } pool = {.info = {.entropy_count = 0}};
    if (len > sizeof pool.bytes)
        len = sizeof pool.bytes;
    pool.info.entropy_count = (int)(len * 8);
    pool.info.buf_size = (int)len;
    memcpy(pool.bytes, bytes, len);
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
        die("random pool");
    close(fd);
}

static void loopback_up(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (fd >= 0) {
        ioctl(fd, SIOCSIFFLAGS, &request);
        close(fd);
    }
}

static bool has_carrier(void)
{
    char carrier = '0';
    int fd = open("/view/sys/class/net/eth0/carrier", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!read(fd, &carrier, 1);
        close(fd);
    }
    return carrier == '1';
}

/* The kernel has configured eth0 while it booted, but learns of the carrier in a work queue: a
 * command that came first would find the network down. (IFF_RUNNING says so a second late.) */
static void wait_for_carrier(void)
{
    const struct sockaddr_nl links = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    int changes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    char drain[4096];
    if (changes < 0)
        return;
    bind(changes, (const struct sockaddr *)&links, sizeof links);
    struct pollfd wait = {.fd = changes, .events = POLLIN};
    while (!has_carrier() && poll(&wait, 1, 1000) > 0 && read(changes, drain, sizeof drain) > 0)
        ;
    close(changes);
}

/* Opened before the command could put anything else in their places. */
static int cpu_stat = -1, meminfo = -1, vmstat = -1;

static void open_usage(void)
{
    vmstat = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
    cpu_stat = open("/sys/fs/cgroup/run/cpu.stat", O_RDONLY | O_CLOEXEC);
    meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
}

/* The number after a name in a file of the kernel's; 0 when it is not there. */
static uint64_t number_in(int fd, const char *name)
{
    char text[512];
    unsigned long long number = 0;
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    const char *at = strstr(text, name);
    if (at != NULL)
        sscanf(at + strlen(name), " %llu", &number);
    return number;
}

/* Processes that the kernel has killed for lack of memory, whatever became of the command. */
static uint64_t oom_kills(void)
{
    static const char name[] = "\noom_kill ";
    char text[16384];
    size_t len = 0;
    ssize_t got;
    /* The kernel gives a page of it at a time. */
    while (len < sizeof text - 1 && (got = read(vmstat, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = '\0';
    const char *at = strstr(text, name);
    return at != NULL ? strtoull(at + sizeof name - 1, NULL, 10) : 0;
}

static void send_usage(void)
{
    const uint64_t total = number_in(meminfo, "MemTotal:"),
                   available = number_in(meminfo, "MemAvailable:");
    const struct channel_frame_usage usage = {.cpu_usec = number_in(cpu_stat, "usage_usec"),
                                              .memory_bytes = (total - available) * 1024};
    memcpy(run.channel.out.payload, &usage, sizeof usage);
    channel_send(&run.channel, CHANNEL_FRAME_USAGE, sizeof usage);
}

static int64_t now_msec(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void send_refusal(const struct refusal *refusal)
{
    size_t len = strlen(refusal->text);
    memcpy(run.channel.out.payload, &refusal->status, sizeof refusal->status);
    memcpy(run.channel.out.payload + sizeof refusal->status, refusal->text, len);
    channel_send(&run.channel, CHANNEL_FRAME_REFUSED, sizeof refusal->status + len);
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Moves one piece of the command's output to the host; closes the pipe at its end. */
static void forward_output(int *fd, enum channel_stream stream)
{
    size_t room = run.credit[stream] < CHANNEL_FRAME_MAX_PAYLOAD ? run.credit[stream]
                                                                 : CHANNEL_FRAME_MAX_PAYLOAD;
    ssize_t got = read(*fd, run.channel.out.payload, room);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        close_end(fd);
        return;
    }
    run.credit[stream] -= (uint32_t)got;
    channel_send(&run.channel,
                 stream == CHANNEL_STREAM_STDOUT ? CHANNEL_FRAME_STDOUT : CHANNEL_FRAME_STDERR,
                 (size_t)got);
}

/* Gives the command what has come for its stdin. A command that closed its stdin gets nothing more,
 * and the host no more credit. */
static void forward_input(void)
{
    while (run.command.in >= 0 && run.input_len > 0) {
        ssize_t put = write(run.command.in, run.input, run.input_len);
        if (put < 0 && errno == EAGAIN)
            return;
        if (put < 0) {
            close_end(&run.command.in);
            return;
        }
        run.input_len -= (size_t)put;
        run.input_taken += (size_t)put;
        memmove(run.input, run.input + put, run.input_len);
    }
    if (run.input_ended && run.input_len == 0)
        close_end(&run.command.in);
    if (run.command.in >= 0 && run.input_taken >= CHANNEL_WINDOW / 4) {
        const struct channel_frame_credit credit = {CHANNEL_STREAM_STDIN,
                                                    (uint32_t)run.input_taken};
        memcpy(run.channel.out.payload, &credit, sizeof credit);
        channel_send(&run.channel, CHANNEL_FRAME_CREDIT, sizeof credit);
        run.input_taken = 0;
    }
}

static void take_frame(const struct channel_frame_header *header, const uint8_t *payload)
{
    switch (header->type) {
    case CHANNEL_FRAME_STDIN:
        if (header->length > sizeof run.input - run.input_len)
            die("stdin beyond the window");
        if (run.command.in >= 0) {
            memcpy(run.input + run.input_len, payload, header->length);
            run.input_len += header->length;
        }
        break;
    case CHANNEL_FRAME_STDIN_EOF:
        run.input_ended = true;
        break;
    case CHANNEL_FRAME_SIGNAL: {
        uint32_t number;
        memcpy(&number, payload, sizeof number);
        if (!run.ended)
            kill(-run.command.pid, (int)number);
        break;
    }
    case CHANNEL_FRAME_CREDIT: {
        struct channel_frame_credit credit;
        memcpy(&credit, payload, sizeof credit);
        if (credit.stream < CHANNEL_STREAM_COUNT)
            run.credit[credit.stream] += credit.bytes;
        break;
    }
    case CHANNEL_FRAME_RESIZE: /* the command has no terminal */
        break;
    case CHANNEL_FRAME_HOSTS:
        root_add_hosts(payload, header->length);
        break;
    case CHANNEL_FRAME_CLOSE: {
        uint32_t stream;
        memcpy(&stream, payload, sizeof stream);
        close_end(stream == CHANNEL_STREAM_STDOUT ? &run.command.out : &run.command.err);
        break;
    }
    default:
        die("unexpected frame");
    }
}

static void record_exit(int status, const struct rusage *usage)
{
    run.ended = true;
    run.exit.exit_code = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 0;
    run.exit.signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0;
    run.exit.user_usec =
        (uint64_t)usage->ru_utime.tv_sec * 1000000 + (uint64_t)usage->ru_utime.tv_usec;
    run.exit.system_usec =
        (uint64_t)usage->ru_stime.tv_sec * 1000000 + (uint64_t)usage->ru_stime.tv_usec;
    run.exit.max_rss_kib = (uint64_t)usage->ru_maxrss;
}

/* Reaps whatever ended. Once the command has, nothing else may live on: kill(-1) reaches every
 * process in one go, a fork in flight included, because fork fails with a fatal signal pending. */
static void reap(void)
{
    int status;
    struct rusage usage;
    pid_t pid;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
        if (pid == run.command.pid)
            record_exit(status, &usage);
    if (run.ended)
        kill(-1, SIGKILL);
}

static void run_to_end(int signals)
{
    int64_t next_usage = now_msec() + USAGE_MSEC / 2; /* between the host's own samples */
    while (!run.ended || run.command.out >= 0 || run.command.err >= 0) {
        /* A negative descriptor is skipped by poll: no credit, no reading. */
        struct pollfd fds[] = {
            {.fd = run.channel.fd, .events = POLLIN},
            {.fd = signals, .events = POLLIN},
            {.fd = run.credit[CHANNEL_STREAM_STDOUT] > 0 ? run.command.out : -1, .events = POLLIN},
            {.fd = run.credit[CHANNEL_STREAM_STDERR] > 0 ? run.command.err : -1, .events = POLLIN},
            {.fd = run.input_len > 0 ? run.command.in : -1, .events = POLLOUT},
        };
        int64_t now = now_msec();
        if (now >= next_usage && !run.ended) {
            send_usage();
            next_usage = now + USAGE_MSEC;
        }
        if (poll(fds, sizeof fds / sizeof fds[0], run.ended ? -1 : (int)(next_usage - now)) < 0 &&
            errno != EINTR)
            die("poll");
        if (fds[0].revents != 0) {
            channel_fill(&run.channel);
            struct channel_frame_header header;
            const uint8_t *payload;
            while (channel_next(&run.channel, &header, &payload)) {
                take_frame(&header, payload);
                channel_done(&run.channel, &header);
            }
            forward_input();
        }
        if (fds[4].revents != 0)
            forward_input();
        if (fds[1].revents != 0) {
            struct signalfd_siginfo info;
            while (read(signals, &info, sizeof info) > 0)
                ;
            reap();
        }
        if (fds[2].revents != 0 && run.command.out >= 0)
            forward_output(&run.command.out, CHANNEL_STREAM_STDOUT);
        if (fds[3].revents != 0 && run.command.err >= 0)
            forward_output(&run.command.err, CHANNEL_STREAM_STDERR);
    }
}

/* The host ends the VM when it has our last frame; what is still in the device when the machine
 * resets would be lost. Its credits may still come. */
static _Noreturn void wait_for_the_end(void)
{
    struct channel_frame_header header;
    const uint8_t *payload;
    for (;;) {
        while (channel_next(&run.channel, &header, &payload))
            channel_done(&run.channel, &header);
        channel_fill(&run.channel); /* powers off when the host is gone */
    }
}

/* As a batch process init does not preempt the command at each write to its pipe; it runs when the
 * pipe is full or the command waits. On one virtual processor that makes few large frames out of
 * many small ones. What it starts is scheduled as usual. */
static void yield_to_command(void)
{
    const struct sched_param none = {0};
    /* musl's sched_setscheduler() refuses on principle. */
    syscall(SYS_sched_setscheduler, 0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none);
}

static bool prepare(const struct spec *spec, struct refusal *refusal)
{
    if (spec->clock_nsec != 0)
        set_clock(spec->clock_nsec);
    if (spec->entropy_len > 0)
        seed_random(spec->entropy, spec->entropy_len);
    if (spec->hosts != NULL)
        wait_for_carrier();
    if (spec->hostname != NULL)
        sethostname(spec->hostname, strlen(spec->hostname));
    if (!root_enter(spec, refusal))
        return false;
    outputs_prepare(spec);
    open_usage();
    return true;
}

int main(void)
{
    umask(0); /* modes of what we make are meant as written; the command gets its own */
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    signal(SIGPIPE, SIG_IGN);
    int signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);

    mkdir("/dev", 0755);
    if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, NULL) < 0)
        die("/dev");
    yield_to_command();
    channel_open(&run.channel);
    say_hello();
    loopback_up();
    struct refusal refusal;
    bool prepared = root_prepare(&refusal);

    struct spec spec = {0};
    spec_receive(&run.channel, &spec);
    run.credit[CHANNEL_STREAM_STDOUT] = run.credit[CHANNEL_STREAM_STDERR] = CHANNEL_WINDOW;
    if (prepared && prepare(&spec, &refusal) && command_start(&spec, &run.command, &refusal)) {
        channel_send(&run.channel, CHANNEL_FRAME_STARTED, 0);
        run_to_end(signals);
        run.exit.oom_kills = oom_kills();
        memcpy(run.channel.out.payload, &run.exit, sizeof run.exit);
        channel_send(&run.channel, CHANNEL_FRAME_EXIT, sizeof run.exit);
        outputs_send(&spec, &run.channel);
    } else {
        send_refusal(&refusal);
    }
    wait_for_the_end();
}
