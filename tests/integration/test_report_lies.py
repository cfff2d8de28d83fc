"""Reports of which one thing is untrue and every hash is right, as somebody writes them who can write the files: `report verify`
finds what the events of the report itself contradict."""
import copy
import json
import os
import subprocess
import unittest

from reports import make

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden", "report")


def golden(name):
    with open(os.path.join(GOLDEN, name), encoding="utf-8") as file:
        return json.load(file)


def reseal(report):
    """Makes chain and digest right again and returns the report's text."""
    previous = make.ZERO
    for event in report["events"]:
        event["hashPrev"] = previous
        event["hashSelf"] = previous = make.sha("|".join(
            [previous, event["timestamp"], event["runId"], event["stage"], event["type"], make.canonical(event["payload"])]))
    report["integrity"]["digest"] = ""
    report["integrity"]["digest"] = make.sha(make.canonical(report))
    return make.canonical(report) + "\n"


def payloads(report, kind):
    return [event["payload"] for event in report["events"] if event["type"] == kind]


def pad(value):
    """Members that sort before all others, more than any table of members has room for."""
    value.update({f"A{number:02}": 0 for number in range(30)})


class Lies:
    def verify(self, report):
        done = subprocess.run([SAFE_RUN, "report", "verify", "-"], input=reseal(report).encode(), stdout=subprocess.PIPE, timeout=60)
        return json.loads(done.stdout)

    def lie(self, change, *places, name="observed.json"):
        """The golden report changed: not valid, by errors at exactly these places."""
        report = golden(name)
        report = change(report) or report
        answer = self.verify(report)
        self.assertFalse(answer["valid"])
        self.assertEqual(sorted(error["path"] for error in answer["errors"]), sorted(places), answer["errors"])


class Padded(Lies, unittest.TestCase):
    """Objects with so many members that what matters comes behind them."""

    def test_the_truth_is_valid(self):
        for name in ("observed.json", "sealed.json"):
            self.assertEqual(self.verify(golden(name))["errors"], [])

    def test_hits_of_padded_events(self):
        def change(report):
            for payload in payloads(report, "network.rule.hit"):
                pad(payload)
            report["networkAudit"].update(allowedHits=0, blockedHits=0)
        self.lie(change, "networkAudit.allowedHits", "networkAudit.blockedHits")

    def test_samples_of_padded_events(self):
        def change(report):
            for payload in payloads(report, "resource.sampled"):
                pad(payload)
            report["resourceUsage"] = {"cpu": "cpuUsageUsec=0", "memory": "memoryCurrentBytes=0"}
        self.lie(change, "resourceUsage.cpu", "resourceUsage.memory")

    def test_contradictions_of_a_padded_event(self):
        def change(report):
            exited, = payloads(report, "vm.exited")
            for value in (exited, exited["guest"], exited["vmm"]):
                pad(value)
            exited["contradictions"] = []
        self.lie(change, *["events[11].payload.contradictions"] * 3)

    def test_padded_members_of_the_report(self):
        def change(report):
            for name in ("networkAudit", "mountAudit", "integrity"):
                pad(report[name])
            report["networkAudit"]["rulesTotal"] = 0
            report["mountAudit"]["rejected"] = 0
        self.lie(change, "networkAudit.rulesTotal", "mountAudit.rejected")

    def test_a_padded_event_is_refused(self):
        self.lie(lambda report: pad(report["events"][3]), "events[3]", "events[12].type")

    def test_padding_alone_is_no_lie(self):
        report = golden("observed.json")
        for event in report["events"]:
            pad(event["payload"])
        for name in ("exit", "artifacts", "integrity", "policySummary", "networkAudit"):
            pad(report[name])
        self.assertEqual(self.verify(report)["errors"], [])


if __name__ == "__main__":
    unittest.main()
