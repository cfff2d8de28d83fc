#!/usr/bin/python3
"""Runs every test and ends with one line: `N passed, N failed, N skipped`.

Usage: run.py BUILD... [-k WORD]

What a test prints on lines that begin with "| " is a table to be seen when it passes, too.

Unit tests (cmocka programs known to meson) run in every build directory given, integration tests
(tests/integration/test_*.py, with the built program and real guests) in every one too. Each
integration test is a process of its own; as many run at once as there are cores. With
SR_MUST_WORK=1 a skipped test fails the run.
"""
import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time

TESTS = os.path.dirname(os.path.abspath(__file__))
INTEGRATION = os.path.join(TESTS, "integration")


def unit_tests(build, word):
    """Yields (name, argv) of meson's tests in a build directory."""
    text = subprocess.run(["meson", "introspect", "--tests", build], check=True,
                          capture_output=True, text=True).stdout
    for test in json.loads(text):
        if word in test["name"]:
            name = f"{os.path.basename(build)}: {test['name']}"
            yield name, test["cmd"], test["env"], test["timeout"]


def run_unit(job):
    name, argv, env, limit = job
    started = time.monotonic()
    try:
        done = subprocess.run(argv, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit
                              or None)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        output, code = f"{expired.stdout}\ntimed out after {limit} s", 1
    passed = len(re.findall(r"^\[       OK \]", output, re.M))
    failed = len(set(re.findall(r"^\[  FAILED  \] (?!\d+ test)(\S+)", output, re.M)))
    skipped = len(set(re.findall(r"^\[  SKIPPED \] (?!\d+ test)(\S+)", output, re.M)))
    if passed + failed + skipped == 0:  # not a cmocka program: it is one test itself
        passed, failed, skipped = (0, 0, 1) if code == 77 else (1, 0, 0) if code == 0 else (0, 1, 0)
    if code not in (0, 77) and failed == 0:
        failed = 1
    return name, passed, failed, skipped, output, time.monotonic() - started


LIST = """
import sys, unittest
for suite in unittest.TestLoader().discover(".", pattern="test_*.py"):
    for group in suite:
        if not isinstance(group, unittest.TestSuite):
            sys.exit(f"cannot load: {group}")
        for test in group:
            print(test.id(), getattr(getattr(test, test._testMethodName), "alone", False))
"""


def integration_tests(build, word):
    """A process for each build lists its tests: which there are depends on the build (failpoints
    need a sanitized one)."""
    done = subprocess.run([sys.executable, "-c", LIST], cwd=INTEGRATION, capture_output=True,
                          text=True,
                          env={**os.environ, "SR_BUILD": os.path.abspath(build),
                               "PYTHONDONTWRITEBYTECODE": "1"})
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    for line in done.stdout.splitlines():
        test, alone = line.split()
        if word in test:
            yield (f"{os.path.basename(build)}: {test}", test,
                   os.path.abspath(build)), alone == "True"


def run_integration(job):
    name, test, build = job
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "unittest", "-q", test], cwd=INTEGRATION,
                          stdin=subprocess.DEVNULL,
                          env={**os.environ, "SR_BUILD": build, "PYTHONDONTWRITEBYTECODE": "1"},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", timeout=600)
    skipped = 1 if re.search(r"^OK \(skipped=1\)", done.stdout, re.M) else 0
    failed = 1 if done.returncode != 0 else 0
    return name, 1 - failed - skipped, failed, skipped, done.stdout, time.monotonic() - started


def show(name, _passed, failed, skipped, output, seconds):
    verdict = "FAILED" if failed else "skipped" if skipped else "ok"
    print(f"{verdict:7} {seconds:6.1f} s  {name}", flush=True)
    if failed == skipped == 0:
        print("".join(f"        {line}\n" for line in output.splitlines() if line.startswith("| ")),
              end="", flush=True)
    else:
        print("\n".join(f"        | {line}" for line in output.strip().splitlines()[-60:]),
              flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", nargs="+")
    parser.add_argument("-k", dest="word", default="", help="only tests whose name has this in it")
    parser.add_argument("-j", dest="jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    jobs, last = [], []
    for build in options.build:
        jobs += [(run_unit, job) for job in unit_tests(build, options.word)]
        for job, alone in integration_tests(build, options.word):
            (last if alone else jobs).append((run_integration, job))
    totals = [0, 0, 0]
    for some, workers in ((jobs, options.jobs),
                          (last, 1)):  # those that measure get the machine to themselves
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            for future in concurrent.futures.as_completed([pool.submit(run, job) for run,
                                                           job in some]):
                result = future.result()
                totals = [total + more for total, more in zip(totals, result[1:4])]
                show(*result)
    if totals[2] and os.environ.get("SR_MUST_WORK"):
        print("a skipped test counts as failed here (SR_MUST_WORK)")
        totals[1] += totals[2]
    print(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped")
    return 1 if totals[1] or totals[0] == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
