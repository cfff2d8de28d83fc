"""Many runs, half of them killed: nothing grows. SR_STRESS=1 makes the full number (500 in a row,
50 at once)."""
import ctypes
import json
import os
import random
import time
import unittest

from harness import SANITIZED, SafeRunTest, shell
from test_limits import cgroups

FULL = bool(os.environ.get("SR_STRESS"))
IN_A_ROW = 500 if FULL else 4 if SANITIZED else 16
AT_ONCE = 50 if FULL else 3 if SANITIZED else 8
CLONE_NEWNS, MS_REC, MS_PRIVATE, PR_SET_CHILD_SUBREAPER = 0x20000, 0x4000, 1 << 18, 36
libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Soak(SafeRunTest):
    """What keeps anything of a run in the kernel is a process, a mount or a name. Other tests make
    such things at the same time, so this one, which is a process of its own, gets a mount namespace
    of its own, and every orphan of its runs."""

    def setUp(self):
        super().setUp()
        if os.geteuid() == 0:  # others cannot mount anything where it could be seen
            call(libc.unshare, CLONE_NEWNS)
            call(libc.mount, None, b"/", None, MS_REC | MS_PRIVATE, None)
        call(libc.prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def orphans(self):
        """What is left of the runs' processes, once those that have ended are reaped."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0] > 0:
                pass
        except ChildProcessError:
            return []
        return self.children(os.getpid())

    def mounts(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            return sorted(line.split()[4] for line in file)

    def start_one(self):
        return self.start(self.document, start_new_session=True)

    def kill_some(self, process, chance):
        if chance.random() < 0.5:
            time.sleep(chance.random() * 0.7)
            process.kill()

    def check(self, before):
        register = os.path.join(self.base, ".open")
        # one killed before it had its lock is taken for one that is about to: for a minute
        for marker in os.listdir(register):
            os.utime(os.path.join(register, marker), (0, 0))
        self.assertEqual(self.call("gc").returncode, 0)
        self.assertEqual(os.listdir(register), [])
        causes = {}
        for name in os.listdir(self.base):
            if name == ".open":
                continue
            path = os.path.join(self.base, name)
            done = self.call("report", "verify", f"{path}/run_report.json", "--events",
                             f"{path}/events.jsonl")
            self.assertEqual(done.returncode, 0, (name, done.stdout))
            with open(f"{path}/run_report.json", encoding="utf-8") as file:
                cause = json.load(file)["exit"]["cause"]
            causes[cause] = causes.get(cause, 0) + 1
            self.assertEqual(cgroups(name), [])
        self.assertEqual(set(causes) - {"workload", "interrupted"}, set(), causes)
        self.assert_nothing_left()
        self.wait_for(lambda: self.orphans() == [], 20)
        self.assertEqual(self.mounts(), before)

    def test_in_a_row(self):
        self.document = self.write_policy(shell("echo out"))
        self.call("run", "--policy",
                  self.document)  # what the first of all runs leaves for the others: caches
        chance, before = random.Random(1), self.mounts()
        for _ in range(IN_A_ROW):
            process = self.start_one()
            self.kill_some(process, chance)
            process.communicate(timeout=120)
            self.assertIn(process.returncode, (0, -9))
        self.check(before)

    def test_at_once(self):
        self.document = self.write_policy(shell("echo out", memory="96Mi"))
        self.call("run", "--policy", self.document)
        chance, before = random.Random(2), self.mounts()
        running = [self.start_one() for _ in range(AT_ONCE)]
        for process in running:
            self.kill_some(process, chance)
        for process in running:
            process.communicate(timeout=300)
            self.assertIn(process.returncode, (0, -9))
        self.check(before)


if __name__ == "__main__":
    unittest.main()
