"""Reports of which one thing is untrue and every hash is right, as somebody writes them who can
write the files: `report verify` finds what the events of the report itself contradict."""
import copy
import json
import os
import subprocess
import unittest

from reports import make

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden",
                      "report")


def golden(name):
    with open(os.path.join(GOLDEN, name), encoding="utf-8") as file:
        return json.load(file)


def reseal(report):
    """Makes chain and digest right again and returns the report's text."""
    previous = make.ZERO
    for event in report["events"]:
        event["hashPrev"] = previous
        event["hashSelf"] = previous = make.sha("|".join(
            [previous, event["timestamp"], event["runId"], event["stage"], event["type"],
             make.canonical(event["payload"])]))
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
        done = subprocess.run([SAFE_RUN, "report", "verify", "-"], input=reseal(report).encode(),
                              stdout=subprocess.PIPE, timeout=60)
        return json.loads(done.stdout)

    def lie(self, change, *places, name="observed.json"):
        """The golden report changed: not valid, by errors at exactly these places."""
        report = golden(name)
        change(report)
        answer = self.verify(report)
        self.assertFalse(answer["valid"])
        self.assertEqual(sorted(error["path"] for error in answer["errors"]), sorted(places),
                         answer["errors"])


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


def exited(report):
    return payloads(report, "vm.exited")[0]


def drop(value, *names):
    for name in names:
        del value[name]


def cut(report, count):
    report["events"] = report["events"][:count]


def undersign(report):
    """What a report is without the promise of exact bytes."""
    drop(report["integrity"], "canonicalization")


def move(report, kind, to):
    event = next(event for event in report["events"] if event["type"] == kind)
    report["events"].remove(event)
    report["events"].insert(to, event)
    for event in report["events"]:
        event["timestamp"] = report["startedAt"]


def unobserve(report):
    for value in [report, report["exit"], *(event["payload"] for event in report["events"])]:
        drop(value, "observedBy")


def impossible_times(report):
    for event in report["events"]:
        event["timestamp"] = "2026-13-45T99:99:99.000000000Z"


def fail(reason, path="launch.vm", observer="host"):
    """The run.failed that goes with a cause, and the report that goes with it."""
    def change(report):
        event = copy.deepcopy(report["events"][-1])
        event.update(type="run.failed", payload={"reason": reason, "errorCode": "SR-RUN-001",
                                                 "path": path, "message": "m",
                                                 "observedBy": observer})
        report["events"].append(event)
        report["exit"].update(cause=reason, observedBy=observer)
        report["exitCode"] = exited(report)["exitCode"] = 125
        exited(report)["exitObservedBy"] = observer
    return change


def both(*changes):
    def change(report):
        for one in changes:
            one(report)
    return change


AT = "events[11].payload."
# A run that took the time its limits allow, and what is untrue of it.
TOOK = {"bootUsec": 400_000, "commandUsec": 2_000_000, "collectUsec": 3_000_000, "endUsec": 100_000,
        "wallUsec": 5_500_002}
MAY = {"timeoutSec": 2, "graceUsec": 4_000_000, "collectUsec": 5_000_000, "endUsec": 10_000_000}
LONG = {"about": "collect", "used": 75_000_000, "limit": 5_000_000,
        "message": "the collection of outputs took 75000000 us; its limits allow 5000000 us, and "
                   "5 s are forgiven"}


