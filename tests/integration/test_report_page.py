"""`safe-run report html` in a real browser: it loads without a word on the console, asks nobody for
anything, has what it must have, can be read, and a hostile run gets nothing into it but text."""
import os
import re
import subprocess
import tempfile
import unittest

import reports
from browser import Browser

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")

# What is tried wherever a run's text can get: each would show in the DOM, on the console or as a
# request.
SCRIPT = "<script>window.owned=1</script>"
ATTACKS = [SCRIPT, "\"><img src=x onerror=window.owned=1>",
           "</style><script>window.owned=1</script>", "</title>" + SCRIPT,
           "'-->" + SCRIPT, "<svg onload=window.owned=1>", "<iframe src=http://127.0.0.1:9/x>",
           "javascript:window.owned=1",
           "<link rel=stylesheet href=http://127.0.0.1:9/x>",
           "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/x'>",
           "\u202eevil\u202c", "\x1b]0;x\x07\x00", "&lt;b&gt;&amp;",
           "</bdi></section></main><base href=http://127.0.0.1:9/>"]
ATTACK = "".join(ATTACKS)


def with_outputs(name="results", path="a/b.csv"):
    """The ordinary run, which also had one output that came out and one that did not."""
    digest = reports.make.sha("content")
    for at, stage, kind, payload in reports.ordinary_events():
        if kind == "vm.exited":
            yield at - 1, "monitor", "output.collected", {
                "path": "/data/" + name, "name": name, "max": 1000, "collected": True, "files": 1,
                                                          "directories": 1, "links": 0, "bytes": 7,
                "modesCleared": 0, "hash": digest, "entries": [{"path": path, "sha256": digest,
                                                                "size": 7}]}
            yield at - 1, "monitor", "output.collected", {
                "path": "/data/x", "name": "x" + name, "max": 1000, "collected": False,
                                                          "errorCode": "SR-RUN-001",
                                                          "message": "left nothing" + path}
        yield at, stage, kind, payload


