"""The archive when somebody changes it, when the disk is full, when writers die or race: nothing is
half-written, and whatever was changed is found."""
import datetime
import fcntl
import json
import os
import re
import resource
import shutil
import subprocess
import unittest

import recorded
from archive import ArchiveTest
from harness import SAFE_RUN, SANITIZED, SOURCE


class Tampering(ArchiveTest):
    def setUp(self):
        super().setUp()
        self.bundles = [self.add() for _ in range(3)]
        self.copy_archive()

    def test_an_untouched_archive(self):
        answer = self.assert_valid()
        self.assertEqual([check["name"] for check in answer["checks"]],
                         ["checkpoint", "log", "bundles", "unlogged"])
        self.assertEqual((answer["entries"], answer["bundles"], answer["pruned"]), (3, 3, 0))
        self.assertIn(b"valid 3 bundles verified", self.archive("verify").stdout)
        self.assertEqual(self.verify(self.bundles[1])["bundles"], 1)

    def test_a_removed_bundle(self):
        shutil.rmtree(self.bundle(self.bundles[1]))
        self.assert_finds("bundles", "was removed, and not by retention")
        self.assertTrue(self.verify(self.bundles[0])["valid"])
        self.assert_finds("bundles", "was removed", self.bundles[1])

    def test_any_change_of_a_bundle(self):
        bundle = self.bundle(self.bundles[0])
        files = [f"files/{name}" for name in os.listdir(f"{bundle}/files")]
        for name in ("manifest.json", "run_report.json", *files):
            content = self.read(bundle, name)
            for change in (content + b"x", content[:-1] if content else b"x",
                           bytes([*content[:5], 1, *content[6:]]) if content else b"y"):
                self.put(change, bundle, name)
                self.assert_finds("bundles", "was changed")
            os.unlink(os.path.join(bundle, name))
            self.assert_finds("bundles", "")
            os.symlink("/etc/passwd", os.path.join(bundle, name))
            self.assert_finds("bundles", "")
            os.unlink(os.path.join(bundle, name))
            self.put(content, bundle, name)
        self.assert_valid()

    def test_a_file_too_many(self):
        for below in (("files", "extra"), ("files", ".extra"), ("extra",), (".extra",),
                      ("outputs.json",)):
            self.put(b"x", self.bundle(self.bundles[0], *below))
            self.assert_finds("bundles", "is not in the manifest")
            os.unlink(self.bundle(self.bundles[0], *below))
        self.assert_valid()
        self.put(b"x", self.bundle(self.bundles[0], "\x1b[31m"))
        self.assertNotIn(b"\x1b", self.archive("verify").stdout)

    def test_storing_a_damaged_run_again_makes_it_whole(self):
        """The log is not touched: the bundle is what it was, to the last byte."""
        report = self.record()
        bundle = self.store(report)
        for damage in (lambda: shutil.rmtree(self.bundle(bundle["bundleId"])),
                       lambda: shutil.rmtree(self.bundle(bundle["bundleId"], "files")),
                       lambda: self.put(b"x", self.bundle(bundle["bundleId"], "files",
                                                          "stdout.log")),
                       lambda: self.put(b"x", self.bundle(bundle["bundleId"], "manifest.json")),
                       lambda: self.put(b"x", self.bundle(bundle["bundleId"], "run_report.json")),
                       lambda: (shutil.rmtree(self.bundle(bundle["bundleId"])),
                                os.mkdir(self.bundle(bundle["bundleId"])))):
            damage()
            self.assertFalse(self.verify()["valid"])
            self.assertEqual(self.store(report, "--retention", "1s"),
                             {**bundle, "already": True, "repaired": True})
            self.assertEqual(self.assert_valid()["entries"], 4)
            self.assertEqual(self.store(report), {**bundle, "already": True})

    def test_what_nobody_stored_is_in_no_ones_way(self):
        report = self.record()
        bundle = self.store(report)["bundleId"]
        for below in ((), ("files",)):
            self.restore_archive()
            os.makedirs(self.bundle(bundle, *below))
            stored = self.store(report)
            self.assertEqual((stored["bundleId"], stored["already"], stored["result"]),
                             (bundle, False, "pass"))
            self.assert_valid()

    def test_a_replaced_bundle(self):
        """Another run's bundle in its place, or its own report sealed anew with another result."""
        shutil.rmtree(self.bundle(self.bundles[0]))
        shutil.copytree(self.bundle(self.bundles[1]), self.bundle(self.bundles[0]))
        self.assert_finds("bundles", "manifest was changed")
        self.restore_archive()
        path = self.bundle(self.bundles[0], "run_report.json")
        report = json.loads(self.read(path))
        report["verification"]["result"] = "fail"
        self.put(recorded.seal(report).encode(), path)
        self.assert_finds("bundles", "run_report.json was changed")

    def test_a_bundle_that_nobody_stored(self):
        os.makedirs(self.path("other"))
        report = self.record()
        done = self.call("report", "archive", report, "--root", self.path("other"), "--json")
        stranger = json.loads(done.stdout)["bundleId"]
        shutil.copytree(self.bundle(stranger, root=self.path("other")), self.bundle(stranger))
        self.assert_finds("unlogged", "is not in the log")

    def test_nothing_else_lies_in_bundles(self):
        bundles, digits = os.path.join(self.root,
                                       "bundles"), self.bundles[0].removeprefix("sha256:")
        wrong = "zz" if digits[:2] == "00" else "00"
        for name, text in ((f"{wrong}/{digits}/x", "is not in the log"),
                           (f"zz/{digits}/x", "is not in the log"), (".x/y/z", "is not in the log"),
                           (f"{digits[:2]}/.y/z", "is not in the log"),
                           (f"{digits[:2]}/y", "is not in the log"),
                           (".x", "does not belong there"),
                           ("stray", "does not belong there"), ("00000/x", "is not in the log")):
            os.makedirs(os.path.dirname(os.path.join(bundles, name)), exist_ok=True)
            self.put(b"x", bundles, name)
            self.assert_finds("unlogged", text)
            self.restore_archive()
        self.assert_valid()

    def test_every_byte_of_the_log_and_the_checkpoint(self):
        for name in ("log.jsonl", "checkpoint"):
            content = bytearray(self.read(name))
            for at in range(0, len(content), 29 if SANITIZED else 7):
                content[at] ^= 1
                self.put(content, name)
                self.assertFalse(self.verify()["valid"], (name, at))
                content[at] ^= 1
            self.put(content, name)
        self.assert_valid()

    def test_a_log_that_was_rolled_back(self):
        lines = self.read("log.jsonl").splitlines(True)
        self.put(b"".join(lines[:2]), "log.jsonl")
        self.assert_finds("log", "it was rolled back")
        self.put(b"".join([lines[1], lines[0], lines[2]]), "log.jsonl")
        self.assert_finds("log", "are not those that the checkpoint signs")
        os.unlink(os.path.join(self.root, "log.jsonl"))
        self.assert_finds("log", "cannot be opened")
        for verb in (["prune"], ["ls"], ["report"]):
            done = self.archive(*verb) if verb != ["report"] else self.call("report", "archive",
                                                                            self.record(),
                                                                            "--root", self.root)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"SR-OPS-301 archive.", done.stderr)

    def test_log_and_checkpoint_rolled_back_together(self):
        """Only who kept a copy of a later checkpoint can find that."""
        old = self.path("old")
        shutil.copytree(self.root, old)
        self.add()
        later = self.write("later", self.read("checkpoint"))
        shutil.rmtree(self.root)
        shutil.copytree(old, self.root)
        self.assertTrue(self.verify()["valid"])
        self.assert_finds("older_checkpoint", "it was rolled back", "--checkpoint", later)
        self.add()
        self.assert_finds("older_checkpoint", "entries were changed or removed", "--checkpoint",
                          later)

    def test_an_older_checkpoint(self):
        kept = self.write("kept", self.read("checkpoint"))
        self.add()
        answer = self.verify("--checkpoint", kept)
        self.assertTrue(answer["valid"])
        self.assertIn("older_checkpoint", [check["name"] for check in answer["checks"]])
        self.assertEqual(self.call("key", "generate", "--out", self.path("k")).returncode, 0)
        self.assert_finds("older_checkpoint", "", "--checkpoint", self.path("k"))
        self.assert_finds("older_checkpoint", "cannot be read", "--checkpoint", "/no/checkpoint")

    def test_a_checkpoint_that_was_put_back(self):
        shutil.copy(os.path.join(self.root, "checkpoint"), self.path("kept"))
        self.add()
        self.add()
        shutil.copy(self.path("kept"), os.path.join(self.root, "checkpoint"))
        self.assert_finds("checkpoint", "it was put back")
        done = self.call("report", "archive", self.record(), "--root", self.root)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"SR-OPS-301 archive.checkpoint", done.stderr)

    def test_a_checkpoint_that_was_put_back_by_one(self):
        """Whoever kept the newer one finds that, and the bundle that it takes out of the archive is
        not destroyed."""
        shutil.copy(os.path.join(self.root, "checkpoint"), self.path("kept"))
        last = self.add()
        newer = self.write("newer", self.read("checkpoint"))
        shutil.copy(self.path("kept"), os.path.join(self.root, "checkpoint"))
        self.assert_valid()  # it looks like a crash
        self.assert_finds("older_checkpoint", "that was put back", "--checkpoint", newer)
        shutil.rmtree(self.bundle(self.bundles[0]))
        self.assert_finds("bundles", "was removed", "--checkpoint", newer)
        self.restore_archive()
        last = self.add()
        newer = self.write("newest", self.read("checkpoint"))
        shutil.copy(self.path("kept"), os.path.join(self.root, "checkpoint"))
        shutil.copytree(self.bundle(last), self.path("last"))
        shutil.rmtree(self.bundle(last))
        self.assert_finds("bundles", "was removed", "--checkpoint", newer)
        shutil.copytree(self.path("last"), self.bundle(last))
        self.add()
        self.assertFalse(os.path.exists(self.bundle(last)))
        [name] = os.listdir(os.path.join(self.root, "aside"))
        self.assertTrue(name.startswith(last.removeprefix("sha256:")))
        self.assertIn("aside/", str(self.assert_valid()["checks"]))
        self.assert_finds("older_checkpoint", "entries were changed or removed", "--checkpoint",
                          newer)
        self.assertEqual(self.store(os.path.join(self.root, "aside", name, "files",
                                                 "run_report.json"))["bundleId"], last)
        self.assertEqual(len(self.ls()), 5)
        self.assert_valid()

    def test_an_archive_that_was_replaced_with_its_key(self):
        kept = shutil.copy(os.path.join(self.root, "archive.key.pub"), self.path("kept.pub"))
        self.assertTrue(self.verify("--key", kept)["valid"])
        shutil.rmtree(self.root)
        self.add()
        self.assertTrue(self.verify()["valid"])
        self.assert_finds("checkpoint", "is not signed by", "--key", kept)
        self.assertEqual(self.archive("verify", "--key", "/no/key").returncode, 1)

    def test_another_key(self):
        self.assertEqual(self.call("key", "generate", "--out", self.path("k")).returncode, 0)
        for suffix in ("", ".pub"):
            shutil.copy(self.path("k") + suffix, os.path.join(self.root, "archive.key" + suffix))
        self.assert_finds("checkpoint", "is not signed by")

    def test_a_forged_tombstone(self):
        """Somebody who has no key says that retention was over."""
        entry = {"bundleId": self.bundles[0], "kind": "pruned", "leaf": 0,
                 "prunedAt": "2036-01-01T00:00:00.000000000Z"}
        self.put(self.read("log.jsonl") + recorded.canonical(entry).encode() + b"\n", "log.jsonl")
        self.assertIn("1 behind the checkpoint", str(self.assert_valid()["checks"]))
        shutil.move(self.bundle(self.bundles[0]), self.path("stolen"))
        self.assert_finds("bundles", "was removed, and not by retention")
        self.add()  # the next writer does not sign it either
        self.assert_finds("bundles", "was removed, and not by retention")
        self.assertEqual([entry["kind"] for entry in self.entries()], ["stored"] * 4)

    def test_a_forged_entry(self):
        """Nor is a bundle that somebody without a key has entered ever signed, and none is removed
        for it that is stored."""
        forged = {**self.entries()[0], "storedAt": "2036-01-01T00:00:00.000000000Z"}
        stranger = {**forged, "bundleId": recorded.sha("x")}
        for entry in (forged, stranger):
            self.put(self.read("log.jsonl") + recorded.canonical(entry).encode() + b"\n",
                     "log.jsonl")
            os.makedirs(self.bundle(stranger["bundleId"]), exist_ok=True)
            self.archive("prune")
            self.assertEqual(len(self.entries()), 3)
            self.assertTrue(os.path.isdir(self.bundle(self.bundles[0])))
        self.assert_valid()


