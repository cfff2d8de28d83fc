"""The processes of a run's network, looked at from outside while it is up: the net cell, pasta, the
resolver. What they hold, and what they find where the host's files were."""
import os
import re
import unittest

from harness import SANITIZED, shell
from network import NetworkTest, allow

NET_BIND_SERVICE, NET_ADMIN, SYS_ADMIN = 1 << 10, 1 << 12, 1 << 21
# and CAP_SETGID, CAP_SETUID
STARTS_WITH = NET_BIND_SERVICE | NET_ADMIN | SYS_ADMIN | 1 << 6 | 1 << 7
MIB = 1 << 20


class Room(NetworkTest):
    own_users = False  # in a user namespace

    def setUp(self):
        super().setUp()
        self.serve("tcp:*:443")
        self.dns({"api.example.com": [60, "198.51.100.7"]})
        self.process = self.start_here(shell("echo up; read x; (echo through; sleep 1) | timeout "
                                             "3 nc 198.51.100.7 443",
                                             network=allow(("tcp", "api.example.com", 443),
                                                           ("udp", "api.example.com", 443))),
                                       "--stdin", stdin=-1, extra_groups=[4242])
        self.wait_for_output(self.process, b"up")
        below = self.children(self.process.pid)
        self.cell = next(pid for pid in below if self.read(f"/proc/{pid}/comm") == "safe-run-net\n")
        self.resolver = next(pid for pid in below if self.read(f"/proc/{pid}/comm")
                             == "safe-run-names\n")
        self.pasta = next(pid for pid in self.children(self.cell)
                          if "pas" in self.read(f"/proc/{pid}/comm"))
        self.relay = next(pid for pid in self.children(self.cell) if self.read(f"/proc/{pid}/comm")
                          == "safe-run-udp\n")

    def tearDown(self):
        run = self.finish(self.process, b"go\n")  # what was looked at works
        self.assertEqual((run.status, run.stdout), (0, b"through\n"), run.stderr)
        super().tearDown()

    def status(self, pid):
        return dict(line.split(":\t", 1) for line in self.read(f"/proc/{pid}/status").splitlines()
                    if ":\t" in line)

    def capabilities(self, pid):
        status = self.status(pid)
        return {name: int(status["Cap" + name], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}

    def limits(self, pid):
        lines = self.read(f"/proc/{pid}/limits").splitlines()[1:]
        return {line[:26].strip(): line[26:].split()[:2] for line in lines}

    def assert_spaces(self, pid, *spaces):
        for space in (*spaces, *(["user"] if self.own_users else [])):
            self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/{space}"),
                                os.readlink(f"/proc/self/ns/{space}"), space)

    def assert_confined(self, pid, filters):
        status = self.status(pid)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]),
                         ("1", "2" if filters else "0", str(filters)))
        self.assertEqual(self.limits(pid)["Max core file size"], ["0", "0"])
        self.assertEqual(self.limits(pid)["Max locked memory"], ["0", "0"])

    def test_the_net_cell(self):
        admin = {"Inh": NET_ADMIN, "Prm": NET_ADMIN, "Eff": NET_ADMIN, "Bnd": NET_ADMIN,
                 "Amb": NET_ADMIN}
        self.assertEqual(self.capabilities(self.cell), admin)
        self.assert_spaces(self.cell, "mnt", "pid", "net")
        self.assert_confined(self.cell, 0 if SANITIZED
                             else 2)  # the list, and what forbids requests
        self.assertEqual(self.limits(self.cell)["Max file size"], [str(MIB), str(MIB)])
        self.assertEqual(self.read(f"/proc/{self.cell}/oom_score_adj").strip(), "500")
        self.assertRegex(os.readlink(f"/proc/{self.cell}/root/proc/self/exe"),
                         r"/pas(st|ta)(\.avx2)?$")  # what pasta asks /proc for
        self.assertEqual(set(os.listdir(f"/proc/{self.cell}/root")),
                         {"dev", "lib", "lib64", "proc", "tmp", "usr"})
        mounts = {line.split()[4]: line.split()[5].split(",")
                  for line in self.read(f"/proc/{self.cell}/mountinfo").splitlines()}
        for place, options in mounts.items():
            wanted = {"rw", "nosuid",
                      "noexec"} if place == "/dev/net/tun" else {"ro", "nosuid", "nodev"}
            self.assertTrue(wanted <= set(options), (place, options))
        others = [place for place in mounts if not re.match("/(usr|lib|lib64)/", place)]
        self.assertEqual(sorted(others), ["/", "/dev/net/tun", "/tmp/netns"])
        # The TAP's has no name that could be relied on: its mount may be of this one file.
        held = {os.readlink(f"/proc/{self.cell}/fd/{fd}").split(":")[0]
                for fd in os.listdir(f"/proc/{self.cell}/fd") if int(fd) > 2
                and "\niff:" not in self.read(f"/proc/{self.cell}/fdinfo/{fd}")}
        self.assertLessEqual(held, {"socket", "anon_inode"})

    def test_pasta(self):
        has = self.capabilities(self.pasta)
        self.assertEqual((has["Prm"] & ~(NET_BIND_SERVICE | SYS_ADMIN), has["Bnd"] & ~STARTS_WITH,
                          has["Inh"], has["Amb"]), (0, 0, 0, 0))
        self.assert_spaces(self.pasta, "mnt", "pid", "ipc", "uts")
        self.assertNotEqual(os.readlink(f"/proc/{self.pasta}/ns/mnt"),
                            os.readlink(f"/proc/{self.cell}/ns/mnt"))
        self.assert_confined(self.pasta, 1 if SANITIZED else 3)  # its own, and ours
        self.assertEqual(self.limits(self.pasta)["Max file size"], [str(MIB), str(MIB)])
        self.assertEqual(self.read(f"/proc/{self.pasta}/oom_score_adj").strip(), "500")
        self.assertEqual(os.listdir(f"/proc/{self.pasta}/root"), [])
        self.assertEqual(self.read(f"/proc/{self.pasta}/environ"), "")

        self.assertEqual(self.limits(self.pasta)["Max open files"], ["576", "576"])

    def test_the_udp_relay(self):
        self.assertEqual(self.capabilities(self.relay), {"Inh": 0, "Prm": 0, "Eff": 0, "Bnd": 0,
                                                         "Amb": 0})
        uid = int(self.status(self.relay)["Uid"].split()[0])
        if self.open_node:
            self.assertGreaterEqual(uid, 2000000000)
        else:
            self.assertEqual(uid, 12345 if self.as_user else 65534)
        self.assert_spaces(self.relay, "mnt", "pid", "ipc", "uts")
        self.assertNotEqual(os.readlink(f"/proc/{self.relay}/ns/net"),
                            os.readlink(f"/proc/{self.cell}/ns/net"))
        self.assert_confined(self.relay, 0 if SANITIZED else 2)
        self.assertEqual(self.limits(self.relay)["Max open files"], ["520", "520"])
        self.assertEqual(self.limits(self.relay)["Max file size"], [str(MIB), str(MIB)])
        self.assertEqual(self.read(f"/proc/{self.relay}/oom_score_adj").strip(), "500")
        self.assertEqual(os.listdir(f"/proc/{self.relay}/root"), [])
        held = sorted(os.readlink(f"/proc/{self.relay}/fd/{fd}")
                      for fd in os.listdir(f"/proc/{self.relay}/fd") if int(fd) > 2)
        self.assertEqual(len(held), 2, held)
        self.assertEqual(held[1], "anon_inode:[eventpoll]")
        self.assertIn("net/tun", held[0])

    def test_the_resolver(self):
        has = self.capabilities(self.resolver)
        self.assertEqual((has["Prm"], has["Eff"], has["Inh"], has["Amb"]), (0, 0, 0, 0))
        self.assertEqual(self.status(self.resolver)["Uid"].split()[0], "12345" if self.as_user
                         else "65534")
        self.assertEqual(self.status(self.resolver)["Groups"].strip(), "")
        self.assert_confined(self.resolver, 0 if SANITIZED else 2)
        self.assertEqual(self.limits(self.resolver)["Max file size"], ["0", "0"])
        files = [os.readlink(f"/proc/{self.resolver}/fd/{fd}").split(":")[0]
                 for fd in os.listdir(f"/proc/{self.resolver}/fd") if fd != "2"]
        self.assertEqual(set(files), {"socket"})


class RoomAsUser(Room):
    as_user = own_users = True


class RoomWithOwnId(Room):
    open_node = own_users = True


del NetworkTest

if __name__ == "__main__":
    unittest.main()
