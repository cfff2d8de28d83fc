"""docs/CONTRACT.md against the program and its sources, both ways where that can be told.

No guest is started.
"""
import functools
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from test_completions import commands, options_in

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE = re.compile(r"SR-[A-Z]{3}-[0-9]{3}")
# A field of a report, as src/evidence/verify_fields.c has it: parent, name, whether it
# may be absent.
FIELD = r'\{("\w*"|\w+), ("\w+"|[A-Z]+_\w+), KIND_\w+, (true|false)\}'
# These build no payloads of events: frames, the VMM's protocol, answers, and what is only read.
NO_PAYLOADS = ("cli", "vmm", "archive", "policy", "common", "evidence", "image", "channel")


def read(*path):
    with open(os.path.join(SOURCE, *path), encoding="utf-8") as file:
        return file.read()


@functools.cache
def sources():
    """{path below the repository: text} of what is compiled into the program and the guest."""
    paths = [path for folder in ("src", "include", "guest")
             for path in glob.glob(f"{SOURCE}/{folder}/**/*.[ch]", recursive=True)]
    return {os.path.relpath(path, SOURCE): read(path) for path in paths}


@functools.cache
def documents():
    """{path below the repository: text} of what people read."""
    paths = [path for kind in ("docs/*.md", "*.md", "man/*.scd")
             for path in glob.glob(f"{SOURCE}/{kind}")]
    return {os.path.relpath(path, SOURCE): read(path) for path in paths}


def found(pattern, texts=None):
    """All matches of a pattern, its first group if it has one, in the sources."""
    texts = sources().values() if texts is None else texts
    return {match for text in texts for match in re.findall(pattern, text)}


def section(title, text=None):
    """What stands below a heading, up to the next of its level or above."""
    text = documents()["docs/CONTRACT.md"] if text is None else text
    start = re.search(rf"^(#+) {re.escape(title)}$", text, re.M)
    if start is None:
        raise AssertionError(f"there is no section {title!r}")
    end = re.compile(rf"^#{{1,{len(start[1])}}} ", re.M).search(text, start.end())
    return text[start.end():end.start() if end else None]


def rows(text):
    """Cells of the rows of all tables, without their headings."""
    result = []
    for table in re.findall(r"(?:^\|.*\n)+", text + "\n", re.M):
        for line in table.splitlines()[2:]:
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            result.append([cell.strip().replace("\\|", "|") for cell in cells])
    return result


def words(text):
    return set(re.findall(r"`([^`]+)`", text))


def names(text):
    """Names of the first column."""
    return {word for row in rows(text) for word in words(row[0])}


def call(code, at):
    """The text from an opening bracket to the one that closes it."""
    depth = 0
    for token in re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[()]').finditer(code, at):
        depth += (token[0] == "(") - (token[0] == ")")
        if depth == 0:
            return code[at:token.end()]
    raise AssertionError("a bracket is not closed")


def functions(text):
    """{name: body} of a file's functions, as clang-format writes them."""
    pattern = r"^(?:[a-z][\w *]*[\s*])?(\w+)\([^;{}]*?\)\n(\{\n.*?^\}$)"
    return dict(re.findall(pattern, text, re.M | re.S))


@functools.cache
def observer_names():
    """Macros for names of members: {"EVIDENCE_OBSERVED_BY": "observedBy"}."""
    return dict(re.findall(r'^#define ([A-Z]+_\w+) "(\w+)"$', "\n".join(sources().values()), re.M))


def members_in(code):
    """Names of members that code puts into JSON values, and words that it gives them as values."""
    builders = re.finditer(r"\b(?:json_pack|fact_\w+)\(", code)
    calls = [call(code, match.end() - 1) for match in builders]
    calls += re.findall(r"\bjson_object_set(?:_new)?\("
                        r"(?:json_object_get\([^)]*\)|[^,]+?),\s*(\"\w+\"|\w+)", code)
    found_names = set()
    for one in calls:
        found_names |= set(re.findall(r'"([a-z][A-Za-z0-9_]+)"', one))
        found_names |= {observer_names()[name] for name in re.findall(r"\b[A-Z]+_\w+\b", one)
                        if name in observer_names()}
    return found_names


