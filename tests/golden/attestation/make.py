#!/usr/bin/python3
"""Writes a run directory with an attestation that must verify for ever, and that this version
writes byte for byte.

Shares nothing with our implementation (json, hashlib, and Ed25519 of python3-cryptography). Run it
in this directory; it writes the same bytes each time. The key is the example of RFC 8410, which
everybody has: it proves nothing but the format.
"""
import base64
import hashlib
import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRIVATE = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""


def canonical(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def hexdigest(data):
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def sha(data):
    return "sha256:" + hexdigest(data)


def write(name, data):
    with open(name, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def make_report():
    with open("../report/sealed.json", encoding="utf-8") as file:
        report = json.load(file)
    report["events"].insert(-2, {**report["events"][-2], "type": "output.collected", "payload": {
        "path": "/data/out", "name": "out", "collected": True, "hash": sha("tree")}})
    report["events"].insert(-2, {**report["events"][-2], "type": "output.collected", "payload": {
        "path": "/data/none", "name": "none", "collected": False, "errorCode": "SR-RUN-001"}})
    previous = "sha256:" + "0" * 64
    for event in report["events"]:
        if event["type"] == "vm.started":
            event["payload"]["initrdHash"] = sha("initrd")
        event["hashPrev"] = previous
        event["hashSelf"] = previous = sha("|".join(
            [previous, event["timestamp"], event["runId"], event["stage"], event["type"],
             canonical(event["payload"])]))
    report["artifacts"]["files"] = {"outputs/größe \"1\"": sha("result"), "policy.json": sha("{}"),
                                    "stdout.log": sha("hello\n")}
    report["assurance"]["safeRunVersion"] = "0.1.0"
    report["policySummary"]["name"] = "attested"
    report["integrity"]["digest"] = ""
    report["integrity"]["digest"] = sha(canonical(report))
    return report


def make_statement(report, subjects):
    artifacts, assurance = report["artifacts"], report["assurance"]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://safe-run.dev/attestation/run/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects] + [
            {"name": "outputs/out", "digest": {"safeRunOutputV1": hexdigest("tree")}}],
        "predicate": {
            "asked": {"policyHash": artifacts["policyHash"],
                      "commandHash": artifacts["commandHash"],
                      "policySummary": report["policySummary"]},
            "enforced": {"assurance": assurance},
            "result": {key: report[key] for key in ("exit", "exitCode", "startedAt", "finishedAt")},
            "run": {"runId": report["runId"], "digest": report["integrity"]["digest"]},
            "versions": {"kernelHash": artifacts["kernelHash"], "initrdHash": sha("initrd"),
                         "rootfsHash": artifacts["rootfsHash"],
                         "safeRunVersion": assurance["safeRunVersion"],
                         "vmm": assurance["vmm"], "vmmVersion": assurance["vmmVersion"]}}}


def make_envelope(key, payload):
    kind = b"application/vnd.in-toto+json"
    spki = key.public_key().public_bytes(serialization.Encoding.DER,
                                         serialization.PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    return {"payload": base64.b64encode(payload).decode(), "payloadType": kind.decode(),
            "signatures": [{"keyid": hexdigest(spki), "sig": base64.b64encode(signature).decode()}]}


def main():
    report = make_report()
    files = {"run_report.json": canonical(report) + "\n",
             "events.jsonl": "".join(canonical(event) + "\n" for event in report["events"]),
             "policy.json": "{}", "stdout.log": "hello\n"}
    for name, text in files.items():
        write(name, text)
    subjects = [(name, hexdigest(files[name])) for name in ("run_report.json", "events.jsonl")]
    subjects += [(name, digest[len("sha256:"):]) for name,
                 digest in sorted(report["artifacts"]["files"].items())]
    key = serialization.load_pem_private_key(PRIVATE, None)
    write("run_report.dsse.json",
          canonical(make_envelope(key, canonical(make_statement(report, subjects)).encode()))
          + "\n")
    write("signer.pem", PRIVATE)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write("signer.pem.pub", key.public_key().public_bytes(serialization.Encoding.PEM, form))


main()