class Prune(ArchiveTest):
    def test_what_is_over_goes_and_the_log_says_so(self):
        kept, gone = self.add(), self.add("--retention", "0s")
        forever = self.add("--retention", "forever")
        done = self.archive("prune", "--dry-run")
        self.assertEqual(done.stdout.decode(), f"would prune {gone} {self.entries()[1]['runId']}\n")
        self.assertTrue(os.path.isdir(self.bundle(gone)))
        done = self.archive("prune", "--json")
        self.assertEqual([run["bundleId"] for run in json.loads(done.stdout)], [gone])
        self.assertFalse(os.path.exists(self.bundle(gone)))
        self.assertEqual({key: self.entries()[3][key] for key in ("kind", "bundleId", "leaf")},
                         {"kind": "pruned", "bundleId": gone, "leaf": 1})
        answer = self.assert_valid()
        self.assertEqual((answer["bundles"], answer["pruned"]), (2, 1))
        self.assertEqual([run["bundleId"] for run in self.ls()], [forever, kept])
        self.assertEqual([run.get("prunedAt") is not None for run in self.ls("--pruned")],
                         [False, True, False])
        self.assertEqual(json.loads(self.archive("prune", "--json").stdout), [])
        self.assertEqual(self.archive("reindex").returncode, 0)
        self.assertEqual([run["bundleId"] for run in self.ls()], [forever, kept])
        shutil.rmtree(self.bundle(kept))
        self.assert_finds("bundles", "was removed, and not by retention")

    def test_a_pruned_run_can_be_stored_again(self):
        report = self.record()
        bundle = self.store(report, "--retention", "0s")["bundleId"]
        self.archive("prune")
        self.assertFalse(self.store(report, "--retention", "1d")["already"])
        self.archive("prune")
        self.assertTrue(os.path.isdir(self.bundle(bundle)))
        self.assert_valid()
        self.assertEqual([run["bundleId"] for run in self.ls()], [bundle])

    def test_a_bundle_that_outlived_its_tombstone_goes_the_next_time(self):
        bundle = self.add("--retention", "0s")
        shutil.copytree(self.bundle(bundle), self.path("kept"))
        self.archive("prune")
        shutil.copytree(self.path("kept"), self.bundle(bundle))
        answer = self.assert_valid()
        self.assertIn("the next 'archive prune' removes them", str(answer["checks"]))
        self.archive("prune")
        self.assertFalse(os.path.exists(self.bundle(bundle)))
        self.assertEqual(len(self.entries()), 2)

    def test_a_run_stored_while_its_old_bundle_outlives_the_tombstone(self):
        report = self.record()
        bundle = self.store(report, "--retention", "0s")["bundleId"]
        shutil.copytree(self.bundle(bundle), self.path("kept"))
        self.archive("prune")
        shutil.copytree(self.path("kept"), self.bundle(bundle))
        self.assertFalse(self.store(report, "--retention", "1d")["already"])
        self.archive("prune")
        self.assertTrue(os.path.isdir(self.bundle(bundle)))
        self.assertEqual(self.assert_valid()["bundles"], 1)


