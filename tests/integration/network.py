"""A small internet for tests: a namespace that is the host safe-run runs on, one that is everything
else, a cable between them. No address outside of them is ever contacted.

    host       192.0.2.1/24, 10.99.0.1/32, lo; default route to the rest
    the rest   192.0.2.2, 198.51.100.7 to .9, 203.0.113.5, 203.0.113.6, 10.1.2.3, 169.254.169.254
"""
import ctypes
import json
import os
import re
import socket
import stat
import struct
import subprocess
import time

from harness import BUILD, SAFE_RUN, SafeRunTest, policy

ADDRESSES = ["192.0.2.2/24", "198.51.100.7/32", "198.51.100.8/32", "198.51.100.9/32",
             "203.0.113.5/32", "203.0.113.6/32",
             "10.1.2.3/32", "169.254.169.254/32"]
ECHO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "echo_server.py")
PROBE = os.path.join(BUILD, "tests", "guests", "netprobe")


def setns(file):
    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def rule(protocol, target, port):
    return {"protocol": protocol, "cidr" if target[0].isdigit() else "host": target, "port": port}


def allow(*rules):
    return {"mode": "allowlist", "egress": [rule(*words) for words in rules]}


def udp_packet(destination, port, source="198.18.0.2", ttl=64, options=b"", protocol=17,
               payload=b"stray\n"):
    """An IPv4 packet with a datagram, as a frame's bytes from its Ethernet type on (RFC 791, RFC
    768; no UDP checksum)."""
    options += bytes(-len(options) % 4)
    datagram = struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options)
                         + len(datagram), 77, 0, ttl, protocol, 0)
    header += socket.inet_aton(source) + socket.inet_aton(destination) + options
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xffff) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xffff
    return b"\x08\x00" + header[:10] + struct.pack("!H", checksum) + header[12:] + datagram


def frame_probe(data, mac=""):
    return f"frame:{data.hex()}" + (f":{mac}" if mac else "")


def steered_probes(destination, port, wanted):
    """Datagrams whose checksum, put where the destination port is, makes another port of it. Who
    translates the source address changes the sum a little: a few guesses."""
    def folded(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xffff) + (total >> 16)
        return total

    for guess in range(-8, 9):
        packet = udp_packet(destination, port, payload=b"lead" + bytes(4))
        # a checksum field of zero would mean that there is none
        datagram = packet[22:28] + b"\x12\x34" + packet[30:]
        word = (~wanted - folded(datagram) + guess) % 0xffff
        yield f"steer:{(packet[:22] + datagram[:12] + struct.pack('!HH', word, 0)).hex()}:2"


def shell_policy(network):
    return policy("/bin/true", network=network)


def probing(network, *probes, **changes):
    """A policy that runs the probe, which comes by stdin, as root of the guest."""
    return policy("/bin/sh", "-c", 'cat > /tmp/probe; chmod 755 /tmp/probe; exec /tmp/probe "$@"',
                  "probe", *probes,
                  network=network, user="0:0", **changes)


