/* Ids of runs of root's: a lock on a byte of a file for each, which ends with its descriptor. */
#include "jail/jail.h"

#include "common/failpoint.h"
#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DIRECTORY "/run/safe-run"
#define NOBODY 65534u

bool jail_has_uids(uint32_t first, uint32_t last)
{
    char text[4096];
    if (geteuid() != 0 || sr_read_small_file(AT_FDCWD, "/proc/self/uid_map", text, sizeof text) < 0)
        return false;
    char *state;
    for (char *line = strtok_r(text, "\n", &state); line != NULL;
         line = strtok_r(NULL, "\n", &state)) {
        unsigned long long inside, outside, count;
        if (sscanf(line, "%llu %llu %llu", /* NOLINT(cert-err34-c): the kernel's own numbers */
                   &inside, &outside, &count) == 3 &&
            first >= inside && last < inside + count)
            return true;
    }
    return false;
}

int jail_become(uid_t uid, gid_t gid)
{
    return setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0
               ? -1
               : 0;
}

int jail_become_nobody(void)
{
    return jail_has_uids(NOBODY, NOBODY) ? jail_become(NOBODY, NOBODY) : 0;
}

int jail_take_uid(uint32_t first, uint32_t last, uid_t *uid, struct sr_error *err)
{
    int result = sr_mkdir_all(DIRECTORY, 0755);
    sr_cleanup_fd int fd =
        result < 0 ? -1 : open(DIRECTORY "/uids", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return sr_fail(err, SR_RUN_002, "launch.jail", DIRECTORY "/uids cannot be opened: %s",
                       strerror(result < 0 ? -result : errno));
    for (uint64_t at = first; at <= last; at++) {
        struct flock lock = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)at, .l_len = 1};
        if (!SR_FAILPOINT("jail.uid") && fcntl(fd, F_OFD_SETLK, &lock) == 0) {
            *uid = (uid_t)at;
            return sr_take_fd(&fd);
        }
        if (errno != EAGAIN && errno != EACCES)
            return sr_fail(err, SR_RUN_002, "launch.jail", DIRECTORY "/uids cannot be locked: %s",
                           strerror(errno));
    }
    return sr_fail(err, SR_RUN_002, "launch.jail",
                   "every id of %u-%u (jail.uids in the host configuration) is in use by a run",
                   first, last);
}
