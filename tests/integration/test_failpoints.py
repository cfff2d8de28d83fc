"""Every step that changes the host and every write of evidence fails, crashes and takes long:
nothing is left, and what evidence there is verifies. Only sanitized builds have the failpoints."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness import BUILD, SANITIZED, SOURCE, shell
from network import NetworkTest, allow
from test_limits import cgroups


def failpoints():
    text = subprocess.run(["git", "-C", SOURCE, "grep", "-ohE",
                           r'(SR_FAILPOINT|fail_at)\("[a-z.]+"', "--", "src/*.c"],
                          capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r'"([a-z.]+)"', text))
    return sorted(name for name in names if not name.startswith(("archive.", "gc.",
                                                                 # test_archive_faults.py,
                                                                 # test_runs.py and test_scope.py
                                                                 # have those
                                                                 "scope.")))


def report_step(name, mode, status, said):
    """A row of the table that run.py shows: the step, what was done to it, the exit status, what
    was said."""
    print(f"| {name:20} | {mode:5} | {status:4} | {said.decode(errors='replace').strip()[:110]}",
          file=sys.stderr)


class Failpoints(NetworkTest):
    def setUp(self):
        super().setUp()
        descriptor, self.log = tempfile.mkstemp(dir="/var/tmp")  # the net cell covers /tmp
        os.close(descriptor)
        self.addCleanup(os.unlink, self.log)
        self.call("key", "generate", "--out", self.path("key"))
        self.configure(sign=True, signKey=self.path("key"),
                       inputs={"directory": self.path("inputs")},
                       copies={"directory": self.path("copies")})
        image = self.path("root.img")
        shutil.copyfile(os.path.join(BUILD, "artifacts/images/base.img"), image)
        os.chmod(image, 0o666)  # so that a copy of it runs
        self.env["SAFE_RUN_MOUNT_ALLOWLIST"] = self.write(
            "allow.yaml", "schemaVersion: safe-run.mount-allowlist/v1\n"
            f"hostAllowPrefixes: [{SOURCE}, {image}]\nguestAllowPrefixes: [/data]\n")
        examples = os.path.join(SOURCE,
                                # old enough to be kept, and more than there are disks for
                                "examples")
        self.document = shell("echo out; echo x > /data/out/x", image=image,
                              network=allow(("tcp", "198.51.100.7/32", 443),
                                            ("udp", "198.51.100.7/32", 53)),
                              mounts=[{"source": examples, "target": f"/data/{i}",
                                       "read_only": True} for i in range(6)],
                              outputs=[{"path": "/data/out"}])

    def walk(self, name):
        self.env["SAFE_RUN_FAILPOINT_LOG"] = self.log
        for mode in ("error", "crash", "delay"):
            with self.subTest(mode=mode):
                self.env["SAFE_RUN_FAILPOINT"] = f"{name}:{mode}"
                results = self.path(f"results-{mode}")
                process = self.start_here(self.document, "--output-dir", results)
                out, err = process.communicate(timeout=120)
                self.assertNotIn(b"Sanitizer", err)
                del self.env["SAFE_RUN_FAILPOINT"]
                with open(self.log, encoding="ascii") as file:
                    self.assertEqual(set(file.read().split()), {name}, "it did not come there")
                os.truncate(self.log, 0)
                if mode == "delay":
                    self.assertEqual((process.returncode, out), (0, b"out\n"), err)
                elif name not in ("cgroup.make", "cgroup.open", "cgroup.remove",
                                  "cgroup.leave") and (name,
                                                       mode) not in (("kept.image", "error"),
                                                                     ("kept.note", "error")):
                    self.assertNotEqual(process.returncode, 0,
                                        err)  # all but what a run can do without
                self.assert_clean()
                self.assertIn(os.listdir(results) if os.path.isdir(results) else [], ([], ["out"]))
                report_step(name, mode, process.returncode, err)

    def walk_image(self, name):
        root = os.path.join(self.dir, "root")
        os.makedirs(os.path.join(root, "etc"))
        self.env["SAFE_RUN_FAILPOINT_LOG"] = self.log
        for mode in ("error", "crash", "delay"):
            with self.subTest(mode=mode):
                self.env["SAFE_RUN_FAILPOINT"] = f"{name}:{mode}"
                done = self.call("image", "build", "test", "--from", "dir:" + root)
                del self.env["SAFE_RUN_FAILPOINT"]
                self.assertNotIn(b"Sanitizer", done.stderr)
                with open(self.log, encoding="ascii") as file:
                    self.assertEqual(set(file.read().split()), {name}, "it did not come there")
                os.truncate(self.log, 0)
                self.assertEqual(done.returncode == 0, mode == "delay", done.stderr)
                if mode != "delay":
                    names = {image["name"]
                             for image in json.loads(self.call("image", "ls", "--json").stdout)}
                    self.assertNotIn("test", names)
                    self.assertEqual(self.call("image", "prune").returncode, 0)
                    left = [file for _, _, files in os.walk(self.env["SAFE_RUN_IMAGE_STORE"])
                            for file in files]
                    self.assertIn(left, ([], [".lock"]))
                report_step(name, mode, done.returncode, done.stderr)

    def assert_clean(self):
        register = os.path.join(self.base, ".open")
        for marker in os.listdir(register) if os.path.isdir(register) else []:
            os.utime(os.path.join(register, marker), (0, 0))  # as if a minute had passed
        self.assert_no_residue()
        done = self.call("gc")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(register) if os.path.isdir(register) else [], [])
        for name in os.listdir(self.base) if os.path.isdir(self.base) else []:
            if name == ".open":
                continue
            self.assertEqual(cgroups(name), [])
            path = os.path.join(self.base, name)
            done = self.call("report", "verify", f"{path}/run_report.json", "--events",
                             f"{path}/events.jsonl")
            self.assertEqual(done.returncode, 0, (name, done.stdout, done.stderr))


def add(name):
    walk = Failpoints.walk_image if name.startswith(("image.", "worker.")) else Failpoints.walk
    setattr(Failpoints, "test_" + name.replace(".", "_"), lambda self: walk(self, name))


if SANITIZED:
    for failpoint in failpoints():
        add(failpoint)
else:
    del Failpoints
del NetworkTest

if __name__ == "__main__":
    unittest.main()