class Documents(unittest.TestCase):
    maxDiff = None

    def test_error_codes(self):
        in_code = found(rf'"({CODE.pattern})"')
        self.assertGreater(len(in_code), 30)
        self.assertEqual({row[0] for row in rows(section("Error codes"))}, in_code)
        for path, text in documents().items():
            self.assertLessEqual(found(CODE, [text]), in_code, path)

    def test_types_and_stages_of_events(self):
        in_code = found(r'\[SR_EVENT_\w+\]\s*=\s*"([a-z_.]+)"')
        bundle = json.loads(read("tests", "golden", "compile", "every-field.json"))
        self.assertEqual(set(bundle["evidencePlan"]["events"]), in_code)
        headings = re.findall(r"^#### (.*)$", section("Payloads"), re.M)
        self.assertEqual({word for heading in headings for word in words(heading)}, in_code)
        stages = found(r'\[\w*STAGE_\w+\]\s*=\s*"([a-z]+)"')
        listed = next(row[1] for row in rows(section("Events")) if row[0] == "`stage`")
        self.assertEqual(words(listed), stages)
        of_headings = {re.search(r"stage (\w+)", heading)[1] for heading in headings}
        self.assertLessEqual(of_headings, stages)
        kind = re.compile(r"\b(?:(?:run|mount|vm|resource|output)\.[a-z_]+ed"
                          r"|vm\.accel\.\w+|network\.(?:plan|rule|flow)\.\w+)\b")
        for path, text in documents().items():
            self.assertLessEqual(found(kind, [text]), in_code, path)

    def test_causes_and_checks(self):
        causes = found(r'\[\w*CAUSE_\w+\]\s*=\s*"([a-z-]+)"')
        self.assertGreaterEqual(len(causes), 8)
        self.assertEqual(names(section("Causes")), causes)
        checks = found(r'\[CHECK_\w+\] = "([a-z_]+)"')
        self.assertGreaterEqual(len(checks), 9)
        evidence = documents()["docs/EVIDENCE.md"]
        self.assertLessEqual(checks, names(section("Verification", evidence)))
        self.assertLessEqual(checks, words(section("Verification")))

    def test_sentences_that_are_part_of_the_format(self):
        code = re.sub(r'"\s*"', "", "\n".join(sources().values()))
        told = {re.sub(r"`<\w+>`", "%llu", row[3]) for row in rows(section("Contradictions"))}
        written = {sentence for one in re.findall(r"\badd\(list,[^;]*;[^;]*;", code)
                   for sentence in re.findall(r'"((?:the guest reports|%s took)[^"]*)"', one)}
        timed = {sentence for sentence in written if sentence.startswith("%s")}
        self.assertEqual(len(timed), 1)
        phases = re.findall(r'compare_time\(&list, "\w+", "([^"]+)"', code)
        one = next(iter(timed))
        written = written - timed | {one.replace("%s", phase, 1) for phase in phases}
        self.assertEqual(told, written)
        says = re.search(r'#define EVIDENCE_GUEST_SAYS "([^"]*)"', code)[1]
        written = set(re.findall(r'EVIDENCE_GUEST_SAYS(?: |\s*\\\s*)"([^"]+)"', code))
        written = {(says + rest).rstrip() for rest in written - {says}}
        self.assertGreaterEqual(len(written), 5)
        table = rows(section("The host's sentences about the guest's word"))
        self.assertEqual({row[1].replace("`<path>`", "").rstrip() for row in table}, written)


