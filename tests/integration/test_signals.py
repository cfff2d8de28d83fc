"""Signals: what safe-run inherits of them, and those that come before and after there is a command to pass them on to."""
import os
import signal
import unittest

from harness import SafeRunTest, shell


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
        self.see_the_vmm_killed(preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD]))


if __name__ == "__main__":
    unittest.main()