class WrongClock(ArchiveTest):
    """Retention is over by the clock alone; where the log gives reason to doubt that, nobody is
    taken at one word."""

    def stored_at(self, *days):
        """An archive whose bundles were stored so many days from now; their ids."""
        bundles = [self.add() for _ in days]
        now = datetime.datetime.now(datetime.timezone.utc)
        times = [(now + datetime.timedelta(day)).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
                 for day in days]
        self.resign(*({**entry, "storedAt": time} for entry, time in zip(self.entries(), times)))
        return bundles

    def pruned(self, *options):
        done = self.archive("prune", "--json", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [run["bundleId"] for run in json.loads(done.stdout)]

    def assert_asks(self, words):
        before = self.entries()
        for options in ((), ("--dry-run",)):
            done = self.archive("prune", *options)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertIn(b"SR-OPS-301 archive.prune: ", done.stderr)
            self.assertIn(words, done.stderr)
            self.assertIn(b"--trust-clock", done.stderr)
        self.assertEqual(self.entries(), before)

    def test_a_clock_that_is_a_year_ahead_removes_nothing_by_itself(self):
        """Seen from such a clock, what was stored yesterday is a year old."""
        bundles = self.stored_at(-370, -365)
        self.assert_asks(b"the retention of 2 bundles is over only if the clock is right")
        self.assertEqual(self.pruned("--dry-run", "--trust-clock"), bundles)
        self.assertEqual(self.pruned("--trust-clock"), bundles)

    def test_nor_when_it_has_stored_something_since(self):
        bundles = self.stored_at(-370, -365, 0)
        self.assert_asks(b"the retention of 2 bundles is over only if the clock is right")
        self.assertEqual(self.pruned("--trust-clock"), bundles[:2])

    def test_an_archive_in_use_is_asked_once(self):
        bundles = self.stored_at(*range(-220, 0, 30))
        self.assertEqual(self.pruned(), bundles[:2])

    def test_times_that_are_to_come_are_said(self):
        bundles = self.stored_at(-220, -190, -160, 365)
        self.assert_asks(b"one of them is wrong")
        log = next(check for check in self.verify()["checks"] if check["name"] == "log")
        self.assertIn("1 bundles were stored at a time that is still to come", log["note"])
        self.assertEqual(self.pruned("--trust-clock"), bundles[:2])

    def test_what_was_pruned_at_such_a_time_is_no_valid_archive(self):
        self.stored_at(-1)
        entry = self.entries()[0]
        shutil.rmtree(self.bundle(entry["bundleId"]))
        when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(365)
        self.resign(entry, {"bundleId": entry["bundleId"], "kind": "pruned", "leaf": 0,
                            "prunedAt": when.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")})
        self.assert_finds("log", "which is still to come: the clock was wrong then, or is now")


class BesideGc(ArchiveTest):
    """A run that is removed while it is stored is stored whole, or not at all."""

    def is_waited_for(self, path):
        """Does somebody wait for the lock on this file?"""
        with open("/proc/locks", encoding="ascii") as file:
            return any(" -> FLOCK " in line
                       and line.split()[-3].endswith(f":{os.stat(path).st_ino}") for line in file)

    def test_a_run_that_is_being_removed_is_waited_for_and_then_not_there(self):
        report = self.record()
        run, lock = os.path.dirname(report), self.write(f"{os.path.dirname(report)}/lock", "")
        with open(lock, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            storing = self.spawn("report", "archive", report, "--root", self.root)
            self.wait_for(lambda: self.is_waited_for(lock))
            os.rename(run, self.path(".removed-run"))
        out, err = storing.communicate(timeout=60)
        self.assertEqual((storing.returncode, out), (1, b""))
        self.assertIn(b"SR-OPS-301 archive.report", err)
        self.assertEqual(self.ls(), [])

    def test_a_run_of_somebody_else_is_not_waited_for(self):
        report = self.record()
        lock = self.write(f"{os.path.dirname(report)}/lock", "")
        os.chown(os.path.dirname(report), 12345, 12345)
        with open(lock, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            done = self.call("report", "archive", report, "--root", self.root)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"SR-OPS-301 archive.lock: the run of %s is not over, or is being removed: "
                      b"try again" % report.encode(), done.stderr)

    if SANITIZED:  # only those builds have failpoints

        def test_nothing_is_stored_of_a_run_that_changes_meanwhile(self):
            def remove(run):
                os.unlink(f"{run}/stdout.log")

            def append(run):
                with open(f"{run}/outputs/out", "a", encoding="ascii") as file:
                    file.write("x")

            self.env["SAFE_RUN_FAILPOINT_LOG"] = log = self.path("came-there")
            for change in (remove, append):
                report = self.record(collected={"out": "x"})
                # Behind the copy of the report, the first.
                self.env["SAFE_RUN_FAILPOINT"] = "archive.copy:delay"
                storing = self.spawn("report", "archive", report, "--root", self.root)
                self.wait_for(lambda: os.path.exists(log))
                change(os.path.dirname(report))
                out, err = storing.communicate(timeout=60)
                del self.env["SAFE_RUN_FAILPOINT"]
                os.unlink(log)
                self.assertEqual((storing.returncode, out), (1, b""), change)
                self.assertIn(b"SR-OPS-301 archive.bundle: files of the run were changed or "
                              b"removed while it was stored", err)
            self.assertEqual(self.ls(), [])
            self.assert_no_temporaries()


class FullDisk(ArchiveTest):
    def test_wherever_it_fills_up(self):
        """No file may grow beyond a limit, at every limit there is: stored whole, or nothing."""
        for _ in range(2):
            self.add()
        self.copy_archive()
        report = self.record()
        stored = 0
        sizes = [0, 1, 10, 50, 80, 100, 200, 220, 300, 600, 900, 1000, 1500, 2000, 3000, 4000,
                 5000, 8000, 30000]
        for size in sizes:
            done = self.call("report", "archive", report, "--root", self.root, "--json",
                             preexec_fn=lambda limit=size: resource.setrlimit(
                                 resource.RLIMIT_FSIZE, (limit, limit)))
            if done.returncode == 0:
                stored += 1
            else:
                self.assertEqual((done.returncode, done.stdout), (1, b""), size)
                self.assertIn(b"SR-OPS-301 archive.", done.stderr)
            self.assert_valid()
            self.assertEqual(len(self.ls()), 3 if done.returncode == 0 else 2, size)
            self.assert_no_temporaries()
            self.restore_archive()
        self.assertTrue(0 < stored < len(sizes))

    def test_a_disk_of_every_size(self):
        """A file system of its own, which ends in the midst of each step: then as well."""
        script = """mount -t tmpfs -o size=$1k,nr_inodes=$2 none "$3" || exit 99
            "$4" report archive --root "$3/a" "$5" > /dev/null || rc=$?
            if [ -e "$3/a/checkpoint" ]; then "$4" archive verify --json --root "$3/a"
            else echo '{"valid":true,"entries":0}'; fi
            ls "$3/a" 1>&2
            exit ${rc:-0}"""
        report, place = self.record(), self.path("disk")
        os.mkdir(place)
        outcomes = set()
        cases = [(size, 30) for size in range(8, 240, 24 if SANITIZED else 8)]
        cases += [(400, inodes) for inodes in range(4, 30, 2)]
        for size, inodes in cases:
            done = subprocess.run(["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "sh",
                                   "-c", script, "sh", str(size),
                                   str(inodes), place, SAFE_RUN, report], env=self.env,
                                  capture_output=True, timeout=120)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertNotIn(b"tmp-", done.stderr)
            answer = json.loads(done.stdout)
            self.assertEqual((answer["valid"], answer["entries"]), (True, 1 - done.returncode),
                             (size, inodes, done.stdout, done.stderr))
            if done.returncode == 1:
                self.assertIn(b"SR-OPS-301 archive.", done.stderr)
            outcomes.add(done.returncode)
        self.assertEqual(outcomes, {0, 1})

    def test_a_first_bundle_that_does_not_fit(self):
        report = self.record()
        for size in (0, 10, 100, 150, 230, 1000):
            done = self.call("report", "archive", report, "--root", self.root,
                             preexec_fn=lambda limit=size: resource.setrlimit(
                                 resource.RLIMIT_FSIZE, (limit, limit)))
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"SR-OPS-301 archive.", done.stderr)
            self.assertEqual(self.store(report)["result"], "pass")
            self.assert_valid()
            shutil.rmtree(self.root)


class Races(ArchiveTest):
    def test_many_writers_and_readers(self):
        reports = [self.record() for _ in range(6)]
        self.add()
        writers = [self.spawn("report", "archive", report, "--root", self.root)
                   for report in reports + reports]
        readers = [self.spawn("archive", *verb, "--root", self.root)
                   for verb in (["ls"], ["verify"], ["search", "--policy", "demo"]) * 3]
        for process in writers + readers:
            out, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, (process.args, out, err))
        self.assertEqual(len(self.ls()), 7)
        self.assertEqual(self.assert_valid()["entries"], 7)
        self.assert_no_temporaries()

    def test_killed_writers(self):
        """SIGKILL at some moment, again and again: the next writer finds an archive that is
        whole."""
        reports = [self.record() for _ in range(8)]
        self.add()  # before its first checkpoint an archive is as one that was emptied
        for round_, report in enumerate(reports * 2):
            process = self.spawn("report", "archive", report, "--root", self.root)
            try:
                process.wait(timeout=0.002 * round_)
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()
            self.assert_no_temporaries()
            answer = self.assert_valid()
            self.assertEqual(answer["entries"], len(self.ls()))


def failpoints():
    text = subprocess.run(["git", "-C", SOURCE, "grep", "-ohE",
                           r'SR_FAILPOINT\("archive\.[a-z.]+"', "--", "src/*.c"],
                          capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r'"([a-z.]+)"', text)))


