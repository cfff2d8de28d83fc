"""What people call a run: its id, the end of it, 'last'; and `ps -a`, which lists them."""
import json
import os
import shutil
import time
import unittest

import recorded
import reports
from archive import ArchiveTest

FIRST, SECOND = "sr-20260102T030405-aaaaax", "sr-20260102T030405-aabbax"
THIRD = "sr-20260103T030405-cccccy"


class Names(ArchiveTest):
    def setUp(self):
        super().setUp()
        os.mkdir(self.base)
        for age, run_id in ((300, FIRST), (200, SECOND), (100, THIRD)):
            self.finished(run_id, age)

    def finished(self, run_id, age, **facts):
        report = recorded.record(os.path.join(self.base, run_id), run_id=run_id, **facts)
        then = time.time() - age
        os.utime(report, (then, then))
        return report

    def shown(self, name, **options):
        done = self.call("report", "show", name, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode().splitlines()[0]

    def refused(self, *arguments, status=2):
        done = self.call(*arguments)
        self.assertEqual((done.returncode, done.stdout), (status, b""))
        return done.stderr.decode()

    def test_a_report_is_found_by_every_name_of_its_run(self):
        for name, run_id in ((THIRD, THIRD), ("cccccy", THIRD), ("ccy", THIRD),
                             ("T030405-cccccy", THIRD), ("aaaaax", FIRST), ("last", THIRD),
                             (os.path.join(self.base, FIRST), FIRST),
                             (os.path.join(self.base, FIRST) + "/", FIRST)):
            with self.subTest(name):
                self.assertEqual(self.shown(name), run_id)
        os.utime(os.path.join(self.base, FIRST, "run_report.json"))
        self.assertEqual(self.shown("last"), FIRST)

    def test_every_command_takes_such_a_name(self):
        key = self.path("key")
        self.call("key", "generate", "--out", key)
        for arguments in (("verify",), ("html",), ("export", "--format", "ocsf"),
                          ("attest", "--key", key),
                          ("archive", "--root", self.root)):
            for name in ("last", "cccccy"):
                done = self.call("report", *arguments, name)
                self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        self.assertTrue(os.path.exists(os.path.join(self.base, THIRD, "run_report.dsse.json")))
        self.assertEqual(self.call("report", "verify", "--key", key + ".pub", "last").returncode, 0)
        self.assertEqual(self.call("report", "diff", "--exit-code", "aaaaax", "last").returncode, 0)
        self.finished("sr-20260104T030405-dddddx", 50, exit_code=3)
        self.assertEqual(self.call("report", "diff", "--exit-code", "aaaaax", "last").returncode, 2)
        self.assertEqual(self.call("report", "archive", "--root", self.root, "last").returncode, 0)
        for verb in ("show", "prove", "export"):
            for name in ("last", "dddddx", "cccccy", THIRD):
                done = self.archive(verb, name)
                self.assertEqual(done.returncode, 0, (verb, name, done.stderr))

    def test_what_is_there_comes_first(self):
        os.mkdir(self.path("last"))
        shutil.copy(os.path.join(self.base, FIRST, "run_report.json"), self.path("last"))
        self.assertEqual(self.shown("last", cwd=self.dir), FIRST)
        shutil.copy(os.path.join(self.base, SECOND, "run_report.json"), self.path("cccccy"))
        self.assertEqual(self.shown("cccccy", cwd=self.dir), SECOND)
        with open(os.path.join(self.base, FIRST, "run_report.json"), "rb") as report:
            self.assertEqual(self.shown("-", stdin=report), FIRST)

    def test_an_end_that_several_runs_have_names_them(self):
        self.assertEqual(self.shown("aax"), FIRST)
        self.assertIn("is no file, and no run", self.refused("report", "show",
                                                             # two characters are too few to be
                                                             # meant
                                                             "ax"))
        self.finished("sr-20260104T030405-dddaax", 50)
        text = self.refused("report", "show", "aax")
        self.assertIn("2 runs end in 'aax'", text)
        self.assertIn(FIRST, text)
        self.assertIn("sr-20260104T030405-dddaax", text)
        for name in (FIRST, "dddaax"):
            self.store(name)
        done = self.archive("show", "aax")
        self.assertEqual(done.returncode, 1)
        self.assertIn(FIRST.encode(), done.stderr)

    def test_runs_that_are_none(self):
        self.assertIn("'zzzzzz' is no file, and no run in " + self.base,
                      self.refused("report", "show", "zzzzzz"))
        self.assertIn("cannot be opened", self.refused("report", "show", "zzzzzz.json"))
        os.mkdir(os.path.join(self.base, "sr-20260105T030405-eeeeee"))
        self.assertIn("sr-20260105T030405-eeeeee has no report",
                      self.refused("report", "show", "eeeeee"))
        os.symlink(os.path.join(self.base, FIRST), os.path.join(self.base,
                                                                "sr-20260106T030405-ffffff"))
        self.refused("report", "show", "ffffff")
        os.chown(os.path.join(self.base, THIRD), 1234,
                 1234)  # somebody else's directory in our base is no run of ours
        self.refused("report", "show", "cccccy")
        self.assertEqual(self.shown("last"), SECOND)
        shutil.rmtree(self.base)
        self.assertIn("no run", self.refused("report", "show", "last"))

    def ps(self):
        done = self.call("ps", "-a", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_ps_lists_finished_runs_the_newest_first(self):
        runs = self.ps()
        self.assertEqual([run["runId"] for run in runs], [THIRD, SECOND, FIRST])
        one = runs[0]
        self.assertEqual((one["state"], one["cause"], one["exitCode"], one["command"], one["pid"]),
                         ("finished", "workload", 0, "/bin/echo hello", None))
        taken = sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, dirs,
                    files in os.walk(os.path.join(self.base, THIRD))
                    for name in dirs + files)
        self.assertEqual(one["bytes"], taken)
        self.assertLess(abs(one["finishedAt"] - time.time() + 100), 30)
        table = self.call("ps", "-a").stdout.decode().splitlines()
        self.assertRegex(table[0], r"^RUN +STATE +EXIT +AGE +SIZE +POLICY +COMMAND$")
        self.assertRegex(table[1],
                         rf"^{THIRD} +workload +0 +\d+d +[0-9.]+K +demo +/bin/echo hello$")
        self.assertEqual(self.call("ps").stdout.decode().splitlines()[1:], [])

    def test_ps_reads_of_a_report_what_it_came_to(self):
        """However many events there are, and whatever they look like."""
        bait = {"array": [1], "exit": {"cause": "forged"}, "exitCode": 7,
                "text": '],"exit":{"cause":"forged"},"exitCode":7}'}
        events = [(0, "compile", "compile", {}), *((1 + i, "prepare", "run.prepared", bait)
                                                   for i in range(2000)),
                  (5000, "cleanup", "run.failed", {"reason": "setup", **bait})]
        path = os.path.join(self.base, "sr-20260110T030405-gggggg")
        reports.write(path, events, exit={"cause": "setup", "code": None, "signal": None,
                                          "observedBy": "host"}, exitCode=125,
                      policySummary={"name": "weather", "network": "none", "rules": 0, "mounts": 0})
        one = self.ps()[0]
        self.assertEqual((one["cause"], one["exitCode"], one["policy"]), ("setup", 125, "weather"))
        with open(os.path.join(path, "run_report.json"),
                  "r+b") as file:  # cut off: nothing is told of it
            file.truncate(os.path.getsize(file.name) - 10)
        one = self.ps()[0]
        self.assertEqual((one["cause"], one["exitCode"], one["state"]), (None, None, "finished"))

    def test_ps_counts_no_more_files_than_it_should(self):
        outputs = os.path.join(self.base, THIRD, "outputs")
        os.mkdir(outputs)
        for i in range(1001):
            with open(os.path.join(outputs, str(i)), "w", encoding="ascii"):
                pass
        self.assertTrue(self.ps()[0]["moreBytes"])
        self.assertIn(b" >", self.call("ps", "-a").stdout)

    def test_ps_names_what_has_no_end(self):
        os.mkdir(os.path.join(self.base, "sr-20260105T030405-eeeeee"))
        self.assertEqual((self.ps()[0]["state"], self.ps()[0]["cause"]), ("dead", None))


if __name__ == "__main__":
    unittest.main()
