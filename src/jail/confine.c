/*
 * What the supervisor gives up once the VM runs, before it reads the guest's first byte:
 *   - capabilities: root keeps CAP_KILL, for children with ids of their own, and CAP_DAC_OVERRIDE
 *     for the removal of the run's cgroup;
 *   - gaining any: no_new_privs, empty bounding set;
 *   - files: those of its own run directory (which is verified before it is signed) and that of the
 *     outputs, the counters of its cgroup; all else is as if it were not there, for root too
 *     (Landlock);
 *   - system calls: a list. Nothing is executed any more, nothing started and no socket made;
 *     signals go to processes whose descriptor it has, which makes CAP_KILL one for its own
 *     children.
 * Sanitized builds keep files and system calls: the sanitizers and the failpoints' log need more.
 */
#include "jail/jail.h"
#include "jail/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int keep_capabilities(uint32_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    if (syscall(SYS_capget, &header, data) < 0)
        return -1;
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM)
            return -1; /* EPERM: an ordinary user, who has none to bring along */
    data[0].permitted &= kept;
    data[0].effective = data[0].permitted;
    data[0].inheritable = data[1].permitted = data[1].effective = data[1].inheritable = 0;
    return (int)syscall(SYS_capset, &header, data);
}

#ifndef SR_WITH_FAILPOINTS
static int restrict_files(const struct jail_self *self)
{
    struct jail_access places[3 + 2 * JAIL_SELF_MAX];
    size_t count = 0;
    for (size_t i = 0; i < self->write_count; i++)
        places[count++] = (struct jail_access){self->write[i], JAIL_WRITE | JAIL_READ_DIR};
    for (size_t i = 0; i < self->read_count; i++)
        places[count++] = (struct jail_access){self->read[i], JAIL_READ_FILE};
    for (size_t i = 0; i < self->remove_count; i++)
        places[count++] = (struct jail_access){self->remove[i], JAIL_REMOVE_DIR};
    if (self->tree >= 0)
        places[count++] = (struct jail_access){self->tree, JAIL_WRITE_TREE};
    return jail_landlock(places, count, true);
}
#endif

int jail_confine_self(const struct jail_self *self, const char **step)
{
    uint32_t kept = 1u << CAP_KILL;
    if (self->remove_count > 0) /* the root of a cgroup hierarchy is not even root's to write */
        kept |= 1u << CAP_DAC_OVERRIDE;
    *step = "capabilities";
    if (keep_capabilities(kept) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
#ifndef SR_WITH_FAILPOINTS
    *step = "landlock";
    if (restrict_files(self) < 0)
        return -1;
    *step = "seccomp";
    int result = jail_filter(JAIL_SUPERVISOR);
    if (result < 0) {
        errno = -result;
        return -1;
    }
#endif
    return 0;
}
