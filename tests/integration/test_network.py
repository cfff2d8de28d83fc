"""network.mode allowlist, with real guests in namespaces that the tests make: what is reached, what
is not, and what the evidence says of it."""
import datetime
import json
import os
import re
import signal
import subprocess
import time
import unittest

from harness import BUILD, SANITIZED, SOURCE, shell
from network import PROBE, NetworkTest, allow, frame_probe, probing, steered_probes, udp_packet

EVERYWHERE = ["tcp:*:443", "tcp:*:80", "udp:*:53", "udp:*:443"]


def hits(run):
    """Allowed and blocked packets of each target, summed over the events."""
    sums = {}
    for hit in run.events("network.rule.hit"):
        key = (hit["protocol"], hit["target"], hit["port"])
        allowed, blocked = sums.get(key, (0, 0))
        sums[key] = (allowed + hit["allowedHits"], blocked + hit["blockedHits"])
    return sums


LSRR = bytes([131, 7, 4]) + bytes([198, 51, 100,
                                   # loose source route: by way of the destination to another (RFC
                                   # 791)
                                   8])


class Attack:
    """What root of a guest may try with frames of its own making."""

    def attack(self, network):
        probes = [frame_probe(packet) for packet in (
            # Sources that are not the guest's; those with a TTL of 1 would have the kernel send an
            # ICMP error to that source.
            udp_packet("198.51.100.7", 53, source="198.51.100.8"),
            udp_packet("198.51.100.7", 53, source="198.51.100.8", ttl=1),
            udp_packet("198.18.0.1", 53, source="198.51.100.8", ttl=1),
            udp_packet("198.51.100.7", 53, source="198.18.0.1"),
            udp_packet("198.51.100.7", 53, source="127.0.0.1"),
            udp_packet("198.51.100.7", 53, source="198.18.0.6"),
            # IP options: routers on the way would follow them.
            udp_packet("198.51.100.7", 53, options=LSRR),
            udp_packet("198.18.0.1", 53, options=LSRR),
            udp_packet("198.51.100.7", 53, options=bytes([7, 7, 4, 0, 0, 0, 0])),
            # Other protocols, and tags that hide one.
            *(udp_packet("198.51.100.7", 53, protocol=protocol)
              for protocol in (1, 2, 4, 6, 41, 47, 50, 132, 136)),
            bytes.fromhex("81000000") + udp_packet("198.51.100.7", 54),
            bytes.fromhex("81000005") + udp_packet("198.51.100.7", 53),
            bytes.fromhex("88a8000581000005") + udp_packet("198.51.100.7", 53),
            # Addresses that lead to the namespace, the host, its neighbours, or everybody.
            *(udp_packet(address, 9) for address in ("198.18.0.1", "198.18.0.3", "198.18.0.5",
                                                     "198.18.0.6", "198.18.0.7",
                                                     "192.0.2.1", "192.0.2.101", "192.0.2.255",
                                                     "0.0.0.0", "127.0.0.1",
                                                     "169.254.169.254", "224.0.0.1", "240.0.0.1",
                                                     "255.255.255.255")))]
        probes += [frame_probe(udp_packet("198.51.100.7", 53), mac)
                   for mac in ("ffffffffffff", "01005e000001")]
        verdicts, run = self.probe(network, *probes, "udp:198.51.100.7:53", audit={"level": "full"})
        self.assertNotIn("closed", verdicts.values())
        return run