class Payloads(unittest.TestCase):
    """record_event() and evidence_event_append() write events; functions of the same file, and
    public ones of others, make payloads."""

    def documented(self):
        """{type: names}, those of nested members too."""
        found_fields = {}
        for part in re.split(r"^#### ", section("Payloads"), flags=re.M)[1:]:
            heading, text = part.split("\n", 1)
            fields = {piece for word in words(text) for piece in re.findall(r"\w+", word)}
            for kind in words(heading):
                found_fields[kind] = fields
        found_fields["network.rule.hit"] |= found_fields["network.rule.applied"]
        return found_fields

    def written(self):
        """{type: names} by the calls that write an event, and what makes values for these."""
        kinds = dict(found(r'\[(SR_EVENT_\w+)\]\s*=\s*"([a-z_.]+)"'))
        found_fields = {kind: set() for kind in kinds.values()}
        for text in self.texts():
            makers = self.public_makers() | self.makers(text)
            for code in functions(text).values():
                for macro, part in self.writings(code, makers):
                    found_fields[kinds[macro]] |= self.members(part, makers)
        return found_fields

    def makers(self, text):
        """{name: body} of a file's functions that make a value, or add members to one."""
        made = r"\b(?:json_t \*|struct facts )(\w+)\([^;{}]*?\)\n\{"
        added = r"\b(\w+)\((?:[^;{}()]*, )?struct facts \*\w+[^;{}()]*\)\n\{"
        names_of = found(made, [text]) | found(added, [text])
        return {name: code for name, code in functions(text).items() if name in names_of}

    @functools.cache
    def public_makers(self):
        """Those of all files that a header declares."""
        declared = found(r"(?m)^\w[\w *]*\b(\w+)\(",
                         [text for path, text in sources().items() if path.endswith(".h")])
        return {name: code for text in self.texts() for name, code in self.makers(text).items()
                if name in declared}

    def writings(self, code, makers):
        """(macro of the type, code that makes the payload): the call that writes the event, or
        what is around all such calls where the payload is a variable."""
        writers = re.finditer(r"\b(?:record_event|evidence_event_append)\(", code)
        calls = [call(code, match.end() - 1) for match in writers]
        around = functools.reduce(lambda left, one: left.replace(one, ""), calls, code)
        for one in calls:
            for macro in re.findall(r"\bSR_EVENT_\w+", one):
                makes = set(re.findall(r"\b(\w+)\(", one)) & {"json_pack", *makers}
                yield macro, one if makes else around

    def members(self, code, makers):
        reached, left, result = set(), [code], set()
        while left:
            code = left.pop()
            result |= members_in(code)
            below = set(re.findall(r"\b(\w+)\(", code)) & set(makers) - reached
            reached |= below
            left += [makers[name] for name in below]
        return result

    def everywhere(self):
        """Of all functions but the one that writes command.json."""
        return {name for text in self.texts() for code in functions(text).values()
                if '"command.json"' not in code for name in members_in(code)}

    def texts(self):
        return [text for path, text in sources().items()
                if path.startswith("src/") and path.split("/")[1] not in NO_PAYLOADS]

    def test_each_is_documented(self):
        documented, written = self.documented(), self.written()
        self.assertGreater(sum(bool(fields) for fields in written.values()), 14)
        # The guest's word (machine_word_record()) has these only where the guest can refuse
        # something.
        common = {"observedBy", "host", "guest", "outcome", "status"}
        for kind, fields in written.items():
            with self.subTest(kind):
                self.assertEqual(fields - documented[kind] - common, set())
        of_all = {piece for word in words(section("Events")) for piece in re.findall(r"\w+", word)}
        self.assertEqual(self.everywhere() - of_all, set())

    def test_each_that_is_documented_is_written(self):
        written = self.everywhere()
        literals = found(r'"([a-zA-Z][\w.-]*)"') | set(observer_names().values())
        for part in re.split(r"^#### ", section("Payloads"), flags=re.M)[1:]:
            for name in names(part):
                parts = name.rstrip("?").split(".")
                self.assertLessEqual(set(parts), written | literals, part.split("\n", 1)[0])
                self.assertIn(parts[0], written, part.split("\n", 1)[0])


