"""`safe-run validate`, `compile` and `policy` as a person or a script meets them."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from terminal import on_a_terminal

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(SOURCE, "tests", "golden")
BUNDLES = os.path.join(GOLDEN, "compile")
EVERY, SMALL = os.path.join(BUNDLES, "every-field.yaml"), os.path.join(BUNDLES, "smallest.yaml")
ALLOW = ("--mount-allowlist", os.path.join(GOLDEN, "policy", "allowlist.yaml"))


def call(*args, **more):
    return subprocess.run([SAFE_RUN, *args], capture_output=True, timeout=60, **more)


class Explaining(unittest.TestCase):
    def check_golden(self, name, *args):
        done = call("policy", *args, cwd=BUNDLES)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        path = os.path.join(GOLDEN, "explain", name)
        if os.environ.get("SR_REGENERATE"):
            with open(path, "wb") as file:
                file.write(done.stdout)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(done.stdout.decode(), file.read())
        as_json = json.loads(call("policy", args[0], "--format", "json", *args[1:],
                                  cwd=BUNDLES).stdout)
        text = "\n".join(f"{topic}:\n" + "".join(f"  {sentence}\n" for sentence in sentences)
                         for topic, sentences in as_json.items())
        self.assertEqual(done.stdout.decode(), text)

    def test_explain(self):
        self.check_golden("every-field.txt", "explain", *ALLOW, "every-field.yaml")
        self.check_golden("smallest.txt", "explain", "smallest.yaml")

    def test_diff(self):
        self.check_golden("diff.txt", "diff", *ALLOW, "smallest.yaml", "every-field.yaml")
        self.assertEqual(call("policy", "diff", "--exit-code", SMALL, SMALL).stdout, b"")
        self.assertEqual(call("policy", "diff", "--exit-code", SMALL, SMALL).returncode, 0)
        self.assertEqual(call("policy", "diff", "--exit-code", *ALLOW, SMALL, EVERY).returncode, 2)
        with open(SMALL, "rb") as file:
            self.assertEqual(call("policy", "diff", "--exit-code", "-", SMALL,
                                  stdin=file).returncode, 0)

    def test_why(self):
        done = call("policy", "why", *ALLOW, EVERY, "tcp:198.51.100.7:65535")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"allowed tcp:198.51.100.7:65535: network.egress[2]", done.stdout)
        line = int(re.search(rb":(\d+)\n", done.stdout).group(1))
        with open(EVERY, encoding="utf-8") as file:
            self.assertIn("cidr: 0.0.0.0/0", file.read().splitlines()[line - 1])
        done = call("policy", "why", "--format", "json", SMALL, "udp:a.example:53")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(json.loads(done.stdout), {
            "allowed": False, "reason": "network.mode is none: the guest has no network at all",
            "remedy": "network: {mode: allowlist, egress: [{protocol: udp, host: a.example, port: "
                      "53}]}"})

    def test_init_and_schema(self):
        starter = call("policy", "init").stdout
        done = call("validate", "--format", "text", "-", input=starter)
        self.assertEqual((done.returncode, done.stdout), (0, b"-: valid\n"))
        schema = call("policy", "schema").stdout
        with open(os.path.join(SOURCE, "src", "policy", "policy.schema.json"), "rb") as file:
            self.assertEqual(schema, file.read())

    def test_colour_only_on_a_terminal(self):
        self.assertIn("\033[1mRuns:\033[0m\n", on_a_terminal("policy", "explain", SMALL)[1])
        self.assertNotIn("\033", on_a_terminal("policy", "explain", SMALL, NO_COLOR="1")[1])
        self.assertIn("\033[31mdenied", on_a_terminal("policy", "why", SMALL, "tcp:192.0.2.1:1")[1])
        self.assertNotIn(b"\033", call("policy", "explain", SMALL).stdout)

    def test_an_invalid_policy(self):
        for args in (["explain", "-"], ["why", "-", "tcp:192.0.2.1:1"], ["diff", "-", SMALL],
                     ["diff", SMALL, "-"]):
            done = call("policy", *args, input=b"{}")
            self.assertEqual((done.returncode, done.stdout), (2, b""), args)
            self.assertIn(b"-:1:1: error: metadata: this field is required [SR-POL-001]\n    {}\n "
                          b"   ^\n", done.stderr)

    def test_names_of_files_do_not_control_the_terminal(self):
        with tempfile.TemporaryDirectory() as directory:
            name = os.path.join(directory, "\033[2Jpolicy\n\u202e.yaml")
            shutil.copy(SMALL, name)
            good = call("validate", "--format", "text", name)
            self.assertEqual((good.returncode, good.stdout),
                             (0, f"{directory}/?[2Jpolicy??.yaml: valid\n".encode()))
            done = call("policy", "why", name, "tcp:192.0.2.1:1")
            self.assertEqual(done.returncode, 2)
            with open(name, "w", encoding="utf-8") as file:
                file.write("{}")
            for args in (["validate", "--format", "text"], ["policy", "explain"],
                         ["compile", "--dry-run", "--policy"]):
                done = call(*args, name)
                self.assertNotIn(b"\033", done.stdout + done.stderr)
                self.assertIn(f"{directory}/?[2Jpolicy??.yaml:1:1: error: apiVersion".encode(),
                              done.stdout + done.stderr)
            named = json.loads(call("validate", name, name).stdout.splitlines()[0])
            self.assertEqual(named["file"], name)
            odd = os.path.join(directory.encode(), b"\xff.yaml")
            shutil.copy(SMALL, odd)
            self.assertTrue(json.loads(call("validate", odd, odd).stdout.splitlines()[0])["valid"])

    def test_usage(self):
        for args in ([], ["nonsense"], ["explain"], ["explain", SMALL, SMALL], ["why", SMALL],
                     ["why", SMALL, "tcp:1"],
                     ["why", SMALL, "tcp:192.0.2.1:http"], ["diff", SMALL], ["init", "x"],
                     ["schema", "--what"],
                     ["init", "--format", "json"], ["schema", "--mount-allowlist", "x"],
                     ["explain", "--format", "xml", SMALL], ["explain", "--mount-allowlist"],
                     ["explain", "--exit-code", SMALL]):
            done = call("policy", *args)
            self.assertEqual((done.returncode, done.stdout), (64, b""), args)
            self.assertIn(b"usage: safe-run policy", done.stderr)
        for args in (["--help"], ["init", "-h"], ["explain", "--help"], ["why", "--help"],
                     ["diff", "-h"], ["schema", "-h"]):
            done = call("policy", *args)
            self.assertEqual((done.returncode, done.stderr), (0, b""), args)
            self.assertIn(b"Example:\n  ", done.stdout)

    def test_an_answer_that_cannot_be_written(self):
        for args in (["policy", "explain", SMALL], ["policy", "schema"], ["policy", "init"],
                     ["validate", SMALL],
                     ["policy", "why", SMALL, "tcp:192.0.2.1:1"], ["compile", "--dry-run",
                                                                   "--policy", SMALL]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([SAFE_RUN, *args], stdout=full, stderr=subprocess.PIPE,
                                      timeout=60)
            self.assertEqual(done.returncode, 1, args)


class Validating(unittest.TestCase):
    def test_several_files(self):
        done = call("validate", SMALL, "/no/such/policy", SMALL)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 2)
        self.assertEqual([(a["file"], a["valid"]) for a in answers],
                         [(SMALL, True), ("/no/such/policy", False), (SMALL, True)])
        self.assertEqual([(e["code"], e["path"]) for e in answers[1]["errors"]],
                         [("SR-POL-001", "policy")])

    def test_text_on_a_terminal(self):
        status, text = on_a_terminal("validate", SMALL)
        self.assertEqual((status, text), (0, f"{SMALL}: valid\n"))
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("audit: {level: bascc}\n")
            file.flush()
            status, text = on_a_terminal("validate", file.name)
        self.assertEqual(status, 2)
        self.assertIn("audit.level: must be basic or full [SR-POL-002]\n    audit: {level: bascc}\n"
                      "                   \033[31m^\n\033[0m    hint: did you mean 'basic'?\n",
                      text)

    def test_what_cannot_be_read(self):
        with tempfile.TemporaryDirectory() as directory:
            big = os.path.join(directory, "big")
            with open(big, "wb") as file:
                file.truncate(1024 * 1024 + 1)
            for path, code in ((directory, "SR-POL-001"), ("/no/such", "SR-POL-001"),
                               (big, "SR-POL-002"),
                               ("/dev/zero", "SR-POL-002"), ("/dev/null", "SR-POL-001")):
                done = call("validate", path)
                self.assertEqual(done.returncode, 2, path)
                self.assertEqual([(e["code"], e["path"])
                                  for e in json.loads(done.stdout)["errors"]], [(code, "policy")])
                self.assertEqual(call("compile", "--dry-run", "--policy", path).returncode, 2)

    def test_a_policy_has_at_most_a_mebibyte(self):
        with open(SMALL, "rb") as file:
            small = file.read()
        full = small + b"#" * (1024 * 1024 - len(small))
        self.assertTrue(json.loads(call("validate", "-", input=full).stdout)["valid"])
        answer = json.loads(call("validate", "-", input=full
                                 + b"#").stdout)  # through a pipe, in pieces
        self.assertEqual([(e["code"], e["path"]) for e in answer["errors"]],
                         [("SR-POL-002", "policy")])

    def test_bounds_of_aliases_depth_and_size(self):
        def answer(text):
            return json.loads(call("validate", "-", input=text.encode()).stdout)["errors"]
        good = "a: &a [" + ", ".join(["x"] * 98) + "]\nb: [" + ", ".join(["*a"] * 100) + "]\n"
        self.assertNotIn("policy",
                         [e["path"] for e
                          in answer(good)])  # 9,900 nodes: only the fields are unknown
        bad = answer(good + "c: [*a, *a]\n")
        self.assertEqual([(e["code"], e["path"], e["line"]) for e in bad],
                         [("SR-POL-002", "policy", 3)])
        self.assertNotEqual(answer("a: " + "[" * 63 + "]" * 63)[0]["path"], "policy")
        for deep in ("a: " + "[" * 64 + "]" * 64, "[" * 500000, '{"a":' * 65 + "1" + "}" * 65,
                     '{"a":' + "[" * 500000):
            self.assertEqual([(e["code"], e["path"]) for e in answer(deep)],
                             [("SR-POL-002", "policy")])

    def test_no_file_is_touched_but_policy_and_allowlist(self):
        def touched(*args, env=()):
            with tempfile.NamedTemporaryFile("r", encoding="utf-8") as trace:
                done = subprocess.run([shutil.which("strace"), "-f", "-e", "trace=%file,%network",
                                       "-o", trace.name, SAFE_RUN,
                                       *args], capture_output=True, timeout=60,
                                      env={**os.environ, **dict(env),
                                           # which uses ptrace itself
                                           "ASAN_OPTIONS": "detect_leaks=0"})
                self.assertEqual(done.returncode, 0, done.stderr)
                calls = trace.read()
            self.assertNotIn("socket(", calls)
            return {name for name in re.findall(r'^\d+ +(?!execve)\w+\(.*?"(.*?)"', calls,
                                                re.M)  # /proc: what a descriptor is
                    if name and not re.search(r"\.so(\.|$)|^/etc/ld\.so|^/proc/", name)}
        sources = {"/usr/share/base-files", "/usr/share/base-files/motd"}
        directory, name = os.path.split(ALLOW[1])
        allowlist = {directory + "/", name, "..",
                     "/"}  # those above it are asked who may replace it
        self.assertEqual(touched("validate", SMALL), {SMALL})
        self.assertEqual(touched("validate", *ALLOW, SMALL), {SMALL, *allowlist,
                                                              "/usr/share/base-files"})
        self.assertLessEqual(touched("validate", *ALLOW, EVERY), {EVERY, *allowlist, *sources})
        self.assertLessEqual(touched("compile", "--dry-run", "--policy", EVERY, *ALLOW),
                             {EVERY, *allowlist, *sources})
        store = {"/var", "/var/lib", "/var/lib/safe-run",
                 "/var/lib/safe-run/images"}  # it shows the image's defaults
        self.assertLessEqual(touched("policy", "explain", SMALL,
                                     env={"SAFE_RUN_IMAGE_STORE": "/var/lib/safe-run/images"}),
                             {SMALL, *store, "blobs", "names", "base.json"})

    def test_where_the_allowlist_is_named(self):
        """By the option, else by the environment; an empty name is none."""
        def answer(*args, env):
            done = call("validate", *args, EVERY, env={**os.environ,
                                                       "SAFE_RUN_MOUNT_ALLOWLIST": env})
            return {(e["code"], e["path"]) for e in json.loads(done.stdout)["errors"]}
        refused = {("SR-POL-101", path) for path in ("runtime.env.MOTD.path", "mounts[0].source",
                                                     "mounts[1].source")}
        self.assertEqual(answer(env=ALLOW[1]), set())
        self.assertEqual(answer(*ALLOW, env="/no/such"), set())
        self.assertEqual(answer(env="/no/such"), {("SR-POL-101", "mountAllowlist.file")})
        self.assertEqual(answer(env=""), refused)
        self.assertEqual(answer("--mount-allowlist", "", env=ALLOW[1]),
                         {("SR-POL-101", "mountAllowlist.file")})

    def test_compile_without_dry_run(self):
        done = call("compile", "--policy", SMALL)
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertIn(b"SR-CMP-002 compile.dryRun", done.stderr)


if __name__ == "__main__":
    unittest.main()
