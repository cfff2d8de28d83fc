"""`safe-run report show`, `diff` and `export` as a person or a log system meets them; the page is
tested in test_report_page.py. Goldens are made anew with SR_REGENERATE=1."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

import harness
import reports
from terminal import on_a_terminal

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
GOLDEN = os.path.join(reports.SOURCE, "tests", "golden")
REPORTS = os.path.join(GOLDEN, "report")
OBSERVED = os.path.join(REPORTS, "observed.json")
VERBS = (("show",), ("html",), ("export", "--format", "ocsf"))
# What moves a cursor, rings, or changes the direction of writing; a newline is what ends our own
# lines.
HARMFUL = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"


def call(*args, **more):
    return subprocess.run([SAFE_RUN, "report", *args], capture_output=True, timeout=60, **more)


def measure(out, *args):
    """Exit status, and peak resident memory in KiB. By a process in between: a child begins with
    its parent's peak, and this one is large."""
    code = ("import os, sys\n"
            "pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=[\n"
            "    (os.POSIX_SPAWN_OPEN, 1, sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "
            "0o600)])\n"
            "_, status, usage = os.wait4(pid, 0)\n"
            "print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, out, SAFE_RUN, "report", *args],
                          capture_output=True, timeout=120,
                          check=True, env={**os.environ,
                                           # which else keeps what is freed
                                           "ASAN_OPTIONS": "quarantine_size_mb=8"})
    status, peak = done.stdout.split()
    return int(status), int(peak)


