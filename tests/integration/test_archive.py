"""Storing runs, finding them, taking them along: `report archive` and `archive` as people and
scripts meet them."""
import base64
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import unittest

import recorded
from archive import ArchiveTest
from harness import SAFE_RUN, shell


class Store(ArchiveTest):
    def test_a_bundle_holds_the_run_byte_for_byte(self):
        report = self.record()
        answer = self.store(report, "--retention", "12h")
        bundle = self.bundle(answer["bundleId"])
        self.assertEqual((answer["result"], answer["already"], answer["path"]),
                         ("pass", False, bundle))
        self.assertEqual(sorted(os.listdir(bundle)), ["files", "manifest.json", "run_report.json"])
        run = os.path.dirname(report)
        self.assertEqual(sorted(os.listdir(os.path.join(bundle, "files"))), sorted(os.listdir(run)))
        for name in os.listdir(run):
            self.assertEqual(self.read(os.path.join(bundle, "files", name)),
                             self.read(os.path.join(run, name)), name)
        manifest = self.read(bundle, "manifest.json")
        self.assertEqual("sha256:" + hashlib.sha256(manifest).hexdigest(), answer["bundleId"])
        self.assertEqual(manifest.decode(), recorded.canonical(json.loads(manifest)))
        self.assertEqual({file["name"]: (file["size"], file["sha256"])
                          for file in json.loads(manifest)["files"]},
                         {name: (os.path.getsize(os.path.join(run, name)),
                                 recorded.sha(self.read(os.path.join(run, name))))
                          for name in os.listdir(run)})

    def test_the_archived_report_says_so_and_verifies(self):
        report = self.record()
        bundle = self.bundle(self.store(report, "--retention", "12h")["bundleId"])
        with open(os.path.join(bundle, "run_report.json"), encoding="utf-8") as file:
            text = file.read()
        archived, original = json.loads(text), json.loads(self.read(report))
        self.assertEqual(text, recorded.canonical(archived) + "\n")
        self.assertEqual(archived.pop("archive").keys(), {"bundleId", "storedAt", "retention",
                                                          "originalHash"})
        verification = archived.pop("verification")
        self.assertEqual((verification["algorithm"], verification["result"]), ("sha256", "pass"))
        self.assertEqual([check["name"] for check in verification["checks"]],
                         ["schema", "artifact_hash", "event_chain", "canonical_form",
                          "terminal_event", "aggregates",
                          "events_file", "artifact_files"])
        archived["integrity"]["digest"] = original["integrity"]["digest"]
        self.assertEqual(archived, original)
        for path in (os.path.join(bundle, "run_report.json"),
                     os.path.join(bundle, "files", "run_report.json")):
            files = os.path.join(bundle, "files")
            done = self.call("report", "verify", path, "--events", f"{files}/events.jsonl",
                             "--artifacts", files)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_reports_of_every_generation(self):
        golden = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden",
                              "report")
        for name in sorted(os.listdir(golden)):
            if name.endswith(".json"):
                os.mkdir(self.path(name))
                report = shutil.copy(os.path.join(golden, name),
                                     self.path(f"{name}/run_report.json"))
                answer = self.store(report)
                self.assertEqual(answer["result"], "pass", name)
                done = self.call("report", "verify", self.bundle(answer["bundleId"],
                                                                 "run_report.json"))
                self.assertEqual(done.returncode, 0, (name, done.stdout))
        self.assert_valid()

    def test_what_does_not_verify_is_archived_as_fail(self):
        changes = {"run_report.json": lambda text: text.replace('"exitCode":0', '"exitCode":1', 1),
                   "events.jsonl": lambda text: text.replace("4711", "4712"),
                   "stdout.log": lambda text: text + "more\n",
                   "policy.json": lambda text: text.replace("demo", "other")}
        for name, change in changes.items():
            report = self.record()
            path = os.path.join(os.path.dirname(report), name)
            text = self.read(path).decode()
            self.assertNotEqual(change(text), text)
            self.put(change(text).encode(), path)
            answer = self.store(report, status=2)
            self.assertEqual(answer["result"], "fail", name)
            archived = json.loads(self.read(self.bundle(answer["bundleId"], "run_report.json")))
            self.assertEqual(archived["verification"]["result"], "fail", name)
        self.assert_valid()
        self.assertEqual(len(self.search("--result", "fail")), len(changes))

    def test_a_missing_file_that_the_report_names(self):
        report = self.record()
        os.unlink(os.path.join(os.path.dirname(report), "stdout.log"))
        self.assertEqual(self.store(report, status=2)["result"], "fail")

    def test_outputs_are_listed_and_not_copied(self):
        report = self.record(outputs={"outputs/a": "A", "outputs/b/ö": "B",
                                      "outputs/b/\U0001f600": "C"})
        answer = self.store(report)
        self.assertEqual(answer["result"], "pass")
        listed = json.loads(self.read(self.bundle(answer["bundleId"], "files",
                                                  "outputs.json")))["files"]
        self.assertEqual(sorted((file["name"], file["sha256"], file["size"]) for file in listed),
                         sorted((name, recorded.sha(text), 1) for name, text in
                                {"outputs/a": "A", "outputs/b/ö": "B",
                                 "outputs/b/\U0001f600": "C"}.items()))
        self.assertEqual(self.search("--hash", recorded.sha("B")), [answer["bundleId"]])
        unnamed = self.record()
        os.mkdir(os.path.join(os.path.dirname(unnamed), "outputs"))
        self.put(b"D", os.path.join(os.path.dirname(unnamed), "outputs", "d"))
        os.symlink("/etc/passwd", os.path.join(os.path.dirname(unnamed), "outputs", "link"))
        os.mkfifo(os.path.join(os.path.dirname(unnamed), "outputs", "fifo"))
        self.assertEqual(self.search("--hash", recorded.sha("D")), [])
        self.assertEqual([self.store(unnamed)["bundleId"]],
                         self.search("--hash", recorded.sha("D")))
        for change in ("changed", None):
            report = self.record(outputs={"outputs/a": "A", "outputs/b": "B"})
            path = os.path.join(os.path.dirname(report), "outputs/b")
            if change is None:
                os.unlink(path)
            else:
                self.put(change.encode(), path)
            self.assertEqual(self.store(report, status=2)["result"], "fail")
        self.assert_valid()

    def test_outputs_are_what_the_events_tell_of(self):
        """Outputs are looked at where they are, when the run is stored; afterwards the archived
        report knows."""
        def checks(bundle):
            verification = json.loads(self.read(self.bundle(bundle,
                                                            "run_report.json")))["verification"]
            return {check["name"]: check["ok"] for check in verification["checks"]}

        def change(run):
            self.put(b"forged", run, "outputs/o")

        def add(run):
            self.put(b"planted", run, "outputs/extra")

        def remove(run):
            os.unlink(os.path.join(run, "outputs/o"))

        good = self.store(self.record(collected={"o": "honest"}))
        self.assertEqual((good["result"], checks(good["bundleId"])["outputs"]), ("pass", True))
        for tamper in (change, add, remove):
            for alone in (False, True):
                report = self.record(collected={"o": "honest"})
                run = os.path.dirname(report)
                tamper(run)
                if alone:
                    document = json.loads(self.read(report))
                    document["artifacts"]["files"] = {}
                    self.put(recorded.seal(document).encode(), report)
                    for name in ("policy.json", "command.json"):
                        os.unlink(os.path.join(run, name))
                bad = self.store(report, status=2)
                self.assertEqual((bad["result"], checks(bad["bundleId"])["outputs"]),
                                 ("fail", False), (tamper, alone))
                self.assertIn("outputs/", bad["note"])
                self.assertEqual(self.store(report, status=2)["result"], "fail")
        bare = self.record()
        for name in os.listdir(os.path.dirname(bare)):
            if name not in ("run_report.json", "events.jsonl"):
                os.unlink(os.path.join(os.path.dirname(bare), name))
        document = json.loads(self.read(bare))
        document["artifacts"]["files"] = {}
        self.put(recorded.seal(document).encode(), bare)
        os.mkdir(os.path.join(os.path.dirname(bare), "outputs"))
        self.assertEqual(self.store(bare)["result"], "pass", "nothing to look for")
        elsewhere = self.record(collected={"o": "honest"})
        shutil.rmtree(os.path.join(os.path.dirname(elsewhere), "outputs"))
        self.assertNotIn("outputs", checks(self.store(elsewhere)["bundleId"]))
        self.assert_valid()

    def test_outputs_as_large_as_a_run_collects_them(self):
        """More files, deeper, with longer paths and stranger names than anybody has use for: no run
        is refused for these."""
        report = self.record()
        run = os.path.dirname(report)
        for name in ("many", "deep"):
            os.makedirs(os.path.join(run, "outputs", name))
        for i in range(12000):
            with open(os.path.join(run, "outputs/many", f"{i}"), "wb"):
                pass
        with open(os.path.join(run.encode(), b"outputs/many/\xff\n\x1b"), "wb") as file:
            file.write(b"strange")
        at = os.open(os.path.join(run, "outputs/deep"), os.O_RDONLY)
        for _ in range(64):
            os.mkdir("d" * 60, dir_fd=at)
            below = os.open("d" * 60, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        with open("leaf", "wb", opener=lambda name, flags: os.open(name, flags, 0o600,
                                                                   dir_fd=at)) as file:
            file.write(b"deep")
        os.close(at)
        bundle = self.store(report)["bundleId"]
        listed = json.loads(self.read(self.bundle(bundle, "files", "outputs.json")))
        self.assertEqual((len(listed["files"]), "truncated" in listed), (12002, False))
        for text in ("deep", "strange"):
            self.assertEqual(self.search("--hash", recorded.sha(text)), [bundle])
        self.assertEqual(self.search("--run", self.ls()[0]["runId"]), [bundle])
        self.assert_valid()

    def test_more_outputs_than_are_listed(self):
        report = self.record()
        outputs = os.path.join(os.path.dirname(report), "outputs", *(["\x01" * 250] * 14))
        os.makedirs(outputs)
        for i in range(1700):
            with open(os.path.join(outputs, f"{i:04}"), "wb"):
                pass
        bundle = self.store(report)["bundleId"]
        text = self.read(self.bundle(bundle, "files", "outputs.json"))
        listed = json.loads(text)
        self.assertTrue(listed["truncated"])
        self.assertLess(len(text), 32 << 20)
        self.assertEqual([file["name"][-4:] for file in listed["files"]],
                         [f"{i:04}" for i in range(len(listed["files"]))])
        self.assertTrue(self.ls()[0]["truncated"])
        self.assertTrue(self.store(report)["already"])
        self.assert_valid()

    def test_the_same_run_twice_is_one_bundle(self):
        report = self.record()
        first = self.store(report)
        again = self.store(report)
        self.assertEqual(again, {**first, "already": True})
        self.assertEqual(len(self.entries()), 1)

    def test_no_report(self):
        for text in (b"", b"{", b"[]", b"\x00", b'{"events":[}', b'{"a":1,"a":2}'):
            report = self.record()
            self.put(text, report)
            done = self.call("report", "archive", report, "--root", self.root)
            self.assertEqual((done.returncode, done.stdout), (1, b""), text)
            self.assertIn(b"SR-OPS-301 archive.report", done.stderr)
        for path in ("/no/report", "/dev/null", self.dir):
            done = self.call("report", "archive", path, "--root", self.root)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"SR-OPS-301 archive.report", done.stderr)
        self.assertEqual(self.ls(), [])
        self.assert_no_temporaries()

    def test_a_hostile_run_directory(self):
        def link(path):
            os.symlink("/etc/passwd", path)

        def hole(path):
            with open(path, "wb") as file:
                file.truncate(1 << 40)

        for name in ("events.jsonl", "stdout.log", "run_report.dsse.json"):
            for make in (link, os.mkfifo, os.mkdir, hole):
                report = self.record()
                path = os.path.join(os.path.dirname(report), name)
                if os.path.exists(path):
                    os.unlink(path)
                make(path)
                done = self.call("report", "archive", report, "--root", self.root)
                self.assertEqual((done.returncode, done.stdout), (1, b""), (name, make))
                self.assertIn(b"SR-OPS-301 archive.bundle: " + name.encode(), done.stderr)
        self.assertEqual(self.ls(), [])
        self.assert_no_temporaries()

    def test_hostile_names_in_a_report(self):
        secret = self.write("secret", "x")
        for name in ("../secret", secret, "..", ".", "", "a/b", "\u0000", "x" * 300, "-rf",
                     ".hidden"):
            report = self.record()
            document = json.loads(self.read(report))
            document["artifacts"]["files"][name] = recorded.sha("x")
            self.put(recorded.seal(document).encode(), report)
            bundle = self.store(report, status=2)["bundleId"]
            self.assertEqual(sorted(os.listdir(self.bundle(bundle, "files"))),
                             sorted(os.listdir(os.path.dirname(report))), name)
        self.assert_valid()

    def test_an_unwritable_root(self):
        report = self.record()
        for root in ("/proc/archive", self.write("file", "x"), "/dev/null/x"):
            done = self.call("report", "archive", report, "--root", root)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertIn(b"SR-OPS-301 archive.root", done.stderr)

    def test_a_directory_of_somebody_elses(self):
        """No archive is begun there, nothing is made and nothing removed, whatever its names look
        like."""
        home, run = self.path("home"), self.record()
        for name in (".ssh/id", "tmp-work/file", "tmp-" + "a" * 16 + "/file"):
            os.makedirs(os.path.dirname(f"{home}/{name}"))
            self.write(f"home/{name}", "x")
        before = sorted(os.walk(home))
        for arguments in (["report", "archive", run], ["archive", "import", "/dev/null"],
                          ["archive", "reindex"],
                          ["archive", "prune"], ["archive", "prune", "--dry-run"],
                          ["archive", "ls"], ["archive", "verify"]):
            done = self.call(*arguments, "--root", home)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"SR-OPS-301 archive.root: ", done.stderr)
            self.assertEqual(sorted(os.walk(home)), before, arguments)

    def test_what_an_archive_may_begin_beside(self):
        """What an interrupted creation left, the root of a file system, a key: whoever laid it
        there would sign, so another is made."""
        os.mkdir(self.root)
        for name in ("lock", "log.jsonl", ".checkpoint.4711"):
            self.put(b"", name)
        os.mkdir(os.path.join(self.root, "lost+found"))
        self.assertEqual(self.call("key", "generate", "--out",
                                   os.path.join(self.root, "archive.key")).returncode, 0)
        self.add()
        self.assertNotEqual(self.read("archive.key"), self.read("archive.key.found"))
        self.assertNotEqual(self.read("archive.key.pub"), self.read("archive.key.pub.found"))
        self.assertFalse(os.path.exists(os.path.join(self.root, ".checkpoint.4711")))
        self.assertTrue(os.path.exists(os.path.join(self.root, "lost+found")))
        self.assert_valid()

    def test_only_temporaries_are_removed(self):
        self.add()
        ours = ("tmp-0123456789abcdef", "tmp-" + "0" * 64, ".checkpoint.1", ".edge.22")
        others = (".ssh", "tmp-0123456789abcde", "tmp-" + "x" * 16, "tmp-work", ".checkpoint.",
                  ".checkpoint.1x", ".other.1")
        for name in ours + others:
            os.makedirs(os.path.join(self.root, name, "below"))
        self.archive("prune", "--dry-run")
        self.assertTrue(set(ours + others) <= set(os.listdir(self.root)), "telling changes nothing")
        self.add()
        self.assertEqual(set(ours + others) & set(os.listdir(self.root)), set(others))

    def test_no_archive_is_found_without_its_keys(self):
        self.add()
        for name in ("archive.key", "archive.key.pub"):
            os.unlink(os.path.join(self.root, name))
        done = self.call("report", "archive", self.record(), "--root", self.root)
        self.assertIn(b"SR-OPS-301 archive.key", done.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.root, "archive.key")),
                         "another would not help")

    def test_retention_must_be_one(self):
        for text in ("", "d", "180", "-1d", "1y", "9999999d", "Forever"):
            done = self.call("report", "archive", self.record(), "--root", self.root, "--retention",
                             text)
            self.assertEqual(done.returncode, 1, text)
            self.assertIn(b"SR-OPS-301 archive.retention", done.stderr)
        self.assertEqual(self.ls(), [])
        self.assert_no_temporaries()

    def test_the_host_configuration_names_the_archive(self):
        key = self.path("key")
        self.assertEqual(self.call("key", "generate", "--out", key).returncode, 0)
        self.configure(archive={"root": self.path("there"), "key": key, "retention": "forever"})
        done = self.call("report", "archive", self.record(), "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        bundle = json.loads(done.stdout)["bundleId"]
        self.assertEqual(self.ls(root=self.path("there"))[0]["retention"], "forever")
        self.assertFalse(os.path.exists(self.path("there/archive.key")))
        proof = self.call("archive", "prove", bundle, "-o", self.path("proof"))
        self.assertEqual(proof.returncode, 0, proof.stderr)
        self.assertEqual(self.call("archive", "verify", "--proof", self.path("proof"), "--key",
                                   key + ".pub").returncode, 0)
        self.configure(archive={"retention": "soon"})
        self.assertIn(b"archive.retention", self.call("archive", "ls").stderr)

    def test_default_place(self):
        self.env["XDG_STATE_HOME"] = self.path("state")
        self.env["HOME"] = self.dir
        expected = ("/var/lib/safe-run/archive" if os.geteuid() == 0
                    else self.path("state/safe-run/archive"))
        done = self.call("archive", "ls")
        if not os.path.isdir(expected):
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"SR-OPS-301 archive.", done.stderr)
            self.assertFalse(os.path.exists(expected), "reading makes nothing")


