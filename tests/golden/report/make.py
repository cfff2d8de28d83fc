#!/usr/bin/env python3
"""Writes the golden reports: one of each generation that must verify for ever.

An implementation of the contract that shares nothing with ours (json and hashlib of Python), so
that the verifier is not only held against our own writer. Run it in this directory; it writes the
same bytes each time.

  minimal.json       no optional field; compact, keys in another order than the canonical one
  unix-time.json     timestamps unix:<sec>.<nsec>, compact
  pretty.json        indented, non-ASCII escaped, keys in the order of the contract; no terminal
                     event
  archived.json      with archive and verification, network rules and mounts
  sealed.json        canonical and one newline, says so
  sealed.events.jsonl  its events
  observed.json      the same with observedBy everywhere, and with contradictions of guest and host
  observed.events.jsonl  its events
  fielded.json       who saw it is said of each field: an output that is missing by the guest's
                     word, one that the host refused
  fielded.events.jsonl  its events
"""
import hashlib
import json

ZERO = "sha256:" + "0" * 64
RUN = "sr-20260102T030405-abc234"


DROPS = ("invalid", "notIpv4", "spoofed", "toGateway", "unaccounted")


def canonical(value):
    # RFC 8785 for texts within the BMP and integers, which is all there is here.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def sha(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def chain(events, stamp):
    previous, out = ZERO, []
    for index, (stage, kind, payload) in enumerate(events):
        event = {"timestamp": stamp(index), "runId": RUN, "stage": stage, "type": kind,
                 "payload": payload,
                 "hashPrev": previous}
        event["hashSelf"] = sha("|".join([previous, event["timestamp"], RUN, stage, kind,
                                          canonical(payload)]))
        previous = event["hashSelf"]
        out.append(event)
    return out


def report(events, **more):
    kinds = [e["type"] for e in events]
    mode = "allowlist" if "network.plan.generated" in kinds else "none"
    of = lambda kind: [e["payload"] for e in events if e["type"] == kind]
    hits, samples = of("network.rule.hit"), of("resource.sampled")
    last = samples[-1] if samples else {"cpuUsageUsec": 0, "memoryCurrentBytes": 0}
    rejected = of("mount.rejected")
    command = {"command": "/bin/echo", "args": ["hello", "wörld"]}
    out = {
        "schemaVersion": "safe-run.report/v1", "runId": RUN,
        "startedAt": events[0]["timestamp"], "finishedAt": events[-1]["timestamp"], "exitCode": 0,
        "artifacts": {"kernelHash": sha("kernel"), "rootfsHash": sha("rootfs"),
                      "policyHash": sha("{}"),
                      "commandHash": sha(canonical(command))},
        "policySummary": {"network": mode, "mounts": len(of("mount.validated")) + len(rejected)},
        "resourceUsage": {"cpu": "cpuUsageUsec=%d" % last["cpuUsageUsec"],
                          "memory": "memoryCurrentBytes=%d" % last["memoryCurrentBytes"]},
        "events": events,
        "mountAudit": {"requested": len(of("mount.validated")) + len(rejected),
                       "accepted": len(of("mount.validated")), "rejected": len(rejected),
                       "reasons": [r["errorCode"] + ": " + r["message"] for r in rejected]},
        "networkAudit": {"mode": mode, "rulesTotal": sum(p["rulesTotal"]
                                                         for p in of("network.plan.generated")),
                         "allowedHits": sum(h["allowedHits"] for h in hits),
                         "blockedHits": sum(h["blockedHits"] for h in hits)},
        "integrity": {"digest": ""},
    }
    if "observers" in more.get("integrity", {}):
        out["networkAudit"]["denied"] = sum(flow["packets"] for flow in of("network.flow.denied"))
        for released in of("network.rule.released"):
            out["networkAudit"]["dropped"] = {name: released["frames"][name] for name in DROPS}
    for key, value in more.items():
        if key == "integrity":
            out[key].update(value)
        else:
            out[key] = value
    out["integrity"]["digest"] = sha(canonical(out))
    return out


def rfc3339(index):
    return "2026-01-02T03:04:05.%09dZ" % (index * 1000)


def unix(index):
    return "unix:1767323045.%09d" % (index * 1000)


def write(name, text):
    with open(name, "w", encoding="utf-8", newline="") as file:
        file.write(text)