class NetworkTest(SafeRunTest):
    as_user = False  # or as an ordinary user who may open /dev/net/tun
    open_node = False  # or as root, with a device node that everybody may open

    def setUp(self):
        super().setUp()
        if self.as_user:  # a node of mode 0666 in a mount namespace, where this machine has none
            os.chmod(self.dir, 0o755)
            for directory in (self.base, self.path("home")):
                os.mkdir(directory)
                os.chown(directory, 12345, 12345)
            self.env["HOME"] = self.path("home")
        if self.as_user or self.open_node:
            os.mknod(self.path("tun"), 0o666 | stat.S_IFCHR, os.makedev(10, 200))
            os.chmod(self.path("tun"), 0o666)
        self.links = ("lo", "cable")
        self.host = self.namespace()
        self.rest = self.namespace()
        self.inside(self.host, "ip", "link", "add", "cable", "type", "veth", "peer", "name",
                    "cable", "netns", str(self.rest))
        for space, addresses in ((self.host, ["192.0.2.1/24", "10.99.0.1/32"]),
                                 (self.rest, ADDRESSES)):
            for address in addresses:
                self.inside(space, "ip", "addr", "add", address, "dev", "cable")
            self.inside(space, "ip", "link", "set", "cable", "up")
            self.inside(space, "ip", "link", "set", "lo", "up")
        self.inside(self.host, "ip", "route", "add", "default", "via", "192.0.2.2")
        self.servers, self.running = [], []

    def tearDown(self):
        for server in self.running:
            server.kill()
            server.wait()
        super().tearDown()

    def namespace(self):
        """A network namespace, which a process of ours holds; its pid."""
        holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 1000"],
                                  stdout=subprocess.PIPE)
        self.addCleanup(lambda: (holder.kill(), holder.wait(), holder.stdout.close()))
        holder.stdout.readline()
        return holder.pid

    def inside(self, space, *command, own_users=False, **options):
        done = subprocess.run(["nsenter", "-t", str(space), "-n", *(["-U"] if own_users else []),
                               *command], capture_output=True, text=True, **options)
        self.assertEqual(done.returncode, 0, (command, done.stderr))
        return done.stdout

    def socket_in(self, space, address, port):
        """A UDP socket of this process in another network namespace."""
        with open("/proc/self/ns/net", "rb") as here, open(f"/proc/{space}/ns/net", "rb") as there:
            setns(there)
            try:
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                made.bind((address, port))
                made.settimeout(10)
            finally:
                setns(here)
        self.addCleanup(made.close)
        return made

    def udp_sockets(self, space):
        """UDP sockets of a network namespace: (local address, port, peer's address, port)."""
        def parse(text):
            address, port = text.split(":")
            return socket.inet_ntoa(struct.pack("<I", int(address, 16))), int(port, 16)
        lines = self.read(f"/proc/{space}/net/udp").splitlines()[1:]
        return [parse(line.split()[1]) + parse(line.split()[2]) for line in lines]

    def start_probe(self, network, *probes, **changes):
        """Like probe(), for a test that is the peer meanwhile."""
        with open(PROBE, "rb") as file:
            process = self.start_here(probing(network, *probes, **changes), "--stdin",
                                      stdin=subprocess.PIPE)
            process.stdin.write(file.read())
        process.stdin.close()
        process.stdin = None
        return process

    def collect(self):
        """gc, by whom the runs belong to."""
        become = ["setpriv", "--reuid=12345", "--regid=12345",
                  "--clear-groups"] if self.as_user else []
        self.inside(self.host, *become, SAFE_RUN, "gc", env=self.env)

    def serve(self, *specs, space=None):
        """Starts servers; their log of what arrived is arrivals(). "udp:*:53" is one for each
        address: the answer must come from where the question went."""
        ours = ["192.0.2.1", "10.99.0.1"] if space else [address.split("/")[0]
                                                         for address in ADDRESSES]
        specs = [spec.replace("*", address) for spec in specs
                 for address in (ours if "*" in spec else [""])]
        log = os.path.join(self.dir, f"server{len(self.servers)}")
        with open(log, "wb") as file:
            server = subprocess.Popen(["nsenter", "-t", str(space or self.rest), "-n", ECHO,
                                       *specs], stdout=file)
        self.servers.append(log)
        self.running.append(server)
        self.wait_for(lambda: self.read(log).startswith("ready"))
        return log

    def read(self, path):
        with open(path, encoding="utf-8") as file:
            return file.read()

    def arrivals(self):
        return [line for log in self.servers for line in self.read(log).splitlines()[1:]]

    def start_here(self, document, *options, **popen):
        """Like start(), on the test's host."""
        path = document if isinstance(document, str) else self.write_policy(document)
        popen.setdefault("stdin", subprocess.DEVNULL)
        become = ["unshare", "-m", "sh", "-c",
                  f'mount --bind {self.path("tun")} /dev/net/tun && exec "$@"',
                  "sh"] if self.as_user or self.open_node else []
        if self.as_user:
            become += ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
        return subprocess.Popen(["nsenter", "-t", str(self.host), "-n", *become, SAFE_RUN, "run",
                                 "--policy", path, *options],
                                env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                **popen)

    def run_here(self, document, *options, feed=None):
        return self.finish(self.start_here(document, *options, stdin=subprocess.PIPE if feed
                                           else subprocess.DEVNULL), feed)

    def probe(self, network, *probes, **changes):
        """Runs probes in a guest: ({probe: verdict}, run)."""
        with open(PROBE, "rb") as file:
            run = self.run_here(probing(network, *probes, **changes), "--stdin", feed=file.read())
        self.assertEqual(run.status, 0, run.stderr)
        return dict(line.rsplit(" ", 1) for line in run.stdout.decode().splitlines()), run

    def dns(self, table, **network):
        """A name server with this table ({name: [ttl, address...] or what echo_server.py wants}),
        and safe-run told to use it."""
        path = os.path.join(self.dir, "names.json")
        self.write_names(table)
        self.serve(f"dns:192.0.2.2:53:{path}")
        self.configure(network={"resolver": "192.0.2.2", **network})

    def write_names(self, table):
        path = os.path.join(self.dir, "names.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({name: facts if isinstance(facts, dict) else {"ttl": facts[0],
                                                                    "addresses": facts[1:]}
                       for name, facts in table.items()}, file)
        os.rename(path + ".new", path)

    def cell_of(self, process):
        return next(pid for pid in self.children(process.pid) if self.read(f"/proc/{pid}/comm")
                    == "safe-run-net\n")

    def closed_by(self, process):
        """The addresses that a run has closed because they are the host's, as nft writes them."""
        return self.inside(self.cell_of(process), "nft", "list", "set", "inet", "safe_run", "host",
                           own_users=self.as_user or self.open_node)

    def wait_until_closed(self, process, words):
        self.wait_for(lambda: words in self.closed_by(process))

    def name_of(self, pid):
        """What a process is called; pasta's is another in Debian 13, and here that of 12."""
        return re.sub("^pasta", "passt", self.read(f"/proc/{pid}/comm").strip())

    def residue(self):
        """What the runs of this test have left on its host: links, rules, mounts, processes. A
        namespace lives by these."""
        links = [line.split(": ")[1].split("@")[0]
                 for line in self.inside(self.host, "ip", "-o", "link").splitlines()]
        found = [("link", link) for link in links if link not in self.links]
        rules = self.inside(self.host, "nft", "list", "ruleset")
        if rules.strip():
            found.append(("rules", rules))
        found += [("mount", line) for line in self.read("/proc/self/mountinfo").splitlines()
                  if self.dir in line]
        found += [("process", str(pid), "qemu") for pid, _ in self.leftovers()
                  if pid in self.vmm_pids()]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                name = self.name_of(pid)
                with open(f"/proc/{pid}/environ", "rb") as file:
                    ours = self.dir.encode() in file.read()
                logs = any(os.readlink(f"/proc/{pid}/fd/{fd}").startswith(self.dir)
                           for fd in os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue
            if (name.startswith(("safe-run", "passt", "nft", "qemu"))) and (ours or logs):
                found.append(("process", pid, name))
        return found

    def assert_no_residue(self):
        deadline = time.monotonic() + 2
        while self.residue() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.residue(), [])
