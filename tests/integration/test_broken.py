"""What goes wrong: missing parts, hostile guests, dying VMMs, full disks. Always the right code and
path, a report where one can be written, and nothing left running."""
import fcntl
import os
import signal
import subprocess
import termios
import time

from harness import BUILD, SAFE_RUN, SANITIZED, SafeRunTest, policy, shell

KVM_OPENS = os.access("/dev/kvm", os.R_OK | os.W_OK)
GUESTS = os.path.join(BUILD, "tests", "guests")


class Parts(SafeRunTest):
    """Something that every run needs is missing or no good."""

    def refused(self, code, path, **config):
        self.configure(**config)
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.stdout), (125, b""))
        self.assertIn(f"{code} {path}:".encode(), run.stderr)
        self.assertEqual((run.failure[0], run.cause), (code, "setup" if "preflight" in path
                                                       else "vmm"))
        self.assertEqual(run.report["exitCode"], 125)
        return run

    def test_no_qemu(self):
        run = self.refused("SR-RUN-002", "launch.preflight.qemu-system-x86_64", qemu="/no/qemu")
        self.assertIn(b"install the package qemu-system-x86", run.stderr)

    def test_no_kernel(self):
        self.refused("SR-RUN-002", "launch.preflight.kernel", kernel="/no/kernel")

    def test_a_kernel_that_is_a_directory(self):
        self.refused("SR-RUN-002", "launch.preflight.kernel", kernel="/etc")

    def test_a_kernel_that_is_a_fifo_does_not_hang(self):
        os.mkfifo(self.path("fifo"))
        self.refused("SR-RUN-002", "launch.preflight.kernel", kernel=self.path("fifo"))

    def test_no_image(self):
        self.refused("SR-RUN-002", "launch.preflight.image", images="/no/images")

    def test_an_empty_image(self):
        self.write("base.img", "")
        self.refused("SR-RUN-002", "launch.preflight.image", images=self.dir)

    def test_an_image_that_is_no_file_system(self):
        """Found before anything boots, with the name that the policy or the configuration gave
        it."""
        path = self.write("base.img", b"no file system " * 10000)
        run = self.refused("SR-RUN-002", "launch.preflight.image", images=self.dir)
        self.assertIn(f"{path} is no squashfs, erofs or ext4 image; 'safe-run image build' makes "
                      f"an image".encode(), run.stderr)
        self.assertEqual(run.events("vm.started"), [])
        self.write("base.img", "short")
        self.refused("SR-RUN-002", "launch.preflight.image", images=self.dir)

    def test_an_image_that_is_damaged(self):
        self.write("base.img", b"hsqs" + b"no file system " * 10000)
        self.configure(images=self.dir)
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-001"))
        self.assertIn(b"SR-RUN-001 prepare.guest: the root image cannot be mounted", run.stderr)

    def test_an_image_of_another_file_system(self):
        for name in ("proc", "sys", "dev"):
            os.makedirs(self.path(f"root/{name}"))
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-d", self.path("root"), self.path("base.img"),
                        "4M"], check=True)
        self.configure(images=self.dir)
        self.assertEqual(self.run_policy(policy("/bin/true")).status,
                         127)  # it booted, and there is nothing in it

    def test_a_kernel_that_is_no_kernel(self):
        self.refused("SR-RUN-002", "launch.vm", kernel=self.write("kernel", b"no kernel " * 1000))

    def test_a_kernel_that_never_answers(self):
        self.refused("SR-RUN-002", "launch.vm", kernel=os.path.join(GUESTS, "spin.kernel"),
                     bootTimeoutSec=1)

    def test_a_bad_configuration_names_its_field(self):
        self.configure(kernle="/x")
        done = self.start(policy("/bin/true"))
        run = self.finish(done)
        self.assertEqual(run.status, 125)
        self.assertIn(b"SR-RUN-001 prepare.config.kernle", run.stderr)

    def test_a_resolver_that_is_no_address_of_a_server(self):
        for value in ("", "localhost", "192.0.2", "192.0.2.2:", "192.0.2.2:0", "192.0.2.2:65536",
                      "192.0.2.2:99999999999999999999",
                      "192.0.2.2:53x", "192.0.2.2:+53", "192.0.2.2,192.0.2.3", "192.0.2.2 53"):
            self.configure(network={"resolver": value})
            run = self.run_policy(shell("true"))
            self.assertEqual(run.status, 125, value)
            self.assertIn("SR-RUN-001 prepare.config.network.resolver", run.stderr.decode(), value)
        for value in ("192.0.2.2", "192.0.2.2:1", "192.0.2.2:65535"):
            self.configure(network={"resolver": value})
            self.assertEqual(self.run_policy(shell("true")).status, 0, value)

    def test_an_empty_configuration_is_like_none(self):
        """Every field is optional, and so are all of them."""
        for text in ("", "# accel: kvm\n", "---\n# accel: kvm\n", "logs:\n  # max: 1Mi\n"):
            self.write("config.yaml", text)
            self.assertEqual(self.run_policy(policy("/bin/true")).status, 0, text)

    def test_a_configuration_that_cannot_be_read_is_named_once(self):
        self.env["SAFE_RUN_CONFIG"] = "/no/such.yaml"
        self.assertEqual(self.run_policy(policy("/bin/true")).stderr,
                         b"safe-run: SR-RUN-001 prepare.config: the host configuration: "
                         b"/no/such.yaml cannot be read: No such file or directory\n")


