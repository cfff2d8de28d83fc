"""What the tests of the archive share: an archive of recorded runs in the test's own directory."""
import base64
import hashlib
import json
import os
import shutil
import subprocess

import recorded
from harness import SAFE_RUN, SafeRunTest


class ArchiveTest(SafeRunTest):
    def setUp(self):
        super().setUp()
        self.root = self.path("archive")
        self.made = 0

    def record(self, **facts):
        """A recorded run's report; each one is another run."""
        self.made += 1
        facts.setdefault("run_id",
                         f"sr-20260102T030405-aaaaa{'abcdefghijklmnopqrstuvwxyz'[self.made % 26]}")
        return recorded.record(self.path(f"run-{self.made}"), **facts)

    def archive(self, *arguments, **options):
        done = self.call("archive", *arguments, "--root", options.pop("root", self.root), **options)
        self.assertNotIn(b"Sanitizer", done.stderr)
        return done

    def store(self, report, *options, status=0, **more):
        done = self.call("report", "archive", report, "--root", self.root, "--json", *options,
                         **more)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def add(self, *options, **facts):
        """Records and stores; the bundle's id."""
        return self.store(self.record(**facts), *options)["bundleId"]

    def bundle(self, bundle_id, *below, root=None):
        digits = bundle_id.removeprefix("sha256:")
        return os.path.join(root or self.root, "bundles", digits[:2], digits, *below)

    def read(self, *parts, root=None):
        with open(os.path.join(root or self.root, *parts), "rb") as file:
            return file.read()

    def put(self, data, *parts):
        with open(os.path.join(self.root, *parts), "wb") as file:
            file.write(data)

    def entries(self):
        return [json.loads(line) for line in self.read("log.jsonl").splitlines()]

    def resign(self, *entries):
        """Makes these the whole log, signed by the archive's own key: of an older safe-run, or
        under another clock."""
        lines = [json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
                 for entry in entries]

        def tree(lines):  # RFC 6962
            if len(lines) == 1:
                return hashlib.sha256(b"\0" + lines[0]).digest()
            left = 1 << (len(lines) - 1).bit_length() - 1
            return hashlib.sha256(b"\1" + tree(lines[:left]) + tree(lines[left:])).digest()

        origin, _, _, _, signature = self.read("checkpoint").decode().splitlines()
        text = f"{origin}\n{len(lines)}\n{base64.b64encode(tree(lines)).decode()}\n"
        key, message = os.path.join(self.root, "archive.key"), os.path.join(self.dir, "message")
        self.put(text.encode(), message)
        made = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in",
                               message], check=True, capture_output=True)
        head, _, old = signature.rpartition(" ")
        again = base64.b64encode(base64.b64decode(old)[:4] + made.stdout).decode()
        self.put(b"".join(line + b"\n" for line in lines), "log.jsonl")
        self.put(f"{text}\n{head} {again}\n".encode(), "checkpoint")
        if os.path.exists(os.path.join(self.root, "edge")):
            os.unlink(os.path.join(self.root, "edge"))

    def ls(self, *options, root=None):
        done = self.archive("ls", "--json", *options, root=root or self.root)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def search(self, *criteria):
        done = self.archive("search", "--json", *criteria)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [run["bundleId"] for run in json.loads(done.stdout)]

    def verify(self, *options, root=None):
        done = self.archive("verify", "--json", *options, root=root or self.root)
        self.assertIn(done.returncode, (0, 2), done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["valid"], done.returncode == 0)
        return answer

    def assert_valid(self, **more):
        answer = self.verify(**more)
        self.assertTrue(answer["valid"], answer)
        return answer

    def assert_finds(self, check, text, *options):
        """Verification fails at this check with an error that says this."""
        answer = self.verify(*options)
        failed = [one["name"] for one in answer["checks"] if not one["ok"]]
        self.assertIn(check, failed, answer)
        self.assertTrue(any(text in error["message"] for error in answer["errors"]),
                        answer["errors"])

    def assert_no_temporaries(self):
        """What a writer that died left is gone after the next one, whatever that one does; the
        index's own journal after the next that writes to the index."""
        self.archive("prune")
        self.archive("reindex")
        names = os.listdir(self.root) if os.path.isdir(self.root) else []
        self.assertEqual([name for name in names if name.startswith(("tmp-", "."))
                          or name.endswith("-journal")], [])

    def copy_archive(self):
        shutil.copytree(self.root, self.path("copy"))

    def restore_archive(self):
        shutil.rmtree(self.root)
        shutil.copytree(self.path("copy"), self.root)

    def spawn(self, *arguments, **popen):
        return subprocess.Popen([SAFE_RUN, *arguments], env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **popen)