BEGIN = [("compile", "compile", {"policyHash": sha("{}")}),
         ("prepare", "run.prepared", {"workdir": "/var/lib/safe-run/runs/" + RUN,
                                      "timeoutSec": 300})]
MOUNT = [("mount", "mount.validated", {"source": "/var/lib/safe-run/é", "target": "/data/a",
                                       "read_only": True}),
         ("mount", "mount.rejected", {"source": "/var/lib/safe-run/b", "target": "/data/b",
                                      "read_only": True,
                                      "errorCode": "SR-POL-101", "message": "\"b\" is gone\n"}),
         ("mount", "mount.applied", {"source": "/var/lib/safe-run/é", "target": "/data/a",
                                     "read_only": True,
                                     "imageHash": sha("image")})]
NET = [("network", "network.plan.generated", {"mode": "allowlist", "tap": "sr-tap-0123abcd",
                                              "table": "safe_run",
                                              "chains": ["forward"], "rulesTotal": 2})]
START = [("launch", "vm.started", {"pid": 4711, "launcher": "qemu"})]
SAMPLE = [("monitor", "resource.sampled", {"cpuUsageUsec": 1234, "memoryCurrentBytes": 104857600}),
          ("monitor", "resource.sampled", {"cpuUsageUsec": 5678, "memoryCurrentBytes": 104857601})]
HIT = [("monitor", "network.rule.hit", {"tap": "sr-tap-0123abcd", "table": "safe_run",
                                        "chain": "forward",
                                        "protocol": "tcp", "target": "1.1.1.1", "port": 443 + n,
                                        "allowedHits": 3,
                                        "blockedHits": n}) for n in (0, 1)]
END = [("monitor", "vm.exited", {"exitCode": 0, "timedOut": False, "sampleCount": 2})]
CLEAN = [("cleanup", "run.cleaned", {})]


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))



HOST = {"observedBy": "host"}
GUEST = {"observedBy": "guest", "exitCode": 0, "signal": 0, "userUsec": 90000000, "systemUsec": 0,
         "maxRssKib": 1048576,
         "oomKills": 0}
EXITED = {"exitCode": 0, "exitObservedBy": "guest", "timedOut": False, "sampleCount": 2,
          "vmmCpuUsec": 9000,
          "wallUsec": 10000000, "vcpus": 1, "guestRamBytes": 268435456, "hostOomKills": 0,
          "stopReason": "guest-reset",
          "vmm": {"endedBy": "itself", "status": 0, "signal": 11},
          "stdout": {"bytes": 6, "logged": 6},
          "stderr": {"bytes": 0, "logged": 0}, "guest": GUEST,
          "contradictions": [
              {"about": "cpu", "guest": 90000000, "host": 10000000,
               "message": "the guest reports 90000000 us of CPU time; its VM lived for 10000000 "
                          "us on 1 vCPU"},
              {"about": "memory", "guest": 1073741824, "host": 268435456,
               "message": "the guest reports a process of 1073741824 bytes; its VM has 268435456"},
              {"about": "exit", "guest": 0, "host": 11, "message":
               "the guest reports the command's end; the host saw the VMM killed by signal 11"}]}


def seen(events):
    return [(stage, kind, {**HOST, **payload}) for stage, kind, payload in events]


MISSING = "the guest says that the command left nothing at /data/none"
GUESTS_OUTPUT = {"observedBy": "guest", "outcome": "missing",
                 "message": "/data/none: No such file or directory"}
