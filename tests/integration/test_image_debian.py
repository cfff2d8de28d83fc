"""A Debian root as Debian's own tools make an image of it (mmdebstrap, umoci, skopeo), seen from
inside the guest."""
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import unittest

from harness import SOURCE, SafeRunTest, policy

# Where the guest puts file systems of its own.
OURS = ("proc", "sys", "dev")


class Debian(SafeRunTest):
    def run_tool(self, *arguments):
        done = subprocess.run(arguments, cwd=self.dir, capture_output=True, text=True, timeout=600,
                              env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": self.dir})
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def archive(self, root):
        """The archive, from the cache if it is there: making it takes a minute."""
        with open(__file__, "rb") as file:
            key = hashlib.sha256(file.read() + root.encode()).hexdigest()[:16]
        cached = os.path.join(os.path.dirname(root), f"debian-oci-{key}.tar")
        with open(os.path.join(os.path.dirname(root), "debian-oci.lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(cached):
                self.make_archive(root)
                shutil.copy(self.path("root.tar"), cached + ".new")
                os.rename(cached + ".new", cached)
        return cached

    def make_archive(self, root):
        """Three layers: a root, one that adds, removes, links and replaces, and one over that."""
        self.run_tool("umoci", "init", "--layout", "oci")
        self.run_tool("umoci", "new", "--image", "oci:root")
        for change in (lambda rootfs: self.run_tool("tar", "xpf", root, "--numeric-owner",
                                                    "--exclude=./dev/*", "-C", rootfs),
                       self.change_much, self.change_again):
            self.run_tool("umoci", "unpack", "--image", "oci:root", "bundle")
            change(self.path("bundle/rootfs"))
            self.run_tool("umoci", "repack", "--image", "oci:root", "bundle")
            self.run_tool("rm", "-rf", "bundle")
        self.run_tool("skopeo", "--insecure-policy", "copy", "-q", "oci:oci:root",
                      "oci-archive:root.tar:root")
        shutil.rmtree(self.path("oci"))

    def change_much(self, rootfs):
        self.run_tool("rm", "-rf", f"{rootfs}/usr/share/doc", f"{rootfs}/etc/motd")
        os.makedirs(f"{rootfs}/opt/one/two", mode=0o750)
        with open(f"{rootfs}/opt/one/two/file", "w", encoding="ascii") as file:
            file.write("content")
        os.link(f"{rootfs}/opt/one/two/file", f"{rootfs}/opt/linked")
        os.symlink("/etc/passwd", f"{rootfs}/opt/absolute")
        os.chown(f"{rootfs}/opt/one", 1234, 4321)
        os.chmod(f"{rootfs}/opt/linked", 0o6755)
        os.mkfifo(f"{rootfs}/opt/pipe")

    def change_again(self, rootfs):
        self.run_tool("rm", "-rf", f"{rootfs}/opt/one")
        os.makedirs(f"{rootfs}/opt/one/three")
        os.chmod(f"{rootfs}/etc", 0o711)

    def normal(self, listing):
        """What ls says of files. Of directories the size is the file system's own matter, and so is
        the sum of blocks."""
        lines = []
        for line in listing.splitlines():
            if not line.startswith("total "):
                lines.append(re.sub(r"^(d\S+ +\d+ \S+ +\S+ +)\d+ ", r"\1- ",
                                    re.sub(r" +", " ", line)))
        return lines

    @unittest.skipIf(os.geteuid() != 0,
                     "only root can unpack files of other owners, to compare with")
    def test_the_guest_sees_what_umoci_unpacks(self):
        made = subprocess.run([os.path.join(SOURCE, "scripts", "debian-root")], capture_output=True,
                              text=True, timeout=550)
        if made.returncode != 0 and not os.environ.get("SR_MUST_WORK"):
            self.skipTest("no Debian root could be made: " + made.stderr[-300:])
        self.assertEqual(made.returncode, 0, made.stderr)
        archive = self.archive(made.stdout.strip())
        done = self.call("image", "build", "debian", "--from", "oci-archive:" + archive, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(json.loads(done.stdout)["files"], 2000)
        self.run_tool("skopeo", "--insecure-policy", "copy", "-q", "oci-archive:" + archive,
                      "oci:oci:root")
        self.run_tool("umoci", "unpack", "--image", "oci:root", "bundle")
        tops = sorted(set(os.listdir(self.path("bundle/rootfs"))) - set(OURS))
        # disk 0: the image itself, not an overlay, which has link counts of its own. Owners as
        # numbers: ls asks passwd otherwise.
        command = ["-lnR", "--time-style=+%s", *tops]
        run = self.run_policy(policy("/bin/ls", *command, image="debian", user="0:0", workdir="/",
                                     disk=0, memory="256Mi"))
        self.assertEqual(run.status, 0, run.stderr)
        done = subprocess.run(["ls", *command], cwd=self.path("bundle/rootfs"), capture_output=True,
                              text=True, check=True,
                              env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
        here, there = self.normal(done.stdout), self.normal(run.stdout.decode())
        self.assertGreater(len(here), 3000)
        self.assertEqual(here, there)

if __name__ == "__main__":
    unittest.main()
