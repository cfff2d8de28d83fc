"""What the command line says of words that it does not take."""
import subprocess
import unittest

from harness import SAFE_RUN, SafeRunTest


class Options(SafeRunTest):
    def check(self, message, *words):
        done = self.call(*words)
        self.assertEqual((done.returncode, done.stdout), (64, b""))
        first, usage = done.stderr.decode().splitlines()[:2]
        self.assertEqual((first, usage[:6]), ("safe-run: " + message, "usage:"))

    def test_one_that_is_unknown_is_named_whatever_comes_before_it(self):
        self.check("unknown option '-x'", "run", "--policy", "hello.yaml", "-xv")
        self.check("unknown option '-x'", "run", "--policy", "hello.yaml", "-vx")
        self.check("unknown option '-z'", "run", "-zz")
        self.check("unknown option '-?'", "run", "-\u00e9")
        self.check("unknown option '--artifcts'; did you mean '--artifacts'?", "report", "html",
                   "report", "--artifcts", "d", "-o", "x")

    def test_the_beginning_of_several_is_ambiguous(self):
        self.check("ambiguous option '--re': --result or --reached?", "archive", "search", "--re",
                   "x")
        self.check("ambiguous option '--re=x': --result or --reached?", "archive", "search",
                   "--re=x")

    def test_one_that_would_do_nothing_is_none(self):
        self.check("unknown option '--json'", "archive", "export", "--all", "--json")

    def test_values(self):
        self.check("--policy needs a value", "run", "-v", "--policy")
        self.check("-o needs a value", "report", "html", "-o")
        self.check("--json takes no value", "ps", "--json=1")
        self.check("--help takes no value", "ps", "--help=1")


class StandardInput(SafeRunTest):
    def test_one_operand_can_be_it(self):
        for command in (("policy", "diff", "-", "-"), ("validate", "-", "x", "-"),
                        ("report", "diff", "-", "-")):
            done = self.call(*command)
            self.assertEqual(done.returncode, 64, command)
            self.assertIn(b"safe-run: only one can be standard input\nusage:", done.stderr)


class Help(SafeRunTest):
    def test_help_of_help_is_help(self):
        answers = {self.call(*words).stdout for words in (("help",), ("--help",), ("-h",),
                                                          ("help", "--help"), ("help", "help"))}
        self.assertEqual(len(answers), 1)
        self.assertIn(b"Commands:", answers.pop())
        self.assertEqual(self.call("help", "--help", "ps").stdout, self.call("ps", "--help").stdout)


class StackLimit(SafeRunTest):
    def limited(self, *options, command=("doctor",)):
        return subprocess.run(["prlimit", "--stack=" + options[0], *options[1:], SAFE_RUN,
                               *command], env=self.env, capture_output=True,
                              timeout=120, stdin=subprocess.DEVNULL)

    def test_a_soft_one_of_64_kib_is_raised(self):
        done = self.limited("65536:8388608")
        self.assertIn(done.returncode, (0, 1),
                      done.stderr)  # what this host can do is not the question
        self.assertIn(b"runs", done.stdout)

    def test_a_hard_one_is_refused_with_a_sentence_where_it_cannot_be_raised(self):
        drop = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]
        done = self.limited("65536:65536", *drop)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"the stack limit is 64 KiB and may not be raised, and 1024 KiB are needed",
                      done.stderr)
        run = self.limited("65536:65536", *drop, command=("run", "--policy", "none.yaml"))
        self.assertEqual((run.returncode, run.stderr), (125, done.stderr))  # 1 would be a command's


if __name__ == "__main__":
    unittest.main()