class Reach(Attack, NetworkTest):
    def test_only_what_a_rule_names_is_reached(self):
        self.serve(*EVERYWHERE)
        network = allow(("tcp", "198.51.100.7/32", 443), ("udp", "198.51.100.7/32", 53),
                        ("tcp", "203.0.113.0/24", 80))
        verdicts, run = self.probe(
            network, "tcp:198.51.100.7:443", "udp:198.51.100.7:53", "tcp:203.0.113.5:80",
                                   "tcp:203.0.113.6:80",
            "tcp:198.51.100.7:80", "udp:198.51.100.7:443", "tcp:198.51.100.8:443",
                                   "udp:198.51.100.8:53",
            "tcp:203.0.113.5:443", "udp:203.0.113.5:53", "icmp:198.51.100.7", "icmp:203.0.113.5",
                                   "tcp:10.1.2.3:443",
            "tcp:169.254.169.254:80", audit={"level": "full"})
        opened = [probe for probe, verdict in verdicts.items() if verdict == "open"]
        self.assertEqual(opened, ["tcp:198.51.100.7:443", "udp:198.51.100.7:53",
                                  "tcp:203.0.113.5:80", "tcp:203.0.113.6:80"])
        self.assertEqual(sorted(line.rsplit(" ", 1)[0] for line in self.arrivals()),
                         ["tcp 198.51.100.7 443", "tcp 203.0.113.5 80", "tcp 203.0.113.6 80",
                          "udp 198.51.100.7 53"])
        sums = hits(run)
        self.assertEqual(sums["tcp", "198.51.100.7/32", 443][0], 1)
        self.assertEqual(sums["udp", "198.51.100.7/32", 53][0], 1)
        self.assertEqual(sums["tcp", "203.0.113.0/24", 80][0], 2)
        self.assertGreaterEqual(sums["tcp", "198.51.100.7/32", 443][1],
                                3)  # tcp 80, udp 443, icmp: its first rule counts
        self.assertEqual(sums["udp", "198.51.100.7/32", 53][1], 0)
        self.assertGreaterEqual(sums["tcp", "203.0.113.0/24", 80][1], 3)
        audit = run.report["networkAudit"]
        self.assertEqual((audit["mode"], audit["rulesTotal"]), ("allowlist", 3))
        self.assertEqual((audit["allowedHits"], audit["blockedHits"]),
                         tuple(map(sum, zip(*sums.values()))))
        flows = {(flow["protocol"], flow["destination"], flow["port"])
                 for flow in run.events("network.flow.denied")}
        self.assertLessEqual({("tcp", "198.51.100.7", 80), ("udp", "198.51.100.7", 443),
                              ("icmp", "198.51.100.7", 0),
                              ("tcp", "10.1.2.3", 443), ("tcp", "169.254.169.254", 80)}, flows)
        self.assert_no_residue()

    def test_every_other_way_out_is_stopped_and_counted(self):
        self.serve(*EVERYWHERE, "udp:*:40001")
        self.serve("udp:*:53", "tcp:*:80", space=self.host)  # the host's own services
        verdicts, run = self.probe(
            allow(("udp", "198.51.100.7/32", 53), ("tcp", "0.0.0.0/0", 80)), "udp:198.51.100.7:53",
            "fragments:198.51.100.8:53", "spoof:198.51.100.99:198.51.100.7:53",
                                   "spoof:192.0.2.1:198.51.100.7:53",
            "ether:86dd", "ether:88b5", "ether:8100", "broadcast:53", "multicast:224.0.0.251:53",
                                   "multicast:239.1.2.3:53",
            "tcp:198.18.0.1:80", "tcp:198.18.0.5:80", "tcp:192.0.2.1:80", "tcp:10.99.0.1:80",
                                   "tcp:127.0.0.1:80",
            "tcp:169.254.169.254:80", "udp:192.0.2.1:53", "icmp:198.18.0.1",
                                   audit={"level": "full"})
        expected = {"udp:198.51.100.7:53", "spoof:198.51.100.99:198.51.100.7:53",
                    "spoof:192.0.2.1:198.51.100.7:53",
                    "ether:86dd", "ether:88b5",
                    "ether:8100"}  # of raw frames and spoofs only the sending is known
        self.assertEqual({probe for probe, verdict in verdicts.items() if verdict == "open"},
                         expected)
        self.assertEqual([line for line in self.arrivals()], ["udp 198.51.100.7 53 192.0.2.1"])
        frames = run.events("network.rule.released")[0]["frames"]
        self.assertEqual(frames["spoofed"], 2)
        self.assertEqual(frames["notIpv4"], 9)
        self.assertGreaterEqual(frames["toGateway"], 3)
        self.assert_no_residue()

    def test_frames_of_a_hostile_root_reach_nobody(self):
        self.serve("udp:198.51.100.7:53", "udp:198.51.100.7:54", "udp:*:9")
        self.serve("udp:*:53", "udp:*:9", "udp:0.0.0.0:10", space=self.host)
        run = self.attack(allow(("udp", "198.51.100.7/32", 53), ("udp", "0.0.0.0/0", 9)))
        self.assertEqual(self.arrivals(), ["udp 198.51.100.7 53 192.0.2.1"])
        self.assertEqual(run.events("network.rule.released")[0]["frames"]["spoofed"], 6)
        self.assert_no_residue()

    def test_no_kernel_writes_another_port_into_what_passed(self):
        """The TAP takes no orders with a frame: a checksum that the kernel writes later could be
        written over the port."""
        self.serve("udp:198.51.100.7:53", *(f"udp:198.51.100.7:{port}"
                                            for port in range(9990, 10009)))
        # The last one waits for its answer: by then all are counted.
        verdicts, run = self.probe(allow(("udp", "198.51.100.7/32", 53)),
                                   *steered_probes("198.51.100.7", 53, 9999),
                                   "udp:198.51.100.7:53", audit={"level": "full"})
        self.assertEqual(set(verdicts.values()), {"open"})
        self.assertEqual(self.arrivals(), ["udp 198.51.100.7 53 192.0.2.1"])
        frames = run.events("network.rule.released")[0]["frames"]
        self.assertEqual((frames["allowed"], frames["unaccounted"]), (1, 0))
        self.assertEqual(frames["allowed"] + frames["denied"] + frames["invalid"], 18)

    def test_flows_beyond_what_the_kernel_notes_are_counted_together(self):
        self.serve("udp:198.51.100.7:53")
        # The first asks for the gateway's hardware address: what waits for it the guest itself
        # would drop.
        verdicts, run = self.probe(allow(("udp", "198.51.100.7/32", 53)), "udp:198.51.100.7:53",
                                   "scan:198.51.100.8:1000:4200",
                                   "udp:198.51.100.7:53", audit={"level": "full"})
        self.assertEqual(set(verdicts.values()), {"open"})
        flows = run.events("network.flow.denied")
        others = sum(flow["packets"] for flow in flows if flow["destination"] == "others")
        noted = [flow for flow in flows if flow["destination"] == "198.51.100.8"]
        self.assertEqual((len({flow["port"] for flow in noted}), sum(flow["packets"]
                                                                     for flow in noted), others),
                         (4096, 4096, 104))
        self.assertEqual(run.report["networkAudit"]["denied"], 4200)
        self.assertEqual(run.events("network.rule.released")[0]["frames"]["unaccounted"], 0)

    def test_what_was_stopped_is_told_on_a_full_disk(self):
        """All destinations that the kernel notes, each in the events and again in the report, when
        the command has left no byte free."""
        os.makedirs(self.base, exist_ok=True)
        owner = os.stat(self.base).st_uid
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=6m,mode=700,uid={owner}", "small",
                        self.base], check=True)
        self.addCleanup(subprocess.run, ["umount", self.base], check=True)
        script = ('cat > /tmp/probe; chmod 755 /tmp/probe; /tmp/probe scan:198.51.100.8:1000:4200; '
                  'while :; do dd if=/dev/zero bs=64k count=64; done')
        document = shell(script, network=allow(("tcp", "198.51.100.7/32", 53)), user="0:0",
                         timeout=60)
        with open(PROBE, "rb") as file:
            run = self.run_here(document, "--stdin", feed=file.read())
        self.assertEqual(run.status, 125)
        self.assertIn(b"SR-RUN-001 monitor.stdout: the run directory's copy cannot be written: No "
                      b"space left", run.stderr)
        self.assertGreaterEqual(len(run.events("network.flow.denied")), 4096)

    def test_what_was_stopped_is_told_at_every_audit_level_and_when_it_was(self):
        """Knocked at in the first second of a run that goes on for three more."""
        for level in ("basic", "full"):
            with self.subTest(level):
                run = self.run_here(shell("nc -w 1 203.0.113.5 22 < /dev/null; i=0; while [ $i "
                                          "-lt 30 ]; do sleep 0.1; i=$((i+1)); done",
                                          network=allow(("tcp", "198.51.100.7/32", 443)),
                                          audit={"level": level}))
                self.assertEqual(run.status, 0, run.stderr)
                flows = run.events("network.flow.denied")
                self.assertEqual({(flow["protocol"], flow["destination"], flow["port"])
                                  for flow in flows}, {("tcp", "203.0.113.5", 22)})
                events = {event["type"]: event["timestamp"] for event in run.report["events"]}
                self.assertLess(events["run.prepared"], flows[0]["firstAt"])
                late = [event["timestamp"] for event in run.report["events"] if event["type"]
                        == "resource.sampled"][-2]
                self.assertLess(flows[-1]["lastAt"], late)
                packets = sum(flow["packets"] for flow in flows)
                frames = run.events("network.rule.released")[0]["frames"]
                self.assertEqual((packets, run.report["networkAudit"]["denied"]),
                                 (frames["denied"], packets))
                self.assertGreater(packets, 0)
                self.assertEqual(run.report["networkAudit"]["dropped"],
                                 {name: max(frames[name], 0) for name in (
                    "invalid", "notIpv4", "spoofed", "toGateway", "unaccounted")})
                self.assertEqual(self.call("report", "verify", run.report_path).returncode, 0)
                for view in ("show", "html"):
                    shown = self.call("report", view, run.report_path).stdout
                    self.assertIn(b"203.0.113.5", shown)
                    self.assertNotIn(b"Nothing", shown)
                root = self.path("archive-" + level)
                self.assertEqual(self.call("report", "archive", "--root", root,
                                           run.report_path).returncode, 0)
                for word in ("203.0.113.5", "203.0.113.5:22"):
                    self.assertIn(os.path.basename(run.dir).encode(),
                                  self.call("archive", "search", "--root", root, "--denied",
                                            word).stdout)

    def test_new_connections_are_counted_to_the_packet(self):
        self.serve("mute:*:9000", "tcp:*:443")
        network = allow(("udp", "198.51.100.7/32", 9000), ("tcp", "198.51.100.8/32", 443))
        for sent in (137, 20):  # the second run starts from zero
            verdicts, run = self.probe(network, f"mute:198.51.100.7:9000:{sent}",
                                       "mute:198.51.100.8:9000:25",
                                       *["tcp:198.51.100.8:443"] * 5)
            self.assertNotIn("closed", verdicts.values())
            self.assertEqual(hits(run), {("udp", "198.51.100.7/32", 9000): (sent, 0),
                                         ("tcp", "198.51.100.8/32", 443): (5, 25)})
            frames = run.events("network.rule.released")[0]["frames"]
            self.assertEqual((frames["allowed"], frames["denied"], frames["unaccounted"]),
                             (sent + 5, 25, 0))
        self.assertEqual(sum(line.startswith("mute") for line in self.arrivals()), 157)

    def test_an_address_opened_by_name_is_open(self):
        self.serve(*EVERYWHERE)
        self.serve("tcp:*:80", space=self.host)
        verdicts, _ = self.probe(allow(("tcp", "169.254.169.254/32", 80),
                                       ("tcp", "192.0.2.1/32", 80), ("tcp", "10.0.0.0/8", 80)),
                                 "tcp:169.254.169.254:80", "tcp:192.0.2.1:80", "tcp:10.1.2.3:80",
                                 "tcp:10.99.0.1:80")
        self.assertEqual(list(verdicts.values()), ["open", "open", "open", "closed"])

    def test_what_becomes_the_hosts_own_is_closed_to_wide_rules(self):
        """Addresses of the host that are added later, or were for a while, and prefixes that are
        routed to it: before the run and later. What is open with a rule of its own stays so, also
        behind a wider one."""
        self.serve("tcp:*:443", "udp:*:53")
        self.serve("tcp:0.0.0.0:443", "udp:0.0.0.0:53", space=self.host)
        self.inside(self.host, "ip", "route", "add", "local", "203.0.113.128/26", "dev", "lo")
        probes = [*(f"tcp:203.0.113.{last}:443" for last in (5, 6, 7, 8, 130, 200)),
                  "udp:203.0.113.5:53", "udp:203.0.113.7:53"]
        document = probing(allow(("tcp", "203.0.113.0/24", 443), ("tcp", "203.0.113.8/32", 443),
                                 ("udp", "203.0.113.0/24", 53)), *probes)
        document["runtime"]["args"][1] = "echo up; " + document["runtime"]["args"][1]
        process = self.start_here(document, "--stdin", stdin=subprocess.PIPE)
        self.wait_for_output(process, b"up")
        for command in ("addr add 203.0.113.6/32 dev cable", "addr del 203.0.113.6/32 dev cable",
                        "addr add 203.0.113.7/32 dev cable",
                        "addr add 203.0.113.8/32 dev cable",
                        "route add local 203.0.113.192/26 dev lo"):
            self.inside(self.host, "ip", *command.split())
        self.wait_until_closed(process, "203.0.113.128/25")
        with open(PROBE, "rb") as file:
            run = self.finish(process, file.read())
        opened = [line.split()[0] for line in run.stdout.decode().splitlines()
                  if line.endswith(" open")]
        self.assertEqual(opened, ["tcp:203.0.113.5:443", "tcp:203.0.113.8:443",
                                  "udp:203.0.113.5:53"], run.stderr)
        denied = {(event["destination"], event["port"])
                  for event in run.events("network.flow.denied")}
        self.assertEqual(denied, {(f"203.0.113.{last}", 443) for last in (6, 7, 130, 200)}
                         | {("203.0.113.7", 53)})
        self.assert_no_residue()

    def test_the_ruleset_is_evidence(self):
        _, run = self.probe(allow(("tcp", "198.51.100.7/32", 443)))
        with open(os.path.join(run.dir, "ruleset.nft"), encoding="utf-8") as file:
            self.assertIn("198.51.100.7 . tcp . 443", file.read())
        self.assertIn("ruleset.nft", run.report["artifacts"]["files"])
        self.assertEqual(run.report["artifacts"]["files"]["ruleset.nft"],
                         run.events("network.plan.generated")[0]["rulesetHash"])
        self.assertEqual(run.report["assurance"]["uplink"], "pasta")
        self.assertEqual([thing["what"]
                          for thing in run.events("network.rule.released")[0]["removed"]],
                         ["table inet safe_run", "table netdev safe_run", "pasta"])
        self.assertEqual(run.events("run.cleaned")[0]["network"], "ended")