FIELDED = [
    ("compile", "compile", {"policyHash": sha("{}"), "observers": "field"}), BEGIN[1], *MOUNT, *NET,
    ("launch", "vm.accel.selected", {
        "accel": "tcg", "reason": "no guest under KVM: the VMM ended before the guest said hello",
        "guest": {"observedBy": "guest", "message": "Kernel panic - not syncing"}}), *START,
           *SAMPLE, *HIT,
    *(("monitor", "network.flow.denied", {"protocol": protocol, "destination": destination,
                                          "port": port, "packets": packets,
                                          "firstAt": "2026-01-02T03:04:05.000008000Z",
                                          "lastAt": "2026-01-02T03:04:05.000009000Z"})
      for protocol, destination, port, packets in (("tcp", "203.0.113.66", 22, 3),
                                                   ("any", "others", 0, 2))),
    ("monitor", "output.collected", {"path": "/data/out", "name": "out", "max": 1024,
                                     "collected": False, "errorCode": "SR-RUN-001",
                                     "message": "disk is a device"}),
    ("monitor", "output.collected", {"path": "/data/none", "name": "none", "max": 1024,
                                     "collected": False,
                                     "errorCode": "SR-RUN-001", "message": MISSING,
                                     "guest": GUESTS_OUTPUT}),
    ("monitor", "vm.exited", {**EXITED, "exitCode": 125, "exitObservedBy": "host",
                              "contradictions": [],
                              "vmm": {"endedBy": "safe-run", "status": 0, "signal": 9},
                              "guest": {**GUEST, "userUsec": 1000, "maxRssKib": 900}}),
    ("cleanup", "network.rule.released", {**NET[0][2], "frames": {
        "sent": 30, "arp": 2, "notIpv4": 4, "allowed": 6, "established": 5, "denied": 5,
                                                                  "spoofed": 3, "invalid": 2,
                                                                  "toGateway": 1,
        "replies": 9, "unaccounted": 2}}), *CLEAN,
    ("cleanup", "run.failed", {"reason": "workload", "reasonObservedBy": "guest",
                               "errorCode": "SR-RUN-001", "path": "outputs[0].path",
                               "message": "disk is a device", "messageObservedBy": "host"})]


def main():
    write("minimal.json", compact(report(chain(BEGIN + START + END + CLEAN, rfc3339))))
    write("unix-time.json", compact(report(chain(BEGIN + START + SAMPLE + END + CLEAN, unix)))
          + "\n")
    write("pretty.json", json.dumps(report(chain(BEGIN + MOUNT + START + SAMPLE + END, rfc3339)),
                                    indent=2) + "\n")
    write("archived.json", compact(report(
        chain(BEGIN + MOUNT + NET + START + SAMPLE + HIT + END + CLEAN, rfc3339),
        archive={"bundleId": "b-1", "storedAt": rfc3339(99), "retention": "180d"},
        verification={"algorithm": "sha256", "verifiedAt": rfc3339(99), "result": "pass"})) + "\n")
    sealed = chain(BEGIN + MOUNT + NET + START + SAMPLE + HIT + END + CLEAN, rfc3339)
    write("sealed.json", canonical(report(
        sealed, exit={"cause": "workload", "code": 0, "signal": None},
        assurance={"vmm": "qemu", "vmmVersion": "7.2.22", "accel": "tcg", "jail": "none",
                   "uplink": "none",
                   "limits": {"cpu": "vm", "memory": "vm", "pids": "guest", "disk": "guest"}},
        integrity={"canonicalization": "RFC8785"})) + "\n")
    write("sealed.events.jsonl", "".join(canonical(event) + "\n" for event in sealed))
    observed = chain(seen(BEGIN + MOUNT + NET + START + SAMPLE + HIT
                          + [("monitor", "vm.exited", EXITED)] + CLEAN), rfc3339)
    write("observed.json", canonical(report(
        observed, observedBy="host", exit={"cause": "workload", "code": 0, "signal": None,
                                           "observedBy": "guest"},
        assurance={"vmm": "qemu", "vmmVersion": "7.2.22", "accel": "tcg", "jail": "none",
                   "uplink": "none",
                   "limits": {"cpu": "vm", "memory": "vm", "pids": "guest", "disk": "guest"}},
        integrity={"canonicalization": "RFC8785"})) + "\n")
    write("observed.events.jsonl", "".join(canonical(event) + "\n" for event in observed))
    fielded = chain(seen(FIELDED), rfc3339)
    write("fielded.json", canonical(report(
        fielded, observedBy="host", exitCode=125, exitCodeObservedBy="host",
        exit={"cause": "workload", "code": 0, "codeObservedBy": "guest", "signal": None,
              "signalObservedBy": "guest",
              "observedBy": "guest", "guest": {"observedBy": "guest", "code": 0, "signal": None}},
        assurance={"vmm": "qemu", "vmmVersion": "7.2.22", "accel": "tcg", "jail": "none",
                   "uplink": "none",
                   "limits": {"cpu": "vm", "memory": "vm", "pids": "guest", "disk": "guest"}},
        integrity={"canonicalization": "RFC8785", "observers": "field"})) + "\n")
    write("fielded.events.jsonl", "".join(canonical(event) + "\n" for event in fielded))


if __name__ == "__main__":
    main()
