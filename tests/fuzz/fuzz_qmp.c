/* A line of QMP, or of the log, from a QEMU that its guest has taken over. */
#include "vmm/qemu.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vmm_qmp qmp = {.fd = -1, .kvm = -1};
    vmm_qmp_line(&qmp, (const char *)data, size);
    (void)vmm_qemu_blames_kvm((const char *)data, size);
    return 0;
}