class HostileGuests(SafeRunTest):
    """A guest whose init is not ours."""

    def test_a_bridge_that_is_not_described(self):
        good = {"uplink": "bridge:br0", "addresses": "192.0.2.10-192.0.2.20/24",
                "gateway": "192.0.2.1"}
        for field, values in {
            "uplink": ["bridge:", "bridge:a/b", "bridge:" + "x" * 16, "none", ""],
            "addresses": ["192.0.2.10", "192.0.2.0/24", "192.0.2.255/24",
                          "192.0.2.20-192.0.2.10/24", "192.0.2.10/31",
                          "192.0.2.10-192.0.3.10/24", "10.0.0.1-10.0.255.1/16", "192.0.2.10/024",
                          None],
            "gateway": ["192.0.2.15", "192.0.3.1", "192.0.2.1/24", "", None],
        }.items():
            for value in values:
                changed = {key: text for key, text in {**good, field: value}.items()
                           if text is not None}
                self.configure(network=changed)
                run = self.run_policy(shell("true"))
                self.assertEqual(run.status, 125, changed)
                self.assertIn(f"SR-RUN-001 prepare.config.network.{field}", run.stderr.decode(),
                              changed)
        self.configure(network=good)
        self.assertEqual(self.run_policy(shell("true")).status, 0)

    def run_guest(self, behaviour, **config):
        self.configure(initrd=os.path.join(GUESTS, f"{behaviour}.initrd"), **config)
        return self.run_policy(policy("/bin/true", timeout=20))

    def failed(self, run, code, path):
        self.assertEqual(run.status, 125, run.stderr)
        self.assertIn(f"{code} {path}:".encode(), run.stderr)
        self.assertEqual((run.failure[0], run.cause), (code, "vmm"))

    def test_one_that_never_says_hello(self):
        self.failed(self.run_guest("silent", bootTimeoutSec=3 if not SANITIZED else 10),
                    "SR-RUN-002", "launch.vm")

    def test_one_whose_kernel_panics(self):
        run = self.run_guest("panics")
        self.failed(run, "SR-RUN-002", "launch.vm")
        with open(os.path.join(run.dir, "console.log"), encoding="utf-8", errors="replace") as file:
            self.assertIn("Kernel panic", file.read())

    def test_one_that_dies_in_the_middle_of_its_output(self):
        run = self.run_guest("dies")
        self.failed(run, "SR-RUN-001", "run.exitCode")
        self.assertEqual(run.stdout, b"x" * 1000)

    def test_one_that_floods(self):
        self.failed(self.run_guest("floods"), "SR-RUN-001", "monitor.channel")

    def test_one_that_babbles(self):
        self.failed(self.run_guest("babbles"), "SR-RUN-001", "monitor.channel")

    def test_one_of_another_version(self):
        for guest, version in (("outdated", b"3"), ("futuristic", b"5")):
            run = self.run_guest(guest)
            self.failed(run, "SR-RUN-002", "launch.vm")
            self.assertIn(b"speaks channel version " + version + b", this safe-run speaks 4; "
                          b"install the initrd", run.stderr)

    def test_one_that_speaks_for_another_session(self):
        run = self.run_guest("strays")
        self.failed(run, "SR-RUN-001", "monitor.channel")
        self.assertIn(b"session that does not exist", run.stderr)

    def test_one_that_talks_after_its_end(self):
        self.failed(self.run_guest("lingers"), "SR-RUN-001", "monitor.channel")

    def test_one_that_does_not_power_off_is_ended(self):
        run = self.run_guest("stays")
        self.assertEqual((run.status, run.cause), (0, "workload"))

    def test_one_that_reports_what_cannot_be(self):
        run = self.run_guest("boasts")
        self.assertEqual((run.status, run.cause), (0, "workload"))
        ended = run.events("vm.exited")[0]
        self.assertEqual([one["about"] for one in ended["contradictions"]], ["cpu", "memory"])
        self.assertEqual(ended["guest"]["oomKills"], 7)
        self.assertIn(b"Guest against host", self.call("report", "show", run.report_path).stdout)

    def test_one_that_writes_to_the_users_terminal(self):
        run = self.run_guest("draws")
        self.assertEqual(run.status, 126)
        self.assertNotIn(b"\033", run.stderr)
        self.assertNotIn(b"\xff", run.stderr)

    def test_a_root_command_that_resets_the_machine(self):
        self.configure()
        run = self.run_policy(shell("echo before; reboot -f; sleep 100", user="0:0"))
        self.assertEqual(run.stdout, b"before\n")
        self.failed(run, "SR-RUN-001", "run.exitCode")