class Udp(NetworkTest):
    """The relay: what a guest that may send UDP somewhere has of the host's ports, and what reaches
    it."""

    def released(self, run):
        return run.events("network.rule.released")[0]["udp"]

    def test_a_guest_takes_no_port_of_the_host(self):
        service = self.socket_in(self.host, "0.0.0.0", 5353)
        peer, other = self.socket_in(self.rest, "198.51.100.7",
                                     53), self.socket_in(self.rest, "198.51.100.8", 53)
        process = self.start_probe(allow(("udp", "198.51.100.7/32", 53)),
                                   "hold:198.51.100.7:53:5353")
        data, client = peer.recvfrom(100)
        self.assertEqual((data, client[0]), (b"hold", "192.0.2.1"))
        self.assertEqual(sorted(self.udp_sockets(self.host)),
                         sorted([("0.0.0.0", 5353, "0.0.0.0", 0), (*client, "198.51.100.7", 53)]))
        self.assertNotEqual(client[1], 5353)
        for sender, text in ((peer, b"one"), (other, b"two")):
            sender.sendto(text, ("192.0.2.1", 5353))
            self.assertEqual(service.recv(100), text)
        for sender in (other, self.socket_in(self.rest, "198.51.100.7",
                                             54)):  # who is not asked does not answer
            sender.sendto(b"stray", client)
        peer.sendto(b"bye", client)
        run = self.finish(process)
        self.assertEqual(run.stdout, b"hold:198.51.100.7:53:5353 open\n", run.stderr)
        self.assertEqual(self.released(run), {"flowsMax": 512, "flows": 1, "flowsPeak": 1,
                                              "refused": 0, "failed": 0, "lost": 0,
                                              "uncarried": 0, "unreachable": 0})
        self.assertEqual(self.udp_sockets(self.host), [("0.0.0.0", 5353, "0.0.0.0", 0)])
        self.assert_no_residue()

    def test_flows_are_capped_and_what_came_after_is_counted(self):
        self.configure(network={"flowsMax": 64})
        self.serve("udp:198.51.100.7:54")
        peer = self.socket_in(self.rest, "198.51.100.7", 53)
        # The first flow waits for its answer: by then the way is known.
        process = self.start_probe(allow(("udp", "198.51.100.7/32", 53),
                                         ("udp", "198.51.100.7/32", 54)), "udp:198.51.100.7:54",
                                   "hold:198.51.100.7:53:20000:2000", audit={"level": "full"})
        clients = [peer.recvfrom(100)[1] for _ in range(63)]
        sockets = self.udp_sockets(self.host)
        self.assertEqual(len(sockets), 64)
        self.assertEqual({entry[2:] for entry in sockets}, {("198.51.100.7", 53),
                                                            ("198.51.100.7", 54)})
        self.assertEqual({entry[:2] for entry in sockets} - set(clients),
                         {entry[:2] for entry in sockets if entry[3] == 54})
        self.wait_for(lambda: self.sent(process) >= 2001)
        self.assertEqual(sorted(self.udp_sockets(self.host)), sorted(sockets))
        peer.sendto(b"bye", clients[0])
        run = self.finish(process)
        self.assertIn(b"hold:198.51.100.7:53:20000:2000 open\n", run.stdout, run.stderr)
        self.assertEqual(run.events("network.plan.generated")[0]["udpFlowsMax"], 64)
        udp = self.released(run)
        self.assertEqual((udp["flowsMax"], udp["flows"], udp["flowsPeak"]), (64, 64, 64))
        self.assertEqual(udp["refused"] + udp["lost"], 2000 - 63)
        self.assertEqual(run.events("network.rule.released")[0]["frames"]["allowed"], 2001)
        self.assert_no_residue()

    def sent(self, process):
        """Packets that a run's guest has sent by IPv4."""
        cell = next(pid for pid in self.children(process.pid) if self.read(f"/proc/{pid}/comm")
                    == "safe-run-net\n")
        line = next(line for line in self.read(f"/proc/{cell}/net/dev").splitlines()
                    if "sr-tap" in line)
        return int(line.split(":")[1].split()[1])

    def test_what_is_not_carried_is_counted(self):
        self.serve("udp:198.51.100.7:53")
        verdicts, run = self.probe(allow(("udp", "198.51.100.7/32", 53),
                                         ("udp", "198.51.100.7/32", 9)), "udp:198.51.100.7:53",
                                   "refused:198.51.100.7:9", "fragments:198.51.100.7:53")
        self.assertEqual(list(verdicts.values()), ["open", "open", "closed"])
        udp = self.released(run)
        self.assertEqual((udp["flows"], udp["unreachable"], udp["uncarried"], udp["failed"]),
                         (2, 1, 2, 0))
        self.assertEqual(len(self.arrivals()), 1)
        self.assert_no_residue()

    def test_without_a_rule_for_udp_there_is_no_relay(self):
        process = self.start_here(shell("echo up; read x",
                                        network=allow(("tcp", "198.51.100.7/32", 443))), "--stdin",
                                  stdin=-1)
        self.wait_for_output(process, b"up")
        self.assertNotIn("safe-run-udp", [entry[2] for entry in self.residue() if entry[0]
                                          == "process"])
        run = self.finish(process, b"\n")
        self.assertNotIn("udpFlowsMax", run.events("network.plan.generated")[0])
        self.assertNotIn("udp", run.events("network.rule.released")[0])