class Reports(unittest.TestCase):
    def test_fields(self):
        known = {(parent.strip('"'), observer_names().get(name, name.strip('"')))
                 for parent, name, optional in found(FIELD)}
        self.assertGreater(len(known), 50)
        documented = names(section("Report"))
        for parent, name in known:
            path = f"{parent}.{name}" if parent else name
            self.assertTrue(any((one + ".").startswith(path + ".") for one in documented), path)
        texts = [text for path, text in sources().items()
                 if path.startswith(("src/evidence/", "src/archive/"))]
        written = found(r'\\?"([a-zA-Z]+)\\?"', texts) | set(observer_names().values())
        for path in documented:
            self.assertLessEqual(set(path.split(".")), written, path)

    def test_required_fields(self):
        required = {name.strip('"') for parent, name, optional in found(FIELD)
                    if optional == "false"}
        text = section("Report")
        listed = words(text[text.index("A report needs"):].split("\n\n")[0])
        counted = {"kernelHash", "rootfsHash", "policyHash", "commandHash", "cpu", "memory",
                   "requested", "accepted", "rejected", "reasons", "allowedHits", "blockedHits"}
        self.assertEqual({part for word in listed for part in word.split(".")} | counted,
                         required | {"exit"})

    def test_files_of_a_run(self):
        table = {word: row[1] for row in rows(section("Files of a run")) for word in words(row[0])}
        vouched = re.search(r"\bvouched\[\w*\] = \{(.*?)\}", "\n".join(sources().values()), re.S)[1]
        hashed = {observer_text(part.strip()) for part in vouched.split(",")}
        self.assertEqual({name for name, mark in table.items() if mark}, hashed)
        made = found(r'(?:record_file|record_stream|sr_write_new_file)\([\w.>-]+, "([\w.-]+)"')
        self.assertGreater(len(made), 8)
        self.assertLessEqual(made, set(table))
        literals = found(r'"([a-z_.-]+)"')
        self.assertLessEqual(set(table), literals)

    def test_run_json(self):
        code = functions(next(text for text in sources().values()
                              if "cli_cmd_run(int argc" in text))
        written = members_in(code["print_json"])
        table = rows(section("`run --json`"))
        documented = {word for row in table for word in words(row[0])} | {"finished", "failed"}
        artifacts = next(words(row[1]) for row in table if row[0] == "`artifacts`")
        self.assertGreater(len(written), 12)
        self.assertEqual(documented | artifacts, written)


def observer_text(word):
    """A string of C, or the macro of one."""
    if word.startswith('"'):
        return word.strip('"')
    return re.search(rf'^#define {word} "([^"]*)"', "\n".join(sources().values()), re.M)[1]


