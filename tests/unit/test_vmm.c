#include "vmm/qemu.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char golden_tcg[] =
    "/usr/bin/qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none "
    "-M microvm,acpi=off,rtc=on,isa-serial=off -accel tcg,tb-size=128 -cpu "
    "max,svm=off,vmx=off,pmu=off,erms=off,fsrm=off "
    "-smp 1 -m "
    "256M "
    "-object main-loop,id=main,thread-pool-max=8 "
    "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny "
    "-kernel /proc/self/fd/6 -initrd /proc/self/fd/7 "
    "-append console=hvc0 reboot=t panic=-1 quiet no_timer_check random.trust_cpu=on "
    "ipv6.disable=1 "
    "rcupdate.rcu_expedited=1 "
    "nolapic_timer tsc=reliable tsc_early_khz=2596100 "
    "-add-fd fd=8,set=1 -blockdev "
    "driver=file,node-name=rootfs,filename=/dev/fdset/"
    "1,read-only=on,locking=off "
    "-device virtio-blk-device,drive=rootfs -device virtio-serial-device,max_ports=2 "
    "-chardev socket,id=console,fd=5 -device virtconsole,chardev=console,nr=0 "
    "-chardev socket,id=channel,fd=4 "
    "-device virtserialport,chardev=channel,nr=1,name=safe-run.channel "
    "-chardev socket,id=qmp,fd=3 -mon chardev=qmp,mode=control";

static void join(const struct vmm_qemu_args *args, char *text, size_t size)
{
    size_t len = 0;
    for (int i = 0; args->argv[i] != NULL; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%s", i > 0 ? " " : "", args->argv[i]);
    assert_true(len < size);
}

static void qemu_is_started_with_these_arguments(void **state)
{
    (void)state;
    const struct vmm_spec spec = {.program = "/usr/bin/qemu-system-x86_64",
                                  .accel = VMM_ACCEL_TCG,
                                  .vcpu_count = 1,
                                  .mem_size_mib = 256,
                                  .tsc_khz = 2596100};
    struct vmm_qemu_args args;
    char text[4096];
    vmm_qemu_arguments(&spec, &args);
    join(&args, text, sizeof text);
    assert_string_equal(text, golden_tcg);
}

static void a_network_is_a_tap_and_a_boot_argument(void **state)
{
    (void)state;
    const struct vmm_spec spec = {.program = "qemu", .network = "ip=192.0.2.2", .tap_fd = 5};
    struct vmm_qemu_args args;
    vmm_qemu_arguments(&spec, &args);
    assert_non_null(strstr(args.append, " ip=192.0.2.2"));
    bool there = false;
    for (size_t i = 0; args.argv[i] != NULL; i++)
        there = there || strcmp(args.argv[i], "tap,id=network,fd=9") == 0;
    assert_true(there);
}

static void inputs_are_more_disks_by_descriptor(void **state)
{
    (void)state;
    const struct vmm_spec spec = {
        .program = "qemu", .network = "ip=192.0.2.2", .input_count = VMM_INPUTS_MAX};
    struct vmm_qemu_args args;
    char text[4096];
    vmm_qemu_arguments(&spec, &args);
    join(&args, text, sizeof text);
    assert_non_null(strstr(text, "-add-fd fd=10,set=2 -blockdev driver=file,node-name=input0,"
                                 "filename=/dev/fdset/2,read-only=on,locking=off "
                                 "-device virtio-blk-device,drive=input0 -add-fd fd=11,set=3 "));
    assert_non_null(strstr(text, "virtio-blk-device,drive=input4"));
}

static void kvm_guests_calibrate_by_their_own_clock(void **state)
{
    (void)state;
    const struct vmm_spec spec = {.program = "qemu",
                                  .accel = VMM_ACCEL_KVM,
                                  .vcpu_count = 4,
                                  .mem_size_mib = 512,
                                  .tsc_khz = 1};
    struct vmm_qemu_args args;
    char text[4096];
    vmm_qemu_arguments(&spec, &args);
    join(&args, text, sizeof text);
    assert_non_null(strstr(text, "-accel kvm"));
    assert_non_null(strstr(text, "-smp 4 -m 512M"));
    assert_non_null(strstr(text, "noreplace-smp"));
    assert_null(strstr(text, "tsc"));
}

/* A child that is reaped by the kernel, as all are where SIGCHLD is ignored. */
static void how_a_vmm_ended_is_known_or_said_not_to_be(void **state)
{
    (void)state;
    for (int ignored = 0; ignored < 2; ignored++) {
        struct vmm vmm = VMM_INIT;
        struct vmm_exit how = {.status = 7, .cpu_usec = 7};
        signal(SIGCHLD, ignored ? SIG_IGN : SIG_DFL);
        vmm.pid = fork();
        if (vmm.pid == 0)
            _exit(ignored ? 0 : 3);
        vmm_reap(&vmm, &how);
        assert_int_equal(how.known, !ignored);
        assert_int_equal(WEXITSTATUS(how.status), ignored ? 0 : 3);
        assert_true(!ignored || how.cpu_usec == 0);
        assert_int_equal(vmm.pid, -1);
    }
    signal(SIGCHLD, SIG_DFL);
}

static bool blames(const char *log)
{
    return vmm_qemu_blames_kvm(log, strlen(log));
}

static void kvm_is_to_blame_only_where_qemu_says_so(void **state)
{
    (void)state;
    assert_true(
        blames("Could not access KVM kernel module: No such file or directory\n"
               "qemu-system-x86_64: failed to initialize kvm: No such file or directory\n"));
    assert_true(
        blames("qemu-system-x86_64: -accel kvm: failed to initialize kvm: Permission denied"));
    assert_true(blames("qemu-system-x86_64: -accel kvm: Could not access KVM kernel module: "
                       "Permission denied\n"));
    assert_true(blames("ioctl(KVM_CREATE_VM) failed: 95 Operation not supported\n"));
    assert_true(blames("/usr/bin/qemu-system-x86_64: -accel kvm: invalid accelerator kvm\n"));
    assert_true(blames("a warning\nKVM internal error. Suberror: 1\nextra data[0]: 0x0\n"));
    assert_true(blames("KVM: entry failed, hardware error 0x80000021\n"));
    assert_true(blames("error: kvm run failed Bad address\n"));

    assert_false(blames(""));
    assert_false(blames("\n\n"));
    assert_false(blames("qemu-system-x86_64: failed to initialize kvm: "));
    assert_false(blames("qemu-system-x86_64: invalid accelerator kv"));
    assert_false(blames("qemu-system-x86_64: cannot set up guest memory 'microvm.ram': Cannot "
                        "allocate memory\n"));
    assert_false(blames("Invalid argument: KVM internal error. Suberror: 1\n"));
    assert_false(blames("warning: host doesn't support requested feature: KVM\n"));
    assert_false(blames("an other: failed to initialize kvm: Permission denied\n"));
}

static void what_is_short_for_the_moment_is_not_kvms_fault(void **state)
{
    (void)state;
    static const char *const reasons[] = {"Cannot allocate memory", "Device or resource busy",
                                          "Resource temporarily unavailable", "Too many open files",
                                          "Interrupted system call"};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        char log[256];
        snprintf(log, sizeof log,
                 "ioctl(KVM_CREATE_VM) failed: 12 %s\n"
                 "qemu-system-x86_64: -accel kvm: failed to initialize kvm: Invalid argument\n",
                 reasons[i]);
        assert_false(blames(log));
        snprintf(log, sizeof log, "qemu-system-x86_64: failed to initialize kvm: %s", reasons[i]);
        assert_false(blames(log));
    }
}

