#include "net/net.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"
#include "common/process.h"
#include "net/cell.h"
#include "net/names.h"
#include "net/talk.h"
#include "net/uplink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "launch.network.apply"
/* The cell gives its uplink 5 s; more it needs only on a machine that stands still. */
#define APPLY_NSEC (15 * SR_NSEC_PER_SEC)
/* For a cell to end by itself, and once more when it was killed, which takes all it has along. */
#define END_MSEC 1000
/* Elements that may still be added while the run goes on, and the flows the kernel notes. */
#define MORE_COUNTS (2 * NET_MORE_TARGETS + 4096 + 256)

static const struct net_pool pasta_pool = {NET_UPLINK_ADDRESS, NET_UPLINK_ADDRESS,
                                           NET_UPLINK_GATEWAY, 30};

/* The host's own addresses and the run's: opened by rules for them alone. */
static int own_addresses(struct net *net, const struct net_pool *pool, struct sr_error *err)
{
    struct net_local *local = calloc(1, sizeof *local);
    int result = local == NULL ? -ENOMEM : net_local_open(local);
    if (local != NULL) {
        net->own = local->own;
        sr_close_fd(&local->fd);
    }
    free(local);
    const struct net_local_range ours[] = {
        {NET_GATEWAY, NET_GUEST},
        {pool->gateway, pool->gateway},
        {pool->first, pool->last},
    };
    for (size_t i = 0; result >= 0 && i < sizeof ours / sizeof ours[0]; i++)
        result = net_local_add(&net->own, ours[i].first, ours[i].last);
    if (result == -E2BIG)
        return sr_fail(err, SR_RUN_201, PATH, NET_LOCAL_TOO_MANY);
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the host's addresses cannot be listed: %s",
                       strerror(-result));
    return 0;
}

/* Whether root's cell and pasta can do without root: not with a bridge, whose port takes it, nor
 * where the TAP's device node is root's only, which pasta opens too. */
static bool can_have_own_id(const struct net_config *config)
{
    struct stat st;
    return config->uid != 0 && config->bridge == NULL && stat("/dev/net/tun", &st) == 0 &&
           (st.st_mode & 0006) == 0006;
}

static int find_programs(const struct net_config *config, struct jail_files *files,
                         char pasta[PATH_MAX], struct sr_error *err)
{
    if (jail_files_find(config->nft, false, config->cache, files, err) < 0)
        return -1;
    if (config->bridge != NULL)
        return 0;
    int result = uplink_pasta_find(config->pasta, pasta);
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH, "%s: %s", config->pasta, strerror(-result));
    return jail_files_find(pasta, false, config->cache, files, err);
}

static int start_cell(struct net *net, const char *run_id, const struct net_config *config,
                      const struct sr_buf *ruleset, int dirfd, struct sr_error *err)
{
    int pair[2];
    char pasta[PATH_MAX] = "";
    __attribute__((cleanup(jail_files_free))) struct jail_files files = {0};
    if (find_programs(config, &files, pasta, err) < 0)
        return -1;
    sr_cleanup_fd int log =
        openat(dirfd, "net.log", O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the net cell cannot be started: %s",
                       strerror(errno));
    net->fd = pair[0];
    sr_cleanup_fd int theirs = pair[1];
    bool own_id = can_have_own_id(config);
    const struct cell_plan plan = {
        .nft = config->nft,
        .pasta = config->pasta,
        .pasta_program = pasta,
        .files = &files,
        .run_id = run_id,
        .tap = net->tap,
        .mtu = net->mtu,
        .bridge = net->bridge,
        .pool = config->pool,
        .ruleset = ruleset->data,
        .ruleset_len = ruleset->len,
        .socket = theirs,
        .log_fd = log,
        .new_user = geteuid() != 0 || own_id,
        .uid = own_id ? config->uid : geteuid(),
        .gid = own_id ? config->uid : getegid(),
        .sample = net->sample,
        .cgroup_fd = net->cgroup_fd,
        .flows_max = config->flows_max,
        .relay = net->relay,
    };
    net->pidfd = cell_start(&plan, &net->pid, err);
    if (net->pidfd < 0)
        return -1;
    sr_close_fd(&theirs);
    if (plan.new_user && cell_map_ids(&plan, net->pid, net->fd, err) < 0)
        return -1;
    struct cell_message message;
    int result = talk_wait(net, sr_now() + APPLY_NSEC, &message, &net->tap_fd);
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the net cell %s; net.log may say why",
                       result == -ETIMEDOUT ? "did not get ready in 15 s"
                       : result == -EINTR   ? "was given up"
                                            : "has died");
    if (message.error.code != SR_OK)
        return sr_fail_as_said(err, SR_RUN_201, &message.error);
    if (net->tap_fd < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the net cell sent no TAP");
    net->uplink_address = message.uplink_address;
    return 0;
}

