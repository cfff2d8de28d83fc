"""Attestations as others see them: signed by this program, checked by tools that share nothing with
it; and the command line."""
import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import unittest

from securesystemslib.signer import Signature, SSlibKey

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden",
                      "attestation")
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def canonical(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n"


def encode(payload_type, payload):
    """DSSE's pre-authentication encoding, from its specification."""
    kind = payload_type.encode()
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(),
                      payload])


class AttestationTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="sr-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        for name in ("run_report.json", "events.jsonl", "policy.json", "stdout.log"):
            shutil.copy(os.path.join(GOLDEN, name), self.dir)
        self.report = self.path("run_report.json")
        self.envelope = self.path("run_report.dsse.json")

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())

    def call(self, *arguments, **options):
        return subprocess.run([SAFE_RUN, *arguments], capture_output=True, timeout=60, cwd=self.dir,
                              **options)

    def good(self, *arguments):
        done = self.call(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, b""), done.stdout)
        return done.stdout.decode()

    def make_key(self, name):
        return self.good("key", "generate", "--out", name).strip()

    def verify(self, *arguments, status):
        done = self.call("report", "verify", *arguments)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def errors(self, *arguments):
        return [(error["code"], error["path"])
                for error in self.verify(*arguments, status=2)["errors"]]


class OtherTools(AttestationTest):
    def setUp(self):
        super().setUp()
        self.key_id = self.make_key("k")
        self.assertEqual(self.good("report", "attest", "--key", "k", self.report), self.key_id
                         + "\n")
        with open(self.envelope, encoding="utf-8") as file:
            self.parts = json.load(file)
        self.payload = base64.b64decode(self.parts["payload"], validate=True)
        self.signature = base64.b64decode(self.parts["signatures"][0]["sig"], validate=True)

    def openssl(self, key, message, signature):
        self.write("message", message)
        self.write("signature", signature)
        return subprocess.run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key,
                               "-in", "message",
                               "-sigfile", "signature"], cwd=self.dir, capture_output=True,
                              timeout=60).returncode == 0

    def test_openssl(self):
        message = encode(self.parts["payloadType"], self.payload)
        self.assertTrue(self.openssl("k.pub", message, self.signature))
        self.assertFalse(self.openssl("k.pub", self.payload, self.signature))
        self.assertFalse(self.openssl("k.pub", encode("text/plain", self.payload), self.signature))
        self.make_key("other")
        self.assertFalse(self.openssl("other.pub", message, self.signature))

    def test_openssl_reads_the_key_and_its_id(self):
        der = subprocess.run(["openssl", "pkey", "-in", "k", "-pubout", "-outform", "DER"],
                             cwd=self.dir, check=True,
                             capture_output=True, timeout=60).stdout
        self.assertEqual(hashlib.sha256(der).hexdigest(), self.key_id)
        again = subprocess.run(["openssl", "pkey", "-pubin", "-in", "k.pub", "-outform", "DER"],
                               cwd=self.dir, check=True,
                               capture_output=True, timeout=60).stdout
        self.assertEqual(der, again)

    def test_a_key_that_openssl_made(self):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", "theirs"],
                       cwd=self.dir, check=True, timeout=60)
        subprocess.run(["openssl", "pkey", "-in", "theirs", "-pubout", "-out", "theirs.pub"],
                       cwd=self.dir, check=True, timeout=60)
        os.unlink(self.envelope)
        self.good("report", "attest", "--key", "theirs", self.report)
        self.verify("--key", "theirs.pub", self.report, status=0)

    def test_what_openssl_signed(self):
        """An envelope that was put together without us."""
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", "theirs"],
                       cwd=self.dir, check=True, timeout=60)
        subprocess.run(["openssl", "pkey", "-in", "theirs", "-pubout", "-out", "theirs.pub"],
                       cwd=self.dir, check=True, timeout=60)
        self.write("message", encode(PAYLOAD_TYPE, self.payload))
        subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", "theirs", "-in",
                        "message", "-out", "signature"],
                       cwd=self.dir, check=True, timeout=60)
        self.parts["signatures"].append({"sig": base64.b64encode(self.read("signature")).decode()})
        self.write("run_report.dsse.json", canonical(self.parts))
        self.verify("--key", "theirs.pub", "--key", "k.pub", self.report, status=0)

    def test_securesystemslib(self):
        """0.26, which Debian has, knows no envelopes yet: its keys and signatures, over the
        encoding made here."""
        pem = subprocess.run(["openssl", "pkey", "-pubin", "-in", "k.pub", "-outform", "DER"],
                             cwd=self.dir, check=True,
                             capture_output=True, timeout=60).stdout
        key = SSlibKey(self.key_id, "ed25519", "ed25519", {"public": pem[-32:].hex()})
        signature = Signature(self.parts["signatures"][0]["keyid"], self.signature.hex())
        message = encode(self.parts["payloadType"], self.payload)
        key.verify_signature(signature, message)
        for wrong in (self.payload, message + b" ", message.replace(b"in-toto", b"in-toto2", 1)):
            with self.assertRaises(Exception):
                key.verify_signature(signature, wrong)

    def test_statement(self):
        statement = json.loads(self.payload)
        self.assertEqual(statement["_type"], "https://in-toto.io/Statement/v1")
        self.assertEqual(statement["predicateType"], "https://safe-run.dev/attestation/run/v1")
        *files, output = statement["subject"]
        digest = hashlib.sha256(b"tree").hexdigest()
        self.assertEqual(output, {"name": "outputs/out", "digest": {"safeRunOutputV1": digest}})
        subjects = {subject["name"]: subject["digest"]["sha256"] for subject in files}
        for name in ("run_report.json", "events.jsonl", "policy.json", "stdout.log"):
            self.assertEqual(subjects.pop(name), hashlib.sha256(self.read(name)).hexdigest())
        self.assertEqual(list(subjects), ['outputs/größe "1"'])  # named by the report, not at hand
        self.assertEqual(statement["predicate"]["asked"]["policySummary"]["name"], "attested")