class Times(Lies, unittest.TestCase):
    def timed(self, changes=(), limits=(), own_up=(), drop_from=None, member=None):
        def change(report):
            event = payloads(report, "vm.exited")[0]
            event["durations"], event["limits"] = {**TOOK, **dict(changes)}, {**MAY, **dict(limits)}
            event["contradictions"] += own_up
            if drop_from is not None:
                del (event if member is None else event[drop_from])[member or drop_from]
        return change

    def valid(self, change):
        report = golden("observed.json")
        change(report)
        self.assertEqual(self.verify(report)["errors"], [])

    def test_times_within_their_limits_are_valid(self):
        self.valid(self.timed())

    def test_more_time_than_allowed_is_found(self):
        long = {"collectUsec": 75_000_000, "wallUsec": 77_500_000}
        at = "events[11].payload.contradictions"
        self.lie(self.timed(long), at)
        self.valid(self.timed(long, own_up=[LONG]))
        self.lie(self.timed(long, own_up=[{**LONG, "limit": 75_000_000}]), at)
        self.lie(self.timed({"commandUsec": 75_000_000, "wallUsec": 78_500_000}), at)
        self.lie(self.timed({"endUsec": 75_000_000, "wallUsec": 80_400_000}), at)

    def test_phases_make_up_the_whole(self):
        self.lie(self.timed({"wallUsec": 75_000_000}), "events[11].payload.durations.wallUsec")

    def test_nothing_of_it_can_be_taken_out(self):
        at = "events[11].payload."
        self.lie(self.timed(drop_from="limits"), *[at + "limits." + name for name in MAY])
        self.lie(self.timed(drop_from="durations"), *[at + "durations." + name for name in TOOK])
        self.lie(self.timed(drop_from="durations", member="collectUsec"),
                 at + "durations.collectUsec")
        self.lie(self.timed({"endUsec": -1}), at + "durations.endUsec")


EVENTS_LOST = [AT + name for name in ("contradictions",) * 3]
# What is changed, and where that is found.
LIES = {
    "exit status": (lambda r: r.update(exitCode=7), ["exitCode"]),
    "exit status of the command": (lambda r: r["exit"].update(code=9), ["exit.code"]),
    "signal": (lambda r: r["exit"].update(signal=9), ["exit.signal"]),
    "no exit status of the command": (lambda r: r["exit"].update(code=None), ["exit.code"]),
    "exit status in the event": (lambda r: exited(r).update(exitCode=3), [AT + "exitCode"]),
    "the guest's exit status": (lambda r: exited(r)["guest"].update(exitCode=3),
                                ["exitCode", AT + "exitCode", "exit.code"]),
    "timeout": (lambda r: r["exit"].update(cause="timeout"), ["exit.cause"]),
    "interrupted, but by nobody": (lambda r: r["exit"].update(cause="interrupted",
                                                              observedBy="host"),
                                   ["exit.observedBy"]),
    "timed out, but the command's end": (lambda r: exited(r).update(timedOut=True), ["exit.cause"]),
    "guest's memory": (lambda r: r["exit"].update(cause="guest-oom"), ["exit.cause"]),
    "killed for memory, but an ordinary end": (lambda r: exited(r)["guest"].update(signal=9,
                                                                                   oomKills=1),
                                               ["exit.cause"]),
    "the host saw it": (lambda r: r["exit"].update(observedBy="host"), ["exit.observedBy"]),
    "the host saw it, in the event": (lambda r: exited(r).update(exitObservedBy="host"),
                                      [AT + "exitObservedBy"]),
    "failed, but not by its cause": (both(fail("vmm"), lambda r: r["exit"].update(cause="setup")),
                                     ["exit.cause"]),
    "failed, but a command's status": (both(fail("vmm"), lambda r: r.update(exitCode=0)),
                                       ["exitCode"]),
    "failed by the guest's word": (both(fail("vmm", observer="guest"),
                                        lambda r: r["exit"].update(code=0)),
                                   ["exit.observedBy", "events[13].payload.observedBy",
                                    AT + "exitObservedBy"]),
    "host's memory, but nobody killed": (fail("host-oom"), ["exit.cause"]),
    "no network": (lambda r: r["policySummary"].update(network="none"), ["policySummary.network"]),
    "no mounts": (lambda r: r["policySummary"].update(mounts=0), ["policySummary.mounts"]),
    "more mounts": (lambda r: r["policySummary"].update(mounts=3), ["policySummary.mounts"]),
    "policy": (lambda r: r["artifacts"].update(policyHash=make.sha("x")), ["artifacts.policyHash"]),
    "kernel": (lambda r: payloads(r, "vm.started")[0].update(kernelHash=make.sha("x")),
               ["artifacts.kernelHash"]),
    "samples": (lambda r: drop(r["events"], 7), ["events[10].payload.sampleCount"]),
    "started later": (lambda r: r.update(startedAt="2026-01-02T03:04:06.000000000Z"),
                      ["startedAt"]),
    "finished earlier": (lambda r: r.update(finishedAt="2019-01-01T00:00:00.000000000Z"),
                         ["finishedAt"]),
    "impossible start": (lambda r: r.update(startedAt="2026-01-00T03:04:05.000000000Z"),
                         ["startedAt"]),
    "impossible finish": (lambda r: r.update(finishedAt="2026-02-30T03:04:06.000000000Z"),
                          ["finishedAt"]),
    "impossible times": (impossible_times, ["events[0].timestamp"]),
    "no contradictions": (lambda r: exited(r).update(contradictions=[]), EVENTS_LOST),
    "no list of contradictions": (lambda r: drop(exited(r), "contradictions"),
                                  [*EVENTS_LOST, AT + "contradictions"]),
    "no contradictions, by nobody": (lambda r: (exited(r).update(contradictions=[]),
                                                drop(exited(r), "observedBy")),
                                     [*EVENTS_LOST, AT + "observedBy"]),
    "no contradictions, all by nobody": (lambda r: (exited(r).update(contradictions=[]),
                                                    unobserve(r)),
                                         [*EVENTS_LOST, "observedBy", "exit.observedBy",
                                          "events[0].payload.observedBy"]),
    "hollow contradictions": (lambda r: exited(r).update(contradictions=[
        {"about": about, "message": "all good"} for about in ("cpu", "memory", "exit")]),
                              EVENTS_LOST),
    "a contradiction with another number": (
        lambda r: exited(r)["contradictions"][0].update(guest=1), EVENTS_LOST[:1]),
    "numbers that contradict are gone": (
        lambda r: (exited(r).update(contradictions=[]), drop(exited(r), "wallUsec", "guestRamBytes",
                                                             "vmm")),
        [AT + name for name in ("wallUsec", "guestRamBytes", "vmm.endedBy", "vmm.signal",
                                "vmm.status")]),
    "no vm.exited": (lambda r: drop(r["events"], 11), ["exit.cause"]),
    "two vm.exited": (lambda r: r["events"].insert(11, copy.deepcopy(r["events"][11])),
                      ["events[12].type"]),
    "no vm.started": (lambda r: drop(r["events"], 6), ["events"]),
    "no compile": (lambda r: drop(r["events"], 0), ["events"]),
    "cleaned in the middle": (lambda r: (r["events"].insert(3, copy.deepcopy(r["events"][-1])),
                                         move(r, "compile", 0)),
                              ["events[4].type"]),
    "a cut chain that was never sealed": (both(lambda r: cut(r, 11), undersign),
                                          ["events[10].type"]),
    "no events": (both(lambda r: cut(r, 0), undersign, lambda r: r.update(
        mountAudit={"requested": 0, "accepted": 0, "rejected": 0, "reasons": []},
        networkAudit={"mode": "allowlist", "rulesTotal": 0, "allowedHits": 0, "blockedHits": 0},
        resourceUsage={"cpu": "cpuUsageUsec=0", "memory": "memoryCurrentBytes=0"},
        policySummary={"network": "allowlist", "mounts": 0})), ["events"]),
    "another promise": (both(lambda r: cut(r, 11),
                             lambda r: r["integrity"].update(canonicalization="none")),
                        ["events[10].type"]),
    "no exit": (lambda r: drop(r, "exit"), ["exit"]),
    "no assurance": (lambda r: drop(r, "assurance"), ["assurance"]),
}