class Accelerators(SafeRunTest):
    def setUp(self):
        super().setUp()
        # what is known of KVM is this test's own
        self.env["SAFE_RUN_CACHE_DIR"] = self.path("cache")

    def test_auto_comes_out_right_and_fast(self):
        self.configure(accel="auto")
        self.env["HOME"] = self.dir
        self.run_policy(policy("/bin/true"))  # may have to find out
        times = {}
        for accel in ("auto", "tcg"):
            started = time.monotonic()
            run = self.run_policy(policy("/bin/true"), "--accel", accel)
            times[accel] = time.monotonic() - started
            self.assertEqual(run.status, 0, run.stderr)
        self.assertLess(times["auto"], times["tcg"] + 2)
        self.assertIn(run.report["assurance"]["accel"], ("kvm", "tcg"))

    def test_a_vmm_that_fails_under_kvm_gets_a_second_chance_under_tcg(self):
        # A wrapper that injects the failure: QEMU really starts, with KVM it is told to use no
        # device there is.
        wrapper = self.write("qemu", "#!/bin/sh\ncase \"$*\" in *'-accel kvm'*) exit 1;; esac\n"
                             "exec /usr/bin/qemu-system-x86_64 \"$@\"\n")
        os.chmod(wrapper, 0o755)
        self.configure(accel="auto", qemu=wrapper, jail={"mode": "none"})
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual(run.status, 0, run.stderr)
        chosen = run.events("vm.accel.selected")
        if KVM_OPENS:
            self.assertEqual([event["accel"] for event in chosen], ["kvm", "tcg"])
            self.assertIn("no guest under KVM", chosen[1]["reason"])
        else:
            self.assertEqual([event["accel"] for event in chosen], ["tcg"])
            self.assertIn("/dev/kvm cannot be opened", chosen[0]["reason"])
        # which it did not say was KVM's fault
        self.assertFalse(os.path.exists(self.path("cache/kvm")))

    def run_where_kvm_opens(self, fails, command="true", runs=2):
        """The accelerators of runs on a host whose /dev/kvm can be opened, with a QEMU that under
        KVM does this instead."""
        wrapper = self.write("qemu",
                             f"#!/bin/sh\ncase \"$*\" in *'-accel kvm'*) {fails};; esac\nexec "
                             f"/usr/bin/qemu-system-x86_64 \"$@\"\n")
        os.chmod(wrapper, 0o755)
        self.configure(accel="auto", qemu=wrapper, jail={"mode": "none"})
        script = ('mkdir -p "$DEV" && mount -t tmpfs none "$DEV" && for name in null zero full '
                  'random urandom; do : > "$DEV/$name" && '
                  'mount --bind "/dev/$name" "$DEV/$name" || exit 9; done; : > "$DEV/kvm" && '
                  'mount --rbind "$DEV" /dev && '
                  '"$SAFE_RUN" run --policy "$POLICY"')
        self.env.update(DEV=self.path("dev"), SAFE_RUN=SAFE_RUN,
                        POLICY=self.write_policy(shell(command)))
        accels = []
        for _ in range(runs):
            process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], env=self.env,
                                       stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            run = self.finish(process)
            self.assertEqual(run.status, 0, run.stderr)
            accels.append([event["accel"] for event in run.events("vm.accel.selected")])
        return accels

    def test_only_a_vmm_that_says_why_marks_kvm_as_broken(self):
        said = "qemu-system-x86_64: -accel kvm: failed to initialize kvm: Operation not permitted"
        self.assertEqual(self.run_where_kvm_opens(f"echo '{said}' >&2; exit 1"),
                         [["kvm", "tcg"], ["tcg"]])

    def test_a_policy_that_asks_for_too_much_memory_does_not(self):
        said = ("qemu-system-x86_64: cannot set up guest memory 'microvm.ram': "
                "Cannot allocate memory")
        self.assertEqual(self.run_where_kvm_opens(f"echo '{said}' >&2; exit 1"), [["kvm", "tcg"]]
                         * 2)

    def test_nor_does_a_vmm_that_was_killed(self):
        said = "qemu-system-x86_64: -accel kvm: failed to initialize kvm: Operation not permitted"
        self.assertEqual(self.run_where_kvm_opens(f"echo '{said}' >&2; kill -9 $$"),
                         [["kvm", "tcg"]] * 2)

    def test_nor_one_that_is_stopped(self):
        self.assertEqual(self.run_where_kvm_opens("kill -STOP $$"), [["kvm", "tcg"]] * 2)

    def test_the_second_vm_has_the_time_of_a_first(self):
        """The first one's end had a deadline of 10 s."""
        self.assertEqual(self.run_where_kvm_opens("exec sleep 100", "sleep 10.5", 1),
                         [["kvm", "tcg"]])

    def test_a_guest_that_hangs_under_kvm_costs_less_than_two_seconds(self):
        wrapper = self.write("qemu",
                             "#!/bin/sh\ncase \"$*\" in *'-accel kvm'*) exec sleep 100;; esac\n"
                             "exec /usr/bin/qemu-system-x86_64 \"$@\"\n")
        os.chmod(wrapper, 0o755)
        self.configure(accel="auto", qemu=wrapper, jail={"mode": "none"})
        started = time.monotonic()
        tcg = self.run_policy(policy("/bin/true"), "--accel", "tcg")
        middle = time.monotonic()
        auto = self.run_policy(policy("/bin/true"))
        self.assertEqual((tcg.status, auto.status), (0, 0), auto.stderr)
        self.assertLess(time.monotonic() - middle, middle - started + 2)

    def test_a_policy_that_requires_kvm_runs_under_it_or_not_at_all(self):
        self.configure(accel="auto")
        run = self.run_policy(policy("/bin/true", require={"accel": "kvm"}))
        if run.status == 0:
            self.assertEqual(run.report["assurance"]["accel"], "kvm")
        else:
            self.assertEqual((run.status, run.failure[0], run.cause), (125, "SR-RUN-002", "setup"))
            self.assertIn(b"SR-RUN-002 require.accel", run.stderr)

    def test_a_policy_that_requires_kvm_is_not_run_under_tcg(self):
        self.configure()
        run = self.run_policy(policy("/bin/true", require={"accel": "kvm"}), "--accel", "tcg")
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))
        self.assertIn(b"require.accel", run.stderr)