# Three names lead to one address, one of them to another port of it; a fourth leads elsewhere.
NAMES = [("198.51.100.7/32", 443, "api.example.com"), ("198.51.100.7/32", 443, "cdn.example.net"),
         ("198.51.100.7/32", 80, "www.example.org"), ("198.51.100.8/32", 443, "else.example.org")]


class Find(ArchiveTest):
    def setUp(self):
        super().setUp()
        self.a = self.add(run_id="sr-20260101T000000-aaaaaa", day="2026-01-01", policy="alpha",
                          labels={"team": "x", "tier": "1"},
                          command="/usr/bin/wget", args=["-q", "https://a"],
                          hits=[("198.51.100.7/32", 443, 3, 0)], rules=NAMES)
        self.b = self.add(run_id="sr-20260201T000000-bbbbbb", day="2026-02-01", policy="beta",
                          labels={"team": "x"},
                          exit_code=7, hits=[("198.51.100.7/32", 443, 0, 2)],
                          denied=[("203.0.113.9", 25)], rules=NAMES)
        self.c = self.add(run_id="sr-20260301T000000-cccccc", day="2026-03-01", policy="alpha",
                          cause="timeout", exit_code=124)

    def test_each_criterion(self):
        a, b, c = self.a, self.b, self.c
        for criteria, found in (
                ([], [c, b, a]), (["--run", "sr-20260101T000000-aaaaaa"], [a]),
                                (["--bundle", b], [b]),
                (["--bundle", b[7:20]], [b]), (["--policy", "alpha"], [c, a]),
                                (["--policy", "alph"], []),
                (["--label", "team=x"], [b, a]), (["--label", "tier"], [a]),
                                (["--label", "team=x", "--label", "tier=1"], [a]),
                (["--label", "team=y"], []), (["--command", "/usr/bin/wget"], [a]),
                                (["--command", "wget"], [a]),
                (["--command", "wget -q"], []), (["--command", "/usr/bin/wget -q https://a"], [a]),
                                (["--command", "echo"], [c, b]),
                (["--exit-code", "7"], [b]), (["--exit-code", "0"], [a]),
                                (["--cause", "timeout"], [c]),
                (["--result", "pass"], [c, b, a]), (["--since", "2026-02-01"], [c, b]),
                                (["--until", "2026-02-01"], [b, a]),
                (["--since", "2026-02-01", "--until", "2026-02"], [b]),
                                (["--since", "2026-01-01T03:04:06"], [c, b]),
                (["--reached", "198.51.100.7"], [a]), (["--reached", "198.51.100.7:443"], [a]),
                                (["--reached", "198.51.100.7:80"], []),
                (["--reached", "api.example.com"], [a]), (["--reached", "cdn.example.net"], [a]),
                                (["--reached", "cdn.example.net:443"], [a]),
                (["--reached", "www.example.org"], []), (["--reached", "else.example.org"], []),
                                (["--denied", "cdn.example.net"], [b]),
                (["--denied", "www.example.org"], [b]), (["--denied", "else.example.org"], []),
                                (["--denied", "198.51.100.7"], [b]),
                                (["--denied", "203.0.113.9:25"], [b]),
                (["--hash", recorded.sha("kernel")], [c, b, a]),
                                (["--hash", recorded.sha("kernel")[7:], "--policy", "beta"], [b]),
                (["--hash", c], [c]), (["--policy", "alpha", "--exit-code", "0", "--label",
                                        "team=x", "--since", "2026"], [a]),
                (["--policy", "' OR 1=1 --"], []), (["--label", "x" * 600], []),
                                (["--limit", "2"], [c, b]),
                (["--policy", "alpha", "--limit", "1"], [c])):
            self.assertEqual(self.search(*criteria), found, criteria)

    def test_what_a_row_says(self):
        self.assertEqual([run["bundleId"] for run in self.ls()], [self.c, self.b, self.a])
        row = self.ls()[1]
        self.assertEqual({key: row[key] for key in ("runId", "policy", "command", "exitCode",
                                                    "cause", "result", "leaf", "retention")},
                         {"runId": "sr-20260201T000000-bbbbbb", "policy": "beta",
                          "command": "/bin/echo hello", "exitCode": 7,
                          "cause": "workload", "result": "pass", "leaf": 1, "retention": "180d"})
        text = self.archive("ls", "--limit", "1")
        self.assertIn(b"sr-20260301T000000-cccccc", text.stdout)
        self.assertIn(b"more than 1", text.stderr)

    def test_show(self):
        for name in (self.a, self.a[7:], self.a[7:17], "sr-20260101T000000-aaaaaa"):
            done = self.archive("show", "--json", name)
            shown = json.loads(done.stdout)
            self.assertEqual((shown["bundleId"], shown["path"]), (self.a, self.bundle(self.a)))
            self.assertIn("events.jsonl", [file["name"] for file in shown["files"]])
        self.assertIn(b"sr-20260101T000000-aaaaaa", self.archive("show", self.a).stdout)
        for name in ("sr-20260101T000000-zzzzzz", "abcdef", "", "../../x"):
            done = self.archive("show", name)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"SR-OPS-301 archive.bundle", done.stderr)

    def test_the_index_is_never_the_truth(self):
        before = self.ls()
        index = os.path.join(self.root, "index.sqlite")
        whole = self.read("index.sqlite")
        halves = [b"", b"SQLite format 3\0", b"garbage" * 1000, whole[:len(whole) // 2],
                  whole[:5000] + os.urandom(4096) + whole[9096:],
                  whole.replace(b"CREATE TABLE run", b"CREATE TABLE rum"), whole[:60]
                  + b"\0\0\0\x63" + whole[64:]]
        for content in halves:
            self.put(content, "index.sqlite")
            done = self.archive("ls", "--json")
            self.assertEqual((done.returncode, json.loads(done.stdout)), (0, before))
            self.assertIn(b"the index was made anew", done.stderr)
            self.assertEqual(self.archive("ls").stderr, b"", "once is enough")
        os.unlink(index)
        self.assertEqual(self.ls(), before)
        os.unlink(index)
        os.symlink(self.path("elsewhere"), index)
        self.assertEqual(self.ls(), before)
        self.assertFalse(os.path.exists(self.path("elsewhere")))
        done = self.archive("reindex", "--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)), (0, {"runs": 3}))
        self.assertEqual(self.ls(), before)

    def change_index(self, *statements):
        with sqlite3.connect(os.path.join(self.root, "index.sqlite")) as database:
            for statement in statements:
                database.execute(statement)
        database.close()

    def test_a_row_that_is_no_run(self):
        """Whoever can write the index can write rows: a new one is made, and nothing of the old is
        printed."""
        before = self.ls()
        columns = ("leaf INTEGER PRIMARY KEY, bundle, run_id, policy, command, cause, result, "
                   "started, finished, stored, retention,"
                   " pruned, origin, origin_from, signature, signer, checked_by, exit_code, "
                   "truncated")
        loose = (f"CREATE TABLE loose({columns})", "INSERT INTO loose SELECT * FROM run",
                 "DROP TABLE run", "ALTER TABLE loose RENAME TO run")
        for statements in (["UPDATE run SET bundle=''"],
                           ["UPDATE run SET bundle='sha256:../../../../../../../x' WHERE leaf=1"],
                           ["UPDATE run SET run_id=NULL WHERE leaf=0"],
                           ["UPDATE run SET leaf=-5 WHERE leaf=0"],
                           [*loose, "UPDATE run SET bundle=NULL"],
                           [*loose, "UPDATE run SET policy=x'1b5b', started=5"]):
            for arguments in (["ls", "--json"], ["show", "--json", before[0]["runId"]], ["ls"]):
                self.change_index(*statements)
                done = self.archive(*arguments)
                self.assertEqual(done.returncode, 0, (statements, arguments, done.stderr))
                if arguments == ["ls", "--json"]:
                    self.assertEqual(json.loads(done.stdout), before)
                    self.assertIn(b"the index was made anew", done.stderr)
                self.assertEqual(self.ls(), before)

    def test_an_index_that_lies(self):
        """It may say anything of a run, printably; what is shown, proved or exported goes by the
        log."""
        one, other = self.ls()[:2]
        self.change_index("UPDATE run SET run_id=char(27)||']0;x'||char(7), "
                          "result=char(27)||'[2J', started=char(155)")
        self.assertNotRegex(self.archive("ls").stdout.decode(), "[\x00-\x09\x0b-\x1f\x7f-\x9f]")
        self.archive("reindex")
        self.change_index(f"UPDATE run SET bundle='{other['bundleId']}' WHERE leaf={one['leaf']}")
        for verb in ("show", "prove", "verify"):
            done = self.archive(verb, one["runId"])
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"SR-OPS-301 archive.index: it does not say what the log says",
                          done.stderr)
        self.archive("reindex")
        whole = self.archive("export", "--all").stdout
        self.change_index("DELETE FROM run", "DELETE FROM fact")
        self.assertEqual(self.ls(), [])
        self.assertEqual(self.archive("export", "--all").stdout, whole)

    def test_two_bundles_of_one_run(self):
        first, second = (self.add(run_id="sr-20260401T000000-eeeeee", exit_code=code)
                         for code in (0, 1))
        done = self.archive("show", "sr-20260401T000000-eeeeee")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"several bundles are 'sr-20260401T000000-eeeeee': name one of "
                      f"{second[7:19]}, {first[7:19]}\n".encode(), done.stderr)
        self.assertEqual(self.archive("show", first[7:19]).returncode, 0)

    def test_an_index_that_is_behind_catches_up(self):
        behind = self.read("index.sqlite")
        d = self.add(policy="alpha")
        self.put(behind, "index.sqlite")
        self.assertEqual(self.search("--policy", "alpha"), [d, self.c, self.a])

    def test_no_number_of_destinations_hides_a_run(self):
        """What a guest does ten thousand times: it is found by all that names it, and by what it
        did first."""
        many = self.add(run_id="sr-20260401T000000-dddddd", policy="evil", command="/bin/scan",
                        cause="timeout", exit_code=124,
                        labels={"team": "z"}, denied=[(f"10.{i >> 8}.{i & 255}.1", 80)
                                                      for i in range(10100)])
        for criteria in (["--run", "sr-20260401T000000-dddddd"], ["--bundle", many],
                         ["--policy", "evil"], ["--command", "scan"],
                         ["--label", "team=z"], ["--hash", many],
                         ["--hash", recorded.sha("some output\n"), "--policy", "evil"],
                         ["--cause", "timeout", "--policy", "evil"], ["--denied", "10.0.5.1:80"]):
            self.assertEqual(self.search(*criteria), [many], criteria)
        self.assertTrue(self.ls()[0]["truncated"])
        self.assertNotIn("truncated", self.ls()[1])
        self.assertIn(b"1 runs did more than the index holds",
                      self.archive("search", "--denied", "10.39.100.1").stderr)
        self.assertEqual(self.archive("search", "--policy", "evil").stderr, b"")
        self.assertEqual(self.archive("show", "sr-20260401T000000-dddddd").returncode, 0)

    def test_hostile_texts_reach_no_terminal(self):
        self.add(policy="\x1b]0;x\x07\u202e", command="/bin/\x1b[31m", args=["\x9b31m\n"],
                 labels={"\x1b": "\x1b"})
        for arguments in (["ls"], ["search", "--label", "\x1b"],
                          ["show", self.ls()[0]["bundleId"]]):
            out = self.archive(*arguments).stdout.decode()
            self.assertFalse([c for c in out if (ord(c) < 32 and c != "\n")
                              or ord(c) in range(0x7f, 0xa0)], out)


