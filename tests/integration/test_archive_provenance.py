"""Where an archived run came from, and who vouches for it: nothing that nobody vouches for reads
like a run of this host."""
import contextlib
import json
import os
import sqlite3
import unittest

from archive import ArchiveTest


class Provenance(ArchiveTest):
    def setUp(self):
        super().setUp()
        self.host, self.other = self.key("host"), self.key("other")
        self.configure(signKey=self.host)

    def key(self, name):
        path = self.path(name)
        self.assertEqual(self.call("key", "generate", "--out", path).returncode, 0)
        return path

    def key_id(self, path):
        done = self.call("report", "attest", "--key", path, self.record())
        return done.stdout.decode().strip()

    def signed(self, key, **facts):
        report = self.record(**facts)
        self.assertEqual(self.call("report", "attest", "--key", key, report).returncode, 0)
        return report

    def verdicts(self, root=None):
        lines = self.archive("ls", root=root or self.root).stdout.decode().splitlines()
        if not lines:
            return []
        start, end = lines[0].index("VERDICT"), lines[0].index("EXIT")
        return [line[start:end].strip() for line in lines[1:]]

    def exported(self, root):
        done = self.archive("export", "--all", root=root)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("export.tar"), "wb") as file:
            file.write(done.stdout)
        return self.path("export.tar")

    def imported(self, path, *options, status=0):
        done = self.archive("import", "--json", path, *options)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout), done.stderr.decode()

    def test_only_a_signature_by_this_host_makes_a_run_its_own(self):
        host = self.key_id(self.host)
        other = self.key_id(self.other)
        for report, verdict, provenance in (
                (self.record(), "pass, unsigned", {"signature": "none", "signer": None,
                                                   "checkedBy": None}),
                (self.signed(self.host), "pass, signed here", {"signature": "good", "signer": host,
                                                               "checkedBy": "sign-key"}),
                (self.signed(self.other), "pass, signature unchecked",
                 {"signature": "unchecked", "signer": other, "checkedBy": None})):
            expected = {"origin": "stored", **provenance}
            added = self.store(report)
            self.assertEqual(added["provenance"], expected)
            self.assertEqual(self.verdicts()[0], verdict)
            self.assertEqual(self.ls()[0]["provenance"], expected)
            entry = self.entries()[-1]
            self.assertEqual([entry.get(name) for name in ("origin", "signature", "signer",
                                                           "checkedBy")], list(expected.values()))
            for verb in ("show", "prove"):
                shown = json.loads(self.archive(verb, "--json", added["bundleId"]).stdout)
                self.assertEqual(shown["provenance"], expected)
            self.assertIn(b"signature  " + verdict.removeprefix("pass, ").encode(),
                          self.archive("show", added["bundleId"]).stdout)
        self.assert_valid()

    def test_an_index_cannot_vouch_for_a_run(self):
        bundle = self.store(self.record())["bundleId"]
        index = sqlite3.connect(os.path.join(self.root, "index.sqlite"))
        with contextlib.closing(index) as database, database:
            database.execute("UPDATE run SET origin='stored', signature='good', "
                             "checked_by='sign-key'")
        self.assertIn(b"signature  unsigned\n", self.archive("show", bundle).stdout)
        self.assertEqual(json.loads(self.archive("show", "--json",
                                                 bundle).stdout)["provenance"]["signature"], "none")

    def test_an_entry_from_before_there_were_any_says_so(self):
        """A log of an older safe-run verifies, and nothing of it reads as if somebody had vouched
        for it."""
        bundle = self.store(self.record())["bundleId"]
        old = dict(self.entries()[0])
        for name in ("origin", "signature"):
            old.pop(name)
        self.resign(old)
        self.assert_valid()
        self.assertEqual(self.archive("reindex").returncode, 0)
        self.assertEqual(self.verdicts(), ["pass, origin unknown"])
        self.assertIn(b"origin     not known", self.archive("show", bundle).stdout)

    def test_a_signature_that_claims_this_host_is_called_bad(self):
        report = self.signed(self.host)
        path = os.path.join(os.path.dirname(report), "run_report.dsse.json")
        with open(path, encoding="ascii") as file:
            envelope = json.load(file)
        signature = envelope["signatures"][0]["sig"]
        envelope["signatures"][0]["sig"] = ("A" if signature[0] != "A" else "B") + signature[1:]
        with open(path, "w", encoding="ascii") as file:
            file.write(json.dumps(envelope, separators=(",", ":")) + "\n")
        self.assertEqual(self.store(report)["provenance"]["signature"], "bad")
        self.assertEqual(self.verdicts(), ["pass, bad signature"])

    def test_an_imported_forgery_does_not_read_like_a_run_of_this_host(self):
        theirs = self.path("theirs")
        done = self.call("report", "archive", self.record(), "--root",
                         theirs)  # whoever made it says that it is a pass
        self.assertEqual(done.returncode, 0)
        added, _ = self.imported(self.exported(theirs))
        self.assertEqual(added[0]["provenance"], {"origin": "imported", "from": "unknown",
                                                  "signature": "none", "signer": None,
                                                 "checkedBy": None})
        self.assertEqual(self.verdicts(), ["pass, unsigned, imported"])
        bundle = added[0]["bundleId"]
        proof = self.path("proof")
        self.assertEqual(self.archive("prove", "-o", proof, bundle).returncode, 0)
        done = self.call("archive", "verify", "--proof", proof, "--key",
                         os.path.join(self.root, "archive.key.pub"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"origin     imported from an unknown archive\nsignature  unsigned\n",
                      done.stdout)
        self.assertIn(b"imported from an unknown archive", self.archive("show", bundle).stdout)

    def test_an_archive_that_is_known_is_named(self):
        theirs = self.path("theirs")
        self.call("report", "archive", self.signed(self.other), "--root", theirs)
        export, public = self.exported(theirs), os.path.join(theirs, "archive.key.pub")
        _, text = self.imported(export, "--from", self.other + ".pub", status=1)
        self.assertIn("is not by the archive that --from names", text)
        self.assertEqual(self.verdicts(), [])
        added, _ = self.imported(export, "--from", public, "--require-key", self.other + ".pub")
        self.assertRegex(added[0]["provenance"]["from"], r"^archive\.safe-run\.dev/[0-9a-f]{16}$")
        self.assertEqual((added[0]["provenance"]["signature"], added[0]["provenance"]["checkedBy"]),
                         ("good", "require-key"))
        table = self.archive("ls").stdout.decode()
        self.assertIn(f"  pass, signed by {self.key_id(self.other)[:16]}, imported  ", table)
        self.assert_valid()

    def test_what_a_required_key_has_not_signed_is_refused(self):
        theirs = self.path("theirs")
        for report in (self.record(), self.signed(self.other)):
            done = self.call("report", "archive", report, "--root", self.root, "--require-key",
                             self.host + ".pub")
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"SR-EVD-304 archive.signature: ", done.stderr)
            self.assertEqual(self.call("report", "archive", report, "--root", theirs).returncode, 0)
        _, text = self.imported(self.exported(theirs), "--require-key", self.host + ".pub",
                                status=1)
        self.assertIn("SR-EVD-304 archive.signature: ", text)
        self.assertEqual(self.verdicts(), [])
        self.store(self.signed(self.host), "--require-key", self.host + ".pub")
        self.assertTrue(self.verify("--require-key", self.host + ".pub")["valid"])
        report = self.record()
        bundle = self.store(report)["bundleId"]
        self.assert_valid()
        self.assert_finds("signatures", "is not signed by key", "--require-key", self.host + ".pub")
        # A run that is there already is no way around it either.
        done = self.call("report", "archive", report, "--root", self.root, "--require-key",
                         self.host + ".pub")
        self.assertEqual(done.returncode, 1)
        self.assertEqual([entry["bundleId"] for entry in self.entries()][-1], bundle)
        done = self.call("report", "archive", report, "--root", self.root, "--require-key",
                         self.path("none"))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"SR-EVD-003", done.stderr)


if __name__ == "__main__":
    unittest.main()
