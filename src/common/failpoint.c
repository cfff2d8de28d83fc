#include "common/failpoint.h"

#ifdef SR_WITH_FAILPOINTS
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void leave_word(const char *name)
{
    const char *path = getenv("SAFE_RUN_FAILPOINT_LOG");
    int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (fd < 0)
        return;
    if (write(fd, name, strlen(name)) < 0 || write(fd, "\n", 1) < 0)
        abort();
    close(fd);
}

bool sr_failpoint(const char *name)
{
    const char *wish = getenv("SAFE_RUN_FAILPOINT");
    size_t len = strlen(name);
    if (wish == NULL || strncmp(wish, name, len) != 0 || wish[len] != ':')
        return false;
    leave_word(name);
    const char *mode = wish + len + 1;
    if (strcmp(mode, "crash") == 0) {
        kill(getpid(), SIGKILL);
        __builtin_trap(); /* PID 1 of a namespace is not to be killed by itself */
    }
    if (strcmp(mode, "delay") == 0)
        nanosleep(&(const struct timespec){.tv_nsec = 300000000}, NULL);
    errno = EIO;
    return strcmp(mode, "error") == 0;
}
#else
typedef int sr_failpoint_is_not_built; /* a translation unit must not be empty */
#endif
