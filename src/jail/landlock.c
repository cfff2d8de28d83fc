#include "jail/landlock.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of Debian 12. */
#define TRUNCATE (UINT64_C(1) << 14)
#define IOCTL_DEVICE (UINT64_C(1) << 15)
#define BIND_AND_CONNECT_TCP 3

/* All rights that a version of the kernel's interface knows. */
static uint64_t known_rights(long version)
{
    uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    if (version >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        rights |= TRUNCATE;
    if (version >= 5)
        rights |= IOCTL_DEVICE;
    return rights;
}

static uint64_t translate(unsigned rights)
{
    static const struct {
        unsigned ours;
        uint64_t theirs;
    } table[] = {
        {JAIL_EXECUTE, LANDLOCK_ACCESS_FS_EXECUTE},
        {JAIL_READ_FILE, LANDLOCK_ACCESS_FS_READ_FILE},
        {JAIL_READ_DIR, LANDLOCK_ACCESS_FS_READ_DIR},
        {JAIL_WRITE, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                         LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE | TRUNCATE},
        {JAIL_REMOVE_DIR, LANDLOCK_ACCESS_FS_REMOVE_DIR},
        {JAIL_USE_DEVICE,
         LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | IOCTL_DEVICE},
        {JAIL_WRITE_TREE, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
                              LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                              LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SYM |
                              LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                              LANDLOCK_ACCESS_FS_REFER | TRUNCATE},
    };
    uint64_t result = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if ((rights & table[i].ours) != 0)
            result |= table[i].theirs;
    return result;
}

int jail_landlock(const struct jail_access *places, size_t count, bool no_tcp)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 0)
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -1;
    /* The structure of newer kernels; older ones take its beginning. */
    const struct {
        uint64_t files, network;
    } handled = {known_rights(version), no_tcp && version >= 4 ? BIND_AND_CONNECT_TCP : 0};
    sr_cleanup_fd int rules = (int)syscall(SYS_landlock_create_ruleset, &handled,
                                           version >= 4 ? sizeof handled : sizeof handled.files, 0);
    if (rules < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct landlock_path_beneath_attr rule = {
            .allowed_access = translate(places[i].rights) & handled.files,
            .parent_fd = places[i].fd,
        };
        if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
            return -1;
    }
    return (int)syscall(SYS_landlock_restrict_self, rules, 0);
}
