"""The VMM's jail: a program in QEMU's place tries to get out, and QEMU itself is looked at from
outside."""
import os
import re
import signal
import subprocess
import time
import unittest

from harness import BUILD, SAFE_RUN, SANITIZED, SOURCE, SafeRunTest, policy, shell

PROBE = os.path.join(BUILD, "tests", "guests", "jailprobe")
GOLDEN = os.path.join(SOURCE, "tests", "golden", "jail.txt")


class JailTest(SafeRunTest):
    def read(self, path):
        with open(path, encoding="utf-8") as file:
            return file.read()


class Jail(JailTest):
    def test_what_a_vmm_that_was_taken_over_can_do(self):
        self.configure(qemu=PROBE)
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.cause), (125, "vmm"))
        said = self.read(os.path.join(run.dir, "vmm.log"))
        if os.environ.get("SR_REGENERATE"):
            with open(GOLDEN, "w", encoding="utf-8") as file:
                file.write(said)
        self.assertEqual(said, self.read(GOLDEN))
        self.assertNotIn("ALLOWED", said)

    def test_every_attempt_is_in_the_threat_model(self):
        listed = self.read(os.path.join(SOURCE, "docs", "SECURITY.md"))
        for attempt in re.findall(r"^(.+): denied", self.read(GOLDEN), re.M):
            self.assertIn(attempt.removeprefix("read "), listed)

    def test_qemu_from_outside(self):
        processes = [self.start(shell("echo up; sleep 60")) for _ in range(2)]
        for process in processes:
            self.wait_for_output(process, b"up\n")
        uids = set()
        for pid in self.vmm_pids():
            status = dict(line.split(":\t", 1)
                          for line in self.read(f"/proc/{pid}/status").splitlines()
                          if ":\t" in line)
            uids.add(status["Uid"].split()[0])
            for sort in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(status[sort], 16), 0, sort)
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"], status["Groups"].strip()),
                             ("1", "2", ""))
            self.assertEqual(self.read(f"/proc/{pid}/oom_score_adj").strip(), "500")
            for space in ("mnt", "pid", "net", "ipc", "uts", *(["user"] if self.user else [])):
                self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/{space}"),
                                    os.readlink(f"/proc/self/ns/{space}"), space)
            for mount in self.read(f"/proc/{pid}/mountinfo").splitlines():
                options = mount.split()[5].split(",")
                self.assertTrue({"ro", "nosuid", "nodev"} <= set(options), mount)
            places = sorted(line.split()[4]
                            for line in self.read(f"/proc/{pid}/mountinfo").splitlines())
            self.assertEqual([place for place in places if not place.startswith(("/usr/", "/lib"))],
                             ["/", "/initrd", "/kernel"])
        self.assertEqual(uids & {"0"}, set())
        self.assertEqual(uids, {str(self.user)} if self.user else uids)
        self.assertEqual(len(uids), 1 if self.user else 2)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.communicate()
            self.assertEqual(process.returncode, 143)
        self.assertIn("namespaces",
                      self.run_policy(policy("/bin/true")).report["assurance"]["jail"])

    def test_the_supervisor_has_given_up_its_privileges(self):
        process = self.start(shell("echo up; sleep 60"))
        self.wait_for_output(process, b"up\n")
        status = dict(line.split(":\t", 1)
                      for line in self.read(f"/proc/{process.pid}/status").splitlines()
                      if ":\t" in line)
        allowed = 0 if self.user else 1 << 5 | 1 << 1  # CAP_KILL, CAP_DAC_OVERRIDE
        self.assertEqual(int(status["CapEff"], 16) & ~allowed, 0)
        self.assertEqual(int(status["CapPrm"], 16) & ~allowed, 0)
        if not self.user:
            self.assertEqual(int(status["CapBnd"], 16), 0)
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "0" if SANITIZED else "2")
        process.terminate()
        self.assertEqual(self.finish(process).status, 143)

    def test_the_supervisors_death_ends_the_vmm(self):
        process = self.start(shell("echo up; sleep 60"))
        self.wait_for_output(process, b"up\n")
        vmm = self.vmm_pids()[0]
        process.kill()
        process.communicate()
        self.wait_for(lambda: not os.path.exists(f"/proc/{vmm}") or self.state(vmm) == "Z", 2)


class JailAsUser(Jail):
    user = 12345


class Host(JailTest):
    def find_the_device(self):
        """Under KVM its device is there, and may be used."""
        self.configure(qemu=PROBE)
        run = self.run_policy(policy("/bin/true"), "--accel", "kvm")
        self.assertEqual((run.status, run.cause), (125, "vmm"))
        with open(os.path.join(run.dir, "vmm.log"), encoding="utf-8") as file:
            self.assertIn("read /dev/kvm: ALLOWED\n", file.read())

    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        test_the_device_of_kvm = find_the_device

    def test_a_kernel_that_the_jail_cannot_read_is_named(self):
        kernel = self.write("kernel", b"x" * 4096)
        os.chmod(kernel, 0o600)
        self.configure(kernel=kernel)
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))
        self.assertIn("kernel", run.failure[1])

    def test_a_script_is_no_program_for_a_jail(self):
        script = self.write("qemu", "#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 \"$@\"\n")
        os.chmod(script, 0o755)
        self.configure(qemu=script)
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))
        self.assertIn("jail.mode: none", run.failure[1])
        self.configure(qemu=script, jail={"mode": "none"})
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.report["assurance"]["jail"]), (0, "none"))

    def test_a_library_that_comes_to_need_another(self):
        """What is remembered of a program holds only while its libraries, too, are what they
        were."""
        def compile(name, source, *options):
            subprocess.run(["cc", "-o", self.path(name), self.write("source.c", source), *options],
                           check=True)

        def old_enough():  # to be remembered
            return time.time() - os.stat(self.path("liba.so")).st_ctime > 3

        shared, beside = ("-shared", "-fPIC"), (f"-L{self.dir}", f"-Wl,-rpath,{self.dir}")
        os.chmod(self.dir, 0o755)
        self.env["SAFE_RUN_CACHE_DIR"] = self.path("cache")
        compile("liba.so", "int a(void) { return 0; }", *shared)
        compile("vmm",
                "#include <stdio.h>\nint a(void);\nint main(void) { fputs(\"started\\n\", "
                "stderr); return a(); }", *beside, "-la")
        self.configure(qemu=self.path("vmm"))
        self.wait_for(old_enough)
        for rebuild in (False, True):
            if rebuild:
                compile("libb.so", "int b(void) { return 0; }", *shared)
                compile("liba.so", "int b(void);\nint a(void) { return b(); }", *shared, *beside,
                        "-lb")
            run = self.run_policy(policy("/bin/true"))
            self.assertEqual(self.read(os.path.join(run.dir, "vmm.log")), "started\n")
            remembered = [self.read(self.path("cache/" + name))
                          for name in os.listdir(self.path("cache")) if name.startswith("files-")]
            self.assertIn("liba.so", "".join(remembered))

    def test_ids_that_are_all_taken(self):
        self.configure(jail={"uids": "1999999999-1999999999"})
        process = self.start(shell("echo up; sleep 60"))
        self.wait_for_output(process, b"up\n")
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))
        self.assertIn("jail.uids", run.failure[1])
        process.kill()
        process.communicate()
        self.assertEqual(self.run_policy(policy("/bin/true")).status, 0)


if __name__ == "__main__":
    unittest.main()
