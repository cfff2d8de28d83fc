"""What bounds a run on the host: cgroups, version 1 or 2, with real controllers."""
import datetime
import glob
import os
import subprocess
import unittest

from harness import BUILD, SAFE_RUN, SANITIZED, SafeRunTest, alone, policy, shell
from test_jail import Jail

GUESTS = os.path.join(BUILD, "tests", "guests")


def cgroups(run_id=""):
    return glob.glob(f"/sys/fs/cgroup/**/safe-run-{run_id}*", recursive=True)


class Limits(SafeRunTest):
    def setUp(self):
        super().setUp()
        run = self.run_policy(policy("/bin/true"))
        self.held = "cgroup" in run.report["assurance"]["limits"]["cpu"]

    @alone
    def test_half_a_core(self):
        run = self.run_policy(shell("while :; do :; done & sleep 11", cpu="50000 100000"))
        self.assertEqual(run.status, 0, run.stderr)
        if not self.held:
            self.skipTest("no cgroup controller for CPU here")
        with open(os.path.join(run.dir, "events.jsonl"), encoding="utf-8") as file:
            samples = [event for event in map(__import__("json").loads, file) if event["type"]
                       == "resource.sampled"]
        first, last = samples[0], samples[-1]
        when = [datetime.datetime.fromisoformat(sample["timestamp"][:26])
                for sample in (first, last)]
        share = (last["payload"]["cpuUsageUsec"]
                 - first["payload"]["cpuUsageUsec"]) / 1e6 / (when[1] - when[0]).total_seconds()
        self.assertGreater((when[1] - when[0]).total_seconds(), 9)
        self.assertGreater(share, 0.3)  # other programs may have taken what it was allowed
        self.assertLess(share, 0.55)

    def test_a_guest_cannot_have_others_work_for_it(self):
        """Frames of one byte: what safe-run does with them counts as the run's."""
        if not self.held:
            self.skipTest("no cgroup controller for CPU here")
        self.configure(initrd=os.path.join(GUESTS, "crumbles.initrd"))
        run = self.run_policy(policy("/bin/true", cpu="10000 100000", timeout=12),
                              stdout=subprocess.DEVNULL)
        self.assertEqual(run.cause, "timeout")
        samples = [event for event in run.report["events"] if event["type"] == "resource.sampled"]
        first, last = samples[0], samples[-1]
        when = [datetime.datetime.fromisoformat(sample["timestamp"][:26])
                for sample in (first, last)]
        used, by_helpers = ([last["payload"][name] - first["payload"][name]
                             for name in ("cpuUsageUsec", "helperCpuUsec")])
        seconds = (when[1] - when[0]).total_seconds()
        self.assertGreater(seconds, 5)
        self.assertGreater(by_helpers, 0)
        self.assertLess((used + by_helpers) / 1e6 / seconds, 0.13)
        ended = run.events("vm.exited")[0]
        self.assertGreaterEqual(ended["helperCpuUsec"], last["payload"]["helperCpuUsec"])
        self.assertEqual(cgroups(os.path.basename(run.dir)), [])

    def test_only_the_vmm_is_held_by_its_memory(self):
        process = self.start(shell("echo up; sleep 60"))
        self.wait_for_output(process, b"up")
        vmm_pid = max(self.vmms(), key=lambda vmm: vmm[1])[0]
        with open(f"/proc/{process.pid}/oom_score_adj", encoding="ascii") as ours, \
                open(f"/proc/{vmm_pid}/oom_score_adj", encoding="ascii") as vmm:
            self.assertGreater(int(vmm.read()), int(ours.read()))
        places = {pid: self.read_places(pid) for pid in (process.pid, vmm_pid)}
        process.terminate()
        run = self.finish(process)
        if not self.held:
            self.skipTest("no cgroup here")
        name = "safe-run-" + os.path.basename(run.dir)
        memory = "memory" if "memory" in places[process.pid] else ""
        self.assertNotEqual(places[process.pid][memory], places[vmm_pid][memory])
        self.assertIn(name, places[vmm_pid][memory])
        cpu = "cpu" if "cpu" in places[process.pid] else ""
        self.assertIn(name, places[process.pid][cpu])
        self.assertIn(name, places[vmm_pid][cpu])
        self.assertEqual(cgroups(os.path.basename(run.dir)), [])

    def read_places(self, pid):
        """Where a process is, by controller; version 2 has no name."""
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            return {name: line.rstrip("\n").split(":", 2)[2] for line in file
                    for name in line.split(":")[1].split(",")}

    def test_gc_removes_the_cgroups_of_a_run_that_was_killed(self):
        process = self.start(shell("echo up; sleep 60"))
        self.wait_for_output(process, b"up")
        process.kill()
        process.communicate()
        self.assertEqual(self.call("gc").returncode, 0)
        self.assertEqual([left for name in os.listdir(self.base) if name != ".open"
                          for left in cgroups(name)], [])

    def test_a_vmm_that_takes_too_much_memory(self):
        self.configure(qemu=os.path.join(GUESTS, "balloon"))
        if not self.held:
            self.skipTest("no cgroup controller for memory here")
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.cause, run.failure[0]), (125, "host-oom", "SR-RUN-001"))
        self.assertIn("more memory than its cgroup allows", run.failure[1])
        self.assertEqual(cgroups(os.path.basename(run.dir)), [])

    def test_what_qemu_may_have_of_its_own_grows_with_the_vcpus(self):
        """By RLIMIT_DATA, also where no cgroup holds it; and the guest is offered nothing to run
        guests with."""
        self.configure(limits={"cpus": 8})
        for cpus, own in ((1, 288), (3, 416)):
            process = self.start(shell("grep -wEo 'svm|vmx' /proc/cpuinfo; echo up; sleep 60",
                                       cpu=f"{cpus}00000 100000"))
            said = self.wait_for_output(process, b"up\n")
            with open(f"/proc/{max(self.vmms(), key=lambda vmm: vmm[1])[0]}/limits",
                      encoding="ascii") as file:
                limits = {line[:26].strip(): line[26:].split()[0] for line in file}
            process.terminate()
            run = self.finish(process)
            self.assertEqual(int(limits["Max data size"]), (128 + own) << 20)
            self.assertEqual(int(limits["Max stack size"]), 1 << 20)
            self.assertIn(f"rlimit (QEMU: {own} MiB)", run.report["assurance"]["limits"]["memory"])
            self.assertEqual(said + run.stdout, b"up\n")

    def test_nothing_is_left(self):
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual([one["cgroup"] for one in run.events("run.cleaned")],
                         ["removed" if self.held else "none"])
        self.assertEqual(cgroups(os.path.basename(run.dir)), [])

    def test_nothing_is_left_of_a_cgroup_that_cannot_be_opened(self):
        for limit in range(10, 28):
            command = ["prlimit", f"--nofile={limit}", SAFE_RUN, "run", "--policy",
                       self.write_policy(policy("/bin/true"))]
            done = subprocess.run(command, env=self.env, capture_output=True, timeout=60)
            if done.returncode == 0:
                break
        runs = [name for name in os.listdir(self.base) if not name.startswith(".")]
        self.assertGreater(len(runs), 1)
        self.assertEqual([left for run in runs for left in cgroups(run)], [])

    def test_as_many_processes_as_a_policy_may_ask_for(self):
        self.configure(limits={"processes": 4194304})
        run = self.run_policy(policy("/bin/true", pids=4194304))
        self.assertEqual(run.status, 0, run.stderr)

    def test_what_the_host_allows_is_recorded_and_held(self):
        limits = {"memory": "256Mi", "cpus": 1.5, "disk": "64Mi", "time": 300, "outputs": "8Mi",
                  "entries": 4, "events": "4Mi",
                  "rules": 3, "processes": 300}
        self.configure(limits=limits)
        outputs = [{"path": f"/tmp/{name}", "max": "4Mi"} for name in "ab"]
        run = self.run_policy(shell("mkdir /tmp/a /tmp/b; touch /tmp/a/x /tmp/b/x /tmp/b/y",
                                    outputs=outputs))
        self.assertEqual(run.events("run.prepared")[0]["ceilings"], {
            "memoryBytes": 256 << 20, "milliCpus": 1500, "diskBytes": 64 << 20, "timeSec": 300,
                                                                     "outputBytes": 8 << 20,
            "outputEntries": 4, "eventBytes": 4 << 20, "rules": 3, "processes": 300})
        self.assertEqual([fact["collected"] for fact in run.events("output.collected")],
                         [True, False])
        self.assertIn("more files and directories than the 2 that this host allows it "
                      "(limits.entries)", run.failure[1])
        self.assertEqual(run.events("vm.exited")[0]["eventsOmitted"], 0)

    def test_what_the_host_does_not_allow_does_not_run(self):
        self.configure(limits={"memory": "64Mi", "time": 10})
        document = policy("/bin/true", timeout=11)
        before = os.listdir(self.base)
        run = self.run_policy(document)
        self.assertEqual((run.status, os.listdir(self.base)), (125, before))
        self.assertIn("runtime.timeoutSec: 11 seconds is more than the 10 that this host allows "
                      "(limits.time) [SR-POL-003]", run.stderr.decode())
        self.assertIn("resources.memory.max: is more than the 64Mi that this host allows "
                      "(limits.memory) [SR-POL-003]", run.stderr.decode())
        path = self.write_policy(document)
        for command in (["validate", path], ["compile", "--dry-run", "--policy", path]):
            plain, held = (self.call(*command, *host) for host in ([], ["--host"]))
            self.assertEqual((plain.returncode, held.returncode), (0, 2), command)
            self.assertIn(b"limits.memory", held.stdout + held.stderr)
        run = self.run_policy(policy("/bin/true", timeout=10, memory="64Mi"), "--timeout", "11")
        self.assertEqual((run.status, os.listdir(self.base)), (125, before))
        self.assertIn(b"SR-POL-003 runtime.timeoutSec: 11 seconds is more than the 10", run.stderr)

    def test_limits_that_must_be_enforced(self):
        run = self.run_policy(policy("/bin/true", require={"limits": "enforced"}))
        if self.held:
            self.assertEqual(run.status, 0, run.stderr)
        else:
            self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))

    def test_the_guests_own_numbers_are_sampled_too(self):
        run = self.run_policy(shell("x=$(head -c 20000000 /dev/zero | tr '\\0' x); i=0; while [ "
                                    "$i -lt 30000 ]; do i=$((i+1)); done; sleep 2"))
        self.assertEqual(run.status, 0, run.stderr)
        said = [sample["guest"] for sample in run.events("resource.sampled") if "guest" in sample]
        self.assertGreaterEqual(len(said), 2)
        self.assertGreater(said[-1]["memoryUsedBytes"], 20000000)
        self.assertLess(said[-1]["memoryUsedBytes"], 128 << 20)
        self.assertGreater(said[-1]["cpuUsageUsec"], 10000)

    def test_a_gigabyte_of_output_does_not_fill_the_disk(self):
        run = self.run_policy(shell("dd if=/dev/zero bs=65536 count=16384 2>/dev/null",
                                    timeout=200), stdout=subprocess.DEVNULL)
        self.assertEqual(run.status, 0, run.stderr)
        self.assertEqual(run.events("vm.exited")[0]["stdout"], {"bytes": 1 << 30,
                                                                "logged": 64 << 20,
                                                                "truncated": True})
        size = sum(os.path.getsize(os.path.join(run.dir, name)) for name in os.listdir(run.dir)
                   if name != "outputs")
        self.assertLess(size, 65 << 20)

    def test_a_fork_bomb_can_be_stopped(self):
        process = self.start(shell("bomb() { bomb | bomb & }; echo up; bomb; sleep 60", pids=64))
        self.wait_for_output(process, b"up\n")
        process.terminate()
        self.assertEqual(self.finish(process).status, 143)


