"""Many runs, half of them killed: nothing grows. SR_STRESS=1 makes the full number (500 in a row, 50 at once)."""
import json
import os
import random
import sys
import time
import unittest

from harness import SANITIZED, SafeRunTest, shell
from test_limits import cgroups

FULL = bool(os.environ.get("SR_STRESS"))
IN_A_ROW = 500 if FULL else 4 if SANITIZED else 16
AT_ONCE = 50 if FULL else 3 if SANITIZED else 8


class Soak(SafeRunTest):
    def host(self):
        """What could grow and is not of a run that can be named: mounts, and where no other test runs at the same time the
        host's processes, open files and the memory that is not cache, in MiB."""
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = len(file.readlines())
        if not FULL:
            return {"mounts": mounts}
        with open("/proc/sys/fs/file-nr", encoding="ascii") as file:
            files = int(file.read().split()[0])
        with open("/proc/meminfo", encoding="ascii") as file:
            memory = {line.split(":")[0]: int(line.split()[1]) for line in file}
        held = sum(memory[name] for name in ("AnonPages", "SUnreclaim", "KernelStack", "PageTables", "Percpu"))
        return {"mounts": mounts, "processes": len(list(filter(str.isdigit, os.listdir("/proc")))), "files": files, "MiB": held >> 10}

    def assert_no_growth(self, before):
        """The kernel frees some of it late, and counts in batches."""
        slack = {"mounts": 0, "processes": 10, "files": 200, "MiB": 24}
        deadline = time.monotonic() + 20
        while any(self.host()[what] > before[what] + slack[what] for what in before) and time.monotonic() < deadline:
            time.sleep(0.5)
        after = self.host()
        print(f"| host before {before}, after {after}", file=sys.stderr)
        for what, amount in before.items():
            self.assertLessEqual(after[what], amount + slack[what], what)

    def start_one(self):
        return self.start(self.document, start_new_session=True)

    def kill_some(self, process, chance):
        if chance.random() < 0.5:
            time.sleep(chance.random() * 0.7)
            process.kill()

    def check(self, before):
        register = os.path.join(self.base, ".open")
        for marker in os.listdir(register):  # one killed before it had its lock is taken for one that is about to: for a minute
            os.utime(os.path.join(register, marker), (0, 0))
        self.assertEqual(self.call("gc").returncode, 0)
        self.assertEqual(os.listdir(register), [])
        causes = {}
        for name in os.listdir(self.base):
            if name == ".open":
                continue
            path = os.path.join(self.base, name)
            done = self.call("report", "verify", f"{path}/run_report.json", "--events", f"{path}/events.jsonl")
            self.assertEqual(done.returncode, 0, (name, done.stdout))
            with open(f"{path}/run_report.json", encoding="utf-8") as file:
                cause = json.load(file)["exit"]["cause"]
            causes[cause] = causes.get(cause, 0) + 1
            self.assertEqual(cgroups(name), [])
        self.assertEqual(set(causes) - {"workload", "interrupted"}, set(), causes)
        self.assert_nothing_left()
        self.assert_no_growth(before)

    def test_in_a_row(self):
        self.document = self.write_policy(shell("echo out"))
        self.call("run", "--policy", self.document)  # what the first of all runs leaves for the others: caches
        chance, before = random.Random(1), self.host()
        for _ in range(IN_A_ROW):
            process = self.start_one()
            self.kill_some(process, chance)
            process.communicate(timeout=120)
            self.assertIn(process.returncode, (0, -9))
        self.check(before)

    def test_at_once(self):
        self.document = self.write_policy(shell("echo out", memory="96Mi"))
        self.call("run", "--policy", self.document)
        chance, before = random.Random(2), self.host()
        running = [self.start_one() for _ in range(AT_ONCE)]
        for process in running:
            self.kill_some(process, chance)
        for process in running:
            process.communicate(timeout=300)
            self.assertIn(process.returncode, (0, -9))
        self.check(before)


if __name__ == "__main__":
    unittest.main()
