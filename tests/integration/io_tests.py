"""What tests of inputs and outputs share: a directory of the host that may be mounted, and the two
kinds of user."""
import hashlib
import os
import subprocess

from harness import SAFE_RUN, SafeRunTest


def mount(source, target="/data/in"):
    return {"source": source, "target": target, "read_only": True}


def output_hash(path):
    """The hash over an output as docs/EVIDENCE.md defines it."""
    digest = hashlib.sha256()

    def add_file(at, name):
        with open(at, "rb") as file:
            content = file.read()
        digest.update((b"x" if os.stat(at).st_mode & 0o100 else b"f") + name + b"\0%d\0"
                      % len(content) + content)

    def add(at, name):
        for entry in sorted(os.listdir(at)):
            path, below = os.path.join(at, entry), name + entry
            if os.path.islink(path):
                digest.update(b"l" + below + b"\0" + os.readlink(path) + b"\0")
            elif os.path.isdir(path):
                digest.update(b"d" + below + b"\0")
                add(path, below + b"/")
            else:
                add_file(path, below)

    path = os.fsencode(path)
    add(path, b"") if os.path.isdir(path) else add_file(path, b"")
    return "sha256:" + digest.hexdigest()


def output_entries(path):
    """What output.collected lists of an output: each file, in the order of output_hash()."""
    if not os.path.isdir(path):
        return [file_entry(path, "")]
    found = []
    for name in sorted(os.listdir(path), key=os.fsencode):
        at = os.path.join(path, name)
        if os.path.isdir(at) and not os.path.islink(at):
            found += [{**entry, "path": os.path.join(name, entry["path"])}
                      for entry in output_entries(at)]
        elif not os.path.islink(at):
            found.append(file_entry(at, name))
    return found


def file_entry(at, name):
    with open(at, "rb") as file:
        return {"path": name, "sha256": "sha256:" + hashlib.sha256(file.read()).hexdigest(),
                "size": os.stat(at).st_size}


class IoTest(SafeRunTest):
    user = 0

    def setUp(self):
        super().setUp()
        self.source = self.path("source")
        for directory in (self.source,) if self.user else (self.source, self.base,
                                                           self.path("home")):
            os.mkdir(directory)
            os.chown(directory, self.user, self.user)
        os.chmod(self.dir, 0o755)
        self.env["HOME"] = self.path("home")
        self.env["SAFE_RUN_MOUNT_ALLOWLIST"] = self.write(
            "allow.yaml", "schemaVersion: safe-run.mount-allowlist/v1\n"
            f"hostAllowPrefixes: [{self.dir}]\nguestAllowPrefixes: [/data, /tmp, /home, /in]\n")
        self.configure()

    def configure(self, **fields):
        inputs = fields.setdefault("inputs", {})
        inputs.setdefault("directory", os.path.join(self.dir, "home", "inputs"))
        return super().configure(**fields)

    def put(self, name, content=b"content\n", mode=0o644):
        """A file of the source's owner, old enough that its image is kept."""
        path = os.path.join(os.fsencode(self.source), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        os.chown(path, self.user, self.user)
        return os.fsdecode(path)
