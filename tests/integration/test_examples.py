"""The examples, run as their pages say. Their Debian images are made once and kept in the cache."""
import os
import subprocess
import unittest

from harness import BUILD, SOURCE, SafeRunTest
from network import NetworkTest

EXAMPLES = os.path.join(SOURCE, "examples")
SUMMARY = """station,days,mean,least,most
harbour,28,7.60,5.1,10.3
hill,28,3.56,-0.8,7.4
valley,28,5.46,0.1,10.0
"""


class Files(SafeRunTest):
    def example(self, name):
        cache = subprocess.run([os.path.join(SOURCE, "scripts", "cache-dir")], capture_output=True,
                               text=True, check=True)
        self.env["SAFE_RUN_IMAGE_STORE"] = os.path.join(cache.stdout.strip(), "examples")
        done = subprocess.run([os.path.join(EXAMPLES, "run-example"), name,
                               os.path.join(BUILD, "safe-run"), self.path("out")],
                              env=self.env, capture_output=True, text=True, timeout=500)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def read(self, name):
        with open(os.path.join(self.path("out"), "output", name), encoding="utf-8") as file:
            return file.read()

    def test_python_on_a_table(self):
        self.assertEqual(self.example("python-csv"), "3 stations, 84 days\n")
        self.assertEqual(self.read("summary.csv"), SUMMARY)
        self.assertEqual(self.read("plot.svg").count("<polyline"), 3)

    def test_a_strangers_makefile(self):
        self.example("build-untrusted")
        built = os.path.join(self.path("out"), "output", "bin", "wordcount")
        counted = subprocess.run([built], input=b"one two\nthree\n", capture_output=True,
                                 check=True)
        self.assertEqual(counted.stdout, b"2 3\n")


class Allowlist(NetworkTest):
    def test_one_name_on_one_port(self):
        os.mkdir(self.path("www"))
        with open(os.path.join(self.path("www"), "index.html"), "w", encoding="ascii") as file:
            file.write("what it may read\n")
        self.dns({"example.com": [60, "198.51.100.9"]})
        server = subprocess.Popen(["nsenter", "-t", str(self.rest), "-n", "python3", "-m",
                                   "http.server", "80", "--bind", "198.51.100.9",
                                   "--directory", self.path("www")], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL,
                                  env={**os.environ, "PYTHONUNBUFFERED": "1"})
        self.addCleanup(lambda: (server.kill(), server.wait(), server.stdout.close()))
        server.stdout.readline()
        run = self.run_here(os.path.join(EXAMPLES, "allowlist", "policy.yaml"))
        self.assertEqual((run.status, run.stdout), (0, b"what it may read\n"), run.stderr)
        self.assertEqual(run.report["networkAudit"]["allowedHits"], 1)
        server.kill()
        server.wait()


if __name__ == "__main__":
    unittest.main()
