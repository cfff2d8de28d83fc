"""What the shells complete: bash from a list of its own, zsh and fish from the help, which must be of that form."""
import os
import re
import subprocess
import unittest

SAFE_RUN = os.path.join(os.environ["SR_BUILD"], "safe-run")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def help_of(*command):
    args = [*command, "--help"] if command else ["help"]
    return subprocess.run([SAFE_RUN, *args], check=True, capture_output=True, text=True, timeout=60).stdout


def names_in(text):
    return re.findall(r"^  ([a-z][a-z-]*)  +\S", text, re.M)


def options_in(text):
    usage = text.splitlines()[0]
    return set(re.findall(r"^  (?:-[a-z], )?(--[a-z-]+)(?: [^ ]+)*  +\S", text, re.M)) | set(re.findall(r"\[(--[a-z-]+)", usage))


def commands(*command):
    """Every command without subcommands, with its help: of safe-run, then of each that a help lists."""
    text = help_of(*command)
    below = names_in(text)
    if not below:
        yield command, text
    for name in below:
        yield from commands(*command, name)


def bash(*words):
    """What bash offers for the last word."""
    script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _safe_run; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash", os.path.join(SOURCE, "completions", "safe-run.bash"), "safe-run",
                           *words], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


class Completions(unittest.TestCase):
    def test_bash_knows_every_command_and_option(self):
        found = list(commands())
        self.assertGreater(len(found), 10)
        for command, text in found:
            with self.subTest(" ".join(command)):
                for i, word in enumerate(command):
                    self.assertIn(word, bash(*command[:i], word[:1]))
                self.assertLessEqual(options_in(text), set(bash(*command, "--")))

    def test_the_help_names_every_option_that_a_command_takes(self):
        """An option of the usage line or the text, but for the examples, is one that zsh and fish find."""
        for command, text in commands():
            with self.subTest(" ".join(command)):
                usage = text.partition("\n\n")[0]
                self.assertEqual(set(re.findall(r"--[a-z][a-z-]+", usage)) - options_in(text), set())


if __name__ == "__main__":
    unittest.main()
