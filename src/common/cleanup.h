/* Owners: locals declared with these release what they hold on every way out of the function. */
#ifndef SR_COMMON_CLEANUP_H
#define SR_COMMON_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Result must be looked at: on every function that can fail. */
#define SR_MUST_CHECK __attribute__((warn_unused_result))

static inline void sr_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static inline void sr_free_ptr(void *ptr)
{
    free(*(void **)ptr);
}

static inline void sr_close_file(FILE **file)
{
    if (*file != NULL)
        fclose(*file);
}

#define sr_cleanup_fd __attribute__((cleanup(sr_close_fd)))
#define sr_cleanup_free __attribute__((cleanup(sr_free_ptr)))
#define sr_cleanup_file __attribute__((cleanup(sr_close_file)))

/* Gives up ownership of a descriptor held in a cleanup variable and returns it. */
static inline int sr_take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#endif
