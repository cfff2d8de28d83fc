/*
 * QMP, QEMU's control protocol (docs/interop/qmp-spec), as far as safe-run needs it: who is there,
 * what accelerates the guest, why it stopped, and please quit. One JSON object a line, over a
 * socketpair.
 *
 * A QEMU taken over by its guest may send anything, so lines are bounded and nothing here is waited
 * for.
 */
#ifndef SR_VMM_QMP_H
#define SR_VMM_QMP_H

#include "common/buf.h"

#include <stdbool.h>

/* Longest line: replies to what we ask are below 1 KiB. */
#define VMM_QMP_MAX_LINE (64u * 1024u)

struct vmm_qmp {
    int fd; /* ours; -1: closed */
    struct sr_buf in;
    char version[32]; /* "7.2.22", or empty before the greeting */
    int kvm;          /* 1: QEMU says KVM runs the guest, 0: it does not, -1: not known yet */
    char stopped[32]; /* reason of the SHUTDOWN event ("guest-reset"), or empty */
};

/* Takes fd (a connected stream socket) and asks the first questions. */
void vmm_qmp_start(struct vmm_qmp *qmp, int fd);

/* Reads what has come, without blocking. Returns false when the connection is over or not worth
 * keeping; qmp is closed then. */
bool vmm_qmp_read(struct vmm_qmp *qmp);

/* Takes in one line of len bytes; false when it is not QMP. For vmm_qmp_read() and the fuzzer. */
bool vmm_qmp_line(struct vmm_qmp *qmp, const char *line, size_t len);

void vmm_qmp_close(struct vmm_qmp *qmp);

#endif
