"""What safe-run says of its host, and how it answers those who mistype."""
import json
import os
import re
import signal
import subprocess
import unittest

from harness import SAFE_RUN, SafeRunTest, shell


class Doctor(SafeRunTest):
    def examine(self, status=0):
        done = self.call("doctor", "--json")
        self.assertEqual(done.returncode, status, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["ready"], status == 0)
        return {check["name"]: (check["result"], check["text"]) for check in answer["checks"]}

    def test_a_host_on_which_runs_run(self):
        found = self.examine()
        self.assertEqual(list(found), ["config", "ceilings", "runs", "tcg", "jail", "landlock",
                                       "limits", "kvm", "network"])
        for name in ("config", "runs", "tcg", "jail"):
            self.assertEqual(found[name][0], "ok", found[name])
        said = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True,
                              check=True).stdout
        version = re.match(r"QEMU emulator version ([0-9.]+)", said)[1]
        self.assertIn(f"qemu {version}", found["tcg"][1])
        self.assertEqual(os.listdir(self.base), [".open"])  # nothing is left of the trials

    def test_in_words(self):
        done = self.call("doctor")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.decode().splitlines()
        self.assertRegex(lines[0], r"^ok       config    QEMU is /")
        self.assertNotIn("\033", done.stdout.decode())
        self.assertEqual(done.stderr, b"")

    def test_limits_that_no_cgroup_holds_are_explained(self):
        result, text = self.examine()["limits"]
        if result == "ok":
            self.assertNotIn("refused", text)
        else:
            self.assertRegex(text,
                             "require.limits: enforced is refused here: no cgroup of this host "
                             "holds: ")

    def test_a_reader_that_has_seen_enough_ends_it_in_silence(self):
        with open(self.path("said"), "w+b") as said:
            process = subprocess.Popen([*self.become(), SAFE_RUN, "doctor"], env=self.env,
                                       stdout=subprocess.PIPE, stderr=said)
            self.assertRegex(process.stdout.readline(), b"^ok       config")
            process.stdout.close()
            self.assertEqual(process.wait(timeout=120), -signal.SIGPIPE)
            said.seek(0)
            self.assertEqual(said.read(), b"")

    def test_a_missing_qemu_is_told_with_its_package(self):
        self.configure(qemu="/no/such/qemu")
        found = self.examine(status=1)
        self.assertEqual(found["tcg"][0], "failed")
        self.assertIn("install the package qemu-system-x86", found["tcg"][1])
        self.assertNotIn("kvm", found)

    def test_missing_artefacts(self):
        self.configure(kernel="/no/such/kernel")
        self.assertIn("SR-RUN-002 launch.preflight.kernel", self.examine(status=1)["tcg"][1])

    def test_a_missing_pasta_leaves_runs_without_a_network(self):
        self.configure(pasta="/no/such/pasta")
        result, text = self.examine()["network"]
        self.assertEqual(result, "warning")
        self.assertIn("install the package passt", text)

    def test_a_configuration_that_cannot_be_read(self):
        self.write("config.yaml", "nonsense: [")
        self.assertEqual(self.examine(status=1)["config"][0], "failed")

    def test_runs_that_died_are_counted(self):
        process = self.start(shell("echo up; sleep 60"))
        self.wait_for_output(process, b"up\n")
        process.kill()
        process.communicate()
        # And closed by the first trial, as by any other start.
        result, text = self.examine()["runs"]
        self.assertEqual(result, "warning", text)
        self.assertIn("'safe-run gc' closes them", text)


class DoctorAsUser(Doctor):
    user = 12345


class CommandLine(SafeRunTest):
    def test_what_was_meant(self):
        for arguments, answer in ((("docter",), "unknown command 'docter'; did you mean 'doctor'?"),
                                  (("xyzzy",),
                                   "unknown command 'xyzzy'; 'safe-run help' lists them"),
                                  (("policy", "whyy"),
                                   "unknown subcommand 'whyy'; did you mean 'why'?"),
                                  (("run", "--polcy", "x"),
                                   "unknown option '--polcy'; did you mean '--policy'?"),
                                  (("run", "-x"), "unknown option '-x'"),
                                  (("run", "--policy"), "--policy needs a value"),
                                  (("run", "--accel", "fast"),
                                   "--accel takes auto, kvm or tcg, not 'fast'"),
                                  (("archive", "ls", "--limit", "-1"),
                                   "--limit takes a number, not '-1'"),
                                  (("report", "show", "--format", "x", "y"),
                                   "unknown option '--format'"),
                                  (("validate", "--format", "xml", "y"),
                                   "--format takes text or json, not 'xml'")):
            done = self.call(*arguments)
            self.assertEqual((done.returncode, done.stdout), (64, b""))
            self.assertEqual(done.stderr.decode().splitlines()[0], "safe-run: " + answer)

    def test_help_of_a_command(self):
        for command in (("run",), ("policy",), ("policy", "why"), ("version",), ("doctor",)):
            asked, told = self.call("help", *command), self.call(*command, "--help")
            self.assertEqual((asked.returncode, asked.stdout), (0, told.stdout))
        self.assertEqual(self.call("help", "runn").returncode, 64)

    def test_an_answer_that_cannot_be_written_is_an_error(self):
        for arguments in (("help",), ("version",), ("run", "--help"), ("ps",), ("policy", "schema"),
                          ("image", "ls")):
            with open("/dev/full", "wb") as full:
                done = self.call_to(full, *arguments)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(b"cannot be written", done.stderr)

    def call_to(self, out, *arguments):
        return subprocess.run([SAFE_RUN, *arguments], env=self.env, stdout=out,
                              stderr=subprocess.PIPE, timeout=60, check=False)


if __name__ == "__main__":
    unittest.main()
