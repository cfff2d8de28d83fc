"""What `validate` says of every kind of good and bad policy (tests/golden/policy/README), the JSON
Schema's opinion of the same documents, and the bundles of some (tests/golden/compile)."""
import functools
import glob
import json
import os
import re
import subprocess
import tempfile
import unittest

import jsonschema
import yaml

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(SOURCE, "tests", "golden")
POLICIES = os.path.join(GOLDEN, "policy")
BUNDLES = os.path.join(GOLDEN, "compile")
REGENERATE = bool(os.environ.get("SR_REGENERATE"))


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Loader(yaml.SafeLoader):
    """YAML as editors read it: the core schema of YAML 1.2."""


Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in (("bool", "true|false", "tf"), ("int", "[-+]?[0-9]+", "-+0123456789"),
                            ("float", r"[-+]?[0-9]+\.[0-9]+", "-+0123456789"),
                            ("null", "~|null|", ["~", "n", ""])):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"),
                                 list(first))


@functools.cache
def schema():
    text = subprocess.run([SAFE_RUN, "policy", "schema"], check=True, capture_output=True,
                          timeout=60).stdout
    # Python's $ matches in front of a line end too, that of JSON Schema at the end alone.
    text = re.sub(rb'\$(?=[)"])', rb"\\\\Z", text)
    return jsonschema.Draft202012Validator(json.loads(text))


def parse(document):
    """A document as another program reads it."""
    text = document.decode("utf-8-sig")
    return json.loads(text) if re.match(r'\s*\{\s*["}]',
                                        text) else yaml.load(text, Loader)  # nosec: a SafeLoader


def corpus(*targets):
    """The seeds of fuzz targets: [(path, bytes)]."""
    for target in targets:
        folder = os.path.join(SOURCE, "tests", "fuzz", "corpus", target)
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                yield os.path.join(folder, name), file.read()


def sections(text):
    """The top-level sections of a document: [(name, text)]."""
    return re.findall(r"^([a-zA-Z]+):(.*\n(?:[ ].*\n)*)", text, re.M)


class Case:
    def __init__(self, text):
        head, _, self.answer = text.partition(">>>\n")
        title, _, self.body = head.partition("\n")
        self.title, flags = re.fullmatch(r"=== (.*?)(?: \[(.*)\])?", title).groups()
        self.flags = (flags or "").split()
        self.head = head

    def document(self):
        """The bytes of the policy; of an allowlist's case, base.yaml's."""
        if "raw" in self.flags:
            return self.body.encode()
        if "escaped" in self.flags:
            text = self.body.rstrip("\n").encode().decode("unicode_escape")
            return text.encode("latin-1") + b"\n"
        base = dict(sections(read(os.path.join(POLICIES, "base.yaml"))))
        if "allowlist" not in self.flags:
            base.update(sections(self.body))
        return "".join(f"{name}:{text}" for name, text in base.items() if text != " -\n").encode()


def cases(name):
    return [Case("=== " + text) for text in re.split(r"^=== ", read(os.path.join(POLICIES, name)),
                                                     flags=re.M)[1:]]


