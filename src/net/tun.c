#include "net/tun.h"

#include "common/failpoint.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define PATH "launch.network.apply"

/* Without IFF_VNET_HDR, so without offloads: by that header a guest could have the kernel write a
 * checksum, which it can choose, over the destination port of a packet that the rules have passed.
 * The large MTU does what segmentation offload would. */
int cell_open_tun(const char *name, short kind, struct sr_error *err)
{
    struct ifreq request = {.ifr_flags = (short)(kind | IFF_NO_PI)};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    sr_cleanup_fd int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sr_fail(err, SR_RUN_201, PATH,
                       "/dev/net/tun cannot be opened: %s; network.mode allowlist needs it (mode "
                       "0666 on most systems)",
                       strerror(errno));
    if (SR_FAILPOINT(kind == IFF_TAP ? "net.tap" : "net.tun") || ioctl(fd, TUNSETIFF, &request) < 0)
        return sr_fail(err, SR_RUN_201, PATH, "the interface %s cannot be made: %s", name,
                       strerror(errno));
    return sr_take_fd(&fd);
}
