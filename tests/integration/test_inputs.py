"""Mounts: what the guest sees of the host's files, that it cannot change it, and that it is what
was checked."""
import contextlib
import hashlib
import os
import socket
import stat
import subprocess
import time

from harness import SAFE_RUN, SANITIZED, policy, shell
from io_tests import IoTest, mount


class Inputs(IoTest):
    def test_a_directory_and_a_file_are_there_as_they_are(self):
        self.put("a", b"first\n", 0o755)
        self.put("d/e/f", b"deep\n")
        self.put(b"new\nline \xff", b"odd\n")
        os.symlink("d/e/f", os.path.join(self.source, "link"))
        one = self.put("one", b"single\n")
        run = self.run_policy(shell("cd /data/in && find . | LC_ALL=C sort | md5sum; ls -ln a | "
                                    "cut -c 1-10; cat a link d/e/f; cat /data/file",
                                    mounts=[mount(self.source), mount(one, "/data/file")]))
        self.assertEqual((run.status, run.stderr), (0, b""))
        names = b"".join(name + b"\n" for name in sorted([b".", b"./a", b"./d", b"./d/e",
                                                          b"./d/e/f", b"./link", b"./one",
                                                          b"./new\nline \xff"]))
        lines = sorted(names.split(b"\n")[:-1])  # a name with a newline is two lines for sort
        expected = hashlib.md5(b"".join(line + b"\n" for line in lines)).hexdigest()
        self.assertEqual(run.stdout.decode().split("\n"), [f"{expected}  -", "-rwxr-xr-x", "first",
                                                           "deep", "deep", "single", ""])

    def test_files_of_several_names_are_told_apart_by_their_device_too(self):
        """A tree may have inodes of one number on several devices: subvolumes, the layers of an
        overlay."""
        at = {name: self.path(name) for name in ("one", "two", "both")}
        for name, directory in at.items():
            os.mkdir(directory)
            kind, how = "tmpfs", "mode=755"
            if name == "both":
                kind, how = "overlay", f"lowerdir={at['one']}:{at['two']},xino=off"
            subprocess.run(["mount", "-t", kind, "-o", how, name, directory], check=True)
            self.addCleanup(subprocess.run, ["umount", directory], check=True)
            if name != "both":
                with open(os.path.join(directory, name), "w", encoding="ascii") as file:
                    file.write(name)
                os.link(file.name, file.name + "-again")
        self.assertEqual(len({os.stat(os.path.join(at["both"], name)).st_ino
                              for name in ("one", "two")}), 1)
        run = self.run_policy(shell("cd /data/in; for name in *; do echo $name $(cat $name); done",
                                    mounts=[mount(at["both"])]))
        self.assertEqual(run.stdout.decode().splitlines(), ["one one", "one-again one", "two two",
                                                            "two-again two"], run.stderr)

    def test_what_safe_run_keeps_is_never_mounted(self):
        """Not even where the allowlist is wide: other runs, packed inputs, the archive, keys."""
        keys = self.path("home/keys")
        os.mkdir(keys)
        os.chown(keys, self.user, self.user)
        self.put("a")
        self.assertEqual(self.call("key", "generate", "--out",
                                   os.path.join(keys, "key")).returncode, 0)
        self.configure(signKey=os.path.join(keys, "key"),
                       archive={"root": self.path("home/archive")})
        run = self.run_policy(shell("cat /data/in/a",
                                    mounts=[mount(self.source)]))  # which makes the store of inputs
        self.assertEqual(run.status, 0, run.stderr)
        self.assertEqual(self.call("report", "archive", run.report_path).returncode, 0)
        for source in (self.dir, self.base, run.dir, os.path.join(run.dir, "run_report.json"),
                       self.path("home/inputs"), keys,
                       os.path.join(keys, "key"), self.path("home/archive"),
                       self.path("home/archive/bundles")):
            with self.subTest(source=source):
                refused = self.run_policy(shell("find /data", mounts=[mount(source)]))
                self.assertEqual((refused.status, refused.stdout, refused.failure[0]),
                                 (125, b"", "SR-RUN-101"), refused.stderr)
                self.assertIn("which safe-run keeps for itself", refused.failure[1])
                self.assertEqual(len(refused.events("mount.rejected")), 1)

    def test_evidence(self):
        self.put("a", b"12345")
        self.put("b", b"678")
        run = self.run_policy(policy("/bin/true", mounts=[mount(self.source)]))
        asked = {"source": self.source, "target": "/data/in", "read_only": True}
        self.assertEqual(run.events("mount.validated"), [{**asked, "observedBy": "host"}])
        applied = run.events("mount.applied")[0]
        self.assertEqual({key: applied[key] for key in (*asked, "bytes", "files", "skipped")},
                         {**asked, "bytes": 8, "files": 2, "skipped": 0})
        self.assertRegex(applied["imageHash"], "^sha256:[0-9a-f]{64}$")
        self.assertEqual(run.report["mountAudit"], {"requested": 1, "accepted": 1, "rejected": 0,
                                                    "reasons": []})
        kinds = [event["type"] for event in run.report["events"]]
        self.assertLess(kinds.index("mount.applied"), kinds.index("vm.started"))

    def test_not_even_root_of_the_guest_can_write_an_input(self):
        self.put("a")
        script = """
            for what in 'echo x > a' 'rm a' 'touch b' 'chmod 777 a' 'mknod n c 1 3' \
                        'mount -o remount,rw /data/in; echo x > a' \
                        'mknod /tmp/disk b 254 16; echo x > /tmp/disk'; do
                (cd /data/in; eval "$what") 2> /dev/null && echo "can: $what"
            done; cat /data/in/a; grep /data/in /proc/mounts | cut -d ' ' -f 3,4"""
        run = self.run_policy(shell(script, mounts=[mount(self.source)], user="0:0"))
        self.assertEqual(run.stdout.decode().splitlines()[0], "content")
        self.assertRegex(run.stdout.decode().splitlines()[1], "^squashfs ro,nosuid,nodev,")
        with open(os.path.join(self.source, "a"), "rb") as file:
            self.assertEqual(file.read(), b"content\n")

    def test_the_command_may_read_and_execute_what_it_was_given(self):
        self.put("secret", b"mine\n", 0o600)
        self.put("script", b"#!/bin/sh\necho ran as $(id -u)\n", 0o700)
        run = self.run_policy(shell("cat /data/in/secret; /data/in/script",
                                    mounts=[mount(self.source)]))
        self.assertEqual(run.stdout, b"mine\nran as 1000\n", run.stderr)

    def test_set_user_id_bits_of_an_input_count_for_nothing(self):
        with open("/bin/busybox", "rb") as file:
            self.put("busybox", file.read(), 0o4755)
        run = self.run_policy(shell("/data/in/busybox id -u", mounts=[mount(self.source)]))
        self.assertEqual(run.stdout, b"1000\n", run.stderr)

    def test_the_vmm_has_nothing_of_the_source_open(self):
        self.put("a")
        process = self.start(shell("echo up; sleep 60", mounts=[mount(self.source)]))
        self.wait_for_output(process, b"up\n")
        vmm = self.vmm_pids()[0]
        names = [os.readlink(f"/proc/{vmm}/fd/{fd}") for fd in os.listdir(f"/proc/{vmm}/fd")]
        self.assertEqual([name for name in names if name.startswith(self.source)], [])
        images = [fd for fd in os.listdir(f"/proc/{vmm}/fd")
                  if "inputs" in os.readlink(f"/proc/{vmm}/fd/{fd}")]
        self.assertEqual(len({os.readlink(f"/proc/{vmm}/fd/{image}") for image in images}), 1,
                         names)
        for image in images:
            with open(f"/proc/{vmm}/fdinfo/{image}", encoding="ascii") as file:
                flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
            self.assertEqual(flags & os.O_ACCMODE, os.O_RDONLY)
        with open(f"/proc/{vmm}/maps", encoding="ascii") as file:
            self.assertNotIn(self.source, file.read())
        with open(f"/proc/{vmm}/mountinfo", encoding="ascii") as file:
            self.assertNotIn(self.source, file.read())
        process.terminate()
        self.finish(process)

    def test_sixteen_mounts_are_in_their_places(self):
        mounts = []
        for i in range(16):
            self.put(f"{i}/name", b"%d\n" % i * (1 if i % 3 else 5000))
            mounts.append(mount(os.path.join(self.source, str(i)), f"/data/{i}"))
        mounts.append(mount(self.put("file", b"file\n"), "/data/f/g"))
        run = self.run_policy(shell("for i in $(seq 0 15); do head -n 1 /data/$i/name; done; cat "
                                    "/data/f/g", mounts=mounts))
        self.assertEqual(run.stdout.decode().split(), [*map(str, range(16)), "file"], run.stderr)
        self.assertEqual(len(run.events("mount.applied")), 17)

    def test_a_mount_inside_a_mount_needs_its_place(self):
        self.put("inner/x", b"x\n")
        self.put("outer/place/hidden")
        outer, inner = os.path.join(self.source, "outer"), os.path.join(self.source, "inner")
        run = self.run_policy(shell("ls /data/o/place", mounts=[mount(outer, "/data/o"),
                                                                mount(inner, "/data/o/place")]))
        self.assertEqual(run.stdout, b"x\n", run.stderr)
        run = self.run_policy(shell("ls /data/o/none", mounts=[mount(outer, "/data/o"),
                                                               mount(inner, "/data/o/none")]))
        self.assertEqual(run.status, 125)
        self.assertIn(b"SR-RUN-101 mount.apply: mounts[1]: /data/o/none is inside another mount",
                      run.stderr)

    def test_a_read_only_root_gets_the_places_and_stays_read_only(self):
        self.put("a")
        document = shell("cat /data/in/a /home/deep/er/a; ls -ld / /data /home | cut -c 1-10; "
                         "touch /data/x /x 2> /dev/null; "
                         "mount -o remount,rw / && touch /x; ls /x /data/x 2> /dev/null; grep -c "
                         "upperdir= /proc/mounts",
                         mounts=[mount(self.source), mount(self.source, "/home/deep/er")], disk=0,
                         user="0:0")
        run = self.run_policy(document)
        self.assertEqual(run.stdout, b"content\ncontent\ndrwxr-xr-x\ndrwxr-xr-x\ndrwxr-xr-x\n0\n",
                         run.stderr)

    def test_special_files_are_left_out_with_a_warning(self):
        self.put("a")
        os.mkfifo(os.path.join(self.source, "pipe"))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(os.path.join(self.source, "sock"))
            document = shell("ls /data/in", mounts=[mount(self.source)])
            run = self.run_policy(document)
        self.assertEqual((run.stdout, run.status), (b"a\n", 0))
        self.assertIn(b"warning: %s: 2 special files are left out: pipe (a pipe) and others\n"
                      % self.source.encode(), run.stderr)
        self.assertEqual(run.events("mount.applied")[0]["skipped"], 2)

    def test_stdin_may_be_a_file_of_a_mount(self):
        self.put("in.csv", b"a,b\n")
        run = self.run_policy(policy("/bin/cat", stdin="/data/in/in.csv",
                                     mounts=[mount(self.source)]))
        self.assertEqual(run.stdout, b"a,b\n", run.stderr)

    def test_where_nothing_can_be_kept_it_works_too(self):
        self.put("a")
        self.configure(inputs={"keepMax": "0Mi"})
        run = self.run_policy(policy("/bin/cat", "/data/in/a", mounts=[mount(self.source)]))
        self.assertEqual(run.stdout, b"content\n", run.stderr)
        self.assertEqual([name for name in os.listdir(run.dir) if name.startswith(".")
                          or "img" in name], [])


