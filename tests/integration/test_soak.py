"""Many runs, half of them killed: nothing grows. SR_STRESS=1 makes the full number (500 in a row, 50 at once)."""
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


class Soak(SafeRunTest):
    def host(self):
        """What could grow and is not of a run that can be named: mounts."""
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = len(file.readlines())
        return mounts

    def start_one(self):
        return self.start(self.document, start_new_session=True)

    def kill_some(self, process, chance):
        if chance.random() < 0.5:
            time.sleep(chance.random() * 0.7)
            process.kill()

    def check(self, before):
        self.assertEqual(self.call("gc").returncode, 0)
        self.assertEqual(os.listdir(os.path.join(self.base, ".open")), [])
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
        self.assertEqual(self.host(), before)

    def test_in_a_row(self):
        self.document = self.write_policy(shell("echo out"))
        chance, before = random.Random(1), self.host()
        for _ in range(IN_A_ROW):
            process = self.start_one()
            self.kill_some(process, chance)
            process.communicate(timeout=120)
            self.assertIn(process.returncode, (0, -9))
        self.check(before)

    def test_at_once(self):
        self.document = self.write_policy(shell("echo out", memory="96Mi"))
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
