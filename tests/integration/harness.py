"""What the integration tests share: a policy in a few words, the built program, and nothing left
behind.

Every test has a directory of its own for run directories and configuration, removed at its end, and
fails when a VMM that it started, or a process that uses that directory, outlives it.
"""
import datetime
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BUILD = os.environ["SR_BUILD"]
SAFE_RUN = os.path.join(BUILD, "safe-run")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZED = "asan" in os.path.basename(BUILD)

for number in (signal.SIGHUP,
               # whoever runs the tests may ignore them, and safe-run would then too
               signal.SIGINT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


def policy(command, *args, **changes):
    """A policy as a dictionary. Changes: memory, cpu, disk, user, env, workdir, timeout, and any
    section by name."""
    runtime = {"command": command, "args": list(args)}
    for field in ("user", "env", "workdir", "image", "stdin"):
        if field in changes:
            runtime[field] = changes.pop(field)
    if "timeout" in changes:
        runtime["timeoutSec"] = changes.pop("timeout")
    resources = {"cpu": {"max": changes.pop("cpu", "100000 100000")},
                 "memory": {"max": changes.pop("memory", "128Mi")}}
    for field in ("disk", "pids"):
        if field in changes:
            resources[field] = {"max": changes.pop(field)}
    document = {"apiVersion": "policy.safe-run.dev/v1alpha1", "metadata": {"name": "test"},
                "runtime": runtime,
                "resources": resources, "network": {"mode": "none"}, "mounts": [],
                "audit": {"level": "basic"}}
    document.update(changes)
    return document


def shell(script, **changes):
    return policy("/bin/sh", "-c", script, **changes)


def alone(test):
    """For a test that measures what others would disturb: run.py runs it when no other does."""
    test.alone = True
    return test


class Run:
    """The outcome of one `safe-run run`, with its evidence."""

    def __init__(self, base, process, stdout, stderr):
        self.status, self.stdout, self.stderr = process.returncode, stdout, stderr
        runs = [os.path.join(base, name) for name in os.listdir(base)
                if not name.startswith(".")] if os.path.isdir(base) else []
        self.dir = max(runs, key=lambda run: os.stat(os.path.join(run, "lock")).st_mtime_ns,
                       default=None)
        path = self.dir and os.path.join(self.dir, "run_report.json")
        self.report = None
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.report = json.load(file)

    @property
    def report_path(self):
        return os.path.join(self.dir, "run_report.json")

    @property
    def cause(self):
        return self.report["exit"]["cause"]

    def events(self, kind):
        return [event["payload"] for event in self.report["events"] if event["type"] == kind]

    @property
    def failure(self):
        """(code, message) of the run.failed event."""
        failed = self.events("run.failed")
        return (failed[0]["errorCode"], failed[0]["message"]) if failed else None


class SafeRunTest(unittest.TestCase):
    maxDiff = None
    user = 0  # who runs safe-run

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sr-test-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.base = os.path.join(self.dir, "runs")
        self.env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": self.dir,
                    "SAFE_RUN_WORKDIR_BASE": self.base,
                    "SAFE_RUN_CONFIG": self.configure(), "SR_TEST": self.dir,
                    "SAFE_RUN_IMAGE_STORE": os.path.join(self.dir, "images"),
                    "ASAN_OPTIONS": "abort_on_error=0:exitcode=99",
                    "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99"}
        if self.user:
            os.chmod(self.dir, 0o755)
            for directory in (self.base, self.path("home")):
                os.mkdir(directory)
                os.chown(directory, self.user, self.user)
            self.env["HOME"] = self.path("home")

    def become(self):
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}",
                "--clear-groups"] if self.user else []

    def tearDown(self):
        if os.path.isdir(os.path.join(self.base, ".open")):
            self.call("gc")  # or nobody ever would: the cgroups of runs that were killed
        self.assert_nothing_left()

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, content):
        with open(self.path(name), "wb" if isinstance(content, bytes) else "w") as file:
            file.write(content)
        return self.path(name)

    def configure(self, **fields):
        """Writes a host configuration; TCG unless said otherwise, so that no test depends on the
        host's KVM."""
        fields.setdefault("accel", "tcg")
        lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
        return self.write("config.yaml", "\n".join(lines) + "\n")

    def write_policy(self, document):
        text = json.dumps(document)
        name = f"policy-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
        if os.path.exists(self.path(name)):  # perhaps read by a run that has just been started
            return self.path(name)
        return self.write(name, text)

    def start(self, document, *options, **popen):
        path = document if isinstance(document, str) else self.write_policy(document)
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([*self.become(), SAFE_RUN, "run", "--policy", path, *options],
                                env=self.env, **popen)

    def finish(self, process, stdin=None, timeout=120):
        out, err = process.communicate(stdin, timeout=timeout)
        run = Run(self.base, process, out, err)
        self.assertNotIn(b"Sanitizer", err or b"")
        if run.report is not None:
            self.assert_verifies(run)
        return run

    def run_policy(self, document, *options, feed=None, **popen):
        """Runs to the end; feed is what the command's stdin gets."""
        if feed is not None:
            popen["stdin"] = subprocess.PIPE
        return self.finish(self.start(document, *options, **popen), feed)

    def call(self, *arguments, **options):
        return subprocess.run([*self.become(), SAFE_RUN, *arguments], env=self.env,
                              capture_output=True, timeout=120,
                              stdin=options.pop("stdin", subprocess.DEVNULL), **options)

    def assert_verifies(self, run):
        done = self.call("report", "verify", run.report_path, "--events",
                         os.path.join(run.dir, "events.jsonl"))
        self.assertEqual(done.returncode, 0, done.stdout.decode() + done.stderr.decode())

    def wait_for(self, condition, seconds=60):
        """Waits until condition() is true; it is asked often, so that nothing waits longer than it
        must."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, "waited too long")
            time.sleep(0.01)

    def wait_for_output(self, process, text):
        """Reads stdout until text has come; returns what came."""
        got = b""
        while text not in got:
            piece = os.read(process.stdout.fileno(), 65536)
            if piece == b"":
                self.fail(f"ended before {text!r}, after {got!r}: "
                          f"{process.stderr.read() if process.stderr else b''!r}")
            got += piece
        return got

    def state(self, pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0]

    def children(self, pid):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]

    def vmm_pids(self):
        """The VMMs that this test's runs have started, from their evidence, if no other process has
        the number by now."""
        return [pid for pid, started in self.vmms() if self.age_of(pid) is None or self.age_of(pid)
                > time.time() - started - 1]

    def age_of(self, pid):
        """Seconds a process has lived; None when it is gone."""
        try:
            with open(f"/proc/{pid}/stat",
                      encoding="ascii") as file, open("/proc/uptime", encoding="ascii") as uptime:
                started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
                return float(uptime.read().split()[0]) - started
        except OSError:
            return None

    def vmms(self):
        pids = []
        for name in os.listdir(self.base) if os.path.isdir(self.base) else []:
            try:
                with open(os.path.join(self.base, name, "events.jsonl"), encoding="utf-8") as file:
                    events = [json.loads(line) for line in file if line.endswith("\n")]
            except OSError:
                continue
            pids += [(event["payload"]["pid"],
                      datetime.datetime.fromisoformat(event["timestamp"][:26]
                                                      + "+00:00").timestamp())
                     for event in events if event["type"] == "vm.started"]
        return pids

    def leftovers(self):
        """VMMs of this test that still live, and processes that hold a file of this test open or
        name it."""
        found = []
        for pid in self.vmm_pids():
            try:
                with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                    # dead, and init's to reap
                    if file.read().startswith("qemu") and self.state(pid) != "Z":
                        found.append((pid, "VMM"))
            except OSError:
                continue
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) == os.getpid():
                continue
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    command = file.read().replace(b"\0", b" ").decode(errors="replace")
                names = [os.readlink(f"/proc/{pid}/fd/{fd}")
                         for fd in os.listdir(f"/proc/{pid}/fd")]
            except OSError:
                continue
            if any(name.startswith(self.dir) for name in names) or self.dir in command:
                found.append((pid, command))
        return found

    def assert_nothing_left(self):
        deadline = time.monotonic() + 2
        while self.leftovers() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.leftovers(), [])