class Steps(ArchiveTest):
    """Each step of storing and pruning fails, kills the process, and takes long."""

    def at(self, failpoint, *arguments):
        self.env["SAFE_RUN_FAILPOINT"] = failpoint
        self.env["SAFE_RUN_FAILPOINT_LOG"] = self.path("came-there")
        done = self.call(*arguments, "--root", self.root)
        del self.env["SAFE_RUN_FAILPOINT"]
        self.assertNotIn(b"Sanitizer", done.stderr)
        self.assertEqual(set(self.read(self.path("came-there")).decode().split()),
                         {failpoint.split(":")[0]}, "it did not come there")
        os.unlink(self.path("came-there"))
        return done

    def walk(self, name):
        pruning = name in ("archive.prune", "archive.remove")
        for mode in ("error", "crash", "delay"):
            with self.subTest(mode=mode):
                old = self.add("--retention", "0s" if pruning else "1d")
                before = {run["bundleId"] for run in self.ls()}
                report = self.record()
                done = self.at(f"{name}:{mode}", *(["archive", "prune"] if pruning
                                                   else ["report", "archive", report]))
                if mode == "delay" or (mode, name) == ("error", "archive.index"):
                    self.assertEqual(done.returncode, 0, done.stderr)
                elif mode == "error":
                    self.assertEqual((done.returncode, done.stdout), (1, b""))
                    self.assertIn(b"SR-OPS-301 archive.", done.stderr)
                else:
                    self.assertEqual(done.returncode, -9)
                self.assert_valid()
                after = {run["bundleId"] for run in self.ls()}
                self.assertIn(after - before, [set()] if pruning else [set(), after - before])
                self.assertLessEqual(len(after - before), 1)
                self.assert_no_temporaries()  # and the next writer
                self.assert_valid()
                if pruning:
                    self.assertFalse(os.path.exists(self.bundle(old)))
                else:
                    self.assertEqual(self.store(report)["result"], "pass")
                    self.assertEqual(len(self.ls()), len(before) + 1)
                self.assert_valid()


def add(name):
    setattr(Steps, "test_" + name.replace(".", "_"), lambda self: self.walk(name))


if SANITIZED:
    for failpoint in failpoints():
        add(failpoint)
else:
    del Steps
del ArchiveTest

if __name__ == "__main__":
    unittest.main()