class InputsAsUser(Inputs):
    user = 12345

    def test_an_unreadable_file_is_named(self):
        self.put("d/secret", mode=0o000)
        run = self.run_policy(policy("/bin/true", mounts=[mount(self.source)]))
        self.assertEqual(run.status, 125)
        self.assertIn(b"SR-RUN-101 mount.apply: mounts[0]: ", run.stderr)
        self.assertIn(b"/source/d/secret cannot be read: Permission denied", run.stderr)
        rejected = run.events("mount.rejected")[0]
        self.assertEqual((rejected["source"], rejected["errorCode"]), (self.source, "SR-RUN-101"))
        self.assertEqual(run.report["mountAudit"]["rejected"], 1)
        self.assertEqual(run.events("vm.started"), [])


class Changes(IoTest):
    """The source changes between validation, packing and launch."""

    @contextlib.contextmanager
    def changing(self, path):
        """Appends to a file all the time, which is long enough for this to be noticed however busy
        the machine is."""
        os.truncate(path, 1 << 30)
        size = os.path.getsize(path)
        with subprocess.Popen(["/bin/sh", "-c", f"while :; do echo x >> {path}; done"]) as writer:
            try:
                self.wait_for(lambda: os.path.getsize(path) > size)
                yield
            finally:
                writer.kill()

    def test_a_file_that_changes_while_it_is_packed_refuses_the_run(self):
        path = self.put("a")
        with self.changing(path):
            run = self.run_policy(policy("/bin/true", mounts=[mount(self.source)]))
        self.assertEqual(run.status, 125, run.stderr)
        self.assertRegex(run.failure[1],
                         "changed (while it was (read|packed)|after it was checked)")
        self.assertEqual(run.failure[0], "SR-RUN-101")
        self.assertEqual(run.report["mountAudit"]["rejected"], 1)

    def test_one_bad_mount_rejects_the_run_and_all_are_accounted_for(self):
        self.put("good/a")
        path = self.put("bad/a")
        places = [os.path.join(self.source, name) for name in ("good", "bad", "good")]
        with self.changing(path):
            run = self.run_policy(policy("/bin/true", mounts=[mount(place, f"/data/{i}") for i,
                                                              place in enumerate(places)]))
        audit = run.report["mountAudit"]
        self.assertEqual((run.status, audit["requested"], audit["accepted"], audit["rejected"]),
                         (125, 3, 2, 1))
        self.assertIn("mounts[1]", run.failure[1])
        self.assertEqual(run.events("mount.applied"), [])

    def test_a_source_that_is_swapped_again_and_again_is_never_followed_elsewhere(self):
        """A link to what may not be mounted takes the source's place and leaves it, all the
        time."""
        self.put("real/a", b"allowed\n")
        self.write("secret", "secret\n")
        outside = self.path("outside")
        os.mkdir(outside)
        with open(os.path.join(outside, "a"), "w", encoding="ascii") as file:
            file.write("secret\n")
        allow = self.write("narrow.yaml", "schemaVersion: safe-run.mount-allowlist/v1\n"
                           f"hostAllowPrefixes: [{self.source}]\nguestAllowPrefixes: [/data]\n")
        place, stop = os.path.join(self.source, "in"), self.path("stop")
        os.rename(os.path.join(self.source, "real"), place)
        script = f"""while [ ! -e {stop} ]; do
            mv {place} {place}.away; ln -s {outside} {place}; rm {place}
            mv {place}.away {place}; done"""
        writer = subprocess.Popen(["/bin/sh", "-c", script], stderr=subprocess.DEVNULL)
        for _ in range(8):
            run = self.run_policy(policy("/bin/cat", "/data/in/a", mounts=[mount(place)]),
                                  "--mount-allowlist", allow)
            self.assertIn(run.stdout, (b"allowed\n", b""))
            self.assertEqual(run.status, 0 if run.stdout else 125)
        self.write("stop", "")
        writer.wait()