class Policies(unittest.TestCase):
    def schema_paths(self, schema, node, path):
        """Every field that the schema has, as the table writes it."""
        if "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[1]
            yield from self.schema_paths(schema, schema["$defs"][name], path)
        for word in ("anyOf", "allOf", "oneOf"):
            for part in node.get(word, []):
                yield from self.schema_paths(schema, part, path)
        if "items" in node:
            yield from self.schema_paths(schema, node["items"], path + "[]")
        for part in node.get("patternProperties", {}).values():
            yield from self.schema_paths(schema, part, path + ".NAME")
        for name, part in node.get("properties", {}).items():
            below = f"{path}.{name}" if path else name
            yield below
            if isinstance(part, dict):
                yield from self.schema_paths(schema, part, below)

    def test_fields(self):
        schema = json.loads(subprocess.run([SAFE_RUN, "policy", "schema"], check=True, timeout=60,
                                           capture_output=True).stdout)
        paths = set(self.schema_paths(schema, schema, ""))
        documented = names(section("Policy"))
        self.assertGreater(len(paths), 40)
        self.assertEqual(documented - paths, set())
        self.assertEqual({path for path in paths - documented
                          if not any(one.startswith(path) for one in documented)}, set())
        texts = [text for path, text in sources().items() if path.startswith("src/policy/")]
        tables = found(re.compile(r"\bknown\[\] = \{(.*?)\}", re.S), texts)
        known = found(r'"(\w+)"', tables)
        self.assertGreater(len(known), 30)
        self.assertLessEqual(known, found(r"\w+", words(section("Policy"))))

    def test_ranges(self):
        rule = {"protocol": "tcp", "host": "a.b", "port": 1}
        document = {"apiVersion": "policy.safe-run.dev/v1alpha1", "metadata": {"name": "n"},
                    "runtime": {"command": "/c", "args": []},
                    "resources": {"cpu": 1, "memory": "64Mi"},
                    "network": {"mode": "allowlist", "egress": [rule]}, "outputs": [{"path": "/o"}]}
        ranges = {}
        for row in rows(section("Policy")):
            bounds = len(row) > 2 and re.match(r"(\d+) to (\d+)", row[2])
            if bounds:
                ranges[row[0].strip("`")] = [int(bound) for bound in bounds.groups()]
        self.assertEqual(set(ranges), {"runtime.timeoutSec", "resources.pids.max",
                                       "network.egress[].port", "outputs[].timeoutSec"})
        for path, (low, high) in ranges.items():
            found_valid = [self.judge(document, path, value)
                           for value in (low - 1, low, high, high + 1)]
            self.assertEqual(found_valid, [False, True, True, False], path)

    def judge(self, document, path, value):
        document = json.loads(json.dumps(document))
        at, parts = document, re.split(r"\.", path.replace("[]", ".0"))
        for part in parts[:-1]:
            at = at[int(part)] if part.isdigit() else at.setdefault(part, {})
        at[parts[-1]] = value
        done = subprocess.run([SAFE_RUN, "validate", "--format", "json", "-"], timeout=60,
                              input=json.dumps(document).encode(), capture_output=True)
        return json.loads(done.stdout)["valid"]

    def test_bundle(self):
        text = section("Bundle")
        for path in glob.glob(os.path.join(SOURCE, "tests", "golden", "compile", "*.json")):
            if "schema" not in path:
                bundle = json.loads(read(path))
                self.assertEqual(set(bundle), names(text), path)
                for plan, value in bundle.items():
                    listed = next(row[1] for row in rows(text) if row[0] == f"`{plan}`")
                    self.assertLessEqual(set(self.keys(value)), words(listed), plan)

    def keys(self, value):
        if isinstance(value, dict):
            for name, below in value.items():
                yield name
                yield from self.keys(below)
        elif isinstance(value, list):
            for below in value:
                yield from self.keys(below)


