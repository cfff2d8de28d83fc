"""Runs in real guests: output, exit statuses, isolation, signals, time."""
import hashlib
import json
import os
import signal
import subprocess
import time

from harness import SANITIZED, SAFE_RUN, SOURCE, SafeRunTest, policy, shell


class Hello(SafeRunTest):
    def test_prints_the_guests_line_and_leaves_a_report_that_verifies(self):
        run = self.run_policy(os.path.join(SOURCE, "examples", "hello.yaml"))
        self.assertEqual((run.stdout, run.stderr, run.status), (b"hello from the microVM\n", b"",
                                                                0))
        self.assertEqual(run.report["exitCode"], 0)
        self.assertEqual(run.cause, "workload")
        self.assertIsNone(run.failure)

    def test_events_come_in_the_order_of_the_contract(self):
        run = self.run_policy(policy("/bin/true"))
        kinds = [event["type"] for event in run.report["events"] if event["type"]
                 != "resource.sampled"]
        self.assertEqual(kinds, ["compile", "run.prepared", "vm.accel.selected", "vm.started",
                                 "vm.exited", "run.cleaned"])
        self.assertGreaterEqual(len(run.events("resource.sampled")), 1)
        self.assertGreater(run.events("resource.sampled")[-1]["cpuUsageUsec"], 0)

    def test_the_run_directory_is_private_and_complete(self):
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual(os.stat(run.dir).st_mode & 0o777, 0o700)
        self.assertEqual(sorted(os.listdir(run.dir)),
                         ["bundle.json", "command.json", "console.log", "events.jsonl", "lock",
                          "policy.json", "run_report.json",
                          "stderr.log", "stdout.log", "vmm.log"])

    def test_a_changed_byte_in_the_report_is_found(self):
        run = self.run_policy(policy("/bin/true"))
        with open(run.report_path, "rb") as file:
            report = file.read()
        for at in range(0, len(report), len(report) // 40):
            changed = self.write("changed.json", report[:at] + bytes([report[at] ^ 1])
                                 + report[at + 1:])
            done = self.call("report", "verify", changed)
            self.assertEqual(done.returncode, 2,
                             f"byte {at} ({report[at:at + 1]!r}) changed, and still: {done.stdout}")

    def test_two_runs_agree_in_every_hash_and_differ_in_id(self):
        first, second = (self.run_policy(policy("/bin/echo", "x")) for _ in range(2))
        for name in ("kernelHash", "rootfsHash", "policyHash", "commandHash"):
            self.assertEqual(first.report["artifacts"][name], second.report["artifacts"][name])
        self.assertNotEqual(first.report["runId"], second.report["runId"])
        with open(os.path.join(first.dir, "policy.json"), "rb") as file:
            self.assertEqual(first.report["artifacts"]["policyHash"],
                             "sha256:" + hashlib.sha256(file.read()).hexdigest())

    def test_twenty_at_once_all_succeed(self):
        document = self.write_policy(shell("echo out; exit 7", memory="96Mi"))
        count = 6 if SANITIZED else 20
        running = [self.start(document) for _ in range(count)]
        for process in running:
            out, err = process.communicate(timeout=300)
            self.assertEqual((out, err, process.returncode), (b"out\n", b"", 7))
        self.assertEqual(len([name for name in os.listdir(self.base) if name != ".open"]), count)
        self.assertEqual(os.listdir(os.path.join(self.base, ".open")), [])


class Output(SafeRunTest):
    def test_stdout_and_stderr_arrive_apart(self):
        run = self.run_policy(shell("echo one; echo two >&2; echo three"))
        self.assertEqual((run.stdout, run.stderr), (b"one\nthree\n", b"two\n"))

    def test_sixty_four_mebibytes_of_random_bytes_come_through_cat_unchanged(self):
        data = os.urandom(64 * 1024 * 1024)
        run = self.run_policy(policy("/bin/cat", timeout=600), "--stdin", feed=data)
        self.assertEqual(run.status, 0, run.stderr)
        self.assertEqual(hashlib.sha256(run.stdout).digest(), hashlib.sha256(data).digest())

    def test_stdin_may_be_a_regular_file(self):
        with open(self.write("in", b"a\0b\n" * 100000), "rb") as file:
            run = self.run_policy(policy("/bin/md5sum"), "--stdin", stdin=file)
        self.assertEqual(run.stdout.split()[0].decode(), hashlib.md5(b"a\0b\n"
                                                                     * 100000).hexdigest())

    def test_stdin_may_be_dev_null(self):
        run = self.run_policy(policy("/bin/cat"), "--stdin")
        self.assertEqual((run.stdout, run.status), (b"", 0))

    def test_closed_standard_descriptors_are_as_good_as_dev_null(self):
        path = self.write_policy(shell("cat; echo out; echo err >&2; exit 4"))
        done = subprocess.run(["/bin/sh", "-c",
                               f'"{SAFE_RUN}" run --policy "{path}" --stdin <&- >&- 2>&-'],
                              env=self.env,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 4)

    def test_output_that_is_read_long_after_the_end_is_complete(self):
        process = self.start(shell("dd if=/dev/zero bs=1k count=200 2>/dev/null"))
        self.wait_for(lambda: os.path.isdir(self.base) and self.vmm_pids())
        self.wait_for(lambda: self.state(self.vmm_pids()[0])
                      == "Z")  # ended, and waited for only at the very end
        time.sleep(1.5)  # longer than the guest is given to power off
        run = self.finish(process)
        self.assertEqual((len(run.stdout), run.status), (200 * 1024, 0))

    def test_a_policy_names_a_file_of_the_guest_as_stdin(self):
        run = self.run_policy(policy("/bin/head", "-n", "1", stdin="/etc/passwd"))
        self.assertEqual((run.stdout, run.status), (b"root:x:0:0:root:/root:/bin/sh\n", 0))

    def test_stdin_of_the_policy_is_opened_with_the_commands_rights(self):
        run = self.run_policy(policy("/bin/cat", stdin="/proc/1/environ"))
        self.assertEqual((run.stdout, run.status), (b"", 125))
        self.assertIn(b"SR-RUN-001 prepare.guest: runtime.stdin: /proc/1/environ cannot be opened",
                      run.stderr)

    def test_stdin_comes_from_the_policy_or_from_the_caller(self):
        run = self.run_policy(policy("/bin/cat", stdin="/etc/passwd"), "--stdin", feed=b"mine")
        self.assertEqual((run.stdout, run.status), (b"", 125))
        self.assertIn(b"SR-RUN-001 runtime.stdin", run.stderr)

    def test_without_stdin_the_command_reads_nothing(self):
        run = self.run_policy(policy("/bin/cat"), feed=b"not for the guest")
        self.assertEqual((run.stdout, run.status), (b"", 0))

    def test_a_command_that_ignores_its_stdin_ends(self):
        run = self.run_policy(policy("/bin/true"), "--stdin", feed=b"x" * (4 << 20))
        self.assertEqual(run.status, 0)

    def test_output_is_streamed_as_it_is_produced(self):
        process = self.start(shell("echo first; read line; echo got $line"), "--stdin",
                             stdin=subprocess.PIPE)
        self.wait_for_output(process, b"first\n")
        process.stdin.write(b"second\n")
        process.stdin.flush()
        self.wait_for_output(process, b"got second\n")
        self.assertEqual(self.finish(process).status, 0)

    def test_a_slow_reader_loses_nothing_and_costs_no_memory(self):
        size = 64 << 20
        process = self.start(shell(f"head -c {size} /dev/zero; echo end >&2"))
        self.wait_for_output(process, b"\0")
        time.sleep(1)  # the guest fills its window and waits
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        if not SANITIZED:
            self.assertLess(resident, 12 * 1024)
        run = self.finish(process)
        self.assertEqual((run.status, run.stderr), (0, b"end\n"))
        self.assertEqual(run.events("vm.exited")[0]["stdout"]["bytes"], size)

    def test_a_reader_that_goes_away_ends_the_command_by_sigpipe(self):
        process = self.start(shell("yes"))
        self.wait_for_output(process, b"y\n")
        process.stdout.close()
        process.stdout = None
        self.assertEqual(self.finish(process).status, 128 + signal.SIGPIPE)

    def test_output_that_cannot_be_delivered_fails_the_run(self):
        with open("/dev/full", "wb") as full:
            run = self.run_policy(policy("/bin/echo", "x"), stdout=full)
        self.assertEqual(run.status, 125)
        self.assertIn(b"SR-RUN-001 monitor.stdout", run.stderr)

    def test_logs_are_kept_up_to_their_limit(self):
        self.configure(logs={"max": "1Mi"})
        run = self.run_policy(shell("head -c 3000000 /dev/zero"))
        self.assertEqual(len(run.stdout), 3000000)
        self.assertEqual(os.path.getsize(os.path.join(run.dir, "stdout.log")), 1 << 20)
        self.assertEqual(run.events("vm.exited")[0]["stdout"], {"bytes": 3000000, "logged": 1 << 20,
                                                                "truncated": True})
        self.assertFalse(run.events("vm.exited")[0]["stderr"]["truncated"])

    def test_relative_sources_and_granted_directories_are_recorded(self):
        os.mkdir(self.path("beside"))
        self.write("beside/file", "beside the policy\n")
        document = shell("cat /data/file", mounts=[{"source": "beside/file",
                                                    "target": "/data/file"}])
        refused = self.run_policy(document)
        self.assertEqual((refused.status, refused.dir), (125, None))
        self.assertIn(b"outside the host allowlist", refused.stderr)
        run = self.run_policy(document, "--allow-mount", self.path("beside"))
        self.assertEqual((run.status, run.stdout), (0, b"beside the policy\n"), run.stderr)
        prepared, = run.events("run.prepared")
        self.assertEqual((prepared["policyDir"], prepared["allowMounts"]),
                         (self.dir, [self.path("beside")]))
        self.assertEqual(run.events("mount.applied")[0]["source"], "beside/file")

    def test_json_has_every_error_of_a_policy(self):
        document = policy("/bin/true", cpu="x", memory="1Xi", network={"mode": "sometimes"})
        said = json.loads(self.run_policy(document, "--json").stdout)
        self.assertEqual([error["path"] for error in said["errors"]],
                         ["resources.cpu.max", "resources.memory.max", "network.mode"])
        self.assertEqual(said["error"], said["errors"][0])

    def test_a_command_with_blanks_is_told_where_arguments_belong(self):
        run = self.run_policy(policy("echo hello"))
        self.assertEqual(run.status, 127)
        self.assertIn(b"arguments belong in runtime.args", run.stderr)

    def test_json_prints_one_object_and_leaves_the_output_in_the_run_directory(self):
        run = self.run_policy(shell("echo out; echo err >&2; exit 3"), "--json")
        said = json.loads(run.stdout)
        self.assertEqual((run.status, run.stderr, said["exitCode"], said["state"]),
                         (3, b"", 3, "finished"))
        self.assertEqual(said["report"], run.report_path)
        self.assertEqual(said["runId"], run.report["runId"])
        with open(said["artifacts"]["stdout"], "rb") as out, open(said["artifacts"]["stderr"],
                                                                  "rb") as err:
            self.assertEqual((out.read(), err.read()), (b"out\n", b"err\n"))


class ExitStatus(SafeRunTest):
    def test_exit_codes_come_through(self):
        for code in (0, 1, 42, 255):
            with self.subTest(code=code):
                run = self.run_policy(shell(f"exit {code}"))
                self.assertEqual((run.status, run.report["exitCode"], run.cause),
                                 (code, code, "workload"))

    def test_signals_come_through(self):
        for number in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(signal=number):
                run = self.run_policy(shell(f"kill -{int(number)} $$"))
                self.assertEqual(run.status, 128 + number)
                self.assertEqual(run.report["exit"]["signal"], number)

    def test_a_missing_command_is_127(self):
        run = self.run_policy(policy("/no/such/program"))
        self.assertEqual(run.status, 127)
        self.assertIn(b"/no/such/program: not found in the image", run.stderr)
        self.assertEqual(run.cause, "setup")

    def test_a_command_without_a_slash_is_looked_up_in_path(self):
        self.assertEqual(self.run_policy(policy("echo", "x")).stdout, b"x\n")
        self.assertEqual(self.run_policy(policy("no-such-program")).status, 127)

    def test_a_command_that_is_not_executable_is_126(self):
        run = self.run_policy(policy("/etc/passwd"))
        self.assertEqual(run.status, 126)
        self.assertIn(b"/etc/passwd: cannot be executed: Permission denied", run.stderr)

    def test_a_bad_working_directory_is_126(self):
        run = self.run_policy(policy("/bin/true", workdir="/no/such"))
        self.assertEqual(run.status, 126)
        self.assertIn(b"working directory /no/such", run.stderr)

    def test_what_the_command_leaves_running_does_not_keep_the_vm(self):
        run = self.run_policy(shell("sleep 1000 & echo started"))
        self.assertEqual((run.stdout, run.status), (b"started\n", 0))

    def test_a_command_that_eats_memory_dies_in_the_guest(self):
        run = self.run_policy(policy("/bin/awk",
                                     'BEGIN { s = sprintf("%9999s", "x"); while (1) a[i++] = s }',
                                     memory="96Mi"))
        self.assertEqual(run.status, 137)
        self.assertEqual(run.cause, "guest-oom")
        self.assertRegex(run.stderr,
                         rb"warning: the guest ran out of memory: it says that its kernel killed "
                         rb"1 process; resources.memory.max is 96Mi")

    def test_a_child_that_eats_memory_is_told_whatever_the_command_makes_of_it(self):
        hungry = """awk 'BEGIN { s = sprintf("%9999s", "x"); while (1) a[i++] = s }'"""
        for end, status in (("", 0), ("; exit 3", 3)):
            run = self.run_policy(shell(f"{hungry}; echo $?{end}", memory="96Mi"))
            self.assertEqual((run.stdout, run.status, run.cause), (b"137\n", status, "workload"))
            self.assertEqual(run.events("vm.exited")[0]["guest"]["oomKills"], 1)
            self.assertIn(b"warning: the guest ran out of memory", run.stderr)
            self.assertIn("the guest says that it killed 1 process for lack of it",
                          " ".join(self.call("report", "show",
                                             run.report_path).stdout.decode().split()))


class Request(SafeRunTest):
    def test_environment_directory_and_user_are_the_policys(self):
        run = self.run_policy(shell("echo $GREETING; pwd; id -u; id -g; id -G",
                                    env={"GREETING": "a b"}, workdir="/tmp",
                                    user="1234:4321"))
        self.assertEqual(run.stdout, b"a b\n/tmp\n1234\n4321\n4321\n")

    def test_arguments_behind_two_dashes_are_appended_and_hashed(self):
        run = self.run_policy(policy("/bin/echo", "a"), "--", "b", "--json")
        self.assertEqual(run.stdout, b"a b --json\n")
        hashed = hashlib.sha256(b'{"args":["a","b","--json"],"command":"/bin/echo"}').hexdigest()
        self.assertEqual(run.report["artifacts"]["commandHash"], "sha256:" + hashed)
        with open(os.path.join(run.dir, "command.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), {"command": "/bin/echo",
                                               "args": ["a", "b", "--json"]})

    def test_the_report_vouches_for_the_files_of_the_run(self):
        run = self.run_policy(shell("echo out; echo err >&2"))
        for name in ("stdout.log", "stderr.log", "policy.json", "bundle.json", "command.json"):
            with open(os.path.join(run.dir, name), "rb") as file:
                self.assertEqual(run.report["artifacts"]["files"][name],
                                 "sha256:" + hashlib.sha256(file.read()).hexdigest())
        self.assertEqual(self.call("report", "verify", run.report_path, "--artifacts",
                                   run.dir).returncode, 0)
        with open(os.path.join(run.dir, "stdout.log"), "ab") as file:
            file.write(b"forged")
        self.assertEqual(self.call("report", "verify", run.report_path, "--artifacts",
                                   run.dir).returncode, 2)

    def test_a_long_argument_list_arrives_whole(self):
        arguments = [f"{i:0100}" for i in range(5000)]
        run = self.run_policy(shell('echo $#; echo "$@" | md5sum'), "--", "sh", *arguments)
        self.assertEqual(run.stdout.split()[:2],
                         [b"5000", hashlib.md5((" ".join(arguments)
                                                + "\n").encode()).hexdigest().encode()])

    def test_usage_errors_are_64_and_start_nothing(self):
        for arguments in ([], ["--policy"], ["--policy", "x", "--no-such"],
                          ["--policy", "x", "--timeout", "0"],
                          ["--policy", "x", "--accel", "magic"], ["--policy", "x", "stray"]):
            with self.subTest(arguments=arguments):
                done = self.call("run", *arguments)
                self.assertEqual((done.returncode, done.stdout), (64, b""))
                self.assertIn(b"usage: safe-run run", done.stderr)
        self.assertFalse(os.path.exists(self.base))

    def test_an_invalid_policy_runs_nothing(self):
        run = self.run_policy(policy("", memory="lots"))
        self.assertEqual((run.status, run.stdout, run.dir), (125, b"", None))
        self.assertIn(b"error: runtime.command: must not be blank [SR-POL-001]", run.stderr)
        self.assertIn(b"error: resources.memory.max: ", run.stderr)

    def test_json_is_an_object_whatever_fails_before_there_is_a_run(self):
        """For a caller that reads stdout: the first finding is the error."""
        invalid = self.write("invalid.yaml", "apiVersion: x\nmetadata: {name: x}\n")
        for name, code, path, line in (("nosuch", "SR-POL-001", "policy", None),
                                       (invalid, "SR-POL-001", "runtime", 1)):
            with self.subTest(name):
                run = self.run_policy(name, "--json")
                answer = json.loads(run.stdout)
                self.assertEqual((run.status, answer["runId"], answer["state"], answer["exitCode"],
                                  answer["report"]),
                                 (125, None, "failed", 125, None))
                error = answer["error"]
                self.assertEqual((error["code"], error["path"], error.get("line")),
                                 (code, path, line))


class Isolation(SafeRunTest):
    def test_the_guest_has_no_network_device(self):
        run = self.run_policy(shell("ls /sys/class/net; cat /proc/net/route | wc -l"))
        self.assertEqual(run.stdout, b"lo\n1\n")

    def test_loopback_works_inside_the_guest(self):
        run = self.run_policy(shell("echo hi | nc -l -p 9 & sleep 0.2; nc 127.0.0.1 9", user="0:0"))
        self.assertEqual(run.stdout, b"hi\n")

    def test_the_command_is_not_root_and_cannot_become_it(self):
        run = self.run_policy(shell("id -u; grep -E 'NoNewPrivs|CapEff|CapPrm' /proc/self/status"))
        self.assertEqual(run.stdout.split(), [b"1000", b"CapPrm:", b"0000000000000000", b"CapEff:",
                                              b"0000000000000000", b"NoNewPrivs:", b"1"])

    def test_the_root_image_cannot_be_written_even_by_root(self):
        image = os.path.join(os.path.dirname(SAFE_RUN), "artifacts", "images", "base.img")
        with open(image, "rb") as file:
            before = hashlib.sha256(file.read()).digest()
        run = self.run_policy(shell("mknod /dev/disk b 254 0 || mknod /tmp/disk b 254 0; "
                                    "echo x > /dev/disk; echo x > /tmp/disk; mount -o remount,rw "
                                    "/image; "
                                    "echo x > /etc/new && cat /etc/new", user="0:0", disk="16Mi"))
        self.assertEqual(run.stdout, b"x\n")  # into the overlay
        with open(image, "rb") as file:
            self.assertEqual(hashlib.sha256(file.read()).digest(), before)

    def test_without_disk_the_root_is_read_only(self):
        run = self.run_policy(shell("touch /tmp/x || echo no", disk="0", user="0:0"))
        self.assertEqual(run.stdout, b"no\n")

    def test_scratch_space_is_bounded_by_disk_max(self):
        run = self.run_policy(shell("dd if=/dev/zero of=/tmp/x bs=64k 2>/dev/null; wc -c < /tmp/x",
                                    disk="4Mi"))
        self.assertLessEqual(int(run.stdout), 4 << 20)
        self.assertGreater(int(run.stdout), 3 << 20)

    def test_processes_are_bounded_by_pids_max(self):
        run = self.run_policy(shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo none",
                                    pids=5))
        self.assertIn(b"fork", run.stderr)
        self.assertNotEqual(run.status, 0)

    def test_a_fork_bomb_ends_by_the_timeout(self):
        run = self.run_policy(shell("f() { f | f & }; f; sleep 100", timeout=4))
        self.assertEqual((run.status, run.cause), (124, "timeout"))

    def test_no_host_file_is_visible(self):
        secret = self.write("secret", "of the host")
        run = self.run_policy(shell(f"cat {secret}; cat /proc/mounts; ls /", user="0:0"))
        self.assertNotIn(b"of the host", run.stdout)
        self.assertNotIn(self.dir.encode(), run.stdout)
        self.assertNotIn(b"9p", run.stdout)

    def test_only_the_usual_devices_are_there(self):
        run = self.run_policy(shell("ls /dev"))
        self.assertEqual(run.stdout.split(), [b"fd", b"full", b"null", b"ptmx", b"pts", b"random",
                                              b"shm", b"stderr",
                                              b"stdin", b"stdout", b"tty", b"urandom", b"zero"])

    def test_the_command_inherits_no_descriptor(self):
        run = self.run_policy(shell("sleep 10 & ls /proc/$!/fd"))
        self.assertEqual(run.stdout.split(), [b"0", b"1", b"2"])

    def test_the_guests_clock_is_the_hosts(self):
        before = time.time()
        run = self.run_policy(shell("date +%s"))
        self.assertTrue(before - 1 <= int(run.stdout) <= time.time() + 1, run.stdout)

    def test_two_guests_draw_different_random_numbers(self):
        draws = {self.run_policy(shell("head -c 16 /dev/urandom | md5sum")).stdout
                 for _ in range(2)}
        self.assertEqual(len(draws), 2)

    def test_several_processors_come_from_the_quota(self):
        run = self.run_policy(policy("/bin/nproc", cpu="150000 100000"))
        self.assertEqual(run.stdout, b"2\n")


