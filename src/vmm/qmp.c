#include "vmm/qmp.h"

#include "common/cleanup.h"
#include "common/json_member.h"
#include "common/printable.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The negotiation QMP demands first, then our question; both may be sent before the greeting is
 * read. */
static const char opening[] = "{\"execute\":\"qmp_capabilities\"}\n"
                              "{\"execute\":\"query-kvm\",\"id\":\"kvm\"}\n";

void vmm_qmp_start(struct vmm_qmp *qmp, int fd)
{
    *qmp = (struct vmm_qmp){.fd = fd, .kvm = -1};
    /* An empty socket takes this in one piece; a QEMU that never reads it just stays unknown. */
    if (send(fd, opening, sizeof opening - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        vmm_qmp_close(qmp);
}

static void copy_text(char *to, size_t size, const char *from)
{
    if (from == NULL)
        return;
    snprintf(to, size, "%s", from);
    sr_make_ascii(to);
}

static void take_greeting(struct vmm_qmp *qmp, json_t *greeting)
{
    int major, minor, micro;
    if (json_unpack(greeting, "{s:{s:{s:i,s:i,s:i}}}", "version", "qemu", "major", &major, "minor",
                    &minor, "micro", &micro) == 0)
        snprintf(qmp->version, sizeof qmp->version, "%d.%d.%d", major, minor, micro);
}

bool vmm_qmp_line(struct vmm_qmp *qmp, const char *line, size_t len)
{
    json_t *message = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(message)) {
        json_decref(message);
        return false;
    }
    const char *id = sr_member_text(message, "id");
    const char *event = sr_member_text(message, "event");
    json_t *greeting = json_object_get(message, "QMP");
    int enabled;
    if (greeting != NULL)
        take_greeting(qmp, greeting);
    else if (id != NULL && strcmp(id, "kvm") == 0 &&
             json_unpack(message, "{s:{s:b}}", "return", "enabled", &enabled) == 0)
        qmp->kvm = enabled;
    else if (event != NULL && strcmp(event, "SHUTDOWN") == 0)
        copy_text(qmp->stopped, sizeof qmp->stopped,
                  sr_member_text(json_object_get(message, "data"), "reason"));
    json_decref(message);
    return true;
}

bool vmm_qmp_read(struct vmm_qmp *qmp)
{
    char chunk[4096];
    ssize_t got = recv(qmp->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (got > 0)
        sr_buf_append(&qmp->in, chunk, (size_t)got);
    bool sound = got > 0 && sr_buf_ok(&qmp->in);
    char *end;
    while (sound && (end = memchr(qmp->in.data, '\n', qmp->in.len)) != NULL) {
        size_t len = (size_t)(end - qmp->in.data);
        sound = vmm_qmp_line(qmp, qmp->in.data, len);
        sr_buf_consume(&qmp->in, len + 1);
    }
    if (!sound || qmp->in.len > VMM_QMP_MAX_LINE) {
        vmm_qmp_close(qmp);
        return false;
    }
    return true;
}

void vmm_qmp_close(struct vmm_qmp *qmp)
{
    sr_close_fd(&qmp->fd);
    sr_buf_free(&qmp->in);
}