def hostile_events():
    """Every event of the ordinary run, with the attack in every text that is not the contract's
    own."""
    keep = {"observedBy", "mode", "protocol", "type", "exitObservedBy", "endedBy", "about"}

    def spoil(value, key=""):
        if isinstance(value, dict):
            return {name: spoil(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [spoil(one) for one in value]
        return value + ATTACK if isinstance(value, str) and key not in keep else value
    end = 0
    for at, stage, kind, payload in reports.ordinary_events():
        payload = dict(payload)
        if kind == "vm.exited":
            payload["contradictions"] = [{"about": "x" + ATTACK, "message": ATTACK, "guest": 1,
                                          "host": 2}]
        if kind != "run.cleaned":
            yield at, stage, kind, spoil(payload)
        end = at
    yield end, "monitor", "output.collected", {
        "path": ATTACK, "name": ATTACK, "max": 1, "collected": True, "files": 1, "directories": 0,
                                               "links": 0, "bytes": 7, "modesCleared": 0,
        "hash": reports.make.sha("x"), "entries": [{"path": ATTACK, "sha256": reports.make.sha("x"),
                                                    "size": 7}]}
    yield end, "monitor", "output.collected", {"path": ATTACK, "name": "b" + ATTACK, "max": 1,
                                               "collected": False,
                                               "errorCode": ATTACK, "message": ATTACK}
    yield end, "mount", "mount.rejected", {"source": ATTACK, "target": ATTACK, "read_only": True,
                                           "errorCode": ATTACK,
                                           "message": ATTACK}
    yield end, "cleanup", "network.rule.cleanup_failed", {"errorCode": ATTACK, "message": ATTACK}
    yield end + 1, "cleanup", "run.failed", {"reason": "workload", "errorCode": ATTACK,
                                             "path": ATTACK, "message": ATTACK}


def write_hostile(directory):
    document = reports.policy(metadata={"name": ATTACK, "labels": {"k": ATTACK, SCRIPT: "v"}})
    document["runtime"] = {**document["runtime"], "command": ATTACK, "args": [ATTACK, "plain"],
                           "image": ATTACK, "workdir": ATTACK,
                           "user": ATTACK}
    document["resources"] = {name: {"max": ATTACK} for name in ("cpu", "memory", "disk")}
    return reports.write(
        directory, list(hostile_events()), document, stdout=ATTACK.encode() + b"\xff\xfe\xc3(\x80"
                         + b"\n" + SCRIPT.encode(),
        stderr=(ATTACK + "\r\n\x1b[31mred").encode(),
        assurance={name: ATTACK for name in ("vmm", "vmmVersion", "accel", "jail", "uplink")} | {
            "limits": {name: ATTACK for name in ("cpu", "memory", "pids", "disk")}},
        startedAt=ATTACK, finishedAt=ATTACK, archive={"bundleId": ATTACK, "storedAt": ATTACK,
                                                      "retention": ATTACK})


def contrast(one, other):
    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
                            for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


class Page(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="sr-test-")
        self.addCleanup(directory.cleanup)
        self.dir = directory.name
        self.page = os.path.join(self.dir, "page.html")
        self.browser = Browser()
        self.addCleanup(self.browser.close)

    def make(self, report, status=0):
        done = subprocess.run([SAFE_RUN, "report", "html", "-o", self.page, report],
                              capture_output=True, timeout=60)
        self.assertEqual(done.returncode, status, done.stderr)

    def load(self):
        """Loads the page and checks that it did nothing but that."""
        events = self.browser.load("file://" + self.page)
        self.assertEqual([event["params"]["request"]["url"] for event in events
                          if event["method"] == "Network.requestWillBeSent"],
                         ["file://" + self.page])
        for word in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown",
                     "Page.javascriptDialogOpening",
                     "Page.windowOpen", "Page.frameAttached", "Page.frameScheduledNavigation"):
            self.assertEqual([event for event in events if event["method"] == word], [])
        self.assertIsNone(self.browser.value("window.owned"))
        self.assertEqual(self.browser.value("document.scripts.length"), 0)
        for selector in ("script", "img", "iframe", "link", "object", "embed", "base", "form", "a",
                         "[onload]", "[onerror]", "[style]"):
            self.assertEqual(self.browser.value(f"document.querySelectorAll('{selector}').length"),
                             0, selector)
        self.assertEqual(self.browser.value("document.querySelectorAll('meta[http-equiv]').length"),
                         1)

    def texts(self, selector):
        return self.browser.value(f"[...document.querySelectorAll('{selector}')].map(one => "
                                  f"one.textContent.trim())")

    def test_an_ordinary_run(self):
        self.make(reports.write(os.path.join(self.dir, "run")))
        self.load()
        self.assertEqual(self.texts("h1"), ["fetch-weather"])
        self.assertEqual(self.texts("h2"), ["What ran", "Rules", "Where it could go, and went",
                                            "What was stopped", "Limits and use",
                                            "Time line", "What the command said", "Verification"])
        self.assertEqual(self.texts(".tiles .value"), ["Ended with status 0", "Valid", "41", "26"])
        rows = self.texts("section[aria-labelledby=reach] tbody tr")
        self.assertEqual(len(rows), 3)
        self.assertTrue(rows[1].startswith("api.weather.example 198.51.100.21/32"), rows[1])
        self.assertEqual(self.texts("section[aria-labelledby=stopped] tbody tr:first-child "
                                    "td:last-child"), ["12"])
        self.assertIn("station 0417", self.texts("pre")[1])
        checks = self.texts("ul.checks li")
        self.assertEqual(len(checks), 8)
        self.assertTrue(all(check.startswith("Good") for check in checks), checks)

    def test_rules_outputs_keys_and_digests_are_listed(self):
        report = reports.write(os.path.join(self.dir, "run"), list(with_outputs()))
        key = os.path.join(self.dir, "key")
        subprocess.run([SAFE_RUN, "key", "generate", "--out", key], check=True, capture_output=True)
        key_id = subprocess.run([SAFE_RUN, "report", "attest", "--key", key, report], check=True,
                                capture_output=True, text=True).stdout.strip()
        self.make(report)
        self.load()
        self.assertEqual(self.texts("section[aria-labelledby=rules] tbody tr"),
                         ["api.weather.exampletcp443", "192.0.2.53/32udp53"])
        digest = reports.make.sha("content")
        self.assertEqual(self.texts("section[aria-labelledby=outputs] tbody tr"),
                         [f"results{digest}17 bytes", "xresultsleft nothinga/b.csv",
                          f"results/a/b.csv{digest}7"])
        self.assertIn(reports.make.sha("rootfs"), self.texts("section[aria-labelledby=ran] dd"))
        self.assertIn(f"It claims key {key_id}",
                      " ".join(self.texts("section[aria-labelledby=verification] p")))
        subprocess.run([SAFE_RUN, "report", "html", "--key", key + ".pub", "-o", self.page, report],
                       check=True, capture_output=True)
        self.load()
        self.assertIn(f"Signed by key {key_id}",
                      self.texts("section[aria-labelledby=verification] p.good"))

    def test_what_was_stopped_is_red_in_both_colour_schemes(self):
        self.make(reports.write(os.path.join(self.dir, "run")))
        self.load()
        for dark in (False, True):
            self.browser.dark(dark)
            cells = "section[aria-labelledby=stopped] tbody tr > *"
            colours = self.browser.value(f"[...document.querySelectorAll('{cells}')]"
                                         ".map(one => getComputedStyle(one).color)")
            self.assertGreater(len(colours), 8)
            for colour in colours:
                red, green, blue = [int(part) for part in re.findall(r"\d+", colour)[:3]]
                self.assertGreater(red, 1.5 * max(green, blue), (dark, colour))

    def test_it_can_be_read_by_everybody(self):
        self.make(reports.write(os.path.join(self.dir, "run"), list(with_outputs())))
        self.load()
        value = self.browser.value
        self.assertEqual(value("document.documentElement.lang"), "en")
        for landmark in ("header", "main", "footer"):
            self.assertEqual(value(f"document.querySelectorAll('body > {landmark}').length"), 1)
        self.assertEqual(self.texts("h1")[1:], [])
        for selector, must in (("section", "aria-labelledby"), ("svg", "role"),
                               ("svg", "aria-labelledby")):
            self.assertTrue(value(f"[...document.querySelectorAll('{selector}')].every(one => "
                                  f"one.hasAttribute('{must}'))"))
        self.assertTrue(value("[...document.querySelectorAll('[aria-labelledby]')].every(one => "
                              "one.getAttribute("
                              "'aria-labelledby').split(' ').every(id => "
                              "document.getElementById(id)?.textContent))"))
        self.assertEqual(len(set(self.texts("svg > title"))), 3)
        self.assertTrue(value("[...document.querySelectorAll('table')].every(one => one.caption "
                              "&& one.tHead)"))
        self.assertTrue(value("[...document.querySelectorAll('th')].every(one => one.scope)"))
        self.assertTrue(value("[...document.querySelectorAll('[id]')].length == new "
                              "Set([...document.querySelectorAll('[id]')]"
                              ".map(one => one.id)).size"))
        for dark in (False, True):
            self.browser.dark(dark)
            colours = value("""[...document.querySelectorAll('body *')].filter(
                one => !one.closest('svg') && [...one.childNodes].some(
                node => node.nodeType == 3 && node.data.trim())).map(one => {
                    let under = one;
                    while (getComputedStyle(under).backgroundColor == 'rgba(0, 0, 0, 0)')
                        under = under.parentElement;
                    return [getComputedStyle(one).color, getComputedStyle(under).backgroundColor,
                            one.textContent];
                })""")
            self.assertGreater(len(colours), 100)
            for text, paper, what in colours:
                self.assertGreaterEqual(contrast(text, paper), 4.5, (dark, text, paper, what[:40]))
        self.assertNotEqual(value("getComputedStyle(document.body).backgroundColor"),
                            self.browser.dark(False)
                            or value("getComputedStyle(document.body).backgroundColor"))

    def test_nothing_sticks_out_of_a_narrow_window(self):
        self.make(write_hostile(os.path.join(self.dir, "run")), 2)
        for width in (1100, 360):
            self.browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=800,
                             deviceScaleFactor=1, mobile=False)
            self.load()
            self.assertLessEqual(self.browser.value("document.documentElement.scrollWidth"), width)

    def test_a_hostile_run_gets_nothing_in_but_text(self):
        self.make(write_hostile(os.path.join(self.dir, "run")), 2)
        with open(self.page, "rb") as file:
            content = file.read()
        text = content.decode()  # UTF-8 throughout
        self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
        self.load()
        body = self.browser.value("document.body.textContent")
        self.assertGreater(body.count(SCRIPT), 40)  # it is there, as text
        self.assertIn("&lt;b&gt;&amp;", body)
        self.assertEqual(self.browser.value("document.querySelectorAll('body > *').length"), 3)
        self.assertEqual(self.browser.value("document.querySelectorAll('main > section').length"),
                         9)

    def test_the_policy_of_the_page_lets_nothing_run(self):
        """Were a script to get in all the same, the page would not run it."""
        self.make(reports.write(os.path.join(self.dir, "run")))
        with open(self.page, encoding="utf-8") as file:
            text = file.read()
        with open(self.page, "w", encoding="utf-8") as file:
            file.write(text.replace("</main>",
                                    f"{SCRIPT}<img src='http://127.0.0.1:9/x' "
                                    f"onerror='window.owned=1'>"
                                               "<p style='color: red' id=styled>x</p></main>"))
        events = self.browser.load("file://" + self.page)
        self.assertIsNone(self.browser.value("window.owned"))
        sent = [event["params"]["request"]["url"] for event in events if event["method"]
                == "Network.requestWillBeSent"]
        refused = [event["params"]["entry"]["text"] for event in events if event["method"]
                   == "Log.entryAdded"]
        self.assertGreaterEqual(len([one for one in refused if "Content Security Policy" in one]),
                                3, refused)
        colour = "getComputedStyle(document.getElementById('styled')).color"
        self.assertNotEqual(self.browser.value(colour), "rgb(255, 0, 0)")
        done = [event for event in events if event["method"] == "Network.responseReceived"]
        self.assertEqual([one["params"]["response"]["url"] for one in done],
                         ["file://" + self.page], sent)

    def test_a_report_that_was_changed_says_so_first(self):
        report = reports.write(os.path.join(self.dir, "run"))
        with open(report, "rb") as file:
            content = file.read()
        with open(report, "wb") as file:
            file.write(content.replace(b'"packets":12', b'"packets":11'))
        self.make(report, status=2)
        self.load()
        self.assertEqual(self.texts(".banner strong"), ["This report is not valid."])
        self.assertEqual(self.texts(".tiles .value")[1], "Not valid")
        self.assertIn("SR-EVD-303 events[",
                      " ".join(self.texts("section[aria-labelledby=verification] li")))

    def test_contradictions_stand_at_the_top(self):
        golden = os.path.join(reports.SOURCE, "tests", "golden", "report", "observed.json")
        self.make(golden)
        self.load()
        self.assertEqual(self.texts(".banner strong"), ["The guest contradicts the host."])
        self.assertEqual(len(self.texts(".banner li")), 3)


if __name__ == "__main__":
    unittest.main()