class Kept(IoTest):
    """Unchanged inputs are packed once."""

    def age(self):
        """Makes the source old enough that a change would show."""
        time.sleep(3.1)

    def kept(self):
        return sorted(os.listdir(os.path.join(self.dir, "home", "inputs")))

    def run_once(self, **changes):
        document = policy("/bin/cat", "/data/in/a", mounts=[mount(self.source)], **changes)
        run = self.run_policy(document)
        self.assertEqual(run.status, 0, run.stderr)
        return run, run.events("mount.applied")[0]

    def test_found_again_until_something_changes(self):
        self.put("a", b"one\n")
        self.age()
        first, second = self.run_once()[1], self.run_once()[1]
        self.assertEqual((first["reused"], second["reused"]), (False, True))
        self.assertEqual({**first, "reused": True}, second)
        self.put("a", b"two\n")  # of the same size
        run, third = self.run_once()
        self.assertEqual((run.stdout, third["reused"]), (b"two\n", False))
        self.assertNotEqual(third["imageHash"], first["imageHash"])

    def test_what_changed_just_now_is_not_kept(self):
        self.put("a", b"one\n")
        self.run_once()
        self.assertEqual(self.kept(), [])

    def test_a_kept_image_that_was_changed_is_packed_anew(self):
        self.put("a", b"one\n")
        self.age()
        self.run_once()
        image = os.path.join(self.dir, "home", "inputs", next(name for name in self.kept()
                                                              if name.endswith(".img")))
        with open(image, "r+b") as file:
            file.seek(200)
            file.write(b"evil")
        run, applied = self.run_once()
        self.assertEqual((run.stdout, applied["reused"]), (b"one\n", False))

    def test_rehash_packs_again(self):
        self.put("a", b"one\n")
        self.age()
        document = policy("/bin/true", mounts=[mount(self.source)])
        runs = [self.run_policy(document), self.run_policy(document, "--rehash")]
        self.assertEqual([run.events("mount.applied")[0]["reused"] for run in runs], [False, False])

    def test_users_of_the_guest_have_images_of_their_own(self):
        self.put("a", b"one\n", 0o600)
        self.age()
        self.assertEqual([self.run_once(user=user)[1]["reused"]
                          for user in ("1000:1000", "2000:2000", "2000:2000")],
                         [False, False, True])

    def test_the_longest_unused_go_first(self):
        self.configure(inputs={"keepMax": "3Mi"})
        names = []
        for i in range(3):
            self.put("a", os.urandom(1 << 20))
            self.age()
            self.run_once()
            names.append(set(self.kept()))
        self.assertEqual(len(names[1]), 4)
        self.assertEqual(len(names[2]), 4)
        self.assertFalse(names[0] & names[2])

    def test_gc_removes_what_is_old_and_what_belongs_to_nothing(self):
        self.put("a", b"one\n")
        self.age()
        self.run_once()
        store = os.path.join(self.dir, "home", "inputs")
        for name in ("f" * 64 + "-0-0.img", ".f.note.1"):
            with open(os.path.join(store, name), "w", encoding="ascii"):
                pass
        self.assertEqual(self.call("gc").returncode, 0)
        self.assertEqual(len(self.kept()), 4)  # young
        for name in self.kept():
            os.utime(os.path.join(store, name), (0, 0))
        self.assertEqual(self.call("gc", "--older-than", "1d").returncode, 0)
        self.assertEqual([name for name in self.kept() if name.endswith(".note")
                          and not name.startswith(".")], [])

    def test_nobody_else_can_read_what_is_kept(self):
        self.put("a", b"one\n")
        self.age()
        self.run_once()
        store = os.path.join(self.dir, "home", "inputs")
        self.assertEqual(stat.S_IMODE(os.stat(store).st_mode), 0o700)
        for name in self.kept():
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(store, name)).st_mode), 0o600)

    def test_a_store_that_others_can_write_to_is_not_used(self):
        self.put("a", b"one\n")
        self.age()
        self.run_once()
        os.chmod(os.path.join(self.dir, "home", "inputs"), 0o777)
        self.assertFalse(self.run_once()[1]["reused"])


