"""The guest's init and the frames it exchanges with its host (src/channel/protocol.h). Tests are
the host, and start QEMU as safe-run does."""
import os
import signal
import socket
import struct

from harness import BUILD, SafeRunTest, policy

HELLO, STARTED, STDOUT, EXIT = 1, 2, 4, 6
SPEC, START, STDIN, STDIN_EOF, RESIZE = 16, 17, 18, 19, 24
VM, COMMAND = 0, 1  # sessions


def field(tag, content):
    return struct.pack("<BI", tag, len(content)) + content


def specification(script):
    texts = [field(1, b"/bin/sh"), field(2, b"-c"), field(2, script), field(4, b"/")]
    numbers = [field(5, struct.pack("<II", 0, 0)), field(6, struct.pack("<I", 64)),
               field(7, struct.pack("<Q", 0)), field(9, bytes(64)), field(10, b"")]
    return b"".join(texts + numbers + [field(11, b"guest")])


class Guest(SafeRunTest):
    def setUp(self):
        super().setUp()
        argv = self.run_policy(policy("/bin/true")).events("vm.started")[0]["argv"]
        places = {"/kernel": "/proc/self/fd/6", "/initrd": "/proc/self/fd/7"}
        pairs = [socket.socketpair() for _ in ("qmp", "channel", "console")]
        files = [os.open(os.path.join(BUILD, "artifacts", name), os.O_RDONLY)
                 for name in ("vmlinux", "initrd.img", "images/base.img")]
        theirs = [pair[1].fileno() for pair in pairs] + files
        high = [os.dup2(fd, 100 + i) for i, fd in enumerate(theirs)]
        self.vmm = os.posix_spawn(argv[0], [places.get(word, word) for word in argv], {},
                                  file_actions=[(os.POSIX_SPAWN_DUP2, fd, 3 + i)
                                                for i, fd in enumerate(high)])
        self.addCleanup(self.end)
        for fd in high + files:
            os.close(fd)
        for ours, end in pairs:
            end.close()
            ours.settimeout(180)
            self.addCleanup(ours.close)
        self.channel = pairs[1][0]

    def end(self):
        os.kill(self.vmm, signal.SIGKILL)
        os.waitpid(self.vmm, 0)

    def send(self, kind, content=b"", session=COMMAND):
        self.channel.sendall(struct.pack("<IBBH", len(content), kind, 0, session) + content)

    def read(self, length):
        content = b""
        while len(content) < length:
            piece = self.channel.recv(length - len(content))
            self.assertNotEqual(piece, b"", "the guest ended")
            content += piece
        return content

    def take(self, kind, session=COMMAND):
        """The content of the next frame of this kind, which must be of this session."""
        while True:
            length, found, zero, found_session = struct.unpack("<IBBH", self.read(8))
            content = self.read(length)
            if found == kind:
                self.assertEqual((zero, found_session), (0, session))
                return content

    def test_a_command_is_session_1_and_takes_the_size_of_a_terminal(self):
        self.assertEqual(self.take(HELLO, VM), b"SRUN" + struct.pack("<I", 4))
        self.send(SPEC, specification(b"read line; echo got $line; exit 7"))
        self.send(START)
        self.assertEqual(self.take(STARTED), b"")
        self.send(RESIZE, struct.pack("<HH", 24, 80))
        self.send(STDIN, b"a line\n")
        self.send(STDIN_EOF)
        self.assertEqual(self.take(STDOUT), b"got a line\n")
        self.assertEqual(struct.unpack_from("<II", self.take(EXIT)), (7, 0))

    def test_a_host_that_names_no_session_is_refused(self):
        self.take(HELLO, VM)
        self.send(SPEC, specification(b"true"), VM)
        self.assertEqual(self.channel.recv(1), b"", "the guest did not end")