class Golden(unittest.TestCase):
    def validate(self, case, form):
        with tempfile.TemporaryDirectory() as directory:
            if "absent" not in case.flags:
                with open(os.path.join(directory, "policy.yaml"), "wb") as file:
                    file.write(case.document())
            allowlist = os.path.join(POLICIES, "allowlist.yaml")
            if "allowlist" in case.flags:
                allowlist = "allowlist.yaml"
                with open(os.path.join(directory, allowlist), "w", encoding="utf-8") as file:
                    file.write(case.body)
            done = subprocess.run([SAFE_RUN, "validate", "--mount-allowlist", allowlist, "--format",
                                   form,
                                   "policy.yaml"], cwd=directory, capture_output=True, timeout=60)
        self.assertEqual(done.stderr, b"", case.title)
        return done

    def check(self, name):
        """The text of each case is what the file says, and the JSON answer says the same."""
        found = []
        for case in cases(name):
            text = self.validate(case, "text").stdout.decode()
            if REGENERATE:
                found.append(f"{case.head}>>>\n{text}")
                continue
            with self.subTest(case.title):
                self.assertEqual(text, case.answer)
                done = self.validate(case, "json")
                answer = json.loads(done.stdout)
                self.assertEqual(done.returncode, 0 if answer["valid"] else 2)
                self.assertEqual(answer["valid"], answer["normalizedPolicy"] is not None)
                items = [(item["path"], item["code"], item.get("line"), item.get("column"))
                         for item in answer["errors"] + answer["warnings"]]
                shown = [(path, code, int(line) if line else None, int(column) if column else None)
                         for line, column, path, code in
                         re.findall(r"^[a-z]+\.yaml(?::(\d+):(\d+))?: (?:error|warning): (.*?): "
                                    r".* \[(SR-.*)\]$", text, re.M)]
                self.assertEqual(items, shown)
        if REGENERATE:
            with open(os.path.join(POLICIES, name), "w", encoding="utf-8") as file:
                file.write("".join(found))

    def test_compiled_bundles(self):
        names = sorted(name[:-5] for name in os.listdir(BUNDLES) if name.endswith(".yaml"))
        self.assertGreater(len(names), 2)
        for name in names:
            path = os.path.join(BUNDLES, name)
            done = subprocess.run([SAFE_RUN, "compile", "--dry-run", "--policy", path + ".yaml",
                                   "--mount-allowlist",
                                   os.path.join(POLICIES, "allowlist.yaml")], capture_output=True,
                                  timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, b""), name)
            text = json.dumps(json.loads(done.stdout), indent=1, ensure_ascii=False) + "\n"
            if REGENERATE:
                with open(path + ".json", "w", encoding="utf-8") as file:
                    file.write(text)
            with self.subTest(name):
                self.assertEqual(text, read(path + ".json"))

    def test_a_real_firecracker_would_take_the_configuration(self):
        published = jsonschema.Draft202012Validator(
            json.loads(read(os.path.join(BUNDLES, "firecracker.schema.json"))))
        for name in os.listdir(BUNDLES):
            if name.endswith(".yaml"):
                with self.subTest(name):
                    bundle = json.loads(read(os.path.join(BUNDLES, name[:-5] + ".json")))
                    published.validate(bundle["firecrackerConfig"])
        for case in cases("accepted.cases") + cases("warnings.cases"):
            done = subprocess.run([SAFE_RUN, "compile", "--dry-run", "--policy", "-",
                                   "--mount-allowlist",
                                   os.path.join(POLICIES, "allowlist.yaml")], input=case.document(),
                                  capture_output=True,
                                  timeout=60)
            with self.subTest(case.title):
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                published.validate(json.loads(done.stdout)["firecrackerConfig"])
        document = json.loads(read(os.path.join(BUNDLES, "smallest.json")))["firecrackerConfig"]
        drive, = document["drives"]
        for change in ({"drives": []}, {"rootfs": {}}, {"machine-config": {"vcpu_count": 1}},
                       {"machine-config": {"vcpu_count": 33, "mem_size_mib": 64}},
                       {"machine-config": {"vcpu_count": 1, "mem_size_mib": "64"}},
                       {"boot-source": {"kernel_image_path": 1}},
                       {"boot-source": {"boot_args": "quiet"}},
                       {"boot-source": {"kernel_image_path": "a", "initrd": "b"}},
                       {"drives": [{**drive, "is_root_device": False}]}, {"drives": [drive, drive]},
                       {"drives": [{**drive, "read_only": True}]}):
            self.assertFalse(published.is_valid({**document, **change}), change)

    def test_the_same_bytes_every_time(self):
        """Over runs, time zones, locales, directories, environments and ways to hand the policy
        over."""
        policy = os.path.join(BUNDLES, "every-field.yaml")
        allowlist = os.path.join(POLICIES, "allowlist.yaml")
        runs = 1000 if "asan" not in os.environ["SR_BUILD"] else 100
        zones, locales = ["UTC", "Asia/Kathmandu", "America/St_Johns",
                          ":bad"], ["C", "C.UTF-8", "tr_TR.UTF-8", "xx"]
        seen = set()
        for i in range(runs):
            env = {"TZ": zones[i % 4], "LC_ALL": locales[i // 4 % 4], "LANG": "de_DE", f"X{i}": "y"
                   * (i % 97)}
            with open(policy, "rb") as file:
                done = subprocess.run([SAFE_RUN, "compile", "--dry-run", "--policy", "-" if i % 3
                                       == 0 else policy,
                                       "--mount-allowlist", allowlist], stdin=file,
                                      capture_output=True, env=env,
                                      cwd=["/", "/tmp", "/usr/share", "/proc"][i // 16 % 4],
                                      timeout=60)
            seen.add((done.returncode, done.stdout, done.stderr))
        self.assertEqual(len(seen), 1)
        self.assertEqual(json.loads(seen.pop()[1]),
                         json.loads(read(os.path.join(BUNDLES, "every-field.json"))))

    def test_the_schema_agrees_with_the_validator(self):
        jsonschema.Draft202012Validator.check_schema(schema().schema)
        seen = {True: 0, False: 0}
        for name in sorted(os.listdir(POLICIES)):
            for case in cases(name) if name.endswith(".cases") and "allowlist" not in name else []:
                if "absent" in case.flags:
                    continue
                with self.subTest(f"{name}: {case.title}"):
                    answer = json.loads(self.validate(case, "json").stdout)
                    try:
                        document = parse(case.document())
                    except (yaml.YAMLError, ValueError, RecursionError):
                        self.assertEqual(answer["errors"][0]["path"], "policy")
                        continue
                    accepted = schema().is_valid(document)
                    if "blind" in case.flags:
                        self.assertTrue(accepted, "the schema sees it after all")
                    elif answer["errors"] and answer["errors"][0]["path"] == "policy" and accepted:
                        self.fail("the schema accepts what is no document")
                    else:
                        self.assertEqual(accepted, answer["valid"])
                    seen[accepted] += 1
        self.assertGreater(min(seen.values()), 20)

    def test_the_schema_accepts_every_valid_policy(self):
        """Those of the bundles, of the fuzz targets, and the examples; with the starter, and in
        their normal form."""
        documents = [document for _, document in corpus("policy", "compile", "document")]
        documents += [read(os.path.join(BUNDLES, name)).encode()
                      for name in sorted(os.listdir(BUNDLES))]
        documents += [read(path).encode()
                      for path in sorted(glob.glob(os.path.join(SOURCE, "examples", "**", "*.yaml"),
                                                   recursive=True))]
        documents.append(subprocess.run([SAFE_RUN, "policy", "init"], check=True,
                                        capture_output=True, timeout=60).stdout)
        accepted = 0
        for document in documents:
            done = subprocess.run([SAFE_RUN, "validate", "--mount-allowlist",
                                   os.path.join(POLICIES, "allowlist.yaml"), "-"],
                                  input=document, capture_output=True, timeout=60)
            answer = json.loads(done.stdout)
            if answer["valid"]:
                schema().validate(parse(document))
                schema().validate(answer["normalizedPolicy"])
                accepted += 1
        self.assertGreater(accepted, 8)

    def test_text_and_json_say_the_same_of_hostile_documents(self):
        for path, _ in corpus("policy", "compile", "document", "allowlist", "json"):
            for args in (["-", path], [path, "-"]):  # as the policy, and as the allowlist
                done = [subprocess.run([SAFE_RUN, "validate", "--format", form, "--mount-allowlist",
                                        args[0], args[1]],
                                       input=b"{}", capture_output=True, timeout=60)
                        for form in ("json", "text")]
                with self.subTest(path):
                    self.assertEqual([one.stderr for one in done], [b"", b""])
                    answer = json.loads(done[0].stdout)
                    self.assertEqual([one.returncode for one in done], [0 if answer["valid"] else 2]
                                     * 2)
                    found = re.findall(r"^\S.*: (?:error|warning): ", done[1].stdout.decode(), re.M)
                    self.assertEqual(len(found), len(answer["errors"]) + len(answer["warnings"]))


def add(name):
    setattr(Golden, "test_" + re.sub(r"\W", "_", name[:-6]), lambda self: self.check(name))


for _name in sorted(os.listdir(POLICIES)):
    if _name.endswith(".cases"):
        add(_name)

if __name__ == "__main__":
    unittest.main()
