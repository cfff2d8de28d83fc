"""ps, stop and gc; what a dead supervisor leaves, and who repairs it."""
import fcntl
import glob
import json
import os
import resource
import signal
import subprocess
import time
import unittest

from harness import SAFE_RUN, SANITIZED, SafeRunTest, policy, shell
from test_limits import cgroups


class Runs(SafeRunTest):
    def safe_run(self, *arguments, status=0):
        done = self.call(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def start_up(self, script="echo up; sleep 60", **changes):
        process = self.start(shell(script, **changes))
        self.wait_for_output(process, b"up\n")
        return process

    def ids(self):
        return [run["runId"] for run in json.loads(self.safe_run("ps", "--json")[0])]

    def kill(self, process):
        process.kill()
        process.communicate()

    def runs(self):
        return sorted(name for name in os.listdir(self.base) if name != ".open")

    def assert_closed(self, run_id, ours=()):
        """A report that verifies and says what happened, and nothing else of the run."""
        path = os.path.join(self.base, run_id)
        done = self.call("report", "verify", f"{path}/run_report.json", "--events",
                         f"{path}/events.jsonl")
        self.assertEqual(done.returncode, 0, done.stdout)
        with open(f"{path}/run_report.json", encoding="utf-8") as file:
            report = json.load(file)
        self.assertEqual((report["exit"]["cause"], report["exitCode"]), ("interrupted", 125))
        self.assertEqual(report["events"][-1]["type"], "run.failed")
        self.assertEqual(cgroups(run_id), list(ours))
        self.assertEqual(os.listdir(os.path.join(self.base, ".open")), [])
        return report

    def test_ps_lists_what_lives(self):
        self.assertEqual(self.safe_run("ps", "--json")[0], "[]\n")
        self.run_policy(policy("/bin/true"))
        process = self.start_up()
        runs = json.loads(self.safe_run("ps", "--json")[0])
        self.assertEqual([(run["pid"], run["policy"], run["command"]) for run in runs],
                         [(process.pid, "test", "/bin/sh -c echo up; sleep 60")])
        self.assertLess(abs(runs[0]["startedAt"] - time.time()), 60)
        table = self.safe_run("ps")[0].splitlines()
        self.assertRegex(table[0], r"^RUN +PID +AGE +POLICY +COMMAND$")
        self.assertRegex(table[1],
                         rf"^{runs[0]['runId']} +{process.pid} +\d+s  test +/bin/sh -c echo up")
        self.kill(process)
        self.assertEqual(self.ids(), [])

    def test_stop(self):
        process = self.start_up("trap 'echo bye; exit 3' TERM; echo up; "
                                "while :; do sleep 0.1; done")
        run_id = self.ids()[0]
        self.assertIn("no live run", self.safe_run("stop", "xyzxyz", status=1)[1])
        self.assertEqual(self.safe_run("stop", run_id[-6:])[0], f"{run_id}\n")
        run = self.finish(process)
        self.assertEqual((run.status, run.stdout[-4:], run.cause), (143, b"bye\n", "interrupted"))
        self.assertEqual(self.ids(), [])

    def test_stop_with_kill_and_the_next_start(self):
        process = self.start_up()
        run_id = self.ids()[0]
        self.safe_run("stop", "--kill", run_id)
        process.communicate()
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertFalse(os.path.exists(os.path.join(self.base, run_id, "run_report.json")))
        self.assertEqual(self.run_policy(policy("/bin/true")).status, 0)
        self.assert_closed(run_id)

    def test_gc_closes_the_dead_and_leaves_the_living(self):
        living = self.start_up()
        dead = self.start_up()
        dead_id = (set(self.runs()) - {next(run["runId"]
                                            for run in json.loads(self.safe_run("ps", "--json")[0])
                                             if run["pid"] == living.pid)}).pop()
        self.kill(dead)
        self.assertEqual(self.safe_run("gc", "--dry-run")[0], f"would have closed {dead_id}\n")
        self.assertEqual(self.safe_run("gc")[0], f"closed {dead_id}\n")
        self.assertEqual(self.safe_run("gc")[0], "")
        self.assertEqual(len(self.ids()), 1)
        living.terminate()
        living.communicate()
        self.assert_closed(dead_id)

    def test_gc_does_not_take_what_it_cannot_look_at_for_dead(self):
        """With too few descriptors, for whatever comes to be opened with the last of them."""
        self.run_policy(policy("/bin/true"))
        living = self.start_up()
        run_id, refused = self.ids()[0], 0
        for limit in range(4, 14):
            for arguments in (("--dry-run",), ("--older-than", "1d")):
                done = self.call("gc", *arguments,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                                                       (limit, limit)))
                self.assertEqual(done.stdout, b"", (limit, done.stderr))
                self.assertEqual(done.returncode == 0, done.stderr == b"", (limit, done.stderr))
                refused += run_id.encode() in done.stderr
        self.assertGreater(refused, 0)
        self.assertEqual(self.ids(), [run_id])
        living.terminate()
        self.assertEqual(self.finish(living).status, 143)

    def test_a_lock_that_cannot_be_taken_is_no_sign_of_death(self):
        finished = self.run_policy(policy("/bin/true"))
        lock = os.path.join(finished.dir, "lock")
        os.unlink(lock)
        os.mkdir(lock)
        run_id = os.path.basename(finished.dir)
        self.assertIn(f"gc.lock: whether {run_id} is alive cannot be told",
                      self.safe_run("gc", "--older-than", "0s", status=1)[1])
        self.assertTrue(os.path.exists(finished.report_path))
        os.rmdir(lock)
        self.assertEqual(self.safe_run("gc", "--older-than", "0s")[0], f"removed {run_id}\n")

    def test_a_dead_run_keeps_what_was_known_of_it(self):
        process = self.start_up()
        self.kill(process)
        run_id = self.runs()[0]
        with open(os.path.join(self.base, run_id, "events.jsonl"), "ab") as file:
            file.write(b'{"torn')
        self.safe_run("gc")
        report = self.assert_closed(run_id)
        process = self.start_up()
        process.terminate()
        good = self.finish(process).report
        for name in ("kernelHash", "rootfsHash", "policyHash"):
            self.assertEqual(report["artifacts"][name], good["artifacts"][name], name)
        self.assertEqual(report["events"][-1]["payload"]["droppedBytes"], 6)
        self.assertEqual(report["assurance"]["vmm"], "qemu")

    def test_damaged_evidence_is_not_made_good(self):
        process = self.start_up()
        self.kill(process)
        run_id = self.runs()[0]
        path = os.path.join(self.base, run_id, "events.jsonl")
        with open(path, "r+b") as file:
            text = file.read().replace(b'"timeoutSec":300', b'"timeoutSec":301')
            file.seek(0)
            file.write(text)
        self.assertIn("SR-EVD-001 events[", self.safe_run("gc", status=1)[1])
        self.assertFalse(os.path.exists(os.path.join(self.base, run_id, "run_report.json")))
        self.assertEqual(self.run_policy(policy("/bin/true")).status, 0)  # and it hinders nobody

    def test_old_runs_are_removed_but_for_what_is_kept(self):
        old, kept = self.run_policy(policy("/bin/true")), self.run_policy(policy("/bin/true"),
                                                                          "--keep")
        young = self.run_policy(policy("/bin/true"))
        for run in (old, kept):
            then = time.time() - 86400 * 8
            os.utime(os.path.join(run.dir, "run_report.json"), (then, then))
        victim = self.path("victim")
        os.mkdir(victim)
        with open(os.path.join(victim, "file"), "w", encoding="utf-8") as file:
            file.write("stays")
        os.symlink(victim, os.path.join(old.dir, "link"))
        for name in ("outputs", "outputs/a"):
            os.mkdir(os.path.join(old.dir, name))
            os.chown(os.path.join(old.dir, name), self.user, self.user)
        os.mkdir(os.path.join(self.base, "not-a-run"))
        self.assertEqual(self.safe_run("gc", "--older-than", "9d")[0], "")
        self.assertEqual(self.safe_run("gc", "--older-than", "7d")[0],
                         f"removed {os.path.basename(old.dir)}\n")
        self.assertEqual(set(self.runs()), {"not-a-run", os.path.basename(kept.dir),
                                            os.path.basename(young.dir)})
        self.assertTrue(os.path.exists(os.path.join(victim, "file")))

    def test_a_run_that_died_before_it_had_evidence(self):
        self.run_policy(policy("/bin/true"))
        run_id = "sr-20260101T000000-abcdef"
        marker = os.path.join(self.base, ".open", run_id)
        os.mkdir(os.path.join(self.base, run_id))
        with open(marker, "w", encoding="utf-8"):
            pass
        self.assertEqual(self.safe_run("gc")[0], "")  # it may be about to
        os.utime(marker, (0, 0))
        self.assertEqual(self.safe_run("gc")[0], f"removed {run_id}\n")
        self.assertEqual(os.listdir(os.path.join(self.base, ".open")), [])

    def somebody_elses(self, owner, victim):
        """A run directory that claims to be a live run whose supervisor is victim."""
        run_id = "sr-20260101T000000-abcdef"
        directory = os.path.join(self.base, run_id)
        os.mkdir(directory)
        with open(os.path.join(directory, "policy.json"), "w", encoding="ascii") as file:
            file.write("{}")
        with open(f"/proc/{victim.pid}/stat", encoding="ascii") as file:
            birth = file.read().rpartition(")")[2].split()[19]
        lock = self.write("lock", f"{victim.pid} {birth}\n")
        os.rename(lock, os.path.join(directory, "lock"))
        held = open(os.path.join(directory, "lock"), "r+", encoding="ascii")
        self.addCleanup(held.close)
        fcntl.flock(held, fcntl.LOCK_EX)
        with open(os.path.join(self.base, ".open", run_id), "w", encoding="ascii"):
            pass
        os.utime(os.path.join(self.base, ".open", run_id), (0, 0))
        os.chown(directory, owner, owner)
        return run_id, held

    def test_what_somebody_else_made_is_no_run(self):
        """Root would else signal whatever process a user's lock file names."""
        self.run_policy(policy("/bin/true"))
        victim = subprocess.Popen(["/bin/sleep", "60"])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        run_id, held = self.somebody_elses(12345, victim)
        self.assertEqual(self.ids(), [])
        self.assertIn("no live run", self.safe_run("stop", "--kill", run_id, status=1)[1])
        fcntl.flock(held, fcntl.LOCK_UN)
        self.assertEqual(self.safe_run("gc", "--older-than", "0s")[0].count(run_id), 0)
        self.assertEqual(victim.poll(), None)
        self.assertEqual(sorted(os.listdir(os.path.join(self.base, run_id))),
                         ["lock", "policy.json"])
        os.unlink(os.path.join(self.base, ".open", run_id))

    def test_a_register_of_somebody_else_is_not_used(self):
        self.run_policy(policy("/bin/true"))
        register = os.path.join(self.base, ".open")
        os.chown(register, 12345, 12345)
        for command in ("ps", "gc"):
            self.assertIn("the runs there are somebody else's", self.safe_run(command, status=1)[1])
        process = self.start(policy("/bin/true"))
        self.assertIn(b"SR-RUN-001 prepare.workdir: %s cannot be used: the runs there are "
                      b"somebody else's" % register.encode(),
                      process.communicate()[1])
        self.assertEqual(process.returncode, 125)
        os.chown(register, os.geteuid(), os.getegid())

    def test_a_link_in_place_of_a_run_directory_is_not_followed(self):
        old = self.run_policy(policy("/bin/true"))
        run_id, elsewhere = os.path.basename(old.dir), self.path("elsewhere")
        os.rename(old.dir, elsewhere)
        os.unlink(os.path.join(elsewhere, "run_report.json"))
        os.symlink(elsewhere, old.dir)
        with open(os.path.join(self.base, ".open", run_id), "w", encoding="ascii"):
            pass
        os.utime(os.path.join(self.base, ".open", run_id), (0, 0))
        before = sorted(os.listdir(elsewhere))
        self.assertEqual(self.safe_run("gc", "--older-than", "0s")[0], "")
        self.assertEqual(sorted(os.listdir(elsewhere)), before)
        self.assertEqual(os.listdir(os.path.join(self.base, ".open")), [])

    def test_a_process_that_got_the_number_of_a_dead_supervisor(self):
        self.run_policy(policy("/bin/true"))
        victim = subprocess.Popen(["/bin/sleep", "60"])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        run_id, held = self.somebody_elses(os.geteuid(), victim)
        self.assertEqual(self.ids(), [run_id])
        held.seek(0)
        held.write(f"{victim.pid} 1\n")  # as the one before it had begun
        held.truncate()
        held.flush()
        self.assertEqual(self.ids(), [])
        self.safe_run("stop", "--kill", run_id, status=1)
        self.assertEqual(victim.poll(), None)
        held.close()
        self.assertEqual(self.safe_run("gc")[0], f"removed {run_id}\n")

    def test_several_collectors_at_once(self):
        dead = [self.start_up() for _ in range(3)]
        for process in dead:
            self.kill(process)
        ids = self.runs()
        collectors = [subprocess.Popen([*self.become(), SAFE_RUN, "gc"], env=self.env,
                                       stdout=subprocess.PIPE) for _ in range(6)]
        said = b"".join(process.communicate()[0] for process in collectors).decode().splitlines()
        self.assertEqual([process.returncode for process in collectors], [0] * 6)
        self.assertEqual(sorted(said), [f"closed {run_id}" for run_id in ids])
        for run_id in ids:
            self.assert_closed(run_id)

    def test_a_start_is_not_disturbed_by_a_collector(self):
        stop = self.path("stop")
        loop = f"until [ -e {stop} ]; do {SAFE_RUN} gc; {SAFE_RUN} ps; done"
        collectors = [subprocess.Popen([*self.become(), "/bin/sh", "-c", loop], env=self.env,
                                       stdout=subprocess.DEVNULL) for _ in range(2)]
        runs = [self.start(policy("/nowhere"), "--accel", "tcg") for _ in range(6)]
        for process in runs:
            self.assertIn(b"not found in the image", process.communicate(timeout=120)[1])
        with open(stop, "w", encoding="ascii"):
            pass
        for process in collectors:
            self.assertEqual(process.wait(60), 0)

    def test_a_base_that_was_named_has_to_be_there(self):
        for arguments in (("ps",), ("stop", "abcdef"), ("gc",)):
            error = self.safe_run(*arguments, "--workdir-base", self.path("nosuch"), status=1)[1]
            self.assertIn(f"SR-RUN-001 prepare.workdir: {self.path('nosuch')} cannot be opened: "
                          f"No such file or directory", error)
        self.env["SAFE_RUN_WORKDIR_BASE"] = self.path("not-yet")
        self.assertEqual(self.safe_run("ps", "--json")[0], "[]\n")
        self.assertEqual(self.safe_run("gc")[0], "")

    def test_a_base_that_is_no_text_is_refused_before_anything_is_made(self):
        path = os.fsencode(self.base) + b"/a\xff"
        os.makedirs(self.base, exist_ok=True)
        done = self.call("run", "--policy", self.write_policy(policy("/bin/true")),
                         "--workdir-base", path)
        self.assertEqual((done.returncode, os.path.exists(path)), (125, False))
        self.assertIn(b"SR-RUN-001 prepare.workdir: the path %s/a? is not UTF-8"
                      % self.base.encode(), done.stderr)

    def test_a_run_lives_whatever_becomes_of_its_directory(self):
        living = self.start_up()
        run_id = self.ids()[0]
        directory = os.path.join(self.base, run_id)
        os.rename(directory, self.path("moved"))
        os.utime(os.path.join(self.base, ".open", run_id), (0, 0))
        self.assertEqual(self.safe_run("gc")[0], "")
        os.rename(self.path("moved"), directory)
        self.assertEqual(self.ids(), [run_id])
        living.terminate()
        self.assertEqual(self.finish(living).status, 143)

    def cgroup_for(self, run_id):
        """An empty cgroup with that run's name, in a directory of its own where others than root
        may be given some."""
        root = next(path for path in ("/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*/"))
                    if os.path.exists(os.path.join(path, "cgroup.procs")))
        delegated = os.path.join(root, "sr-test-" + os.path.basename(self.dir))
        path = os.path.join(delegated, "safe-run-" + run_id)
        os.makedirs(path)
        self.addCleanup(os.rmdir, delegated)
        self.addCleanup(os.rmdir, path)
        return path

    def recorded(self, run_id):
        """The register's entry of a run, and the paths of its cgroups in it."""
        entry = os.path.join(self.base, ".open", run_id)
        with open(entry, encoding="ascii") as file:
            paths = file.read().splitlines()
        self.assertTrue(paths)
        for path in paths:
            self.assertTrue(os.path.isdir(path), path)
            self.assertEqual(os.path.basename(path), "safe-run-" + run_id)
        return entry, paths

    def test_a_cgroup_that_a_run_did_not_make_is_none_of_its(self):
        """One with its name elsewhere; and one of somebody else, whatever the record says."""
        dead = self.start_up()
        run_id = self.ids()[0]
        path = self.cgroup_for(run_id)
        entry, paths = self.recorded(run_id)
        self.kill(dead)
        self.assertEqual(self.safe_run("gc")[0], f"closed {run_id}\n")
        self.assertTrue(os.path.isdir(path))
        self.assertEqual([path for path in paths if os.path.exists(path)], [])
        os.chown(path, 12345, 12345)
        with open(entry, "w", encoding="ascii") as file:
            file.write(path + "\n")
        self.assertEqual(self.safe_run("gc"), ("", ""))
        self.assertTrue(os.path.isdir(path))
        self.assertEqual(os.listdir(os.path.join(self.base, ".open")), [])

    def test_what_cannot_be_removed_keeps_no_evidence_open(self):
        """It is named each time until it is gone."""
        dead = self.start_up()
        run_id = self.ids()[0]
        below = os.path.join(self.recorded(run_id)[1][0], "below")
        os.mkdir(below)
        self.kill(dead)
        out, err = self.safe_run("gc", status=1)
        self.assertEqual(out, f"closed {run_id}\n")
        self.assertIn(f"the cgroup of {run_id} cannot be removed", err)
        self.assertEqual(self.call("report", "verify", os.path.join(self.base, run_id,
                                                                    "run_report.json")).returncode,
                         0)
        out, err = self.safe_run("gc", status=1)
        self.assertIn(f"the cgroup of {run_id} cannot be removed", err)
        os.rmdir(below)
        self.assertEqual(self.safe_run("gc"), ("", ""))
        self.assert_closed(run_id)

    def test_a_run_that_is_stored_is_not_removed(self):
        """Whoever stores it shares its lock."""
        run = self.run_policy(policy("/bin/true"))
        with open(os.path.join(run.dir, "lock"), "rb") as stored:
            fcntl.flock(stored, fcntl.LOCK_SH)
            self.assertEqual(self.safe_run("gc", "--older-than", "0s")[0], "")
        self.assertEqual(self.safe_run("gc", "--older-than", "0s")[0],
                         f"removed {os.path.basename(run.dir)}\n")

    if SANITIZED:  # only those builds have failpoints

        def test_a_run_is_out_of_the_way_before_it_is_removed(self):
            run_id = os.path.basename(self.run_policy(policy("/bin/true")).dir)
            for mode, status in (("error", 1), ("crash", -signal.SIGKILL)):
                self.env["SAFE_RUN_FAILPOINT"] = f"gc.remove:{mode}"
                self.safe_run("gc", "--older-than", "0s", status=status)
                del self.env["SAFE_RUN_FAILPOINT"]
                left = os.listdir(os.path.join(self.base, f".removed-{run_id}"))
                self.assertEqual(left.count("run_report.json"), 1)
                self.assertEqual(self.runs(), [f".removed-{run_id}"])
                if mode == "error":
                    os.rename(os.path.join(self.base, f".removed-{run_id}"),
                              os.path.join(self.base, run_id))
            self.assertEqual(self.safe_run("gc")[0], "")
            self.assertEqual(self.runs(), [])

    def test_what_gc_did_and_could_not_say_is_an_error(self):
        self.run_policy(policy("/bin/true"))
        with open("/dev/full", "wb") as full:
            for age, status in (("1h", 0), ("0s", 1)):  # nothing to say, and one removed
                done = subprocess.run([*self.become(), SAFE_RUN, "gc", "--older-than", age],
                                      env=self.env, stdout=full,
                                      stderr=subprocess.PIPE, timeout=60)
                self.assertEqual((done.returncode, done.stderr != b""), (status, status == 1))

    def test_usage(self):
        for arguments in (("ps", "x"), ("stop",), ("stop", "--timeout", "x", "y"),
                          ("gc", "--older-than", "7"), ("gc", "--nonsense")):
            self.assertIn("usage: safe-run " + arguments[0],
                          self.safe_run(*arguments, status=64)[1])
        for command in ("ps", "stop", "gc"):
            self.assertIn("Example:", self.safe_run(command, "--help")[0])
        self.assertFalse(os.path.exists(self.base))


