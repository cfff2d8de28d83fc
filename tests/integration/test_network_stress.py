"""Networks that die at any moment, and many at once. SR_STRESS=1 makes the full number of kills (some 7 minutes)."""
import os
import signal
import time
import unittest

from harness import SANITIZED, shell
from network import PROBE, NetworkTest, allow, probing

MOMENTS = 100 if os.environ.get("SR_STRESS") else 3 if SANITIZED else 6
LIFE_SEC = 1.2  # of the runs that are killed here, on a quiet machine


class Killed(NetworkTest):
    document = shell("echo hello | timeout 1 nc 198.51.100.7 443; sleep 0.3", network=allow(("tcp", "198.51.100.7/32", 443)))

    def victim(self, process, name):
        """The pid of one of the run's processes, None when there is none (yet, or any more)."""
        if name == "safe-run":
            return process.pid
        if name == "qemu":  # nothing about it tells whose it is but its parent
            return next((pid for pid in self.children_of(process) if self.name_of(pid).startswith(name)), None)
        return next((int(entry[1]) for entry in self.residue() if entry[0] == "process" and entry[2].startswith(name)), None)

    def children_of(self, process):
        try:
            return self.children(process.pid)
        except OSError:
            return []

    def name_of(self, pid):
        try:
            return self.read(f"/proc/{pid}/comm")
        except OSError:
            return ""

    def kill_at_every_moment(self, name):
        self.serve("tcp:*:443")
        killed = 0
        for moment in range(MOMENTS):
            process = self.start_here(self.document)
            time.sleep(LIFE_SEC * moment / MOMENTS)
            pid = None
            while pid is None and process.poll() is None:
                pid = self.victim(process, name)
            if pid is not None and process.poll() is None:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
            if name == "safe-run":
                process.communicate(timeout=60)
            else:
                run = self.finish(process, timeout=60)  # its report verifies
                self.assertIn(run.status, (0, 125), run.stderr)
            self.assert_no_residue()
        self.assertGreater(killed, MOMENTS // 4)  # the last moments may find it over
        run = self.run_here(self.document)
        self.assertEqual((run.status, run.stdout), (0, b"hello\n"), run.stderr)

    def test_safe_run(self):
        self.kill_at_every_moment("safe-run")

    def test_the_vmm(self):
        self.kill_at_every_moment("qemu")

    def test_the_net_cell(self):
        self.kill_at_every_moment("safe-run-net")

    def test_the_uplink(self):
        self.kill_at_every_moment("passt")


class Crowd(NetworkTest):
    def test_runs_at_once_reach_only_their_own(self):
        count = 5 if SANITIZED else 20
        self.serve(*(f"tcp:*:{7000 + i}" for i in range(count)))
        with open(PROBE, "rb") as file:
            probe = file.read()
        runs = []
        for i in range(count):
            others = [f"tcp:198.51.100.7:{7000 + (i + n) % count}" for n in (0, 1, count - 1)]
            document = probing(allow(("tcp", "198.51.100.7/32", 7000 + i)), *others)
            with open(self.path("probe"), "wb") as file:
                file.write(probe)
            with open(self.path("probe"), "rb") as file:
                runs.append(self.start_here(document, "--stdin", stdin=file))
        for run in runs:
            out, err = run.communicate(timeout=180)
            self.assertEqual([line.rsplit(b" ", 1)[1] for line in out.splitlines()], [b"open", b"closed", b"closed"], err)
        self.assert_no_residue()


if __name__ == "__main__":
    unittest.main()