def event(report, index):
    return report["events"][index]["payload"]


def host_output(report):
    return event(report, 14)


def guest_output(report):
    return event(report, 15)


def failed(report):
    return payloads(report, "run.failed")[-1]


def guests_failure(report):
    """The output that failed the run is the one that is missing by the guest's word."""
    failed(report).update(observedBy="guest", path="outputs[1].path",
                          message=guest_output(report)["message"],
                          guest=copy.deepcopy(guest_output(report)["guest"]))
    report["exitCodeObservedBy"] = exited(report)["exitObservedBy"] = "guest"


def refuse(report):
    """The guest did not start the command."""
    failed(report).update(reason="setup", reasonObservedBy="guest", observedBy="guest",
                          path="runtime.command",
                          message="the guest says that it could not start the command",
                          guest={"observedBy": "guest", "outcome": "refused", "status": 127,
                                 "message": "/nope: not found"})
    drop(exited(report), "guest")
    drop(report["exit"], "guest", "codeObservedBy", "signalObservedBy")
    report["exit"].update(cause="setup", code=None)
    report["exitCode"] = exited(report)["exitCode"] = 127
    report["exitCodeObservedBy"] = exited(report)["exitObservedBy"] = "guest"


def timeout(report):
    """The host saw it, and the guest what became of the command."""
    failed(report).update(reason="timeout", reasonObservedBy="host", path="monitor.timeout",
                          message="timed out after 1 s")
    exited(report).update(timedOut=True, exitCode=124)
    exited(report)["guest"].update(signal=15)
    report["exit"].update(cause="timeout", observedBy="host", code=None, signal=15)
    report["exit"]["guest"].update(code=None, signal=15)
    report.update(exitCode=124)