static void a_vmm_that_is_stopped_is_known_to_be(void **state)
{
    (void)state;
    struct vmm vmm = VMM_INIT;
    struct vmm_exit how;
    vmm.pid = fork();
    if (vmm.pid == 0)
        for (;;)
            pause();
    vmm.pidfd = pidfd_open(vmm.pid, 0);
    assert_false(vmm_is_stopped(&vmm));
    assert_int_equal(kill(vmm.pid, SIGSTOP), 0);
    siginfo_t stopped;
    assert_int_equal(waitid(P_PIDFD, (id_t)vmm.pidfd, &stopped, WSTOPPED | WNOWAIT), 0);
    assert_true(vmm_is_stopped(&vmm));
    vmm_kill(&vmm);
    vmm_reap(&vmm, &how);
}

static bool feed(struct vmm_qmp *qmp, const char *line)
{
    return vmm_qmp_line(qmp, line, strlen(line));
}

static void qmp_tells_version_accelerator_and_end(void **state)
{
    (void)state;
    struct vmm_qmp qmp = {.fd = -1, .kvm = -1};
    assert_true(feed(
        &qmp, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
              "\"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}\r"));
    assert_string_equal(qmp.version, "7.2.22");
    assert_true(feed(&qmp, "{\"return\": {}}"));
    assert_int_equal(qmp.kvm, -1);
    assert_true(
        feed(&qmp, "{\"return\": {\"enabled\": false, \"present\": true}, \"id\": \"kvm\"}"));
    assert_int_equal(qmp.kvm, 0);
    assert_true(feed(
        &qmp,
        "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}"));
    assert_string_equal(qmp.stopped, "guest-reset");
}

static void qmp_takes_nonsense_without_harm(void **state)
{
    (void)state;
    struct vmm_qmp qmp = {.fd = -1, .kvm = -1};
    assert_false(feed(&qmp, ""));
    assert_false(feed(&qmp, "[]"));
    assert_false(feed(&qmp, "{\"a\":1,\"a\":2}"));
    assert_true(feed(&qmp, "{\"QMP\": 7}"));
    assert_true(feed(&qmp, "{\"QMP\": {\"version\": {\"qemu\": \"x\"}}}"));
    assert_true(feed(&qmp, "{\"event\": \"SHUTDOWN\", \"data\": []}"));
    assert_true(feed(&qmp, "{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"a\\u001b[2Jb\"}}"));
    assert_string_equal(qmp.stopped, "a?[2Jb");
    assert_string_equal(qmp.version, "");
    assert_int_equal(qmp.kvm, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qemu_is_started_with_these_arguments),
        cmocka_unit_test(a_network_is_a_tap_and_a_boot_argument),
        cmocka_unit_test(inputs_are_more_disks_by_descriptor),
        cmocka_unit_test(kvm_guests_calibrate_by_their_own_clock),
        cmocka_unit_test(kvm_is_to_blame_only_where_qemu_says_so),
        cmocka_unit_test(what_is_short_for_the_moment_is_not_kvms_fault),
        cmocka_unit_test(a_vmm_that_is_stopped_is_known_to_be),
        cmocka_unit_test(how_a_vmm_ended_is_known_or_said_not_to_be),
        cmocka_unit_test(qmp_tells_version_accelerator_and_end),
        cmocka_unit_test(qmp_takes_nonsense_without_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
