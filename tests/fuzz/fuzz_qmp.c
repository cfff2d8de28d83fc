/* A line of QMP from a QEMU that its guest has taken over. */
#include "qmp.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sr_qmp qmp = {.fd = -1, .kvm = -1};
    sr_qmp_line(&qmp, (const char *)data, size);
    return 0;
}