E, FAILED = "events[16].payload.", "events[19].payload."
# Lies about who saw it, in a report that says it field by field; and of what it stopped.
FIELD_LIES = {
    "the host said the guest's sentence": (
        lambda r: guest_output(r).update(message="No such file or directory"),
        ["events[15].payload.message"]),
    "the guest's sentence about another output": (
        lambda r: guest_output(r).update(path="/data/other"), ["events[15].payload.message"]),
    "the guest's sentence by the host": (lambda r: drop(guest_output(r), "guest"),
                                         ["events[15].payload.guest"]),
    "the guest's words by the host": (lambda r: guest_output(r)["guest"].update(observedBy="host"),
                                      ["events[15].payload.guest.observedBy"]),
    "the guest's words by nobody": (lambda r: drop(guest_output(r)["guest"], "observedBy"),
                                    ["events[15].payload.guest.observedBy"]),
    "what the guest never says": (lambda r: guest_output(r)["guest"].update(outcome="fine"),
                                  ["events[15].payload.guest.outcome"]),
    "missing, but collected": (lambda r: guest_output(r).update(collected=True),
                               ["events[15].payload.collected"]),
    "a refusal by the host as the guest's": (lambda r: host_output(r).update(observedBy="guest"),
                                             ["events[14].payload.observedBy"]),
    "the console by the host": (lambda r: drop(event(r, 6)["guest"], "observedBy"),
                                ["events[6].payload.guest.observedBy"]),
    "a sample by the guest": (lambda r: event(r, 8).update(observedBy="guest"),
                              ["events[8].payload.observedBy"]),
    "an object by the guest": (lambda r: event(r, 8).update(more=[{"observedBy": "guest"}]),
                               ["events[8].payload.observedBy"]),
    "the host's word among the guest's": (
        lambda r: exited(r)["guest"].update(rusage={"observedBy": "host"}), [E + "observedBy"]),
    "a failure by the guest, who said nothing": (
        lambda r: (failed(r).update(observedBy="guest"), r.update(exitCodeObservedBy="guest"),
                   exited(r).update(exitObservedBy="guest")), [FAILED + "guest"]),
    "a failure by nobody": (lambda r: drop(failed(r), "reasonObservedBy"),
                            [FAILED + "reasonObservedBy"] * 2),
    "a reason by the host": (lambda r: failed(r).update(reasonObservedBy="host"),
                             [FAILED + "reasonObservedBy"]),
    "a sentence by the guest": (lambda r: failed(r).update(messageObservedBy="guest"),
                                [FAILED + "messageObservedBy"]),
    "exit status by the guest": (lambda r: r.update(exitCodeObservedBy="guest"),
                                 ["exitCodeObservedBy"]),
    "exit status by nobody": (lambda r: drop(r, "exitCodeObservedBy"), ["exitCodeObservedBy"]),
    "exit status by the guest, in the event": (lambda r: exited(r).update(exitObservedBy="guest"),
                                               [E + "exitObservedBy"]),
    "the cause by the host": (lambda r: r["exit"].update(observedBy="host"), ["exit.observedBy"]),
    "the command's status by the host": (lambda r: r["exit"].update(codeObservedBy="host"),
                                         ["exit.codeObservedBy"]),
    "the command's signal by nobody": (lambda r: drop(r["exit"], "signalObservedBy"),
                                       ["exit.signalObservedBy"]),
    "no word of the guest": (lambda r: drop(r["exit"], "guest"), ["exit.guest"]),
    "another word of the guest": (lambda r: r["exit"]["guest"].update(code=3), ["exit.guest.code"]),
    "the guest's word by nobody": (lambda r: drop(r["exit"]["guest"], "observedBy"),
                                   ["exit.guest.observedBy"]),
    "no promise": (lambda r: drop(r["integrity"], "observers"), [E + "exitObservedBy", FAILED
                                                                 + "observedBy",
                                                                 "integrity.observers"]),
    "another promise": (lambda r: r["integrity"].update(observers="object"),
                        ["integrity.observers"]),
    "no promise of the events": (lambda r: drop(event(r, 0), "observers"),
                                 ["events[0].payload.observers"]),
    "no promise at all": (lambda r: (drop(r["integrity"], "observers"),
                                     drop(event(r, 0), "observers")),
                          ["events[0].payload.observers", E + "exitObservedBy", FAILED
                           + "observedBy", "integrity.observers"]),
    "a missing output is the host's word": (both(guests_failure,
                                                 lambda r: failed(r).update(observedBy="host")),
                                            [FAILED + "observedBy", "exitCodeObservedBy",
                                             E + "exitObservedBy"]),
    "a missing output's sentence is another": (both(guests_failure,
                                                    lambda r: failed(r).update(message="gone")),
                                               [FAILED + "message"]),
    "a refusal is the host's word": (both(refuse, lambda r: failed(r).update(observedBy="host")),
                                     [FAILED + "observedBy"]),
    "a refusal's reason is the host's word": (
        both(refuse, lambda r: failed(r).update(reasonObservedBy="host")),
        ["exit.observedBy", "exitCode", "exitCodeObservedBy", E + "exitCode",
         E + "exitObservedBy"]),
    "a refusal in the guest's words": (both(refuse,
                                            lambda r: failed(r).update(message="/nope: not found")),
                                       [FAILED + "message"]),
    "a timeout's signal by the host": (both(timeout,
                                            lambda r: r["exit"].update(signalObservedBy="host")),
                                       ["exit.signalObservedBy"]),
    "nothing was denied": (lambda r: (drop(r["events"], slice(12, 14)),
                                      r["networkAudit"].update(denied=0)), ["events"]),
    "less was denied": (lambda r: (event(r, 12).update(packets=1),
                                   r["networkAudit"].update(denied=3)), ["events"]),
    "less was denied, in sum": (lambda r: r["networkAudit"].update(denied=0),
                                ["networkAudit.denied"]),
    "denied is gone": (lambda r: drop(r["networkAudit"], "denied"), ["networkAudit.denied"]),
    "nothing was dropped": (lambda r: r["networkAudit"]["dropped"].update(spoofed=0),
                            ["networkAudit.dropped"]),
    "dropped is gone": (lambda r: drop(r["networkAudit"], "dropped"), ["networkAudit.dropped"]),
    "frames are gone": (lambda r: drop(payloads(r, "network.rule.released")[0], "frames"),
                        ["networkAudit.dropped"]),
    "denied before the run": (lambda r: event(r,
                                              12).update(firstAt="2025-01-02T03:04:05.000000000Z"),
                              ["events[12].payload.firstAt"]),
    "denied after it was told": (
        lambda r: event(r, 12).update(lastAt="2027-01-02T03:04:05.000000000Z"),
        ["events[12].payload.lastAt"]),
    "denied first after last": (
        lambda r: event(r, 12).update(firstAt="2026-01-02T03:04:05.000009001Z"),
        ["events[12].payload.lastAt"]),
    "denied at no time": (lambda r: event(r, 12).update(firstAt="then"),
                          ["events[12].payload.firstAt"]),
}