class Names(NetworkTest):
    def test_each_address_of_a_name_is_a_target(self):
        self.serve(*EVERYWHERE)
        self.dns({"api.example.com": [60, "198.51.100.7", "198.51.100.8", "203.0.113.5"]})
        network = allow(("tcp", "API.example.com", 443))
        verdicts, run = self.probe(network, "tcp:198.51.100.7:443", "tcp:198.51.100.8:443",
                                   "tcp:203.0.113.5:443",
                                   "tcp:203.0.113.6:443")
        self.assertEqual(list(verdicts.values()), ["open", "open", "open", "closed"])
        self.assertEqual(run.report["networkAudit"]["rulesTotal"], 3)
        self.assertEqual([(rule["target"], rule["host"])
                          for rule in run.events("network.rule.applied")],
                         [("198.51.100.7/32", "api.example.com"), ("198.51.100.8/32",
                                                                   "api.example.com"),
                          ("203.0.113.5/32", "api.example.com")])

    def test_rules_of_one_name_are_open_at_the_same_addresses(self):
        """A name server whose every answer has one address, and the next one another: round
        robin."""
        self.serve("tcp:*:443", "tcp:*:80")
        self.dns({"api.example.com": {"ttl": 1, "addresses": ["198.51.100.7", "198.51.100.8"],
                                      "rotate": True}}, refreshMinSec=1)
        run = self.run_here(shell("while ! grep -q 198.51.100.8 /etc/hosts; do sleep 0.1; done; "
                                  "for port in 443 80; do for last in 7 8; do (echo $port $last; "
                                  "sleep 1) | "
                                  "timeout 3 nc 198.51.100.$last $port; done; done",
                                  network=allow(("tcp", "api.example.com", 443),
                                                ("tcp", "API.example.com", 80))))
        self.assertEqual(run.stdout, b"443 7\n443 8\n80 7\n80 8\n", run.stderr)
        self.assertEqual([(rule["target"], rule["port"])
                          for rule in run.events("network.rule.applied")],
                         [("198.51.100.7/32", 443), ("198.51.100.7/32", 80),
                          ("198.51.100.8/32", 443), ("198.51.100.8/32", 80)])

    def test_names_that_share_an_address_are_all_told_of(self):
        self.serve("tcp:*:443")
        self.dns({"api.example.com": [60, "198.51.100.7"], "cdn.example.net": [60, "198.51.100.7"]})
        _, run = self.probe(allow(("tcp", "api.example.com", 443), ("tcp", "cdn.example.net", 443)),
                            "tcp:198.51.100.7:443")
        self.assertEqual([(rule["target"], rule["host"])
                          for rule in run.events("network.rule.applied")],
                         [("198.51.100.7/32", "api.example.com"), ("198.51.100.7/32",
                                                                   "cdn.example.net")])
        self.assertEqual((hits(run), run.report["networkAudit"]["allowedHits"]),
                         ({("tcp", "198.51.100.7/32", 443): (1, 0)}, 1))
        root = self.path("archive")
        self.assertEqual(self.call("report", "archive", "--root", root, run.report_path).returncode,
                         0)
        shown = self.call("report", "show", run.report_path).stdout
        for name in ("api.example.com", "cdn.example.net"):
            self.assertIn(name.encode(), shown)
            self.assertIn(os.path.basename(run.dir).encode(),
                          self.call("archive", "search", "--root", root, "--reached", name).stdout)

    def test_a_name_of_many_rules_is_one_question(self):
        self.dns({"api.example.com": [1, "198.51.100.7"]}, refreshMinSec=1)
        process = self.start_here(shell("echo up; while ! grep -q 198.51.100.8 /etc/hosts; do "
                                        "sleep 0.1; done",
                                        network=allow(*(("tcp", "api.example.com", 1 + i)
                                                        for i in range(2000)))))
        self.wait_for_output(process, b"up")
        self.assertLess(len(self.arrivals()), 50)  # one, and those of the refreshes until now
        self.write_names({"api.example.com": [1, "198.51.100.8", "198.51.100.9"]})
        run = self.finish(process)
        self.assertEqual(run.status, 0, run.stderr)
        targets = [rule["target"] for rule in run.events("network.rule.applied")]
        self.assertEqual([targets.count(f"198.51.100.{last}/32") for last in (7, 8, 9)],
                         [2000, 2000, 0])  # all rules or none

    def test_the_guest_finds_names_in_its_hosts_file(self):
        self.serve("tcp:*:443")
        self.dns({"api.example.com": [60, "198.51.100.7"]})
        for disk in ("64Mi", "0"):
            run = self.run_here(shell("cat /etc/hosts; (echo hello; sleep 1) | timeout 2 nc "
                                      "api.example.com 443; echo x > /etc/hosts",
                                      network=allow(("tcp", "api.example.com", 443)), disk=disk))
            self.assertIn(b"198.51.100.7\tapi.example.com\n", run.stdout, run.stderr)
            self.assertIn(b"hello", run.stdout)
            self.assertIn(b"Read-only file system", run.stderr)

    def test_names_that_lead_where_no_name_may(self):
        table = {"nowhere.example": [60], "local.example": [60, "127.0.0.1"],
                 "metadata.example": [60, "169.254.169.254"],
                 "private.example": [60, "10.1.2.3"], "shared.example": [60, "100.64.0.1"],
                 "own.example": [60, "192.0.2.1"],
                 "mixed.example": [60, "198.51.100.7", "192.168.1.1"],
                 "null.example": [60, "0.0.0.0"],
                 "many.example": [60] + [f"203.0.113.{i}" for i in range(100)],
                 "any.example": [60, "203.0.113.130"]}
        self.dns(table)
        self.inside(self.host, "ip", "route", "add", "local", "203.0.113.128/26", "dev", "lo")
        for name in [*table, "missing.example"]:
            with self.subTest(name):
                run = self.run_here(shell("true", network=allow(("tcp", "198.51.100.7/32", 1),
                                                                ("tcp", name, 443))))
                self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-201"))
                self.assertIn(b"SR-RUN-201 launch.network.dns", run.stderr)
                self.assertIn(name, run.failure[1])
                self.assertIn("network.egress[1]", run.failure[1])
                self.assertEqual(run.events("vm.started"), [])
        self.assert_no_residue()

    def test_a_name_that_moves_is_followed(self):
        self.serve("tcp:*:443")
        self.dns({"api.example.com": [1, "198.51.100.7"]})
        self.configure(network={"resolver": "192.0.2.2", "refreshMinSec": 1})
        process = self.start_here(shell("echo up; while ! grep 198.51.100.8 /etc/hosts; do sleep "
                                        "0.1; done; "
                                        "(echo moved; sleep 1) | timeout 3 nc 198.51.100.8 443; "
                                        "(echo still; sleep 1) | timeout 3 nc 198.51.100.7 443",
                                        network=allow(("tcp", "api.example.com", 443))))
        self.wait_for_output(process, b"up")
        self.write_names({"api.example.com": [1, "198.51.100.8", "127.0.0.1"]})
        run = self.finish(process)
        self.assertIn(b"moved\nstill\n", run.stdout, run.stderr)
        self.assertEqual([rule["target"] for rule in run.events("network.rule.applied")],
                         ["198.51.100.7/32", "198.51.100.8/32"])  # and never 127.0.0.1
        self.assertEqual(hits(run), {("tcp", "198.51.100.7/32", 443): (1, 0),
                                     ("tcp", "198.51.100.8/32", 443): (1, 0)})

    def test_a_name_does_not_lead_to_what_has_become_the_hosts_own(self):
        """Neither one that led there before, nor one that does later."""
        self.serve("tcp:*:443")
        self.serve("tcp:0.0.0.0:443", space=self.host)
        self.dns({"api.example.com": [1, "198.51.100.7"]}, refreshMinSec=1)
        process = self.start_here(shell("echo up; while ! grep -q 198.51.100.8 /etc/hosts; do "
                                        "sleep 0.1; done; for last in 7 9 8; do "
                                        "(echo $last; sleep 1) | timeout 3 nc 198.51.100.$last "
                                        "443; done; true",
                                        network=allow(("tcp", "api.example.com", 443))))
        self.wait_for_output(process, b"up")
        for last in (7, 9):
            self.inside(self.host, "ip", "addr", "add", f"198.51.100.{last}/32", "dev", "cable")
        self.wait_until_closed(process, "198.51.100.9")
        asked = len(self.arrivals())
        self.wait_for(lambda: len(self.arrivals()) > asked
                      + 2)  # seconds apart, as are the cell's reports of what it knows
        self.write_names({"api.example.com": [1, "198.51.100.7", "198.51.100.8", "198.51.100.9"]})
        run = self.finish(process)
        self.assertEqual((run.status, run.stdout), (0, b"8\n"), run.stderr)
        self.assertEqual([rule["target"] for rule in run.events("network.rule.applied")],
                         ["198.51.100.7/32", "198.51.100.8/32"])
        self.assertEqual({event["destination"] for event in run.events("network.flow.denied")},
                         {"198.51.100.7", "198.51.100.9"})

    def test_a_cidr_rule_opens_what_a_name_leads_to(self):
        self.serve("tcp:*:443")
        self.dns({"private.example": [60, "10.1.2.3"], "metadata.example": [60, "169.254.169.254"]})
        verdicts, _ = self.probe(allow(("tcp", "private.example", 443), ("tcp", "10.1.0.0/16", 443),
                                       ("tcp", "metadata.example", 443),
                                       ("tcp", "169.254.169.254/32", 443)),
                                 "tcp:10.1.2.3:443", "tcp:169.254.169.254:443")
        self.assertEqual(list(verdicts.values()), ["open", "open"])

    def test_a_name_server_that_does_not_answer(self):
        self.configure(network={"resolver": "192.0.2.2"})  # nobody listens there
        run = self.run_here(shell("true", network=allow(("tcp", "api.example.com", 443))))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-201"))
        self.assertIn("api.example.com cannot be resolved", run.failure[1])


    def test_killing_safe_run_while_it_asks_leaves_nothing(self):
        self.serve("mute:192.0.2.2:53")
        self.configure(network={"resolver": "192.0.2.2"})
        process = self.start_here(shell("true", network=allow(("tcp", "api.example.com", 443))))
        self.wait_for(self.arrivals)
        process.kill()
        process.wait()
        self.assert_no_residue()
        process.communicate()

    def test_answers_of_every_shape(self):
        self.serve("tcp:*:443")
        many = [f"198.51.101.{last}" for last in range(1, 64)]
        self.dns({"alias.example": {"ttl": 0, "addresses": ["198.51.100.7"],
                                    "cname": ["a.example", "b.example"]},
                  "cut.example": {"ttl": 60, "addresses": ["198.51.100.8"], "truncate": True},
                  "old.example": [0xffffffff, "198.51.100.9"],
                  "many.example": [60, *many, "203.0.113.5"]})
        names = ("alias.example", "cut.example", "old.example", "many.example")
        verdicts, run = self.probe(allow(*(("tcp", name, 443) for name in names)),
                                   "tcp:198.51.100.7:443", "tcp:198.51.100.8:443",
                                   "tcp:198.51.100.9:443", "tcp:203.0.113.5:443",
                                   "tcp:203.0.113.6:443")
        self.assertEqual(list(verdicts.values()), ["open"] * 4 + ["closed"])
        self.assertEqual(run.report["networkAudit"]["rulesTotal"], 67)

    def test_answers_that_are_refused(self):
        self.dns({"loop.example": {"ttl": 60, "addresses": [],
                                   "cname": ["b.example", "loop.example"]},
                  "many.example": [60, *(f"198.51.101.{last}" for last in range(1, 66))],
                  "first.example": [60, "198.51.100.7"]})
        for name, message in (("loop.example", "loop.example cannot be resolved"),
                              ("many.example", "more than 64 addresses"),
                              ("none.example", "none.example cannot be resolved")):
            run = self.run_here(shell("true", network=allow(("tcp", "first.example", 443),
                                                            ("tcp", name, 443))))
            self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-201"), name)
            self.assertIn(message, run.failure[1])
            self.assertIn("network.egress[1]", run.failure[1])
            self.assertEqual(run.events("vm.started"), [])
        self.assert_no_residue()

    def test_the_end_of_the_resolver_ends_nothing_else(self):
        """What was open stays open; nothing new is let through."""
        self.serve("tcp:*:443")
        self.dns({"api.example.com": [1, "198.51.100.7"]}, refreshMinSec=1)
        process = self.start_here(shell("echo up; sleep 3; cat /etc/hosts; (echo still; sleep 1) "
                                        "| timeout 3 nc 198.51.100.7 443",
                                        network=allow(("tcp", "api.example.com", 443))), "-v")
        self.wait_for_output(process, b"up")
        resolvers = [pid for pid in self.children(process.pid) if self.read(f"/proc/{pid}/comm")
                     == "safe-run-names\n"]
        self.assertEqual(len(resolvers), 1)
        os.kill(resolvers[0], signal.SIGKILL)
        self.write_names({"api.example.com": [1, "198.51.100.8"]})
        run = self.finish(process)
        self.assertEqual(run.status, 0, run.stderr)
        self.assertIn(b"still\n", run.stdout)
        self.assertNotIn(b"198.51.100.8", run.stdout)
        self.assertIn(b"names are not asked for again", run.stderr)
        self.assertEqual([rule["target"] for rule in run.events("network.rule.applied")],
                         ["198.51.100.7/32"])

    def test_a_name_that_is_no_more_does_not_keep_others_from_being_followed(self):
        self.serve("tcp:*:443")
        self.dns({"first.example": [1, "198.51.100.7"], "second.example": [1, "198.51.100.7"]},
                 refreshMinSec=1)
        process = self.start_here(shell("echo up; while ! grep -q 198.51.100.8 /etc/hosts; do "
                                        "sleep 0.1; done; cat /etc/hosts; "
                                        "(echo moved; sleep 1) | timeout 3 nc 198.51.100.8 443",
                                        network=allow(("tcp", "first.example", 443),
                                                      ("tcp", "second.example", 443))))
        self.wait_for_output(process, b"up")
        self.write_names({"second.example": [1, "198.51.100.8"]})
        run = self.finish(process)
        self.assertEqual((run.status, run.stdout.decode().splitlines()),
                         (0, ["127.0.0.1\tlocalhost", "127.0.1.1\tsafe-run",
                              "198.51.100.7\tfirst.example",
                              "198.51.100.7\tsecond.example", "198.51.100.8\tsecond.example",
                              "moved"]), run.stderr)

    def test_many_new_addresses_at_once_are_followed(self):
        """More than one message to the net cell holds."""
        self.serve("tcp:*:443")
        names = [f"n{i}.example" for i in range(20)]
        self.dns({name: [1, "198.51.100.7"] for name in names}, refreshMinSec=1)
        process = self.start_here(shell("echo up; while ! grep -q 198.51.100.9 /etc/hosts; do "
                                        "sleep 0.1; done; "
                                        "(echo moved; sleep 1) | timeout 3 nc 198.51.100.9 443",
                                        network=allow(*(("tcp", name, 443) for name in names))))
        self.wait_for_output(process, b"up")
        self.write_names({name: [1, *(f"198.51.{101 + i}.{last}" for last in range(1, 64)),
                                 "198.51.100.9"]
                          for i, name in enumerate(names)})
        run = self.finish(process)
        self.assertEqual((run.status, run.stdout), (0, b"moved\n"), run.stderr)