class Endings(SafeRunTest):
    def test_the_timeout_asks_first(self):
        run = self.run_policy(shell("trap 'echo asked; exit 0' TERM; echo up; while :; do sleep "
                                    "0.1; done", timeout=4))
        self.assertEqual((run.status, run.stdout, run.cause), (124, b"up\nasked\n", "timeout"))
        self.assertEqual(run.failure[0], "SR-RUN-003")
        self.assertTrue(run.events("vm.exited")[0]["timedOut"])

    def test_a_command_that_ignores_sigterm_ends_by_the_timeout_plus_grace(self):
        started = time.monotonic()
        run = self.run_policy(shell("trap '' TERM; echo up; while :; do sleep 0.1; done"),
                              "--timeout", "4")
        self.assertEqual((run.status, run.stdout), (124, b"up\n"))
        self.assertIn(b"SR-RUN-003 monitor.timeout", run.stderr)
        self.assertLess(time.monotonic() - started, 12 if SANITIZED else 9)

    def test_ctrl_c_is_passed_on(self):
        process = self.start(shell("trap 'echo interrupted; exit 5' INT; echo up; while :; do "
                                   "sleep 0.1; done"))
        self.wait_for_output(process, b"up\n")
        process.send_signal(signal.SIGINT)
        run = self.finish(process)
        self.assertEqual((run.status, run.stdout), (5, b"interrupted\n"))

    def test_ctrl_c_ends_a_command_that_does_not_handle_it(self):
        process = self.start(shell("echo up; sleep 100"))
        self.wait_for_output(process, b"up\n")
        process.send_signal(signal.SIGINT)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause), (130, "interrupted"))

    def test_a_second_ctrl_c_ends_the_vm(self):
        process = self.start(shell("trap '' INT; echo up; while :; do sleep 0.1; done"))
        self.wait_for_output(process, b"up\n")
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)  # two pending SIGINTs are one
        process.send_signal(signal.SIGINT)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause), (130, "interrupted"))

    def test_sigterm_and_sighup_end_the_run_in_an_orderly_way(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number):
                process = self.start(shell("trap 'echo bye; exit 0' TERM; echo up; while :; do "
                                           "sleep 0.1; done"))
                self.wait_for_output(process, b"up\n")
                process.send_signal(number)
                run = self.finish(process)
                self.assertEqual((run.status, run.stdout, run.cause),
                                 (128 + number, b"bye\n", "interrupted"))

    def test_an_interrupt_while_booting_ends_the_run(self):
        process = self.start(policy("/bin/true"))
        self.wait_for(lambda: self.children(process.pid) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        run = self.finish(process)
        self.assertIn(run.status, (130, 0))  # 0: it had ended before the signal came
        self.assertIsNotNone(run.report)

    def test_sigkill_on_the_supervisor_takes_the_vmm_along(self):
        process = self.start(shell("echo up; sleep 100"))
        self.wait_for_output(process, b"up\n")
        self.assertEqual(len(self.vmm_pids()), 1)  # durable before the command was handed over
        process.kill()
        process.communicate()
        self.wait_for(lambda: not self.leftovers(), seconds=2)
