"""Runs whose reports are signed: by the host's wish, or because the policy requires it."""
import json
import os
import shutil
import unittest

from harness import SafeRunTest, policy, shell

SIGNED = {"require": {"signature": True}}


class Sign(SafeRunTest):
    def setUp(self):
        super().setUp()
        done = self.call("key", "generate", "--out", self.path("key"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.key_id = done.stdout.decode().strip()

    def attestation(self, run):
        return os.path.join(run.dir, "run_report.dsse.json")

    def assert_signed(self, run):
        """By its directory."""
        done = self.call("report", "verify", "--key", self.path("key.pub"), "--events",
                         os.path.join(run, "events.jsonl"),
                         "--artifacts", run, os.path.join(run, "run_report.json"))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(json.loads(done.stdout)["checks"][-1], {"name": "signature", "ok": True})

    def test_every_run(self):
        self.configure(sign=True, signKey=self.path("key"))
        run = self.run_policy(shell("echo out; exit 3"), "-v")
        self.assertEqual((run.status, run.stdout), (3, b"out\n"), run.stderr)
        self.assertIn(f"report signed by key {self.key_id}".encode(), run.stderr)
        self.assert_signed(run.dir)
        self.assertEqual(run.report["policySummary"]["name"], "test")
        self.assertRegex(run.report["assurance"]["safeRunVersion"], r"^\d+\.\d+\.\d+$")
        # Signing again is the same statement: nothing changes.
        with open(self.attestation(run), "rb") as file:
            before = file.read()
        self.assertEqual(self.call("report", "attest", "--key", self.path("key"),
                                   run.report_path).returncode, 0)
        with open(self.attestation(run), "rb") as file:
            self.assertEqual(file.read(), before)

    def test_where_the_policy_requires_it(self):
        self.configure(signKey=self.path("key"))
        run = self.run_policy(policy("/bin/true"))
        self.assertFalse(os.path.exists(self.attestation(run)))
        run = self.run_policy(policy("/bin/true", **SIGNED), "--json")
        self.assertEqual(run.status, 0, run.stderr)
        self.assertEqual(json.loads(run.stdout)["attestation"], self.attestation(run))
        self.assert_signed(run.dir)

    def test_a_failed_run_is_signed_too(self):
        self.configure(sign=True, signKey=self.path("key"), qemu="/no/qemu")
        run = self.run_policy(policy("/bin/true"))
        self.assertEqual(run.status, 125)
        self.assertEqual(run.events("vm.started"), [])
        self.assert_signed(run.dir)

    def test_without_a_key_nothing_starts(self):
        run = self.run_policy(policy("/bin/true", **SIGNED))
        self.assertEqual(run.status, 125)
        self.assertIn(b"SR-RUN-002 require.signature", run.stderr)
        self.assertEqual(run.events("vm.started"), [])

    def test_keys_that_cannot_be_used(self):
        os.chmod(self.path("key"), 0o640)
        os.chmod(self.path("key.pub"), 0o600)
        for key, word in ((self.path("key"), b"chmod 600"), (self.path("none"), b"No such file"),
                          (self.path("key.pub"), b"expected a private key")):
            with self.subTest(key=key):
                self.configure(sign=True, signKey=key)
                run = self.run_policy(policy("/bin/true"))
                self.assertEqual(run.status, 125)
                self.assertIn(b"SR-RUN-001 prepare.config.signKey", run.stderr)
                self.assertIn(word, run.stderr)
                run = self.run_policy(policy("/bin/true", **SIGNED))
                self.assertIn(b"SR-RUN-002 require.signature", run.stderr)
                self.assertEqual(run.events("vm.started"), [])

    def test_configuration(self):
        for fields, word in (({"sign": True}, b"prepare.config.signKey"),
                             ({"sign": "yes"}, b"prepare.config.sign"),
                             ({"signKey": "relative"}, b"prepare.config.signKey")):
            self.configure(**fields)
            run = self.run_policy(policy("/bin/true"))
            self.assertEqual((run.status, run.dir), (125, None))
            self.assertIn(word, run.stderr)

    def killed(self, document):
        """The directory of a run whose supervisor was killed while the command ran."""
        process = self.start(document, "--stdin", stdin=-1)
        self.wait_for_output(process, b"ready\n")
        process.kill()
        process.communicate()
        (name,) = [name for name in os.listdir(self.base) if not name.startswith(".")]
        return os.path.join(self.base, name)

    def test_a_run_that_gc_closes(self):
        for config, changes in (({"sign": True}, {}), ({}, SIGNED)):
            self.configure(**config, signKey=self.path("key"))
            run = self.killed(shell("echo ready; cat", **changes))
            self.assertEqual(self.call("gc").returncode, 0)
            self.assert_signed(run)
            shutil.rmtree(run)

    def test_gc_without_the_key(self):
        """The report is written; gc says what is missing until the key is there again."""
        self.configure(sign=True, signKey=self.path("key"))
        run = self.killed(shell("echo ready; cat"))
        os.rename(self.path("key"), self.path("away"))
        for _ in range(2):
            done = self.call("gc")
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"No such file", done.stderr)
        os.rename(self.path("away"), self.path("key"))
        self.assertEqual(self.call("gc").returncode, 0)
        self.assert_signed(run)

    def test_a_signature_that_cannot_be_written(self):
        """Something else has its name: the run is void, its report stands."""
        self.configure(sign=True, signKey=self.path("key"))
        process = self.start(shell("echo ready; cat"), "--stdin", stdin=-1)
        self.wait_for_output(process, b"ready\n")
        (name,) = [name for name in os.listdir(self.base) if not name.startswith(".")]
        os.mkdir(os.path.join(self.base, name, "run_report.dsse.json"))
        run = self.finish(process)
        self.assertEqual(run.status, 125, run.stderr)
        self.assertIn(b"SR-EVD-002 attestation", run.stderr)
        self.assertEqual(run.report["exitCode"], 0)


if __name__ == "__main__":
    unittest.main()
