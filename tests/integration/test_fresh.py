"""scripts/fresh leaves nothing behind, however it ends. What it runs in a bare root, CI shows."""
import os
import signal
import subprocess
import unittest

from harness import SOURCE, SafeRunTest

FRESH = os.path.join(SOURCE, "scripts", "fresh")


@unittest.skipIf(os.geteuid() != 0, "only root can make a root")
class Fresh(SafeRunTest):
    def processes(self):
        """Those that have this test's cache in their environment."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ",
                          "rb") as file, open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                    ours = f"SAFE_RUN_CACHE_DIR={self.path('cache')}".encode()
                    if ours in file.read().split(b"\0"):
                        found.append(comm.read().strip())
            except OSError:
                continue
        return found

    def end(self, number):
        process = subprocess.Popen([FRESH, "trixie", "demo"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={**os.environ, "SAFE_RUN_CACHE_DIR": self.path("cache")},
                                   start_new_session=True)
        self.wait_for(lambda: "mmdebstrap" in self.processes())
        if number == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, number)  # as a terminal does, and timeout(1)
        process.wait(60)
        self.wait_for(lambda: self.processes() == [])
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            self.assertNotIn(self.dir, file.read())

    def test_a_kill_leaves_no_process_and_no_mount(self):
        self.end(signal.SIGKILL)

    def test_an_interrupt_leaves_no_file_either(self):
        self.end(signal.SIGINT)
        self.assertEqual(os.listdir(self.path("cache")), ["fresh-trixie.lock"])


if __name__ == "__main__":
    unittest.main()
