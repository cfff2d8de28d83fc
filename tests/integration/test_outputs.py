"""Outputs: what a command leaves comes out, also when it failed; what a hostile guest sends stays
where it is."""
import base64
import glob
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess

from harness import BUILD, SAFE_RUN, SOURCE, policy, shell
from io_tests import IoTest, output_entries, output_hash

GUESTS = os.path.join(BUILD, "tests", "guests")


def output(path="/data/out", **more):
    return {"path": path, **more}


class Outputs(IoTest):
    def collected(self, run, name="out"):
        return os.path.join(run.dir, "outputs", name)

    def refused(self, run, words, index=0):
        """One output was refused, with these words; nothing of it is left."""
        fact = run.events("output.collected")[index]
        self.assertEqual((fact["collected"], fact["errorCode"], fact["observedBy"]),
                         (False, "SR-RUN-001", "host"))
        guest = fact.get("guest")
        if guest is not None:  # its words are in its object, and only there
            self.assertEqual(guest["observedBy"], "guest")
            says = {"missing": "the guest says that the command left nothing at ",
                    "unreadable": "the guest says that it could not send all that is at "}
            self.assertEqual(fact["message"], says[guest["outcome"]] + fact["path"])
        self.assertIn(words, fact["message"] if guest is None or guest["outcome"] == "missing"
                      else guest["message"])
        failure = run.events("run.failed")[-1]
        if index == 0:
            self.assertEqual((failure["observedBy"], failure["reasonObservedBy"],
                              failure["messageObservedBy"], failure.get("guest")),
                             ("host" if guest is None else "guest", "guest", "host", guest))
            self.assertEqual(run.report["exitCodeObservedBy"], failure["observedBy"]
                             if run.report["exit"]["code"] == 0 else "guest")
        self.assertEqual(self.call("report", "verify", run.report_path, "--events",
                                   os.path.join(run.dir, "events.jsonl")).returncode, 0)
        self.assertNotIn(fact["name"], os.listdir(os.path.join(run.dir, "outputs")))
        self.assertEqual([name for name in os.listdir(os.path.join(run.dir, "outputs"))
                          if name.startswith(".")], [])

    def refused_run(self, script, words, **changes):
        run = self.run_policy(shell(script, outputs=[output(max=changes.pop("max", "1Mi"))],
                                    **changes))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-001"), run.stderr)
        self.assertIn(b"SR-RUN-001 outputs[0].path: ", run.stderr)
        self.assertEqual(run.cause, "workload")
        self.refused(run, words)
        return run

    def test_a_tree_comes_out_as_it_is(self):
        run = self.run_policy(shell("""cd /data/out; mkdir -p d/e empty; echo content > d/e/f
            ln -s ../d/e/f d/l; ln -s . here; : > nothing; chmod 500 d/e; chmod 755 nothing
            head -c 300000 /dev/urandom > big; cat big | sha256sum
            truncate -s 3M sparse; echo end >> sparse""", outputs=[output()]))
        self.assertEqual((run.status, run.stderr), (0, b""))
        out = self.collected(run)
        found = {os.path.relpath(os.path.join(at, name), out) for at, dirs, files in os.walk(out)
                 for name in dirs + files}
        self.assertEqual(found, {"d", "d/e", "d/e/f", "d/l", "empty", "here", "nothing", "big",
                                 "sparse"})
        with open(os.path.join(out, "d", "l"), "rb") as file:
            self.assertEqual(file.read(), b"content\n")
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(out, "nothing")).st_mode), 0o755)
        sparse = os.stat(os.path.join(out, "sparse"))
        self.assertEqual(sparse.st_size, (3 << 20) + 4)
        self.assertLess(sparse.st_blocks * 512, 64 << 10)
        digest = subprocess.run(["sha256sum", os.path.join(out, "big")], capture_output=True,
                                check=True).stdout.split()[0]
        self.assertEqual(run.stdout.split()[0], digest)
        fact = run.events("output.collected")[0]
        self.assertEqual(fact, {"path": "/data/out", "name": "out", "max": 64 << 20,
                                "collected": True, "observedBy": "host", "files": 4,
                                "directories": 3, "links": 2, "bytes": 300012 + (3 << 20),
                                "modesCleared": 0, "hash": output_hash(out),
                                "entries": output_entries(out)})
        kinds = [event["type"] for event in run.report["events"]]
        self.assertLess(kinds.index("output.collected"), kinds.index("vm.exited"))

    def test_a_file_and_a_directory_that_the_command_makes_itself(self):
        run = self.run_policy(shell("echo 1 > /tmp/result.csv; mkdir /tmp/plots; echo 2 > "
                                    "/tmp/plots/a",
                                    outputs=[output("/tmp/result.csv"), output("/tmp/plots")]))
        self.assertEqual(run.status, 0, run.stderr)
        with open(self.collected(run, "result.csv"), encoding="ascii") as file:
            self.assertEqual(file.read(), "1\n")
        for name in ("result.csv", "plots"):
            self.assertIn(output_hash(self.collected(run, name)),
                          [fact["hash"] for fact in run.events("output.collected")])

    def test_outputs_of_one_name_are_told_apart_by_their_index(self):
        run = self.run_policy(shell("echo 1 > /data/a/out/x; echo 2 > /data/b/out/x",
                                    outputs=[output("/data/a/out"), output("/data/b/out")]))
        self.assertEqual(run.status, 0, run.stderr)
        self.assertEqual(sorted(os.listdir(os.path.join(run.dir, "outputs"))), ["0-out", "1-out"])

    def test_a_long_name_loses_whole_characters_to_its_index(self):
        long = "\u00e9" * 127
        run = self.run_policy(shell("for at in /data/a/*; do echo x > $at/x; done",
                                    outputs=[output("/data/a/" + long), output("/data/b/" + long)]))
        self.assertEqual((run.status, run.stderr), (0, b""))
        self.assertEqual(sorted(os.listdir(os.path.join(run.dir, "outputs"))),
                         ["0-" + long[:-1], "1-" + long[:-1]])
        self.assertEqual(run.events("output.collected")[0]["name"], "0-" + long[:-1])

    def test_names_of_any_bytes(self):
        run = self.run_policy(shell("""cd /data/out; echo x > "$(printf 'new\\nline')"
            echo x > "$(printf '\\377\\376')"; echo x > 'TRAILER!!!'
            echo x > "$(printf '\\033]0;owned\\007')"; echo x > -rf; echo x > ' '""",
                                    outputs=[output()]))
        self.assertEqual(run.status, 0, run.stderr)
        out = os.fsencode(self.collected(run))
        self.assertEqual(sorted(os.listdir(out)), sorted([b"new\nline", b"\xff\xfe", b"TRAILER!!!",
                                                          b"\x1b]0;owned\x07", b"-rf", b" "]))
        fact = run.events("output.collected")[0]
        self.assertEqual(fact["hash"], output_hash(self.collected(run)))
        # No event can name one of them, so a manifest does; sha256sum takes it, and so does the
        # verifier.
        self.assertNotIn("entries", fact)
        self.assertEqual(run.report["artifacts"]["files"]["outputs.manifest"], fact["manifest"])
        subprocess.run(["sha256sum", "--strict", "-c", os.path.join(run.dir, "outputs.manifest")],
                       check=True, capture_output=True,
                       cwd=os.path.join(run.dir, "outputs"))
        done = self.call("report", "verify", run.report_path, "--artifacts", run.dir)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_verification_hashes_outputs_again(self):
        run = self.run_policy(shell("cd /data/out; echo content > a; mkdir d; ln -s a l",
                                    outputs=[output(), output("/data/b/two")]))
        self.assertEqual(run.status, 0, run.stderr)
        check = lambda: self.call("report", "verify", run.report_path, "--artifacts", run.dir)
        self.assertEqual(check().returncode, 0, check().stdout)
        with open(os.path.join(self.collected(run), "a"), "r+b") as file:
            file.write(b"C")
        done = check()
        error = json.loads(done.stdout)["errors"][0]
        self.assertEqual((done.returncode, error["code"]), (2, "SR-EVD-302"))
        self.assertRegex(error["message"], r'^outputs/out/a: expected "sha256:.*, found "sha256:')
        shutil.rmtree(os.path.join(run.dir, "outputs"))
        done = check()
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"outputs were not looked at", done.stdout)

    def test_a_run_with_outputs_is_signed(self):
        """The confined supervisor hashes them again before it signs."""
        key = self.path("home/key")
        self.call("key", "generate", "--out", key)
        self.configure(sign=True, signKey=key)
        run = self.run_policy(shell("cd /data/out; mkdir d; echo x > d/x; ln -s d l",
                                    outputs=[output()]))
        self.assertEqual(run.status, 0, run.stderr)
        done = self.call("report", "verify", "--key", key + ".pub", "--artifacts", run.dir,
                         run.report_path)
        self.assertEqual(done.returncode, 0, done.stdout)
        with open(os.path.join(run.dir, "run_report.dsse.json"), encoding="ascii") as file:
            subjects = json.loads(base64.b64decode(json.load(file)["payload"]))["subject"]
        self.assertIn({"name": "outputs/out/d/x",
                       "digest": {"sha256": hashlib.sha256(b"x\n").hexdigest()}}, subjects)

    def test_a_command_that_fails_leaves_its_output(self):
        run = self.run_policy(shell("echo log > /data/out/log; exit 7", outputs=[output()]))
        self.assertEqual((run.status, os.listdir(self.collected(run))), (7, ["log"]))
        self.assertTrue(run.report["exit"]["code"] == 7 and run.failure is None)

    def test_a_command_that_is_out_of_time_leaves_its_output(self):
        run = self.run_policy(shell("echo log > /data/out/log; sleep 100", outputs=[output()],
                                    timeout=6))
        self.assertEqual((run.status, run.cause, os.listdir(self.collected(run))),
                         (124, "timeout", ["log"]))
        self.assertTrue(run.events("output.collected")[0]["collected"])

    def test_a_command_that_ignores_the_end_of_its_time_leaves_its_output_too(self):
        run = self.run_policy(shell("trap '' TERM; echo log > /data/out/log; while :; do sleep 1; "
                                    "done", outputs=[output()], timeout=6))
        self.assertEqual((run.status, run.cause, os.listdir(self.collected(run))),
                         (124, "timeout", ["log"]))

    def test_a_stopped_run_leaves_its_output(self):
        process = self.start(shell("echo log > /data/out/log; echo up; sleep 100",
                                   outputs=[output()]))
        self.wait_for_output(process, b"up\n")
        process.send_signal(signal.SIGTERM)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause, os.listdir(self.collected(run))),
                         (143, "interrupted", ["log"]))

    def test_an_output_that_is_not_there_fails_a_command_that_succeeded(self):
        run = self.run_policy(shell("true", outputs=[output("/tmp/none"), output("/tmp/d")]))
        self.assertEqual(run.status, 125)
        self.assertIn(b"SR-RUN-001 outputs[0].path: the command left nothing at /tmp/none",
                      run.stderr)
        self.refused(run, "the command left nothing at /tmp/none")
        run = self.run_policy(shell("exit 3", outputs=[output("/tmp/none")]))
        self.assertEqual((run.status, run.report["exit"]["code"]), (3, 3))
        self.assertIn(b"the command left nothing", run.stderr)

    def test_more_than_its_max(self):
        self.refused_run("head -c 1100000 /dev/zero > /data/out/x",
                         "more than its max of 1048576 bytes")

    def test_many_small_files_beyond_its_max(self):
        self.refused_run("for i in $(seq 20); do head -c 60000 /dev/zero > /data/out/$i; done",
                         "more than its max")

    def test_a_sparse_terabyte(self):
        self.refused_run("truncate -s 1024G /data/out/x",
                         "a file of an output has 4 GiB at most")

    def test_a_sparse_file_beyond_its_max(self):
        self.refused_run("truncate -s 3G /data/out/x", "more than its max")

    def test_a_hundred_thousand_files(self):
        self.refused_run("cd /data/out; seq 100001 | xargs touch", "more than 100000 files",
                         memory="1Gi", timeout=250)

    def test_devices(self):
        self.refused_run("mkdir /data/out; mknod /data/out/disk b 8 0", "disk is a device",
                         user="0:0")

    def test_pipes_and_sockets(self):
        self.refused_run("mkfifo /data/out/pipe",
                         "pipe is neither a file nor a directory nor a link")

    def test_links_that_lead_out(self):
        for target in ("/etc/passwd", "../../../etc/passwd", ".."):
            with self.subTest(target=target):
                self.refused_run(f"ln -s {target} /data/out/l",
                                 "l is a symbolic link that leads out of the output")

    def test_an_output_that_is_a_link(self):
        self.refused_run("ln -s /etc/passwd /data/out", "is a symbolic link", user="0:0")

    def test_too_deep_a_tree(self):
        self.refused_run("cd /data/out; for i in $(seq 100); do mkdir d; cd d; done",
                         "nested too deep")

    def test_special_bits_are_cleared_and_counted(self):
        run = self.run_policy(shell("mkdir /data/out; cd /data/out; echo x > su; chmod 6777 su; "
                                    "mkdir -m 3777 d", outputs=[output()], user="0:0"))
        self.assertEqual((run.status, run.events("output.collected")[0]["modesCleared"]), (0, 2))
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.collected(run), "su")).st_mode),
                         0o755)
        self.assertEqual(os.stat(os.path.join(self.collected(run), "su")).st_uid, self.user)

    def test_hard_links_come_as_files(self):
        run = self.run_policy(shell("cd /data/out; echo x > a; ln a b", outputs=[output()]))
        self.assertEqual(sorted(os.listdir(self.collected(run))), ["a", "b"])

    def test_what_was_refused_does_not_harm_the_others(self):
        run = self.run_policy(shell("ln -s / /data/a/l; head -c 500000 /dev/zero | tee /data/b/x "
                                    "| md5sum", outputs=[output("/data/a"), output("/data/b")]))
        self.assertEqual(run.status, 125)
        self.refused(run, "a symbolic link")
        self.assertEqual(os.listdir(self.collected(run, "b")), ["x"])

    def test_into_a_directory_of_the_callers_choice(self):
        out = os.path.join(self.dir, "home", "new", "results")
        document = shell("echo x > /data/out/x", outputs=[output()])
        run = self.run_policy(document, "--output-dir", out)
        self.assertEqual((run.status, os.listdir(out), os.listdir(os.path.join(out, "out"))),
                         (0, ["out"], ["x"]))
        self.assertEqual(os.stat(os.path.join(out, "out", "x")).st_uid, self.user)
        verify = lambda *options: self.call("report", "verify", run.report_path, "--artifacts",
                                            run.dir, *options)
        self.assertIn(b"outputs were not looked at", verify().stdout)
        os.mkdir(os.path.join(out, "others"))
        self.assertEqual(verify("--outputs", out).returncode, 0)
        again = self.run_policy(document, "--output-dir", out)
        self.assertEqual(again.status, 125)
        run_id = os.path.basename(again.dir)
        self.assertEqual(again.stderr.decode().splitlines()[-1],
                         f"safe-run: run {run_id}: safe-run report show {run_id[-6:]}")
        self.assertEqual(self.call("report", "show", run_id[-6:]).returncode, 0)
        with open(os.path.join(out, "out", "x"), "w", encoding="ascii") as file:
            file.write("y\n")
        self.assertEqual(verify("--outputs", out).returncode, 2)
        self.assertIn(b"SR-RUN-001 outputs[0].path: out is there already in", again.stderr)
        self.assertEqual(again.events("vm.started"), [])

    def test_a_directory_that_cannot_be_written_to_is_found_before_anything_runs(self):
        closed = self.path("closed")
        os.mkdir(closed)
        owner = 0 if self.user else 54321  # root's collector has none of root's privileges
        os.chown(closed, owner, owner)
        run = self.run_policy(shell("echo ran", outputs=[output()]), "--output-dir", closed)
        self.assertEqual((run.status, run.stdout, run.events("vm.started")), (125, b"", []))
        self.assertIn(b"SR-RUN-001 prepare.outputs: %s cannot be written to" % closed.encode(),
                      run.stderr)
        self.assertEqual(os.listdir(closed), [])

    def test_a_place_that_is_no_directory_is_refused_even_without_outputs(self):
        for outputs in ([], [output()]):
            run = self.run_policy(policy("/bin/true", outputs=outputs), "--output-dir",
                                  self.write("file", ""))
            self.assertEqual((run.status, run.events("vm.started")), (125, []))
            said = f"SR-RUN-001 prepare.outputs: {self.path('file')} is not a directory"
            self.assertIn(said.encode(), run.stderr)
        done = self.call("run", "--policy", "x", "--output-dir", "")
        self.assertEqual(done.returncode, 64)
        self.assertIn(b"--output-dir takes the name of a directory, not ''", done.stderr)

    def killed_while_unpacking(self, *options):
        """Returns the run's directory, and what lies where its outputs go, before and after gc."""
        process = self.start(shell("head -c 50000000 /dev/zero > /data/out/x", outputs=[output()],
                                   memory="256Mi"), *options)
        runs = lambda: [name for name in os.listdir(self.base) if name.startswith("sr-")]
        self.wait_for(runs)
        run = runs()[0]
        place = options[1] if options else os.path.join(self.base, run, "outputs")
        # Something in it: the place itself is tried before the command runs.
        self.wait_for(lambda: glob.glob(glob.escape(place) + "/.*/*"))
        process.kill()
        process.communicate()
        before = os.listdir(place)
        done = self.call("gc")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return os.path.join(self.base, run), before, os.listdir(place)

    def test_gc_removes_what_a_killed_run_has_unpacked(self):
        for options in ((), ("--output-dir", os.path.join(self.dir, "home", "results"))):
            run, before, after = self.killed_while_unpacking(*options)
            self.assertEqual((before, after), ([f".{os.path.basename(run)}.0"], []))
            shutil.rmtree(run)

    def test_a_umask_that_keeps_the_owner_out_is_found_and_leaves_nothing(self):
        there = self.path("there")
        os.mkdir(there)
        for where in (self.path("new"), there, None):
            run = self.run_policy(shell("echo ran", outputs=[output()]),
                                  *(("--output-dir", where) if where else ()), umask=0o777)
            self.assertEqual((run.status, run.stdout, run.events("vm.started")), (125, b"", []))
            self.assertRegex(run.stderr,
                             b"^safe-run: SR-RUN-001 prepare.outputs: .* the umask takes away the "
                             b"owner's rights")
        self.assertFalse(os.path.exists(self.path("new")))
        self.assertEqual(os.listdir(there), [])

    def test_a_directory_that_its_owner_may_not_write_to_is_called_that(self):
        closed = self.path("closed")
        os.mkdir(closed, 0o500)
        run = self.run_policy(shell("echo ran", outputs=[output()]), "--output-dir", closed)
        self.assertEqual((run.status, run.events("vm.started")), (125, []))
        self.assertIn(b"cannot be written to: its mode is 0500", run.stderr)

    def test_json_says_where(self):
        out = os.path.join(self.dir, "home", "results")
        run = self.run_policy(shell("echo x > /data/out/x", outputs=[output()]), "--output-dir",
                              out, "--json")
        self.assertEqual(json.loads(run.stdout)["artifacts"]["outputs"], out)

    def test_a_lot_comes_through_whole(self):
        run = self.run_policy(shell("head -c 200M /dev/urandom > /data/out/x; sha256sum < "
                                    "/data/out/x", outputs=[output(max="200Mi")],
                                    memory="512Mi", disk="210Mi"))
        self.assertEqual(run.status, 0, run.stderr)
        done = subprocess.run(["sha256sum", os.path.join(self.collected(run), "x")],
                              capture_output=True, check=True)
        self.assertEqual(run.stdout.split()[0], done.stdout.split()[0])

    def test_a_full_disk_fails_the_run_and_leaves_nothing(self):
        small = os.path.join(self.dir, "small")
        os.mkdir(small)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,uid={self.user}", "small",
                                  small], check=False)
        self.assertEqual(mounted.returncode, 0)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        run = self.run_policy(shell("head -c 2000000 /dev/urandom > /data/out/x",
                                    outputs=[output()]), "--output-dir", small)
        self.assertEqual(run.status, 125)
        self.assertIn(b"outputs[0].path: it cannot be written: x: No space left on device",
                      run.stderr)
        self.assertEqual(os.listdir(small), [])


