/*
 * QEMU's command line. The machine and the boot arguments are what starts a guest soonest
 * (docs/OPERATIONS.md, "Figures"). With rtc=off the guest's kernel waits 2 s for a clock; with
 * pit=off and pic=off it hangs. Under TCG the guest's TSC is the host's, so calibrating it against
 * an emulated timer only costs time and precision: the frequency is measured on the host and handed
 * over.
 */
#include "vmm/qemu.h"

#include <stdio.h>
#include <string.h>

static void build_append(const struct vmm_spec *spec, char *append, size_t size)
{
    /* reboot=t: the guest ends by a triple fault, which -no-reboot turns into QEMU's exit. */
    int len = snprintf(append, size,
                       "console=hvc0 reboot=t panic=-1 quiet no_timer_check random.trust_cpu=on "
                       "ipv6.disable=1 rcupdate.rcu_expedited=1");
    if (spec->accel == VMM_ACCEL_TCG) {
        len += snprintf(append + len, size - (size_t)len, " nolapic_timer tsc=reliable");
        if (spec->tsc_khz > 0)
            len += snprintf(append + len, size - (size_t)len, " tsc_early_khz=%u", spec->tsc_khz);
    }
    if (spec->network != NULL)
        len += snprintf(append + len, size - (size_t)len, " %s", spec->network);
    if (spec->vcpu_count > 1)
        snprintf(append + len, size - (size_t)len, " noreplace-smp");
}

/* The arguments of one disk of the inputs behind argv[count]. */
static size_t add_disk(struct vmm_qemu_args *args, size_t count, size_t i)
{
    char(*text)[96] = args->disks[i];
    snprintf(text[0], sizeof text[0], "fd=%zu,set=%zu", VMM_QEMU_FD_INPUTS + i, 2 + i);
    snprintf(text[1], sizeof text[1],
             "driver=file,node-name=input%zu,filename=/dev/fdset/%zu,read-only=on,locking=off", i,
             2 + i);
    snprintf(text[2], sizeof text[2], "virtio-blk-device,drive=input%zu", i);
    const char *const argv[] = {"-add-fd", text[0], "-blockdev", text[1], "-device", text[2]};
    memcpy(args->argv + count, argv, sizeof argv);
    return count + sizeof argv / sizeof argv[0];
}

void vmm_qemu_arguments(const struct vmm_spec *spec, struct vmm_qemu_args *args)
{
    snprintf(args->memory, sizeof args->memory, "%uM", spec->mem_size_mib);
    snprintf(args->smp, sizeof args->smp, "%u", spec->vcpu_count);
    snprintf(args->nic, sizeof args->nic, "virtio-net-device,netdev=network,host_mtu=%u",
             spec->mtu);
    build_append(spec, args->append, sizeof args->append);
    const char *const argv[] = {
        spec->program,
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-M",
        "microvm,acpi=off,rtc=on,isa-serial=off",
        "-accel",
        /* Translated code may fill an eighth of the host's memory unless told otherwise. */
        spec->accel == VMM_ACCEL_TCG ? "tcg,tb-size=128" : "kvm",
        "-cpu",
        /* Nothing that a guest could run guests or watch its host with. TCG interprets "rep movsb"
         * byte by byte: without erms and fsrm the guest's kernel copies in larger steps, and bulk
         * output is more than twice as fast. */
        spec->accel == VMM_ACCEL_TCG ? "max,svm=off,vmx=off,pmu=off,erms=off,fsrm=off"
                                     : "max,svm=off,vmx=off,pmu=off",
        "-smp",
        args->smp,
        "-m",
        args->memory,
        /* Threads of block I/O: reads of what the host has in memory need few, and each has a
         * stack. */
        "-object",
        "main-loop,id=main,thread-pool-max=8",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-kernel",
        spec->jail != NULL ? "/kernel" : "/proc/self/fd/6",
        "-initrd",
        spec->jail != NULL ? "/initrd" : "/proc/self/fd/7",
        "-append",
        args->append,
        "-add-fd",
        "fd=8,set=1",
        "-blockdev",
        "driver=file,node-name=rootfs,filename=/dev/fdset/1,read-only=on,locking=off",
        "-device",
        "virtio-blk-device,drive=rootfs",
        "-device",
        "virtio-serial-device,max_ports=2",
        "-chardev",
        "socket,id=console,fd=5",
        "-device",
        "virtconsole,chardev=console,nr=0",
        "-chardev",
        "socket,id=channel,fd=4",
        "-device",
        "virtserialport,chardev=channel,nr=1,name=safe-run.channel",
        "-chardev",
        "socket,id=qmp,fd=3",
        "-mon",
        "chardev=qmp,mode=control",
    };
    const char *const network[] = {"-netdev", "tap,id=network,fd=9", "-device", args->nic};
    size_t count = sizeof argv / sizeof argv[0];
    _Static_assert((sizeof argv + sizeof network) / sizeof argv[0] + 6 * VMM_INPUTS_MAX <
                       VMM_QEMU_MAX_ARGS,
                   "VMM_QEMU_MAX_ARGS is too small");
    _Static_assert(VMM_QEMU_FD_CHANNEL == 4 && VMM_QEMU_FD_CONSOLE == 5 &&
                       VMM_QEMU_FD_KERNEL == 6 && VMM_QEMU_FD_INITRD == 7 &&
                       VMM_QEMU_FD_ROOTFS == 8 && VMM_QEMU_FD_TAP == 9,
                   "the arguments name these numbers");
    memcpy(args->argv, argv, sizeof argv);
    if (spec->network != NULL) {
        memcpy(args->argv + count, network, sizeof network);
        count += sizeof network / sizeof network[0];
    }
    for (size_t i = 0; i < spec->input_count; i++)
        count = add_disk(args, count, i);
    args->argv[count] = NULL;
}
