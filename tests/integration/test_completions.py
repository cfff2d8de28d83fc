"""What the shells complete: read from the help, which is made from the tables of options."""
import os
import re
import subprocess
import unittest

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def help_of(*command):
    args = [*command, "--help"] if command else ["help"]
    return subprocess.run([SAFE_RUN, *args], check=True, capture_output=True, text=True,
                          timeout=60).stdout


def names_in(text):
    return re.findall(r"^  ([a-z][a-z-]*)  +\S", text, re.M)


def options_in(text):
    """{"--name": what its value is called, or ""}."""
    return {name: value.strip() for name, value in
            re.findall(r"^  (?:-[a-z], )?(--[a-z-]+)((?: [^ ]+)*)  +\S", text, re.M)}


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


def bash(*words):
    """What bash offers for the last word."""
    script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _safe_run; printf '
              '"%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash",
                           os.path.join(SOURCE, "completions", "safe-run.bash"), SAFE_RUN,
                           *words], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


class Completions(unittest.TestCase):
    def test_options_are_where_shells_find_them(self):
        found = list(commands())
        self.assertGreater(len(found), 30)
        for command, text in found:
            with self.subTest(" ".join(command)):
                options = options_in(text)
                listed = text.partition("\nOptions:\n")[2].partition("\n\n")[0].splitlines()
                self.assertEqual(len(options), sum(line[2] == "-" for line in listed))
                self.assertEqual(list(options)[-1], "--help")
                self.assertLessEqual(max(map(len, listed)), 80)

    def test_bash_offers_every_command_and_option_and_no_other(self):
        for command, text in commands():
            with self.subTest(" ".join(command)):
                for i, word in enumerate(command):
                    self.assertIn(word, bash(*command[:i], word[:1]))
                self.assertEqual(set(bash(*command, "--")), set(options_in(text)))

    def test_bash_offers_what_help_explains(self):
        self.assertEqual(bash("help", ""), names_in(help_of()) + ["--help"])
        self.assertEqual(bash("help", "report", "v"), ["verify"])
        self.assertEqual(set(bash("archive", "prune", "--")), {"--help", "--dry-run",
                                                               "--trust-clock", "--root", "--json"})


if __name__ == "__main__":
    unittest.main()
