"""What a machine is told that lacks something, and which guest kernel a build takes."""
import os
import subprocess
import unittest

from harness import SOURCE, SafeRunTest

NOBODY = 65534
SETUP = os.path.join(SOURCE, "scripts", "setup")
KERNEL = os.path.join(SOURCE, "guest", "kernel", "build.sh")


@unittest.skipIf(os.geteuid() != 0, "only root can be somebody else")
class Setup(SafeRunTest):
    def as_nobody(self, *command, **environment):
        return subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                               "--clear-groups", *command], text=True, timeout=60,
                              capture_output=True, env={"PATH": os.environ["PATH"],
                                                        "HOME": self.dir, **environment})

    def missing(self, *sets):
        """What is missing where nothing is installed, and the command that is said to install
        it."""
        os.makedirs(self.path("dpkg"), exist_ok=True)
        os.chmod(self.dir, 0o755)
        done = self.as_nobody(SETUP, *sets, DPKG_ADMINDIR=self.path("dpkg"))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        packages, command = done.stderr.splitlines()
        return packages.split()[2:], command

    def test_an_ordinary_user_is_told_what_is_missing_and_one_command(self):
        packages, command = self.missing("build")
        self.assertLess({"gcc", "meson", "linux-source", "mmdebstrap", "uidmap"}, set(packages))
        self.assertTrue(command.endswith(f": {SETUP} build"), command)

    def test_a_demo_needs_nothing_that_only_tests_need(self):
        packages, _ = self.missing("build", "run")
        self.assertIn("qemu-system-x86", packages)
        tests = set(self.missing("test")[0])
        self.assertLess({"chromium", "clang", "libcmocka-dev"}, tests)
        self.assertEqual(tests & set(packages), set())

    def test_no_name_is_of_one_release_only(self):
        packages, _ = self.missing("build", "run", "test")
        versioned = [name for name in packages if name.startswith(("linux-source-", "libclang-rt-1",
                                                                   "clang-1", "gcc-1"))]
        self.assertEqual(versioned, [])

    def kernel(self, change=""):
        """What a build by nobody takes where root's cache has a kernel of the right key, after a
        change by root."""
        script = f"""mount -t tmpfs -o mode=0755 cache /var/cache/safe-run && cd /var/cache/safe-run
            mkdir kernel-$({KERNEL} --key) && cd kernel-* && echo kernel > vmlinux &&
                {{ {change or ":"}; }}
            exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups \\
                env SAFE_RUN_CACHE_DIR=/proc/none {KERNEL}"""
        os.makedirs("/var/cache/safe-run", exist_ok=True)
        return subprocess.run(["unshare", "--mount", "sh", "-ec", script], capture_output=True,
                              text=True, timeout=60)

    def test_a_kernel_that_root_built_serves_everybody(self):
        done = self.kernel()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^/var/cache/safe-run/kernel-[0-9a-f]{16}/vmlinux\n$")

    def test_a_kernel_that_somebody_else_can_have_written_does_not(self):
        for change in ("chown 1 vmlinux", "chmod 664 vmlinux", "chmod 757 .", "chown 1 .",
                       "chmod 1777 ..",
                       "mv vmlinux ../other && ln -s ../other vmlinux", "chmod 600 vmlinux"):
            done = self.kernel(change)
            self.assertNotEqual(done.returncode, 0, change)
            self.assertEqual(done.stdout, "", change)
            self.assertIn("cannot create directory", done.stderr,
                          change)  # of a cache of its own, to build one in


if __name__ == "__main__":
    unittest.main()