class Command(AttestationTest):
    def test_key_files(self):
        key_id = self.make_key("k")
        self.assertRegex(key_id, "^[0-9a-f]{64}$")
        self.assertEqual(stat.S_IMODE(os.stat(self.path("k")).st_mode), 0o600)
        private, public = self.read("k"), self.read("k.pub")
        self.assertTrue(private.startswith(b"-----BEGIN PRIVATE KEY-----\n"))
        self.assertTrue(public.startswith(b"-----BEGIN PUBLIC KEY-----\n"))
        for taken in ("k", "k.pub"):  # neither half is ever overwritten
            done = self.call("key", "generate", "--out", "k")
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertIn(b"SR-EVD-003 key", done.stderr)
            self.assertEqual((self.read("k"), self.read("k.pub")), (private, public), taken)
        self.assertEqual(self.call("key", "generate", "--out", "no/such/place").returncode, 1)
        self.assertEqual(self.call("key", "generate", "--out", "/dev/full").returncode, 1)

    def test_notes_an_attestation_that_nobody_checked(self):
        self.assertNotIn("note", self.verify("--json", self.report, status=0))
        self.make_key("k")
        self.good("report", "attest", "--key", "k", "run_report.json")
        answer = self.verify("--json", "run_report.json", status=0)
        self.assertIn("--key", answer["note"])
        self.assertNotIn("signature", [check["name"] for check in answer["checks"]])
        self.assertIn("note: run_report.dsse.json lies beside",
                      self.good("report", "verify", "--text", self.report))
        self.write("run_report.dsse.json", "garbage")  # not looked at, so no failure
        self.verify(self.report, status=0)

    def test_finds_the_attestation_beside_the_report(self):
        self.make_key("k")
        self.good("report", "attest", "--key", "k", "run_report.json")
        for report in ("run_report.json", self.report, "./run_report.json"):
            answer = self.verify("--key", "k.pub", "--events", "events.jsonl", "--artifacts", ".",
                                 report, status=2)
            self.assertEqual([e["path"] for e in answer["errors"]],
                             ['artifacts.files["outputs/gr????e \\"1\\""]'])
            answer = self.verify("--key", "k.pub", "--events", "events.jsonl", report, status=0)
            self.assertEqual(answer["checks"][-1], {"name": "signature", "ok": True})
        with open(self.report, "rb") as report:
            done = self.call("report", "verify", "--key", "k.pub", "--attestation", self.envelope,
                             "-", stdin=report)
            self.assertEqual(done.returncode, 0, done.stdout)
        done = self.call("report", "verify", "--key", "k.pub", "--attestation", self.envelope, "-",
                         input=self.read("run_report.json"))
        self.assertEqual(done.returncode, 0, done.stdout)
        os.rename(self.envelope, self.path("elsewhere"))
        self.verify("--key", "k.pub", "--attestation", "elsewhere", self.report, status=0)
        self.assertEqual(self.errors("--key", "k.pub", self.report),
                         [("SR-EVD-002", "attestation")])

    def test_wrong_keys(self):
        for name in ("k", "other"):
            self.make_key(name)
        self.good("report", "attest", "--key", "k", self.report)
        self.assertEqual(self.errors("--key", "other.pub", self.report),
                         [("SR-EVD-304", "attestation.signatures")])
        self.assertEqual(self.errors("--key", "k", self.report), [("SR-EVD-003", "key")])
        self.assertEqual(self.errors("--key", "none", self.report), [("SR-EVD-003", "key")])
        self.assertEqual(self.errors("--key", "k.pub", "--key", "none", self.report),
                         [("SR-EVD-003", "key[1]")])
        self.assertEqual(self.errors("--key", "k.pub", "--key", "other.pub", self.report),
                         [("SR-EVD-304", "attestation.signatures")])
        self.good("report", "attest", "--key", "other", self.report)
        self.verify("--key", "k.pub", "--key", "other.pub", self.report, status=0)
        for mode in (0o640, 0o604):
            os.chmod(self.path("k"), mode)
            done = self.call("report", "attest", "--key", "k", self.report)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"chmod 600", done.stderr)

    def test_a_report_that_does_not_verify_is_not_signed(self):
        self.make_key("k")
        self.write("stdout.log", "hullo\n")
        done = self.call("report", "attest", "--key", "k", self.report)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b'SR-EVD-302 artifacts.files["stdout.log"]', done.stderr)
        self.write("stdout.log", "hello\n")
        self.write("run_report.json", self.read("run_report.json").replace(b"4711", b"4712"))
        done = self.call("report", "attest", "--key", "k", self.report)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"does not verify, so it is not signed", done.stderr)
        self.assertFalse(os.path.exists(self.envelope))

    def test_an_attestation_that_cannot_be_written(self):
        """A file-size limit below the envelope's size: nothing of it is left, and an older one is
        as it was."""
        self.make_key("k")
        limited = ["bash", "-c", "ulimit -f 1; exec \"$@\"", "-", SAFE_RUN]
        done = subprocess.run([*limited, "report", "attest", "--key", "k", self.report],
                              cwd=self.dir, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"SR-EVD-002 attestation", done.stderr)
        self.assertEqual([name for name in os.listdir(self.dir) if "dsse" in name], [])
        self.good("report", "attest", "--key", "k", self.report)
        before = self.read("run_report.dsse.json")
        self.make_key("other")
        done = subprocess.run([*limited, "report", "attest", "--key", "other", self.report],
                              cwd=self.dir, capture_output=True, timeout=60)
        self.assertEqual((done.returncode, self.read("run_report.dsse.json")), (1, before))

    def test_usage(self):
        for arguments in (["key"], ["key", "generate"], ["key", "generate", "--out"],
                          ["key", "generate", "--out", ""],
                          ["key", "generate", "--out", "k", "x"], ["key", "make"],
                          ["report", "attest", self.report],
                          ["report", "attest", "--key", "k"], ["report", "attest", "--key", "k",
                                                               "a", "b"],
                          ["report", "attest", "--no"], ["report", "verify", "--attestation", "a",
                                                         self.report],
                          ["report", "verify", "--key", "k", "-"],
                          ["report", "verify", *["--key", "k"] * 17, self.report]):
            done = self.call(*arguments)
            self.assertEqual((done.returncode, done.stdout), (64, b""), arguments)
            self.assertIn(b"usage: safe-run ", done.stderr)
        for arguments in (["key", "--help"], ["key", "generate", "--help"],
                          ["report", "attest", "-h"]):
            self.assertIn("Example:\n  safe-run", self.good(*arguments))


if __name__ == "__main__":
    unittest.main()
