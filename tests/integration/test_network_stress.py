"""Networks that die at any moment, and many at once. SR_STRESS=1 makes twenty kills at each step
(some 20 minutes)."""
import os
import signal
import time
import unittest

from harness import SANITIZED, shell
from network import PROBE, NetworkTest, allow, probing

ROUNDS = 20 if os.environ.get("SR_STRESS") else 1
# over which the rounds' kills lie after a step: most take about as long on a quiet machine,
SPREAD_SEC = 0.05
COMMAND_SEC = 0.5  # and the command, with the guest's end, this
# The steps of a run, by what shows from outside that they begin: an event, the command's output,
# that the VMM is gone. The
# closing events are written at once: after the first of these steps the network is released, after
# the last comes the report.
PREPARED, APPLIED, LAUNCHED, RUNNING, GONE, CLEANED = STEPS = (
    "run.prepared", "network.rule.applied", "vm.started", "stdout", "VMM gone", "run.cleaned")
VMM = "qemu-system-x86"


class Killed(NetworkTest):
    """Each step of a run, and one of its processes killed there."""

    # stdin stays open until the answer is there: pasta of Debian 12 repeats what comes after the
    # guest has closed its half
    # (docs/OPERATIONS.md)
    document = shell("mkfifo /tmp/in; timeout 10 nc api.example.com 443 < /tmp/in | "
                     "{ exec 3> /tmp/in; echo hello >&3; read line; echo $line; }",
                     network=allow(("tcp", "api.example.com", 443)))

    def setUp(self):
        super().setUp()
        self.serve("tcp:*:443")
        self.dns({"api.example.com": [60, "198.51.100.7"]})

    def processes(self, pid):
        """(pid, name) of a process and all below it."""
        try:
            yield pid, self.name_of(pid)
            below = self.children(pid)
        except OSError:  # it is gone
            return
        for child in below:
            yield from self.processes(child)

    def has_begun(self, step, known):
        for name in set(os.listdir(self.base) if os.path.isdir(self.base) else ()) - known:
            try:
                if step == RUNNING:
                    return os.path.getsize(f"{self.base}/{name}/stdout.log") > 0
                with open(f"{self.base}/{name}/events.jsonl", encoding="utf-8") as file:
                    return f'"{step}"' in file.read()
            except OSError:
                continue
        return False

    def kill_at(self, step, name, delay):
        """Returns whether there was something to kill."""
        known = set(os.listdir(self.base)) if os.path.isdir(self.base) else set()
        process = self.start_here(self.document)
        pids, begun, kill_time = {}, False, 0
        while process.poll() is None:
            now = {called.split(".")[0]: pid for pid, called in self.processes(process.pid)}
            begun = begun or (VMM in pids and VMM not in now if step == GONE
                              else self.has_begun(step, known))
            kill_time = kill_time or (begun and time.monotonic() + delay)
            pids.update(now)
            # it may not have been started yet
            if begun and name in pids and time.monotonic() >= kill_time:
                break
        victim = pids.get(name) if begun else None
        try:
            if victim is not None and process.poll() is None:
                os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            victim = None
        if victim != process.pid:
            run = self.finish(process, timeout=60)  # its report verifies
            self.assertIn(run.status, (0, 125), run.stderr)
        process.wait(timeout=60)
        self.assert_no_residue()
        process.communicate()
        return victim is not None

    def kill_at_each(self, name, *steps):
        for step in steps:
            with self.subTest(step=step):
                spread = COMMAND_SEC if step == RUNNING else SPREAD_SEC if step != CLEANED else 0
                # the last ones are soon over; on a busy machine the others too, now and then
                sure = step in STEPS[:4]
                killed = sum(any(self.kill_at(step, name, spread * number / ROUNDS)
                                 for _ in range(3 if sure else 1))
                             for number in range(ROUNDS))
                self.assertGreater(killed, ROUNDS // 4 if sure else -1)
                run = self.run_here(self.document)
                self.assertEqual((run.status, run.stdout), (0, b"hello\n"), run.stderr)
                print(f"{name} at {step}: {killed} of {ROUNDS}", flush=True)

    def test_safe_run(self):
        self.kill_at_each("safe-run", *STEPS)

    def test_the_vmm(self):
        self.kill_at_each(VMM, LAUNCHED, RUNNING)

    def test_the_net_cell(self):
        self.kill_at_each("safe-run-net", *STEPS[:-1])

    def test_the_uplink(self):
        self.kill_at_each("passt", *STEPS[:-1])


class KilledAsUser(Killed):
    as_user = True


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
            self.assertEqual([line.rsplit(b" ", 1)[1] for line in out.splitlines()],
                             [b"open", b"closed", b"closed"], err)
        self.assert_no_residue()


if __name__ == "__main__":
    unittest.main()
