"""A headless Chromium that loads one page and tells everything that happened, by the DevTools
protocol over two pipes."""
import base64
import json
import os
import select
import shutil
import signal
import tempfile
import time

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--no-default-browser-check",
         "--disable-extensions", "--mute-audio", "--remote-debugging-pipe"]


class Browser:
    """One page of one browser process; everything it leaves is in a directory that is removed at
    the end."""

    def __init__(self, width=1100, height=900):
        self.home = tempfile.mkdtemp(prefix="sr-test-browser-")
        theirs_in, self.to = os.pipe()
        self.of, theirs_out = os.pipe()
        # The protocol's descriptors are 3 and 4, whatever ours are: out of their way first.
        spare = [os.dup2(theirs_in, 103, inheritable=False), os.dup2(theirs_out, 104,
                                                                     inheritable=False)]
        program = shutil.which("chromium")
        null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
        self.pid = os.posix_spawn(
            program, [program, *FLAGS, f"--user-data-dir={self.home}/profile",
                      f"--window-size={width},{height}", "about:blank"],
            {"PATH": os.environ["PATH"], "HOME": self.home, "XDG_CONFIG_HOME": self.home,
             "XDG_CACHE_HOME": self.home},
            file_actions=[*null, (os.POSIX_SPAWN_DUP2, 103, 3), (os.POSIX_SPAWN_DUP2, 104, 4)],
                                  setsid=True)
        for fd in [theirs_in, theirs_out, *spare]:
            os.close(fd)
        self.pending, self.number, self.events = b"", 0, []
        try:
            self.attach()
        except BaseException:
            self.close()
            raise

    def attach(self):
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"]
                      == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"],
                                 flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(domain + ".enable")

    def close(self):
        """Ends the browser with all its processes, and removes what it has written."""
        os.close(self.to)
        os.close(self.of)
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        deadline = time.monotonic() + 10
        # the last of them may still be writing
        while os.path.exists(self.home) and time.monotonic() < deadline:
            shutil.rmtree(self.home, ignore_errors=True)

    def read(self, deadline):
        """The next message."""
        while b"\0" not in self.pending:
            ready, _, _ = select.select([self.of], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.of, 1 << 20) if ready else b""
            if not piece:
                raise AssertionError("the browser does not answer")
            self.pending += piece
        message, _, self.pending = self.pending.partition(b"\0")
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            answer = self.read(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def ask(self, method, **parameters):
        return self.call(method, self.session, **parameters)

    def load(self, url):
        """Loads a page to its end; returns the events since."""
        self.events = []
        self.ask("Page.navigate", url=url)
        deadline = time.monotonic() + 60
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read(deadline))
        self.value("1")  # what the page logs while loading comes before this answer
        return self.events

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True,
                          awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def dark(self, on):
        self.ask("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def screenshot(self, path):
        image = self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(image))
