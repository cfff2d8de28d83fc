"""Run directories made without a run, by the second implementation of the contract in
tests/golden/report/make.py: what the tests of `report show`, `html`, `diff` and `export` read."""
import importlib.util
import json
import os

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_spec = importlib.util.spec_from_file_location("make", os.path.join(SOURCE, "tests", "golden",
                                                                    "report", "make.py"))
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)

GUEST = {"observedBy": "guest", "exitCode": 0, "signal": 0, "userUsec": 9100000,
         "systemUsec": 1400000, "maxRssKib": 98304,
         "oomKills": 0}
FRAMES = {"sent": 920, "arp": 2, "notIpv4": 4, "allowed": 41, "established": 851, "denied": 19,
          "spoofed": 0, "invalid": 0,
          "toGateway": 3, "replies": 1200, "unaccounted": 0}


def policy(**changes):
    document = {
        "apiVersion": "policy.safe-run.dev/v1alpha1", "audit": {"level": "full"},
        "metadata": {"labels": {"team": "forecast", "ticket": "OPS-1182"}, "name": "fetch-weather"},
        "mounts": [{"read_only": True, "source": "/var/lib/safe-run/stations",
                    "target": "/data/stations"}],
        "network": {"egress": [{"host": "api.weather.example", "port": 443, "protocol": "tcp"},
                               {"cidr": "192.0.2.53/32", "port": 53, "protocol": "udp"}],
                    "mode": "allowlist"},
        "outputs": [], "require": {"accel": "any", "limits": "enforced", "signature": False},
        "resources": {"cpu": {"max": "100000 100000"}, "disk": {"max": "64Mi"},
                      "memory": {"max": "256Mi"},
                      "pids": {"max": 256}},
        "runtime": {"args": ["--since", "2026-01-01", "https://api.weather.example/v1/stations"],
                    "command": "/usr/bin/fetch", "env": {}, "image": "base", "timeoutSec": 120,
                    "user": "1000:1000",
                    "workdir": "/"}}
    document.update(changes)
    return document


def rule(number, target, port, protocol="tcp", **more):
    return {"tap": "sr-tap-0123abcd", "table": "safe_run", "chain": "forward", "protocol": protocol,
            "target": target,
            "port": port, "rule": number, **more}


def samples(count, step_ns=1_000_000_000):
    """(time, payload): a start, work in waves, and a memory that grows and levels off."""
    cpu = 0
    for second in range(1, count + 1):
        cpu += 900_000 if second % 7 < 4 else 180_000
        memory = 96_000_000 + int(130_000_000 * (1 - 0.82 ** second)) + (second % 5) * 2_500_000
        yield second * step_ns, {"cpuUsageUsec": cpu, "memoryCurrentBytes": memory,
                                 "source": "cgroup v2"}


def ordinary_events():
    """(nanoseconds since the start, stage, type, payload) of a run that does what it should, and
    tries more."""
    host = {"host": "api.weather.example"}
    start = 310_000_000
    tap = {"tap": "sr-tap-0123abcd", "table": "safe_run", "chains": ["forward"], "rulesTotal": 3}
    mount = {"source": "/var/lib/safe-run/stations", "target": "/data/stations", "read_only": True}
    yield 0, "compile", "compile", {}
    yield 200_000, "prepare", "run.prepared", {
        "workdir": "/var/lib/safe-run/runs/" + make.RUN, "timeoutSec": 120,
        "image": {"name": "base", "from": "store", "digest": make.sha("rootfs")},
        "runtime": {"workdir": "/srv", "workdirFrom": "image", "user": "33:33", "userFrom": "image",
                    "imageEnv": ["PATH=/usr/bin", "LANG=C"]}}
    yield 900_000, "mount", "mount.validated", mount
    yield 60_000_000, "mount", "mount.applied", {**mount, "imageHash": make.sha("stations")}
    yield 250_000_000, "network", "network.plan.generated", {
        **tap, "mode": "allowlist", "uplink": "pasta", "rulesetHash": make.sha("rules")}
    for number, (target, port, protocol, more) in enumerate((
            ("198.51.100.20/32", 443, "tcp", host), ("198.51.100.21/32", 443, "tcp", host),
            ("192.0.2.53/32", 53, "udp", {}))):
        yield 251_000_000 + number, "network", "network.rule.applied", rule(number // 2, target,
                                                                            port, protocol, **more)
    yield 300_000_000, "launch", "vm.accel.selected", {"accel": "kvm",
                                                       "reason": "KVM has worked on this host"}
    yield start, "launch", "vm.started", {"pid": 4711, "launcher": "qemu", "accel": "kvm",
                                          "argv": ["/usr/bin/qemu-system-x86_64", "-M", "microvm"]}
    for at, payload in samples(24):
        yield start + at, "monitor", "resource.sampled", payload
    end = start + 24_400_000_000
    yield end, "monitor", "network.rule.hit", {**rule(0, "198.51.100.20/32", 443, **host),
                                               "allowedHits": 31, "blockedHits": 0}
    yield end + 1, "monitor", "network.rule.hit", {**rule(0, "198.51.100.21/32", 443, **host),
                                                   "allowedHits": 4, "blockedHits": 2}
    yield end + 2, "monitor", "network.rule.hit", {**rule(1, "192.0.2.53/32", 53, "udp"),
                                                   "allowedHits": 6, "blockedHits": 0}
    for number, (protocol, destination, port, packets) in enumerate((
            ("tcp", "198.51.100.21", 80, 2), ("tcp", "203.0.113.66", 22, 12),
            ("udp", "203.0.113.9", 123, 3), ("icmp", "192.0.2.1", 0, 2))):
        yield end + 10 + number, "monitor", "network.flow.denied", {
            "protocol": protocol, "destination": destination, "port": port, "packets": packets,
            "firstAt": stamp(start + number * 3_000_000_000),
            "lastAt": stamp(start + (2 + number * 4) * 1_000_000_000)}
    yield end + 1_000_000, "monitor", "vm.exited", {
        "exitCode": 0, "exitObservedBy": "guest", "timedOut": False, "sampleCount": 24,
                                                    "vmmCpuUsec": 14_900_000,
        "wallUsec": 24_401_000, "vcpus": 1, "guestRamBytes": 268435456, "hostOomKills": 0,
                                                    "stopReason": "guest-reset",
        "vmm": {"endedBy": "safe-run", "status": 0, "signal": 9},
                                                    "stdout": {"bytes": 4180, "logged": 4180},
        "stderr": {"bytes": 63, "logged": 63}, "guest": GUEST, "contradictions": []}
    yield end + 60_000_000, "cleanup", "network.rule.released", {
        **tap, "removed": ["nft tables", "uplink"], "frames": FRAMES}
    yield end + 61_000_000, "cleanup", "run.cleaned", {"cgroup": "removed"}