class Prove(ArchiveTest):
    def setUp(self):
        super().setUp()
        self.bundles = [self.add() for _ in range(5)]
        self.key = os.path.join(self.root, "archive.key.pub")

    def check(self, proof, *options, key=None):
        return self.call("archive", "verify", "--proof", self.write("proof", proof), "--key", key
                         or self.key, "--json", *options)

    def test_every_bundle_is_proved_to_others(self):
        """By Python and OpenSSL, which know nothing of us but the formats."""
        for index, bundle in enumerate(self.bundles):
            proof = self.archive("prove", bundle).stdout
            head, note = proof.decode().split("\n\n", 1)
            lines = head.split("\n")
            self.assertEqual(lines[0], "c2sp.org/tlog-proof@v1")
            self.assertEqual(lines[2], f"index {index}")
            leaf = base64.b64decode(lines[1].removeprefix("extra "))
            self.assertEqual(json.loads(leaf)["bundleId"], bundle)
            node, at, last = hashlib.sha256(b"\0" + leaf).digest(), index, len(self.bundles) - 1
            for sibling in map(base64.b64decode, lines[3:]):
                if at % 2 or at == last:
                    node = hashlib.sha256(b"\1" + sibling + node).digest()
                    while at % 2 == 0 and at:
                        at, last = at // 2, last // 2
                else:
                    node = hashlib.sha256(b"\1" + node + sibling).digest()
                at, last = at // 2, last // 2
            text, signature = note.split("\n\n")
            origin, size, root = text.split("\n")
            self.assertEqual((int(size), base64.b64decode(root)), (len(self.bundles), node))
            _, name, encoded = signature.strip().split(" ")
            blob = base64.b64decode(encoded)
            der = subprocess.run(["openssl", "pkey", "-pubin", "-in", self.key, "-outform", "DER"],
                                 capture_output=True,
                                 check=True).stdout
            self.assertEqual(blob[:4], hashlib.sha256(name.encode() + b"\n\x01"
                                                      + der[-32:]).digest()[:4])
            self.assertEqual((name, origin), (origin, "archive.safe-run.dev/"
                                              + hashlib.sha256(der).hexdigest()[:16]))
            done = subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", self.key,
                                   "-rawin", "-in",
                                   self.write("text", text + "\n"), "-sigfile",
                                   self.write("sig", blob[4:])], capture_output=True)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_proof_is_checked_without_the_archive(self):
        proof = self.archive("prove", self.bundles[2]).stdout
        key = shutil.copy(self.key, self.path("pub"))
        report = shutil.copy(self.bundle(self.bundles[2], "files", "run_report.json"),
                             self.path("original"))
        archived = shutil.copy(self.bundle(self.bundles[2], "run_report.json"),
                               self.path("archived"))
        shutil.rmtree(self.root)
        done = self.check(proof, key=key)
        answer = json.loads(done.stdout)
        self.assertEqual((done.returncode, answer["valid"], answer["bundleId"], answer["leafIndex"],
                          answer["treeSize"]),
                         (0, True, self.bundles[2], 2, 5))
        for path, status in ((report, 0), (archived, 0), (key, 2)):
            self.assertEqual(self.check(proof, "--report", path, key=key).returncode, status)

    def test_a_wrong_proof_or_key(self):
        proof = self.archive("prove", self.bundles[2]).stdout
        self.assertEqual(self.check(proof).returncode, 0)
        self.assertEqual(self.call("key", "generate", "--out", self.path("other")).returncode, 0)
        for wrong, key in ((proof, self.path("other.pub")), (proof.replace(b"index 2", b"index 3"),
                                                             None), (proof[:-1], None), (b"", None),
                           (proof + b"x", None), (proof, self.path("no-key"))):
            done = self.check(wrong, key=key)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(json.loads(done.stdout)["valid"], False)

    def test_out_and_json(self):
        text = self.archive("prove", self.bundles[0]).stdout
        self.assertEqual(self.archive("prove", "-o", self.path("p"), self.bundles[0]).returncode, 0)
        self.assertEqual(self.read(self.path("p")), text)
        self.assertEqual(self.archive("prove", "-o", self.path("p"), self.bundles[0]).returncode, 1)
        answer = json.loads(self.archive("prove", "--json", self.bundles[0]).stdout)
        self.assertEqual((answer["proof"].encode(), answer["leafIndex"]), (text, 0))
        name, key_hash, key = answer["verifierKey"].split("+", 2)
        self.assertEqual((name, base64.b64decode(key)[:1], len(base64.b64decode(key))),
                         (answer["origin"], b"\x01", 33))
        self.assertEqual(key_hash, hashlib.sha256(name.encode() + b"\n"
                                                  + base64.b64decode(key)).hexdigest()[:8])


