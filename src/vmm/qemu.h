/*
 * QEMU, as far as its driver's files and their tests know it.
 */
#ifndef SR_VMM_QEMU_H
#define SR_VMM_QEMU_H

#include "vmm/driver.h"
#include "vmm/qmp.h"

/* Descriptor numbers in QEMU. */
enum {
    VMM_QEMU_FD_QMP = 3,
    VMM_QEMU_FD_CHANNEL,
    VMM_QEMU_FD_CONSOLE,
    VMM_QEMU_FD_KERNEL, /* of these two the jail makes files */
    VMM_QEMU_FD_INITRD,
    VMM_QEMU_FD_ROOTFS,
    VMM_QEMU_FD_TAP, /* may be absent, and so may the inputs */
    VMM_QEMU_FD_INPUTS,
    VMM_QEMU_FD_END = VMM_QEMU_FD_INPUTS + VMM_INPUTS_MAX
};

/* The most arguments QEMU is ever given, and the longest of those that are built. */
#define VMM_QEMU_MAX_ARGS 96
struct vmm_qemu_args {
    const char *argv[VMM_QEMU_MAX_ARGS];
    char memory[32], smp[32], nic[64], append[448];
    char disks[VMM_INPUTS_MAX][3][96];
};

/* QEMU's command line for spec, pure: descriptors are named by the fixed numbers the child gives
 * them. args must outlive its use and not be moved. */
void vmm_qemu_arguments(const struct vmm_spec *spec, struct vmm_qemu_args *args);

/* struct vmm_driver's blames_kvm(). */
bool vmm_qemu_blames_kvm(const char *log, size_t len);

#endif