class Reading(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="sr-test-")
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name="run", *args, **more):
        return reports.write(self.path(name), *args, **more)

    def check_golden(self, name, text):
        path = os.path.join(GOLDEN, "reading", name)
        text = text.replace(self.dir, "DIR")
        if os.environ.get("SR_REGENERATE"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(text, file.read())


def two_names():
    """The second rule's name leads to an address of the first one's."""
    for at, stage, kind, payload in reports.ordinary_events():
        yield at, stage, kind, payload
        if payload.get("target") == "198.51.100.21/32" and kind == "network.rule.applied":
            yield at, stage, kind, reports.rule(2, "198.51.100.21/32", 443, host="cdn.example.net")


def cut_off():
    """Its safe-run died two seconds after the VM had started, and the counters with it."""
    events = list(reports.ordinary_events())
    started = [kind for _, _, kind, _ in events].index("vm.started")
    yield from events[:started + 3]
    yield events[started + 3][0], "cleanup", "run.failed", {
        "reason": "interrupted", "errorCode": "SR-RUN-001", "path": "monitor.supervisor",
                                                            "message": "safe-run died"}


class Show(Reading):
    def test_counters_that_were_not_read_are_not_nothing(self):
        exit = {"cause": "interrupted", "code": None, "signal": None, "observedBy": "host"}
        report = self.write("dead", cut_off(), exitCode=125, exit=exit)
        done = call("show", report)
        self.assertEqual(done.returncode, 0, done.stdout)
        text = done.stdout.decode()
        self.assertIn("0 let out; 0 stopped at these addresses\n  there may have been more: the "
                      "counters were not read in the end\n", text)
        self.assertRegex(text,
                         r"What was stopped\n(.*\n)*  packets: the counters were not read in the "
                         r"end, so there may have been any\n")
        page = call("html", report).stdout.decode()
        self.assertIn("Not known</span><span class=\"note\">the counters were not read in the end",
                      page)
        self.assertIn("counters were not read in the end: there may have been more packets, let "
                      "out and stopped.", page)
        self.assertNotIn("no attempt was seen", page)
        self.assertIn("counters read in the end: yes, then no, there may have been more",
                      call("diff", self.write(), report).stdout.decode())

    def test_names_that_share_an_address_have_a_row_each(self):
        """Each tells of the packets to it; the sum counts them once."""
        report = self.write("shared", two_names())
        text = call("show", report).stdout.decode()
        for name in ("api.weather.example", "cdn.example.net"):
            self.assertRegex(text, rf"tcp 198\.51\.100\.21/32 port 443 \({name}\) +4 +2\n")
        self.assertIn("packets of new connections: 41 let out", text)
        page = call("html", report).stdout.decode()
        self.assertEqual((page.count("<bdi>api.weather.example</bdi>"),
                          page.count("<bdi>cdn.example.net</bdi>")), (3, 1))
        differs = call("diff", self.write("one"), report).stdout.decode()
        self.assertIn("newly allowed: tcp 198.51.100.21/32 port 443 (cdn.example.net), and reached",
                      differs)

    def test_each_output_and_its_files(self):
        hashes = [reports.make.sha(str(number)) for number in range(3)]
        came = {"path": "/data/out", "name": "out", "max": 1024, "collected": True, "files": 2,
                "directories": 2, "links": 0, "bytes": 2048,
                "modesCleared": 0, "hash": hashes[2], "entries": [{"path": "a/b",
                                                                   "sha256": hashes[0],
                                                                   "size": 1024},
                                                                   {"path": "c\u202e",
                                                                    "sha256": hashes[1],
                                                                    "size": 1024}]}
        lost = {"path": "/data/none", "name": "none", "max": 1024, "collected": False,
                "errorCode": "SR-RUN-001", "message": "refused: it is a device"}

        def events():
            for event in reports.ordinary_events():
                if event[2] == "vm.exited":
                    yield event[0] - 2, "monitor", "output.collected", came
                    yield event[0] - 1, "monitor", "output.collected", lost
                yield event
        text = re.sub(r"\n {4,}", " ", call("show", self.write("out", events())).stdout.decode())
        self.assertIn(f"What came out\n  out: 2 files, 2.0 KiB, {hashes[2]}\n  none: refused: it "
                      f"is a device\n"
                      f"  {hashes[0]} out/a/b\n  {hashes[1]} out/c?\n", text)

    def test_an_ordinary_run(self):
        done = call("show", self.write())
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.check_golden("show.txt", done.stdout.decode())

    def test_a_report_alone_with_contradictions(self):
        done = call("show", OBSERVED)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.check_golden("show-observed.txt", done.stdout.decode())

    def test_every_generation(self):
        for name in sorted(os.listdir(REPORTS)):
            if name.endswith(".json"):
                for verb in VERBS:
                    done = call(*verb, os.path.join(REPORTS, name))
                    self.assertEqual((done.returncode, done.stderr), (0, b""), (verb, name))

    def test_a_narrow_terminal(self):
        status, text = on_a_terminal("report", "show", self.write(), width=48)
        self.assertEqual(status, 0)
        self.check_golden("show-narrow.txt", text)
        plain = re.sub("\033\\[[0-9;]*m", "", text)
        self.assertLessEqual(max(len(line) for line in plain.splitlines()), 48)

    def test_colour_only_on_a_terminal(self):
        report = self.write()
        self.assertIn("\033[1m", on_a_terminal("report", "show", report)[1])
        self.assertNotIn("\033", on_a_terminal("report", "show", report, NO_COLOR="1")[1])
        self.assertNotIn(b"\033", call("show", report).stdout)

    def test_standard_input(self):
        report = self.write()
        with open(report, "rb") as file:
            content = file.read()
        for verb in VERBS:
            piped = call(*verb, "-", input=content)
            self.assertEqual((piped.returncode, piped.stderr), (0, b""), verb)
            with open(report, "rb") as file:
                self.assertEqual(call(*verb, "-", stdin=file).stdout, piped.stdout)
            # The run's files may be named all the same.
            self.assertEqual(call(*verb, "--artifacts", self.path("run"), "-",
                                  input=content).stdout,
                             call(*verb, report).stdout)
        self.assertIn(b"not beside the report", call("show", "-", input=content).stdout)

    def test_a_changed_report(self):
        report = self.write()
        with open(report, "rb") as file:
            content = file.read().replace(b'"packets":12', b'"packets":11')
        with open(report, "wb") as file:
            file.write(content)
        done = call("show", report)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"INVALID: do not rely on what follows", done.stdout)
        self.assertIn(b"SR-EVD-303 events[", done.stdout)
        self.assertIn(b"NOT VALID", done.stderr)
        done = call("export", "--format", "ocsf", report)
        self.assertEqual((done.returncode, done.stdout), (2, b""))

    def test_files_of_another_run_are_not_shown(self):
        report = self.write()
        for name, text in (("command.json", '{"args":["secret"],"command":"/bin/other"}'),
                           ("policy.json", "{}"),
                           ("stderr.log", "secret")):
            with open(self.path("run/" + name), "w", encoding="utf-8") as file:
                file.write(text)
        for verb in ("show", "html"):
            done = call(verb, report)
            self.assertEqual(done.returncode, 2)
            self.assertNotIn(b"secret", done.stdout)
            self.assertIn(b"the file beside the report is another one", done.stdout)

    def test_links_beside_the_report_are_not_followed(self):
        report = self.write()
        os.rename(self.path("run/stderr.log"), self.path("stderr.log"))
        os.symlink("../stderr.log", self.path("run/stderr.log"))
        done = call("html", report)
        self.assertEqual(done.returncode, 2)
        self.assertNotIn(b"station 0417", done.stdout)

    def test_a_contradiction_that_was_left_out_is_found(self):
        def events(listed):
            for at, stage, kind, payload in reports.ordinary_events():
                if kind == "vm.exited":
                    payload = {**payload, "guest": {**payload["guest"], "userUsec": 99_000_000},
                               "contradictions": listed}
                yield at, stage, kind, payload
        report = self.write("run", list(events([])))
        said = b"the guest reports 100400000 us of CPU time"
        self.assertIn(b"cpu: " + said, call("show", report).stdout)
        verified = call("verify", report)
        self.assertEqual(verified.returncode, 2)
        self.assertIn(b'leaves out \\"cpu\\": ' + said, verified.stdout)
        self.assertEqual(call("export", "--format", "ocsf", report).returncode, 2)
        fakes = [{"about": "cpu", "message": "all good"}] + [{"about": f"x{i}",
                                                              "message": "all good"}
                                                             for i in range(50)]
        self.assertIn(b"cpu: " + said, call("show", self.write("crowded",
                                                               list(events(fakes)))).stdout)
        owned = self.write("owned", list(events([{
            "about": "cpu", "guest": 100400000, "host": 24401000,
            "message": said.decode() + "; its VM lived for 24401000 us on 1 vCPU"}])))
        records = [json.loads(line) for line in call("export", "--format", "ocsf",
                                                     owned).stdout.splitlines()]
        self.assertEqual([one["severity"] for one in records if one["metadata"]["event_code"]
                          == "vm.exited"], ["High"])

    def test_hostile_text_is_printable(self):
        evil = "\x1b]0;x\x07\x9b31m\u202egpj\u2028\x00end\u061c\u200e\u200f\u2069\ufeff"
        events = [(at, stage, kind, {key: value + evil if isinstance(value, str)
                                     and key not in ("protocol", "observedBy", "mode")
                                     else value for key, value in payload.items()})
                  for at, stage, kind, payload in reports.ordinary_events()]
        document = reports.policy(metadata={"name": evil, "labels": {evil: evil}})
        document["runtime"]["command"] = evil
        report = self.write("run", events, document, startedAt=evil)
        done = call("show", report)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertNotRegex(done.stdout.decode(), HARMFUL)
        self.assertIn(b"?]0;x??31m?gpj??end", done.stdout)
        other = self.write("other", events, reports.policy(), startedAt=evil)
        self.assertNotRegex(call("diff", report, other).stdout.decode(), HARMFUL)

    def test_what_cannot_be_read(self):
        for verb in VERBS:
            for path in ("/no/report", "/dev/null", self.dir):
                done = call(*verb, path)
                self.assertEqual((done.returncode, done.stdout), (2, b""), (verb, path))
                self.assertIn(b"SR-EVD-002", done.stderr)
            for text in (b"", b"{", b'{"events":[{}]', b"[]", b'{"a":1,"a":2}', b"\xff",
                         b'{"events":{}}', b"{}"):
                done = call(*verb, "-", input=text)
                self.assertEqual((done.returncode, done.stdout), (2, b""), (verb, text))
            done = call(*verb, "--artifacts", "/no/directory", OBSERVED)
            self.assertEqual(done.returncode, 2)
            self.assertIn(b"/no/directory cannot be opened: No such file or directory", done.stderr)

    def test_many_events_in_little_memory(self):
        """50,000 events: rules, hits, flows and samples, each more than is kept."""
        def events():
            exited, = (payload for _, _, kind, payload in reports.ordinary_events() if kind
                       == "vm.exited")
            yield 0, "compile", "compile", {}
            yield 0, "prepare", "run.prepared", {"workdir": "/x", "timeoutSec": 300}
            yield 0, "network", "network.plan.generated", {"mode": "allowlist", "rulesTotal": 12500}
            yield 1, "launch", "vm.started", {"pid": 1, "launcher": "qemu"}
            for i in range(12500):
                address = f"198.18.{i // 250}.{i % 250}/32"
                yield i + 2, "network", "network.rule.applied", reports.rule(i, address, 443)
                yield i + 2, "monitor", "resource.sampled", {"cpuUsageUsec": i * 100,
                                                             "memoryCurrentBytes": 1 << 20}
                yield i + 2, "monitor", "network.rule.hit", {**reports.rule(i, address, 443),
                                                             "allowedHits": 1, "blockedHits": 0}
                yield i + 2, "monitor", "network.flow.denied", {"protocol": "tcp",
                                                                "destination": address[:-3],
                                                                "port": 1,
                                                                "packets": i}
            yield 20000, "monitor", "vm.exited", {**exited, "sampleCount": 12500}
            yield 20000, "cleanup", "run.cleaned", {}
        report = self.write("run", list(events()))
        limit = (200 if harness.SANITIZED else 32) * 1024
        for verb in VERBS:
            status, peak = measure(self.path("out"), *verb, report)
            self.assertEqual(status, 0)
            self.assertLess(peak, limit, verb)
            if verb[0] != "export":
                self.assertLess(os.path.getsize(self.path("out")), 200_000)
                with open(self.path("out"), encoding="utf-8") as file:
                    text = file.read()
                self.assertIn("and 12470 more" if verb[0] == "show" else "and 12300 more", text)
                self.assertIn("198.18.49.249", text)  # the largest of the denied ones
        with open(self.path("out"), "rb") as file:
            self.assertEqual(sum(1 for _ in file), 50006)

    def test_usage(self):
        for args in (["show"], ["show", OBSERVED, OBSERVED], ["html", "-o"],
                     ["html", "--exit-code", OBSERVED], ["diff", OBSERVED],
                     ["export", OBSERVED], ["export", "--format", "csv", OBSERVED],
                     ["show", "-o", "x", OBSERVED], ["show", "-z"]):
            done = call(*args)
            self.assertEqual((done.returncode, done.stdout), (64, b""), args)
            self.assertIn(b"usage: safe-run report " + args[0].encode(), done.stderr)
        for verb in ("show", "html", "diff", "export"):
            for word in ("-h", "--help"):
                done = call(verb, word)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertIn(b"Example:\n  safe-run report " + verb.encode(), done.stdout)

    def test_an_answer_that_cannot_be_written(self):
        for args in (*((*verb, OBSERVED) for verb in VERBS), ("diff", OBSERVED,
                                                              os.path.join(REPORTS,
                                                                           "minimal.json"))):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([SAFE_RUN, "report", *args], stdout=full,
                                      stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 1, args)

    def test_a_file_is_there_whole_or_not_at_all(self):
        for verb in VERBS[1:]:
            out = self.path("out")
            self.assertEqual(call(*verb, "-o", out, OBSERVED).stdout, b"")
            with open(out, "rb") as file:
                self.assertEqual(file.read(), call(*verb, OBSERVED).stdout)
            self.assertEqual(call(*verb, "-o", "/no/directory/out", OBSERVED).returncode, 1)
            self.assertEqual(call(*verb, "-o", self.dir, OBSERVED).returncode, 1)
            self.assertEqual(os.listdir(self.dir), ["out"])