class Progress(IoTest):
    def test_a_terminal_sees_a_bar_when_it_takes_long(self):
        with open(os.path.join(self.source, "big"), "wb") as file:
            file.truncate((1 if SANITIZED else 3) << 30)  # zeros, seconds of work
        path = self.write_policy(policy("/bin/true", mounts=[mount(self.source)]))
        done = subprocess.run(["script", "-qec", f"{SAFE_RUN} run --policy {path}", "/dev/null"],
                              env=self.env, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=300, check=False)
        self.assertIn(b"\rpacking ", done.stdout)
        self.assertTrue(done.stdout.endswith(b"\r\x1b[K"), done.stdout[-100:])
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_run_that_is_killed_while_it_packs_leaves_evidence_and_nothing_else(self):
        with open(os.path.join(self.source, "big"), "wb") as file:
            file.truncate(60 << 30)
        process = self.start(policy("/bin/true", mounts=[mount(self.source)]))
        self.wait_for(lambda: len(self.children(process.pid)) > 0)
        worker = self.children(process.pid)[0]
        process.kill()
        process.communicate()
        self.wait_for(lambda: not os.path.exists(f"/proc/{worker}"))
        self.assertEqual(self.call("gc").returncode, 0)
        run, = (os.path.join(self.base, name) for name in os.listdir(self.base)
                if name.startswith("sr-"))
        done = self.call("report", "verify", "--artifacts", run, "--events",
                         os.path.join(run, "events.jsonl"), os.path.join(run, "run_report.json"))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(b"policy.json is not vouched for", done.stdout)
        self.assertEqual(os.listdir(os.path.join(self.dir, "home", "inputs")), [])

    def test_an_interrupt_ends_the_packing(self):
        with open(os.path.join(self.source, "big"), "wb") as file:
            file.truncate(60 << 30)  # zeros, a minute's work
        process = self.start(policy("/bin/true", mounts=[mount(self.source)]))
        self.wait_for(lambda: len(self.children(process.pid)) > 0)
        process.terminate()
        run = self.finish(process)
        self.assertEqual((run.status, run.cause), (143, "interrupted"))
        self.assertEqual(run.events("vm.started"), [])


if __name__ == "__main__":
    import unittest
    unittest.main()