class Hosts(unittest.TestCase):
    def table(self):
        return {word: row[1] for row in rows(section("Configuration")) for word in words(row[0])}

    def test_configuration(self):
        fields = found(r'\{"([\w.]+)",\s*read_\w+,')
        fields |= {f"limits.{name}" for name in found(r'\{"(\w+)", AT\(\w+\), UNIT_')}
        self.assertGreater(len(fields), 35)
        self.assertEqual(set(self.table()), fields)
        in_operations = section("Host configuration", documents()["docs/OPERATIONS.md"])
        for field in fields:
            self.assertRegex(in_operations, rf"\b{re.escape(field)}\b")

    def accepts(self, place, field, value):
        """Whether the configuration can be read; what it says of the policy is not the question."""
        path = os.path.join(place, "config.yaml")
        with open(path, "w", encoding="utf-8") as file:
            if "." in field:
                first, second = field.split(".")
                file.write(f"{first}:\n  {second}: {value}\n")
            else:
                file.write(f"{field}: {value}\n")
            if field == "sign":
                file.write("signKey: /k\n")
        hello = os.path.join(SOURCE, "examples", "hello.yaml")
        done = subprocess.run([SAFE_RUN, "validate", "--host", hello], capture_output=True,
                              timeout=60, env={**os.environ, "SAFE_RUN_CONFIG": path})
        if done.returncode == 1:
            self.assertIn(f"prepare.config.{field}".encode(), done.stderr)
        return done.returncode != 1

    def test_values(self):
        checked = 0
        with tempfile.TemporaryDirectory() as place:
            for field, value in self.table().items():
                numbers = r"(\d[\d.]*)(Ki|Mi|Gi|) to (\d+)(Ki|Mi|Gi|)"
                bounds = "`" not in value and re.search(numbers, value)
                checked += bool(bounds)
                if bounds:
                    step = 0.001 if "." in bounds[1] else 1
                    low, high = float(bounds[1]) if step < 1 else int(bounds[1]), int(bounds[3])
                    inside = [f"{low}{bounds[2]}", f"{high}{bounds[4]}"]
                    outside = [f"{high + step}{bounds[4]}",
                               f"{low - step}{bounds[2]}" if low > 0 else "-1"]
                elif re.match(r"`\w+`(,| or)", value):
                    checked += 1
                    inside = {word for word in words(value.split(";")[0]) if "<" not in word}
                    outside = ["nonsense"]
                elif value.startswith("an absolute path"):
                    checked += 1
                    inside, outside = ["/some/where"], ["some/where"]
                else:
                    continue
                for one in inside:
                    self.assertTrue(self.accepts(place, field, one), (field, one))
                for one in outside:
                    self.assertFalse(self.accepts(place, field, one), (field, one))
        self.assertGreater(checked, 25)

    def test_environment(self):
        self.assertEqual(names(section("Environment")), found(r'\bgetenv\("(\w+)"\)'))


class CommandLine(unittest.TestCase):
    def test_options(self):
        table = {row[0].strip("`"): words(row[2]) for row in rows(section("Command line"))}
        self.assertGreater(len(table), 35)
        programs = {" ".join(command): text for command, text in commands() if command}
        self.assertEqual(set(table) - {"help"}, set(programs))
        for command, text in programs.items():
            short = {letter for letter, name in re.findall(r"^  (-[a-z]), (--[a-z-]+)", text, re.M)
                     if name != "--help"}
            self.assertEqual(table[command], set(options_in(text)) - {"--help"} | short, command)

    def pages(self):
        """Man pages of commands, without what marks words."""
        return {path: re.sub(r"(?<![A-Z])_|_(?![A-Z])|\*|\+\+", "", page)
                for path, page in documents().items() if path.endswith(".1.scd")}

    def test_synopses_of_man_pages_are_the_usages(self):
        programs = [text.split("\n\n")[0] for command, text in commands()
                    if command not in ((), ("version",))]
        usages = [" ".join(text.removeprefix("usage: ").split()) for text in programs]
        synopses = [line for page in self.pages().values()
                    for line in section("SYNOPSIS", page).splitlines() if line]
        self.assertEqual(sorted(synopses), sorted([*usages, "safe-run COMMAND [OPTIONS]"]))

    def test_options_of_man_pages_are_those_of_the_commands(self):
        programs = {"safe-run " + " ".join(command): text for command, text in commands()}
        for path, page in self.pages().items():
            lines = section("SYNOPSIS", page).splitlines()
            texts = [text for command, text in programs.items()
                     if any((line + " ").startswith(command + " ") for line in lines)]
            options = {one for text in texts for one in options_in(text).items()}
            explained = section("OPTIONS", page) if "# OPTIONS" in page else ""
            heads = "\n".join(re.findall(r"^-.*", explained, re.M))
            written = set(re.findall(r"(--[a-z-]+) ?([^ ,\n]*)", heads))
            with self.subTest(path):
                self.assertEqual(written - {("--help", "")}, options - {("--help", "")})


