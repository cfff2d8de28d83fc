/* A line of QMP, or of the log, from a QEMU that its guest has taken over. */
#include "vmm/vmm.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sr_qmp qmp = {.fd = -1, .kvm = -1};
    sr_qmp_line(&qmp, (const char *)data, size);
    (void)sr_vmm_blames_kvm((const char *)data, size);
    return 0;
}