static int share_sample(struct net *net, struct sr_error *err)
{
    size_t cap = net->ruleset.allow.count + net->ruleset.block.count + MORE_COUNTS;
    net->sample_size = sizeof *net->sample + cap * sizeof net->sample->counts[0];
    void *memory =
        mmap(NULL, net->sample_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return sr_fail(err, SR_RUN_201, PATH, "no memory for counters: %s", strerror(errno));
    net->sample = memory;
    net->sample->cap = cap;
    return 0;
}

/* sr-tap-<8 hex of sha256(runId)>: 15 characters, all that the kernel allows. */
static int name_tap(struct net *net, const char *run_id, struct sr_hasher *hasher,
                    struct sr_error *err)
{
    char hash[SR_SHA256_TEXT];
    if (sr_sha256(hasher, run_id, strlen(run_id), hash) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the run id cannot be hashed: out of memory");
    snprintf(net->tap, sizeof net->tap, "sr-tap-%.8s", hash + strlen(SR_SHA256_PREFIX));
    return 0;
}

static int choose_uplink(struct net *net, const struct net_config *config, struct sr_error *err)
{
    net->bridge = config->bridge;
    if (net->bridge == NULL) {
        net->mtu = NET_MTU_MAX;
        return 0;
    }
    if (geteuid() != 0)
        return sr_fail(err, SR_RUN_201, PATH,
                       "network.uplink %s needs root; network.uplink: pasta does not", net->bridge);
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", net->bridge);
    sr_cleanup_fd int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0 || ioctl(any, SIOCGIFMTU, &request) < 0)
        return sr_fail(err, SR_RUN_201, PATH,
                       "network.uplink in the host configuration names %s: %s; the host's owner "
                       "makes it (ip link add %s type bridge)",
                       net->bridge, strerror(errno), net->bridge);
    net->mtu = request.ifr_mtu < NET_MTU_MAX ? (uint16_t)request.ifr_mtu : NET_MTU_MAX;
    return 0;
}

/* A rule that lets UDP through needs the relay, unless packets go out as they are. */
static bool needs_relay(const struct net *net)
{
    for (size_t i = 0; net->bridge == NULL && i < net->policy->egress_count; i++)
        if (net->policy->egress[i].protocol == SR_PROTOCOL_UDP)
            return true;
    return false;
}

static int apply(struct net *net, const struct sr_policy *policy, const char *run_id, int dirfd,
                 const struct net_config *config, struct sr_hasher *hasher, struct sr_error *err)
{
    net->policy = policy;
    net->resolver_address = config->resolver;
    net->cgroup_fd = config->cgroup_fd;
    net->refresh_min_sec = config->refresh_min_sec;
    if (name_tap(net, run_id, hasher, err) < 0 || choose_uplink(net, config, err) < 0 ||
        own_addresses(net, net->bridge != NULL ? &config->pool : &pasta_pool, err) < 0 ||
        net_names_resolve(net, err) < 0)
        return -1;
    net->relay = needs_relay(net);
    net->flows_max = net->relay ? config->flows_max : 0;
    const struct net_ruleset_input input = {
        .targets = net->targets,
        .target_count = net->target_count,
        .guest = NET_GUEST,
        .own = &net->own,
        .tap = net->tap,
        .uplink = NET_UPLINK,
        .relay = net->bridge == NULL ? NET_RELAY : NULL,
    };
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    if (net_split(&input, &net->ruleset, err) < 0)
        return -1;
    net_ruleset_text(&input, &net->ruleset, &text);
    if (!sr_buf_ok(&text) || sr_sha256(hasher, text.data, text.len, net->ruleset_hash) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "out of memory for the rules");
    int result = sr_write_new_file(dirfd, "ruleset.nft", text.data, text.len);
    if (result < 0)
        return sr_fail(err, SR_RUN_201, PATH, "ruleset.nft cannot be written: %s",
                       strerror(-result));
    if (share_sample(net, err) < 0)
        return -1;
    return start_cell(net, run_id, config, &text, dirfd, err);
}

int net_apply(const struct sr_policy *policy, const char *run_id, int dirfd,
              const struct net_config *config, struct sr_hasher *hasher, struct net **net,
              struct sr_error *err)
{
    struct net *made = calloc(1, sizeof *made);
    if (made == NULL)
        return sr_fail(err, SR_RUN_201, PATH, "out of memory");
    made->tap_fd = made->fd = made->pid = made->pidfd = -1;
    made->stop_fd = config->stop_fd;
    if (apply(made, policy, run_id, dirfd, config, hasher, err) < 0) {
        net_free(made);
        return -1;
    }
    made->stop_fd = -1;
    *net = made;
    return 0;
}

int net_lost(struct net *net, struct sr_error *err)
{
    if (net->lost_error.code != SR_OK) {
        *err = net->lost_error;
        return -1;
    }
    return sr_fail(err, SR_RUN_001, "monitor.network",
                   "the uplink (%s) ended while the command ran; net.log may say why",
                   net->bridge != NULL ? net->bridge : "pasta");
}

int net_end(struct net *net, struct sr_error *err)
{
    sr_close_fd(&net->tap_fd);
    sr_close_fd(&net->fd); /* the cell ends at it */
    net_resolver_close(&net->resolver);
    if (net->pidfd >= 0 && !sr_reap(net->pid, net->pidfd, END_MSEC, NULL)) {
        pidfd_send_signal(net->pidfd, SIGKILL, NULL, 0);
        if (!sr_reap(net->pid, net->pidfd, END_MSEC, NULL))
            return sr_fail(err, SR_RUN_202, "cleanup.network.release",
                           "the net cell (pid %d) does not end", (int)net->pid);
    }
    sr_close_fd(&net->pidfd);
    if (SR_FAILPOINT("net.end"))
        return sr_fail(err, SR_RUN_202, "cleanup.network.release", "told to fail: net.end");
    return 0;
}

void net_free(struct net *net)
{
    struct sr_error ignored;
    if (net == NULL)
        return;
    if (net_end(net, &ignored) < 0)
        sr_close_fd(&net->pidfd); /* it is killed, and no more can be done */
    sr_close_fd(&net->tap_fd);
    sr_close_fd(&net->fd);
    net_ruleset_free(&net->ruleset);
    if (net->sample != NULL)
        munmap(net->sample, net->sample_size);
    free(net->talk.text);
    free(net->targets);
    free(net->allowed);
    free(net->blocked);
    net_names_free(net);
    free(net);
}