class Signed(Reading):
    def test_the_signature_is_checked_by_a_key(self):
        report = self.write()
        for name in ("key", "other"):
            self.assertEqual(subprocess.run([SAFE_RUN, "key", "generate", "--out", self.path(name)],
                                            capture_output=True).returncode, 0)
        without = call("show", "--key", self.path("key.pub"), report)
        self.assertEqual((without.returncode, without.stdout), (2, b""))
        self.assertIn(b"SR-EVD-002 attestation: ", without.stderr)
        self.assertIn(b"no run_report.dsse.json beside the report", without.stderr)
        self.assertEqual(call("attest", "--key", self.path("key"), report).returncode, 0)
        for verb, unchecked, good, bad in (("show", b"takes a key to check",
                                            b"artifact_files,\n                signature\n",
                                            b"FAILED        signature"),
                                           ("html", b"takes a key", b'Good</b>signature</li>',
                                            b'Failed</b>signature</li>')):
            with self.subTest(verb=verb):
                done = call(verb, report)
                self.assertIn(unchecked, done.stdout)
                self.assertNotIn(good, done.stdout)
                done = call(verb, "--key", self.path("key.pub"), report)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertIn(good, done.stdout)
                self.assertNotIn(unchecked, done.stdout)
                done = call(verb, "--key", self.path("other.pub"), report)
                self.assertEqual(done.returncode, 2)
                self.assertIn(bad, done.stdout)
                with open(report, "rb") as file:  # named from elsewhere
                    done = call(verb, "--key", self.path("key.pub"), "--artifacts",
                                self.path("run"), "-", stdin=file)
                self.assertEqual(done.returncode, 0, done.stderr)


