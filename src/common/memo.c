#include "common/memo.h"

#include "common/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void sr_memo_name(const char *kind, dev_t device, ino_t inode, char name[SR_MEMO_NAME])
{
    /* The finalizer of MurmurHash3 spreads neighbouring inodes. */
    uint64_t mixed = (uint64_t)inode ^ (uint64_t)device * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 33) * UINT64_C(0xff51afd7ed558ccd);
    mixed = (mixed ^ mixed >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    mixed ^= mixed >> 33;
    snprintf(name, SR_MEMO_NAME, "%.16s-%03x", kind, (unsigned)(mixed % SR_MEMOS_MAX));
}

/* Whether an entry is what is left of a memo that was being written, or has a name that memos had
 * once. */
static bool is_leftover(const char *entry, const char *kind)
{
    size_t len = strlen(kind);
    const char *name = entry[0] == '.' ? entry + 1 : entry;
    if (strncmp(name, kind, len) != 0 || name[len] != '-')
        return false;
    return entry[0] == '.' || strlen(name + len + 1) != 3;
}

void sr_memos_sweep(int dirfd, const char *kind, int64_t older_than_sec)
{
    enum { UNFINISHED_SEC = 600 };
    DIR *dir = sr_open_list(dirfd);
    size_t len = strlen(kind);
    int64_t now = (int64_t)time(NULL);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct stat st;
        const char *name = entry->d_name;
        bool leftover = is_leftover(name, kind);
        if (!leftover && (strncmp(name, kind, len) != 0 || name[len] != '-'))
            continue;
        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue;
        int64_t age = now - (int64_t)st.st_ctim.tv_sec;
        if ((leftover && age > UNFINISHED_SEC) || (older_than_sec >= 0 && age > older_than_sec))
            unlinkat(dirfd, name, 0);
    }
    if (dir != NULL)
        closedir(dir);
}