class Example(IoTest):
    def test_files_in_and_out(self):
        """examples/files, with this test's directory in place of the one that its comment says to
        make."""
        texts = {}
        for name in ("policy.yaml", "allow.yaml"):
            with open(os.path.join(SOURCE, "examples", "files", name), encoding="utf-8") as file:
                texts[name] = self.write(name, file.read().replace("/tmp/safe-run-example",
                                                                   self.dir))
        shutil.copytree(os.path.join(SOURCE, "examples", "files", "in"), self.path("in"))
        run = self.run_policy(texts["policy.yaml"], "--mount-allowlist", texts["allow.yaml"],
                              "--output-dir", self.path("results"))
        self.assertEqual(run.status, 0, run.stderr)
        with open(self.path("results/result/count.txt"), encoding="ascii") as file:
            self.assertEqual(file.read(), "3\n")


class OutputsAsUser(Outputs):
    user = 12345
    # Nothing can be made at all then, and what is written to is the user's.
    test_a_umask_that_keeps_the_owner_out_is_found_and_leaves_nothing = None
    test_a_directory_that_its_owner_may_not_write_to_is_called_that = None


class Hostile(IoTest):
    """Inits that send what no archive writer would."""

    def start_guest(self, name):
        self.configure(initrd=os.path.join(GUESTS, f"{name}.initrd"))

    def test_archives_that_want_to_be_elsewhere(self):
        self.start_guest("smuggles")
        before = set(os.listdir("/tmp")) | set(os.listdir(self.dir))
        words = ["leads out of the output: o/../../escaped",
                 "leads out of the output: /tmp/escaped",
                 "passwd is a symbolic link that leads out",
                 "disk is a device", None, "huge makes it more than its max", "the archive",
                 "more files and directories than the", "the archive is broken",
                 "the archive", None]
        run = self.run_policy(policy("/bin/true", outputs=[output(f"/data/{i}", max="1Mi")
                                                           for i in range(len(words))]))
        facts = run.events("output.collected")
        for fact, expected in zip(facts, words, strict=True):
            if expected is None:
                self.assertTrue(fact["collected"], fact)
            else:
                self.assertIn(expected, fact["message"])
        self.assertEqual(sorted(os.listdir(os.path.join(run.dir, "outputs"))), ["10", "4"])
        self.assertEqual(os.listdir(os.fsencode(os.path.join(run.dir, "outputs", "10"))),
                         [b"new\nline\xff\x1b[2J"])
        self.assertEqual(facts[4]["modesCleared"], 1)
        self.assertEqual((run.status, run.cause), (125, "workload"))
        self.assertEqual([name for name in set(os.listdir("/tmp")) - before if "escaped" in name],
                         [])

    def test_a_guest_that_dies_before_its_outputs(self):
        self.start_guest("keeps")
        run = self.run_policy(policy("/bin/true", outputs=[output()]))
        self.assertEqual(run.status, 125)
        self.assertIn("the guest ended before", run.events("output.collected")[0]["message"])

    def test_a_guest_that_never_sends_its_outputs(self):
        self.start_guest("stays")
        run = self.run_policy(policy("/bin/true", outputs=[output(max="1Ki", timeoutSec=1)]))
        self.assertEqual(run.status, 125)
        self.assertIn("it took more than 1 s", run.events("output.collected")[0]["message"])

    def assert_late(self, run, seconds, message):
        """The guest had this long for its outputs, was looked at meanwhile, and evidence says
        both."""
        self.assertEqual(run.status, 125, run.stderr)
        ended = run.events("vm.exited")[0]
        self.assertIn(message, run.events("output.collected")[0]["message"])
        self.assertEqual(ended["limits"]["collectUsec"], seconds * 1_000_000)
        self.assertGreaterEqual(ended["durations"]["collectUsec"], seconds * 1_000_000)
        self.assertEqual(ended["contradictions"], [])
        stamps = [event["timestamp"] for event in run.report["events"] if event["type"]
                  == "resource.sampled"]
        self.assertGreaterEqual(len(stamps), seconds)
        used = int(run.report["resourceUsage"]["cpu"].partition("=")[2])
        self.assertGreater(used, ended["vmmCpuUsec"]
                           / 3)  # nothing of what the VM used went by unseen
        shown = self.call("report", "show", run.report_path).stdout.decode()
        self.assertRegex(shown, rf"limit 20 s and {seconds} s\s+for\s+outputs")
        self.assertRegex(shown, r"outputs\s+[0-9.]+\s+s,\s+end")

    def test_a_guest_that_trickles_has_no_more_than_its_time(self):
        self.start_guest("trickles")
        run = self.run_policy(policy("/bin/true", timeout=20, outputs=[output(timeoutSec=3)]))
        self.assert_late(run, 3, "it took more than 3 s")

    def test_all_outputs_together_have_no_more_than_the_hosts_time(self):
        self.configure(initrd=os.path.join(GUESTS, "trickles.initrd"), collect={"timeoutSec": 2})
        run = self.run_policy(policy("/bin/true", timeout=20,
                                     outputs=[output("/data/a"), output("/data/b")]))
        self.assert_late(run, 2, "all outputs together took more than 2 s")

    def test_a_collector_that_stops_holds_nothing(self):
        process = self.start(shell("echo up; read line; head -c 4194304 /dev/zero > /data/out/x",
                                   outputs=[output(timeoutSec=2)]), "--stdin",
                             stdin=subprocess.PIPE)
        self.wait_for_output(process, b"up")
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
            collectors = [int(child) for child in file.read().split() if not int(child)
                          in self.vmm_pids()]
        self.assertEqual(len(collectors), 1)
        os.kill(collectors[0], signal.SIGSTOP)
        run = self.finish(process, b"\n")
        self.assertEqual(run.status, 125)
        self.assertIn("the collector of outputs did not answer",
                      run.events("output.collected")[0]["message"])
        self.assertEqual(os.listdir(os.path.join(run.dir, "outputs")), [])

    def test_a_signal_ends_the_waiting_for_outputs(self):
        self.start_guest("stays")
        process = self.start(policy("/bin/true", outputs=[output()]), "-v")
        while b"guest up" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        run = self.finish(process)
        self.assertEqual((run.status, run.cause), (143, "interrupted"))


if __name__ == "__main__":
    import unittest
    unittest.main()