class Life(NetworkTest):
    def test_a_host_without_a_route_has_no_uplink(self):
        """pasta refuses such a host, or (from 2024 on) reaches from it what the host reaches."""
        self.inside(self.host, "ip", "route", "del", "default")
        run = self.run_here(shell("nc -w 2 198.51.100.7 443 < /dev/null && echo there",
                                  network=allow(("tcp", "198.51.100.7/32", 443))))
        if run.failure is not None:
            self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-201"))
            self.assertIn(b"SR-RUN-201 launch.network.apply", run.stderr)
        else:
            self.assertEqual((run.status, run.stdout), (1, b""), run.stderr)
            self.assertEqual(run.report["networkAudit"]["blockedHits"], 0)
        self.assert_no_residue()

    def test_missing_programs_are_named(self):
        for program, package in (("nft", "nftables"), ("pasta", "passt")):
            self.configure(**{program: "/no/such/program"})
            run = self.run_here(shell("true", network=allow(("tcp", "198.51.100.7/32", 443))))
            self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-002"))
            self.assertIn(f"SR-RUN-002 launch.preflight.{program}", run.stderr.decode())
            self.assertIn(f"install the package {package}", run.failure[1])

    def test_rules_that_nft_does_not_take_leave_nothing(self):
        self.configure(nft="/bin/false")
        run = self.run_here(shell("true", network=allow(("tcp", "198.51.100.7/32", 443))))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-201"))
        self.assertTrue(run.failure[1].endswith("ruleset.nft): it ended with status 1 and said "
                                                "nothing"), run.failure[1])
        self.assert_no_residue()

    def test_rules_that_cannot_be_taken_down_are_said(self):
        process = self.start_here(shell("echo up; read line",
                                        network=allow(("tcp", "198.51.100.7/32", 443))), "--stdin",
                                  stdin=subprocess.PIPE)
        self.wait_for_output(process, b"up")
        cell = next(entry[1] for entry in self.residue() if entry[0] == "process" and entry[2]
                    == "safe-run-net")
        self.inside(cell, "nft", "delete", "table", "netdev", "safe_run", own_users=self.as_user)
        run = self.finish(process, b"\n")
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-202"), run.stderr)
        self.assertEqual(run.events("network.rule.cleanup_failed")[0]["errorCode"], "SR-RUN-202")
        self.assertEqual(run.events("network.rule.released"), [])
        self.assertEqual(run.report["exit"]["cause"], "cleanup")
        self.assert_no_residue()
        register = os.path.join(self.base, ".open")
        self.assertEqual(os.listdir(register), [os.path.basename(run.dir)])
        self.collect()
        self.assertEqual(os.listdir(register), [])

    def test_a_lost_uplink_ends_the_run(self):
        for name in ("passt", "safe-run-net", "safe-run-udp"):
            process = self.start_here(shell("echo up; sleep 60",
                                            network=allow(("udp", "198.51.100.7/32", 443))))
            self.wait_for_output(process, b"up")
            victims = [int(entry[1]) for entry in self.residue() if entry[0] == "process"
                       and entry[2].startswith(name)]
            self.assertNotEqual(victims, [], name)
            os.kill(victims[0], signal.SIGKILL)
            run = self.finish(process)
            self.assertEqual(run.status, 125, run.stderr)
            self.assertIn("ended while the command ran", run.failure[1])
            self.assert_no_residue()

    def lose_the_uplink_unseen(self, process):
        """The net cell is stopped when pasta dies, so that it says so only between a request and
        its answer; the cell's pid."""
        pids = {entry[2].split(".")[0]: int(entry[1]) for entry in self.residue() if entry[0]
                == "process"}
        os.kill(pids["safe-run-net"], signal.SIGSTOP)
        os.kill(pids["passt"], signal.SIGKILL)
        self.wait_for(lambda: self.state(pids["passt"]) == "Z")  # its end takes some time
        return pids["safe-run-net"]

    def assert_lost(self, process):
        run = self.finish(process)
        self.assertEqual((run.status, run.report["exit"]["cause"]), (125, "setup"), run.stderr)
        self.assertEqual(run.failure[0], "SR-RUN-001")
        self.assertIn("the uplink (pasta) ended while the command ran", run.failure[1])
        self.assertEqual(len(run.events("network.rule.released")), 1)
        self.assert_no_residue()

    def test_an_uplink_that_is_lost_while_counters_are_read_ends_the_run(self):
        process = self.start_here(shell("i=0; while [ $i -lt 200 ]; do echo up; sleep 0.1; "
                                        "i=$((i+1)); done", audit={"level": "full"},
                                        network=allow(("tcp", "198.51.100.7/32", 443))))
        self.wait_for_output(process, b"up")
        cell = self.lose_the_uplink_unseen(process)
        for _ in range(12):  # more than a second: safe-run goes on, and has asked the cell
            self.wait_for_output(process, b"up")
        os.kill(cell, signal.SIGCONT)
        self.assert_lost(process)

    def test_an_uplink_that_was_lost_when_the_command_ended_fails_the_run(self):
        process = self.start_here(shell("echo up; read line",
                                        network=allow(("tcp", "198.51.100.7/32", 443))), "--stdin",
                                  stdin=subprocess.PIPE)
        self.wait_for_output(process, b"up")
        cell = self.lose_the_uplink_unseen(process)
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.wait_for(lambda: not any(entry[2:] == ("qemu",) for entry in self.residue()))
        os.kill(cell, signal.SIGCONT)
        self.assert_lost(process)

    def test_killing_safe_run_leaves_nothing(self):
        process = self.start_here(shell("echo up; sleep 60",
                                        network=allow(("tcp", "198.51.100.7/32", 443))))
        self.wait_for_output(process, b"up")
        process.kill()
        process.communicate()
        self.assert_no_residue()