class Html(Reading):
    def test_the_page(self):
        done = call("html", self.write())
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        text = re.sub(r"safe-run [0-9.]+ from", "safe-run VERSION from", done.stdout.decode())
        self.check_golden("page.html", re.sub(r"(?s)<style>.*?</style>", "<style></style>",
                                              re.sub(r"sha256-[^']*'", "HASH'", text)))


class Diff(Reading):
    def other(self):
        document = reports.policy(metadata={"name": "fetch-weather",
                                            "labels": {"team": "forecast", "ticket": "OPS-1190"}})
        document["resources"]["memory"]["max"] = "512Mi"
        document["runtime"]["args"][1] = "2026-02-01"

        def events():
            for at, stage, kind, payload in reports.ordinary_events():
                payload = dict(payload)
                if kind == "network.flow.denied" and payload["port"] == 22:
                    payload["port"] = 23
                if payload.get("target") == "198.51.100.21/32":
                    payload["target"] = "198.51.100.22/32"
                if kind == "vm.exited":
                    payload.update(exitCode=3, vmmCpuUsec=21_000_000,
                                   guest={**payload["guest"], "exitCode": 3})
                yield at, stage, kind, payload
        return self.write("other", list(events()), document, exitCode=3,
                          exit={"cause": "workload", "code": 3, "signal": None,
                                "observedBy": "guest"})

    def test_two_runs(self):
        done = call("diff", self.write(), self.other())
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.check_golden("diff.txt", done.stdout.decode())

    def test_exit_code(self):
        one, other = self.write(), self.other()
        self.assertEqual(call("diff", "--exit-code", one, other).returncode, 2)
        same = call("diff", "--exit-code", one, one)
        self.assertEqual((same.returncode, same.stdout), (0, b""))

    def test_what_was_used_is_no_difference(self):
        events = [(at, stage, kind, {**payload, "vmmCpuUsec": 1_000_000} if kind == "vm.exited"
                   else payload)
                  for at, stage, kind, payload in reports.ordinary_events()]
        done = call("diff", "--exit-code", self.write(), self.write("other", events))
        self.assertEqual((done.returncode, done.stdout),
                         (0, b"Used:\n  CPU: 14.90 s, then 1.00 s\n"))

    def test_a_report_that_is_not_valid(self):
        other = self.other()
        with open(other, "ab") as file:
            file.write(b" ")
        done = call("diff", self.write(), other)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"verification: valid, then not valid", done.stdout)
        self.assertEqual(call("diff", other, "/no/report").returncode, 2)