RUN = '"$SAFE_RUN" run --policy "$POLICY"'


class RunDirectory(SafeRunTest):
    """The run directory cannot be made or written."""

    def test_a_base_that_cannot_be_created(self):
        run = self.run_policy(policy("/bin/true"), "--workdir-base", "/proc/no/such")
        self.assertEqual(run.status, 125)
        self.assertIn(b"SR-RUN-001 prepare.workdir", run.stderr)

    def mounted(self, options, document=None):
        """Runs safe-run in a mount namespace of its own, with a tmpfs as its base; and gc and
        report verify after it."""
        os.mkdir(self.base)
        script = (f'mount -t tmpfs -o {options[0]} none "$BASE" && {{ {options[1]}; }} && '
                  f'{options[2] if len(options) > 2 else RUN}; echo "status $?"; "$SAFE_RUN" gc '
                  f'--workdir-base "$BASE"; echo "gc $?"; '
                  '"$SAFE_RUN" report verify "$BASE"/sr-*/run_report.json --events '
                  '"$BASE"/sr-*/events.jsonl; echo "verify $?"')
        self.env.update(BASE=self.base, SAFE_RUN=SAFE_RUN, POLICY=self.write_policy(
            document or shell("dd if=/dev/zero bs=64k count=48")))
        return subprocess.run(["unshare", "--map-root-user", "--mount", "sh", "-c", script],
                              env=self.env,
                              capture_output=True, timeout=60, check=False)

    def test_a_read_only_base(self):
        done = self.mounted(("mode=700", 'mount -o remount,ro "$BASE"'))
        self.assertIn(b"status 125", done.stdout)
        self.assertIn(b"SR-RUN-001 prepare.workdir", done.stderr)

    def test_a_disk_that_is_full_from_the_start(self):
        done = self.mounted(("size=8k,mode=700", 'head -c 8k /dev/zero > "$BASE"/fill; true'))
        self.assertIn(b"status 125", done.stdout)
        self.assertRegex(done.stderr, b"SR-(RUN|EVD)-001 ")

    def test_a_disk_that_fills_up_while_the_command_runs(self):
        done = self.mounted(("size=1m,mode=700", "true"))
        self.assertIn(b"status 125", done.stdout)
        self.assertIn(b"SR-RUN-001 monitor.stdout: the run directory's copy cannot be written: No "
                      b"space left", done.stderr)
        self.assertIn(b"gc 0", done.stdout, done.stderr)
        self.assertIn(b"verify 0", done.stdout, done.stderr)

    def test_a_run_that_dies_on_a_full_disk_is_sealed(self):
        done = self.mounted(("size=1m,mode=700", "true", RUN + """ > "$BASE"/said & run=$!
            until [ -s "$BASE"/said ]; do kill -0 $run || exit 1; sleep 0.1; done
            head -c 2m /dev/zero > "$BASE"/fill; df "$BASE"; kill -9 $run; wait $run"""),
                            shell("echo up; sleep 100"))
        self.assertRegex(done.stdout, b" 100% ")
        self.assertIn(b"status 137", done.stdout, done.stderr)
        self.assertIn(b"gc 0", done.stdout, done.stderr)
        self.assertIn(b"verify 0", done.stdout, done.stderr)

    def test_outputs_that_leave_no_room_for_their_names(self):
        """Empty files take nothing of this disk, and their names 300 KiB in each of two files;
        without them there is room for one."""
        document = shell('mkdir /tmp/o; x=$(printf %0236d 0); i=0; while [ $i -lt 900 ]; do : > '
                         '/tmp/o/$x$i; i=$((i+1)); done; '
                         'head -c 580k /dev/zero > /tmp/o/zeros; echo "made"',
                         outputs=[{"path": "/tmp/o", "max": "16Mi"}])
        done = self.mounted(("size=1m,mode=700", "true"), document)
        self.assertIn(b"made\nstatus 125", done.stdout)
        self.assertIn(b"SR-RUN-001 outputs[0].path: not kept: the disk of ", done.stderr)
        self.assertIn(b"gc 0", done.stdout, done.stderr)
        self.assertIn(b"verify 0", done.stdout, done.stderr)

    def test_a_disk_without_room_for_the_evidence(self):
        done = self.mounted(("size=200k,mode=700", "true"))
        self.assertIn(b"status 125", done.stdout)
        self.assertIn(b"SR-EVD-001 events.reserve: the disk of ", done.stderr)
        self.assertIn(b"or name another with --workdir-base", done.stderr)