class Ends(NetworkTest):
    """The network ends in time, whoever of its processes stops."""

    def test_a_network_ends_with_its_command(self):
        self.serve("udp:198.51.100.8:5353")
        self.configure(initrd=os.path.join(BUILD, "tests", "guests", "calls.initrd"))
        run = self.run_here(shell("true", network=allow(("udp", "198.51.100.8/32", 5353)),
                                  outputs=[{"path": "/tmp/o", "timeoutSec": 4}],
                                  audit={"level": "full"}))
        self.assertEqual(run.status, 125, run.stderr)
        # ten times before the command's end, and then ten times a second
        called = len(self.arrivals())
        self.assertGreater(called, 2)
        self.assertLess(called, 20)
        times = {event["type"]: datetime.datetime.fromisoformat(event["timestamp"][:26])
                 for event in run.report["events"]}
        self.assertGreater((times["vm.exited"] - times["network.rule.released"]).total_seconds(),
                           1.5)
        self.assertEqual(run.events("network.rule.released")[0]["frames"]["unaccounted"], 0)
        self.assert_no_residue()

    def test_what_is_over_has_no_network_while_it_is_asked_to_end(self):
        self.serve("udp:198.51.100.8:5353")
        run = self.run_here(shell("trap '' TERM; echo up; i=0; while :; do echo $i | nc -u -w 1 "
                                  "198.51.100.8 5353 & sleep 0.2; i=$((i+1)); done",
                                  timeout=15, network=allow(("udp", "198.51.100.8/32", 5353))))
        self.assertEqual((run.status, run.cause), (124, "timeout"))
        times = {event["type"]: datetime.datetime.fromisoformat(event["timestamp"][:26])
                 for event in run.report["events"]}
        self.assertGreater((times["vm.exited"] - times["network.rule.released"]).total_seconds(), 1)
        self.assert_no_residue()

    def stop_and_end(self, name, document, **config):
        """Runs it with a helper stopped, until its time is up; it must not take much longer."""
        self.configure(**config)
        process = self.start_here(document)
        self.wait_for_output(process, b"up")
        victims = [int(entry[1]) for entry in self.residue() if entry[0] == "process"
                   and entry[2].startswith(name)]
        self.assertNotEqual(victims, [], name)
        for victim in victims:
            os.kill(victim, signal.SIGSTOP)
        began = time.monotonic()
        run = self.finish(process)
        self.assertLess(time.monotonic() - began, 35 if not SANITIZED else 55)
        self.assert_no_residue()
        self.assertIsNotNone(run.report)
        self.assertEqual(run.events("vm.exited")[0]["contradictions"], [])
        return run

    def test_a_stopped_uplink_holds_nothing(self):
        run = self.stop_and_end("passt", shell("echo up; sleep 60", timeout=15,
                                               network=allow(("tcp", "198.51.100.7/32", 443))))
        self.assertEqual((run.status, run.cause), (124, "timeout"))
        self.assertEqual(len(run.events("network.rule.released")), 1)

    def test_a_stopped_resolver_holds_nothing(self):
        self.dns({"a.example": [1, "198.51.100.7"]})
        run = self.stop_and_end("safe-run-names", shell("echo up; sleep 60", timeout=15,
                                                        network=allow(("tcp", "a.example", 443))),
                                network={"resolver": "192.0.2.2", "refreshMinSec": 1})
        self.assertEqual((run.status, run.cause), (124, "timeout"))

    def test_a_stopped_net_cell_holds_nothing(self):
        run = self.stop_and_end("safe-run-net", shell("echo up; sleep 60", timeout=15,
                                                      network=allow(("tcp", "198.51.100.7/32",
                                                                     443))))
        self.assertEqual((run.status, run.cause, run.failure[0]), (125, "cleanup", "SR-RUN-001"))
        self.assertEqual(run.events("network.rule.cleanup_failed")[0]["errorCode"], "SR-RUN-202")
        self.assertIn("does not answer", run.events("network.rule.cleanup_failed")[0]["message"])
        self.collect()

    def test_a_net_cell_that_stops_shortly_before_the_end_holds_nothing(self):
        """It owes counters when it is asked for the release."""
        run = self.stop_and_end("safe-run-net", shell("echo up; sleep 3",
                                                      network=allow(("tcp", "198.51.100.7/32",
                                                                     443))))
        self.assertEqual(run.status, 125)
        self.assertEqual(run.events("network.rule.cleanup_failed")[0]["errorCode"], "SR-RUN-202")
        self.collect()

    def test_a_net_cell_that_stops_before_counters_are_read_ends_the_run(self):
        run = self.stop_and_end("safe-run-net", shell("echo up; sleep 60", timeout=60,
                                                      audit={"level": "full"},
                                                      network=allow(("tcp", "198.51.100.7/32",
                                                                     443))))
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-001"))
        self.assertIn("the net cell does not answer", run.failure[1])
        self.collect()

    def test_a_signal_ends_the_waiting_for_a_stopped_net_cell(self):
        process = self.start_here(shell("echo up; read line",
                                        network=allow(("tcp", "198.51.100.7/32", 443))), "--stdin",
                                  stdin=subprocess.PIPE)
        self.wait_for_output(process, b"up")
        cell = next(int(entry[1]) for entry in self.residue() if entry[0] == "process" and entry[2]
                    == "safe-run-net")
        os.kill(cell, signal.SIGSTOP)
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.wait_for(lambda: not any(entry[2:] == ("qemu",) for entry in self.residue()))
        process.terminate()
        run = self.finish(process)
        self.assertEqual(run.status, 125, run.stderr)
        self.assertEqual(run.events("network.rule.cleanup_failed")[0]["errorCode"], "SR-RUN-202")
        self.assert_no_residue()
        self.collect()


