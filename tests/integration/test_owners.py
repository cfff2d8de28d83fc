"""Other users of the host: what safe-run obeys, signs with and keeps evidence in is its caller's or
root's, and nobody else can put something in its place. Only root can give things away, so root runs
these."""
import os
import shutil
import unittest

import archive
from harness import policy

SOMEBODY = 12345


class Owners(archive.ArchiveTest):
    def refused(self, words, *arguments, status=1):
        done = self.call(*arguments)
        self.assertEqual((done.returncode, done.stdout), (status, b""), done.stderr)
        self.assertIn(words.encode(), done.stderr)

    def refused_whoever_can_change(self, path, words, *arguments, status=1):
        """The thing itself, and a directory in which another could be put in its place."""
        above = os.path.dirname(path)
        mode, mode_above = os.stat(path).st_mode & 0o7777, os.stat(above).st_mode & 0o7777
        os.chown(path, SOMEBODY, SOMEBODY)
        self.refused(f"{words} belongs to uid {SOMEBODY}", *arguments, status=status)
        os.chown(path, 0, 0)
        os.chmod(path, mode | 0o020)
        self.refused(f"{words} can be written to by others", *arguments, status=status)
        os.chmod(path, mode)
        os.chmod(above, 0o777)
        self.assertIn(b"others", self.call(*arguments).stderr)
        os.chmod(above, mode_above)
        done = self.call(*arguments)
        self.assertNotIn(b"others", done.stderr)
        return done

    def test_a_configuration(self):
        done = self.refused_whoever_can_change(self.env["SAFE_RUN_CONFIG"],
                                               self.env["SAFE_RUN_CONFIG"], "archive", "ls")
        self.assertNotIn(b"the host configuration", done.stderr)
        run = policy("/bin/true")
        os.chown(self.env["SAFE_RUN_CONFIG"], SOMEBODY, SOMEBODY)
        self.refused("SR-RUN-001 prepare.config: the host configuration: ", "run", "--policy",
                     self.write_policy(run), status=125)
        self.assertFalse(os.path.exists(self.base))

    def test_a_mount_allowlist(self):
        allowlist = self.write("allow.yaml",
                               f"schemaVersion: safe-run.mount-allowlist/v1\nhostAllowPrefixes: "
                               f"[{self.dir}]\n"
                               "guestAllowPrefixes: [/data]\n")
        self.env["SAFE_RUN_MOUNT_ALLOWLIST"] = allowlist
        asked = self.write_policy(policy("/bin/true", mounts=[{"source": self.dir,
                                                               "target": "/data/x",
                                                               "read_only": True}]))
        self.assertEqual(self.call("validate", asked).returncode, 0)
        os.chown(allowlist, SOMEBODY, SOMEBODY)
        done = self.call("validate", asked)
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"{allowlist} belongs to uid {SOMEBODY}".encode(), done.stdout + done.stderr)

    def test_a_private_key(self):
        key, report = self.path("key"), self.record()
        self.assertEqual(self.call("key", "generate", "--out", key).returncode, 0)
        self.configure(archive={"root": self.root, "key": key})
        done = self.refused_whoever_can_change(key, key, "report", "archive", report)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_archive_that_somebody_else_prepared(self):
        """With a key of his own, for which the archive would vouch from then on."""
        os.mkdir(self.root)
        self.assertEqual(self.call("key", "generate", "--out",
                                   os.path.join(self.root, "archive.key")).returncode, 0)
        for name in ("", "archive.key", "archive.key.pub"):
            os.chown(os.path.join(self.root, name), SOMEBODY, SOMEBODY)
        before = sorted(os.listdir(self.root))
        for arguments in (["report", "archive", self.record()], ["archive", "ls"],
                          ["archive", "reindex"]):
            self.refused(f"SR-OPS-301 archive.root: {self.root} belongs to uid {SOMEBODY}",
                         *arguments, "--root", self.root)
        self.assertEqual(sorted(os.listdir(self.root)), before)

    def test_an_archive_of_somebody_else_needs_a_key_that_is_trusted(self):
        self.add()
        key = shutil.copy(os.path.join(self.root, "archive.key.pub"), self.path("trusted.pub"))
        os.chown(self.root, SOMEBODY, SOMEBODY)
        self.refused(f"SR-OPS-301 archive.key: {self.root} belongs to uid {SOMEBODY}", "archive",
                     "verify", "--root", self.root)
        self.assertEqual(self.call("archive", "verify", "--key", key, "--root",
                                   self.root).returncode, 0)

    def test_a_run_base(self):
        os.mkdir(self.base)
        asked = self.write_policy(policy("/bin/true"))
        for arguments, status in ((("ps",), 1), (("gc",), 1), (("run", "--policy", asked), 125)):
            os.chown(self.base, SOMEBODY, SOMEBODY)
            self.refused(f"SR-RUN-001 prepare.workdir: {self.base} belongs to uid {SOMEBODY}",
                         *arguments, status=status)
            os.chown(self.base, 0, 0)
            os.chmod(self.base, 0o777)
            self.refused(f"{self.base} can be written to by others", *arguments, status=status)
            os.chmod(self.base, 0o755)
        self.assertEqual(os.listdir(self.base), [])

    def test_an_image_store(self):
        store, root = self.env["SAFE_RUN_IMAGE_STORE"], self.path("root")
        os.makedirs(os.path.join(root, "etc"))
        self.assertEqual(self.call("image", "build", "one", "--from", "dir:" + root).returncode, 0)
        for name in ("blobs", "names", ""):
            path = os.path.join(store, name)
            os.chown(path, SOMEBODY, SOMEBODY)
            self.refused(f"SR-OPS-108 image.store: the image store {store}", "image", "inspect",
                         "one")
            os.chown(path, 0, 0)
        self.assertEqual(self.call("image", "inspect", "one").returncode, 0)


if __name__ == "__main__":
    unittest.main()