class KilledVmm(SafeRunTest):
    def test_a_vmm_killed_from_outside(self):
        process = self.start(shell("echo up; sleep 100"))
        self.wait_for_output(process, b"up\n")
        os.kill(self.vmm_pids()[0], signal.SIGKILL)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause, run.failure[0]), (125, "vmm", "SR-RUN-001"))
        self.assertIn(b"SR-RUN-001 monitor.vm: the VMM was killed by signal 9", run.stderr)

    def test_a_vmm_killed_while_it_boots(self):
        process = self.start(policy("/bin/true"))
        self.wait_for(lambda: os.path.isdir(self.base) and self.vmm_pids())
        os.kill(self.vmm_pids()[0], signal.SIGKILL)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause), (125, "vmm"))

    def test_nobody_waits_for_a_reader_when_the_vm_is_gone(self):
        """Output that the VM left is held for a reader who does not take it, until safe-run is
        asked to end."""
        process = self.start(shell("cat /dev/zero"))
        count = bytearray(4)

        def is_full():
            fcntl.ioctl(process.stdout.fileno(), termios.FIONREAD, count)
            return int.from_bytes(count, "little") >= 65536
        self.wait_for(is_full)
        vmm = self.vmm_pids()[0]
        os.kill(vmm, signal.SIGKILL)
        self.wait_for(lambda: b") Z " in open(f"/proc/{vmm}/stat", "rb").read())
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause), (143, "interrupted"))

    def test_a_stopped_vmm_ends_by_the_timeout(self):
        process = self.start(shell("echo up; sleep 100", timeout=8))
        self.wait_for_output(process, b"up\n")
        os.kill(self.vmm_pids()[0], signal.SIGSTOP)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause), (124, "timeout"))


