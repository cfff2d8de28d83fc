#!/usr/bin/python3
"""The work of network_allowlist_acceptance.sh, with the namespaces and servers of the integration
tests."""
import os
import sys

BUILD = os.path.abspath(sys.argv.pop(1))
os.environ["SR_BUILD"] = BUILD
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "tests", "integration"))
import network  # noqa: E402

# What is tried, whether it may arrive, and how it is said.
TRIES = [
    ("tcp:198.51.100.7:443", True, "allowed address, protocol and port"),
    ("udp:198.51.100.8:53", True, "allowed address, protocol and port"),
    ("tcp:203.0.113.5:80", True, "an address of an allowed prefix"),
    ("tcp:198.51.100.9:443", True, "an address of an allowed name"),
    ("tcp:198.51.100.7:80", False, "wrong port"),
    ("udp:198.51.100.7:443", False, "wrong protocol (QUIC)"),
    ("tcp:198.51.100.8:443", False, "wrong address"),
    ("udp:192.0.2.2:53", False, "a name server no rule names (DNS tunnel)"),
    ("icmp:198.51.100.7", False, "ICMP to an allowed address"),
    ("ether:86dd", False, "IPv6 frames"),
    ("ether:88b5", False, "raw Ethernet frames"),
    ("fragments:198.51.100.7:53", False, "a fragment that hides the port"),
    ("spoof:198.51.100.99:198.51.100.8:53", False, "another source address"),
    ("steer:udp:198.51.100.8:53:9999", False, "an order to write the checksum over the port"),
    ("broadcast:53", False, "broadcast"),
    ("multicast:224.0.0.251:53", False, "multicast"),
    ("tcp:198.18.0.1:80", False, "the gateway itself"),
    ("tcp:198.18.0.5:80", False, "the uplink's gateway"),
    ("tcp:192.0.2.1:80", False, "the host's address, inside 0.0.0.0/0 port 80"),
    ("tcp:10.99.0.1:80", False, "another address of the host"),
    ("tcp:127.0.0.1:80", False, "loopback"),
    ("tcp:169.254.169.254:80", False, "the metadata address, inside 0.0.0.0/0 port 80"),
]
BLIND = ("ether", "spoof", "steer", "fragments", "broadcast",
         "multicast")  # the guest only knows that it sent


class Acceptance(network.NetworkTest):
    def runTest(self):  # noqa: N802
        self.dns({"api.example.com": [60, "198.51.100.9"],
                  "rebound.example.com": [60, "169.254.169.254"]})
        self.serve("tcp:*:443", "tcp:*:80", "udp:*:443")
        self.serve(*(f"udp:{address}:53" for address in ("198.51.100.7", "198.51.100.8",
                                                         "203.0.113.5")))
        self.serve(*(f"udp:198.51.100.8:{port}" for port in range(9990, 10009)))
        self.serve("tcp:*:80", "udp:*:53", space=self.host)
        allowed = network.allow(("tcp", "198.51.100.7/32", 443), ("udp", "198.51.100.8/32", 53),
                                ("tcp", "203.0.113.0/24", 80),
                                ("tcp", "api.example.com", 443), ("tcp", "0.0.0.0/0", 80))
        allowed["egress"].sort(key=lambda rule: rule.get("cidr") == "0.0.0.0/0")
        before = len(self.arrivals())
        probes = [probe for probe, _, _ in TRIES if probe != "tcp:198.51.100.7:80"
                  and not probe.startswith("steer")]
        verdicts, run = self.probe(allowed, *probes,
                                   *network.steered_probes("198.51.100.8", 53, 9999),
                                   audit={"level": "full"})
        strict, other = self.probe(network.allow(("tcp", "198.51.100.7/32", 443)),
                                   "tcp:198.51.100.7:80")
        verdicts.update(strict)
        # What the blind probes send must not arrive anywhere: nothing may but what the others are
        # to reach, each once.
        strays = [line.rsplit(" ", 1)[0].replace(" ", ":") for line in self.arrivals()[before:]
                  if not line.startswith("dns")]
        for probe in (probe for probe, may, _ in TRIES if may and probe in strays):
            strays.remove(probe)
        wrong = 0
        print(f"{'probe':40} {'what it is':48} {'must':8} verdict")
        for probe, may, what in TRIES:
            kind = probe.split(":")[0]
            got = bool(strays) if kind in BLIND else verdicts[probe] == "open"
            wrong += got != may
            print(f"{probe:40} {what:48} {'reach' if may else 'stop':8} "
                  f"{'reached' if got else 'stopped'}"
                  f"{'' if got == may else '   <-- WRONG'}")
        rebound = self.run_here(network.shell_policy(network.allow(("tcp", "rebound.example.com",
                                                                    443))))
        refused = rebound.status == 125 and rebound.failure[0] == "SR-RUN-201"
        wrong += not refused
        print(f"{'name:rebound.example.com':40} {'a name that leads to the metadata address':48} "
              f"{'refuse':8} "
              f"{'refused' if refused else 'NOT REFUSED   <-- WRONG'}")
        print("\ncounters (packets of new connections let out; packets to a target that no rule "
              "allowed)")
        for hit in run.events("network.rule.hit") + other.events("network.rule.hit"):
            print(f"  {hit['protocol']} {hit['target']:18} port {hit['port']:<5} allowed "
                  f"{hit['allowedHits']:<4} blocked {hit['blockedHits']}")
        frames = run.events("network.rule.released")[0]["frames"]
        print("\nevery frame the guest sent:",
              ", ".join(f"{key} {value}" for key, value in sorted(frames.items())))
        flows = run.events("network.flow.denied")
        print("denied destinations:",
              ", ".join(sorted(f"{f['protocol']} {f['destination']}:{f['port']} x{f['packets']}"
                               for f in flows)))
        print("networkAudit:", run.report["networkAudit"])
        if strays:
            print("arrived, and must not have:", ", ".join(strays))
        self.assert_no_residue()
        print("\nresidue on the host: none (links, rules, processes)")
        print("the reports verify: yes" if not wrong
              else f"{wrong} of {len(TRIES) + 1} are not as they must be")
        self.assertEqual(wrong, 0)


if __name__ == "__main__":
    import unittest
    result = unittest.TextTestRunner(stream=open(os.devnull, "w")).run(Acceptance())  # noqa: SIM115
    for _, trace in result.failures + result.errors:
        print(trace, file=sys.stderr)
    sys.exit(0 if result.wasSuccessful() else 1)
