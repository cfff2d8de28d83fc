"""Values of the environment that come from outside of the policy: who lets them, that the guest
gets them, and that nothing else has them."""
import hashlib
import json
import os
import re
import shlex
import subprocess
import unittest

from harness import SANITIZED, SOURCE, SafeRunTest, policy, shell

SECRET, OTHER, FILED = "tOk3n-of-the-caller-4711", "tOk3n-of-the-host-0815", "tOk3n-of-a-file-31337"


def documented_check(key, salt, name, value):
    """The HMAC of a value by the computation that docs/EVIDENCE.md has for it."""
    with open(os.path.join(SOURCE, "docs", "EVIDENCE.md"), encoding="utf-8") as file:
        line = re.search(r"^    (python3 -c 'import hmac.*) KEYFILE SALT NAME$", file.read(),
                         re.M)[1]
    done = subprocess.run(["/bin/sh", "-c", shlex.join([*shlex.split(line), key, salt, name])],
                          check=True,
                          input=value.encode(), capture_output=True, timeout=60)
    return done.stdout.decode().strip()


def files_below(directory):
    for place, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                yield os.path.join(place, name), file.read()


class Secrets(SafeRunTest):
    def setUp(self):
        super().setUp()
        self.key = self.path("env.key")
        self.configure(env={"key": self.key})
        os.mkdir(self.path("secrets"))
        self.write("secrets/filed", FILED + "\n")
        self.env.update(TOKEN=SECRET, OTHER=OTHER, UNASKED="tOk3n-that-nobody-asked-for")

    def document(self, script="true", **env):
        return shell(script, env=env)

    def assert_refused(self, code, path, *words, env, options=(), started=False):
        run = self.run_policy(self.document(**env), *options)
        self.assertEqual(run.status, 125)
        for word in (code, path, *words):
            self.assertIn(word.encode(), run.stderr)
        self.assertNotIn(b"tOk3n", run.stderr + run.stdout)
        self.assertEqual(run.dir is not None, started)
        if started:
            self.assertEqual(run.events("vm.started"), [])
            self.assert_nowhere(run)
        return run

    def assert_nowhere(self, run):
        """The run's files, and what is made of them, have no value."""
        texts = dict(files_below(run.dir))
        self.assertIn(run.report_path, texts)
        archive = self.path("archive")
        done = self.call("report", "archive", run.report_path, "--root", archive)
        self.assertEqual(done.returncode, 0, done.stderr)
        texts.update(files_below(archive))
        for what in (["show"], ["html"], ["export", "--format", "ocsf"]):
            done = self.call("report", *what, run.dir)
            self.assertEqual(done.returncode, 0, done.stderr)
            texts[" ".join(what)] = done.stdout + done.stderr
        texts["export"] = self.call("archive", "export", "--all", "--root", archive).stdout
        self.assertIn(b"run_report.json", texts["export"])
        self.assertEqual([name for name, text in texts.items() if b"tOk3n" in text], [])

    def assert_process_is_clean(self, pid, memory):
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                self.assertFalse(b"tOk3n-of" in file.read(), name)
        if not memory:
            return
        with open(f"/proc/{pid}/maps",
                  encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as file:
            for line in maps:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                if line.split()[1][:2] == "rw" and end - start < 1 << 30:
                    file.seek(start)
                    try:
                        self.assertFalse(b"tOk3n-of" in file.read(end - start), line)
                    except OSError:
                        continue  # pages that nobody may read

    def test_the_guest_gets_the_values_and_nothing_else_has_them(self):
        self.configure(env={"key": self.key, "allow": ["OTHER"]})
        script = ('for v in "$TOKEN" "$OTHER" "$FILED" "$PLAIN"; do printf %s "$v" | sha256sum; '
                  'done; '
                  'echo "${UNASKED-none}"; read line')
        document = self.document(script, TOKEN={"from": "env"}, OTHER={"from": "env"}, PLAIN="open",
                                 FILED={"from": "file", "path": "secrets/filed"})
        document["outputs"] = [{"path": "/data/out",
                                "max": "1Mi"}]  # and with it a collector, which is a fork
        granted = ["--allow-env", "TOKEN", "--allow-mount", self.path("secrets")]
        process = self.start(document, "-v", "--stdin", *granted, stdin=subprocess.PIPE)
        self.addCleanup(process.kill)
        out = self.wait_for_output(process, b"none\n").decode().split()
        self.assertEqual([word for word in out if len(word) == 64],
                         [hashlib.sha256(value.encode()).hexdigest()
                          for value in (SECRET, OTHER, FILED, "open")])
        # A sanitizer's runtime keeps a copy of the environment that nobody can overwrite.
        children = self.children(process.pid)
        self.assertEqual(len(children), 2)
        for pid in [process.pid, *children]:
            self.assert_process_is_clean(pid, memory=pid not in self.vmm_pids() and not SANITIZED)
        run = self.finish(process, b"\n")
        self.assertEqual(run.status, 0, run.stderr)
        self.assertNotIn(b"tOk3n", run.stderr)
        self.assert_nowhere(run)

        prepared, = run.events("run.prepared")
        self.assertEqual(prepared["allowEnv"], ["TOKEN"])
        runtime = prepared["runtime"]
        values = {"FILED": FILED, "OTHER": OTHER, "TOKEN": SECRET}
        self.assertEqual([(one["name"], one["from"], one.get("path"))
                          for one in runtime["envFrom"]],
                         [("FILED", "file", "secrets/filed"), ("OTHER", "env", None),
                          ("TOKEN", "env", None)])
        for one in runtime["envFrom"]:
            self.assertEqual(one["hmac"], "hmac-sha256:"
                             + documented_check(self.key, runtime["envSalt"], one["name"],
                                                                            values[one["name"]]))
        self.assertEqual(os.stat(self.key).st_mode & 0o7777, 0o600)
        for what in ("show", "html"):
            said = re.sub(r"\s+", " ", self.call("report", what, run.dir).stdout.decode())
            self.assertIn(f"TOKEN from env, HMAC {runtime['envFrom'][2]['hmac'].partition(':')[2]}",
                          said)
            self.assertIn("FILED from file secrets/filed, HMAC ", said)
            self.assertIn("PLAIN=open", said)
        bundle = json.loads(self.call("compile", "--dry-run", "--policy",
                                      self.write_policy(document), "--allow-mount",
                                      self.path("secrets")).stdout)
        with open(os.path.join(run.dir, "bundle.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), bundle)

    def test_a_variable_is_refused_that_is_not_granted_or_not_there(self):
        env = {"TOKEN": {"from": "env"}}
        self.assert_refused("SR-POL-003", "runtime.env.TOKEN", "--allow-env TOKEN", env=env)
        self.assert_refused("SR-POL-003", "runtime.env.TOKEN", env=env,
                            options=["--allow-env", "OTHER"])
        self.assert_refused("SR-POL-101", "allowEnv[0]", env=env,
                            options=["--allow-env", "TOKEN=tOk3n"])
        del self.env["TOKEN"]
        run = self.assert_refused("SR-RUN-001", "runtime.env.TOKEN", "export",
                                  env={**env, "OTHER": {"from": "env"}},
                                  options=["--allow-env", "TOKEN", "--allow-env", "OTHER"],
                                  started=True)
        runtime = run.events("run.prepared")[0]["runtime"]
        self.assertEqual(["hmac" in one for one in runtime["envFrom"]], [True, False])

    def test_a_document_is_judged_by_its_grants_only_on_a_host(self):
        path = self.write_policy(self.document(TOKEN={"from": "env"}))
        del self.env["TOKEN"]
        for command in (["validate"], ["compile", "--dry-run", "--policy"]):
            self.assertEqual(self.call(*command, path).returncode, 0)
            self.assertEqual(self.call(command[0], "--host", *command[1:], path).returncode, 2)
            self.assertEqual(self.call(command[0], "--host", "--allow-env", "TOKEN", *command[1:],
                                       path).returncode, 0)

    def test_a_file_is_refused_that_no_guest_may_have(self):
        self.write("outside", FILED)
        os.symlink("../outside", self.path("secrets/link"))
        grant = ["--allow-mount", self.path("secrets")]
        for path in ("outside", "secrets/link", "secrets/../outside"):
            self.assert_refused("SR-POL-101", "runtime.env.F.path",
                                env={"F": {"from": "file", "path": path}}, options=grant)
        self.assert_refused("SR-POL-101", "--allow-mount",
                            env={"F": {"from": "file", "path": "secrets/filed"}})

        everything = ["--allow-mount", self.dir]
        self.assertEqual(self.call("key", "generate", "--out", self.path("sign")).returncode, 0)
        self.configure(env={"key": self.key}, signKey=self.path("sign"))
        for ours in ("sign", "env.key"):
            self.assert_refused("SR-RUN-001", "runtime.env.F.path", "keeps for itself",
                                started=True, options=everything,
                                env={"F": {"from": "file", "path": ours},
                                     "G": {"from": "file", "path": "secrets/filed"}})
            mount = {"source": ours, "target": "/data/key"}
            run = self.run_policy(policy("/bin/true", mounts=[mount]), *everything)
            self.assertEqual(run.failure[0], "SR-RUN-101")
        self.write("secrets/nul", b"tOk3n\0")
        self.assert_refused("SR-RUN-001", "runtime.env.F.path", "NUL", started=True, options=grant,
                            env={"F": {"from": "file", "path": "secrets/nul"}})

    def test_a_key_that_others_may_read_is_refused(self):
        self.write("env.key", b"0" * 32)
        os.chmod(self.key, 0o644)
        self.assert_refused("SR-EVD-003", "env.key", "chmod 600", env={"TOKEN": {"from": "env"}},
                            options=["--allow-env", "TOKEN"], started=True)


class SecretsOfAUser(SafeRunTest):
    user = 12345

    def test_the_key_of_a_user_lies_beside_his_runs(self):
        self.configure()
        done = self.run_policy(shell("true", env={"TOKEN": {"from": "env"}}), "--allow-env",
                               "TOKEN")
        self.assertEqual(done.status, 125)
        found = os.stat(self.path("home/.local/state/safe-run/env.key"))
        self.assertEqual((found.st_mode & 0o7777, found.st_uid, found.st_size),
                         (0o600, self.user, 32))

    def test_what_safe_run_reads_itself_stays_its_own(self):
        cache = self.path("home/of-mine")
        self.env.pop("SAFE_RUN_CACHE_DIR", None)
        self.env["XDG_CACHE_HOME"] = cache
        run = self.run_policy(shell('echo "$XDG_CACHE_HOME"',
                                    env={"XDG_CACHE_HOME": {"from": "env"}}),
                              "--allow-env", "XDG_CACHE_HOME")
        self.assertEqual((run.status, run.stdout), (0, cache.encode() + b"\n"), run.stderr)
        self.assertTrue(os.listdir(cache))


if __name__ == "__main__":
    unittest.main()