class Bridge(Attack, NetworkTest):
    """The bridge uplink: the test's host has a bridge, which the cable is a port of."""

    def setUp(self):
        super().setUp()
        for command in ("addr del 192.0.2.1/24 dev cable", "link add br0 type bridge",
                        "link set cable master br0",
                        "link set br0 up", "addr add 192.0.2.1/24 dev br0",
                        "route replace default via 192.0.2.2 dev br0"):
            self.inside(self.host, "ip", *command.split())
        self.links = ("lo", "cable", "br0")
        self.configure(network={"uplink": "bridge:br0", "addresses": "192.0.2.100-192.0.2.102/24",
                                "gateway": "192.0.2.2"},
                       pasta="/no/such/program")

    def test_what_is_reached(self):
        self.serve(*EVERYWHERE)
        self.serve("tcp:*:443", "tcp:*:80", space=self.host)
        rules = allow(("tcp", "198.51.100.7/32", 443), ("udp", "198.51.100.8/32", 53),
                      ("tcp", "0.0.0.0/0", 80))
        verdicts, run = self.probe(rules, "tcp:198.51.100.7:443", "udp:198.51.100.8:53",
                                   "tcp:203.0.113.5:80",
                                   "tcp:198.51.100.8:443", "tcp:192.0.2.1:80", "tcp:192.0.2.2:80",
                                   "tcp:10.99.0.1:80",
                                   "tcp:169.254.169.254:80", "icmp:198.51.100.7", "broadcast:53")
        opened = [probe for probe, verdict in verdicts.items() if verdict == "open"]
        self.assertEqual(opened, ["tcp:198.51.100.7:443", "udp:198.51.100.8:53",
                                  "tcp:203.0.113.5:80"])
        plan = run.events("network.plan.generated")[0]
        self.assertEqual(plan["uplink"], "bridge:br0")
        self.assertRegex(plan["uplinkAddress"], r"^192\.0\.2\.10[0-2]$")
        self.assertEqual(run.report["assurance"]["uplink"], "bridge:br0")
        self.assertEqual(hits(run)["tcp", "198.51.100.7/32", 443], (1, 1))  # the ICMP
        self.assert_no_residue()

    def test_only_what_a_rule_names_crosses_the_bridge(self):
        """The cable shows every frame of the run, whatever its kernel made of what the guest
        sent."""
        self.serve("udp:198.51.100.7:53")
        self.serve("sniff:cable:0253")
        run = self.attack(allow(("udp", "198.51.100.7/32", 53), ("udp", "0.0.0.0/0", 9)))
        crossed = {line for line in self.arrivals() if line.startswith("sniff") and line
                   != "sniff arp"}
        self.assertEqual(crossed,
                         # and what the second rule opens: here it is nobody's own
                         {"sniff udp 198.51.100.7 53",
                                   *(f"sniff udp 198.18.0.{last} 9" for last in (5, 6, 7))})
        self.assertEqual(run.events("network.rule.released")[0]["frames"]["spoofed"], 6)
        self.assert_no_residue()

    def test_a_guest_learns_nothing_of_the_uplink(self):
        verdicts, _ = self.probe(allow(("tcp", "198.51.100.7/32", 443)), "arp:198.18.0.1",
                                 "arp:192.0.2.100", "arp:127.0.0.1")
        self.assertEqual(list(verdicts.values()), ["open", "closed", "closed"])

    def test_a_bridge_keeps_its_address_while_runs_come_and_go(self):
        def mac(link):
            return json.loads(self.inside(self.host, "ip", "-j", "link", "show",
                                          link))[0]["address"]
        # Any address that the kernel would draw for the port is below this one.
        self.inside(self.host, "ip", "link", "set", "cable", "address", "fe:00:00:00:00:01")
        self.assertEqual(mac("br0"), "fe:00:00:00:00:01")
        process = self.start_here(shell("echo up; sleep 60",
                                        network=allow(("tcp", "198.51.100.7/32", 443))))
        self.wait_for_output(process, b"up")
        self.assertEqual(mac("sr-up-c0000264"), "fe:53:c0:00:02:64")
        self.assertEqual(mac("br0"), "fe:00:00:00:00:01")
        process.kill()
        process.communicate()
        self.assert_no_residue()
        self.assertEqual(mac("br0"), "fe:00:00:00:00:01")

    def test_nobody_on_the_bridge_reaches_a_run(self):
        process = self.start_here(shell("nc -l -p 80 > /dev/null & echo up; sleep 60", user="0:0",
                                        network=allow(("tcp", "198.51.100.7/32", 443))))
        self.wait_for_output(process, b"up")
        self.inside(self.rest, "ip", "route", "add", "198.18.0.0/30", "via", "192.0.2.100")
        for target in ("192.0.2.100", "198.18.0.1", "198.18.0.2"):
            self.assertIn(" closed", self.inside(self.rest, PROBE, f"icmp:{target}",
                                                 f"tcp:{target}:80"))
        process.kill()
        process.communicate()

    def test_every_run_has_an_address_of_its_own(self):
        document = shell("echo up; sleep 60", network=allow(("tcp", "198.51.100.7/32", 443)))
        processes = [self.start_here(document) for _ in range(3)]
        for process in processes:
            self.wait_for_output(process, b"up")
        self.assertEqual(len([link for link in self.residue() if link[0] == "link"]), 3)
        run = self.run_here(document)
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-201"))
        self.assertIn("every address of 192.0.2.100-192.0.2.102", run.failure[1])
        for process in processes:
            process.kill()
            process.communicate()
        self.assert_no_residue()
        self.assertEqual(self.run_here(shell("true", network=allow(("tcp", "198.51.100.7/32",
                                                                    443)))).status, 0)

    def test_a_lost_veth_ends_the_run(self):
        process = self.start_here(shell("echo up; sleep 60",
                                        network=allow(("tcp", "198.51.100.7/32", 443))))
        self.wait_for_output(process, b"up")
        veth = next(link[1] for link in self.residue() if link[0] == "link")
        self.inside(self.host, "ip", "link", "del", veth)
        run = self.finish(process)
        self.assertEqual(run.status, 125, run.stderr)
        self.assertIn("the uplink (br0) ended", run.failure[1])
        self.assert_no_residue()

    def test_notices_of_addresses_that_were_lost_are_made_up_for(self):
        """A net cell that was too slow for them asks for all; where they are too many the run
        ends."""
        self.serve("tcp:*:443")
        process = self.start_here(shell("ask() { (echo $1; sleep 1) | timeout 3 nc $1 443; }; "
                                        "echo up; read x; "
                                        "ask 203.0.113.6; ask 203.0.113.5; read x",
                                        network=allow(("tcp", "203.0.113.0/24", 443))),
                                  "--stdin", stdin=subprocess.PIPE)
        self.wait_for_output(process, b"up")
        cell = self.cell_of(process)
        os.kill(cell, signal.SIGSTOP)
        self.take_addresses(200, 3000, "203.0.113.6")
        sockets = self.read(f"/proc/{self.host}/net/netlink").splitlines()[1:]
        self.assertNotEqual({line.split()[8] for line in sockets}, {"0"})
        os.kill(cell, signal.SIGCONT)
        self.wait_until_closed(process, "203.0.113.6")
        self.assertEqual(len(re.findall(r"\b10\.20\d\.\d+\.\d+\b", self.closed_by(process))), 3000)
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.assertEqual(self.wait_for_output(process, b"203.0.113.5"), b"203.0.113.5\n")
        self.take_addresses(210, 6000)
        run = self.finish(process)
        self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-001"), run.stderr)
        self.assertIn("the host has too many addresses", run.failure[1])
        self.assert_no_residue()

    def take_addresses(self, second, count, *more):
        """Routes many addresses to the host itself, no two of them neighbours."""
        addresses = [f"10.{second + i // 32768}.{i // 128 % 256}.{i % 128 * 2}"
                     for i in range(count)]
        self.inside(self.host, "ip", "-batch", "-",
                    input="".join(f"route add local {address}/32 dev lo\n"
                                                                  for address
                                  in [*addresses, *more]))

    def test_gc_removes_a_port_that_outlived_its_run(self):
        """Somebody is in the namespace of a run, so that it outlives the run, and with it the
        veth."""
        document = shell("echo up; sleep 60", network=allow(("tcp", "198.51.100.7/32", 443)))
        other = self.start_here(document)  # whose port stays
        self.wait_for_output(other, b"up")
        before = self.residue()
        for victim in ("safe-run", "safe-run-net"):
            process = self.start_here(document)
            self.wait_for_output(process, b"up")
            links = [entry[1] for entry in self.residue() if entry[0] == "link"
                     and entry not in before]
            cell = next(int(entry[1]) for entry in self.residue() if entry not in before
                        and entry[-1] == "safe-run-net")
            holder = self.hold_namespace(cell)
            os.kill(process.pid if victim == "safe-run" else cell, signal.SIGKILL)
            out, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, -signal.SIGKILL if victim == "safe-run" else 125)
            self.wait_for(lambda: not [e for e in self.residue() if e[0] == "process"
                                       and e not in before])
            self.assertEqual([entry for entry in self.residue() if entry not in before],
                             [("link", links[0])])
            self.collect()
            self.assertEqual([entry for entry in self.residue() if entry not in before], [])
            holder.kill()
            holder.communicate()
        other.kill()
        other.communicate()
        self.assert_no_residue()

    def hold_namespace(self, pid):
        holder = subprocess.Popen(["nsenter", "-t", str(pid), "-n", "sh", "-c",
                                   "echo; exec sleep 100"], stdout=subprocess.PIPE)
        holder.stdout.readline()
        return holder

    def test_the_release_says_what_is_gone(self):
        run = self.run_here(shell("true", network=allow(("tcp", "198.51.100.7/32", 443))))
        self.assertEqual([thing["what"]
                          for thing in run.events("network.rule.released")[0]["removed"]],
                         ["table inet safe_run", "table netdev safe_run", "bridge:br0"])
        self.assertEqual(run.events("run.cleaned")[0]["network"], "ended")

    def test_what_is_not_there_is_named(self):
        for uplink, message in (("bridge:none0", "names none0: No such device"),
                                ("bridge:lo", "no port of lo can be made")):
            self.configure(network={"uplink": uplink, "addresses": "192.0.2.100/24",
                                    "gateway": "192.0.2.2"})
            run = self.run_here(shell("true", network=allow(("tcp", "198.51.100.7/32", 443))))
            self.assertEqual((run.status, run.failure[0]), (125, "SR-RUN-201"))
            self.assertIn(message, run.failure[1])
            self.assert_no_residue()