class AnotherUser(SafeRunTest):
    """Everything works without privileges."""
    user = 12345

    def test_a_host_without_user_namespaces_says_so(self):
        none = ('echo 0 > /proc/sys/user/max_user_namespaces && '
                'exec setpriv --inh-caps=-all --ambient-caps=-all "$@"')
        os.chown(self.env["SAFE_RUN_CONFIG"], self.user,
                 self.user)  # root's would be nobody's in there
        done = subprocess.run(
            [*self.become(), "unshare", "--user", f"--map-user={self.user}", "--keep-caps", "sh",
             "-c", none, "sh",
             SAFE_RUN, "run", "--policy", self.write_policy(shell("true"))],
            env=self.env, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, 125)
        self.assertIn(b"launch.vm: the VMM cannot be started: this host lets its users make no "
                      b"more user namespaces "
                      b"(sysctl user.max_user_namespaces)", done.stderr)

    def test_an_ordinary_user_runs_the_same_policy(self):
        self.env["SAFE_RUN_WORKDIR_BASE"] = ""
        done = self.call("run", "--policy", self.write_policy(shell("id -u")))
        self.assertEqual((done.stdout, done.stderr, done.returncode), (b"1000\n", b"", 0))
        runs = os.path.join(self.path("home"), ".local/state/safe-run/runs")
        report = os.path.join(runs, max(os.listdir(runs)), "run_report.json")
        self.assertEqual(self.call("report", "verify", report).returncode, 0)
