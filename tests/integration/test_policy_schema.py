"""The JSON Schema of policies against `validate`, over policies made from good ones by changes.

The schema refuses nothing that `validate` accepts. What `validate` refuses and the schema accepts
is of a kind that UNSEEN has, as docs/CONTRACT.md lists them. A document in YAML is judged twice:
as a reader of YAML 1.2 understands it, and as one that takes YAML 1.1's words for truth values.

No guest is started. The seed is fixed, so that the documents are the same each time.
"""
import copy
import glob
import json
import os
import random
import re
import subprocess
import tempfile
import unittest

from test_policy_golden import BUNDLES, POLICIES, SAFE_RUN, SOURCE, cases, parse, read, schema

DOCUMENTS = 2000
RULE = {"protocol": "tcp", "host": "a.example", "port": 443}
ALIASES = {"source": "hostPath", "target": "guestPath", "read_only": "readOnly"}


class Plain(str):
    """A scalar that is written without quotes."""


class Again(str):
    """A key that another one of its map is equal to."""

    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__


# How YAML 1.2 (10.3.2) reads what has no quotes, and which words YAML 1.1 reads as truth values.
CORE = [(re.compile(pattern), make) for pattern, make in (
    (r"null|Null|NULL|~|", lambda text: None),
    (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    (r"[-+]?[0-9]+", int), (r"0o[0-7]+", lambda text: int(text, 8)),
    (r"0x[0-9a-fA-F]+", lambda text: int(text, 16)),
    (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    (r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", ""))))]
WORDS = re.compile(r"(yes|no|on|off)$|(Yes|No|On|Off)$|(YES|NO|ON|OFF)$")

ANYWHERE = ["", " ", "x", "no", "0", "1", "true", "a\0b", "\u00e4", "~", "null", 0, 1, -1, 1.5,
            True, False, None, [], {}, ["x"], {"max": 1}, Plain("no"), Plain("True"), Plain("1.0"),
            Plain("1e2"), Plain("0x10"), Plain("0o17"), Plain("007"), Plain("-0"), Plain("+5"),
            Plain("~"), Plain("yes"), Plain(".inf"), Plain("2026-01-31"), Plain("1_000"),
            Plain("12:30")]
SIZES = ["64Mi", "63Mi", "65535Ki", "65536K", "1Gi", "1024Gi", "1025Gi", "1048577Mi", "1048576M",
         "1073741825Ki", "8388608Gi", "8388609G", "8589934592Mi", "8589934593Mi", "999999999999Ki",
         "1000000000000Ki", "064Mi", "64", "64mi", "64 Mi", "64MiB", "0", 0, 64, "0Mi", "64Mi\n"]
PATHS = ["/", "//", "/.", "/..", "/../", "/proc", "//proc/x", "/./proc", "/../sys", "/procs",
         "/dev/shm", "/proc/../data/a", "/data/../proc", "/data/./x", "/data/x/", "/data/x/y",
         "/data", "/data/.",
         "/datas", "/etc/passwd", "/usr", "/run/x", "data", "../x", "/a\0", "/" + "n" * 255,
         "/" + "n" * 256, "/data/" + "\u00e4" * 128, "/" + "n/" * 2047, "/" + "n/" * 2048, "/a\n"]
SOURCES = ["/usr/share/base-files", "/usr/share/base-files/motd", "/nonexistent", "motd", "..",
           "/usr/../usr/share/base-files", "/usr/share/..", "/proc/self", " ", "/etc/..x", "a\0"]
FIELDS = {
    "apiVersion": ["policy.safe-run.dev/v1alpha2", "policy.safe-run.dev/v1alpha1 "],
    "name": ["\t", "two words", 7, Plain("7")],
    "command": ["\n", "/bin/true x", True],
    "image": ["base@", "base@sha256:" + "0" * 64, "base@sha256:" + "0" * 63,
              "a@b@sha256:" + "f" * 64,
              "/usr/share/base-files/motd", "../x", "a/..", "a/../b@sha256:" + "0" * 64,
              "a@b/c", "..", "./x@sha256:" + "A" * 64],
    "env": [{"A=B": "c"}, {"": "x"}, {"A": {"from": "env"}}, {"1A": {"from": "env"}},
            {"A": {"from": "file", "path": "/usr/share/base-files/motd"}}, {"A": {"from": "file"}},
            {"A": {"from": "env", "path": "/x"}}, {"A": {"path": "/x"}}, {"A": {"from": "x"}},
            {"A" * 128: {"from": "env"}}, {"A" * 129: {"from": "env"}},
            {"A": {"from": "env", "x": 1}},
            {f"A{i}": {"from": "env"} for i in range(64)},
            {f"A{i}": {"from": "env"} for i in range(65)}],
    "labels": [{"": "x"}, {"a\0": "x"}, {"a": None}, {"a": Plain("no")}],
    "args": [["a\0"], [None], [[]], ["", Plain("1.50")]],
    "workdir": PATHS, "stdin": PATHS, "target": PATHS, "guestPath": PATHS,
    "source": SOURCES, "hostPath": SOURCES,
    "path": PATHS + SOURCES,
    "user": [0, 4294967294, 4294967295, "4294967294:4294967294", "4294967295", "1:4294967295", "1:",
             ":1", "01", "00", "1:1:1", "root", "99999999999", Plain("1000:1000"), "1000\n",
             Plain("4294967294"), Plain("4294967295")],
    "timeoutSec": [0, 1, 3600, 3601, 604800, 604801, "300", Plain("300.0"), 10 ** 20],
    "cpu": [0.1, 0.09, 8, 8.1, 1.23456, 1.234567, "0.1", "0.09999", "0.01", "8", "8.00000",
            "8.00001", "1.", ".5", "01", "1.234567", "max 100000", "max 999", "max 1000001",
            "999 1000",
            "1000 1000", "99 1000", "8000000 1000000", "8000001 1000000", "100000  100000",
            "1000 100000", "9000 1000", "010 1000", "100000", Plain("100000 100000"), "1e0"],
    "memory": SIZES, "disk": SIZES + ["1Mi", {"max": 0}, {"max": "0"}],
    "max": SIZES + [0.1, 8, "8"],
    "pids": [1, 4194304, 4194305, "256", {}, {"max": "1"}],
    "mode": ["none", "allowlist", "None", "host"],
    "egress": [[], [RULE], [RULE, RULE], {}],
    "protocol": ["udp", "TCP", "icmp", " "],
    "host": [Plain("no"), Plain("on"), Plain("1e3"), Plain("0o17"), Plain("true"), "1.2.3.4", "a.1",
             "0x1f", "0xg", "a.0x", "a.", ".a", "a..b", "-a", "a-", "a_b", "b" * 63, "b" * 64,
             ".".join(["b" * 62] * 4), ".".join(["b" * 62] * 4) + "b",
             ".".join(["b" * 62] * 4) + "bb", "\u00e4", "a.example\n"],
    "cidr": ["10.0.0.0/8", "1.2.3.4", "1.2.3.4/33", "1.2.3.4/032", "01.2.3.4/8", "256.0.0.0/8",
             "1.2.3/8", "::/0", "1.2.3.4/", "1.2.3.4/0\n"],
    "port": [0, 1, 65535, 65536, "80", Plain("80.0"), Plain("0x50"), Plain("080")],
    "read_only": [False, "true", Plain("yes"), Plain("TRUE")],
    "readOnly": [False, Plain("on")],
    "signature": [Plain("yes"), Plain("False"), "true"],
    "level": ["none", "Full"], "accel": ["tcg", Plain("any")], "limits": ["none"],
    "from": ["env", "file", "File"],
}

# What of validate's answers the schema cannot know: what is wrong, at which paths.
UNSEEN = {
    "a file of the host": r"(runtime\.image|runtime\.env\..*\.path|mounts\[\d+\]\.source): "
                          r"(does not exist|cannot be opened|what this resolves to|leads through)"
                          r"|.*: is not a regular file",
    "the mount allowlist": r"mounts\[\d+\]\.target: .* is outside the guest allowlist",
    "quota and period": r"resources\.cpu\.max: is (less than a tenth|more than the 8)",
    "places of mounts and outputs": r"mounts\[\d+\]\.target: mounts\[\d+\] has the same target"
                                    r"|outputs\[\d+\]\.path: (lies inside mounts|overlaps outputs)",
    "how many values are from outside": r"runtime\.env: has 65 values from outside",
}


def numbers_as_written(text):
    """What YAML 1.2 makes of a text without quotes."""
    for pattern, make in CORE:
        if pattern.fullmatch(text):
            return make(text)
    return str(text)


def truth_values_of_old(text):
    word = WORDS.match(text)
    return text.lower() in ("yes", "on") if word else numbers_as_written(text)


def read_as(value, scalar):
    """What a reader makes of a document; scalar reads what has no quotes."""
    if isinstance(value, dict):
        return {str(key): read_as(below, scalar) for key, below in value.items()}
    if isinstance(value, list):
        return [read_as(below, scalar) for below in value]
    return scalar(value) if isinstance(value, Plain) else value


def write(value, plain):
    """JSON, and YAML's flow form where plain says so of a scalar."""
    if isinstance(value, dict):
        items = [f"{json.dumps(str(key))}: {write(below, plain)}" for key, below in value.items()]
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(write(below, plain) for below in value) + "]"
    if plain and isinstance(value, Plain):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def unquoted(value, choice):
    """The same document; half of the texts that need no quotes have none."""
    if isinstance(value, dict):
        return {key: unquoted(below, choice) for key, below in value.items()}
    if isinstance(value, list):
        return [unquoted(below, choice) for below in value]
    simple = isinstance(value, str) and re.fullmatch(r"[\w/.~][\w/.:@=~-]*(?<!:)", value, re.A)
    return Plain(value) if simple and choice.random() < 0.5 else value


def places(value):
    """(container, key) of everything in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in items:
        yield value, key
        if isinstance(below, (dict, list)):
            yield from places(below)


def sweep(document):
    """The document with each value of FIELDS where it has such a field, twice."""
    found = {key: i for i, (_, key) in enumerate(places(document)) if key in FIELDS}
    for key, i in found.items():
        for value in FIELDS[key]:
            for _ in ("JSON", "YAML"):
                changed = copy.deepcopy(document)
                container, _ = list(places(changed))[i]
                container[key] = copy.deepcopy(value)
                yield changed


def change(document, choice):
    """Changes something somewhere."""
    container, key = choice.choice(list(places(document)))
    value = container[key]
    roll = choice.random()
    if roll < 0.55 and key in FIELDS:
        container[key] = copy.deepcopy(choice.choice(FIELDS[key]))
    elif roll < 0.7:
        container[key] = copy.deepcopy(choice.choice(ANYWHERE))
    elif roll < 0.78:
        del container[key]
    elif isinstance(container, dict):
        add_member(container, key, choice)
    elif roll < 0.9:
        container.append(copy.deepcopy(value))
    else:
        container.extend(copy.deepcopy(value) for _ in range(64))


def add_member(container, key, choice):
    roll = choice.random()
    if roll < 0.2:
        container["x" + str(key)] = 1
    elif roll < 0.3:
        container[Again(key)] = container[key]
    elif roll < 0.5 and key in ALIASES:
        container[ALIASES[key]] = container[key]
        if choice.random() < 0.5:
            del container[key]
    else:
        name = choice.choice(list(FIELDS))
        container[name] = copy.deepcopy(choice.choice(FIELDS[name]))


def at(value, path):
    """What a document has at a path of an error; None when that is not there. The plain value of
    a resource is its max."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        if isinstance(value, dict):
            value = value.get(name, value.get(ALIASES.get(name)))
        elif isinstance(value, list) and index and int(index) < len(value):
            value = value[int(index)]
        elif name != "max":
            return None
    return value


def reason(error, value):
    """Why the schema does not see an error of a value, or None."""
    if isinstance(value, (bool, int, float)):
        return "how a number or truth value is written"
    if isinstance(value, str):
        if re.search(r"/\.\.(/|$)", value) and re.search("protected|guest's system",
                                                         error["message"]):
            return "where .. leads"
        if not value.isascii() and "longer" in error["message"]:
            return "lengths in bytes"
    text = f"{error['path']}: {error['message']}"
    return next((name for name, pattern in UNSEEN.items() if re.match(pattern, text)), None)


class Differential(unittest.TestCase):
    maxDiff = None

    def seeds(self):
        good = [case.document() for name in ("accepted.cases", "warnings.cases")
                for case in cases(name)]
        good += [read(path).encode() for path in sorted(glob.glob(f"{BUNDLES}/*.yaml"))]
        good += [read(os.path.join(SOURCE, "examples", "hello.yaml")).encode()]
        return [parse(document) for document in good]

    def documents(self):
        """(text, [what readers make of it]): each value of FIELDS in a place for it, and changes by
        chance."""
        choice = random.Random(17)
        full = parse(read(os.path.join(BUNDLES, "every-field.yaml")).encode())
        changed = list(sweep(full))
        seeds = self.seeds()
        for _ in range(DOCUMENTS):
            changed.append(copy.deepcopy(choice.choice(seeds)))
            for _ in range(choice.choice((1, 1, 2))):
                change(changed[-1], choice)
        for i, document in enumerate(changed):
            if i % 2 == 0:
                text = write(document, False)
                yield text, [json.loads(text)]
            else:
                document = unquoted(document, choice)
                text = "".join(f"{json.dumps(str(key)) if isinstance(key, Again) else key}: "
                               f"{write(value, True)}\n" for key, value in document.items())
                yield text, [read_as(document, numbers_as_written),
                             read_as(document, truth_values_of_old)]

    def answers(self, texts):
        """What validate says of each."""
        with tempfile.TemporaryDirectory() as place:
            names = [f"{i}.yaml" for i in range(len(texts))]
            for name, text in zip(names, texts):
                with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                    file.write(text)
            done = subprocess.run([SAFE_RUN, "validate", "--format", "json", "--mount-allowlist",
                                   os.path.join(POLICIES, "allowlist.yaml"), *names], cwd=place,
                                  capture_output=True, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (2, b""))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_they_agree_but_for_what_the_schema_cannot_see(self):
        documents = list(self.documents())
        met, verdicts = set(), {True: 0, False: 0}
        for (text, readings), answer in zip(documents, self.answers([one for one, _ in documents])):
            verdicts[answer["valid"]] += 1
            for reading in readings:
                if schema().is_valid(reading) == answer["valid"]:
                    continue
                self.assertFalse(answer["valid"], f"the schema refuses {text}")
                if any("given twice" in error["message"] for error in answer["errors"]):
                    met.add("a key given twice")  # and which of both is judged does not matter
                    continue
                why = {(error["path"], error["message"]): reason(error, at(reading, error["path"]))
                       for error in answer["errors"]}
                self.assertNotIn(None, why.values(), f"the schema accepts {text}: {why}")
                met |= set(why.values())
        self.assertGreater(min(verdicts.values()), DOCUMENTS // 10)
        self.assertEqual(met, {*UNSEEN, "a key given twice", "where .. leads", "lengths in bytes",
                               "how a number or truth value is written"})


if __name__ == "__main__":
    unittest.main()
