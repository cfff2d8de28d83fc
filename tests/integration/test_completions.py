"""What the shells complete: read from the help, which must be of the form for that. What there is
to offer is what the option tables of the sources have, and the program takes."""
import glob
import os
import re
import subprocess
import unittest

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLI = os.path.join(SOURCE, "src", "cli")


def help_of(*command):
    args = [*command, "--help"] if command else ["help"]
    return subprocess.run([SAFE_RUN, *args], check=True, capture_output=True, text=True,
                          timeout=60).stdout


def names_in(text):
    return re.findall(r"^  ([a-z][a-z-]*)  +\S", text, re.M)


def options_in(text):
    usage = text.splitlines()[0]
    return set(re.findall(r"^  (?:-[a-z], )?(--[a-z-]+)(?: [^ ]+)*  +\S", text,
                          re.M)) | set(re.findall(r"\[(--[a-z-]+)", usage))


def commands(*command):
    """Every command without subcommands, with its help: of safe-run, then of each that a help
    lists."""
    text = help_of(*command)
    below = names_in(text)
    if not below:
        yield command, text
    for name in below:
        if name != "help":  # lists all of them again
            yield from commands(*command, name)


def names_of_table(path):
    """Also of the tables that a file has from a header, where several commands share them."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    found = set(re.findall(r"""(?:(?:TEXT|FLAG)\("|"(?=[a-z-]+", (?:0|'[a-z]'), ))([a-z][a-z-]*)\"""", text))
    for name in re.findall(r'^#include "([a-z_]+\.h)"', text, re.M):
        header = os.path.join(CLI, name)
        if os.path.exists(header) and header != path:
            found |= names_of_table(header)
    return found


def options_of_source(*command):
    """Every name in the option tables of the files that a command is in: cmd_report*.c and
    report_*.c, say."""
    entries = [f"int sr_cmd_{'_'.join(command[:words])}(" for words in (1, 2)]
    found = set()
    for path in glob.glob(os.path.join(CLI, "*.c")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if not any(entry in text for entry in entries):
            continue
        stem = os.path.basename(path).removeprefix("cmd_").removesuffix(".c")
        for part in {path, *glob.glob(os.path.join(CLI, f"cmd_{stem}*.c")),
                     *glob.glob(os.path.join(CLI, f"{stem}_*.c"))}:
            found |= names_of_table(part)
    return sorted(found)


def options_taken(*command):
    """The options that a command takes: those that it does not call unknown. Another one behind
    them keeps it from doing anything."""
    taken = set()
    for name in options_of_source(*command):
        done = subprocess.run([SAFE_RUN, *command, f"--{name}=x", "--no-such-option"],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 64, done
        if f"'--{name}=x'" not in done.stderr.splitlines()[0] or done.stderr.startswith(f"safe-run: --{name} takes "):
            taken.add(f"--{name}")
    return {one for one in taken if not any(other != one and other.startswith(one)
                                            for other in taken)}  # without abbreviations


def bash(*words):
    """What bash offers for the last word."""
    script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _safe_run; printf '
              '"%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash",
                           os.path.join(SOURCE, "completions", "safe-run.bash"), SAFE_RUN,
                           *words], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


class Completions(unittest.TestCase):
    def test_the_help_has_every_option_of_the_tables_where_shells_find_it(self):
        found = list(commands())
        self.assertGreater(len(found), 10)
        self.assertGreater(len(options_of_source("archive")), 20)
        for command, text in found:
            with self.subTest(" ".join(command)):
                self.assertEqual(options_in(text) - {"--help"}, options_taken(*command))

    def test_bash_offers_every_command_and_option_and_no_other(self):
        for command, text in commands():
            with self.subTest(" ".join(command)):
                for i, word in enumerate(command):
                    self.assertIn(word, bash(*command[:i], word[:1]))
                self.assertEqual(set(bash(*command, "--")), options_in(text) | {"--help"})

    def test_bash_offers_what_help_explains(self):
        self.assertEqual(bash("help", ""), names_in(help_of()) + ["--help"])
        self.assertEqual(bash("help", "report", "v"), ["verify"])
        self.assertEqual(set(bash("archive", "prune", "--")), {"--help", "--dry-run",
                                                               "--trust-clock", "--root", "--json"})


if __name__ == "__main__":
    unittest.main()