class LimitsAsUser(Jail):
    user = 12345
    test_what_a_vmm_that_was_taken_over_can_do = test_qemu_from_outside = None
    test_every_attempt_is_in_the_threat_model = test_the_supervisors_death_ends_the_vmm = None
    test_the_supervisor_has_given_up_its_privileges = None

    def test_limits_that_nobody_enforces_are_not_claimed(self):
        run = self.run_policy(policy("/bin/true", require={"limits": "enforced"}))
        if run.status == 0:  # this user has a cgroup of its own
            self.assertIn("cgroup v2", run.report["assurance"]["limits"]["cpu"])
            return
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))
        self.assertIn(b"SR-RUN-002 require.limits", run.stderr)
        self.assertIn("cpu, memory, pids", run.failure[1])
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.report["assurance"]["limits"]["cpu"]),
                         (0, "vm (1 vCPU; quota not enforced)"))


class Version2(unittest.TestCase):
    def test_in_a_machine_of_its_own(self):
        """src/cgroup as the init of a VM with our kernel, which has every controller of version
        2."""
        done = subprocess.run(
            ["/usr/bin/qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
             "-display", "none", "-M",
             "microvm,acpi=off,rtc=on,isa-serial=off", "-accel", "tcg", "-cpu", "max", "-m", "256M",
             "-kernel",
             os.path.join(BUILD, "artifacts", "vmlinux"), "-initrd",
             os.path.join(GUESTS, "cgroup-v2.initrd"), "-append",
             "console=hvc0 reboot=t panic=-1 quiet no_timer_check nolapic_timer tsc=reliable",
             "-device",
             "virtio-serial-device", "-chardev", "stdio,id=console", "-device",
             "virtconsole,chardev=console"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        lines = done.stdout.split("\n")
        lines = [line.strip() for line in lines]
        self.assertIn("end", lines, done.stdout + done.stderr)
        self.assertEqual([line for line in lines if line.startswith("FAILED")], [], done.stdout)
        self.assertGreater(len([line for line in lines if line.startswith("ok ")]), 15)


del Jail  # its own module runs it

if __name__ == "__main__":
    unittest.main()