class RunsAsUser(Runs):
    """The same without privileges; who somebody else is and what he can leave there is root's to
    tell."""
    user = 12345
    test_what_somebody_else_made_is_no_run = test_a_register_of_somebody_else_is_not_used = None
    test_a_process_that_got_the_number_of_a_dead_supervisor = None
    test_a_run_that_died_before_it_had_evidence = None
    test_a_link_in_place_of_a_run_directory_is_not_followed = None
    test_a_cgroup_that_a_run_did_not_make_is_none_of_its = None
    test_what_cannot_be_removed_keeps_no_evidence_open = None

    def test_usage(self):
        self.assertIn("Example:", self.safe_run("gc", "--help")[0])

    def test_the_runs_of_another_user_are_out_of_reach(self):
        process = self.start_up()
        run_id, self.user = self.ids()[0], 12346
        for command, arguments in (("ps", ()), ("stop", ("--kill", run_id)),
                                   ("gc", ("--older-than", "0s"))):
            self.safe_run(command, *arguments, status=1)
        os.chmod(self.base, 0o755)
        for command in ("ps", "gc", "run"):
            arguments = ("--policy",
                         self.write_policy(policy("/bin/true"))) if command == "run" else ()
            self.assertIn("belongs to uid 12345: what lies there may be somebody else's",
                          self.safe_run(command, *arguments, status=1 + 124
                                        * (command == "run"))[1])
        self.user = 12345
        self.assertEqual(self.ids(), [run_id])
        process.terminate()
        self.assertEqual(self.finish(process).status, 143)


if __name__ == "__main__":
    unittest.main()