class Transfer(ArchiveTest):
    def setUp(self):
        super().setUp()
        self.bundles = [self.add() for _ in range(2)]
        self.tar = self.path("export.tar")
        self.assertEqual(self.archive("export", "--all", "-o", self.tar).returncode, 0)
        self.other = self.path("other")

    def take(self, data):
        return self.archive("import", "--json", self.write("import.tar", data), root=self.other)

    def test_there_and_back(self):
        done = self.archive("import", "--json", self.tar, root=self.other)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sorted(run["bundleId"] for run in json.loads(done.stdout)),
                         sorted(self.bundles))
        self.assert_valid(root=self.other)
        for bundle in self.bundles:
            ours, theirs = self.bundle(bundle, "files"), self.bundle(bundle, "files",
                                                                     root=self.other)
            self.assertEqual({name: self.read(ours, name) for name in os.listdir(ours)},
                             {name: self.read(theirs, name) for name in os.listdir(theirs)})
        again = self.archive("import", "--json", self.tar, root=self.other)
        self.assertEqual([run["already"] for run in json.loads(again.stdout)], [True, True])

    def test_twice_is_once(self):
        first = json.loads(self.archive("import", self.tar, "--json", root=self.other).stdout)
        done = self.archive("import", self.tar, "--json", root=self.other)
        self.assertEqual((done.returncode, json.loads(done.stdout)),
                         (0, [{**run, "already": True} for run in first]))

    def test_the_same_bytes_each_time_and_any_tar_reads_them(self):
        for arguments in (["--all"], self.bundles, self.bundles[::-1], self.bundles + self.bundles):
            self.assertEqual(self.archive("export", *arguments).stdout, self.read(self.tar))
        with tarfile.open(self.tar) as tar:
            names = tar.getnames()
            for bundle in self.bundles:
                self.assertIn(f"{bundle[7:]}/files/run_report.json", names)
                proof = tar.extractfile(f"{bundle[7:]}/proof").read()
                done = self.call("archive", "verify", "--proof", self.write("proof", proof),
                                 "--key",
                                 os.path.join(self.root, "archive.key.pub"))
                self.assertEqual(done.returncode, 0)

    def test_pipes(self):
        export = self.spawn("archive", "export", "--all", "--root", self.root)
        done = self.archive("import", "-", root=self.other, stdin=export.stdout)
        _, err = export.communicate()
        self.assertEqual((done.returncode, export.returncode, err), (0, 0, b""), done.stderr)
        self.assertEqual(len(self.ls(root=self.other)), 2)

    def test_a_changed_byte_is_refused(self):
        """Whatever is changed, what is taken is what was exported, or is refused."""
        data = bytearray(self.read(self.tar))
        step = 2003 if "asan" in os.path.basename(os.path.dirname(SAFE_RUN)) else 401
        refused = 0
        for at in range(0, len(data), step):
            data[at] ^= 1
            done = self.take(bytes(data))
            data[at] ^= 1
            refused += done.returncode == 1
            if done.returncode == 1:
                self.assertIn(b"SR-OPS-301 archive.import", done.stderr)
            for run in self.ls(root=self.other):
                self.assertIn(run["bundleId"], self.bundles)
        self.assertGreater(refused, 5)
        self.assert_valid(root=self.other)

    def test_every_way_to_be_cut_off(self):
        data = self.read(self.tar)
        for length in (0, 1, 511, 512, 513, 1024, 1600, len(data) // 2, len(data) - 1024, len(data)
                       - 512, len(data) - 1):
            self.assertEqual(self.take(data[:length]).returncode, 1, length)
        stored = {name for _, names, _ in os.walk(os.path.join(self.other, "bundles"))
                  for name in names if len(name) == 64}
        self.assertEqual(stored, {one["bundleId"][7:] for one in self.ls(root=self.other)})
        self.assertLessEqual(stored, {bundle[7:] for bundle in self.bundles})
        self.assert_valid(root=self.other)

    def test_names_that_lead_elsewhere(self):
        def forge(change):
            """The archive with another name for one entry, its checksum right."""
            path = self.path("forged.tar")
            with tarfile.open(self.tar) as source, tarfile.open(path, "w",
                                                                format=tarfile.USTAR_FORMAT) as out:
                for member in source.getmembers():
                    content = source.extractfile(member)
                    change(member)
                    out.addfile(member, content if member.isreg() else None)
            return self.read(path)

        def name(text):
            return lambda member: setattr(member, "name",
                                          text) if member.name.endswith("stdout.log") else None

        def kind(letter):
            return lambda member: setattr(member, "type",
                                          letter) if member.name.endswith("stdout.log") else None

        for change in (name("../../../evil"), name("/tmp/evil"),
                       name(self.bundles[0][7:] + "/files/../evil"), kind(tarfile.SYMTYPE),
                       kind(tarfile.LNKTYPE), kind(tarfile.FIFOTYPE), kind(tarfile.DIRTYPE),
                       lambda member: setattr(member, "mode", 0o644),
                       lambda member: setattr(member, "mtime", 1)):
            self.assertEqual(self.take(forge(change)).returncode, 1)
        self.assertFalse([name for _, _, names in os.walk(self.dir) for name in names if name
                          == "evil"])

    def test_a_report_that_lies_about_itself_is_judged_anew(self):
        """The archived report and the proof of the sender are not believed."""
        report = self.record()
        self.put(self.read(report).replace(b'"exitCode":0', b'"exitCode":3'), report)
        self.store(report, status=2)
        done = self.archive("export", "--all")
        lying = done.stdout.replace(b'"result":"fail"', b'"result":"pass"')
        self.assertNotEqual(lying, done.stdout)
        done = self.take(lying)
        self.assertEqual(done.returncode, 2)
        self.assertIn("fail", [run["result"] for run in json.loads(done.stdout)])

    def test_export_of_what_was_changed(self):
        path = self.bundle(self.bundles[0], "files", "stdout.log")
        self.put(b"other text!\n", path)
        done = self.archive("export", "--all", "-o", self.path("x.tar"))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"stdout.log", done.stderr)
        self.assertFalse(os.path.exists(self.path("x.tar")))


