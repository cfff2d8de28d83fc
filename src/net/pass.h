/* Passes a descriptor beside a message on a Unix socket: SCM_RIGHTS of unix(7). */
#ifndef SR_NET_PASS_H
#define SR_NET_PASS_H

#include <stddef.h>
#include <sys/types.h>

/* Sends data and fd, which stays the caller's; -1: none. As sendmsg(2), without SIGPIPE. */
ssize_t pass_send(int socket, const void *data, size_t len, int fd);

/* Receives at most len bytes, and the caller's descriptor into *fd, which stays as it is when none
 * came. NULL: the kernel closes what comes. flags and the result are those of recvmsg(2). */
ssize_t pass_receive(int socket, void *data, size_t len, int flags, int *fd);

#endif