LIMITS = {"cpu": "cgroup v2", "memory": "vm (guest RAM), cgroup v2",
          "pids": "guest (cgroup v2 pids.max), cgroup v2",
          "disk": "guest (tmpfs size)"}
STDERR = "fetch: station 0417 has no reading for 2026-01-01, left out\n"
STDOUT = "".join(f"{station:04} 2026-01-01T00:00Z {station % 19 - 6:+d} C\n"
                 for station in range(400, 440))


def write(directory, events=None, document=None, stdout=STDOUT, stderr=STDERR, seal=True, **more):
    """Writes a run directory and returns the report's path. events as ordinary_events() yields
    them."""
    document = policy() if document is None else document
    texts = {"policy.json": make.canonical(document), "stderr.log": stderr, "stdout.log": stdout,
             "command.json": make.canonical({"command": document["runtime"]["command"],
                                             "args": document["runtime"]["args"]})}
    raw = {name: text if isinstance(text, bytes) else text.encode() for name, text in texts.items()}
    compiled = {"policyHash": digest(raw["policy.json"]),
                "commandHash": digest(raw["command.json"])}
    times, plain = [], []
    for at, stage, kind, payload in ordinary_events() if events is None else events:
        times.append(at)
        plain.append((stage, kind, {"observedBy": "host", **payload,
                                    **(compiled if kind == "compile" else {})}))
    chained = make.chain(plain, lambda index: stamp(times[index]))
    raw["events.jsonl"] = "".join(make.canonical(event) + "\n" for event in chained).encode()
    fields = {
        "observedBy": "host", "exit": {"cause": "workload", "code": 0, "signal": None,
                                       "observedBy": "guest"},
        "assurance": {"vmm": "qemu", "vmmVersion": "7.2.22", "accel": "kvm",
                      "jail": "namespaces, uid, seccomp, landlock",
                      "uplink": "pasta", "limits": LIMITS},
        "artifacts": {"kernelHash": make.sha("kernel"), "rootfsHash": make.sha("rootfs"),
                      **compiled,
                      "files": {name: digest(raw[name]) for name in ("command.json", "policy.json",
                                                                     "stderr.log", "stdout.log")}},
        **more}
    if seal:
        fields["integrity"] = {"canonicalization": "RFC8785"}
    report = make.report(chained, **fields)
    raw["run_report.json"] = (make.canonical(report) + "\n").encode()
    os.makedirs(directory, exist_ok=True)
    for name, content in raw.items():
        with open(os.path.join(directory, name), "wb") as file:
            file.write(content)
    return os.path.join(directory, "run_report.json")


def digest(content):
    return "sha256:" + make.hashlib.sha256(content).hexdigest()


def stamp(nanoseconds):
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return "2026-01-02T03:%02d:%02d.%09dZ" % (4 + seconds // 60, seconds % 60, rest)


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)