class Untrue(Lies, unittest.TestCase):
    def test_each_lie_is_found_where_it_is(self):
        for name, (change, places) in LIES.items():
            with self.subTest(name):
                self.lie(change, *places)

    def test_each_lie_about_who_saw_it_is_found_where_it_is(self):
        for name, (change, places) in FIELD_LIES.items():
            with self.subTest(name):
                self.lie(change, *places, name="fielded.json")

    def test_truths_about_who_saw_it(self):
        for change in (lambda r: None, guests_failure, refuse, timeout):
            report = golden("fielded.json")
            change(report)
            self.assertEqual(self.verify(report)["errors"], [])

    def test_a_run_that_another_generation_closed(self):
        """The later safe-run says of its own words who saw it, and of the events nothing that they
        do not say."""
        report = golden("observed.json")
        fail("interrupted", "monitor.supervisor")(report)
        report["exit"].update(code=None)
        report.update(exitCodeObservedBy="host")
        report["integrity"]["observers"] = "field"
        report["networkAudit"]["denied"] = 0
        self.assertEqual(self.verify(report)["errors"], [])

    def test_lies_of_the_generation_before(self):
        """It does not say who saw what: the rest holds all the same."""
        for change, place in ((lambda r: r.update(exitCode=7), "exitCode"),
                              (lambda r: exited(r).update(exitCode=3), AT + "exitCode"),
                              (lambda r: r["exit"].update(cause="timeout"), "exit.cause"),
                              (lambda r: exited(r).update(timedOut=True), "exit.cause"),
                              (lambda r: r["policySummary"].update(mounts=0),
                               "policySummary.mounts"),
                              (lambda r: r.update(startedAt="never"), "startedAt"),
                              (both(lambda r: cut(r, 11), undersign), "events[10].type")):
            self.lie(change, place, name="sealed.json")

    def test_ends_that_are_true(self):
        for reason, change in (
                ("vmm", lambda r: None),
                               ("cleanup",
                                lambda r: exited(r).update(exitCode=0, exitObservedBy="guest")),
                ("host-oom", lambda r: (exited(r).update(hostOomKills=1),
                                        exited(r)["contradictions"].append(
                    {"about": "oom", "guest": 0, "host": 1, "message":
                     "the guest reports the command's end; the host killed 1 process of its VM "
                     "for memory"}))),
                ("timeout", lambda r: (r.update(exitCode=124),
                                       exited(r).update(exitCode=124, timedOut=True))),
                ("interrupted", lambda r: (r.update(exitCode=143),
                                           exited(r).update(exitCode=143)))):
            report = golden("observed.json")
            fail(reason)(report)
            change(report)
            self.assertEqual(self.verify(report)["errors"], [], reason)

    def test_the_guests_word_of_the_generation_before(self):
        """It was kept apart before anybody said whose word is whose."""
        report = golden("sealed.json")
        exited(report)["guest"] = {"exitCode": 0, "signal": 0, "userUsec": 1, "systemUsec": 1,
                                   "maxRssKib": 900, "oomKills": 0}
        self.assertEqual(self.verify(report)["errors"], [])
        exited(report)["guest"]["observedBy"] = "guest"  # now somebody has taken out the others
        self.assertFalse(self.verify(report)["valid"])

    def test_a_vmm_that_could_not_be_waited_for(self):
        report = golden("observed.json")
        fail("vmm")(report)
        exited(report).update(vmmCpuUsec=None, contradictions=[])
        exited(report)["vmm"].update(status=None, signal=None)
        del exited(report)["guest"]
        report["exit"].update(code=None)
        self.assertEqual(self.verify(report)["errors"], [])
        exited(report)["vmmCpuUsec"] = 1
        self.assertEqual([error["path"] for error in self.verify(report)["errors"]],
                         [AT + "vmm.signal", AT + "vmm.status"])

    def test_a_run_of_the_generation_before_that_this_one_closed(self):
        report = golden("sealed.json")
        fail("interrupted", "monitor.supervisor")(report)
        drop(report["events"], 11)
        report["observedBy"] = report["exit"]["observedBy"] = "host"
        report["exit"].update(code=None)
        self.assertEqual(self.verify(report)["errors"], [])

    def test_a_run_that_was_closed_after_its_supervisor_died(self):
        report = golden("observed.json")
        fail("interrupted", "monitor.supervisor")(report)
        report["exit"].update(code=None)
        exited(report).update(exitCode=0, exitObservedBy="guest")
        self.assertEqual(self.verify(report)["errors"], [])
        drop(report["events"], 11)
        self.assertEqual(self.verify(report)["errors"], [])
        report["policySummary"] = {"network": "none", "mounts": 0}  # its policy was lost
        self.assertEqual(self.verify(report)["errors"], [])
        report["artifacts"]["files"] = {"policy.json": make.sha("{}")}  # it was not
        self.assertEqual([error["path"] for error in self.verify(report)["errors"]],
                         ["policySummary.network", "policySummary.mounts"])


if __name__ == "__main__":
    unittest.main()
