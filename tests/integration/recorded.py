"""Run directories without runs: evidence as the contract has it, made by a second
implementation."""
import hashlib
import json
import os

ZERO = "sha256:" + "0" * 64


def canonical(value):
    # RFC 8785 for texts within the BMP and integers, which is all there is here.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def sha(data):
    return "sha256:" + hashlib.sha256(data if isinstance(data, bytes)
                                      else data.encode()).hexdigest()


def chain(run_id, day, events):
    previous, out = ZERO, []
    for index, (stage, kind, payload) in enumerate(events):
        event = {"timestamp": f"{day}T03:04:05.{index:09}Z", "runId": run_id, "stage": stage,
                 "type": kind,
                 "payload": payload, "hashPrev": previous}
        event["hashSelf"] = sha("|".join([previous, event["timestamp"], run_id, stage, kind,
                                          canonical(payload)]))
        previous = event["hashSelf"]
        out.append(event)
    return out


def target(address, port, **more):
    return {"tap": "sr-tap-0123abcd", "table": "safe_run", "chain": "forward", "protocol": "tcp",
            "target": address,
            "port": port, **more}


def seal(report):
    """Fills in the digest."""
    report["integrity"]["digest"] = ""
    report["integrity"]["digest"] = sha(canonical(report))
    return canonical(report) + "\n"


def record(directory, run_id="sr-20260102T030405-abc234", day="2026-01-02", policy="demo",
           labels=None, command="/bin/echo",
           args=("hello",), exit_code=0, cause="workload", hits=(), denied=(), rules=(), files=None,
           outputs=None, collected=None):
    """Makes a finished run's directory; hits are (address, port, allowed, blocked), denied
    (address, port), rules (address, port, name), collected outputs that are one file each."""
    os.makedirs(directory)
    documents = {
        "policy.json": canonical({"metadata": {"name": policy, "labels": labels or {}},
                                  "runtime": {"command": command, "args": list(args)}}),
        "command.json": canonical({"command": command, "args": list(args)}),
        "stdout.log": "some output\n", "stderr.log": "", "console.log": "Linux\n", **(files or {})}
    collected = collected or {}
    for name, text in {**documents, **(outputs or {}), **{f"outputs/{name}": text for name,
                                                          text in collected.items()}}.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    network = bool(hits or denied)
    events = [("compile", "compile", {"policyHash": sha(documents["policy.json"])}),
              ("prepare", "run.prepared", {"workdir": directory, "timeoutSec": 300})]
    if network:
        events.append(("network", "network.plan.generated", {"mode": "allowlist",
                                                             "tap": "sr-tap-0123abcd",
                                                             "table": "safe_run",
                                                             "chains": ["forward"],
                                                             "rulesTotal": len(hits)}))
    events += [("network", "network.rule.applied", target(address, port, host=name, rule=number))
               for number, (address, port, name) in enumerate(rules)]
    events.append(("launch", "vm.started", {"pid": 4711, "launcher": "qemu"}))
    events += [("monitor", "network.rule.hit", target(address, port, allowedHits=allowed,
                                                      blockedHits=blocked,
                                                      host="api.example.com")) for address, port,
               allowed, blocked in hits]
    events += [("monitor", "network.flow.denied", {"protocol": "tcp", "destination": address,
                                                   "port": port, "packets": 1})
               for address, port in denied]
    events += [("cleanup", "output.collected", {
        "path": f"/out/{name}", "name": name, "collected": True,
                                                "hash": sha(f"f\0{len(text)}\0{text}"),
                                                "bytes": len(text), "files": 1,
        "directories": 0, "links": 0, "max": "1Mi"}) for name, text in collected.items()]
    events += [("monitor", "vm.exited", {"exitCode": exit_code, "timedOut": cause == "timeout",
                                         "sampleCount": 0}),
               ("cleanup", "run.cleaned", {})]
    if cause != "workload":
        events.append(("cleanup", "run.failed", {"reason": cause, "errorCode": "SR-RUN-001",
                                                 "message": cause}))
    events = chain(run_id, day, events)
    named = {name: text for name, text in documents.items() if name != "console.log"}
    report = {
        "schemaVersion": "safe-run.report/v1", "runId": run_id, "startedAt": events[0]["timestamp"],
        "finishedAt": events[-1]["timestamp"], "exitCode": exit_code,
        "artifacts": {"kernelHash": sha("kernel"), "rootfsHash": sha("rootfs"),
                      "policyHash": sha(documents["policy.json"]),
                      "commandHash": sha(documents["command.json"]),
                      "files": {name: sha(text) for name, text in {**named,
                                                                   **(outputs or {})}.items()}},
        "policySummary": {"network": "allowlist" if network else "none", "mounts": 0},
        "resourceUsage": {"cpu": "cpuUsageUsec=0", "memory": "memoryCurrentBytes=0"},
              "events": events,
        "mountAudit": {"requested": 0, "accepted": 0, "rejected": 0, "reasons": []},
        "networkAudit": {"mode": "allowlist" if network else "none", "rulesTotal": len(hits),
                         "allowedHits": sum(hit[2] for hit in hits),
                         "blockedHits": sum(hit[3] for hit in hits)},
        "exit": {"cause": cause, "code": exit_code, "signal": None},
        "assurance": {"vmm": "qemu", "vmmVersion": "7.2.22", "accel": "tcg", "jail": "none",
                      "uplink": "none",
                      "limits": {"cpu": "vm", "memory": "vm", "pids": "guest", "disk": "guest"}},
        "integrity": {"canonicalization": "RFC8785", "digest": ""}}
    path = os.path.join(directory, "run_report.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write(seal(report))
    with open(os.path.join(directory, "events.jsonl"), "w", encoding="utf-8") as file:
        file.writelines(canonical(event) + "\n" for event in events)
    return path
