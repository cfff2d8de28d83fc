"""`safe-run report verify` as a person or a script meets it: output, exit status, usage. What it
finds is tested in tests/unit/test_verify.c."""
import json
import os
import subprocess
import tempfile
import unittest

from terminal import on_a_terminal

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden",
                      "report")
SEALED = os.path.join(GOLDEN, "sealed.json")
EVENTS = os.path.join(GOLDEN, "sealed.events.jsonl")


def verify(*args, **more):
    return subprocess.run([SAFE_RUN, "report", "verify", *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE,
                          timeout=60, **more)


class Verify(unittest.TestCase):
    def test_valid_reports_of_every_generation(self):
        for name in sorted(os.listdir(GOLDEN)):
            if name.endswith(".json"):
                done = verify(os.path.join(GOLDEN, name))
                self.assertEqual((done.returncode, done.stderr), (0, b""), name)
                self.assertEqual(json.loads(done.stdout)["valid"], True)

    def test_answer_for_programs(self):
        answer = json.loads(verify("--events", EVENTS, SEALED).stdout)
        self.assertEqual([check["name"] for check in answer["checks"]],
                         ["schema", "artifact_hash", "event_chain", "canonical_form",
                          "terminal_event", "aggregates",
                          "events_file"])
        self.assertTrue(all(check["ok"] for check in answer["checks"]))
        self.assertEqual(answer["errors"], [])

    def test_invalid_report(self):
        with open(SEALED, encoding="utf-8") as file:
            text = file.read().replace('"pid":4711', '"pid":4712')
        done = verify("-", input=text.encode())
        answer = json.loads(done.stdout)
        self.assertEqual((done.returncode, answer["valid"]), (2, False))
        self.assertEqual([(error["code"], error["path"]) for error in answer["errors"]],
                         [("SR-EVD-303", "events[6].hashSelf"), ("SR-EVD-302", "integrity.digest")])

    def test_unreadable_report(self):
        for path in ("/no/report", "/dev/null", GOLDEN):
            done = verify(path)
            self.assertEqual(done.returncode, 2, path)
            self.assertEqual([(e["code"], e["path"]) for e in json.loads(done.stdout)["errors"]],
                             [("SR-EVD-002", "report")])

    def test_standard_input(self):
        for name in ("sealed.json", "archived.json"):
            with open(os.path.join(GOLDEN, name), "rb") as file:
                self.assertEqual(verify("-", stdin=file).returncode, 0)
                file.seek(0)
                self.assertEqual(verify("-", input=file.read()).returncode, 0)

    def test_hostile_text_cannot_reach_the_terminal(self):
        for text in (b'{"\x1b]0;x\x07":1,"\x1b]0;x\x07":1}',
                     b'{"runId":"\\u001b[31m\xc2\x9b31m","exitCode":"\xc2\x9b"}',
                     b'{"events":[{"type":"\\u001b[31m","x\xc2\x9b":\xff}]}'):
            for form in ("text", "json"):
                done = verify("--format", form, "-", input=text)
                self.assertEqual(done.returncode, 2)
                self.assertTrue(all(0x20 <= byte < 0x7f or byte == 0x0a for byte in done.stdout),
                                done.stdout)

    def test_text_and_colour(self):
        status, text = on_a_terminal("report", "verify", SEALED)
        self.assertEqual(status, 0)
        self.assertIn("\033[32mvalid\033[0m", text)
        self.assertNotIn("\033", on_a_terminal("report", "verify", SEALED, NO_COLOR="1")[1])
        self.assertIn("\033", on_a_terminal("report", "verify", SEALED, NO_COLOR="")[1])
        self.assertTrue(on_a_terminal("report", "verify", "--format", "json",
                                      SEALED)[1].startswith('{"valid":true'))
        piped = verify("--format", "text", SEALED).stdout
        self.assertNotIn(b"\033", piped)
        self.assertTrue(piped.endswith(b"valid sr-20260102T030405-abc234, 13 events\n"))

    def test_usage(self):
        for args in ([], [SEALED, SEALED], ["--format", "xml", SEALED], ["--no-such", SEALED],
                     ["--events"], ["-x", SEALED]):
            done = verify(*args)
            self.assertEqual((done.returncode, done.stdout), (64, b""), args)
            self.assertIn(b"usage: safe-run report verify", done.stderr)
        for args in (["report"], ["report", "nonsense"]):
            done = subprocess.run([SAFE_RUN, *args], capture_output=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (64, b""))
            self.assertIn(b"usage: safe-run report", done.stderr)

    def test_help(self):
        for args in (["report", "--help"], ["report", "verify", "--help"],
                     ["report", "verify", "-h"]):
            done = subprocess.run([SAFE_RUN, *args], capture_output=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertIn(b"Example:\n  safe-run report verify", done.stdout)

    def test_an_answer_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([SAFE_RUN, "report", "verify", SEALED], stdout=full,
                                  stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)

    def test_memory_does_not_grow_with_the_report(self):
        """300 MB of events that are no events, and one of 300 MB."""
        # ASan keeps what is freed
        limit = 32 * 1024 if "asan" not in os.environ["SR_BUILD"] else 160 * 1024
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "r")
            for unit in (b'{"type":"%s"},' % (b"x" * 4000), b"x" * 4000):
                with open(path, "wb") as file:
                    file.write(b'{"events":[' if unit[:1] == b"{" else b'{"events":["')
                    for _ in range(300_000_000 // len(unit) // 100):
                        file.write(unit * 100)
                    file.write(b"{}]}" if unit[:1] == b"{" else b'"]}')
                pid = os.posix_spawn(SAFE_RUN, [SAFE_RUN, "report", "verify", path], os.environ,
                                     file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null",
                                                    os.O_WRONLY, 0)])
                _, status, usage = os.wait4(pid, 0)
                self.assertEqual(os.waitstatus_to_exitcode(status), 2)
                self.assertLess(usage.ru_maxrss, limit)


if __name__ == "__main__":
    unittest.main()
