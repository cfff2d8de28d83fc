"""Signals: what safe-run inherits of them, and those that come before and after there is a command
to pass them on to."""
import json
import os
import signal
import socket
import subprocess
import time
import unittest

from harness import SANITIZED, SafeRunTest, policy, shell


def ignoring(*numbers):
    """Popen's options for a child that begins with these signals ignored."""
    return {"preexec_fn": lambda: [signal.signal(number, signal.SIG_IGN) for number in numbers]}


class Signals(SafeRunTest):
    def see_the_vmm_killed(self, **inherited):
        process = self.start(shell("echo up; sleep 60"), **inherited)
        self.wait_for_output(process, b"up\n")
        os.kill(self.vmm_pids()[0], signal.SIGKILL)
        run = self.finish(process)
        exited = run.events("vm.exited")[0]
        self.assertEqual(exited["vmm"], {"endedBy": "itself", "status": 0, "signal": 9})
        self.assertGreater(exited["vmmCpuUsec"], 0)
        self.assertEqual((run.status, run.cause), (125, "vmm"))
        self.assertIn(b"the VMM was killed by signal 9", run.stderr)

    def test_an_ignored_sigchld_does_not_change_what_is_seen(self):
        self.see_the_vmm_killed(**ignoring(signal.SIGCHLD))

    def test_a_blocked_sigchld_does_not_change_what_is_seen(self):
        self.see_the_vmm_killed(preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK,
                                                                          [signal.SIGCHLD]))

    def test_a_signal_that_killed_the_vmm_before_its_guest_spoke_is_named(self):
        process = self.start(policy("/bin/true"))
        self.wait_for(self.vmm_pids)
        os.kill(self.vmm_pids()[0], signal.SIGKILL)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause), (125, "vmm"))
        self.assertIn(b"SR-RUN-002 launch.vm: the VMM was killed by signal 9 before the guest "
                      b"said hello", run.stderr)

    def test_what_the_caller_ignores_does_not_end_the_run(self):
        """nohup, and what a shell starts in the background."""
        process = self.start(shell("echo up; read line; echo $line"), "--stdin",
                             stdin=subprocess.PIPE,
                             **ignoring(signal.SIGHUP, signal.SIGINT))
        self.wait_for_output(process, b"up\n")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        run = self.finish(process, b"on\n")
        self.assertEqual((run.status, run.stdout, run.cause), (0, b"on\n", "workload"))

    def test_sigterm_ends_the_run_even_if_the_caller_ignores_it(self):
        process = self.start(shell("echo up; sleep 60"), **ignoring(signal.SIGTERM))
        self.wait_for_output(process, b"up\n")
        process.terminate()  # as safe-run stop does
        self.assertEqual(self.finish(process).status, 143)

    def test_a_signal_while_names_are_resolved_ends_the_run_at_once(self):
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(silent.close)
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(60)
        self.configure(network={"resolver": "127.0.0.1:%d" % silent.getsockname()[1]})
        network = {"mode": "allowlist", "egress": [{"protocol": "tcp", "host": "api.example.com",
                                                    "port": 443}]}
        process = self.start(policy("/bin/true", network=network), "--json")
        silent.recv(512)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        run = self.finish(process)
        self.assertLess(time.monotonic() - asked, 3)  # of the 5 s that names have
        self.assertEqual((run.status, run.cause, run.events("vm.started")),
                         (130, "interrupted", []))
        said = json.loads(run.stdout)
        self.assertEqual((said["exitCode"], said["cause"], said["error"]["path"]),
                         (130, "interrupted", "monitor.interrupted"))

    def held_at(self, failpoint, document):
        """A run that says when it comes to a failpoint, and stays there for 0.3 s."""
        log = self.env["SAFE_RUN_FAILPOINT_LOG"] = self.write("log", "")
        self.env["SAFE_RUN_FAILPOINT"] = f"{failpoint}:delay"
        process = self.start(document, "--json")
        self.wait_for(lambda: os.path.getsize(log) > 0)
        return process

    def test_a_signal_before_there_is_a_vm_starts_none(self):
        process = self.held_at("prepare.lock", policy("/bin/true"))
        process.terminate()
        run = self.finish(process)
        self.assertEqual((run.status, run.cause, run.events("vm.started")),
                         (143, "interrupted", []))
        self.assertEqual(json.loads(run.stdout)["exitCode"], 143)

    def test_a_signal_after_the_end_changes_nothing(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(signal=number):
                process = self.held_at("conclude.before", shell("exit 3"))
                process.send_signal(number)
                run = self.finish(process)
                self.assertEqual((run.status, run.report["exitCode"], run.cause),
                                 (3, 3, "workload"))
                self.assertEqual(json.loads(run.stdout)["exitCode"], 3)


if not SANITIZED:  # without failpoints a signal cannot be aimed so well
    del Signals.test_a_signal_before_there_is_a_vm_starts_none
    del Signals.test_a_signal_after_the_end_changes_nothing

if __name__ == "__main__":
    unittest.main()