class EndToEnd(ArchiveTest):
    def test_a_signed_run_from_start_to_proof(self):
        key = self.path("signer")
        self.assertEqual(self.call("key", "generate", "--out", key).returncode, 0)
        run = self.run_policy(shell("echo out; echo err >&2; exit 3",
                                    metadata={"name": "end", "labels": {"ci": "7"}}))
        self.assertEqual(self.call("report", "attest", "--key", key, run.report_path).returncode, 0)
        stored = self.store(run.report_path)
        bundle = stored["bundleId"]
        self.assertEqual((stored["result"], stored["runId"]), ("pass", run.report["runId"]))
        for criteria in (["--label", "ci=7"], ["--policy", "end"], ["--exit-code", "3"],
                         ["--run", run.report["runId"]],
                         ["--hash", recorded.sha("out\n")],
                         ["--hash", run.report["artifacts"]["kernelHash"]]):
            self.assertEqual(self.search(*criteria), [bundle], criteria)
        original = self.bundle(bundle, "files", "run_report.json")
        done = self.call("report", "verify", "--key", key + ".pub", "--artifacts",
                         os.path.dirname(original), original)
        self.assertEqual(done.returncode, 0, done.stdout)
        proof = self.path("run.tlog-proof")
        self.assertEqual(self.archive("prove", "-o", proof, run.report["runId"]).returncode, 0)
        done = self.call("archive", "verify", "--proof", proof, "--key",
                         os.path.join(self.root, "archive.key.pub"), "--report",
                         run.report_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_valid()


class Usage(ArchiveTest):
    VERBS = ("ls", "search", "show", "verify", "prove", "prune", "export", "import", "reindex")

    def test_help(self):
        for verb in self.VERBS:
            for option in ("--help", "-h"):
                done = self.call("archive", verb, option)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertIn(f"usage: safe-run archive {verb}".encode(), done.stdout)
                self.assertIn(b"Example:\n  safe-run archive", done.stdout)
        self.assertIn(b"Example:\n  safe-run report archive",
                      self.call("report", "archive", "--help").stdout)
        listed = self.call("archive", "--help").stdout.decode()
        self.assertEqual([verb for verb in self.VERBS if f"\n  {verb} " not in listed], [])

    def test_usage_errors(self):
        for arguments in (["ls", "x"], ["search", "x"], ["search", "--exit-code", "x"],
                          ["search", "--limit", "-1"], ["ls", "--limit"],
                          ["show"], ["show", "a", "b"], ["verify", "--proof", "x"],
                          ["verify", "--report", "x"], ["prove"], ["prune", "x"],
                          ["export"], ["export", "--all", "x"], ["import"], ["reindex", "x"],
                          ["ls", "--what"], ["ls", "-o", "x"], ["nonsense"], []):
            done = self.call("archive", *arguments)
            self.assertEqual((done.returncode, done.stdout), (64, b""), arguments)
            self.assertIn(b"usage: safe-run archive", done.stderr)
        self.assertEqual(self.call("report", "archive").returncode, 64)


del ArchiveTest

if __name__ == "__main__":
    unittest.main()
