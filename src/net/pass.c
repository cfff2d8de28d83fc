#include "net/pass.h"

#include <string.h>
#include <sys/socket.h>

union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

ssize_t pass_send(int socket, const void *data, size_t len, int fd)
{
    struct iovec piece = {(void *)data, len};
    union control control = {{0}};
    struct msghdr header = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    return sendmsg(socket, &header, MSG_NOSIGNAL);
}

ssize_t pass_receive(int socket, void *data, size_t len, int flags, int *fd)
{
    struct iovec piece = {data, len};
    union control control;
    struct msghdr header = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fd != NULL) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
    }
    ssize_t got = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *rights = got < 0 || fd == NULL ? NULL : CMSG_FIRSTHDR(&header);
    if (rights != NULL && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(rights), sizeof *fd);
    return got;
}
