"""A cgroup for an ordinary user: systemd is asked for a scope. No systemd runs here, so its part is
played on a real bus (dbus-daemon) by tests/guests/systemd_scope.c; what is done with controllers
that it hands down is tested in a machine of its own (test_limits)."""
import os
import pwd
import select
import signal
import socket
import subprocess
import time
import unittest

from harness import BUILD, SANITIZED, policy, shell
from test_failpoints import report_step
from test_jail import Jail

SERVICE = os.path.join(BUILD, "tests", "guests", "systemd-scope")
CONFIG = """<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>
"""


def unified():
    with open("/proc/mounts", encoding="utf-8") as file:
        return next(line.split()[1] for line in file if line.split()[2] == "cgroup2")


class Scope(Jail):
    user = pwd.getpwnam("nobody").pw_uid  # dbus-daemon lets only users in that have a name
    test_what_a_vmm_that_was_taken_over_can_do = test_qemu_from_outside = None
    test_the_supervisors_death_ends_the_vmm = test_every_attempt_is_in_the_threat_model = None
    test_the_supervisor_has_given_up_its_privileges = None

    def setUp(self):
        super().setUp()
        self.tree = os.path.join(unified(), "sr-test-" + os.path.basename(self.dir))
        os.mkdir(self.tree)
        self.addCleanup(self.remove_tree)
        self.bus = self.path("bus")
        self.services = []
        self.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=" + self.bus

    def remove_tree(self):
        """As systemd does when the last process of a scope has ended."""
        for place, _, _ in os.walk(self.tree, topdown=False):
            self.wait_for(lambda place=place: "populated 0"
                          in self.read(os.path.join(place, "cgroup.events")), 5)
            os.rmdir(place)

    def tearDown(self):
        self.stop_systemd()
        super().tearDown()

    def stop_systemd(self):
        for process in self.services:
            process.kill()
            process.communicate()
        self.services.clear()

    def start_systemd(self, result):
        config = self.write("bus.conf", CONFIG.format(self.bus))
        self.services.append(subprocess.Popen(["dbus-daemon", "--nofork", "--nopidfile",
                                               "--config-file", config], stdout=subprocess.DEVNULL))
        self.wait_for(lambda: os.path.exists(self.bus), 10)
        self.systemd = subprocess.Popen([SERVICE, self.tree, str(self.user), result], env=self.env,
                                        stdout=subprocess.PIPE)
        self.services.append(self.systemd)
        self.assertEqual(self.systemd_says(), "ready\n")

    def systemd_says(self):
        self.wait_for(lambda: select.select([self.systemd.stdout], [], [], 0)[0], 10)
        return self.systemd.stdout.readline().decode()

    def run_told(self, *options):
        """A run with -v, and how long it took."""
        started = time.monotonic()
        run = self.run_policy(policy("/bin/true"), "-v", *options)
        return run, time.monotonic() - started

    def test_a_user_is_moved_into_a_scope_with_room_below_it(self):
        self.start_systemd("done")
        process = self.start(shell("echo up; sleep 60"))
        self.wait_for_output(process, b"up\n")
        run_id = os.listdir(os.path.join(self.base, ".open"))[0]
        self.assertEqual(self.systemd_says(), f"safe-run-{run_id}.scope fail {process.pid} 1\n")
        place = [line for line in self.read(f"/proc/{process.pid}/cgroup").splitlines()
                 if line.startswith("0::")][0]
        scope = f"/{os.path.basename(self.tree)}/safe-run-{run_id}.scope/supervisor"
        self.assertTrue(place.endswith(scope), place)
        self.assertEqual(len(self.children(process.pid)), 1)  # the VMM; whoever asked is gone
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(process).status, 143)

    def test_a_refusal_is_told_and_the_run_goes_on(self):
        for result, why in (("refused", b"not today"), ("failed", b"job failed")):
            with self.subTest(result):
                self.start_systemd(result)
                run, _ = self.run_told()
                self.assertEqual(run.status, 0, run.stderr)
                self.assertIn(why, run.stderr)
                self.stop_systemd()
                os.unlink(self.bus)

    def test_a_job_that_never_ends_is_waited_for_two_seconds(self):
        self.start_systemd("never")
        run, took = self.run_told()
        self.assertEqual(run.status, 0, run.stderr)
        self.assertIn(b"does not answer", run.stderr)
        self.assertLess(took, 15)

    def test_a_bus_that_says_nothing_is_waited_for_two_seconds(self):
        with socket.socket(socket.AF_UNIX) as bus:
            bus.bind(self.bus)
            os.chmod(self.bus, 0o777)
            bus.listen()
            run, took = self.run_told()
        self.assertEqual(run.status, 0, run.stderr)
        self.assertIn(b"does not answer", run.stderr)
        self.assertLess(took, 15)

    def test_without_a_bus_the_reason_is_told(self):
        run, _ = self.run_told()
        self.assertEqual(run.status, 0, run.stderr)
        self.assertIn(b"the user's bus cannot be reached", run.stderr)
        del self.env["DBUS_SESSION_BUS_ADDRESS"]
        run, _ = self.run_told()
        self.assertIn(b"no cgroup from systemd: there is no bus of the user's", run.stderr)
        run = self.run_policy(policy("/bin/true", require={"limits": "enforced"}))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))
        self.assertIn("none came from systemd: there is no bus", run.failure[1])

    def walk(self):
        self.env["SAFE_RUN_FAILPOINT_LOG"] = log = self.write("failpoints", "")
        os.chmod(log, 0o666)
        self.start_systemd("done")
        for mode, status in (("error", 0), ("crash", -signal.SIGKILL), ("delay", 0)):
            with self.subTest(mode):
                self.env["SAFE_RUN_FAILPOINT"] = f"scope.move:{mode}"
                process = self.start(policy("/bin/true"), "-v")
                _, err = process.communicate(timeout=60)
                del self.env["SAFE_RUN_FAILPOINT"]
                report_step("scope.move", mode, process.returncode, err)
                self.assertEqual(process.returncode, status, err)
                self.assertEqual(b"cannot be used" in err, mode == "error", err)
                self.assertEqual(self.call("gc").returncode, 0)
                self.assertEqual(self.read(log).split(), ["scope.move"])
                os.truncate(log, 0)

    if SANITIZED:  # only these have failpoints
        test_the_move_fails_crashes_and_takes_long = walk


del Jail

if __name__ == "__main__":
    unittest.main()