class Rooms(unittest.TestCase):
    """CONTRIBUTING.md's map of rooms, which the build holds against every include and call."""

    def layers(self, changed, text):
        with tempfile.TemporaryDirectory() as place:
            for name in ("src", "guest", "scripts"):
                shutil.copytree(os.path.join(SOURCE, name), os.path.join(place, name))
            shutil.copy(os.path.join(SOURCE, "CONTRIBUTING.md"), place)
            path = os.path.join(place, changed)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "a", encoding="utf-8") as file:
                file.write(text)
            done = subprocess.run([f"{place}/scripts/layers", f"{place}/stamp", f"{place}/deps"],
                                  stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(os.path.exists(f"{place}/stamp"), done.returncode == 0)
            return done.stderr

    def test_allowed(self):
        self.assertEqual(self.layers("src/net/net.c", '#include "common/fs.h"\n'), "")

    def test_upwards(self):
        for path, name in (("src/net/net.c", "runner/host.h"), ("src/common/fs.h", "net/net.h"),
                           ("src/jail/jail.c", "fs.h"), ("guest/main.c", "channel/channel.h"),
                           ("src/evidence/event.c", "policy/document.h")):
            said = self.layers(path, f'#include "{name}"\n')
            self.assertIn(f'{path}: includes "{name}"', said)
            self.assertEqual(said.count("\n"), 1, said)

    def test_a_circle_within_a_room(self):
        for path, function in (("src/evidence/finding.c", "verify_events_end"),
                               ("src/net/rtnl.c", "cell_start"), ("guest/end.c", "channel_open")):
            said = self.layers(path, f"void circling(void)\n{{\n    {function}();\n}}\n")
            self.assertRegex(said, rf"{os.path.dirname(path)}: .*\b{function}\(\)")
            self.assertEqual(said.count("\n"), 1, said)

    def test_what_is_no_circle(self):
        texts = ("/* cell_start() */", 'const char *circling = "cell_start";', "struct cell_start;",
                 "static int cell_start(void)\n{\n    return 1;\n}\n")
        self.assertEqual(self.layers("src/net/rtnl.c", "\n".join(texts)), "")

    def test_a_room_that_is_not_on_the_map(self):
        self.assertIn("src/attic: is not in", self.layers("src/attic/old.c", "int old;\n"))


class Pointers(unittest.TestCase):
    """What a document or a comment points at is there, and is in the repository."""

    def texts(self):
        tests = glob.glob(f"{SOURCE}/tests/**/*.[ch]", recursive=True)
        return {**documents(), **sources(),
                **{os.path.relpath(path, SOURCE): read(path) for path in tests}}

    def test_identifiers_are_none_of_another_place(self):
        for path, text in self.texts().items():
            pattern = r"\bI-[A-Z]{2}-[0-9]{3}\b|\bDESIGN(?:\.md)?,? sections? [0-9]"
            self.assertIsNone(re.search(pattern, text), path)

    def test_sections(self):
        seen = 0
        for path, text in self.texts().items():
            flat = re.sub(r"\s*\n(?: \*|//)?\s*", " ", text)
            for name, title in re.findall(r'\b([A-Z]+\.md)(?:\]\([A-Za-z.]+\))?, "([^"]+)"', flat):
                seen += 1
                page = documents().get(f"docs/{name}") or documents()[name]
                self.assertIn(title, re.findall(r"^#+ (.*)$", page, re.M), (path, name))
        self.assertGreater(seen, 10)

    def test_files(self):
        for path, text in self.texts().items():
            for name in re.findall(r"\bdocs/[A-Z]+\.md\b", text):
                self.assertTrue(os.path.exists(os.path.join(SOURCE, name)), (path, name))
            pattern = (r"(?<![\w/.-])((?:src|include|tests|scripts|examples|bench)/[\w./-]*\w"
                       r"\.(?:[ch]|py|yaml|sh|nft|txt))\b")
            for name in re.findall(pattern, text):
                self.assertTrue(os.path.exists(os.path.join(SOURCE, name)), (path, name))


if __name__ == "__main__":
    unittest.main()