class Conformance(unittest.TestCase):
    def test_the_acceptance_script(self):
        script = os.path.join(SOURCE, "scripts", "network_allowlist_acceptance.sh")
        done = subprocess.run([script, BUILD], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("tcp:198.51.100.7:443", done.stdout)
        self.assertNotIn("WRONG", done.stdout)


class ReachAsUser(Reach):
    as_user = True


class ReachWithOwnId(Reach):
    """Root's runs where /dev/net/tun is everybody's, as on most systems: net cell and pasta have
    the run's id, not root's."""
    open_node = True

    def test_nothing_of_the_network_is_root(self):
        process = self.start_here(shell("echo up; sleep 60",
                                        network=allow(("udp", "198.51.100.7/32", 443))))
        self.wait_for_output(process, b"up")
        found = [entry[1] for entry in self.residue()
                 if entry[0] == "process" and entry[2].startswith(("passt", "safe-run-net",
                                                                   "safe-run-udp"))]
        self.assertEqual(len(found), 3)
        for pid in found:
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                uids = next(line for line in file if line.startswith("Uid:")).split()[1:]
            self.assertGreaterEqual(min(map(int, uids)), 2000000000)
        process.kill()
        process.communicate()
        self.assert_no_residue()


class UdpAsUser(Udp):
    as_user = True


class LifeWithOwnId(Life):
    open_node = True


class NamesAsUser(Names):
    as_user = True


class LifeAsUser(Life):
    as_user = True


if __name__ == "__main__":
    unittest.main()