class Ocsf(Reading):
    NAMES = {0: "Base Event", 1001: "File System Activity", 1007: "Process Activity",
             4001: "Network Activity",
             6002: "Application Lifecycle"}
    # Activities of these classes in OCSF 1.3; 99 is Other everywhere.
    ACTIVITIES = {0: {}, 1001: {1: "Create", 12: "Mount"}, 1007: {1: "Launch", 2: "Terminate"},
                  4001: {5: "Refuse", 6: "Traffic"}, 6002: {3: "Start", 4: "Stop"}}

    def events(self):
        """One of every type there is."""
        *before, cleaned = reports.ordinary_events()
        yield from before
        mount = {"source": "/var/lib/safe-run/x", "target": "/data/x", "read_only": False}
        at = cleaned[0]
        yield at, "mount", "mount.rejected", {**mount, "errorCode": "SR-POL-103",
                                              "message": "must be read-only"}
        yield at, "monitor", "output.collected", {"path": "/data/output", "bytes": 12, "files": 1}
        yield at, "monitor", "output.collected", {"path": "/data/more", "collected": False,
                                                  "message": "too large"}
        yield at, "cleanup", "network.rule.cleanup_failed", {"errorCode": "SR-RUN-202",
                                                             "message": "gone", "tap": "t"}
        yield cleaned
        yield at, "cleanup", "run.failed", {"reason": "cleanup", "errorCode": "SR-RUN-202",
                                            "path": "cleanup", "message": "gone"}

    def records(self):
        report = self.write("run", list(self.events()), exitCode=125,
                            exit={"cause": "cleanup", "code": 0, "signal": None,
                                  "observedBy": "host"})
        done = call("export", "--format", "ocsf", report)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return reports.load(report)["events"], [json.loads(line)
                                                for line in done.stdout.splitlines()]

    def test_what_the_schema_requires(self):
        events, records = self.records()
        with open(os.path.join(reports.SOURCE, "src", "common", "event_type.c"),
                  encoding="utf-8") as file:
            types = set(re.findall(r'\] = "([a-z._]+)"', file.read()))
        self.assertEqual({event["type"] for event in events},
                         types)  # one of each, or this test is not enough
        self.assertEqual(len(records), len(events))
        for index, (event, record) in enumerate(zip(events, records)):
            where = event["type"]
            for field in ("activity_id", "category_uid", "class_uid", "type_uid", "severity_id",
                          "time"):
                self.assertIsInstance(record[field], int, where)
            self.assertEqual(record["type_uid"], record["class_uid"] * 100 + record["activity_id"],
                             where)
            self.assertEqual(record["category_uid"], record["class_uid"] // 1000, where)
            self.assertEqual(record["class_name"], self.NAMES[record["class_uid"]])
            activities = {99: "Other", **self.ACTIVITIES[record["class_uid"]]}
            self.assertEqual(record["activity_name"], activities[record["activity_id"]])
            self.assertEqual(record["type_name"],
                             f"{record['class_name']}: {record['activity_name']}")
            self.assertEqual(record["severity"], {1: "Informational", 2: "Low", 3: "Medium",
                                                  4: "High"}[record["severity_id"]])
            self.assertEqual(record.get("status"), {None: None, 1: "Success",
                                                    2: "Failure"}[record.get("status_id")])
            metadata = record["metadata"]
            self.assertEqual(metadata["version"], "1.3.0")
            self.assertEqual({key for key, value in metadata["product"].items() if value},
                             {"name", "vendor_name", "version"})
            self.assertEqual((metadata["uid"], metadata["correlation_uid"], metadata["event_code"],
                              metadata["sequence"]),
                             (event["hashSelf"], event["runId"], event["type"], index))
            self.assertEqual(metadata["original_time"], event["timestamp"])
            self.assertEqual(record["unmapped"], {key: event[key]
                                                  for key in ("payload", "stage", "hashPrev",
                                                              "hashSelf")})
            self.assertTrue(record["message"], where)
            if record["class_uid"] in (1001, 1007):
                self.assertEqual(record["device"]["type_id"], 6)
                self.assertTrue(record["actor"])
            needed = {1001: "file", 1007: "process", 4001: "dst_endpoint",
                      6002: "app"}.get(record["class_uid"])
            self.assertTrue(needed is None or record[needed], where)
            if record["class_uid"] == 4001:
                self.assertEqual(metadata["profiles"], ["security_control"])
                self.assertEqual(record["connection_info"]["direction_id"], 2)
                self.assertIn(record["action_id"], (0, 1, 2))
                self.assertIn("disposition_id", record)

    def test_an_output_that_was_not_collected(self):
        _, records = self.records()
        self.assertEqual([(one["message"], one["status"]) for one in records
                          if one["metadata"]["event_code"] == "output.collected"],
                         [("output /data/output collected, 12 bytes", "Success"),
                          ("output /data/more not collected: too large", "Failure")])

    def test_time(self):
        _, records = self.records()
        self.assertEqual(records[0]["time"], 1767323040000)
        self.assertEqual(records[3]["time"], 1767323040060)
        done = call("export", "--format", "ocsf", os.path.join(REPORTS, "unix-time.json"))
        self.assertEqual(json.loads(done.stdout.splitlines()[0])["time"], 1767323045000)

    def test_what_was_allowed_and_what_was_not(self):
        _, records = self.records()
        network = [one for one in records if one["class_uid"] == 4001]
        self.assertEqual([(one["dst_endpoint"].get("ip"), one["dst_endpoint"].get("port"),
                           one["traffic"]["packets"], one["action"],
                           one["disposition"]) for one in network],
                         [("198.51.100.20", 443, 31, "Allowed", "Allowed"),
                          ("198.51.100.21", 443, 6, "Unknown", "Some allowed, some dropped"),
                          ("192.0.2.53", 53, 6, "Allowed", "Allowed"),
                          ("198.51.100.21", 80, 2, "Denied", "Dropped"),
                          ("203.0.113.66", 22, 12, "Denied", "Dropped"),
                          ("203.0.113.9", 123, 3, "Denied", "Dropped"),
                          ("192.0.2.1", None, 2, "Denied", "Dropped")])
        self.assertEqual(network[0]["dst_endpoint"]["hostname"], "api.weather.example")
        self.assertEqual([one["connection_info"].get("protocol_num") for one in network],
                         [6, 6, 17, 6, 6, 17, 1])
        vm = [one for one in records if one["class_uid"] == 1007]
        self.assertEqual([(one["process"]["pid"], one.get("exit_code")) for one in vm],
                         [(4711, None), (4711, 0)])

    def test_nothing_gets_out_that_moves_a_terminal(self):
        """The values are the events' all the same: JSON can write such characters as escapes."""
        evil = "\x1b\x7f\x9b\x85\u061c\u200e\u200f\u2028\u202e\u2066\ufeff\u00e9\U0001f600"
        events = [(at, stage, kind, {**payload, evil: evil} if kind == "run.prepared" else
                   {**payload, "argv": [evil], "launcher": evil} if kind == "vm.started"
                   else payload)
                  for at, stage, kind, payload in reports.ordinary_events()]
        report = self.write("run", events)
        done = call("export", "--format", "ocsf", report)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertNotRegex(done.stdout.decode(), HARMFUL)
        self.assertIn("\u00e9\U0001f600", done.stdout.decode())
        self.assertEqual([json.loads(line)["unmapped"]["payload"]
                          for line in done.stdout.splitlines()],
                         [event["payload"] for event in reports.load(report)["events"]])

    def test_golden(self):
        text = call("export", "--format", "ocsf", self.write()).stdout.decode()
        self.check_golden("ocsf.jsonl", re.sub(r'"version":"[0-9]+\.[0-9]+\.[0-9]+"\}',
                                               '"version":"VERSION"}', text))


class RealRun(harness.SafeRunTest):
    def test_a_run_can_be_read(self):
        run = self.run_policy(harness.shell("echo '<script>alert(1)</script>' >&2; printf "
                                            "'\\033[31mred'; exit 3"))
        self.assertEqual(run.status, 3)
        self.assertEqual(run.report["observedBy"], "host")
        self.assertEqual(run.report["exit"], {
            "cause": "workload", "code": 3, "codeObservedBy": "guest", "signal": None,
                                              "signalObservedBy": "guest",
            "observedBy": "guest", "guest": {"observedBy": "guest", "code": 3, "signal": None}})
        self.assertEqual((run.report["exitCodeObservedBy"], run.report["integrity"]["observers"]),
                         ("guest", "field"))
        for event in run.report["events"]:
            self.assertEqual(event["payload"]["observedBy"], "host")
        ended = run.events("vm.exited")[0]
        self.assertEqual((ended["guest"]["observedBy"], ended["exitObservedBy"],
                          ended["contradictions"]), ("guest", "guest", []))
        self.assertGreater(ended["wallUsec"], 0)
        self.assertEqual(ended["guestRamBytes"], 128 << 20)
        shown = self.call("report", "show", run.report_path)
        self.assertEqual((shown.returncode, shown.stderr), (0, b""))
        self.assertIn(b"  ended with status 3 (the guest's word)\n", shown.stdout)
        page = self.call("report", "html", run.report_path)
        self.assertEqual((page.returncode, page.stderr), (0, b""))
        self.assertIn(b"&lt;script&gt;alert(1)&lt;/script&gt;", page.stdout)
        self.assertIn(b"?[31mred", page.stdout)
        for line in self.call("report", "export", "--format", "ocsf",
                              run.report_path).stdout.splitlines():
            json.loads(line)

    def test_an_end_that_the_host_saw(self):
        run = self.run_policy(harness.shell("sleep 60", timeout=1))
        ended = run.report["exit"]
        # not if its time was over before the command began
        spoke = "guest" if "guest" in run.events("vm.exited")[0] else None
        self.assertEqual((ended["observedBy"], ended.get("signalObservedBy"),
                          ended.get("guest", {}).get("observedBy")),
                         ("host", spoke, spoke))
        self.assertEqual(run.report["exitCodeObservedBy"], "host")
        self.assertEqual(run.events("run.failed")[0]["observedBy"], "host")

    def test_a_refusal_of_the_guest(self):
        run = self.run_policy(harness.policy("/no/such/command"))
        self.assertEqual((run.status, run.report["exit"]["observedBy"],
                          run.report["exitCodeObservedBy"]), (127, "guest", "guest"))
        failure = run.events("run.failed")[0]
        words = failure["guest"].pop("message")
        self.assertIn(b"SR-RUN-001 runtime.command: " + words.encode(), run.stderr)
        self.assertEqual(failure, {
            "reason": "setup", "reasonObservedBy": "guest", "errorCode": "SR-RUN-001",
            "path": "runtime.command", "observedBy": "guest",
            "message": "the guest says that it could not start the command",
            "messageObservedBy": "host",
            "guest": {"observedBy": "guest", "outcome": "refused", "status": 127}})
        others = [event for event in run.report["events"] if event["type"] != "run.failed"]
        self.assertNotIn(words, json.dumps({**run.report, "events": others}))
        shown = self.call("report", "show", run.report_path)
        self.assertEqual(shown.returncode, 0)
        self.assertIn(words.encode(), b" ".join(shown.stdout.split()))


if __name__ == "__main__":
    unittest.main()
