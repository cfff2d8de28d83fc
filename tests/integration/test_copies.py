"""An artefact that others can write runs from a copy: what is in the evidence is what runs,
whatever becomes of the source."""
import hashlib
import mmap
import os
import shutil
import subprocess
import unittest

from harness import BUILD, SAFE_RUN, SafeRunTest, policy, shell

ARTIFACTS = os.path.join(BUILD, "artifacts")


def digest(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.sha256(file.read()).hexdigest()


class CopyTest(SafeRunTest):
    def setUp(self):
        super().setUp()
        self.env["SAFE_RUN_CACHE_DIR"] = self.path("cache")
        self.env["SAFE_RUN_MOUNT_ALLOWLIST"] = self.write(
            "allow.yaml", "schemaVersion: safe-run.mount-allowlist/v1\n"
            f"hostAllowPrefixes: [{self.dir}]\nguestAllowPrefixes: [/data]\n")
        self.image = self.path("root.img")
        shutil.copyfile(os.path.join(ARTIFACTS, "images/base.img"), self.image)
        if self.user:
            os.chown(self.image, self.user, self.user)
            os.mkdir(self.path("cache"))
            os.chown(self.path("cache"), self.user, self.user)

    def mapped(self):
        """The image in a shared mapping that is dirty: stores to it move no time of the file any
        more."""
        with open(self.image, "r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        self.addCleanup(memory.close)
        memory[-1] = memory[-1]
        return memory

    def copies(self):
        return sorted(name for name in os.listdir(self.path("cache/copies"))
                      if name.endswith(".img"))


class FullDisk(CopyTest):
    def test_a_full_disk_is_named(self):
        os.chmod(self.image, 0o666)
        os.makedirs(self.path("full"))
        self.configure(copies={"directory": self.path("full")})
        script = ('mount -t tmpfs -o size=64k,mode=700 none "$FULL" && "$SAFE_RUN" run --policy '
                  '"$POLICY"; echo "status $?"')
        self.env.update(FULL=self.path("full"), SAFE_RUN=SAFE_RUN,
                        POLICY=self.write_policy(policy("/bin/true", image=self.image)))
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script], env=self.env,
                              capture_output=True, timeout=60, check=False)
        self.assertEqual(done.stdout, b"status 125\n", done.stderr)
        self.assertIn(b"SR-RUN-002 launch.preflight.image", done.stderr)
        self.assertIn(b"cannot be copied to " + self.path("full").encode() + b" (copies.directory",
                      done.stderr)
        self.assertIn(b"No space left on device", done.stderr)


class Copies(CopyTest):
    def test_an_image_that_changes_while_it_runs_is_reported_as_what_runs(self):
        memory, was = self.mapped(), digest(self.image)
        process = self.start(shell("echo up; sleep 60", image=self.image))
        self.wait_for_output(process, b"up\n")
        memory[0:4] = b"evil"
        vmm = self.vmm_pids()[0]
        disks = [fd for fd in os.listdir(f"/proc/{vmm}/fd")
                 if os.readlink(f"/proc/{vmm}/fd/{fd}").startswith(self.path("cache/copies"))]
        self.assertEqual({digest(f"/proc/{vmm}/fd/{fd}") for fd in disks}, {was})
        self.assertNotEqual(digest(self.image), was)
        process.terminate()
        self.assertEqual(self.finish(process).report["artifacts"]["rootfsHash"], was)

    def test_a_pin_is_held_against_what_runs(self):
        memory, was = self.mapped(), digest(self.image)
        pinned = policy("/bin/true", image=f"{self.image}@{was}")
        run = self.run_policy(pinned)
        self.assertEqual((run.status, run.report["artifacts"]["rootfsHash"]), (0, was), run.stderr)
        memory[-1] ^= 1
        run = self.run_policy(pinned)
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"), run.stderr)
        self.assertIn(f"the policy pins {self.image}@{was}, and the image is {digest(self.image)}",
                      run.failure[1])

    def test_kernel_and_initrd_that_others_can_write_boot_from_copies(self):
        paths = {name: self.path(name) for name in ("vmlinux", "initrd.img")}
        for name, path in paths.items():
            shutil.copyfile(os.path.join(ARTIFACTS, name), path)
            os.chmod(path, 0o666)
        self.configure(kernel=paths["vmlinux"], initrd=paths["initrd.img"],
                       copies={"keepMax": "0Mi"})
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual(run.status, 0, run.stderr)
        self.assertLessEqual({digest(path)[7:] + ".img" for path in paths.values()},
                             set(self.copies()))
        self.assertEqual(self.call("gc").returncode, 0)
        self.assertEqual(self.copies(), [])

    def test_a_copy_is_for_its_owners_eyes_and_no_guest_sees_it(self):
        os.chmod(self.image, 0o660)
        self.assertEqual(self.run_policy(policy("/bin/true", image=self.image)).status, 0)
        self.assertEqual(self.copies(), [digest(self.image)[7:] + ".img"])
        self.assertEqual(os.stat(self.path("cache/copies")).st_mode & 0o7777, 0o700)
        source = {"source": self.path("cache/copies"), "target": "/data/in", "read_only": True}
        run = self.run_policy(policy("/bin/true", mounts=[source]))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-101"), run.stderr)


class CopiesOfAUser(Copies):
    user = 1000

    def test_a_users_own_image_runs_from_a_copy_whatever_its_mode(self):
        os.chmod(self.image, 0o444)
        self.assertEqual(self.run_policy(policy("/bin/true", image=self.image)).status, 0)
        self.assertEqual(self.copies(), [digest(self.image)[7:] + ".img"])


if __name__ == "__main__":
    unittest.main()
